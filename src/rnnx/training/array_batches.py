"""Batches of arrays and ragged lists, in a repeatable order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.training.batch import Batch, pad, step_shape, stored_parts, take
from rnnx.training.forms import arrays_of, count_rows, is_ragged
from rnnx.training.stored import Stored


class Batches:
    """Batches of arrays or ragged lists; all rows are checked at once, before the first batch.

    Ragged rows are put into batches of similar length, so that little is padded, and come with their lengths.

    Parameters
    ----------
    x : array, list or dict of arrays (several inputs), or ragged list
    y, sample_weight : optional
        ``y`` may be ragged too (targets for every step).
    batch_size : int
    shuffle : bool or "batch"
        "batch" leaves rows that follow each other together and shuffles the batches; of data that are read in pieces
        those of a piece follow each other too, so that each piece is read once.
    generator : numpy Generator, optional
        Source of the order.
    several_inputs : bool
        Whether a list is a list of inputs rather than a ragged one.
    steps : int, optional
        Batches of an epoch; by default all of them. The next epoch goes on where this one ended.
    seed : int, optional
        The order of each pass over the data follows from this and the number of the pass alone, so that training that
        goes on later sees the same batches.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool | str = False,
        generator: np.random.Generator | None = None,
        several_inputs: bool = False,
        steps: int | None = None,
        seed: int | None = None,
    ):
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            got = (
                f"{type(batch_size).__name__} of shape {np.shape(batch_size)}"
                if np.ndim(batch_size)
                else repr(batch_size)
            )
            raise ValueError(f"`batch_size` must be a positive integer, got {got}")
        self.ragged = not several_inputs and is_ragged(x)
        self.x: Any = x if isinstance(x, (list, tuple, dict, Stored)) else np.asarray(x)
        if self.ragged:
            self.x = [np.asarray(part) for part in x]
        self._ragged_y = self.ragged and is_ragged(y)
        self._ragged_weight = self.ragged and is_ragged(sample_weight)
        self.y: Any = y if self._ragged_y else arrays_of(y)
        self.sample_weight: Any = sample_weight if self._ragged_weight else arrays_of(sample_weight)
        self.batch_size, self.shuffle = int(batch_size), shuffle
        stored = stored_parts([self.x, self.y, self.sample_weight])
        if shuffle is True and any(part.is_computed for part in stored):
            raise ValueError(
                "every batch of rows in any order would compute nearly all chunks of the Dask array; give "
                '`shuffle="batch"` (chunks and the batches in them in a new order, each chunk computed once an epoch) '
                "or `shuffle=False`, or the array in memory, `x.compute()`"
            )
        self._stored = stored[0] if stored else None  # the one that says which batches follow each other
        self.generator = generator or np.random.default_rng(0)
        self.steps, self.seed = checked_steps(steps), seed
        self._place = 0
        self._pass: Iterator[Batch] = iter(())
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
            step_shape(self.x)
            for part, ragged in ((self.y, self._ragged_y), (self.sample_weight, self._ragged_weight)):
                if ragged:
                    _check_steps(self._lengths, part)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self.rows / self.batch_size) if self.steps is None else self.steps

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of an epoch."""
        if self.steps is None:
            yield from self._batches(number)
            return
        of_pass = math.ceil(self.rows / self.batch_size)
        start = self._place if self.seed is None else number * self.steps
        for place in range(start, start + self.steps if of_pass else start):
            if place != self._place or place % of_pass == 0:
                self._pass = self._batches(place // of_pass, place % of_pass)
            batch = next(self._pass)
            self._place = place + 1
            yield batch

    def restart(self) -> None:
        """Let the next epoch begin at the first batch."""
        self._place = 0

    def first_row(self) -> Batch:
        """A batch of the first row alone, to try whether data fit a model."""
        return self._batch(slice(0, 1), np.arange(1))

    def as_one(self) -> Batch:
        """All rows in one batch, in their order."""
        return replace(self._batch(slice(0, self.rows), np.arange(self.rows)), rows=None)

    def _orders(self, number: int) -> list[Array]:
        """Row numbers of every batch."""
        if self.shuffle and self.seed is not None:
            self.generator = np.random.default_rng([self.seed, number])
        by_batch = self.shuffle == "batch"
        order = self.generator.permutation(self.rows) if self.shuffle and not by_batch else np.arange(self.rows)
        if self.ragged:
            order = order[np.argsort(self._lengths[order], kind="stable")]
        batches = [order[k : k + self.batch_size] for k in range(0, self.rows, self.batch_size)]
        if self.shuffle and (self.ragged or by_batch):
            new = self.generator.permutation(len(batches))
            if self._stored is not None and batches and not self.ragged:  # pieces, and the batches in each
                pieces = self._stored.pieces_of(np.arange(len(batches)) * self.batch_size)
                ranks = np.empty(len(batches), np.int64)
                ranks[new] = np.arange(len(new))
                least = np.full(int(pieces[-1]) + 1, len(batches))
                np.minimum.at(least, pieces, ranks)
                new = new[np.argsort(least[pieces[new]], kind="stable")]
            batches = [batches[k] for k in new]
        return batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches(0)

    def _batches(self, number: int, skipped: int = 0) -> Iterator[Batch]:
        in_order = not self.ragged and (not self.shuffle or self.shuffle == "batch")
        for rows in self._orders(number)[skipped:]:
            # A view where the rows follow each other.
            yield self._batch(slice(int(rows[0]), int(rows[-1]) + 1) if in_order else rows, rows)

    def _batch(self, which: Any, rows: Array) -> Batch:
        if not self.ragged:
            return Batch(take(self.x, which), take(self.y, which), take(self.sample_weight, which), None, rows)
        x, lengths = pad([self.x[k] for k in rows])
        y = pad([self.y[k] for k in rows])[0] if self._ragged_y else take(self.y, which)
        weight = self.sample_weight
        weight = pad([weight[k] for k in rows])[0] if self._ragged_weight else take(weight, which)
        return Batch(x, y, weight, lengths, rows)


def _all_rows(part: Any) -> list[int]:
    if isinstance(part, (list, tuple, dict)):
        return [len(p) for p in (part.values() if isinstance(part, dict) else part) if p is not None]
    return [] if part is None else [count_rows(part)]


def _check_steps(lengths: Array, sequences: list[Any]) -> None:
    """Targets or weights of every step must have the steps of the inputs."""
    own = np.array([len(sequence) for sequence in sequences])
    if not np.array_equal(own, lengths):
        k = int(np.argmax(own != lengths))
        raise ValueError(
            f"ragged targets and weights need as many steps as their input, {lengths[k]}, got {own[k]} in row {k}"
        )


def checked_steps(steps: Any) -> int | None:
    """The number of steps of an epoch, or None for all."""
    if steps is None:
        return None
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ValueError(f"the number of steps must be a positive integer, got {steps!r}")
    return int(steps)
