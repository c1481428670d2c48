"""One array of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Weight:
    """One array of a layer, with what training needs to know about it.

    Parameters
    ----------
    name : str
    value : array
    trainable : bool
    regularizer, constraint : objects or None

    Attributes
    ----------
    version : int
        Grows with every change; whatever was derived from the value is stale then.
    """

    __slots__ = ("name", "value", "trainable", "regularizer", "constraint", "version")

    def __init__(
        self, name: str, value: Array, trainable: bool = True, regularizer: Any = None, constraint: Any = None
    ):
        self.name = name
        self.value = value
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.version = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def assign(self, value: Any) -> None:
        """Replace the value by a copy of an array of the same shape; it is cast to the weight's dtype.

        Raises
        ------
        ValueError
            If the shape differs or the values are not real numbers.
        """
        array = np.asarray(value)
        if array.shape != self.value.shape:
            raise ValueError(f"weight {self.name!r} has shape {self.value.shape}, got an array of shape {array.shape}")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"weight {self.name!r} takes real numbers, got dtype {array.dtype}")
        self.value = array.astype(self.value.dtype, copy=True)
        self.version += 1

    def mutable(self) -> Array:
        """The value for a change in place; a read-only (memory-mapped) one is copied first."""
        if not self.value.flags.writeable:
            self.value = self.value.copy()
        self.version += 1
        return self.value

    def __repr__(self) -> str:
        return f"<Weight {self.name} {self.value.shape} {self.value.dtype}>"
