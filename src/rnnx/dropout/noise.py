"""Where all noise comes from: seeds that count their calls, and what one call draws."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnx import _kernels
from rnnx._changes import change, seen
from rnnx._seeds import source
from rnnx._typing import Array
from rnnx.dropout.rounding import as_rounding

current_passes: ContextVar[Any] = ContextVar("current_passes", default=None)  # see `rnnx.dropout.passes`


class SeedGenerator:
    """A seed and a counter: the source of all noise of a layer.

    Parameters
    ----------
    seed : int or None
        0 to 2**32 - 1. None takes one from Python's ``random``, as Keras does, so that ``utils.set_random_seed``
        fixes it.
    stream : {"rnnx", "keras"}
        ``"rnnx"`` makes one NumPy generator per call from ``(seed, call)``. ``"keras"`` reproduces the masks of
        Keras 3 on its NumPy backend bit for bit: every drawn array has a generator of its own from
        ``(seed, counter)``.

    Raises
    ------
    TypeError, ValueError
        If the seed is not an integer or out of range, or the stream is unknown.

    Examples
    --------
    >>> from rnnx.dropout import SeedGenerator
    >>> a, b = SeedGenerator(3), SeedGenerator(3)
    >>> bool((a.begin().keep((4,), 0.5) == b.begin().keep((4,), 0.5)).all())
    True
    """

    def __init__(self, seed: int | None = None, stream: Literal["rnnx", "keras"] = "rnnx"):
        if stream not in ("rnnx", "keras"):
            raise ValueError(f"SeedGenerator: `stream` must be 'rnnx' or 'keras', got {stream!r}")
        if seed is None:
            seed = source().random.randint(1, 10**9)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"SeedGenerator: `seed` must be an integer or None, got {type(seed).__name__}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"SeedGenerator: `seed` must lie in 0..2**32-1, got {seed}")
        self.seed = int(seed)
        self.stream = stream
        self._counter = self._reserved = 0
        self._calls = 0  # that have reserved values and not ended
        self._lock = threading.Lock()

    @classmethod
    def of(cls, seed: int | SeedGenerator | None) -> SeedGenerator:
        """A seed generator as it is, or a new one from a seed."""
        return seed if isinstance(seed, SeedGenerator) else cls(seed)

    @property
    def state(self) -> tuple[int, int]:
        """The pair (seed, counter); assign it to continue where another generator stood."""
        with self._lock:
            return self.seed, self._counter

    @state.setter
    def state(self, value: Sequence[int]) -> None:
        seed, counter = (int(number) for number in value)
        if not 0 <= seed < 2**32 or counter < 0:
            raise ValueError(f"SeedGenerator: `state` must be (seed, counter), neither negative, got {tuple(value)}")
        with self._lock:
            self.seed, self._counter, self._reserved = seed, counter, counter

    def advance(self, count: int) -> int:
        """Use up ``count`` values of the counter; the first of them is returned.

        In a call of a layer they are reserved, and used up when it has succeeded; calls of other threads get others.
        """
        mine = seen(self, None)
        with self._lock:
            first = self._reserved
            self._reserved += count
            if mine is None:
                self._calls += 1
        change(self, first + count, self._use, self._release)
        return first

    def _use(self, end: int) -> None:
        """The call that reserved values up to ``end`` has succeeded."""
        with self._lock:
            self._counter = max(self._counter, end)
            self._calls -= 1
            if not self._calls:
                self._reserved = self._counter

    def _release(self) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                self._reserved = self._counter

    def begin(self, draws: int = 1) -> Draws:
        """The noise of one call, in which at most ``draws`` arrays will be drawn."""
        of_rnnx = self.stream == "rnnx"
        count = 1 if of_rnnx else draws
        if (passes := current_passes.get()) is not None:
            found: Draws = passes.begin(self, count)
            return found
        return Draws(self.seed, self.advance(count), shared=of_rnnx)

    def __getstate__(self) -> dict[str, Any]:
        return {"seed": self.seed, "stream": self.stream, "_counter": self._counter}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reserved=state["_counter"], _calls=0, _lock=threading.Lock())


class Draws:
    """The noise of one call; made by `SeedGenerator.begin`.

    One generator is shared by the whole call, or every array has its own, from the next counter.

    Methods with ``shared`` are told whether all rows share what is drawn, so that the axis of the rows has size 1. A
    call of its own gives the same with and without; several passes in one batch (`rnnx.dropout.passes`) cannot tell
    from the size, which is 1 for a batch of one row too.
    """

    def __init__(self, seed: int, counter: int, shared: bool):
        self._seed, self._counter = seed, counter
        self._floats = _kernels.Generators(seed, [counter]) if shared else None
        self._count = 0  # of these that were drawn
        self._shared: np.random.Generator | None = None  # made when something else is drawn

    def _next(self) -> np.random.Generator:
        if self._floats is not None:
            if self._shared is None:
                self._shared = np.random.default_rng([self._seed, self._counter])
                self._shared.random(self._count, np.float32)
            return self._shared
        self._counter += 1
        return np.random.default_rng([self._seed, self._counter - 1])

    def keep(self, shape: Sequence[int], rate: float, shared: bool = False) -> NDArray[np.bool_]:
        """True with probability ``1 - rate``; axis 0 is that of the rows."""
        if self._floats is not None:
            return self.uniform(shape) >= rate
        return self._next().uniform(size=shape) < 1 - rate

    def uniform(self, shape: Sequence[int], shared: bool = False) -> NDArray[np.float32]:
        """Uniform deviates in [0, 1); axis 0 is that of the rows."""
        if self._floats is None:
            return self._next().uniform(size=shape).astype(np.float32)
        if self._shared is not None:
            return self._shared.random(shape, np.float32)
        found = self._floats.uniform(shape)[0]
        self._count += found.size
        return found

    def normal(self, shape: Sequence[int], mean: float, deviation: float) -> NDArray[np.float64]:
        """Normal deviates; axis 0 is that of the rows."""
        return self._next().normal(mean, deviation, shape)

    def masks(self, gates: int, shape: Sequence[int], rate: float, dtype: Any, shared: bool = False) -> Array:
        """Masks of 0 and ``1 / (1 - rate)``, of this shape for each gate, drawn gate after gate."""
        if self._floats is not None and self._shared is None and np.dtype(dtype).char in "fd":
            found: Array = self._floats.masks((gates, *shape), rate, dtype)[0]
            self._count += found.size
            return found
        if self._floats is not None:
            keep = self.keep((gates, *shape), rate)
        else:
            keep = np.stack([self.keep(shape, rate) for _ in range(gates)])
        return keep * (np.asarray(1, dtype) / np.asarray(1 - rate, dtype))

    def of_weights(self, shape: Sequence[int], rate: float, dtype: Any) -> Array:
        """A mask like those of `masks`, for an array without an axis of rows."""
        return self.masks(1, shape, rate, dtype)[0]

    def rounding(self, rows: int, steps: Array) -> Array:
        """Uniform noise of one step, half of it to either side, for a kernel of so many rows and a step a column."""
        return as_rounding(self.uniform((rows, len(steps))), steps)
