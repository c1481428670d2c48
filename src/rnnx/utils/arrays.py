"""Arrays made of other data: padded sequences, one-hot classes, vectors of length one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rnnx._typing import Array


def pad_sequences(
    sequences: Iterable[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> Array:
    """Sequences side by side in one array, as ``keras.utils.pad_sequences``.

    Parameters
    ----------
    sequences : list of sequences
    maxlen : int, optional
    padding, truncating : {"pre", "post"}
    value : number

    Returns
    -------
    array of shape (len(sequences), maxlen, ...)

    Examples
    --------
    >>> from rnnx.utils import pad_sequences
    >>> pad_sequences([[1], [2, 3]]).tolist()
    [[0, 1], [2, 3]]
    """
    for name, word in (("padding", padding), ("truncating", truncating)):
        if word not in ("pre", "post"):
            raise ValueError(f"pad_sequences: `{name}` must be 'pre' or 'post', got {word!r}")
    if not hasattr(sequences, "__iter__"):
        raise ValueError(f"pad_sequences: a list of sequences is needed, got {type(sequences).__name__}")
    if maxlen is not None and maxlen < 0:
        raise ValueError(f"pad_sequences: `maxlen` must be at least 0, got {maxlen}")
    arrays = [np.asarray(s) for s in sequences]
    if any(a.ndim == 0 for a in arrays):
        raise ValueError("pad_sequences: every element must be a sequence")
    longest = max((len(a) for a in arrays), default=0) if maxlen is None else int(maxlen)
    rest = next((a.shape[1:] for a in arrays if len(a)), ())
    out = np.full((len(arrays), longest, *rest), value, dtype=dtype)
    for row, array in zip(out, arrays, strict=True):
        if not len(array) or not longest:
            continue
        if array.shape[1:] != rest:
            raise ValueError(
                f"pad_sequences: sequences of step shapes {rest} and {array.shape[1:]} do not fit together"
            )
        kept = array[-longest:] if truncating == "pre" else array[:longest]
        if padding == "pre":
            row[longest - len(kept) :] = kept
        else:
            row[: len(kept)] = kept
    return out


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """Integer classes as one-hot rows.

    Examples
    --------
    >>> from rnnx.utils import to_categorical
    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    classes = np.asarray(x).astype(np.int64)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    count = int(classes.max(initial=-1)) + 1 if num_classes is None else int(num_classes)
    if classes.size and (classes.min() < 0 or classes.max() >= count):
        raise ValueError(f"to_categorical: classes must lie in 0..{count - 1}, got {classes.min()}..{classes.max()}")
    return np.eye(count, dtype=np.float32)[classes]


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """Vectors along an axis, divided by their norm."""
    array = np.asarray(x)
    with np.errstate(invalid="ignore"):  # see `rnnx.functional._products`
        norms = np.linalg.norm(array, ord=order, axis=axis, keepdims=True)
    return array / np.where(norms == 0, 1, norms)
