"""Layers that make sequences and images longer or shorter: zeros around them, cut edges, repeated steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import sums_along
from rnnx.layers.checks import check_data_format
from rnnx.layers.places import OverPlaces, TakesDataFormat, each, per_axis
from rnnx.layers.shaping import Shaping

Edges = tuple[tuple[int, int], ...]
INTERPOLATIONS = ("nearest", "bilinear")


class Resizing(Shaping, OverPlaces):
    """Base of the layers that change the number of places."""

    @property
    def places(self) -> range:
        """Axes of the input that change."""
        return range(2, 2 + self.rank) if self.channels_first else range(1, 1 + self.rank)

    def resized(self, size: int, place: int) -> int:
        """Number of steps along an axis of places, of which the input has ``size``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it makes of a size")

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_rank(input_shape)
        shape = list(input_shape)
        for place, axis in enumerate(self.places):
            if shape[axis] is not None:
                shape[axis] = self.resized(shape[axis], place)
        return tuple(shape)


def edges_of(who: str, name: str, value: Any, rank: int) -> Edges:
    """Numbers of steps at both ends of each axis, from one number, one for each axis, or a pair for each axis."""

    def pair(part: Any) -> tuple[int, int]:
        both = (part, part) if isinstance(part, (int, np.integer)) else part
        if (
            not isinstance(both, (list, tuple))
            or len(both) != 2
            or any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in both)
        ):
            wanted = "an integer or (before, after)" + ("" if rank == 1 else " for each axis")
            raise ValueError(f"{who}: `{name}` must be {wanted}, none of them negative, got {value!r}")
        return int(both[0]), int(both[1])

    if rank == 1 or isinstance(value, (int, np.integer)):
        return (pair(value),) * rank
    if not isinstance(value, (list, tuple)) or len(value) != rank:
        raise ValueError(f"{who}: `{name}` must have an entry for each of {rank} axes, got {value!r}")
    return tuple(pair(part) for part in value)


def _given(edges: Edges) -> Any:
    """The edges as Keras writes them: one pair, or a pair for each axis."""
    return edges[0] if len(edges) == 1 else edges


class Edged(Resizing):
    """Base of the layers that add or cut edges."""

    edges: Edges

    def between(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Where an array of this shape stands between the edges."""
        inside = [slice(None)] * len(shape)
        for axis, (before, _) in zip(self.places, self.edges, strict=True):
            inside[axis] = slice(before, before + shape[axis])
        return tuple(inside)


class ZeroPadding(Edged):
    """Base of the layers that put zeros around their input."""

    def __init__(self, padding: Any = 1, data_format: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        who = type(self).__name__
        self.edges = edges_of(who, "padding", padding, self.rank)
        self.data_format = check_data_format(who, data_format)

    @property
    def padding(self) -> Any:
        return _given(self.edges)

    def resized(self, size: int, place: int) -> int:
        return size + sum(self.edges[place])

    def move(self, x: Array) -> Array:
        y = np.zeros(self.compute_output_shape(x.shape), x.dtype)
        y[self.between(x.shape)] = x
        return y

    def move_back(self, x: Array, dy: Array) -> Array:
        return dy[self.between(x.shape)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class ZeroPadding1D(ZeroPadding):
    """Zeros before and after a sequence.

    Parameters
    ----------
    padding : int or (int, int)
        Steps at both ends, or before and after.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ZeroPadding1D((2, 1))(np.ones((1, 3, 4))).shape
    (1, 6, 4)
    """


class ZeroPadding2D(ZeroPadding):
    """Zeros around an image.

    Parameters
    ----------
    padding : int, (rows, columns) or ((top, bottom), (left, right))
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ZeroPadding2D(((1, 0), (2, 2)))(np.ones((1, 3, 4, 5))).shape
    (1, 4, 8, 5)
    """

    rank = 2


class Cropping(Edged):
    """Base of the layers that cut edges off."""

    def __init__(self, cropping: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.edges = edges_of(type(self).__name__, "cropping", cropping, self.rank)

    @property
    def cropping(self) -> Any:
        return _given(self.edges)

    def resized(self, size: int, place: int) -> int:
        left = size - sum(self.edges[place])
        if left < 1:
            raise ValueError(
                f"{self.name}: `cropping` must leave at least 1 step of each axis, got {self.cropping} for an axis of "
                f"{size}"
            )
        return left

    def move(self, x: Array) -> Array:
        return x[self.between(self.compute_output_shape(x.shape))]

    def move_back(self, x: Array, dy: Array) -> Array:
        dx = np.zeros_like(x)
        dx[self.between(dy.shape)] = dy
        return dx

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping}


class Cropping1D(Cropping):
    """A sequence without its first and last steps.

    Parameters
    ----------
    cropping : int or (int, int)
        Steps at both ends, or before and after.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Cropping1D((2, 1))(np.ones((1, 5, 4))).shape
    (1, 2, 4)
    """

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any):
        super().__init__(cropping, **kwargs)


class Cropping2D(TakesDataFormat, Cropping):
    """An image without its edges.

    Parameters
    ----------
    cropping : int, (rows, columns) or ((top, bottom), (left, right))
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Cropping2D(((1, 0), (1, 1)))(np.ones((1, 3, 4, 5))).shape
    (1, 2, 2, 5)
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: Any = None, **kwargs: Any):
        super().__init__(cropping, data_format=data_format, **kwargs)


class UpSampling(Resizing):
    """Base of the layers that repeat steps."""

    def __init__(self, size: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.factors = each(per_axis(type(self).__name__, "size", size, self.rank))

    @property
    def size(self) -> Any:
        """Times along each axis; a number where there is one."""
        return self.factors[0] if self.rank == 1 else self.factors

    def resized(self, size: int, place: int) -> int:
        return size * self.factors[place]

    def move(self, x: Array) -> Array:
        self.compute_output_shape(x.shape)
        for axis, factor in zip(self.places, self.factors, strict=True):
            x = np.repeat(x, factor, axis=axis)
        return x

    def move_back(self, x: Array, dy: Array) -> Array:
        for axis, factor in zip(self.places, self.factors, strict=True):
            dy = dy.reshape(*dy.shape[:axis], x.shape[axis], factor, *dy.shape[axis + 1 :]).sum(axis=axis + 1)
        return dy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class UpSampling1D(UpSampling):
    """Every step several times.

    Parameters
    ----------
    size : int

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.UpSampling1D(2)(np.array([[[1.0], [2.0]]])).ravel()
    array([1., 1., 2., 2.], dtype=float32)
    """

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(size, **kwargs)


class UpSampling2D(TakesDataFormat, UpSampling):
    """Every row and column several times, or as many more with values between them.

    Parameters
    ----------
    size : int or (int, int)
        Times of the rows and of the columns.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).
    interpolation : {"nearest", "bilinear"}

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> x = np.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> rnnx.layers.UpSampling2D((1, 2), interpolation="bilinear")(x).ravel()
    array([0., 1., 3., 4.], dtype=float32)
    """

    rank = 2

    def __init__(self, size: Any = (2, 2), data_format: Any = None, interpolation: str = "nearest", **kwargs: Any):
        super().__init__(size, data_format=data_format, **kwargs)
        if not isinstance(interpolation, str) or interpolation.lower() not in INTERPOLATIONS:
            raise ValueError(f"UpSampling2D: `interpolation` must be one of {INTERPOLATIONS}, got {interpolation!r}")
        self.interpolation = interpolation.lower()

    def move(self, x: Array) -> Array:
        if self.interpolation == "nearest":
            return super().move(x)
        self.compute_output_shape(x.shape)
        for axis, factor in zip(self.places, self.factors, strict=True):
            x = sums_along(x, axis, _between(x.shape[axis], factor, x.dtype))
        return x

    def move_back(self, x: Array, dy: Array) -> Array:
        if self.interpolation == "nearest":
            return super().move_back(x, dy)
        for axis, factor in zip(self.places, self.factors, strict=True):
            dy = sums_along(dy, axis, _between(x.shape[axis], factor, x.dtype).T)
        return dy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "interpolation": self.interpolation}


def _between(size: int, factor: int, dtype: Any) -> Array:
    """Shares of ``size`` values in each of ``factor * size`` between them; at the ends it is the outer one."""
    where = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, max(size - 1, 0))
    left = where.astype(int)
    shares = np.zeros((size * factor, size), dtype)
    rows = np.arange(size * factor)
    shares[rows, left] = 1 - (where - left)
    shares[rows, np.minimum(left + 1, size - 1)] += where - left
    return shares
