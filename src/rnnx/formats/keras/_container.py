"""What is in a file of Keras: the configuration, the weights, and who wrote it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnx.formats._limits import Budget, check_regular, parse_json, printable, read_file
from rnnx.formats._wire import fields, message_of, text_of
from rnnx.formats.keras._checkpoint import Checkpoint
from rnnx.formats.keras._hdf5 import Group, Tree, opened, room_of, tree_of
from rnnx.saving import INDEX, SAVED_MODEL, FormatError, is_checkpoint

LONGEST_CONFIG = 64 << 20
LONGEST_DIRECTORY = 8 << 20  # bytes of the directory of an archive: some 80,000 members
LONGEST_WORDS, MOST_WORDS = 16 << 20, 2_000_000  # bytes and number of all words that layers look up
MOST_NOISE = 100_000  # numbers
LONGEST_VERSION = 60  # characters
LOCAL_HEADER = 30  # bytes in front of the name of a member
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others can ask for any memory
ZIP_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, struct.error,
    OverflowError, LookupError, OSError, ValueError,
)  # fmt: skip
ARCHIVED_WEIGHTS = "model.weights.h5"
ASSETS, VOCABULARY = "assets/", "vocabulary.txt"  # where the archive has what layers keep beside their weights
OPTIMIZER = "rnnx_optimizer_weights"  # in .h5 files of rnnx
NOISE = "rnnx_noise"  # seeds and counters, which Keras does not keep
METADATA, GRAPH = SAVED_MODEL
VARIABLES = "variables/variables"
TUPLES = ("__tuple__", "TensorShape")  # lists, in the JSON of such a folder
MOST_DESCRIBED = 1_000_000  # fields of its messages: a layer has five
OLD_LAYERS = ("_layer_checkpoint_dependencies",)  # what TensorFlow 2.12 and 2.13 called "layers"


@dataclass
class Contents:
    """What was found in a file.

    Attributes
    ----------
    kind : str
    config : dict or None
        Of the whole model: ``class_name``, ``config`` and so on. None if there are only weights.
    training : dict or None
        How the model was compiled.
    version, backend : str or None
        As the file says.
    weights : Group or None
        Where the weights begin.
    legacy : bool
        Whether they are lists by layer (``layer_names``) rather than a tree of paths.
    numbers : int
        More weights than this cannot be in the file.
    optimizer : Group or None
        Where the state of the optimizer is.
    noise : list or None
        Seeds and counters of all sources of noise, in files of rnnx.
    checkpoint : Checkpoint or None
        Where the weights are, if TensorFlow wrote them.
    vocabularies : dict
        Words in lines, by the path of the layer that looks them up: ``layers/text_vectorization``.
    """

    kind: str
    config: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    version: str | None = None
    backend: str | None = None
    weights: Group | None = None
    legacy: bool = False
    numbers: int = 0
    optimizer: Group | None = None
    noise: Any = None
    checkpoint: Checkpoint | None = None
    vocabularies: dict[str, str] = field(default_factory=dict)

    @property
    def has_weights(self) -> bool:
        return self.weights is not None or self.checkpoint is not None


def parse(path: Any, text: str | bytes | None, what: str) -> dict[str, Any]:
    """A table from JSON.

    Raises
    ------
    FormatError
        If it is none, or too deep.
    """
    found = parse_json(path, text if text is not None else "", what)
    if isinstance(found, str):  # Keras 1 and 2.0 sometimes wrote JSON inside JSON
        found = parse_json(path, found, what)
    if not isinstance(found, dict):
        raise FormatError(f"{path}: {what} is damaged: it is not a table")
    return found


def version_of(value: Any) -> str | None:
    """What a file says about who wrote it, as it can be printed."""
    return None if value is None else printable(value, LONGEST_VERSION)


@contextmanager
def contents(path: Any) -> Iterator[Contents]:
    """Open a file of any kind and generation.

    Raises
    ------
    FormatError
        If it is damaged or not of Keras.
    OSError
        If it cannot be read.
    """
    if os.path.isdir(path):
        yield _folder(path)
        return
    if is_checkpoint(path):
        yield _checkpoint(path)
        return
    check_regular(path)
    if Path(path).name in SAVED_MODEL:
        raise FormatError(f"{path}: a part of a SavedModel; give its folder, {Path(path).parent}")
    with Path(path).open("rb") as file:
        start = file.read(4)
        size = file.seek(0, 2)
    if start == b"PK\x03\x04":
        with _archive(path) as found:
            yield found
    elif Path(path).suffix.lower() == ".keras" and start[1:] != b"HDF":
        raise FormatError(f"{path}: not a file of Keras, or cut off: it has {size} bytes and is no zip archive")
    else:
        with opened(path) as root:
            yield _hdf5(path, root)


def _is_tree(root: Tree) -> bool:
    """Whether groups are those of `.weights.h5`: layers in a group of their own, or the attributes of a class."""
    return any(root.group(name) for name in ("layers", "vars", *OLD_LAYERS))


def _hdf5(path: Any, root: Group) -> Contents:
    """A ``.h5`` file: model and weights, or weights alone."""
    text = root.text("model_config")
    group = root.group("model_weights") if text is not None else root
    if text is None and root.group("model_weights") is not None and root.texts("layer_names") is None:
        group = root.group("model_weights")
    if group is None:
        raise FormatError(f"{path}: there is a model, but no group 'model_weights'")
    legacy = group.texts("layer_names") is not None
    if not legacy and text is None and not _is_tree(tree_of(group)):
        raise FormatError(f"{path}: an HDF5 file, but not of Keras: it has neither 'model_config' nor 'layer_names'")
    training = root.text("training_config")
    return Contents(
        "weights" if text is None else "model",
        None if text is None else parse(path, text, "its model_config"),
        None if training is None else parse(path, training, "its training_config"),
        version_of(root.text("keras_version") or group.text("keras_version")),
        version_of(root.text("backend") or group.text("backend")),
        group,
        legacy,
        root.file.room // 4,
        root.group(OPTIMIZER) or root.group("optimizer_weights"),
        None if (noise := root.text(NOISE)) is None else parse_json(path, noise, "its noise", most_items=MOST_NOISE),
    )


# ---- Folders and checkpoints of TensorFlow ---------------------------------------------------------------------------


def _checkpoint(path: Any) -> Contents:
    """What ``save_weights`` of tf.keras wrote in TensorFlow's own form."""
    found = Checkpoint(str(path).removesuffix(INDEX), path)
    return Contents("weights", checkpoint=found, numbers=found.size // 2)


def _folder(path: Any) -> Contents:
    """A SavedModel of tf.keras: what describes its layers, and a checkpoint."""
    folder = Path(path)
    if not (folder / METADATA).exists():
        if not (folder / GRAPH).exists():
            check_regular(path)  # a folder is none
        raise FormatError(
            f"{path}: a SavedModel without {METADATA}, so without layers: TensorFlow's functions alone. Export it to "
            f"ONNX, which rnnx reads: python -m tf2onnx.convert --saved-model {folder.name} --output model.onnx"
        )
    told = _tuples_undone(_description(path, read_file(folder / METADATA, LONGEST_CONFIG, METADATA)))
    config, shape = told.get("model_config"), told.get("build_input_shape")
    if not isinstance(config, dict):
        config = {"class_name": told.get("class_name"), "config": told.get("config")}
    own = config.get("config")
    if isinstance(own, dict) and shape is not None:
        config = {**config, "config": {"build_input_shape": shape, **own}}
    found = Checkpoint(folder / VARIABLES, path)
    training = told.get("training_config")
    return Contents(
        "SavedModel",
        config,
        training if isinstance(training, dict) else None,
        version_of(told.get("keras_version")),
        version_of(told.get("backend")),
        numbers=found.size // 2,
        checkpoint=found,
    )


def _description(path: Any, data: bytes) -> dict[str, Any]:
    """What a folder says of the model itself; what it says of each layer once more is not looked at."""
    who, budget = f"{path}: {METADATA}", Budget(path, MOST_DESCRIBED, f"fields in {METADATA}")
    root = None
    for number, node in fields(who, memoryview(data), budget):
        told = dict(fields(who, message_of(who, node), budget)) if number == 1 else {}
        if 3 in told and text_of(who, told[3]) == "root":
            root = bytes(message_of(who, told.get(5, memoryview(b""))))
    if root is None:
        raise FormatError(f"{who} does not describe a model")
    return parse(path, root, "its description")


def _tuples_undone(value: Any) -> Any:
    """A value of JSON with lists where TensorFlow wrote what tuples and shapes they were."""
    if isinstance(value, list):
        return [_tuples_undone(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in TUPLES and isinstance(value.get("items"), list):
        return [_tuples_undone(part) for part in value["items"]]
    return {name: _tuples_undone(part) for name, part in value.items()}


# ---- Archives --------------------------------------------------------------------------------------------------------


class _Bounded(io.FileIO):
    """A file of which no more than some bytes can be read at once, until that is lifted.

    The directory of an archive is read in one piece before anything else, and takes ten times its size in memory.
    """

    most: int | None = LONGEST_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None and size is not None and size > self.most:
            raise FormatError(f"{self.name}: a directory of {size:,} bytes in the archive, the most is {self.most:,}")
        return super().read(size) or b""


@contextmanager
def _archive(path: Any) -> Iterator[Contents]:
    """A ``.keras`` archive."""
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            file.most = None
            room = room_of(file.seek(0, 2))
            members = _members(path, archive)
            metadata = parse(path, _read(path, archive, members, "metadata.json", LONGEST_CONFIG), "metadata.json")
            config = parse(path, _read(path, archive, members, "config.json", LONGEST_CONFIG), "config.json")
            if ARCHIVED_WEIGHTS not in members:
                names = [name for name in members if "weights" in name]
                others = ", ".join(printable(name, 60) for name in sorted(names)[:20]) or "none"
                raise FormatError(f"{path}: there is no {ARCHIVED_WEIGHTS} in the archive (weights: {others})")
            data = _read(path, archive, members, ARCHIVED_WEIGHTS, room)
            vocabularies = _vocabularies(path, archive, members)
    except FormatError:
        raise
    except ZIP_ERRORS as error:
        raise FormatError(f"{path}: the archive is damaged or cut off: {error}") from error
    with opened(path, data, room) as root:
        yield Contents(
            "model",
            config,
            config.get("compile_config") or None,
            version_of(metadata.get("keras_version")),
            None,
            root,
            False,
            root.file.room // 4,
            root.group("optimizer/vars"),
            metadata.get(NOISE),
            vocabularies=vocabularies,
        )


def _vocabularies(path: Any, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, str]:
    """The words of layers that have some, by the paths of the layers."""
    found, left, words = {}, LONGEST_WORDS, Budget(path, MOST_WORDS, "words of vocabularies")
    for name in members:
        start, _, end = name.replace("\\", "/").rpartition("/")
        if start.startswith(ASSETS) and end == VOCABULARY:
            data = _read(path, archive, members, name, left)
            left -= len(data)
            words.spend(data.count(b"\n"))
            found[start.removeprefix(ASSETS)] = data.decode("utf-8", "replace")
    return found


def _members(path: Any, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their names; none twice, and none in the bytes of another."""
    members: dict[str, zipfile.ZipInfo] = {}
    reached = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        who = f"{path}: member {member.filename[:200]!r}"
        if member.filename in members:
            raise FormatError(f"{who} is in the archive twice")
        if member.header_offset < reached:
            raise FormatError(f"{who} overlaps another")
        if member.compress_type not in COMPRESSIONS:
            raise FormatError(f"{who} is compressed in a way that Keras does not use ({member.compress_type})")
        reached = member.header_offset + LOCAL_HEADER + member.compress_size
        members[member.filename] = member
    return members


def _read(path: Any, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, most: int) -> bytes:
    """The bytes of a member, its checksum compared."""
    if name not in members:
        raise FormatError(f"{path}: there is no {name} in the archive; is it a file of Keras?")
    if members[name].file_size > most:
        raise FormatError(f"{path}: {name} would have {members[name].file_size} bytes, more than such a file can hold")
    with archive.open(members[name]) as member:
        data = member.read(most + 1)
    if len(data) > most:
        raise FormatError(f"{path}: {name} has more bytes than it says")
    return data
