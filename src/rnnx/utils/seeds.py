"""The seed of everything that has none of its own."""

from __future__ import annotations

import random

import numpy as np

_shuffling: list[np.random.Generator] = []


def set_random_seed(seed: int) -> None:
    """Make everything that has no seed of its own repeatable: initial weights, dropout, shuffling.

    Parameters
    ----------
    seed : int
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"set_random_seed: an integer is needed, got {type(seed).__name__}")
    random.seed(int(seed))
    np.random.seed(int(seed) % 2**32)
    _shuffling[:] = [np.random.default_rng(int(seed))]


def shuffling_generator() -> np.random.Generator:
    """The generator of orders in ``fit``."""
    if not _shuffling:
        _shuffling.append(np.random.default_rng(random.randint(1, 10**9)))
    return _shuffling[0]
