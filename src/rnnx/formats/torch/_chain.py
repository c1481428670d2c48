"""A pickled ``nn.Sequential`` as a chain of layers, those without parameters too.

PyTorch's convolutions take (batch, channels, timesteps), its other modules and all layers here the features last. So a
chain is followed with where its features are: "last" as here, "first" as in a convolution, or "flat" without timesteps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rnnx import layers
from rnnx.formats.torch._archive import quoted
from rnnx.formats.torch._classes import Attributes, attributes_of, class_of, number, only, real, refused, zeros_before
from rnnx.formats.torch._values import Instance
from rnnx.saving import FormatError

MOST_MODULES = 2_000  # of a chain; a layer of a model takes up to a millisecond
FEATURES_LAST = ("Linear", "LayerNorm", "LSTM", "GRU", "RNN")
CHANNELS_FIRST = (
    "Conv1d", "MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "AdaptiveMaxPool1d", "SyncBatchNorm", "Dropout1d",
)  # fmt: skip
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
    features = "flat"
    if WITH_STEPS & {kind for kind in kinds if kind}:
        features = next("first" if k in CHANNELS_FIRST else "last" for k in kinds if k in WITH_STEPS or k == "Linear")
    for place, (name, module) in enumerate(parts):
        kind = kinds[place] or ""
        try:
            _check_features(kind, features)
            if name in made:
                if isinstance(made[name], layers.Conv1D) and (
                    zeros := zeros_before(attributes_of(module), made[name].window)
                ):
                    chain.append(layers.ZeroPadding1D(zeros))
                chain.append(made[name])
                if kind in ("LSTM", "GRU", "RNN") and place + 1 < len(parts):
                    raise FormatError(f"a {kind} returns a tuple, which no module of a Sequential takes")
            elif kind in WITHOUT_WEIGHTS:
                chain += WITHOUT_WEIGHTS[kind](attributes_of(module), features)
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


def _check_features(kind: str, features: str) -> None:
    if kind in FEATURES_LAST and features == "first":
        raise FormatError(
            "it takes the timesteps of the convolution before it as features; put a permutation between them"
        )
    if kind in CHANNELS_FIRST and features == "last":
        raise FormatError("it takes the timesteps of the module before it as channels; put a permutation between them")
    if kind in ("BatchNorm1d", "GroupNorm") and features == "last":
        raise FormatError("it normalizes timesteps here, not features; that is not supported")


def _widths_behind(chain: list[Any], rest: list[tuple[str, Instance]], made: Mapping[str, Any]) -> None:
    """Give a Flatten the width that the next module takes, so that the number of timesteps need not be known."""
    after = next((made[name] for name, _ in rest if name in made), None)
    if chain and isinstance(chain[-1], layers.Flatten) and isinstance(after, layers.Dense):
        chain[-1] = layers.Reshape((after.weights[0].shape[0],))


# ---- Modules without parameters --------------------------------------------------------------------------------------

Made = Iterator[Any]


def _activation(name: str, **expected: Any) -> Callable[[Attributes, str], Made]:
    """An activation; its arguments must have the values that are expected."""

    def make(attributes: Attributes, features: str) -> Made:
        for word, value in expected.items():
            only(attributes, word, value)
        yield layers.Activation(name)

    return make


def _relu(**fixed: float) -> Callable[[Attributes, str], Made]:
    def make(attributes: Attributes, features: str) -> Made:
        yield layers.ReLU(**fixed)

    return make


def _leaky_relu(attributes: Attributes, features: str) -> Made:
    slope = real(attributes, "negative_slope", 0.01)
    if slope < 0:
        raise FormatError(f"negative_slope={slope:g} is not supported, only from 0 on")
    yield layers.ReLU(negative_slope=slope)


def _hardtanh(attributes: Attributes, features: str) -> Made:
    if real(attributes, "min_val", -1.0) or real(attributes, "max_val", 1.0) < 0:
        raise FormatError(f"min_val={real(attributes, 'min_val', -1.0):g} is not supported, only 0")
    yield layers.ReLU(max_value=real(attributes, "max_val", 1.0))


def _softmax(attributes: Attributes, features: str) -> Made:
    dim = attributes.get("dim")
    if features == "flat":
        only(attributes, "dim", -1, 1, None)
        yield layers.Softmax()
        return
    if type(dim) is not int or dim not in (-2, -1, 1, 2):
        raise FormatError(f"dim={str(dim)[:100]} is not supported, only -1, -2, 1 or 2")
    yield layers.Softmax(axis=-1 if (dim in (-1, 2)) == (features == "last") else 1)


def _rate(attributes: Attributes) -> float:
    rate = real(attributes, "p", 0.5)
    if not 0 <= rate < 1:
        raise FormatError(f"p={rate:g} is not supported, only from 0 to below 1")
    return rate


def _noise(make: Any) -> Callable[[Attributes, str], Made]:
    def dropout(attributes: Attributes, features: str) -> Made:
        yield make(_rate(attributes))

    return dropout


def _channels(attributes: Attributes, features: str) -> Made:
    if features != "first":
        raise FormatError("it drops channels of (batch, channels, timesteps) only")
    yield layers.SpatialDropout1D(_rate(attributes))


def _pool(make: Any) -> Callable[[Attributes, str], Made]:
    def pool(attributes: Attributes, features: str) -> Made:
        for word, value in (("padding", 0), ("dilation", 1), ("ceil_mode", False), ("return_indices", False)):
            only(attributes, word, value)
        size = number(attributes, "kernel_size", 0)
        own = dict(attributes)
        if own.get("stride") is None:
            own["stride"] = size
        yield make(size, number(own, "stride", size))

    return pool


def _pool_all(make: Any) -> Callable[[Attributes, str], Made]:
    def pool(attributes: Attributes, features: str) -> Made:
        only(attributes, "output_size", 1)
        only(attributes, "return_indices", False)
        yield make(keepdims=True)

    return pool


def _flatten(attributes: Attributes, features: str) -> Made:
    only(attributes, "start_dim", 1)
    only(attributes, "end_dim", -1)
    if features == "first":
        yield layers.Permute((2, 1))
    if features != "flat":
        yield layers.Flatten()


def _nothing(attributes: Attributes, features: str) -> Made:
    yield from ()


WITHOUT_WEIGHTS: dict[str, Callable[[Attributes, str], Made]] = {
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
    "Dropout1d": _channels,
    "MaxPool1d": _pool(layers.MaxPooling1D),
    "AvgPool1d": _pool(layers.AveragePooling1D),
    "AdaptiveMaxPool1d": _pool_all(layers.GlobalMaxPooling1D),
    "AdaptiveAvgPool1d": _pool_all(layers.GlobalAveragePooling1D),
    "Flatten": _flatten,
}
