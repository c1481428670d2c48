"""Arrays that are not in memory, of h5py, zarr, netCDF or Dask: their rows are read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnx._typing import Array

AT_ONCE = 8 << 20  # bytes that are read at once, where the rows of a chunk are fewer


class Stored:
    """Rows that are read when they are asked for; one piece of them, as much as a read gives, is kept.

    A piece is a chunk of the source, or several where they are small; never less, as a part of a chunk costs a whole
    one. So batches in their order read, or compute, each chunk once.

    Parameters
    ----------
    source : object with ``shape``, ``dtype`` and slices along its first axis
    first, stop : int, optional
        Its rows; all of them if not given.
    """

    def __init__(self, source: Any, first: int = 0, stop: int | None = None):
        self.source, self.first = source, first
        rows = _rows_of(source)
        self.stop = rows if stop is None else stop
        self.shape: tuple[int, ...] = (self.stop - first, *(int(n) for n in source.shape[1:]))
        self.dtype, self.ndim = np.dtype(source.dtype), len(self.shape)
        chunks: Any = getattr(source, "chunks", None) or (1,)
        self.is_computed = isinstance(chunks[0], tuple)  # by Dask: all of a chunk for any row of it
        if self.is_computed:
            self._starts = np.cumsum([0, *chunks[0]])
        else:
            self._chunk = max(1, int(chunks[0]))
            row = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64)))
            step = self._chunk * max(1, AT_ONCE // (self._chunk * row))
            self._starts = np.append(np.arange(0, rows, step), rows)
        self._kept: tuple[int, Array] | None = None  # the number of a piece, and its rows

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Array:
        """The rows of a slice, or with these numbers, as an array."""
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step == 1:
                return self._read(self.first + start, self.first + max(start, stop))
            which = np.arange(start, stop, step)
        return self._gather(self.first + np.asarray(which, np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("rows that are read from elsewhere are a copy")
        found = self._take(self.first, self.stop)
        return found if dtype is None else found.astype(dtype, copy=False)

    def part(self, which: slice) -> Stored:
        """These rows, still to be read."""
        start, stop, _ = which.indices(len(self))
        return Stored(self.source, self.first + start, self.first + max(start, stop))

    def pieces_of(self, rows: Array) -> Array:
        """The number of the piece that each of these rows is in."""
        return np.searchsorted(self._starts, self.first + rows, side="right") - 1

    def _take(self, start: int, stop: int) -> Array:
        if start == stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        found = self.source[start:stop]
        if np.ma.is_masked(found):
            raise ValueError(
                f"rows {start} to {stop} of the {type(self.source).__name__} have {np.ma.count_masked(found)} masked "
                "values; fill them first, or read them without masking (`set_auto_mask(False)` of netCDF4)"
            )
        return np.asarray(found)

    def _read(self, start: int, stop: int) -> Array:
        """Rows that follow each other, piece by piece."""
        parts = []
        while start < stop:
            number = int(np.searchsorted(self._starts, start, side="right")) - 1
            begin, end = int(self._starts[number]), int(self._starts[number + 1])
            if self._kept is None or self._kept[0] != number:
                self._kept = None  # not two at once
                self._kept = number, self._take(max(begin, self.first), min(end, self.stop))
            offset = max(begin, self.first)
            piece = self._kept[1]
            part = piece[start - offset : min(stop, end) - offset]
            start += len(part)
            # The next read may take the next piece: whoever still has the last rows of this one is not to hold it all.
            parts.append(part.copy() if len(part) < len(piece) and start == offset + len(piece) else part)
        if not parts:
            return self._take(start, start)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _gather(self, rows: Array) -> Array:
        """Rows in any order: each chunk is read once, from the first to the last of its rows that are asked for.

        Formats differ in how they take lists of numbers (sorted, without repetition, or not at all); slices they all
        have.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        places = rows[order]
        for a, b in self._runs(places):
            start = int(places[a])
            found[order[a:b]] = self._take(start, int(places[b - 1]) + 1)[places[a:b] - start]
        return found

    def _runs(self, places: Array) -> Iterator[tuple[int, int]]:
        """Where the sorted rows are cut: between chunks, and in gaps of what has none."""
        if not len(places):
            return
        if self.is_computed:
            marks = self.pieces_of(places - self.first)
            cuts = marks[1:] != marks[:-1]
        elif self._chunk > 1:
            cuts = places[1:] // self._chunk != places[:-1] // self._chunk
        else:
            cuts = places[1:] - places[:-1] > 1
        edges = [0, *(np.flatnonzero(cuts) + 1), len(places)]
        yield from zip(edges[:-1], edges[1:], strict=True)


def _rows_of(source: Any) -> int:
    rows = source.shape[0]
    if rows != rows:  # NaN
        raise ValueError(
            f"the {type(source).__module__}.{type(source).__name__} does not know how many rows its chunks have; call "
            "`x.compute_chunk_sizes()` first, or use rnnx.distributed.dask.predict"
        )
    return int(rows)


def is_stored(x: Any) -> bool:
    """Whether this is an array of numbers whose rows are to be read in pieces, and not already in memory."""
    if isinstance(x, (np.ndarray, np.generic, Stored)) or isinstance(x, type):
        return False
    if hasattr(x, "__array_interface__") or hasattr(x, "__dlpack__") or hasattr(x, "iloc"):
        return False  # NumPy has it without a copy, or pandas
    shape = getattr(x, "shape", None)
    if not isinstance(shape, tuple) or not shape or not hasattr(x, "__getitem__"):
        return False
    try:
        numbers = np.dtype(x.dtype).kind in "fiub"
    except (AttributeError, TypeError):
        return False  # of a framework with types of its own
    return numbers and all(isinstance(n, (int, np.integer)) for n in shape[1:])
