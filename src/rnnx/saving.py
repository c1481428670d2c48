"""Model files: which format a path means, and writing that is all or nothing."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rnnx._config import (  # noqa: F401  under Keras' names
    CustomObjectScope,
    custom_object_scope,
    did_you_mean,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    given_path,
    path_of,
    register_keras_serializable,
)
from rnnx._mapped import written_over
from rnnx.serialization import deserialize_keras_object, serialize_keras_object  # noqa: F401  under Keras' names

FORMATS = {  # suffix -> module of rnnx.formats
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".pt": "torch",
    ".pth": "torch",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".json": "keras",
}

SAVE_FORMATS = {"keras": (".keras",), "h5": (".h5", ".hdf5")}
INDEX = ".index"  # of a checkpoint of TensorFlow
SAVED_MODEL = ("keras_metadata.pb", "saved_model.pb")  # in folders of TensorFlow
LOOKED_AT = 1 << 16  # bytes at each end of a file
ARCHIVES = (("torch", b"/data.pkl"), ("keras", b"model.weights.h5"))  # members that say who reads a zip archive
GZIP = b"\x1f\x8b"
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")  # of pickles, whose first byte is 0x80


class FormatError(ValueError):
    """A file that cannot be honoured: damaged, of an unknown kind or version, or not fitting the model.

    Attributes
    ----------
    reasons : sequence of str
        If there are several, each of them.
    """

    reasons: Sequence[str] = ()


def level_of_caller() -> int:
    """The ``stacklevel`` of a warning by who calls this, that shows the line outside of rnnx which led to it."""
    frame, level = sys._getframe(1), 1
    while frame.f_globals.get("__name__", "").partition(".")[0] == "rnnx" and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def write_whole(path: Any, write: Callable[[Path], None], *, overwrite: bool = True, mode: int | None = None) -> None:
    """Write a file beside its final place and move it there when it is complete and on disk.

    Parameters
    ----------
    path : path
    write : callable
        Writes the file whose path it is given.
    overwrite : bool
    mode : int, optional
        Who may read and write it, of whom the umask may still leave some out. If not given, those who might before,
        or of a new file everybody.

    Raises
    ------
    FileExistsError
        If the file exists and may not be replaced.
    OSError
        If the file cannot be written; what was there before is still there, and nothing else.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; give overwrite=True to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist")
    import tempfile  # not at the top: processes that read models do without it

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        as_before = mode is None and path.exists()
        part.chmod(path.stat().st_mode & 0o777 if as_before else (0o666 if mode is None else mode) & ~umask)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_checkpoint(path: Any) -> bool:
    """Whether a path is what the files of a checkpoint of TensorFlow begin with, or its index."""
    if os.path.exists(path):
        return str(path).endswith(INDEX) and os.path.isfile(path)
    return os.path.isfile(f"{path}{INDEX}")


def format_of(path: Any, what: str = "read") -> Any:
    """The module of `rnnx.formats` that reads and writes a kind of file; it is imported when it is first wanted.

    What is in a file says who reads it; its suffix does where that is not clear, and for what is written.

    Raises
    ------
    FormatError
        If neither says it.
    """
    suffix, name = Path(path).suffix.lower(), None
    plain = os.path.isfile(path) and suffix != INDEX and Path(path).name not in SAVED_MODEL
    if what == "read" and not plain and (os.path.isfile(path) or os.path.isdir(path) or is_checkpoint(path)):
        name = "keras"
    elif what == "read" and plain:  # other things than files are refused by the reader of the suffix
        with open(path, "rb") as file:
            start, size = file.read(LOOKED_AT), file.seek(0, 2)
            file.seek(max(0, size - LOOKED_AT))
            both = start + file.read(LOOKED_AT)
        if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8:
            name = "safetensors"
        elif start[:4] == b"PK\x03\x04":  # names are in front of the members, and in the directory at the end
            found = [reader for reader, member in ARCHIVES if member in both]
            name = found[0] if len(found) == 1 else None
        elif start[1:4] == b"HDF":
            name = "keras"
        elif (start[:1] == b"\x80" and start[1:2] in PROTOCOLS) or start[:2] == GZIP or start[257:262] == b"ustar":
            name = "torch"  # or an archive around such a file
    if name is None and suffix not in FORMATS:
        known = ", ".join(FORMATS) + did_you_mean([suffix], FORMATS)
        raise FormatError(
            f"{path}: cannot {what} {repr(suffix) if suffix else 'a file without suffix'}; supported: {known}"
        )
    return importlib.import_module(f"rnnx.formats.{name or FORMATS[suffix]}")


def check_kind(model: Any, path: Any, *, weights_only: bool = False) -> None:
    """Raise what would keep a model from being written in a format, while there is nothing to lose yet.

    Parameters
    ----------
    model : Model or None
        One that is not built yet, or None, is not looked at.
    path : path
        Only its suffix counts.
    weights_only : bool

    Raises
    ------
    FormatError
        If the suffix is unknown, files of the format do not hold what is asked, or not this model.
    """
    format_of(path, "write").check(model if getattr(model, "built", False) else None, path, weights_only=weights_only)


def _refuse_two_versions(path: Any, before: os.stat_result | None, error: Exception | None = None) -> None:
    """Refuse a file that was written over in place while it was read: its numbers would be of two versions."""
    if before is not None and os.path.isfile(path) and written_over(before, os.stat(path)):
        raise FormatError(
            f"{path}: the file was written over while it was read; read it again, and replace files by renaming "
            "(os.replace), as `save` does"
        ) from error


def check_place(path: Any) -> None:
    """Make the folder of a file if it is not there, and write and remove something in it.

    Raises
    ------
    OSError
        If the file cannot be written there, or is a folder.
    """
    import tempfile

    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        file.write(b"\0")


def save_model(
    model: Any,
    path: Any,
    overwrite: bool = True,
    zipped: bool | None = None,
    *,
    include_optimizer: bool | None = None,
    save_format: str | None = None,
) -> None:
    """Write structure and weights of a model, and how it was compiled.

    Parameters
    ----------
    model : Model
    path : path
        Ending in ``.safetensors``, ``.keras`` or ``.h5`` for all of it, ``.onnx`` or ``.pt`` for what those can hold.
    include_optimizer : bool, optional
        Also optimizer, loss, metrics and the state of all noise, so that training goes on as if never stopped. If not
        given: of a compiled model; of a quantized one without the arrays of the optimizer.
    overwrite : bool
        False: an error if the file exists (Keras asks on the terminal).
    zipped : bool, optional
        A ``.keras`` file is an archive; False, a folder, is not written.
    save_format : {"keras", "h5"}, optional
        A word of older scripts: it must say what the suffix says.

    Raises
    ------
    ValueError
        If ``zipped`` is False, or ``save_format`` does not fit the suffix.
    FormatError
        If the suffix is unknown, or the model has parts that cannot be saved.
    OSError
        If the file cannot be written; an old one is still there.
    """
    if zipped is not None and not zipped:
        raise ValueError(f"{path}: `zipped=False` is not supported: a .keras file is an archive")
    if save_format is not None and Path(path).suffix.lower() not in SAVE_FORMATS.get(save_format, ()):
        known = ", ".join(f"{word!r} {' or '.join(suffixes)}" for word, suffixes in SAVE_FORMATS.items())
        raise ValueError(f"{path}: `save_format={save_format!r}` does not fit; the suffix says the format: {known}")
    format_of(path, "write").save_model(model, path, include_optimizer=include_optimizer, overwrite=overwrite)


def export(model: Any, path: Any, format: str = "tf_saved_model") -> None:
    """Write a model for inference elsewhere.

    Parameters
    ----------
    model : Model
    path : path
        Ending in ``.onnx``.
    format : {"onnx"}

    Raises
    ------
    ValueError
        If it is a format that is not written: SavedModel folders hold TensorFlow's functions.
    """
    if format != "onnx":
        raise ValueError(f"export: `format` must be 'onnx', the one that is written, got {format!r}")
    importlib.import_module("rnnx.formats.onnx").save_model(model, path)


def compile_config(model: Any) -> dict[str, Any]:
    """How a model is compiled, in the words of Keras' files; empty if it is not."""
    found: dict[str, Any] | None = None
    if model.optimizer is not None:
        found = importlib.import_module("rnnx.formats.keras._compiled").compile_config(model)
    return found or {}


def compile_from_config(model: Any, config: dict[str, Any]) -> None:
    """Compile a model as a `compile_config` says.

    Raises
    ------
    ValueError
        If something in it cannot be honoured.
    """
    custom = importlib.import_module("rnnx.formats._compiled").Custom(None, any_name=True)
    notes = importlib.import_module("rnnx.formats.keras._training").compile_like(model, config, custom)
    if notes:
        raise ValueError(f"{model.name}: {'; '.join(notes)}")


def load_model(
    path: Any = None,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    filepath: Any = None,
) -> Any:
    """Read a model.

    Parameters
    ----------
    path : path
        What is in the file says of which kind it is: a checkpoint may end in ``.ckpt``, ``.bin`` or ``.pkl``.
    custom_objects : dict, optional
        Your own layer classes, losses, metrics, optimizers and functions by the names they have in the file. Layers are
        known to files of rnnx by themselves once they are defined.
    compile : bool
        Whether to restore optimizer, loss and metrics if the file has them.
    safe_mode : bool
        As in Keras, where False lets a file run code. No code of a file is run here either way.
    filepath : path
        Keras' name for ``path``.

    Returns
    -------
    Model
        Of a file of rnnx its weights are views of the mapped file, whose checksum was compared: every byte was read
        once. They are copied when training first changes them. What is written into the file in place later on shows
        in them: replace files by renaming (``os.replace``), as `save_model` does.

    Raises
    ------
    FormatError
        If the file is damaged, unknown or of a newer version, or written over while it is read; the reason is named.
    OSError
        If it cannot be read.

    Warns
    -----
    UserWarning
        About a loss or metric that is not known, and all else that is left out.
    """
    if path is None or filepath is not None:
        path = given_path("load_model", path, filepath)
    if not isinstance(path, (str, os.PathLike)):
        path = path_of("load_model", path)
    if not os.path.exists(path) and not is_checkpoint(path):
        raise FileNotFoundError(f"{path}: no such file")
    before = os.stat(path) if os.path.exists(path) else None  # a checkpoint is files of other names
    module = format_of(path, "read")
    try:
        if not custom_objects:
            found = module.load_model(path, compile=compile)
        else:
            knows_objects = module.__name__ in ("rnnx.formats.keras", "rnnx.formats.safetensors")
            with custom_object_scope(custom_objects):
                options = {"custom_objects": custom_objects} if knows_objects else {}
                found = module.load_model(path, compile=compile, **options)
    except (FormatError, OSError) as error:
        _refuse_two_versions(path, before, error)
        raise
    with suppress(OSError):  # if it was removed
        if before is not None and os.stat(path).st_mtime_ns != before.st_mtime_ns:
            _refuse_two_versions(path, before)
    return found


def save_weights(model: Any, path: Any, *, overwrite: bool = True) -> None:
    """Write the weights of a model alone; see `save_model`."""
    format_of(path, "write").save_weights(model, path, overwrite=overwrite)


def check_compat(compat: str | None) -> None:
    """Refuse an unknown way to deal with the defaults of older versions."""
    if compat not in (None, "auto", "keep"):
        raise ValueError(f"load_weights: `compat` must be None, 'auto' or 'keep', got {compat!r}")


def load_weights(
    model: Any, path: Any, *, skip_mismatch: bool = False, by_name: bool = False, compat: str | None = None
) -> None:
    """Read weights into a model of the same structure; it is unchanged if they do not fit.

    A file that is written over in place meanwhile is an error too; the weights are to be read again then.

    Parameters
    ----------
    model : Model
    path : path
    skip_mismatch, by_name : bool
        For files of Keras: see `rnnx.formats.keras.load_weights`.
    compat : {None, "auto", "keep"}
        For files of Keras, whose older versions had other defaults; see `rnnx.formats.keras.load_weights`. Others have
        none.
    """
    if not os.path.exists(path) and not is_checkpoint(path):
        raise FileNotFoundError(f"{path}: no such file")
    check_compat(compat)
    before = os.stat(path) if os.path.exists(path) else None  # a checkpoint is files of other names
    module = format_of(path, "read")
    try:
        if module.__name__ == "rnnx.formats.keras":
            module.load_weights(model, path, skip_mismatch=skip_mismatch, by_name=by_name, compat=compat)
        elif skip_mismatch or by_name:
            raise FormatError(f"{path}: `skip_mismatch` and `by_name` are for files of Keras")
        else:
            module.load_weights(model, path)
    except (FormatError, OSError) as error:
        _refuse_two_versions(path, before, error)
        raise
    _refuse_two_versions(path, before)
