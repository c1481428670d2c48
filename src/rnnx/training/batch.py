"""One batch, and what is done with the rows of data: some are taken, padded, read, and put back in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.training.forms import count_rows
from rnnx.training.stored import Stored


@dataclass(eq=False)
class Batch:
    """What one training step sees.

    Attributes
    ----------
    x, y : arrays, lists or dicts of arrays; y may be None
    sample_weight : array or None
    lengths : int array of shape (batch,) or None
        Valid steps of each row of a padded batch.
    rows : int array or None
        Where the rows stand in the whole set.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    lengths: Array | None = None
    rows: Array | None = None

    @property
    def size(self) -> int:
        return count_rows(self.x)


def take(x: Any, rows: Any) -> Any:
    """These rows of an array, or of every array of a list or dict."""
    if x is None:
        return None
    if isinstance(x, dict):
        return {name: take(part, rows) for name, part in x.items()}
    if isinstance(x, (list, tuple)):
        return [take(part, rows) for part in x]
    if isinstance(rows, slice) or isinstance(x, Stored):
        return x[rows]
    return np.asarray(x)[rows]


def part_of(x: Any, rows: slice) -> Any:
    """As `take`, but what is read from elsewhere is still to be read."""
    if isinstance(x, dict):
        return {name: part_of(part, rows) for name, part in x.items()}
    if isinstance(x, (list, tuple)):
        return [part_of(part, rows) for part in x]
    return x.part(rows) if isinstance(x, Stored) else take(x, rows)


def pad(sequences: Any, timesteps: int | None = None) -> tuple[Array, Array]:
    """Sequences side by side, zeros behind the shorter ones.

    Parameters
    ----------
    sequences : list of arrays of shape (timesteps, features), or (timesteps,) for ids
    timesteps : int, optional
        Steps to pad to; by default those of the longest.

    Returns
    -------
    padded : array of shape (batch, timesteps, features) or (batch, timesteps)
    lengths : int array of shape (batch,)

    Raises
    ------
    ValueError
        If the sequences differ in their features.
    """
    arrays = [np.asarray(s) for s in sequences]
    lengths = np.array([len(a) for a in arrays], np.int64)
    rest = step_shape(arrays)
    steps = int(lengths.max(initial=0)) if timesteps is None else timesteps
    out = np.zeros((len(arrays), steps, *rest), np.result_type(*arrays))
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out, lengths


def step_shape(arrays: Any) -> tuple[int, ...]:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"all sequences must have the same number of features, got {sorted(shapes)}")
    return shapes.pop()


class OneBatch(Batch):
    """A batch that is all there is."""

    def epoch(self, number: int = 0) -> tuple[Batch]:
        """The batch."""
        return (self,)


def read(x: Any) -> Any:
    """All rows of what is read from elsewhere, as arrays."""
    return take(x, slice(None)) if stored_parts(x) else x


def in_order(parts: list[Array], lengths: list[Any], rows: list[Array | None]) -> Any:
    """Batches joined in the order of the data; a list of rows without their padding where there are lengths.

    Parameters
    ----------
    parts : list of arrays
    lengths : list of int arrays or None
        Valid steps of the rows of each.
    rows : list of int arrays or None
        Their places in the data; None for rows that come next.
    """
    if len(parts) == 1 and lengths[0] is None and rows[0] is None:
        return parts[0]
    places: list[Array] = []
    count = 0
    for part, given in zip(parts, rows, strict=True):
        places.append(np.arange(count, count + len(part)) if given is None else given)
        count += len(part)
    order = np.argsort(np.concatenate(places), kind="stable")
    if all(n is None for n in lengths):
        joined = np.concatenate(parts)
        return joined if np.array_equal(order, np.arange(len(order))) else joined[order]
    found: list[Array] = []
    for part, steps in zip(parts, lengths, strict=True):
        found.extend(part if steps is None else [row[:n] for row, n in zip(part, steps, strict=True)])
    return [found[k] for k in order]


def stored_parts(data: Any) -> list[Stored]:
    """All in data that is read from elsewhere."""
    if isinstance(data, (list, tuple, dict)):
        return [found for part in (data.values() if isinstance(data, dict) else data) for found in stored_parts(part)]
    return [data] if isinstance(data, Stored) else []
