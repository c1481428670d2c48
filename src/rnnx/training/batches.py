"""Batches for a model: of arrays and ragged lists, or those that somebody else makes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np

from rnnx.training.array_batches import Batches, checked_steps
from rnnx.training.arrow import is_arrow
from rnnx.training.batch import Batch, OneBatch, in_order, pad, part_of, read, take
from rnnx.training.forms import data_of, is_ragged, parts_of
from rnnx.training.stored import is_stored
from rnnx.training.truncated import tbptt_batches
from rnnx.utils import PyDataset, shuffling_generator

__all__ = [
    "Batch", "Batches", "GivenBatches", "OneBatch", "batches_of", "batches_of_inputs", "in_order", "is_indexed",
    "is_source", "one_batch", "pad", "part_of", "read", "take", "tbptt_batches",
]  # fmt: skip


class GivenBatches:
    """Batches that somebody else makes: tuples ``(x, y)`` or ``(x, y, sample_weight)``, or ``x`` alone.

    Parameters
    ----------
    source : iterable, or object with ``__len__`` and ``__getitem__``
        A list or re-iterable is read again for each epoch, a generator goes on. Of an object with ``__getitem__`` and
        without ``__iter__``, such as a `rnnx.utils.PyDataset`, the batches are asked for by number.
    steps : int, optional
        Batches of an epoch. The next epoch goes on where this one ended, and from the first batch after the last.
    generator : numpy Generator, optional
        Source of the order in which batches are asked for by number; in their order if not given.
    seed : int, optional
        As for `Batches`.
    model : Model, optional
        For whom they are: inputs and targets come in the forms it takes, lists of one and lists of arrays included.
    """

    def __init__(
        self,
        source: Any,
        steps: int | None = None,
        generator: np.random.Generator | None = None,
        seed: int | None = None,
        model: Any = None,
    ):
        self.model = model
        self.source, self.steps = source, checked_steps(steps)
        self.generator, self.seed = generator, seed
        self._by_number = is_indexed(source)
        listed = self._by_number or isinstance(source, (list, tuple))
        self.rows = (
            len(source) if listed and isinstance(source, Sized) else 0
        )  # batches that may be asked for at any time
        self._goes_on = not self._by_number and iter(source) is source
        self._iterator: Iterator[Any] | None = None

    def __len__(self) -> int:
        if self.steps is not None:
            return self.steps
        return len(self.source) if isinstance(self.source, Sized) else 0

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch()

    def first_row(self) -> Batch:
        """A batch of the first row alone, of batches that can be asked for at any time."""
        batch = _batch_of(self.source[0], self.model)
        x, y, weight = (take(part, slice(0, 1)) for part in (batch.x, batch.y, batch.sample_weight))
        return Batch(x, y, weight, None if batch.lengths is None else batch.lengths[:1])

    def restart(self) -> None:
        """Let the next epoch begin at the first batch; a generator cannot."""
        if not self._goes_on:
            self._iterator = None

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of an epoch."""
        made = 0
        if self.steps is None:
            self.restart()
        while self.steps is None or made < self.steps:
            fresh = self._iterator is None
            if self._iterator is None:
                self._iterator = self._new_pass(number, made)
            item = next(self._iterator, self)
            if item is self:
                if self.steps is None or self._goes_on or fresh:
                    return
                self._iterator = None
                continue
            made += 1
            yield _batch_of(item, self.model)

    def _new_pass(self, number: int, made: int) -> Iterator[Any]:
        if not self._by_number:
            return iter(self.source)
        count = len(self.source)
        place = number * count if self.steps is None else number * self.steps + made
        return self._numbered(*divmod(place, max(1, count)) if self.seed is not None else (0, 0))

    def _numbered(self, number: int, skipped: int) -> Iterator[Any]:
        order: Any = range(len(self.source))
        if self.generator is not None:
            generator = self.generator if self.seed is None else np.random.default_rng([self.seed, number])
            order = generator.permutation(len(self.source))
        if hasattr(self.source, "on_epoch_begin"):
            self.source.on_epoch_begin()
        for k in order[skipped:]:
            yield self.source[int(k)]
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()


def _batch_of(item: Any, model: Any) -> Batch:
    if isinstance(item, Batch):
        return item
    parts = item if isinstance(item, tuple) else (item,) if model is None else parts_of(model, item)
    if len(parts) > 3:
        raise ValueError(f"a batch must be (x,), (x, y) or (x, y, sample_weight), got {len(parts)} parts")
    if model is None:
        return Batch(*parts)
    x, y, weight = data_of(model, *parts)
    if is_ragged(x) and not model.several_inputs:
        return Batches(x, y, weight, batch_size=len(x)).as_one()
    return Batch(read(x), read(y), read(weight))


# ---- What a model is given ------------------------------------------------------------------------------------------


def is_indexed(source: Any) -> bool:
    """Whether batches of this are asked for by number."""
    if isinstance(source, PyDataset):
        return True
    if isinstance(source, type) or hasattr(source, "__array__") or hasattr(source, "__iter__"):
        return False
    if is_arrow(source) or is_stored(source):
        return False
    return hasattr(source, "__getitem__") and hasattr(source, "__len__")


def is_source(x: Any) -> bool:
    """Whether this gives batches: a generator, a list of (x, y) tuples, or an object that has them by number."""
    if isinstance(x, (np.ndarray, dict, type)) or x is None or isinstance(x, Batches):
        return isinstance(x, Batches)
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and all(isinstance(item, (tuple, Batch)) and not is_ragged([item]) for item in x)
    if is_indexed(x):
        return True
    if isinstance(x, (str, bytes)) or hasattr(x, "visititems"):  # letters and names: `refuse_unread` says what to do
        return False
    return hasattr(x, "__iter__") and not (hasattr(x, "__array__") or is_arrow(x) or is_stored(x))


def batches_of(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    shuffle: bool | str = False,
    steps: int | None = None,
    seed: int | None = None,
) -> Batches | GivenBatches:
    """The data of ``fit``, ``evaluate`` or ``predict`` as batches."""
    if isinstance(shuffle, str) and shuffle != "batch":
        raise ValueError(f'`shuffle` must be True, False or "batch", got {shuffle!r}')
    shuffle = shuffle if isinstance(shuffle, str) else bool(shuffle)
    generator = shuffling_generator() if shuffle else None
    if is_source(x):
        return GivenBatches(x, steps, generator, seed, model)
    if x is None:
        raise ValueError(f"{model.name}: `x` is needed")
    x, y, sample_weight = data_of(model, x, y, sample_weight)
    return Batches(
        x, y, sample_weight, batch_size=32 if batch_size is None else batch_size, shuffle=shuffle, generator=generator,
        several_inputs=model.several_inputs and not isinstance(x, np.ndarray), steps=steps, seed=seed,
    )  # fmt: skip


def _is_all_inputs(model: Any, x: Any) -> bool:
    """Whether this is an array of numbers for the only input of a model: `data_of` leaves it as it is."""
    return isinstance(x, np.ndarray) and x.ndim > 0 and x.dtype.kind in "fiub" and not model.several_inputs


def batches_of_inputs(
    model: Any, x: Any, batch_size: int | None, steps: int | None
) -> Batches | GivenBatches | OneBatch:
    """The data of ``predict`` as batches."""
    if steps is None and _is_all_inputs(model, x) and 0 < len(x) <= (32 if batch_size is None else batch_size):
        return OneBatch(x)
    return batches_of(model, x, batch_size=batch_size, steps=steps)


def one_batch(model: Any, x: Any, y: Any = None, weight: Any = None) -> Batch:
    """All rows as one batch."""
    if y is None and weight is None and _is_all_inputs(model, x):
        return Batch(x)
    x, y, weight = data_of(model, x, y, weight)
    if not model.several_inputs and is_ragged(x):
        return next(iter(Batches(x, y, weight, batch_size=max(1, len(x)))))
    return Batch(read(x), read(y), read(weight))
