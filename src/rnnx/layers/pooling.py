"""Pooling of sequences and images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._convolution import (
    framed,
    largest,
    largest_backward,
    total,
    total_backward,
    unframed,
)
from rnnx.layers.checks import check_data_format, check_mask
from rnnx.layers.layer import Gradients, Pullback
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.places import PADDINGS, OverPlaces, OverWindows, check_padding, each, per_axis


class PoolingLayer(OverPlaces):
    """Base of all pooling layers.

    Their ``pool`` and ``pooled`` see the features at the end whatever the input is.
    """

    def __init__(self, data_format: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = check_data_format(type(self).__name__, data_format)
        self.built = True

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        """The output and the gradient of the input for that of the output."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it pools")

    def pooled(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        """Sizes of the axes of places that the output has."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it pools to")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        self.check_rank(x.shape)
        y, back = self.pool(self.last(x), mask)
        turned = y.ndim > 2

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            dy = self.cast(dy)
            return Gradients(self.given(back(self.last(dy) if turned else dy)))

        return self.given(y) if turned else y, pullback if keep else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_rank(input_shape)
        batch, places, features = self.apart(input_shape)
        return self.full_shape(batch, self.pooled(places), features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


# ---- Windows ---------------------------------------------------------------------------------------------------------


class Pooling(PoolingLayer, OverWindows):
    """Base of the pooling layers over windows."""

    supports_masking = False
    pool_size: Any

    @takes_old_words
    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: str = "valid", data_format: Any = None, **kwargs: Any
    ):
        super().__init__(data_format, **kwargs)
        who = type(self).__name__
        self.pool_size = per_axis(who, "pool_size", pool_size, self.rank)
        self.strides = self.pool_size if strides is None else per_axis(who, "strides", strides, self.rank)
        self.padding = check_padding(who, padding, PADDINGS[:2])

    def window_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return each(self.pool_size), (1,) * self.rank

    def pooled(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.counts(places)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }


class MaxPooling(Pooling):
    """Base of the layers that take the largest value of each window."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        places = x.shape[1:-1]
        windows, before = self.windows(places), self.before(places)
        frame = framed(x, before, windows.frame, -np.inf)
        y = largest(frame, windows)
        return y, lambda dy: unframed(largest_backward(frame, windows, y, dy), before, places)


class AveragePooling(Pooling):
    """Base of the layers that take the mean of each window; padding does not count."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        places = x.shape[1:-1]
        windows, before = self.windows(places), self.before(places)
        frame = framed(x, before, windows.frame)
        there = framed(np.ones((1, *places, 1), x.dtype), before, windows.frame)
        share = 1 / np.maximum(1, total(there, windows))
        y = total(frame, windows) * share
        return y, lambda dy: unframed(total_backward(frame, windows, dy * share), before, places)


class MaxPooling1D(MaxPooling):
    """Largest value of each window of steps.

    Parameters
    ----------
    pool_size, strides : int
        Without ``strides`` they are ``pool_size``.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.MaxPooling1D(2)(np.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [1.0, 3.0]
    """


class AveragePooling1D(AveragePooling):
    """Mean of each window of steps; padding does not count.

    Parameters
    ----------
    pool_size, strides : int
        Without ``strides`` they are ``pool_size``.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AveragePooling1D(2)(np.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [0.5, 2.5]
    """


class MaxPooling2D(MaxPooling):
    """Largest value of each window of rows and columns.

    Parameters
    ----------
    pool_size, strides : int or (int, int)
        Without ``strides`` they are ``pool_size``.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.MaxPooling2D((2, 1))(np.ones((1, 4, 5, 3))).shape
    (1, 2, 5, 3)
    """

    rank = 2


class AveragePooling2D(AveragePooling):
    """Mean of each window of rows and columns; padding does not count.

    Parameters
    ----------
    pool_size, strides : int or (int, int)
        Without ``strides`` they are ``pool_size``.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AveragePooling2D(2, padding="same")(np.ones((1, 4, 5, 3))).shape
    (1, 2, 3, 3)
    """

    rank = 2


# ---- All places ------------------------------------------------------------------------------------------------------


class GlobalPooling(PoolingLayer):
    """Base of the pooling layers over all places."""

    supports_masking = False

    def __init__(self, data_format: Any = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.keepdims = bool(keepdims)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return None

    def pooled(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        return (1,) * self.rank if self.keepdims else ()

    def shaped(self, y: Array) -> Array:
        """An output (batch, features) with as many axes as it is to have."""
        return y.reshape(len(y), *self.pooled(()), y.shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}


class GlobalMaxPooling(GlobalPooling):
    """Base of the layers that take the largest value over all places."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        if 0 in x.shape[1:-1]:
            wanted = self.wanted().replace("timesteps", "timesteps >= 1")
            raise ValueError(f"{self.name}: the input must have shape {wanted}, got {self.given(x).shape}")
        flat = x.reshape(len(x), math.prod(x.shape[1:-1]), x.shape[-1])
        best = flat.argmax(axis=1)[:, None]

        def back(dy: Array) -> Array:
            dx = np.zeros_like(flat)
            np.put_along_axis(dx, best, dy.reshape(best.shape), axis=1)
            return dx.reshape(x.shape)

        return self.shaped(np.take_along_axis(flat, best, axis=1)[:, 0]), back


class GlobalAveragePooling(GlobalPooling):
    """Base of the layers that take the mean over all places."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        places = tuple(range(1, x.ndim - 1))
        if mask is None or self.rank > 1:
            share: Any = np.asarray(1 / max(1, math.prod(x.shape[1:-1])), x.dtype)
            y = (x * share).sum(axis=places)
        else:
            used = check_mask(self.name, mask, x.shape)
            share = (used / np.maximum(1, used.sum(axis=1, keepdims=True))).astype(x.dtype)[:, :, None]
            y = (np.where(used[:, :, None], x, np.zeros((), x.dtype)) * share).sum(axis=1)

        def back(dy: Array) -> Array:
            dy = dy.reshape(len(x), *(1 for _ in places), x.shape[-1])
            return np.broadcast_to(dy * share, x.shape).astype(x.dtype)

        return self.shaped(y), back


class GlobalMaxPooling1D(GlobalMaxPooling):
    """Largest value over all steps; the time mask is ignored, as in Keras.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, features), or (batch, features, timesteps).
    keepdims : bool
        The output keeps the time axis, of one step.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GlobalMaxPooling1D()(np.arange(6.0).reshape(1, 3, 2)).tolist()
    [[4.0, 5.0]]
    """


class GlobalAveragePooling1D(GlobalAveragePooling):
    """Mean over the steps that are not masked; a row without any gives 0.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, features), or (batch, features, timesteps).
    keepdims : bool
        The output keeps the time axis, of one step.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GlobalAveragePooling1D()(np.arange(6.0).reshape(1, 3, 2)).tolist()
    [[2.0, 3.0]]
    """

    supports_masking = True
    positional_arguments = ("mask",)


class GlobalMaxPooling2D(GlobalMaxPooling):
    """Largest value over all rows and columns.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, rows, columns, features), or (batch, features, rows, columns).
    keepdims : bool
        The output keeps the axes of rows and columns, of one each.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GlobalMaxPooling2D()(np.ones((1, 4, 5, 3))).shape
    (1, 3)
    """

    rank = 2


class GlobalAveragePooling2D(GlobalAveragePooling):
    """Mean over all rows and columns.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, rows, columns, features), or (batch, features, rows, columns).
    keepdims : bool
        The output keeps the axes of rows and columns, of one each.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GlobalAveragePooling2D(keepdims=True)(np.ones((1, 4, 5, 3))).shape
    (1, 1, 1, 3)
    """

    rank = 2
