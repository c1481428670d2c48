"""Gradients made shorter: by the length of each, or of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import product


def scale_within(most: float, grads: Sequence[Array]) -> float:
    """What gradients are multiplied by, given how long they may be together."""
    length = math.hypot(*map(norm, grads))
    return most / length if length > most else 1.0


def norm(grad: Array) -> float:
    """Length of a gradient, also of one whose squares are too large for its dtype."""
    flat = grad.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(np.dot(flat, flat)) if flat.dtype.kind == "f" else math.inf
    if math.isfinite(squares):
        return math.sqrt(squares)
    largest = float(np.abs(flat).max(initial=0))
    if not 0 < largest < math.inf:
        return largest
    scaled = flat.astype(np.float64) / largest
    return largest * math.sqrt(product(scaled, scaled))
