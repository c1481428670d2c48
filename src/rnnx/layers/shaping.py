"""Layers that move numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.checks import check_data_format
from rnnx.layers.layer import Gradients, Layer, Pullback


class Shaping(Layer):
    """A layer of one input that only moves numbers; it drops the time mask unless it says otherwise."""

    supports_masking = False

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.built = True

    def move(self, x: Array) -> Array:
        """The output."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it moves its input")

    def move_back(self, x: Array, dy: Array) -> Array:
        """Gradient of the input."""
        return dy.reshape(x.shape)

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(self.move_back(x, self.cast(dy)) if need_dx else None)

        return self.move(x), pullback if keep else None


class Flatten(Shaping):
    """All axes but the first in one.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        With "channels_first" the second axis of the input goes to the end before.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Flatten()(np.ones((2, 5, 3))).shape
    (2, 15)
    """

    data_format = "channels_last"  # also of layers that were pickled before there was another one

    def __init__(self, data_format: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = check_data_format(type(self).__name__, data_format)

    def _turned(self, x: Array) -> Array:
        return np.moveaxis(x, 1, -1) if self.data_format == "channels_first" and x.ndim > 2 else x

    def move(self, x: Array) -> Array:
        return self._turned(x).reshape(x.shape[0], math.prod(x.shape[1:]))

    def move_back(self, x: Array, dy: Array) -> Array:
        turned = self._turned(x)
        dx = dy.reshape(turned.shape)
        return dx if turned is x else np.moveaxis(dx, -1, 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else math.prod(rest))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Shaping):
    """Samples in another shape; one axis may be -1.

    Parameters
    ----------
    target_shape : tuple
        Without the batch axis.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Reshape((5, -1))(np.ones((2, 15))).shape
    (2, 5, 3)
    """

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = tuple(int(n) for n in target_shape)
        if sum(n == -1 for n in self.target_shape) > 1 or any(n < -1 for n in self.target_shape):
            raise ValueError(f"Reshape: `target_shape` must hold sizes and at most one -1, got {self.target_shape}")

    def move(self, x: Array) -> Array:
        return x.reshape(self.compute_output_shape(x.shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest = tuple(input_shape[1:])
        given = None if None in rest else math.prod(rest)
        free, known = -1 in self.target_shape, math.prod(n for n in self.target_shape if n != -1)
        if given is not None and (given % known if free and known else given != known):
            raise ValueError(f"{self.name}: samples of shape {rest} cannot take the shape {self.target_shape}")
        left = None if given is None else given // known if known else 0
        return (input_shape[0], *(left if n == -1 else n for n in self.target_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(Shaping):
    """Axes in another order.

    Parameters
    ----------
    dims : tuple
        The axes of a sample, counted from 1.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Permute((2, 1))(np.ones((2, 5, 3))).shape
    (2, 3, 5)
    """

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(int(d) for d in dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute: `dims` must be the axes 1..n in some order, got {self.dims}")

    def move(self, x: Array) -> Array:
        self.compute_output_shape(x.shape)
        return x.transpose(0, *self.dims)

    def move_back(self, x: Array, dy: Array) -> Array:
        return dy.transpose(0, *(self.dims.index(d) + 1 for d in range(1, x.ndim)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        if len(input_shape) != len(self.dims) + 1:
            shape = tuple(input_shape)
            raise ValueError(f"{self.name}: the input must have {len(self.dims) + 1} axes, got shape {shape}")
        return (input_shape[0], *(input_shape[d] for d in self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(Shaping):
    """(batch, features) -> (batch, n, features).

    Parameters
    ----------
    n : int

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.RepeatVector(4)(np.ones((2, 3))).shape
    (2, 4, 3)
    """

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"RepeatVector: `n` must be a positive integer, got {n!r}")
        self.n = int(n)

    def move(self, x: Array) -> Array:
        self.compute_output_shape(x.shape)
        return np.repeat(x[:, None], self.n, axis=1)

    def move_back(self, x: Array, dy: Array) -> Array:
        return dy.sum(axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if len(input_shape) != 2:
            raise ValueError(f"{self.name}: the input must have shape (batch, features), got {tuple(input_shape)}")
        return (input_shape[0], self.n, input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}
