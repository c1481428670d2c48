"""The gradient of a penalty on weights that a function of one's own computes."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.graph_cache import GraphCache
from rnnx.layers.input import entry
from rnnx.layers.tracing import Traced, Weightless, trace


def penalty_gradient(regularizer: Any, w: Array) -> Array:
    """The gradient of a penalty ``regularizer(w)``, which is traced once for each shape and dtype of weights."""
    cache: GraphCache | None = vars(regularizer).get("_graphs")
    if cache is None:
        cache = vars(regularizer).setdefault("_graphs", GraphCache(regularizer, type(regularizer).__call__))

    def made() -> Traced:
        tensor = entry("w", w.shape, w.dtype)
        return trace(Weightless(type(regularizer).__name__), [tensor], lambda: regularizer(tensor))

    values, _, back = cache.get_or_trace((w.shape, w.dtype), made).run([w], [], False, True)
    ones = [np.ones_like(value) for value in values]
    (d,) = back(ones if len(ones) > 1 else ones[0]).dx
    return np.zeros_like(w) if d is None else np.asarray(d, w.dtype)
