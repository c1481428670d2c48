"""The noise of some rows of a batch: what a call with the whole batch would draw for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.dropout.noise import Draws, SeedGenerator, current_passes


class NoiseOfRows:
    """Noise of calls with some rows of a batch, so that the batch may be run in parts.

    The counters of all sources move as in a call with the whole batch, and noise on weights is that of the whole batch.

    Parameters
    ----------
    rows : int
        Of the whole batch.
    first, last : int
        The part begins with the row ``first`` and ends before ``last``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.dropout import SeedGenerator
    >>> whole = SeedGenerator(3).begin().keep((4, 2), 0.5)
    >>> with NoiseOfRows(4, 1, 3).drawn():
    ...     part = SeedGenerator(3).begin().keep((2, 2), 0.5)
    >>> bool((whole[1:3] == part).all())
    True
    """

    rounds_weights = True  # as `Passes` has it

    def __init__(self, rows: int, first: int, last: int):
        self._rows, self._first, self._last = rows, first, last

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Calls inside the block are with these rows."""
        token = current_passes.set(self)
        try:
            yield
        finally:
            current_passes.reset(token)

    def begin(self, generator: SeedGenerator, values: int) -> DrawsOfRows:
        """What `SeedGenerator.begin` returns inside, for a call that uses up so many values of the counter."""
        draws = Draws(generator.seed, generator.advance(values), shared=generator.stream == "rnnx")
        return DrawsOfRows(draws, self._rows, self._first, self._last)


class DrawsOfRows:
    """The noise of one call; has the methods of `Draws`."""

    def __init__(self, draws: Draws, rows: int, first: int, last: int):
        self._draws, self._rows, self._first, self._last = draws, rows, first, last

    def _whole(self, shape: Sequence[int], shared: bool) -> tuple[tuple[int, ...], slice]:
        """The shape that the whole batch needs, and which part of it these rows are."""
        size, part = shape[0], self._last - self._first
        if shared:
            return tuple(shape), slice(None)
        each, rest = divmod(size, part)  # the steps of a sequence may be rows too
        if rest or not each:
            raise ValueError(
                f"noise of shape {tuple(shape)} cannot be drawn for {part} of the {self._rows} rows of a batch: its "
                "first axis must be that of the rows, or have size 1"
            )
        return (self._rows * each, *shape[1:]), slice(self._first * each, self._last * each)

    def keep(self, shape: Sequence[int], rate: float, shared: bool = False) -> Array:
        """As of `Draws`."""
        whole, part = self._whole(shape, shared)
        return self._draws.keep(whole, rate)[part]

    def uniform(self, shape: Sequence[int], shared: bool = False) -> Array:
        """As of `Draws`."""
        whole, part = self._whole(shape, shared)
        return self._draws.uniform(whole)[part]

    def normal(self, shape: Sequence[int], mean: float, deviation: float) -> Array:
        """As of `Draws`."""
        whole, part = self._whole(shape, False)
        return self._draws.normal(whole, mean, deviation)[part]

    def masks(self, gates: int, shape: Sequence[int], rate: float, dtype: Any, shared: bool = False) -> Array:
        """As of `Draws`."""
        whole, part = self._whole(shape, shared)
        return np.ascontiguousarray(self._draws.masks(gates, whole, rate, dtype)[:, part])

    def of_weights(self, shape: Sequence[int], rate: float, dtype: Any) -> Array:
        """As of `Draws`."""
        return self._draws.of_weights(shape, rate, dtype)

    def rounding(self, rows: int, steps: Array) -> Array:
        """As of `Draws`."""
        return self._draws.rounding(rows, steps)
