"""Files of Keras 1, 2 and 3 and of tf.keras, without Keras: models and weights read and written.

Neither needs any other package, and nothing in a file is ever run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rnnx._config import custom_object_scope, named_objects
from rnnx.formats._compiled import Custom, says_compiled
from rnnx.formats._limits import printable, read_file, reading, warn_of
from rnnx.formats.keras import _defaults, _describe, _optimizer, _vocabularies, _weights, _write
from rnnx.formats.keras._container import LONGEST_CONFIG, Contents, contents, parse, version_of
from rnnx.formats.keras._dialect import dialect_of
from rnnx.formats.keras._graph import Models
from rnnx.formats.keras._training import compile_like
from rnnx.layers.layer import Layer
from rnnx.layers.limits import weights_limited
from rnnx.saving import FormatError, check_compat

__all__ = ["check", "describe", "from_json", "load_model", "load_weights", "save_model", "save_weights"]

MOST_SLOTS = 8  # arrays that an optimizer keeps for one weight: Keras' own have three at most


def _classes(custom_objects: dict[str, Any] | None) -> dict[str, Any]:
    """Layer classes of the user by their names in a file: those of the scope at hand, and those that are given."""
    known = {name: kind for name, kind in named_objects().items() if isinstance(kind, type) and issubclass(kind, Layer)}
    return {**known, **(custom_objects or {})}


def _reading(path: Any) -> AbstractContextManager[None]:
    return reading(path, "the file is damaged or not of Keras")


def load_model(path: Any, *, compile: bool = True, custom_objects: dict[str, Any] | None = None) -> Any:
    """Read a model.

    Parameters
    ----------
    path : path
        A ``.keras`` file (Keras 3, tf.keras from 2.12), ``.h5`` / ``.hdf5`` (Keras 1, 2, 3, tf.keras), or a folder
        (SavedModel) of tf.keras that holds ``keras_metadata.pb``.
    compile : bool
        Compile it as it was. The optimizer goes on from its state in files of Keras 3 and rnnx, afresh in older ones.
    custom_objects : dict, optional
        Layer classes, losses, metrics, optimizers and functions of your own, by the names they have in the file.

    Returns
    -------
    Model
        Its recurrent layers have the ``compat`` profile of the version that wrote the file.

    Raises
    ------
    FormatError
        If the file is damaged, holds weights alone, or a layer cannot be honoured; the layer is named.
    OSError
        If it cannot be read.

    Warns
    -----
    UserWarning
        About what means something else in training than in the file.
    """
    if Path(path).suffix.lower() == ".json":
        raise FormatError(f"{path}: holds no weights; use rnnx.formats.keras.from_json(text, weights=...)")
    with custom_object_scope(custom_objects or {}), _reading(path), contents(path) as found:
        if found.config is None:
            raise FormatError(
                f"{path}: holds weights, not a model; use model.load_weights(path), or "
                "rnnx.formats.keras.from_json(text, weights=path) with what model.to_json() gave"
            )
        made = Models(path, dialect_of(found.version, found.config), _classes(custom_objects))
        with weights_limited(found.numbers):
            model = made.make(found.config)
        _fill(model, found, made.order, path)
        notes = list(made.layers.warnings)
        if compile and found.training:
            custom = Custom(custom_objects, any_name=True)
            notes += compile_like(model, found.training, custom)
            if model.optimizer is not None:
                notes += _go_on(model, found, made.order, path)
    if notes:
        warn_of(path, notes)
    return model


def from_json(text: str, *, weights: Any = None, custom_objects: dict[str, Any] | None = None) -> Any:
    """A model from what ``model.to_json()`` of Keras gave, and its weights from another file.

    Parameters
    ----------
    text : str
        The JSON text, of any generation.
    weights : path, optional
        A ``.h5`` or ``.weights.h5`` file; without it the weights are fresh.
    custom_objects : dict, optional
        Layer classes of your own, by the names they have in the file.

    Raises
    ------
    FormatError
        If the text or the file cannot be honoured.
    OSError
        If the file cannot be read.
    """
    where = "JSON"
    with custom_object_scope(custom_objects or {}), _reading(where):
        config = parse(where, text, "the text")
        dialect = dialect_of(version_of(config.get("keras_version")), config)
        made = Models(where, dialect, _classes(custom_objects))
        if weights is None:
            with weights_limited(None):
                model = made.make(config)
        else:
            with _reading(weights), contents(weights) as found:
                with weights_limited(found.numbers):
                    model = made.make(config)
                _fill(model, found, made.order, weights)
    if made.layers.warnings:
        warn_of(where, list(made.layers.warnings))
    return model


def load_weights(
    model: Any, path: Any, *, skip_mismatch: bool = False, by_name: bool = False, compat: str | None = None
) -> None:
    """Read the weights of a ``.keras``, ``.h5`` or ``.weights.h5`` file into a model of the same structure.

    Folders (SavedModel) of tf.keras and checkpoints, given as in TensorFlow (``cp.ckpt`` for ``cp.ckpt.index`` and
    ``cp.ckpt.data-00000-of-00001``), are read too.

    Parameters
    ----------
    model : Model
    path : path
    skip_mismatch : bool
        Layers whose arrays are missing or of another shape keep their weights, and a warning names them.
    by_name : bool
        Of files with weights by layer (``.h5``): only layers whose names are in the file get weights.
    compat : {None, "auto", "keep"}
        What happens if the version that wrote the file had other defaults than the layers of the model have: the gates
        of LSTM and GRU were ``hard_sigmoid_keras2`` up to Keras 2.2, a GRU had ``reset_after=False`` before tf.keras 2
        and Keras 3. None warns; ``"auto"`` sets these arguments and ``compat`` of the layers, before any training;
        ``"keep"`` says nothing.

    Raises
    ------
    FormatError
        If they do not fit; the model is as before then.
    ValueError
        If ``compat`` is none of these, or the file does not go by names of layers.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If outputs are not those of the program that wrote the file; the argument and its value are named.
    """
    check_compat(compat)
    if not model.built:
        raise FormatError(f"{path}: {model.name!r} is not built yet; call it once first, or give it an input shape")
    with _reading(path), contents(path) as found:
        if by_name and not found.legacy:
            raise FormatError(f"{path}: `by_name` is for .h5 files with weights by layer; this one goes by structure")
        skipped: list[str] | None = [] if skip_mismatch else None
        fillings = _fillings(model, found, {}, path, by_name, skipped)
        if skipped is not None:
            fillings = _weights.fitting(path, fillings, skipped)
        changes = _defaults.changes_of(model, fillings, found)
        made: list[Any] = []
        if compat == "auto":
            made, changes = _defaults.apply(changes, found)
        try:
            _weights.put(path, fillings)
        except BaseException:
            _defaults.take_back(made)
            raise
    note = None if compat == "keep" else _defaults.warning_of(changes, found)
    notes = [f"left as it was: {reason}" for reason in skipped or []] + ([] if note is None else [note])
    if notes:
        warn_of(path, notes)


def _go_on(model: Any, found: Contents, orders: dict[int, Any], path: Any) -> list[str]:
    """Let the optimizer and the noise of a model go on from what is in its file; notes why they do not."""
    notes = []
    if found.optimizer is not None and str(found.version).startswith("3."):
        group = found.optimizer
        names = group.texts("weight_names") if found.legacy else [str(k) for k in range(len(group.names()))]
        note: str | None = "it has too many arrays"
        if len(names or []) <= MOST_SLOTS * (1 + len(model.weights)):
            note = _optimizer.restore(model, [group.array(name) for name in names or []], orders)
        if note is not None:
            notes.append(f"the optimizer starts afresh, its state does not fit: {note}")
    generators = model.seed_generators()
    if found.noise is not None:
        if not isinstance(found.noise, list) or len(found.noise) != len(generators):
            raise FormatError(
                f"{path}: there must be noise for {len(generators)} sources, got {printable(found.noise)}"
            )
        for generator, state in zip(generators, found.noise, strict=True):
            if not isinstance(state, list) or len(state) != 2 or not all(type(n) is int for n in state):
                raise FormatError(f"{path}: the noise of a source must be its seed and counter, got {printable(state)}")
            generator.state = state
    return notes


def _fill(model: Any, found: Contents, orders: dict[int, Any], path: Any) -> None:
    _weights.put(path, _fillings(model, found, orders, path))
    _vocabularies.put(model, found, orders, path)


def _fillings(
    model: Any,
    found: Contents,
    orders: dict[int, Any],
    path: Any,
    by_name: bool = False,
    skipped: list[str] | None = None,
) -> list[_weights.Filling]:
    if found.checkpoint is not None:
        return _weights.from_objects(model, found.checkpoint.root, orders, path, skipped)
    if found.weights is None:
        raise FormatError(f"{path}: there are no weights in the file")
    if found.legacy:
        return _weights.from_lists(model, found.weights, orders, found.backend, only_named=by_name, skipped=skipped)
    return _weights.from_tree(model, found.weights, orders, skipped)


def save_model(model: Any, path: Any, *, include_optimizer: bool | None = None, overwrite: bool = True) -> None:
    """Write a ``.keras`` or ``.h5`` file that Keras 3 opens.

    Parameters
    ----------
    model : Model
    path : path
        ``.keras``, or ``.h5`` / ``.hdf5`` in the older form that Keras 3 reads as well.
    include_optimizer : bool, optional
        Also loss, metrics and the optimizer with its state; if not given, of a compiled model.
    overwrite : bool

    Raises
    ------
    FormatError
        If the model has something that Keras 3 does not know; it is named.
    OSError
        If the file cannot be written; an old one is still there.
    """
    check(None, path)
    _write.save_model(model, path, says_compiled(model, path, include_optimizer), overwrite)


def check(model: Any, path: Any, *, weights_only: bool = False) -> None:
    """See `rnnx.saving.check_kind`."""
    suffix = Path(path).suffix.lower()
    if suffix not in ((".h5", ".hdf5") if weights_only else (".keras", ".h5", ".hdf5")):
        what = (
            "weights are written for Keras as .weights.h5 or .h5"
            if weights_only
            else ("models are written for Keras as .keras, or .h5")
        )
        raise FormatError(f"{path}: {what} files")
    if model is not None and not weights_only:
        _write.check(model, path)


def save_weights(model: Any, path: Any, *, overwrite: bool = True) -> None:
    """Write the weights as ``model.load_weights`` of Keras 3 reads them: ``.weights.h5``, or the older ``.h5``.

    Raises
    ------
    FormatError
        If the name does not end so, or the model is not built.
    OSError
        If the file cannot be written.
    """
    check(None, path, weights_only=True)
    _write.save_weights(model, path, overwrite)


def describe(path: Any) -> dict[str, Any]:
    """What ``rnnx info`` prints: who wrote a file, the profile that was chosen and why, layers, warnings.

    Parameters
    ----------
    path : path
        A model, weights, or a ``.json`` file of ``model.to_json()``.

    Raises
    ------
    FormatError
        If the file is damaged.
    OSError
        If it cannot be read.
    """
    with _reading(path):
        if Path(path).suffix.lower() == ".json":
            config = parse(path, read_file(path, LONGEST_CONFIG, "the text"), "the text")
            return _describe.description(path, Contents("structure", config))
        with contents(path) as found:
            return _describe.description(path, found)
