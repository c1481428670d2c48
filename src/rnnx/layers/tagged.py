"""Arrays that something belongs to: a time mask, or the weight whose value they are."""

from __future__ import annotations

from typing import Any

import numpy as np


class TaggedArray(np.ndarray):
    """Base of such arrays: slices, and results of arithmetic, are plain arrays."""

    def __getitem__(self, key: Any) -> Any:
        return self.view(np.ndarray)[key]

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if plain.ndim == 0 else plain

    def __repr__(self) -> str:
        return repr(self.view(np.ndarray))
