"""Which element type an operation works in, and which one its result has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rnnx.layers.checks import dtype_of

FLOAT, INDEX, BOOL = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_)  # the types of results by default


def named(dtype: Any) -> np.dtype[Any]:
    """The dtype of a name or type.

    Raises
    ------
    ValueError
        If it is none of numbers.
    """
    found = dtype_of(dtype)
    if found is None or found.kind not in "fiub":
        raise ValueError(f"`dtype` must be a type of numbers, such as 'float32' or 'int32', got {repr(dtype)[:100]}")
    return found


def common(strong: Iterable[Any], weak: Iterable[Any]) -> np.dtype[Any]:
    """The type in which operands meet: the widest of their floats, whatever the integers beside them, as in Keras.

    Parameters
    ----------
    strong : iterable of arrays or sketches
    weak : iterable of arrays or numbers
        Constants: of them only counts whether they are floats, integers or truth values, if there are others.

    Returns
    -------
    dtype
    """
    types = [value.dtype for value in strong]
    floats = [dtype for dtype in types if dtype.kind == "f"]
    if floats:
        return np.result_type(*floats)
    types += [_own(value) for value in weak]
    if any(dtype.kind == "f" for dtype in types):
        return FLOAT
    return np.result_type(*types) if types else FLOAT


def _own(value: Any) -> np.dtype[Any]:
    if isinstance(value, (bool, np.bool_)):
        return BOOL
    if isinstance(value, (int, np.integer)):
        return INDEX
    if isinstance(value, (float, np.floating)):
        return FLOAT
    return np.dtype(value.dtype)


def floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or float32 for integers."""
    return dtype if dtype.kind == "f" else FLOAT


def summed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of a sum: truth values and short integers are counted in int32."""
    return dtype if dtype.kind == "f" or dtype.itemsize >= 4 else INDEX
