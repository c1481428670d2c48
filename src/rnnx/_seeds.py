"""Where seeds come from that nobody gave: the process, or a block that has its own."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np


class Source:
    """Random numbers of a block."""

    def __init__(self, seed: int):
        self.random: Any = random.Random(seed)
        self.legacy: Any = np.random.RandomState(seed % 2**32)
        self.shuffling = np.random.default_rng(seed)


class Process:
    """Those of the process: Python's ``random``, NumPy's global generator, and the orders of ``fit``."""

    random: Any = random

    @property
    def legacy(self) -> Any:
        return np.random  # loaded by who asks for it: it takes 2 MB, and OpenSSL's library another 3

    @functools.cached_property
    def shuffling(self) -> np.random.Generator:
        return np.random.default_rng(random.randint(1, 10**9))


_process = Process()
_current: ContextVar[Source | Process] = ContextVar("rnnx_seeds", default=_process)
# Where numbers come from here and now. A seed that nobody gave is `source().random.randint(1, 10**9)`, as in Keras.
source = _current.get


def check_seed(who: str, seed: Any, name: str = "seed") -> int:
    """A seed as a Python integer.

    Raises
    ------
    TypeError, ValueError
        If it is no integer of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"{who}: `{name}` must be an integer, got {type(seed).__name__}")
    if seed < 0:
        raise ValueError(f"{who}: `{name}` must be an integer of at least 0, got {seed}")
    return int(seed)


def shuffling_generator() -> np.random.Generator:
    """The generator of orders in ``fit``."""
    return source().shuffling


def set_random_seed(seed: int) -> None:
    """Make everything that has no seed of its own repeatable: initial weights, dropout, shuffling.

    Inside `seeded` it is that block that begins again.

    Parameters
    ----------
    seed : int
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If it is no integer of at least 0; nothing is changed then.
    """
    seed = check_seed("set_random_seed", seed)
    if source() is not _process:
        _current.set(Source(seed))
        return
    random.seed(seed)
    np.random.seed(seed % 2**32)
    _process.shuffling = np.random.default_rng(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything in a ``with`` block that has no seed of its own, as behind ``set_random_seed(seed)``.

    The block has random numbers of its own: what other threads do does not change them, and the process' own stay where
    they are. Numbers that a program draws itself from ``numpy.random`` or ``random`` are not among them.

    Parameters
    ----------
    seed : int
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If it is no integer of at least 0.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> def made():
    ...     return rnnx.layers.GRU(4)(np.ones((1, 5, 2)))
    >>> with rnnx.random.seeded(7):
    ...     first = made()
    >>> with rnnx.random.seeded(7):
    ...     again = made()
    >>> bool(np.array_equal(first, again))
    True
    """
    token = _current.set(Source(check_seed("seeded", seed)))
    try:
        yield
    finally:
        _current.reset(token)
