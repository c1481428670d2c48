"""Arithmetic of two operands as a layer: ``x + y``, ``1 - gate``, ``x / 2``."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._broadcasting import fold
from rnnx.layers.layer import Gradients, Pullback
from rnnx.layers.merging import Merge

OPERATORS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


class Arithmetic(Merge):
    """One operation with two tensors, or with a tensor and a number; what ``x + y`` makes of symbolic tensors.

    As with the operators of Keras 3, the output has no mask, other than that of ``Add()([x, y])``.

    Parameters
    ----------
    operator : {"add", "subtract", "multiply", "divide", "maximum", "minimum"}
    left, right : float, optional
        A number in place of the first or the second operand; the layer is called with the other one then, else with a
        list of both.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((None, 3))
    >>> y = rnnx.layers.GRU(3, return_sequences=True)(x)
    >>> (x + 0.5 * y).shape
    (None, None, 3)
    """

    supports_masking = False

    def __init__(self, operator: str, left: float | None = None, right: float | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if operator not in OPERATORS:
            known = ", ".join(map(repr, OPERATORS))
            raise ValueError(f"Arithmetic: `operator` must be one of {known}, got {operator!r}")
        for name, value in (("left", left), ("right", right)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise ValueError(f"Arithmetic: `{name}` must be a number or None, got {value!r}")
        if left is not None and right is not None:
            raise ValueError("Arithmetic: `left` and `right` are both numbers; one operand must be a tensor")
        self.operator = operator
        self.left, self.right = (None if value is None else float(value) for value in (left, right))

    def takes_list(self, x: Any) -> bool:
        return self.left is None and self.right is None

    def _operands(self, x: list[Array]) -> tuple[Array, Array]:
        if self.left is not None:
            return np.asarray(self.left, self.dtype), x[0]
        if self.right is not None:
            return x[0], np.asarray(self.right, self.dtype)
        return x[0], x[1]

    def prepare(self, x: Any) -> Any:
        if not self.takes_list(x):
            return self.cast(x)
        self.check_two(x)
        return super().prepare(x)

    def given_mask(self, x: Any, mask: Any) -> Any:
        return super().given_mask(x if self.takes_list(x) else [x], mask if self.takes_list(x) else [mask])

    def forward(self, x: Any, **call: Any) -> tuple[Array, Pullback | None]:
        if self.takes_list(x):
            return super().forward(x, **call)
        y, pullback = super().forward([x], **call)
        if pullback is None:
            return y, None

        def of_one(dy: Array, *, need_dx: bool = True) -> Gradients:
            dx = pullback(dy, need_dx=need_dx).dx
            return Gradients(None if dx is None else dx[0])

        return y, of_one

    def merge(self, x: list[Array]) -> Array:
        return np.asarray(OPERATORS[self.operator](*self._operands(x)))

    def split(self, x: list[Array], dy: Array) -> list[Array]:
        a, b = self._operands(x)
        parts: list[Array]
        if self.operator == "add":
            parts = [dy, dy]
        elif self.operator == "subtract":
            parts = [dy, -dy]
        elif self.operator == "multiply":
            parts = [dy * b, dy * a]
        elif self.operator == "divide":
            parts = [dy / b, -dy * (a / (b * b))]
        else:  # equal operands: half to each, as in PyTorch and JAX
            share = np.where(a == b, 0.5, a > b if self.operator == "maximum" else a < b).astype(dy.dtype)
            parts = [dy * share, dy * (1 - share)]
        if self.left is not None:
            del parts[0]
        return [fold(part, given.shape) for part, given in zip(parts, x, strict=False)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not self.takes_list(input_shape):
            return tuple(input_shape)
        self.check_two(input_shape if isinstance(input_shape, list) else [input_shape])
        return super().compute_output_shape(input_shape)

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "operator": self.operator, "left": self.left, "right": self.right}
