"""What layers over sequences and images share: axes of places, where the features stand, sizes, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._convolution import Windows
from rnnx.layers.checks import check_data_format
from rnnx.layers.layer import Layer

PADDINGS = ("valid", "same", "causal")
AXES = {1: "timesteps", 2: "rows, columns", 3: "depth, rows, columns"}  # of places, in errors


def per_axis(who: str, name: str, value: Any, rank: int, least: int = 1) -> Any:
    """A size for each axis of places from an integer or a tuple; an integer where there is one axis.

    Raises
    ------
    ValueError
        If one is no integer of at least ``least``, or there are more or fewer than axes.
    """
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank
    wrong = any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least for n in sizes)
    if wrong or len(sizes) != rank:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        wanted = kind if rank == 1 else f"{kind} or {rank} of them"
        raise ValueError(f"{who}: `{name}` must be {wanted}, got {value!r}")
    return int(sizes[0]) if rank == 1 else tuple(int(n) for n in sizes)


def each(value: Any) -> tuple[int, ...]:
    """What `per_axis` gave, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def check_padding(who: str, padding: Any, known: Sequence[str]) -> str:
    """The padding in small letters, as one of those that are known."""
    found = padding.lower() if isinstance(padding, str) else padding
    if found not in known:
        raise ValueError(f"{who}: `padding` must be one of {tuple(known)}, got {padding!r}")
    return str(found)


def pads(padding: str, steps: int, width: int, stride: int) -> tuple[int, int]:
    """Steps of padding before and after; `width` is that of the dilated window."""
    if padding == "causal":
        return width - 1, 0
    if padding == "valid":
        return 0, 0
    total = max((-(-steps // stride) - 1) * stride + width - steps, 0)
    return total // 2, total - total // 2


def output_steps(who: str, padding: str, steps: int, width: int, stride: int) -> int:
    """How many windows there are along an axis."""
    before, after = pads(padding, steps, width, stride)
    count = (steps + before + after - width) // stride + 1
    if count < 1:
        wanted = f"at least {width} steps, or padding='same'" if padding == "valid" else "at least 1 step"
        raise ValueError(f"{who}: {steps} step(s) give no output; {wanted} needed")
    return count


class OverPlaces(Layer):
    """A layer whose input has axes of places, and features after them or, with "channels_first", before."""

    rank = 1  # axes of places
    data_format = "channels_last"  # also of layers that were pickled before there was another one

    @property
    def channels_first(self) -> bool:
        return self.data_format == "channels_first"

    def wanted(self, features: Any = "features") -> str:
        """The shape of an input, for errors."""
        places = AXES[self.rank]
        return f"(batch, {features}, {places})" if self.channels_first else f"(batch, {places}, {features})"

    def check_rank(self, shape: Any, features: Any = "features") -> None:
        """Refuse a shape of another number of axes, or with other features if they are known."""
        axis = 1 if self.channels_first else -1
        if len(shape) != self.rank + 2 or (features != "features" and shape[axis] not in (None, features)):
            raise ValueError(f"{self.name}: the input must have shape {self.wanted(features)}, got {tuple(shape)}")

    def apart(self, shape: Any) -> tuple[Any, tuple[Any, ...], Any]:
        """Batch, places and features of a shape."""
        batch, *rest = shape
        return (batch, tuple(rest[1:]), rest[0]) if self.channels_first else (batch, tuple(rest[:-1]), rest[-1])

    def full_shape(self, batch: Any, places: Sequence[Any], features: Any) -> tuple[Any, ...]:
        """A shape of batch, places and features."""
        return (batch, features, *places) if self.channels_first else (batch, *places, features)

    def last(self, x: Array) -> Array:
        """An array with the features at the end."""
        return np.moveaxis(x, 1, -1) if self.channels_first else x

    def given(self, y: Array) -> Array:
        """An array with the features where the layer has them."""
        return np.moveaxis(y, -1, 1) if self.channels_first else y


class TakesDataFormat(OverPlaces):
    """Such a layer with the argument ``data_format``, which those of the same kind over sequences lack."""

    def __init__(self, *args: Any, data_format: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.data_format = check_data_format(type(self).__name__, data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class OverWindows(OverPlaces):
    """A layer that sees its input through windows along the axes of places."""

    padding: str
    strides: Any
    kernel_size: Any
    dilation_rate: Any

    def window_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Along each axis: places of a window, and from one of them to the next."""
        return each(self.kernel_size), each(self.dilation_rate)

    @property
    def spans(self) -> tuple[int, ...]:
        """Places that one output sees along each axis."""
        return tuple([(size - 1) * dilation + 1 for size, dilation in zip(*self.window_sizes(), strict=True)])

    def counts(self, places: Any) -> tuple[Any, ...]:
        """Sizes of the output for those of the input; None where one is not known."""
        parts = zip(places, self.spans, each(self.strides), strict=True)
        return tuple([None if n is None else output_steps(self.name, self.padding, n, *rest) for n, *rest in parts])

    def windows(self, places: Any) -> Windows:
        """The windows of an input with these places."""
        sizes, dilations = self.window_sizes()
        return Windows(sizes, each(self.strides), dilations, self.counts(places))

    def before(self, places: Any) -> list[int]:
        """Padding before the first place of each axis."""
        parts = zip(places, self.spans, each(self.strides), strict=True)
        return [pads(self.padding, n, *rest)[0] for n, *rest in parts]
