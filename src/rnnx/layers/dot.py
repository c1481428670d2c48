"""Products of the vectors or matrices of two inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._norms import unit_norm, unit_norm_backward
from rnnx.functional._products import products
from rnnx.layers.merging import Merge


class Dot(Merge):
    """Sum over one axis of the products of two inputs, sample by sample.

    What is left of the first input comes before what is left of the second: (batch, a, n) and (batch, n, b) give
    (batch, a, b) with ``axes=(2, 1)``, vectors (batch, n) give (batch, 1).

    Parameters
    ----------
    axes : int or (int, int)
        The axis of both inputs, or of each; not 0.
    normalize : bool
        Scale the vectors along that axis to length 1 first: cosines.

    Raises
    ------
    ValueError
        If there are not two axes, or one is 0.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> x = rnnx.Input((5, 8))
    >>> rnnx.layers.Dot(axes=2)([x, x]).shape
    (None, 5, 5)
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        both = axes if isinstance(axes, (list, tuple)) else (axes, axes)
        if len(both) != 2 or any(isinstance(a, bool) or not isinstance(a, (int, np.integer)) or a == 0 for a in both):
            raise ValueError(
                f"Dot: `axes` must be an axis other than 0 (the batch), or one of each input, got {axes!r}"
            )
        self.axes: Any = [int(a) for a in both] if isinstance(axes, (list, tuple)) else int(axes)
        self.normalize = bool(normalize)

    def prepare(self, x: Any) -> Any:
        self.check_two(x)
        x = super().prepare(x)
        self._axes_of([part.shape for part in x])
        return x

    def _axes_of(self, shapes: list[Any]) -> tuple[int, int]:
        """The axis of each input, counted from the first one."""
        given = self.axes if isinstance(self.axes, list) else (self.axes, self.axes)
        found = []
        for axis, shape in zip(given, shapes, strict=True):
            if not -len(shape) < axis < len(shape):
                raise ValueError(f"{self.name}: there is no axis {axis} in samples of an input of shape {tuple(shape)}")
            found.append(axis % len(shape))
        first, second = shapes[0][found[0]], shapes[1][found[1]]
        if first is not None and second is not None and first != second:
            raise ValueError(
                f"{self.name}: inputs of shapes {tuple(shapes[0])}, {tuple(shapes[1])} do not fit together: axis "
                f"{found[0]} of the first has size {first}, axis {found[1]} of the second {second}"
            )
        return found[0], found[1]

    def _matrices(self, x: list[Array]) -> tuple[Array, Array]:
        """The inputs as (batch, rest, n) and (batch, n, rest)."""
        first, second = self._axes_of([part.shape for part in x])
        left, right = np.moveaxis(x[0], first, -1), np.moveaxis(x[1], second, 1)
        rows, columns = _count(left.shape[1:-1]), _count(right.shape[2:])
        return left.reshape(len(left), rows, left.shape[-1]), right.reshape(len(right), right.shape[1], columns)

    def merge(self, x: list[Array]) -> Array:
        shape = self.compute_output_shape([part.shape for part in x])
        return products(*self._matrices(self._normal(x))).reshape(shape)

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        normal = self._normal(x)
        left, right = self._matrices(normal)
        dy = dy.reshape(len(left), left.shape[1], right.shape[2])
        first, second = self._axes_of([part.shape for part in x])
        shapes = [np.moveaxis(x[0], first, -1).shape, np.moveaxis(x[1], second, 1).shape]
        gradients = [
            np.moveaxis(products(dy, right.swapaxes(1, 2)).reshape(shapes[0]), -1, first),
            np.moveaxis(products(left.swapaxes(1, 2), dy).reshape(shapes[1]), 1, second),
        ]
        if not self.normalize:
            return gradients
        return [
            unit_norm_backward(part, own, d, axis)
            for part, own, d, axis in zip(x, normal, gradients, (first, second), strict=True)
        ]

    def _normal(self, x: list[Array]) -> list[Array]:
        if not self.normalize:
            return x
        axes = self._axes_of([part.shape for part in x])
        return [unit_norm(part, axis) for part, axis in zip(x, axes, strict=True)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_two(input_shape)
        first, second = self._axes_of(list(input_shape))
        left, right = list(input_shape[0]), list(input_shape[1])
        batch = left[0] if right[0] is None else right[0]
        if None not in (left[0], right[0]) and left[0] != right[0]:
            raise ValueError(f"{self.name}: the inputs must have the same batch size, got {left[0]} and {right[0]}")
        rest = left[1:first] + left[first + 1 :] + right[1:second] + right[second + 1 :]
        return (batch, *(rest or [1]))

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def _count(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes, dtype=int))


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot` as a function."""
    return Dot(axes=axes, **kwargs)(inputs)
