"""Batches: from arrays, ragged lists and generators, in a repeatable order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.training.arrow import is_arrow
from rnnx.training.forms import arrays_of, count_rows, data_of, is_ragged, parts_of
from rnnx.training.stored import Stored, is_stored
from rnnx.utils import PyDataset, shuffling_generator


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
    rest = _step_shape(arrays)
    steps = int(lengths.max(initial=0)) if timesteps is None else timesteps
    out = np.zeros((len(arrays), steps, *rest), np.result_type(*arrays))
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out, lengths


def _step_shape(arrays: Any) -> tuple[int, ...]:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"all sequences must have the same number of features, got {sorted(shapes)}")
    return shapes.pop()


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
        stored = _stored_parts([self.x, self.y, self.sample_weight])
        if shuffle is True and any(part.is_computed for part in stored):
            raise ValueError(
                "every batch of rows in any order would compute nearly all chunks of the Dask array; give "
                '`shuffle="batch"` (chunks and the batches in them in a new order, each chunk computed once an epoch) '
                "or `shuffle=False`, or the array in memory, `x.compute()`"
            )
        self._stored = stored[0] if stored else None  # the one that says which batches follow each other
        self.generator = generator or np.random.default_rng(0)
        self.steps, self.seed = _checked_steps(steps), seed
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
            _step_shape(self.x)
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


def _stored_parts(data: Any) -> list[Stored]:
    if isinstance(data, (list, tuple, dict)):
        return [found for part in (data.values() if isinstance(data, dict) else data) for found in _stored_parts(part)]
    return [data] if isinstance(data, Stored) else []


def _check_steps(lengths: Array, sequences: list[Any]) -> None:
    """Targets or weights of every step must have the steps of the inputs."""
    own = np.array([len(sequence) for sequence in sequences])
    if not np.array_equal(own, lengths):
        k = int(np.argmax(own != lengths))
        raise ValueError(
            f"ragged targets and weights need as many steps as their input, {lengths[k]}, got {own[k]} in row {k}"
        )


def _checked_steps(steps: Any) -> int | None:
    if steps is None:
        return None
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ValueError(f"the number of steps must be a positive integer, got {steps!r}")
    return int(steps)


class OneBatch(Batch):
    """A batch that is all there is."""

    def epoch(self, number: int = 0) -> tuple[Batch]:
        """The batch."""
        return (self,)


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
        self.source, self.steps = source, _checked_steps(steps)
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


def read(x: Any) -> Any:
    """All rows of what is read from elsewhere, as arrays."""
    return take(x, slice(None)) if _stored_parts(x) else x


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


# ---- Chunks of long sequences ---------------------------------------------------------------------------------------


def tbptt_batches(sequence: Any, batch_size: int, timesteps: int, targets: Any = None) -> list[tuple[Array, Array]]:
    """Cut one long sequence into chunks for truncated back-propagation with a stateful model.

    The sequence is laid out as ``batch_size`` parallel rows; row k of each batch continues row k of the one before.
    ``fit(batches)`` keeps their order and carries the states of a stateful model from chunk to chunk, and on
    into the next epoch: with ``LambdaCallback(on_epoch_begin=lambda epoch, logs: model.reset_states())`` every epoch
    starts from zeros. A validation does so by itself. Gradients end at the borders of the chunks.

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
    steps = len(x) // batch_size // timesteps * timesteps
    if steps < 1:
        raise ValueError(f"{len(x)} steps are too few for batches of {batch_size} x {timesteps}")
    rows = [a[: batch_size * steps].reshape(batch_size, steps, *a.shape[1:]) for a in (x, y)]
    return [(rows[0][:, t : t + timesteps], rows[1][:, t : t + timesteps]) for t in range(0, steps, timesteps)]
