"""Data in the forms that ``fit`` accepts, turned into what one step needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.data import Batch, Batches, arrays_of, count_rows, is_ragged, take

Array = NDArray[Any]


def for_each(value: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return [make(v) for v in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {k: make(v) for k, v in value.items()}
    return make(value)


def as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def is_source(x: Any) -> bool:
    """Whether this gives batches: a generator, or a list of (x, y) tuples."""
    if isinstance(x, (np.ndarray, dict)) or x is None or isinstance(x, Batches):
        return isinstance(x, Batches)
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and all(isinstance(item, (tuple, Batch)) and not is_ragged([item]) for item in x)
    return hasattr(x, "__iter__") and not hasattr(x, "__array__")


def one_batch(x: Any, y: Any, weight: Any, several: bool) -> Batch:
    if not several and is_ragged(x):
        return next(iter(Batches(x, y, weight, batch_size=max(1, len(x)))))
    return Batch(x if isinstance(x, (list, tuple, dict)) else np.asarray(x), arrays_of(y), arrays_of(weight))


def split_rows(x: Any, y: Any, weight: Any, share: float, several: bool = False) -> tuple[Any, Any, Any, Any]:
    if not 0 < share < 1:
        raise ValueError(f"fit: `validation_split` must lie between 0 and 1, got {share}")
    if is_source(x):
        raise ValueError("fit: `validation_split` needs arrays, not an iterable of batches")
    ragged = not several and is_ragged(x)
    rows = len(x) if ragged else count_rows(x)
    cut = int(rows * (1 - share))
    if cut in (0, rows):
        raise ValueError(f"fit: `validation_split` = {share} of {rows} rows leaves one side empty")

    def part(a: Any, which: slice) -> Any:
        return a[which] if ragged and is_ragged(a) else take(arrays_of(a) if a is not x else a, which)

    first, second = slice(0, cut), slice(cut, rows)
    validation = (part(x, second), part(y, second), part(weight, second))
    return part(x, first), part(y, first), part(weight, first), validation


def class_weights(y: Any, class_weight: dict[Any, float], sample_weight: Any) -> Array:
    y = arrays_of(y)
    if not isinstance(y, np.ndarray):
        raise ValueError("`class_weight` needs targets in one array")
    if not isinstance(class_weight, dict):
        raise TypeError(f"`class_weight` must be a dict of weights by class, got {type(class_weight).__name__}")
    classes = np.asarray(y)
    if classes.ndim > 1 and classes.shape[-1] > 1 and classes.dtype.kind == "f":
        classes = classes.argmax(axis=-1)
    elif classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    weights = np.ones(classes.shape, np.float64)
    for name, weight in class_weight.items():
        weights[classes == int(name)] = weight
    return weights if sample_weight is None else weights * np.asarray(sample_weight)


def in_order(parts: list[Array], lengths: list[Any], order: Array) -> Any:
    """Batches joined in the order of the data; a list of rows without their padding where there are lengths."""
    if all(n is None for n in lengths):
        joined = np.concatenate(parts)
        return joined if np.array_equal(order, np.arange(len(order))) else joined[order]
    rows = [row[:n] for part, steps in zip(parts, lengths, strict=True) for row, n in zip(part, steps, strict=True)]
    return [rows[k] for k in order]


def starting_mask(who: str, x: Array, mask: Any, lengths: Any) -> Any:
    if mask is not None and lengths is not None:
        raise ValueError(f"{who}: give `mask` or `lengths`, not both")
    if lengths is None:
        return mask
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or lengths.shape != x.shape[:1]:
        raise ValueError(
            f"{who}: `lengths` must be integers of shape (batch,) = {x.shape[:1]}, got {lengths.dtype} {lengths.shape}"
        )
    if lengths.size and (lengths.min() < 0 or lengths.max() > x.shape[1]):
        raise ValueError(
            f"{who}: `lengths` must lie in 0..{x.shape[1]} (timesteps), got {lengths.min()}..{lengths.max()}"
        )
    return np.arange(x.shape[1]) < lengths[:, None]
