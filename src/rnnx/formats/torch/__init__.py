"""PyTorch's files without PyTorch: state dicts to layers and back.

`load` finds the recurrent modules, Linear, Embedding, convolutions and norms of a ``.pt``, ``.pth`` or ``.safetensors``
file by the names and shapes of their parameters; `state_dict` and `save` go the other way, and `load_weights` fills a
model that exists. No pickled code is ever run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rnnx._typing import Array
from rnnx.formats._limits import printable
from rnnx.formats.torch import _chain, _classes, _write
from rnnx.formats.torch._archive import quoted
from rnnx.formats.torch._modules import MOST_LAYERS, Space, kind_of, layers_of, make_layer, modules_of, spoken
from rnnx.formats.torch._slots import Slot, slots
from rnnx.formats.torch._state import State, read_state
from rnnx.layers.weight import changing
from rnnx.models import Model, Sequential
from rnnx.saving import FormatError

__all__ = [
    "check",
    "describe",
    "load",
    "load_model",
    "load_weights",
    "save",
    "save_model",
    "save_weights",
    "state_dict",
]

MOST_FAULTS = 12  # that are named in one message


def load(
    source: Any,
    *,
    modules: Iterable[str] | None = None,
    key: str | None = None,
    nonlinearity: str = "tanh",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    return_state: bool = False,
) -> dict[str, Any]:
    """Layers with the weights of a PyTorch file or state dict.

    Parameters
    ----------
    source : path or mapping
        A file of ``torch.save`` (state dict, checkpoint around one, whole module, TorchScript archive) or of
        safetensors; or a state dict itself, of NumPy arrays or tensors.
    modules : iterable of str, optional
        Names of the modules that are wanted; all if not given. A name stands for everything below it too.
    key : str, optional
        The entry of a checkpoint that is wanted, if it has several state dicts.
    nonlinearity : {"tanh", "relu"}
        Of every ``nn.RNN``: the file does not say it.
    options : dict of str to dict, optional
        By module, what the file does not say: ``nonlinearity`` of an RNN; ``kind``, ``"Embedding"`` or ``"Linear"``,
        of a matrix without bias (an Embedding if "emb" is in its name); ``strides``, ``padding`` (a word, or PyTorch's
        numbers of zeros), ``dilation_rate``,
        ``groups`` of a convolution; ``epsilon`` (1e-5) of a norm, ``momentum`` (0.9) of a BatchNorm, ``groups`` of a
        GroupNorm, whose arrays are those of a LayerNorm.
    return_state : bool
        Recurrent layers return ``[y, *final states]``, those of all layers and directions in order.

    Returns
    -------
    dict of str to layer or model
        By module name; the module that is the whole file is ``""``. A recurrent module of one layer is a LSTM, GRU,
        SimpleRNN or Bidirectional, one of several layers (or with ``proj_size``) a model, as is a convolution behind
        zeros that "same" does not stand for. All take input of shape
        (batch, timesteps, features) and give all outputs; with ``lengths=`` padded steps are 0, as
        ``pad_packed_sequence`` gives them.

    Raises
    ------
    FormatError
        If the file is damaged or would run code, if it asks for more than the limits of files allow, or a module is
        unknown; it is named.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> from rnnx.formats import torch
    >>> arrays = {"rnn.weight_ih_l0": np.ones((12, 5)), "rnn.weight_hh_l0": np.ones((12, 4)),
    ...           "rnn.bias_ih_l0": np.ones(12), "rnn.bias_hh_l0": np.ones(12)}
    >>> torch.load(arrays)["rnn"](np.ones((2, 7, 5))).shape
    (2, 7, 4)
    """
    return _layers(read_state(source, key), modules, nonlinearity, options, return_state)


def _layers(
    state: State,
    modules: Any,
    nonlinearity: str = "tanh",
    options: Any = None,
    return_state: bool = False,
) -> dict[str, Any]:
    """See `load`."""
    found = modules_of(state.arrays)
    wanted = None if modules is None else [modules] if isinstance(modules, str) else list(modules)
    given = dict(options or {})
    for name in [*(wanted or []), *given]:
        if not any(_is_below(module, name) for module in found):
            raise FormatError(f"{state.who}: there is no module {name!r}; there are {_listed(found)}")
    chosen: list[tuple[str, str, dict[str, Array], dict[str, Any]]] = []
    faults: list[str] = []
    for name, parts in found.items():
        if wanted is not None and not any(_is_below(name, one) for one in wanted):
            continue
        own = dict(given.get(name, {}))
        kind = kind_of(name, parts, own)
        if kind == "nothing":
            continue
        if name in state.modules:
            try:
                kind, said, parts = _classes.settled(name, state.modules[name], kind, parts)
            except FormatError as error:
                faults.append(str(error))
                continue
            own = {**said, **own}
        if kind is None:
            faults.append(f"module {quoted(name)} with {_listed(parts)} is of a kind that rnnx does not have")
            continue
        if kind in ("recurrent", "cell"):
            own = {"nonlinearity": nonlinearity, **own}
        chosen.append((name, kind, parts, own))
    if faults:
        more = f" and {len(faults) - MOST_FAULTS:,} more" if len(faults) > MOST_FAULTS else ""
        known = f"; the others are modules=[{_listed(name for name, *_ in chosen)}]" if chosen else ""
        raise FormatError(
            f"{state.who}: {'; '.join(faults[:MOST_FAULTS])}{more}; name the modules you want by modules=[...]{known}"
        )
    count = sum(layers_of(kind, parts) for _, kind, parts, _ in chosen)
    if count > MOST_LAYERS and state.kind != "mapping":
        raise FormatError(
            f"{state.who}: modules of {count:,} layers, the most that is read at once is {MOST_LAYERS:,}; name those "
            "you want by modules=[...]"
        )
    made: dict[str, Any] = {}
    space = Space.of_file(state.size)
    for name, kind, parts, own in chosen:
        try:
            made[name] = make_layer(name, kind, parts, own, return_state=return_state, space=space)
        except FormatError as error:
            raise FormatError(f"{state.who}: {error}") from error
        except MemoryError as error:
            if state.kind == "mapping":
                raise
            raise FormatError(f"{state.who}: module {quoted(name)} needs more memory than there is") from error
    if not made:
        raise FormatError(f"{state.who}: there are no modules with weights")
    return made


def _is_below(module: str, name: str) -> bool:
    return module == name or name == "" or module.startswith(f"{name}.")


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    shown = [printable(repr(name[:200]), 80) for name in found[:12]]
    return ", ".join(shown) + (f" and {len(found) - 12:,} more" if len(found) > 12 else "")


def _slots(layers: Any, prefix: str) -> list[Slot]:
    """The slots of a layer, a model, or layers by name."""
    if isinstance(layers, Mapping):
        parts = layers.items()
        return [slot for name, layer in parts for slot in slots(layer, prefix + (f"{name}." if name else ""))]
    return list(slots(layers, prefix))


def state_dict(layers: Any, prefix: str = "") -> dict[str, Array]:
    """Weights under PyTorch's names and in its layout.

    Parameters
    ----------
    layers : layer, model, or dict of str to layer
        Layers of a model are named after themselves, ``"lstm.weight_ih_l0"``; a chain of like recurrent layers is one
        module of several layers, ``"weight_ih_l0"``, ``"weight_ih_l1"``.
    prefix : str
        Comes before every name, such as ``"encoder."``.

    Returns
    -------
    dict of str to array
        Copies. ``module.load_state_dict({k: torch.from_numpy(v) for k, v in ...items()}, strict=True)`` takes them.

    Raises
    ------
    FormatError
        If a layer computes what no module of PyTorch does; the layer and the argument are named.
    """
    made: dict[str, Array] = {}
    for slot in _slots(layers, prefix):
        for name, array in slot.export().items():
            if name in made:
                raise FormatError(f"two layers are named alike: {name!r} is there twice")
            made[name] = array.copy()
    return made


def save(layers: Any, path: Any, *, prefix: str = "", overwrite: bool = True) -> None:
    """Write a state dict for PyTorch.

    Parameters
    ----------
    layers, prefix
        See `state_dict`.
    path : path
        ``.pt`` or ``.pth`` for ``torch.load(path, weights_only=True)``, ``.safetensors`` for
        ``safetensors.torch.load_file``.
    overwrite : bool

    Raises
    ------
    FormatError
        As `state_dict`, or if the suffix is another.
    OSError
        If the file cannot be written; an old one is still there.
    """
    _write.write(path, state_dict(layers, prefix), overwrite=overwrite)


def load_weights(layers: Any, source: Any, *, prefix: str = "", key: str | None = None) -> None:
    """Fill layers that exist with the weights of a PyTorch file: the other way of `state_dict`.

    Parameters
    ----------
    layers, prefix
        See `state_dict`: the names must be those that it gives.
    source, key
        See `load`.

    Raises
    ------
    FormatError
        If a name is missing, is left over or has another shape; nothing is changed then.
    """
    state = read_state(source, key)
    places = _slots(layers, prefix)
    expected = {name for slot in places for name in slot.names()}
    if left := [name for name in state.arrays if name not in expected and name.startswith(prefix)]:
        raise FormatError(f"{state.who}: no layer takes {_listed(left)}")
    try:
        assignments = [pair for slot in places for pair in slot.arrange(state.arrays)]
    except FormatError as error:
        raise FormatError(f"{state.who}: {error}") from error
    with changing([weight for weight, _ in assignments]):
        for weight, array in assignments:
            weight.assign(array)


# ---- As rnnx.saving asks for it -------------------------------------------------------------------------------------


def save_weights(model: Any, path: Any, *, overwrite: bool = True) -> None:
    """See `rnnx.saving.save_weights`."""
    save(model, path, overwrite=overwrite)


def check(model: Any, path: Any, *, weights_only: bool = False) -> None:
    """See `rnnx.saving.check_kind`."""
    if not weights_only:
        save_model(model, path)


def save_model(model: Any, path: Any, *, include_optimizer: bool | None = None, overwrite: bool = True) -> None:
    """Refused: a state dict holds weights and no structure."""
    raise FormatError(
        f"{path}: PyTorch's files hold weights, not the structure of a model; use model.save_weights({str(path)!r})"
    )


def load_model(path: Any, *, compile: bool = True, modules: Iterable[str] | None = None, **options: Any) -> Any:
    """A model that is the chain of some modules of a file.

    Parameters
    ----------
    path : path
    compile : bool
        Without effect: the file holds no state of training that rnnx reads.
    modules : iterable of str, optional
        In the order of the chain. May be left out if the file has one module only, because a state dict does not say
        how modules are connected, or if it is a pickled ``nn.Sequential``, which does. Of a whole module those
        without parameters can be named too, such as activations, and each ``nn.Sequential`` in it.
    **options
        See `load`.

    Raises
    ------
    FormatError
        If the order is needed, or widths do not fit.
    """
    names = None if modules is None else [modules] if isinstance(modules, str) else list(modules)
    if (chain := _pickled_chain(path, names, options)) is not None:
        return chain
    layers = load(path, modules=names, **options)
    if names is None and len(layers) > 1:
        raise FormatError(
            f"{path}: {len(layers)} modules ({_listed(layers)}) and no word on how they are connected; name those of a "
            "chain in order, or use rnnx.formats.torch.load(path) for all of them"
        )
    chain = [layers[name] if name in layers else None for name in names or layers]
    if None in chain:
        raise FormatError(f"{path}: {_listed(names or [])} must be modules with weights; there are {_listed(layers)}")
    if len(chain) == 1 and isinstance(chain[0], Model):
        return chain[0]
    return _joined(path, chain, _input_shape(chain[0]))


def _joined(path: Any, chain: list[Any], shape: tuple[Any, ...]) -> Any:
    """The model of a chain."""
    model = Sequential(chain)
    try:
        model.build(shape)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: the modules do not make a chain: {error}") from error
    return model


def _pickled_chain(path: Any, names: list[str] | None, options: dict[str, Any]) -> Any:
    """The model of modules whose order or arguments a whole module says; None if the file has no such modules."""
    options = dict(options)
    state = read_state(path, options.pop("key", None))
    wanted = [""] if names is None else names
    known = [state.modules.get(name) for name in wanted]
    if not all(known) or not any(_chain.is_sequential(one) or _chain.is_layer(one) for one in known):
        return None
    try:
        parts = [_chain.modules_in(name, state.modules) for name in wanted]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    weighted = modules_of(state.arrays).keys()
    inside = [name for part in parts for name, _ in part if name in weighted]
    made = _layers(state, inside, **options) if inside else {}
    try:
        chain = [layer for part in parts for layer in _chain.chain_of(part, made)]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    first = next((layer for layer in chain if layer.weights), None)
    if first is None:
        raise FormatError(f"{path}: there are no modules with weights")
    shape = _input_shape(first)
    kinds = {_classes.class_of(module) for part in parts for _, module in part}
    if not kinds & _chain.WITH_STEPS:
        return _joined(path, chain, (shape[0], shape[-1]))
    rank = max(_chain.RANKS.get(kind or "", 1) for kind in kinds)
    return _joined(path, chain, (None, *[None] * rank, shape[-1]) if rank > 1 else shape)


def _input_shape(layer: Any) -> tuple[Any, ...]:
    """Of a batch of sequences for the first layer of a chain."""
    from rnnx.layers import Embedding

    if isinstance(layer, Embedding):
        return (None, None)
    if isinstance(layer, Model):
        return tuple(layer.input_shape)
    first = layer.weights[0].shape
    places = [None] * getattr(layer, "rank", 1)
    return (None, *places, first[-2] * getattr(layer, "groups", 1) if len(first) > 1 else first[0])


def describe(path: Any) -> dict[str, Any]:
    """What `rnnx info` prints: modules, shapes and warnings, without making layers."""
    state: State = read_state(path)
    rows, warnings = [], list(state.warnings)
    for name, parts in modules_of(state.arrays).items():
        kind = kind_of(name, parts, {})
        if kind != "nothing" and name in state.modules:
            try:
                kind, _, parts = _classes.settled(name, state.modules[name], kind, parts)
            except FormatError as error:
                warnings.append(str(error))
                shapes = {leaf: (str(array.dtype), array.shape) for leaf, array in parts.items()}
                rows.append({"name": name, "class": state.modules[name].kind.name, "weights": shapes})
                continue
        if kind is None:
            warnings.append(f"module {quoted(name)} ({_listed(parts)}) is of a kind that rnnx does not have")
        try:
            words = spoken(name, kind, parts)
        except FormatError as error:
            words = "unknown"
            warnings.append(str(error))
        shapes = {leaf: (str(array.dtype), array.shape) for leaf, array in parts.items()}
        rows.append({"name": name, "class": words, "weights": shapes})
    return {
        "framework": "PyTorch",
        "version": None,
        "container": state.kind,
        "notes": state.notes,
        "kind": "weights",
        "layers": rows,
        "warnings": warnings,
    }
