"""Where seeds come from that nobody gave: the process, or a block that has its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np


class Source:
    """Random numbers of a block; of the process where the attributes are those of `random` and NumPy."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.legacy = np.random.RandomState(seed % 2**32)
        self.shuffling = np.random.default_rng(seed)


_own: ContextVar[Source | None] = ContextVar("rnnx_seeds", default=None)
_shuffling: list[np.random.Generator] = []  # of the process, made when it is first wanted


def check_seed(who: str, seed: Any) -> int:
    """A seed as a Python integer.

    Raises
    ------
    TypeError, ValueError
        If it is no integer of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"{who}: an integer is needed, got {type(seed).__name__}")
    return int(seed)


def fresh_seed() -> int:
    """A seed for something that has none, as Keras takes it: from Python's ``random``."""
    seed: int = python_numbers().randint(1, 10**9)
    return seed


def legacy_numbers() -> Any:
    """NumPy's global generator, or that of the block."""
    own = _own.get()
    return np.random if own is None else own.legacy


def python_numbers() -> Any:
    """Python's ``random``, or that of the block."""
    own = _own.get()
    return random if own is None else own.random


def shuffling_generator() -> np.random.Generator:
    """The generator of orders in ``fit``."""
    own = _own.get()
    if own is not None:
        return own.shuffling
    if not _shuffling:
        _shuffling.append(np.random.default_rng(random.randint(1, 10**9)))
    return _shuffling[0]


def set_random_seed(seed: int) -> None:
    """Make everything that has no seed of its own repeatable: initial weights, dropout, shuffling.

    Inside `seeded` it is that block that begins again.

    Parameters
    ----------
    seed : int
    """
    seed = check_seed("set_random_seed", seed)
    if _own.get() is not None:
        _own.set(Source(seed))
        return
    random.seed(seed)
    np.random.seed(seed % 2**32)
    _shuffling[:] = [np.random.default_rng(seed)]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything in a ``with`` block that has no seed of its own, as behind ``set_random_seed(seed)``.

    The block has random numbers of its own: what other threads do does not change them, and the process' own stay where
    they are. Numbers that a program draws itself from ``numpy.random`` or ``random`` are not among them.

    Parameters
    ----------
    seed : int

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
    token = _own.set(Source(check_seed("seeded", seed)))
    try:
        yield
    finally:
        _own.reset(token)
