"""Batches: from arrays, ragged lists and generators, in a repeatable order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


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


def is_ragged(x: Any) -> bool:
    """Whether this is a list of sequences, each an array with its own number of steps."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and all(_is_sequence(part) for part in x)


def _is_sequence(part: Any) -> bool:
    """An array with one or two axes, or a list of numbers or of steps; judged by its first element."""
    if isinstance(part, np.ndarray):
        return part.ndim in (1, 2)
    if not isinstance(part, (list, tuple)):
        return False
    if not part or np.isscalar(part[0]):
        return True
    step = part[0]
    if isinstance(step, np.ndarray):
        return step.ndim == 0 or (step.ndim == 1 and not isinstance(part, tuple))  # (x, y) is a batch
    return isinstance(step, (list, tuple)) and len(step) > 0 and bool(np.isscalar(step[0]))


def count_rows(x: Any) -> int:
    """Rows of an array, or of the first array of a list or dict."""
    if isinstance(x, dict):
        return count_rows(next(iter(x.values())))
    if isinstance(x, (list, tuple)):
        return count_rows(x[0])
    if not np.ndim(x):
        raise ValueError(f"the data must have rows, got {type(x).__name__} without axes")
    return len(x)


def arrays_of(y: Any) -> Any:
    """Targets or weights as one array, or as the list or dict of arrays they came as."""
    if y is None or isinstance(y, dict):
        return y
    if isinstance(y, (list, tuple)) and len(y) > 0 and all(part is None or isinstance(part, np.ndarray) for part in y):
        return y
    return np.asarray(y)


def take(x: Any, rows: Any) -> Any:
    """These rows of an array, or of every array of a list or dict."""
    if x is None:
        return None
    if isinstance(x, dict):
        return {name: take(part, rows) for name, part in x.items()}
    if isinstance(x, (list, tuple)):
        return [take(part, rows) for part in x]
    if isinstance(rows, slice):
        return x[rows]
    return np.asarray(x)[rows]


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
    rest = {a.shape[1:] for a in arrays}
    if len(rest) > 1:
        raise ValueError(f"all sequences must have the same number of features, got {sorted(rest)}")
    steps = int(lengths.max(initial=0)) if timesteps is None else timesteps
    out = np.zeros((len(arrays), steps, *rest.pop()), np.result_type(*arrays))
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out, lengths


class Batches:
    """Batches of arrays or ragged lists.

    Ragged rows are put into batches of similar length, so that little is padded, and come with their lengths.

    Parameters
    ----------
    x : array, list or dict of arrays (several inputs), or ragged list
    y, sample_weight : optional
        ``y`` may be ragged too (targets for every step).
    batch_size : int
    shuffle : bool
    generator : numpy Generator, optional
        Source of the order.
    several_inputs : bool
        Whether a list is a list of inputs rather than a ragged one.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        generator: np.random.Generator | None = None,
        several_inputs: bool = False,
    ):
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive integer, got {batch_size!r}")
        self.ragged = not several_inputs and is_ragged(x)
        self.x: Any = (
            [np.asarray(part) for part in x]
            if self.ragged
            else x
            if isinstance(x, (list, tuple, dict))
            else np.asarray(x)
        )
        self._ragged_y = self.ragged and is_ragged(y)
        self._ragged_weight = self.ragged and is_ragged(sample_weight)
        self.y: Any = y if self._ragged_y else arrays_of(y)
        self.sample_weight: Any = sample_weight if self._ragged_weight else arrays_of(sample_weight)
        self.batch_size, self.shuffle = int(batch_size), shuffle
        self.generator = generator or np.random.default_rng(0)
        self.rows = len(self.x) if self.ragged else count_rows(self.x)
        for name, part, ragged in (
            ("x", self.x, self.ragged),
            ("y", self.y, self._ragged_y),
            ("sample_weight", self.sample_weight, self._ragged_weight),
        ):
            for rows in [len(part)] if ragged else _all_rows(part):
                if rows != self.rows:
                    raise ValueError(f"`x` has {self.rows} rows but `{name}` has {rows}")
        if self.ragged:
            self._lengths = np.array([len(part) for part in self.x])

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def _orders(self) -> list[Array]:
        """Row numbers of every batch."""
        order = self.generator.permutation(self.rows) if self.shuffle else np.arange(self.rows)
        if self.ragged:
            order = order[np.argsort(self._lengths[order], kind="stable")]
        batches = [order[k : k + self.batch_size] for k in range(0, self.rows, self.batch_size)]
        if self.ragged and self.shuffle:
            batches = [batches[k] for k in self.generator.permutation(len(batches))]
        return batches

    def __iter__(self) -> Iterator[Batch]:
        plain = not self.ragged and not self.shuffle
        for rows in self._orders():
            # A view where the rows follow each other.
            which: Any = slice(int(rows[0]), int(rows[-1]) + 1) if plain else rows
            if not self.ragged:
                yield Batch(take(self.x, which), take(self.y, which), take(self.sample_weight, which), None, rows)
                continue
            x, lengths = pad([self.x[k] for k in rows])
            y = _padded_like(lengths, [self.y[k] for k in rows]) if self._ragged_y else take(self.y, which)
            weight = self.sample_weight
            weight = _padded_like(lengths, [weight[k] for k in rows]) if self._ragged_weight else take(weight, which)
            yield Batch(x, y, weight, lengths, rows)


def _all_rows(part: Any) -> list[int]:
    if isinstance(part, (list, tuple, dict)):
        return [len(p) for p in (part.values() if isinstance(part, dict) else part) if p is not None]
    return [] if part is None else [count_rows(part)]


def _padded_like(lengths: Array, sequences: list[Any]) -> Array:
    """Targets or weights of every step, padded as the inputs are."""
    own = [len(sequence) for sequence in sequences]
    if not np.array_equal(own, lengths):
        k = int(np.argmax(np.asarray(own) != lengths))
        raise ValueError(f"ragged targets and weights need as many steps as their input, {lengths[k]}, got {own[k]}")
    return pad(sequences)[0]


class GivenBatches:
    """Batches that somebody else makes: tuples ``(x, y)`` or ``(x, y, sample_weight)``, or ``x`` alone.

    Parameters
    ----------
    source : iterable
        A sequence or re-iterable is read once each epoch, a generator goes on.
    steps : int, optional
        Batches of an epoch.
    """

    def __init__(self, source: Iterable[Any], steps: int | None = None):
        self.source, self.steps = source, steps
        self._goes_on = iter(source) is source
        self._iterator: Iterator[Any] | None = None

    def __len__(self) -> int:
        if self.steps is not None:
            return self.steps
        return len(self.source) if isinstance(self.source, Sized) else 0

    def __iter__(self) -> Iterator[Batch]:
        if self._iterator is None or not self._goes_on:
            self._iterator = iter(self.source)
        made = 0
        while self.steps is None or made < self.steps:
            try:
                item = next(self._iterator)
            except StopIteration:
                return
            made += 1
            if isinstance(item, Batch):
                yield item
                continue
            parts = item if isinstance(item, tuple) else (item,)
            if len(parts) > 3:
                raise ValueError(f"a batch must be (x,), (x, y) or (x, y, sample_weight), got {len(parts)} parts")
            yield Batch(*parts)


def tbptt_batches(sequence: Any, batch_size: int, timesteps: int, targets: Any = None) -> list[tuple[Array, Array]]:
    """Cut one long sequence into chunks for truncated back-propagation with a stateful model.

    The sequence is laid out as ``batch_size`` parallel strips; row k of each batch continues row k of the one before.
    ``fit(batches, shuffle=False)`` resets the states at the start of every epoch.

    Parameters
    ----------
    sequence : array of shape (steps,) or (steps, features)
    batch_size, timesteps : int
    targets : array of the same number of steps, optional
        By default the sequence itself, one step ahead.

    Returns
    -------
    list of (x, y)
        x and y of shape (batch_size, timesteps, ...).

    Raises
    ------
    ValueError
        If the sequence is too short for one chunk.
    """
    if batch_size < 1 or timesteps < 1:
        raise ValueError(f"`batch_size` and `timesteps` must be positive, got {batch_size} and {timesteps}")
    sequence = np.asarray(sequence)
    x, y = (sequence[:-1], sequence[1:]) if targets is None else (sequence, np.asarray(targets))
    if len(x) != len(y):
        raise ValueError(f"`sequence` has {len(x)} steps but `targets` has {len(y)}")
    strip = len(x) // batch_size // timesteps * timesteps
    if strip < 1:
        raise ValueError(f"{len(x)} steps are too few for batches of {batch_size} x {timesteps}")
    strips = [a[: batch_size * strip].reshape(batch_size, strip, *a.shape[1:]) for a in (x, y)]
    return [(strips[0][:, t : t + timesteps], strips[1][:, t : t + timesteps]) for t in range(0, strip, timesteps)]
