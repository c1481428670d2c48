"""Pooling to a number of places that is given, whatever the size of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import sums_along
from rnnx.layers.places import per_axis
from rnnx.layers.pooling import PoolingLayer

Back = Callable[[Array], Array]


class AdaptivePooling(PoolingLayer):
    """Base of the layers whose output has a fixed number of places.

    Place i of n sees those of the input from ``floor(i * size / n)`` to ``ceil((i + 1) * size / n)``. Along several
    axes windows are products of those of each, so that one axis is pooled after the other.
    """

    supports_masking = False

    def __init__(self, output_size: Any, data_format: Any = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        size = per_axis(type(self).__name__, "output_size", output_size, self.rank)
        self.output_size = (size,) if self.rank == 1 else tuple(size)

    def pooled(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.output_size

    def along(self, x: Array, bounds: list[tuple[int, int]]) -> tuple[Array, Back]:
        """The first axis pooled by windows from one place to another, and the gradient."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it pools")

    def pool(self, x: Array, mask: Any) -> tuple[Array, Back]:
        if 0 in x.shape[1:-1]:
            raise ValueError(f"{self.name}: the input must have places along all axes, got {self.given(x).shape}")
        backs: list[Back] = []
        for axis, count in enumerate(self.output_size, 1):
            size = x.shape[axis]
            bounds = [(k * size // count, -(-(k + 1) * size // count)) for k in range(count)]
            y, back = self.along(np.moveaxis(x, axis, 0), bounds)
            x = np.moveaxis(y, 0, axis)
            backs.append(back)

        def all_back(dy: Array) -> Array:
            for axis, back in reversed(list(enumerate(backs, 1))):
                dy = np.moveaxis(back(np.moveaxis(dy, axis, 0)), 0, axis)
            return dy

        return x, all_back

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_size": self.output_size}


class AdaptiveAveragePooling(AdaptivePooling):
    """Base of the layers that take means."""

    def along(self, x: Array, bounds: list[tuple[int, int]]) -> tuple[Array, Back]:
        shares = np.zeros((len(bounds), len(x)), x.dtype)
        for row, (start, end) in enumerate(bounds):
            shares[row, start:end] = 1 / (end - start)
        return sums_along(x, 0, shares), lambda dy: sums_along(dy, 0, shares.T)


class AdaptiveMaxPooling(AdaptivePooling):
    """Base of the layers that take the largest value, the first of equal ones."""

    def along(self, x: Array, bounds: list[tuple[int, int]]) -> tuple[Array, Back]:
        best = np.stack([start + x[start:end].argmax(axis=0) for start, end in bounds])

        def back(dy: Array) -> Array:
            dx = np.zeros(x.shape, dy.dtype)
            for place, slope in zip(best, dy, strict=True):  # windows may overlap
                dx_of = np.take_along_axis(dx, place[None], axis=0)
                np.put_along_axis(dx, place[None], dx_of + slope, axis=0)
            return dx

        return np.take_along_axis(x, best, axis=0), back


class AdaptiveAveragePooling1D(AdaptiveAveragePooling):
    """Mean of each of so many parts of a sequence, whatever its size.

    Parameters
    ----------
    output_size : int
        Steps of the output; parts overlap by one where the input cannot be cut evenly.
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, features), or (batch, features, timesteps).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AdaptiveAveragePooling1D(2)(np.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [1.0, 3.0]
    """


class AdaptiveAveragePooling2D(AdaptiveAveragePooling):
    """Mean of each of so many parts of an image, whatever its size.

    Parameters
    ----------
    output_size : int or (int, int)
        Rows and columns of the output; parts overlap by one where the input cannot be cut evenly.
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, rows, columns, features), or (batch, features, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AdaptiveAveragePooling2D((2, 3))(np.ones((1, 5, 4, 8))).shape
    (1, 2, 3, 8)
    """

    rank = 2


class AdaptiveAveragePooling3D(AdaptiveAveragePooling):
    """Mean of each of so many parts of a volume, whatever its size.

    Parameters
    ----------
    output_size : int or (int, int, int)
        Depth, rows and columns of the output; parts overlap by one where the input cannot be cut evenly.
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AdaptiveAveragePooling3D(2)(np.ones((1, 5, 4, 3, 8))).shape
    (1, 2, 2, 2, 8)
    """

    rank = 3


class AdaptiveMaxPooling1D(AdaptiveMaxPooling):
    """Largest value of each of so many parts of a sequence, whatever its size.

    Parameters
    ----------
    output_size : int
        Steps of the output; parts overlap by one where the input cannot be cut evenly.
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, features), or (batch, features, timesteps).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AdaptiveMaxPooling1D(2)(np.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [2.0, 4.0]
    """


class AdaptiveMaxPooling2D(AdaptiveMaxPooling):
    """Largest value of each of so many parts of an image, whatever its size.

    Parameters
    ----------
    output_size : int or (int, int)
        Rows and columns of the output; parts overlap by one where the input cannot be cut evenly.
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, rows, columns, features), or (batch, features, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AdaptiveMaxPooling2D((2, 3))(np.ones((1, 5, 4, 8))).shape
    (1, 2, 3, 8)
    """

    rank = 2


class AdaptiveMaxPooling3D(AdaptiveMaxPooling):
    """Largest value of each of so many parts of a volume, whatever its size.

    Parameters
    ----------
    output_size : int or (int, int, int)
        Depth, rows and columns of the output; parts overlap by one where the input cannot be cut evenly.
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AdaptiveMaxPooling3D(2)(np.ones((1, 5, 4, 3, 8))).shape
    (1, 2, 2, 2, 8)
    """

    rank = 3
