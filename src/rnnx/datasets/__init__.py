"""Data that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.datasets.keras import FILES, Elsewhere

__all__ = ["load_japanese_vowels"]

Part = tuple[list[Array], Array]


def load_japanese_vowels() -> tuple[Part, Part]:
    """Nine male speakers uttering the Japanese vowels /ae/: which of them speaks?

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        270 and 370 utterances: ``x`` a list of float32 arrays of shape (timesteps, 12) with 7 to 29 steps, each step
        12 LPC cepstrum coefficients; ``y`` the speaker, 0 to 8.

    References
    ----------
    .. [1] M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through regions",
       Pattern Recognition Letters 20, 1999. Data: UCI Machine Learning Repository, "Japanese Vowels".

    Examples
    --------
    >>> from rnnx.datasets import load_japanese_vowels
    >>> (x, y), _ = load_japanese_vowels()
    >>> len(x), x[0].shape[1], int(y.max())
    (270, 12, 8)
    """
    with np.load(Path(__file__).with_name("japanese_vowels.npz")) as file:
        train, test = (_part(file, name) for name in ("train", "test"))
    return train, test


def _part(file: Any, name: str) -> Part:
    ends = np.cumsum(file[f"{name}_lengths"])[:-1]
    return np.split(file[f"{name}_frames"], ends), file[f"{name}_speakers"].astype(np.int64)


def __getattr__(name: str) -> Any:
    """The data sets of Keras by their names, which say how to get them."""
    if name in FILES:
        return Elsewhere(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
