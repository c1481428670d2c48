"""Batches that are made when they are asked for, and data in two parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class PyDataset:
    """Base of batches that are made when they are asked for: implement ``__len__`` (or ``num_batches``) and
    ``__getitem__``.

    ``__getitem__(k)`` gives batch k as ``(x, y)`` or ``(x, y, sample_weight)``; ``on_epoch_begin`` and ``on_epoch_end``
    are called before and after each pass. ``fit`` asks in a new order in every epoch unless ``shuffle=False``.

    Parameters
    ----------
    workers, use_multiprocessing, max_queue_size
        Accepted as in Keras; batches are made one after the other.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __len__(self) -> int:
        if type(self).num_batches is not PyDataset.num_batches:
            return int(self.num_batches)
        raise NotImplementedError(f"{type(self).__name__}: implement `__len__`, the number of batches")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: implement `__getitem__`, which gives a batch")

    @property
    def num_batches(self) -> int:
        """Batches of a pass."""
        return len(self)

    def __iter__(self) -> Iterator[Any]:
        """All batches in their order."""
        return (self[k] for k in range(len(self)))

    def on_epoch_begin(self) -> None:
        """Before every pass."""

    def on_epoch_end(self) -> None:
        """After every pass."""


Sequence = PyDataset


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: Any = None,
) -> tuple[Any, Any]:
    """Data in a left and a right part, in the structure they came in.

    Parameters
    ----------
    dataset : array, tuple, list or dict of arrays with the same number of rows
    left_size, right_size : float or int, optional
        Share of the rows (a float between 0 and 1) or their number; one of them is enough.
    shuffle : bool
        In another order before they are split.
    seed : int, optional
    preferred_backend : None
        Accepted as in Keras; what comes back are NumPy arrays.

    Returns
    -------
    left, right

    Raises
    ------
    ValueError
        If the sizes do not fit the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.utils import split_dataset
    >>> left, right = split_dataset(np.arange(5), left_size=0.6)
    >>> left.tolist(), right.tolist()
    ([0, 1, 2], [3, 4])
    """
    named = dataset if isinstance(dataset, dict) else None
    parts = [np.asarray(part) for part in _parts(dataset)]
    if len({len(part) for part in parts}) != 1:
        raise ValueError(f"split_dataset: arrays of one length are needed, got {[len(part) for part in parts]} rows")
    rows = len(parts[0])
    if left_size is None and right_size is None:
        raise ValueError("split_dataset: give `left_size` or `right_size`")
    left, right = (_rows(name, size, rows) for name, size in (("left_size", left_size), ("right_size", right_size)))
    first = rows - right if left is None and right is not None else int(left or 0)
    last = rows - first if right is None else right
    if first + last > rows or first == 0 or last == 0:
        raise ValueError(f"split_dataset: {rows} rows cannot be split in {first} and {last}, both at least 1")
    order = np.arange(rows)
    if shuffle:
        order = np.random.default_rng(seed).permutation(rows)
    made: list[Any] = []
    for kept in (order[:first], order[first : first + last]):
        found: list[Any] = [part[kept] for part in parts]
        if named is not None:
            made.append(dict(zip(named, found, strict=True)))
        else:
            made.append(type(dataset)(found) if isinstance(dataset, (list, tuple)) else found[0])
    return made[0], made[1]


def _parts(dataset: Any) -> list[Any]:
    if isinstance(dataset, dict):
        return list(dataset.values())
    if isinstance(dataset, (list, tuple)) and len(dataset) and np.ndim(dataset[0]):
        return list(dataset)
    if not np.ndim(dataset):
        raise TypeError(
            f"split_dataset: arrays, or a list, tuple or dict of arrays are needed, got {type(dataset).__name__}"
        )
    return [dataset]


def _rows(name: str, size: Any, rows: int) -> int | None:
    """How many of the rows a share or a number means."""
    if size is None:
        return None
    whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
    if not (0 <= size <= rows if whole else isinstance(size, float) and 0 <= size <= 1):
        raise ValueError(f"split_dataset: `{name}` must be a share in 0..1 or a number in 0..{rows}, got {size!r}")
    return int(size) if whole else round(size * rows)
