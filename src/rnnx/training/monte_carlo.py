"""Monte Carlo dropout: many passes with the noise on, as rows of one batch; their mean, deviation and quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from rnnx._changes import Changes, change
from rnnx._typing import Array
from rnnx.dropout.passes import NotRows, Passes
from rnnx.layers.lambda_layer import Lambda
from rnnx.layers.layer import walk
from rnnx.layers.noise import check_noise
from rnnx.layers.normalization import normalization_at_rest
from rnnx.layers.ops import Operation
from rnnx.layers.rnn.bidirectional import Bidirectional
from rnnx.layers.rnn.cell import is_custom
from rnnx.layers.rnn.rnn import RNN
from rnnx.layers.rnn.stacked import StackedRNNCells
from rnnx.training.batches import pad
from rnnx.training.forms import inputs_of, is_ragged

BLOCK = 256  # rows of the data that go through a pass together; of more rows each block has passes of its own
ROWS = 128  # of the batches that are run, if the caller does not say it
FEWEST_ALONE = 16  # rows from which a pass is run alone if they share its masks: kernels are packed by them
ROUND = 10  # samples from one look at the standard error to the next


def predict_mc(
    model: Any,
    x: Any,
    samples: int,
    share_masks: bool,
    batch_size: int | None,
    quantiles: Sequence[float] | None,
    return_samples: bool,
    until: float | None,
) -> tuple[Any, ...]:
    """See `rnnx.training.Trainer.predict_mc`."""
    wanted = _check(model, samples, batch_size, quantiles, until)
    lengths: Any = None
    x = inputs_of(model, x)
    if is_ragged(x):
        x, lengths = pad(x)
    if not model.built:
        model.prepare(x[:1])
    check_noise("predict_mc", model)
    with normalization_at_rest(), Changes():
        sampler = _Sampler(model, np.asarray(x), lengths, int(samples), bool(share_masks), int(batch_size or ROWS))
        if until is None:
            parts = [_figures(sampler.values(k, range(samples)), wanted, return_samples) for k in sampler.blocks]
        else:
            parts = [_figures(_settled(sampler, float(until)), wanted, return_samples)]
    found: list[Any] = []
    for k, own in enumerate(zip(*parts, strict=True)):
        axis = 0 if k < 2 else 1  # of the rows: behind that of quantiles or samples
        whole = np.concatenate(own, axis=axis)
        if not sampler.per_step:
            found.append(whole)
        elif axis:
            found.append([whole[:, row, :n] for row, n in enumerate(lengths)])
        else:
            found.append([whole[row, :n] for row, n in enumerate(lengths)])
    return tuple(found)


def _check(model: Any, samples: Any, batch_size: Any, quantiles: Any, until: Any) -> Array | None:
    """Refuse arguments that do not fit; the quantiles as an array."""
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        if name == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"predict_mc: `{name}` must be a positive integer, got {value!r}")
    if until is not None and (isinstance(until, bool) or not isinstance(until, Real) or not float(until) > 0):
        raise ValueError(f"predict_mc: `until` must be a positive number or None, got {until!r}")
    if model.several_inputs or model.several_outputs:
        raise ValueError("predict_mc: models with one input and one output only")
    if quantiles is None:
        return None
    wanted = np.asarray(quantiles)
    if wanted.ndim != 1 or wanted.dtype.kind not in "fiu" or not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError(f"predict_mc: `quantiles` must be a list of numbers in [0, 1], got {quantiles!r}")
    return wanted.astype(np.float64)


def _figures(values: Array, quantiles: Array | None, return_samples: bool) -> list[Array]:
    """Mean and deviation over the first axis, and what else is wanted."""
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    found = [values.mean(axis=0, dtype=np.float64).astype(kind), values.std(axis=0, dtype=np.float64).astype(kind)]
    if quantiles is not None:
        found.append(np.quantile(values, quantiles, axis=0).astype(kind))
    return [*found, values] if return_samples else found


def _settled(sampler: _Sampler, until: float) -> Array:
    """Samples of all rows, until the standard error of every mean is small enough."""
    known: list[Array] = []
    for start in range(0, sampler.samples, ROUND):
        numbers = range(start, min(start + ROUND, sampler.samples))
        known.append(np.concatenate([sampler.values(k, numbers) for k in sampler.blocks], axis=1))
        values = np.concatenate(known)
        error = values.std(axis=0, dtype=np.float64) / np.sqrt(len(values))
        if sampler.per_step:
            error = error[np.arange(error.shape[1]) < sampler.lengths[:, None]]
        if error.max(initial=0) <= until:
            break
    return values


def _asks_once(layer: Any) -> bool:
    """Whether a pass asks each source of noise in a layer once, as far as that is known without a pass."""
    generators = layer.seed_generators()
    if len({id(g) for g in generators}) < len(generators) or any(g.stream != "rnnx" for g in generators):
        return False
    for part in walk(layer):
        if part.overrides_call:
            return False
        if hasattr(part, "plan"):
            called = [step.layer for step in part.plan.steps]
            if len({id(own) for own in called}) < len(called):
                return False
        elif isinstance(part, RNN):
            if any(is_custom(cell) for cell in part.cells):
                return False
        elif part.sublayers and not isinstance(part, (Bidirectional, StackedRNNCells)):
            return False
    return True


@dataclass(eq=False)
class _Sampler:
    """Runs the passes; what each gives depends neither on how many are run together nor on the rows of a batch."""

    model: Any
    x: Array
    lengths: Any
    samples: int
    shared: bool
    most: int  # rows of a batch
    passes: Passes = field(init=False)
    blocks: range = field(init=False)
    per_step: bool = False  # whether rows of a ragged list have an output for each of their steps

    def __post_init__(self) -> None:
        parts: list[Any] = list(walk(self.model))
        once = _asks_once(self.model)
        self._stateful = [part for part in parts if getattr(part, "stateful", False) and hasattr(part, "carry")]
        self._start = [part.states for part in self._stateful]
        self._batched = not self._stateful  # whether passes are rows of one batch
        self._block = len(self.x) if self._stateful else BLOCK
        self.blocks = range(max(1, -(-len(self.x) // max(1, self._block))))
        self.passes = Passes(self.samples * len(self.blocks), self.shared, once)
        # Layers whose rows could see each other, or that draw nobody knows how often, run the first pass alone.
        self._compared = once and not any(isinstance(part, (Operation, Lambda)) for part in parts)
        self._first = None if self._compared and len(self.x) else self._alone(0, 0, self._rows_to_compare(0))

    def values(self, block: int, numbers: range) -> Array:
        """What some passes over a block give: an array with the samples on its first axis."""
        if not len(self.x):
            assert self._first is not None
            return np.zeros((len(numbers), *self._first.shape[1:]), self._first.dtype)
        if self._batched:
            try:
                return self._rows_of_batches(block, numbers)
            except NotRows:
                self._batched = False
        rows = range(self._rows(block))
        return np.concatenate([self._alone(block, k, rows) for k in numbers])

    def _rows(self, block: int) -> int:
        return min(self._block, len(self.x) - block * self._block)

    def _rows_to_compare(self, block: int) -> range:
        """Rows of the first pass that are run alone: all, or of rows that share masks the first and the last."""
        rows = self._rows(block)
        return range(0, rows, max(1, rows - 1)) if self.shared else range(rows)

    def _alone(self, block: int, number: int, rows: range) -> Array:
        """One pass over some rows of a block; if they share their masks over each of them, and so over all."""
        only = range(number, number + 1)
        if not self.shared or not rows:
            return self._run(block, only, slice(None))
        return np.concatenate([self._run(block, only, slice(k, k + 1), apart=True) for k in rows], axis=1)

    def _rows_of_batches(self, block: int, numbers: range) -> Array:
        rows = self._rows(block)
        count = max(1, self.most // rows)
        if self.shared and rows >= FEWEST_ALONE:
            count = 1
        batches = [slice(k, k + self.most) for k in range(0, rows, self.most)] if rows > self.most else [slice(None)]
        found = []
        for k in range(0, len(numbers), count):
            parts = [self._run(block, numbers[k : k + count], batch) for batch in batches]
            found.append(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])
            if not self._compared:  # the first pass once more, among others now
                self._compare(found[0][:1, self._rows_to_compare(block)] if self.shared else found[0][:1])
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _compare(self, first: Array) -> None:
        """Leave batches alone if a pass gives something else among others: if its rows see each other."""
        want = self._first
        assert want is not None
        if first.shape != want.shape:
            raise NotRows
        if want.dtype.kind == "f":
            scale = float(np.abs(want[np.isfinite(want)]).max(initial=0))
            same = bool(np.isclose(first, want, rtol=1e-3, atol=1e-4 * scale, equal_nan=True).all())
        else:
            same = np.array_equal(first, want)
        if not same:
            raise NotRows
        self._compared = True

    def _run(self, block: int, numbers: range, taken: slice, apart: bool = False) -> Array:
        """Some passes over some rows of a block, or ``apart`` over these rows alone."""
        start = block * self._block
        chosen = slice(start, start + self._block)
        rows = self.x[chosen]
        x, count = rows[taken], len(numbers)
        lengths = None if self.lengths is None else np.tile(self.lengths[chosen][taken], count)
        many = np.broadcast_to(x, (count, *x.shape)).reshape(count * len(x), *x.shape[1:])
        first = numbers[0] + block * self.samples
        among = (len(x), slice(None)) if apart else (len(rows), taken)
        with self.passes.run(range(first, first + count), *among):
            y, mask, _ = self.model.forward_with_mask(many, lengths=lengths, training=True)
        for layer, states in zip(self._stateful, self._start, strict=True):
            change(layer, states, layer._carry)  # all passes start from the same states, and leave them
        if not len(self.x):
            return np.asarray(y)[None]
        if not np.ndim(y) or len(y) % count:
            raise NotRows
        self.per_step = lengths is not None and mask is not None and np.shape(mask)[1:] == np.shape(y)[1:2]
        return np.asarray(y).reshape(count, len(y) // count, *np.shape(y)[1:])
