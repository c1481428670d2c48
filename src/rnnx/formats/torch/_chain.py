"""A pickled ``nn.Sequential`` as a chain of layers, those without parameters too.

PyTorch's convolutions take (batch, channels, timesteps) or (batch, channels, rows, columns), its other modules and all
layers here the features last. So a chain is followed with where its features are: "last" as here, "first" as in a
convolution, or "flat" without timesteps, and with how many axes of places there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rnnx import layers
from rnnx.formats.torch._archive import quoted
from rnnx.formats.torch._classes import (
    Attributes,
    attributes_of,
    class_of,
    numbers,
    only,
    real,
    refused,
)
from rnnx.formats.torch._slots import is_padded
from rnnx.formats.torch._values import Instance
from rnnx.models import Model
from rnnx.saving import FormatError

MOST_MODULES = 2_000  # of a chain; a layer of a model takes up to a millisecond
FEATURES_LAST = ("Linear", "LayerNorm", "LSTM", "GRU", "RNN")
RANKS = {  # axes of places of the modules that take their channels first
    f"{kind}{rank}d": rank
    for kind in ("Conv", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Dropout", "BatchNorm")
    for rank in (1, 2, 3)
    if (kind, rank) != ("BatchNorm", 1)  # which also takes (batch, features)
}
CHANNELS_FIRST = (*RANKS, "SyncBatchNorm")
WITH_STEPS = {*CHANNELS_FIRST, "LSTM", "GRU", "RNN", "Embedding"}


def is_sequential(module: Any) -> bool:
    """Whether a module is a pickled ``nn.Sequential``, not a class that was derived from it."""
    if not isinstance(module, Instance):
        return False
    return (module.kind.module, module.kind.name) == ("torch.nn.modules.container", "Sequential")


def is_layer(module: Any) -> bool:
    """Whether a module without parameters has a layer."""
    return isinstance(module, Instance) and class_of(module) in WITHOUT_WEIGHTS


def modules_in(name: str, modules: Mapping[str, Instance]) -> list[tuple[str, Instance]]:
    """The modules of a chain in its order, those of chains inside it too; one of another class is a chain of itself."""
    made: list[tuple[str, Instance]] = []
    waiting = [name]
    while waiting:
        name = waiting.pop()
        module = modules[name]
        if not is_sequential(module):
            made.append((name, module))
        else:
            inner = attributes_of(module).get("_modules")
            names = (
                [part for part, own in inner.items() if isinstance(own, Instance)] if isinstance(inner, dict) else []
            )
            waiting += [f"{name}.{part}" if name else part for part in reversed(names)]
        if len(made) + len(waiting) > MOST_MODULES:
            raise FormatError(f"a chain of more than {MOST_MODULES:,} modules, the most that is read")
    return made


def rank_of(kinds: Iterable[str | None]) -> int:
    """Axes of places of a chain of these classes.

    Raises
    ------
    FormatError
        If they do not agree.
    """
    ranks = {RANKS[kind]: kind for kind in kinds if kind in RANKS}
    if len(ranks) > 1:
        raise FormatError(f"{' and '.join(ranks.values())} in one chain do not take the same input")
    return next(iter(ranks), 1)


def chain_of(parts: list[tuple[str, Instance]], made: Mapping[str, Any]) -> list[Any]:
    """The layers of a chain.

    Parameters
    ----------
    parts : list of str and Instance
        As `modules_in` gives them.
    made : dict of str to layer
        Those with parameters.

    Raises
    ------
    FormatError
        If one has no layer, or takes its features where they are not; all that have no layer are named.
    """
    faults: list[str] = []
    chain: list[Any] = []
    kinds = [class_of(module) for _, module in parts]
    features, rank = "flat", rank_of(kinds)
    if WITH_STEPS & {kind for kind in kinds if kind}:
        features = next("first" if k in CHANNELS_FIRST else "last" for k in kinds if k in WITH_STEPS or k == "Linear")
    for place, (name, module) in enumerate(parts):
        kind = kinds[place] or ""
        try:
            _check_features(kind, features)
            if name in made:
                chain += zeros_and_layer(made[name])
                if kind in ("LSTM", "GRU", "RNN") and place + 1 < len(parts):
                    raise FormatError(f"a {kind} returns a tuple, which no module of a Sequential takes")
            elif kind in WITHOUT_WEIGHTS:
                chain += WITHOUT_WEIGHTS[kind](attributes_of(module), features, rank)
            else:
                raise refused(name, module)
        except FormatError as error:
            text = str(error)
            faults.append(text if text.startswith("module ") else f"module {quoted(name)} ({kind}): {text}")
        if kind == "Flatten":
            _widths_behind(chain, parts[place + 1 :], made)
            features = "flat"
    if faults:
        raise FormatError("; ".join(faults))
    return chain


def zeros_and_layer(made: Any) -> list[Any]:
    """The layers of a convolution and of the zeros around its input; any other layer or model alone."""
    return made.layers[-2:] if isinstance(made, Model) and is_padded(made) else [made]


def _check_features(kind: str, features: str) -> None:
    if kind in FEATURES_LAST and features == "first":
        raise FormatError(
            "it takes the timesteps of the convolution before it as features; put a permutation between them"
        )
    if kind in CHANNELS_FIRST and features == "last":
        raise FormatError("it takes the timesteps of the module before it as channels; put a permutation between them")
    if kind in RANKS and features == "flat":
        raise FormatError("it takes what a Flatten before it has made one row of")
    if kind in ("BatchNorm1d", "GroupNorm") and features == "last":
        raise FormatError("it normalizes timesteps here, not features; that is not supported")


def _widths_behind(chain: list[Any], rest: list[tuple[str, Instance]], made: Mapping[str, Any]) -> None:
    """Give a Flatten the width that the next module takes, so that the number of timesteps need not be known."""
    after = next((made[name] for name, _ in rest if name in made), None)
    if chain and isinstance(chain[-1], layers.Flatten) and isinstance(after, layers.Dense):
        chain[-1] = layers.Reshape((after.weights[0].shape[0],))


# ---- Modules without parameters --------------------------------------------------------------------------------------

Made = Iterator[Any]
Maker = Callable[[Attributes, str, int], Made]  # arguments, where the features are, axes of places


def _activation(name: str, **expected: Any) -> Maker:
    """An activation; its arguments must have the values that are expected."""

    def make(attributes: Attributes, features: str, rank: int) -> Made:
        for word, value in expected.items():
            only(attributes, word, value)
        yield layers.Activation(name)

    return make


def _relu(**fixed: float) -> Maker:
    def make(attributes: Attributes, features: str, rank: int) -> Made:
        yield layers.ReLU(**fixed)

    return make


def _leaky_relu(attributes: Attributes, features: str, rank: int) -> Made:
    slope = real(attributes, "negative_slope", 0.01)
    if slope < 0:
        raise FormatError(f"negative_slope={slope:g} is not supported, only from 0 on")
    yield layers.ReLU(negative_slope=slope)


def _hardtanh(attributes: Attributes, features: str, rank: int) -> Made:
    if real(attributes, "min_val", -1.0) or real(attributes, "max_val", 1.0) < 0:
        raise FormatError(f"min_val={real(attributes, 'min_val', -1.0):g} is not supported, only 0")
    yield layers.ReLU(max_value=real(attributes, "max_val", 1.0))


def _softmax(attributes: Attributes, features: str, rank: int) -> Made:
    dim = attributes.get("dim")
    if features == "flat":
        only(attributes, "dim", -1, 1, None)
        yield layers.Softmax()
        return
    axes = rank + 2
    known = [*range(-axes + 1, 0), *range(1, axes)]
    if type(dim) is not int or dim not in known:
        raise FormatError(
            f"dim={str(dim)[:100]} is not supported, only {', '.join(map(str, known[:-1]))} or {known[-1]}"
        )
    axis = dim % axes if features == "last" else axes - 1 if dim % axes == 1 else dim % axes - 1
    yield layers.Softmax(axis=-1 if axis == axes - 1 else axis)


def _rate(attributes: Attributes) -> float:
    rate = real(attributes, "p", 0.5)
    if not 0 <= rate < 1:
        raise FormatError(f"p={rate:g} is not supported, only from 0 to below 1")
    return rate


def _noise(make: Any) -> Maker:
    def dropout(attributes: Attributes, features: str, rank: int) -> Made:
        yield make(_rate(attributes))

    return dropout


def _channels(make: Any) -> Maker:
    def dropout(attributes: Attributes, features: str, rank: int) -> Made:
        if features != "first":
            raise FormatError("it drops channels of (batch, channels, timesteps) only")
        yield make(_rate(attributes))

    return dropout


def _pool(make: Any) -> Maker:
    def pool(attributes: Attributes, features: str, rank: int) -> Made:
        for word, value in (("padding", 0), ("dilation", 1), ("ceil_mode", False), ("return_indices", False)):
            only(attributes, word, value)
        only(attributes, "divisor_override", None)
        sizes = numbers(attributes, "kernel_size", 0, rank)
        own = {**attributes, "stride": sizes} if attributes.get("stride") is None else attributes
        strides = numbers(own, "stride", 0, rank)
        yield make(*(sizes + strides if rank == 1 else (sizes, strides)))

    return pool


def _pool_all(make: Any) -> Maker:
    def pool(attributes: Attributes, features: str, rank: int) -> Made:
        only(attributes, "output_size", 1)
        only(attributes, "return_indices", False)
        yield make(keepdims=True)

    return pool


def _flatten(attributes: Attributes, features: str, rank: int) -> Made:
    only(attributes, "start_dim", 1)
    only(attributes, "end_dim", -1)
    if features == "first":
        yield layers.Permute((rank + 1, *range(1, rank + 1)))
    if features != "flat":
        yield layers.Flatten()


def _nothing(attributes: Attributes, features: str, rank: int) -> Made:
    yield from ()


WITHOUT_WEIGHTS: dict[str, Maker] = {
    "Identity": _nothing,
    "ReLU": _relu(),
    "ReLU6": _relu(max_value=6.0),
    "LeakyReLU": _leaky_relu,
    "Hardtanh": _hardtanh,
    "ELU": _activation("elu", alpha=1.0),
    "SELU": _activation("selu"),
    "SiLU": _activation("silu"),
    "GELU": _activation("gelu", approximate="none"),
    "Tanh": _activation("tanh"),
    "Sigmoid": _activation("sigmoid"),
    "Hardsigmoid": _activation("hard_sigmoid"),
    "Softplus": _activation("softplus", beta=1.0, threshold=20.0),
    "Softsign": _activation("softsign"),
    "Softmax": _softmax,
    "Dropout": _noise(layers.Dropout),
    "AlphaDropout": _noise(layers.AlphaDropout),
    **{
        f"{kind}{rank}d": make(layer)
        for kind, make, own in (
            ("Dropout", _channels, (layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)),
            ("MaxPool", _pool, (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)),
            ("AvgPool", _pool, (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)),
            (
                "AdaptiveMaxPool",
                _pool_all,
                (layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
            ),
            (
                "AdaptiveAvgPool",
                _pool_all,
                (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
            ),
        )
        for rank, layer in enumerate(own, 1)
    },
    "Flatten": _flatten,
}
