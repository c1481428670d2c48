"""What a whole module that was pickled says of itself: its class and its arguments, as a layer takes them.

A state dict has shapes only, and those of a GroupNorm are those of a LayerNorm. Where there is a class of PyTorch, it
gives what the shapes leave open, and one without a layer is refused by its name. Code is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.torch._archive import printable, quoted
from rnnx.formats.torch._values import Instance
from rnnx.saving import FormatError

Attributes = Mapping[str, Any]
Parts = dict[str, Array]
Settled = tuple[str, dict[str, Any], Parts]
OWN = ("torch.nn.", "__torch__.torch.nn.")  # packages of PyTorch's modules; the second one is of TorchScript
BY_SHAPE = ("matrix", "recurrent", "cell")  # what is told from shapes alone, also in a class of somebody's own
LARGEST_WINDOW = 1 << 16  # steps of a dilated convolution, unless its kernel has more
RANKS = {"Conv1d": 1, "Conv2d": 2, "Conv3d": 3}  # axes of places of convolutions
MOST_AXES = max(RANKS.values())
Numbers = tuple[int, ...]  # one for each axis of places


def class_of(module: Instance) -> str | None:
    """The name of a class of ``torch.nn``; None of any other."""
    return module.kind.name if f"{module.kind.module}.".startswith(OWN) else None


def attributes_of(module: Instance) -> dict[str, Any]:
    """What an object has besides its parts."""
    return module.state if isinstance(module.state, dict) else {}


def refused(name: str, module: Instance) -> FormatError:
    """That a module has no layer."""
    kind = class_of(module)
    if kind is None:
        return FormatError(
            f"module {quoted(name)} is of the class {module.kind}, whose computation is not in the file; name the "
            "modules that you want by modules=[...], or save its state_dict() if it computes as one of torch.nn"
        )
    return FormatError(f"module {quoted(name)} is a {kind}, which rnnx does not have")


def settled(name: str, module: Instance, kind: str | None, parts: Parts) -> Settled:
    """Kind, options and parameters of a module by its class; see `_modules.OPTIONS`.

    ``kind`` is what `kind_of` says of its shapes.

    Raises
    ------
    FormatError
        If no layer computes what it does: the module, its class or its argument is named.
    """
    read = WITH_WEIGHTS.get(class_of(module) or "")
    if kind in BY_SHAPE and class_of(module) is None:
        return kind, {}, parts
    if read is None:
        raise refused(name, module)
    try:
        return read(attributes_of(module), dict(parts))
    except FormatError as error:
        raise FormatError(f"module {quoted(name)} ({class_of(module)}): {error}") from error


def numbers(attributes: Attributes, name: str, default: int, count: int = 1) -> Numbers:
    """An integer for each axis; one that stands alone is that of all."""
    value = attributes.get(name, default)
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(values) != count or not all(type(n) is int and 0 <= n < 1 << 31 for n in values):
        wanted = "one number" if count == 1 else f"one number or {count}"
        raise FormatError(f"{name} must be {wanted}, got {quoted(str(value)[:100])}")
    return values


def number(attributes: Attributes, name: str, default: int) -> int:
    """An integer that may stand in a tuple of one."""
    return numbers(attributes, name, default)[0]


def real(attributes: Attributes, name: str, default: float) -> float:
    """A finite number."""
    value = attributes.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise FormatError(f"{name} must be a number, got {quoted(str(value)[:100])}")
    return float(value)


def only(attributes: Attributes, name: str, *values: Any) -> None:
    """Refuse an argument that has another value than those; what old versions did not have is the first of them.

    A tuple whose items are alike, one for each axis, has the value of one of them.
    """
    value = attributes.get(name, values[0])
    if isinstance(value, (tuple, list)) and 0 < len(value) <= MOST_AXES and all(part is value[0] for part in value):
        value = value[0]
    if not any(value is known or (type(value) is type(known) and value == known) for known in values):
        raise FormatError(
            f"{name}={printable(str(value), 100)} is not supported, only {' or '.join(map(repr, values))}"
        )


# ---- Modules with parameters -----------------------------------------------------------------------------------------


def _recurrent(attributes: Attributes, parts: Parts) -> Settled:
    return "recurrent", {}, parts


def _plain_rnn(attributes: Attributes, parts: Parts) -> Settled:
    said = attributes.get("nonlinearity", {"RNN_RELU": "relu"}.get(str(attributes.get("mode"))[:20], "tanh"))
    return "recurrent", {"nonlinearity": said}, parts


def _cell(attributes: Attributes, parts: Parts) -> Settled:
    return "cell", {}, parts


def _plain_cell(attributes: Attributes, parts: Parts) -> Settled:
    return "cell", {"nonlinearity": attributes.get("nonlinearity", "tanh")}, parts


def _linear(attributes: Attributes, parts: Parts) -> Settled:
    return "matrix", {"kind": "Linear"}, parts


def _embedding(attributes: Attributes, parts: Parts) -> Settled:
    if attributes.get("max_norm") is not None and "weight" in parts:
        most, order = real(attributes, "max_norm", 0.0), real(attributes, "norm_type", 2.0)
        with np.errstate(all="ignore"):
            norms = (np.abs(parts["weight"]) ** order).sum(axis=-1) ** (1 / order if order else 0.0)
        if not (norms <= most * (1 + 1e-5)).all():
            raise FormatError(
                f"max_norm={most:g} shortens rows when they are looked up; rnnx does not, shorten them first"
            )
    return "matrix", {"kind": "Embedding"}, parts


def _windows(attributes: Attributes, parts: Parts) -> Numbers:
    """Places between the first and the last input of an output, both counted, along each axis."""
    sizes = parts["weight"].shape[2:] if "weight" in parts else (1,)
    dilations = numbers(attributes, "dilation", 1, len(sizes))
    windows = tuple((size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True))
    for size, window in zip(sizes, windows, strict=True):
        if window > max(size, LARGEST_WINDOW):
            raise FormatError(f"a window of {window:,} steps (dilation={dilations}), the most is {LARGEST_WINDOW:,}")
    return windows


def zeros_before(attributes: Attributes, windows: Numbers) -> Numbers:
    """Zeros at both ends of each axis of the input of a convolution, if neither "valid" nor "same" stands for them."""
    if attributes.get("padding", 0) in ("same", "valid"):
        return ()
    amounts, strides = (
        numbers(attributes, name, start, len(windows)) for name, start in (("padding", 0), ("stride", 1))
    )
    if not any(amounts) or (max(strides) == 1 and all(2 * n == w - 1 for n, w in zip(amounts, windows, strict=True))):
        return ()
    for amount, window in zip(amounts, windows, strict=True):
        if amount >= max(window, LARGEST_WINDOW):
            raise FormatError(f"padding={amount:,}, the most is {LARGEST_WINDOW:,}")
    only(attributes, "padding_mode", "zeros")
    return amounts


def _convolution(attributes: Attributes, parts: Parts) -> Settled:
    windows = _windows(attributes, parts)
    zeros = zeros_before(attributes, windows)
    padding: Any = attributes.get("padding", 0)
    if padding not in ("same", "valid"):
        padding = zeros or ("same" if any(numbers(attributes, "padding", 0, len(windows))) else "valid")
    if padding == "same":
        only(attributes, "padding_mode", "zeros")
    made = {
        "strides": numbers(attributes, "stride", 1, len(windows)),
        "padding": padding,
        "dilation_rate": numbers(attributes, "dilation", 1, len(windows)),
        "groups": number(attributes, "groups", 1),
    }
    return f"Conv{len(windows)}d", made, parts


def _batch_norm(attributes: Attributes, parts: Parts) -> Settled:
    if "running_mean" not in parts:
        raise FormatError("track_running_stats=False takes the figures of each batch; that is not supported")
    made = {"epsilon": real(attributes, "eps", 1e-5)}
    if attributes.get("momentum") is not None:  # None: the average of all batches
        made["momentum"] = 1.0 - real(attributes, "momentum", 0.1)
    return "BatchNorm", made, parts


def _layer_norm(attributes: Attributes, parts: Parts) -> Settled:
    if "weight" in parts and "bias" not in parts:
        parts["bias"] = np.zeros(parts["weight"].shape, parts["weight"].dtype)
    return "LayerNorm", {"epsilon": real(attributes, "eps", 1e-5)}, parts


def _group_norm(attributes: Attributes, parts: Parts) -> Settled:
    if not {"weight", "bias"} <= parts.keys():
        raise FormatError("affine=False is not supported")
    groups = number(attributes, "num_groups", 0)
    if groups < 1:
        raise FormatError(f"num_groups must be at least 1, got {groups}")
    return "GroupNorm", {"groups": groups, "epsilon": real(attributes, "eps", 1e-5)}, parts


WITH_WEIGHTS: dict[str, Callable[[Attributes, Parts], Settled]] = {
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _plain_rnn,
    "LSTMCell": _cell,
    "GRUCell": _cell,
    "RNNCell": _plain_cell,
    "Linear": _linear,
    "Embedding": _embedding,
    **dict.fromkeys(RANKS, _convolution),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), _batch_norm),
    "SyncBatchNorm": _batch_norm,
    "LayerNorm": _layer_norm,
    "GroupNorm": _group_norm,
}
