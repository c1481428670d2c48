"""Windows of a time series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnx._seeds import shuffling_generator
from rnnx._typing import Array


def timeseries_windows(data: Any, sequence_length: int, sequence_stride: int = 1, sampling_rate: int = 1) -> Array:
    """Overlapping windows of a series, without copying it.

    Parameters
    ----------
    data : array of shape (steps,) or (steps, features)
    sequence_length, sequence_stride, sampling_rate : int

    Returns
    -------
    array of shape (windows, sequence_length, ...)
    """
    array = np.asarray(data)
    span = (sequence_length - 1) * sampling_rate + 1
    if len(array) < span:
        raise ValueError(f"timeseries_windows: {len(array)} steps are too few for a window of {span}")
    windows = np.lib.stride_tricks.sliding_window_view(array, span, axis=0)
    return np.moveaxis(windows, -1, 1)[::sequence_stride, ::sampling_rate]


class TimeseriesDataset:
    """Batches of windows of a series; see `timeseries_dataset_from_array`.

    Parameters
    ----------
    windows : array of shape (windows, timesteps, ...)
    targets : array of shape (windows, ...) or None
    batch_size : int or None
        None gives window by window, without a batch axis.
    generator : numpy Generator or None
        Source of a new order for every pass.
    """

    def __init__(
        self, windows: Array, targets: Array | None, batch_size: int | None, generator: np.random.Generator | None
    ):
        self.windows, self.targets, self.batch_size, self.generator = windows, targets, batch_size, generator
        self._most: int | None = None

    def __len__(self) -> int:
        """Batches (or windows) of a pass."""
        count = math.ceil(len(self.windows) / (self.batch_size or 1))
        return count if self._most is None else min(count, self._most)

    def __iter__(self) -> Iterator[Any]:
        count = len(self.windows)
        order = np.arange(count) if self.generator is None else self.generator.permutation(count)
        size = self.batch_size or 1
        for k in range(len(self)):
            rows: Any = order[k * size : (k + 1) * size] if self.batch_size else order[k]
            yield self.windows[rows] if self.targets is None else (self.windows[rows], self.targets[rows])

    def take(self, count: int) -> TimeseriesDataset:
        """The first batches of every pass; -1 are all.

        Parameters
        ----------
        count : int
        """
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < -1:
            raise ValueError(f"take: `count` must be an integer of at least 0, or -1 for all, got {count!r}")
        taken = TimeseriesDataset(self.windows, self.targets, self.batch_size, self.generator)
        taken._most = self._most if count < 0 else min(int(count), len(self))
        return taken


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> TimeseriesDataset:
    """Batches of windows of a series with their targets, for ``fit``; only the batch at hand is copied.

    Parameters
    ----------
    data : array of shape (steps,) or (steps, features)
    targets : array of shape (steps, ...) or None
        ``targets[i]`` belongs to the window that starts at step i. Windows without a target are left out.
    sequence_length, sequence_stride, sampling_rate : int
        Steps of a window, between the starts of windows, and between the steps of a window.
    batch_size : int or None
        None gives window by window, without a batch axis.
    shuffle : bool
        A new order for every pass, repeatable from ``seed``.
    start_index, end_index : int, optional
        The part of the series to use; the last index is left out.
    format : {"tf", "grain"}
        Accepted as in Keras; what comes back is an iterable of NumPy arrays.

    Returns
    -------
    iterable of (x, y), or of x without targets
        x of shape (batch, sequence_length, ...).

    Raises
    ------
    ValueError
        If a number is out of its range or the series is too short for one window.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.utils import timeseries_dataset_from_array
    >>> x, y = next(iter(timeseries_dataset_from_array(np.arange(9), np.arange(9)[3:], 3, batch_size=2)))
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [3, 4])
    """
    who = "timeseries_dataset_from_array"
    numbers = {
        "sequence_length": sequence_length, "sequence_stride": sequence_stride, "sampling_rate": sampling_rate,
        "batch_size": 1 if batch_size is None else batch_size,
    }  # fmt: skip
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(f"{who}: `{name}` must be a positive integer, got {number!r}")
    if format not in ("tf", "grain"):
        raise ValueError(f"{who}: `format` must be 'tf' or 'grain', got {format!r}")
    series = np.asarray(data)
    start, end = start_index or 0, len(series) if end_index is None else end_index
    if not 0 <= start < end <= len(series):
        raise ValueError(
            f"{who}: `start_index` and `end_index` must be two places in 0..{len(series)}, the first before the "
            f"second, got {start} and {end}"
        )
    span = (sequence_length - 1) * sampling_rate + 1
    if end - start < span:
        raise ValueError(f"{who}: {end - start} steps are too few for a window of {span}")
    windows = timeseries_windows(series[start:end], sequence_length, 1, sampling_rate)
    wanted = None if targets is None else np.asarray(targets)[start:end]
    count = len(windows) if wanted is None else min(len(windows), len(wanted))
    if not count:
        raise ValueError(f"{who}: `targets` has no entry for the window that starts at step {start}")
    windows = windows[:count:sequence_stride]
    generator = None
    if shuffle:
        generator = shuffling_generator() if seed is None else np.random.default_rng(seed)
    own = None if wanted is None else wanted[:count:sequence_stride]
    return TimeseriesDataset(windows, own, batch_size, generator)
