"""Several passes through a model at once: what each would draw alone, side by side as rows of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.dropout.noise import Draws, SeedGenerator, current_passes
from rnnx.dropout.rounding import as_rounding


class NotRows(Exception):
    """What was drawn has no axis on which several passes could stand side by side."""


class Passes:
    """Passes of one model over rows of one number, each with the noise of a call of its own.

    Parameters
    ----------
    count : int
        Of all passes.
    shared : bool
        Every row of a pass gets the noise of a pass over one row.
    once : bool
        Whether each source of noise is asked once in a pass, for one value of its counter. Otherwise the first pass has
        to be run before the others, and alone: it shows how many values each source uses in a pass.
    """

    rounds_weights = False  # samples are of what a network drops, not of how its weights may be rounded

    def __init__(self, count: int, shared: bool, once: bool):
        self._count, self._shared, self._once = count, shared, once
        self._known = once
        self._used: dict[SeedGenerator, list[int]] = {}  # values that each call of a pass uses up,
        self._first: dict[SeedGenerator, list[int]] = {}  # where those of the first pass begin,
        self._others: dict[SeedGenerator, int] = {}  # and those of the second
        self._calls: dict[SeedGenerator, int] = {}
        self._rows, self._numbers, self._taken = 0, range(0), slice(None)

    @contextmanager
    def run(self, numbers: range, rows: int, taken: slice = slice(None)) -> Iterator[None]:
        """Calls inside the block are these passes, over some of so many rows, pass after pass in one batch."""
        self._rows, self._numbers, self._taken, self._calls = rows, numbers, taken, {}
        token = current_passes.set(self)
        try:
            yield
        finally:
            current_passes.reset(token)
        if not self._known:
            self._known = True
            for generator, used in self._used.items():
                self._others[generator] = generator.advance((self._count - 1) * sum(used))

    def begin(self, generator: SeedGenerator, values: int) -> Any:
        """What `SeedGenerator.begin` returns inside a block, for a call that uses up so many values of the counter."""
        number = self._calls.get(generator, 0)
        self._calls[generator] = number + 1
        if self._once and generator not in self._used:
            first = generator.advance(self._count)
            self._used[generator], self._first[generator], self._others[generator] = [1], [first], first + 1
        elif not self._known:
            self._used.setdefault(generator, []).append(values)
            self._first.setdefault(generator, []).append(generator.advance(values))
        used = self._used.get(generator, [])
        if number >= len(used) or used[number] != values:
            raise NotRows
        before, of_pass = sum(used[:number]), sum(used)
        counters = [
            self._others[generator] + (k - 1) * of_pass + before if k else self._first[generator][number]
            for k in self._numbers
        ]
        of_rnnx = generator.stream == "rnnx"
        if len(counters) == 1 and not self._shared and self._taken == slice(None):
            return Draws(generator.seed, counters[0], shared=of_rnnx)
        return SideBySide(generator.seed, counters, of_rnnx, self._rows, self._taken, self._shared)


class SideBySide:
    """The noise of one call in several passes at once; has the methods of `Draws`.

    Parameters
    ----------
    seed : int
    counters : list of int
        One for each pass.
    of_rnnx : bool
        Whether each pass draws all its arrays from one generator.
    rows : int
        Of each pass.
    taken : slice
        Those that are in the batch.
    shared : bool
        As of `Passes`.
    """

    def __init__(self, seed: int, counters: list[int], of_rnnx: bool, rows: int, taken: slice, shared: bool):
        self._seed, self._counters, self._of_rnnx = seed, counters, of_rnnx
        self._rows, self._taken, self._shared = rows, taken, shared
        self._floats: Any = None
        self._each: list[Draws] | None = None

    def _all(self) -> Any:
        """The generators of all passes, for uniform numbers; None where each array has its own."""
        if self._floats is None and self._of_rnnx:
            if self._each is not None:
                raise NotRows  # numbers of other kinds came first, and the streams have moved on
            self._floats = _kernels.Generators(self._seed, self._counters)
        return self._floats

    def _one_by_one(self) -> list[Draws]:
        if self._each is None:
            if self._floats is not None:
                raise NotRows
            self._each = [Draws(self._seed, counter, self._of_rnnx) for counter in self._counters]
        return self._each

    def _joined(self, shape: Sequence[int], axis: int, shared: bool, draw: Callable[[tuple[int, ...]], Array]) -> Array:
        """What is drawn for each pass, along the axis of the rows.

        Parameters
        ----------
        shape : sequence of int
            That the whole batch needs.
        axis : int
            Of the rows.
        shared : bool
            Whether all rows of a pass share what is drawn, so that the axis has size 1.
        draw : callable
            Of the shape of one pass; gives an array with the passes on the first axis.
        """
        count, taken = len(self._counters), len(range(self._rows)[self._taken])
        before, size, after = tuple(shape[:axis]), shape[axis], tuple(shape[axis + 1 :])
        if shared:
            each, one = 1, True
        elif size % (count * taken):
            raise NotRows
        else:  # the steps of a sequence may be rows too
            each, one = size // (count * taken), self._shared
        drawn = np.moveaxis(draw((*before, each if one else self._rows * each, *after)), 0, axis)
        if one and count == each == 1:  # as it is, for all rows: what a shared mask drops need not be computed
            return drawn.reshape(*before, 1, *after)
        if one:
            drawn = drawn.reshape(*before, count, 1, each, *after)
            drawn = np.broadcast_to(drawn, (*before, count, taken, each, *after))
        else:
            drawn = drawn.reshape(*before, count, self._rows, each, *after)
            drawn = drawn[(*(slice(None),) * (axis + 1), self._taken)]
        return drawn.reshape(*before, count * taken * each, *after)

    def keep(self, shape: Sequence[int], rate: float, shared: bool = False) -> Array:
        """As of `Draws`."""
        if (floats := self._all()) is not None:
            return self._joined(shape, 0, shared, lambda part: floats.uniform(part) >= rate)
        each = self._one_by_one()
        return self._joined(shape, 0, shared, lambda part: np.stack([one.keep(part, rate) for one in each]))

    def uniform(self, shape: Sequence[int], shared: bool = False) -> Array:
        """As of `Draws`."""
        if (floats := self._all()) is not None:
            return self._joined(shape, 0, shared, floats.uniform)
        each = self._one_by_one()
        return self._joined(shape, 0, shared, lambda part: np.stack([one.uniform(part) for one in each]))

    def normal(self, shape: Sequence[int], mean: float, deviation: float) -> Array:
        """As of `Draws`."""
        each = self._one_by_one()
        return self._joined(shape, 0, False, lambda part: np.stack([one.normal(part, mean, deviation) for one in each]))

    def masks(self, gates: int, shape: Sequence[int], rate: float, dtype: Any, shared: bool = False) -> Array:
        """As of `Draws`."""
        if (floats := self._all()) is None:
            each = self._one_by_one()
            return self._joined(
                (gates, *shape),
                1,
                shared,
                lambda part: np.stack([one.masks(gates, part[1:], rate, dtype) for one in each]),
            )
        if np.dtype(dtype).char in "fd":
            return self._joined((gates, *shape), 1, shared, lambda part: floats.masks(part, rate, dtype))
        keep = self._joined((gates, *shape), 1, shared, lambda part: floats.uniform(part) >= rate)
        return keep * (np.asarray(1, dtype) / np.asarray(1 - rate, dtype))

    def of_weights(self, shape: Sequence[int], rate: float, dtype: Any) -> Array:
        """As of `Draws`."""
        if len(self._counters) > 1:
            raise NotRows
        if (floats := self._all()) is None:
            return self._one_by_one()[0].of_weights(shape, rate, dtype)
        return (floats.uniform(shape)[0] >= rate) * (np.asarray(1, dtype) / np.asarray(1 - rate, dtype))

    def rounding(self, rows: int, steps: Array) -> Array:
        """As of `Draws`."""
        if len(self._counters) > 1:
            raise NotRows
        if (floats := self._all()) is None:
            return self._one_by_one()[0].rounding(rows, steps)
        return as_rounding(floats.uniform((rows, len(steps)))[0], steps)
