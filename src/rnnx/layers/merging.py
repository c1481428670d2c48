"""Layers that join several inputs."""

from __future__ import annotations

from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._broadcasting import fold, meet
from rnnx.layers.checks import as_masks
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.layer import Gradients, Layer, Pullback


class Merge(Layer):
    """A layer of several inputs."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.built = True

    def takes_list(self, x: Any) -> bool:
        return True

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        if isinstance(x, SymbolicTensor) and self.takes_list(x):
            return self.prepare(x)  # which refuses it
        return super()._call(x, call)

    def prepare(self, x: Any) -> Any:
        if not isinstance(x, (list, tuple)) or not x:
            raise ValueError(f"{self.name}: expected a list of inputs, got {type(x).__name__}")
        return super().prepare(x)

    def given_mask(self, x: Any, mask: Any) -> Any:
        if not isinstance(mask, (list, tuple)) or len(mask) != len(x):
            raise ValueError(f"{self.name}: `mask` must be a list with a mask or None for each of {len(x)} inputs")
        masks = as_masks(self.name, mask, True)
        for part, own in zip(x, masks, strict=True):
            fits = own is None or own.ndim < len(part.shape)
            if own is not None and fits:
                fits = all(want in (None, got) for got, want in zip(own.shape, part.shape, strict=False))
            if not fits:
                wanted = tuple(part.shape[: max(1, min(2, len(part.shape) - 1))])
                raise ValueError(f"{self.name}: a `mask` of its input must have shape {wanted}, got {own.shape}")
        return masks

    def check_two(self, x: Any) -> None:
        """Refuse anything but a list of two inputs, or of their shapes."""
        if not isinstance(x, (list, tuple)) or len(x) != 2:
            given = f"{len(x)} inputs" if isinstance(x, (list, tuple)) else type(x).__name__
            raise ValueError(f"{self.name}: expected a list of two inputs, got {given}")

    def _check_masks(self, x: Any, mask: Any) -> None:
        if mask is None:
            return
        for name, value in (("inputs", x), ("mask", mask)):
            if not isinstance(value, (list, tuple)):
                raise ValueError(f"{self.name}: compute_mask: `{name}` must be a list, got {type(value).__name__}")
        if len(x) != len(mask):
            raise ValueError(f"{self.name}: compute_mask: {len(x)} inputs need as many masks, got {len(mask)}")

    def merge(self, x: list[Array]) -> Array:
        """The output."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it merges")

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        """Gradients of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def forward(
        self, x: list[Array], *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(self.split(x, self.cast(dy)) if need_dx else None)

        try:
            return self.merge(x), pullback if keep else None
        except ValueError as error:
            shapes = ", ".join(str(part.shape) for part in x)
            raise ValueError(f"{self.name}: inputs of shapes {shapes} do not fit together") from error

    def compute_output_shape(self, input_shape: Any) -> Any:
        first, *others = input_shape
        if any(len(shape) != len(first) for shape in others):
            raise ValueError(f"{self.name}: the inputs must have the same number of axes, got {input_shape}")
        try:
            return tuple([meet(sizes) for sizes in zip(*input_shape, strict=True)])
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """True where any input has a valid step, as in Keras 3 (every input in Keras 2); None if one has no mask."""
        self._check_masks(x, mask)
        return None if not mask or any(m is None for m in mask) else reduce(np.logical_or, mask)


class Add(Merge):
    """Sum of the inputs.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Add()([np.ones((1, 2)), np.array([[2.0, 3.0]])]).tolist()
    [[3.0, 4.0]]
    """

    def merge(self, x: list[Array]) -> Array:
        total = x[0]
        for part in x[1:]:
            total = total + part
        return total

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        return [fold(dy, part.shape) for part in x]


class Average(Add):
    """Mean of the inputs.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Average()([np.ones((1, 2)), np.array([[2.0, 3.0]])]).tolist()
    [[1.5, 2.0]]
    """

    def merge(self, x: list[Array]) -> Array:
        return super().merge(x) / np.asarray(len(x), self.dtype)

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        return super().split(x, dy / np.asarray(len(x), self.dtype))


class Subtract(Merge):
    """The first of two inputs minus the second.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Subtract()([np.ones((1, 2)), np.array([[2.0, 3.0]])]).tolist()
    [[-1.0, -2.0]]
    """

    def prepare(self, x: Any) -> Any:
        self.check_two(x)
        return super().prepare(x)

    def merge(self, x: list[Array]) -> Array:
        return x[0] - x[1]

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        return [fold(dy, x[0].shape), fold(-dy, x[1].shape)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_two(input_shape)
        return super().compute_output_shape(input_shape)


def _spread(masks: list[Any], x: list[Array]) -> list[Any]:
    """Masks with an axis of 1 for every axis of their inputs that they do not have."""
    return [
        None if own is None else own.reshape(own.shape + (1,) * (part.ndim - own.ndim))
        for part, own in zip(x, masks, strict=True)
    ]


class Maximum(Merge):
    """The largest of the inputs, number by number; equal ones share the gradient.

    At the steps that are masked in one of them the others count alone, as in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Maximum()([np.full((1, 2), 2.5), np.array([[2.0, 3.0]])]).tolist()
    [[2.5, 3.0]]
    """

    def forward(
        self, x: list[Array], *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        if mask is None or all(own is None for own in mask):
            return super().forward(x, keep=keep)
        y, *others = x
        valid, *masks = _spread(list(mask), x)
        tape: list[tuple[Any, ...]] = []
        for part, own in zip(others, masks, strict=True):
            right = part if own is None else np.where(own, part, y)
            left = y if valid is None else np.where(valid, y, right)
            after = self.chosen(left, right)
            tape.append((part, own, y, valid, left, right, after))
            valid = None if own is None or valid is None else valid | own
            y = after

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            d, zero, gradients = self.cast(dy), np.zeros((), self.dtype), []
            for part, own, before, valid, left, right, after in reversed(tape):
                share = np.where(left == right, 0.5, right == after).astype(d.dtype)
                dright, dleft = d * share, d * (1 - share)
                if valid is not None:
                    dright, dleft = dright + np.where(valid, zero, dleft), np.where(valid, dleft, zero)
                if own is not None:
                    dright, dleft = np.where(own, dright, zero), dleft + np.where(own, zero, dright)
                gradients.append(fold(dright, part.shape))
                d = fold(dleft, before.shape)
            return Gradients([d, *reversed(gradients)])

        return y, pullback if keep else None

    def chosen(self, a: Array, b: Array) -> Array:
        """The one of two that is taken."""
        return np.maximum(a, b)

    def merge(self, x: list[Array]) -> Array:
        return reduce(self.chosen, x)

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        so_far = list(accumulate(x, self.chosen))
        gradients: list[Array] = []
        for before, part, after in zip(so_far[-2::-1], x[:0:-1], so_far[:0:-1], strict=True):
            share = np.where(before == part, 0.5, part == after).astype(dy.dtype)
            gradients.append(fold(dy * share, part.shape))
            dy = fold(dy * (1 - share), before.shape)
        return [dy, *reversed(gradients)]


class Minimum(Maximum):
    """The smallest of the inputs, number by number, as `Maximum` takes the largest.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Minimum()([np.full((1, 2), 2.5), np.array([[2.0, 3.0]])]).tolist()
    [[2.0, 2.5]]
    """

    def chosen(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)


class Multiply(Merge):
    """Product of the inputs; at the steps that are masked in one of them it counts as 1.

    Where all inputs have a mask and none has the step, the output is 0, as in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Multiply()([np.full((1, 2), 2.0), np.array([[2.0, 3.0]])]).tolist()
    [[4.0, 6.0]]
    """

    def forward(
        self, x: list[Array], *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        masks = [None] * len(x) if mask is None else list(mask)
        if all(own is None for own in masks):
            return super().forward(x, keep=keep)
        used = _spread(masks, x)
        zero, one = np.zeros((), self.dtype), np.ones((), self.dtype)
        counted = [part if own is None else np.where(own, part, one) for part, own in zip(x, used, strict=True)]
        y, back = super().forward(counted, keep=keep)
        if all(own is not None for own in used):
            y = np.where(reduce(np.logical_or, used), y, zero)
        if back is None:
            return y, None

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            parts = zip(back(dy).dx, used, strict=True)
            return Gradients([d if own is None else np.where(own, d, zero) for d, own in parts])

        return y, pullback

    def merge(self, x: list[Array]) -> Array:
        product = x[0]
        for part in x[1:]:
            product = product * part
        return product

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        gradients = []
        for k, part in enumerate(x):
            others = [other for j, other in enumerate(x) if j != k]
            gradients.append(fold(dy * self.merge(others) if others else dy, part.shape))
        return gradients


class Concatenate(Merge):
    """The inputs side by side along an axis.

    Parameters
    ----------
    axis : int

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Concatenate()([np.ones((2, 5, 3)), np.ones((2, 5, 4))]).shape
    (2, 5, 7)
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = int(axis)

    def merge(self, x: list[Array]) -> Array:
        return np.concatenate(x, axis=self.axis)

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        ends = np.cumsum([part.shape[self.axis] for part in x])[:-1]
        return np.split(dy, ends, axis=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = list(input_shape[0])
        if any(len(shape) != len(first) for shape in input_shape):
            raise ValueError(f"{self.name}: the inputs must have the same number of axes, got {input_shape}")
        if not -len(first) <= self.axis < len(first):
            raise ValueError(f"{self.name}: there is no axis {self.axis} in inputs of shapes {input_shape}")
        axis = self.axis % len(first)
        sizes = [shape[axis] for shape in input_shape]
        for shape in input_shape[1:]:
            rest = [(a, b) for k, (a, b) in enumerate(zip(first, shape, strict=True)) if k != axis]
            if any(a is not None and b is not None and a != b for a, b in rest):
                raise ValueError(f"{self.name}: inputs of shapes {input_shape} do not fit together along axis {axis}")
        first[axis] = None if None in sizes else sum(sizes)
        return tuple(first)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        self._check_masks(x, mask)
        if not mask or all(m is None for m in mask):
            return None
        rank = max(m.ndim for m in mask if m is not None)
        full = []
        for part, m in zip(x, mask, strict=True):
            own = np.ones((), bool) if m is None else m.reshape(m.shape + (1,) * (rank - m.ndim))
            full.append(np.broadcast_to(own, part.shape[:rank]))
        if (axis := self.axis % x[0].ndim) < rank:
            return np.concatenate(full, axis=axis)
        return reduce(np.logical_or, full)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add` as a function."""
    return Add(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average` as a function."""
    return Average(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract` as a function."""
    return Subtract(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """`Maximum` as a function."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """`Minimum` as a function."""
    return Minimum(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply` as a function."""
    return Multiply(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate` as a function."""
    return Concatenate(axis=axis, **kwargs)(inputs)
