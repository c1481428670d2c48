"""Operations that are `Arithmetic` layers: with them models are written to files of Keras and ONNX."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from rnnx.layers.arithmetic import Arithmetic
from rnnx.layers.graph import SymbolicTensor


def arithmetic(operator: str) -> Callable[[dict[str, Any]], Any]:
    """What makes the symbolic tensor of such a layer from the operands, or None if it takes more than one."""

    def make(arguments: dict[str, Any]) -> Any:
        left, right = arguments["x1"], arguments["x2"]
        tensors = [part for part in (left, right) if isinstance(part, SymbolicTensor)]
        first = tensors[0]
        if first.dtype not in (np.float32, np.float64) or any(part.dtype != first.dtype for part in tensors):
            return None
        if len(tensors) == 2:
            return Arithmetic(operator, dtype=first.dtype)([left, right]) if left.ndim == right.ndim else None
        other = right if first is left else left
        if isinstance(other, bool) or not isinstance(other, Real):
            return None
        place = "right" if first is left else "left"
        return Arithmetic(operator, dtype=first.dtype, **{place: float(other)})(first)

    return make


def negated(arguments: dict[str, Any]) -> Any:
    """The tensor times -1, or None if it is not of floats."""
    return arithmetic("multiply")({"x1": arguments["x"], "x2": -1.0})
