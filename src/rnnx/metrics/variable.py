"""What a metric keeps from batch to batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._held import HeldArray
from rnnx._typing import Array


class MetricVariable(HeldArray):
    """What a metric of one's own keeps: an array with ``assign``, for arithmetic like any array.

    Parameters
    ----------
    value : array
    name : str, optional
    """

    value: Array

    def __init__(self, value: Array, name: str | None = None):
        self.value, self.name = value, name or "variable"

    def assign_add(self, value: Any) -> None:
        """Add to the value."""
        self.assign(self.value + np.asarray(value))

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value."""
        self.assign(self.value - np.asarray(value))

    def __getitem__(self, which: Any) -> Any:
        return self.value[which]

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)


class StateVariable(MetricVariable):
    """A number or array that a metric keeps as an attribute.

    Parameters
    ----------
    owner : object
    name : str
        Of the attribute.
    """

    def __init__(self, owner: Any, name: str):
        self.owner, self.name = owner, name

    @property
    def value(self) -> Array:
        return np.asarray(getattr(self.owner, self.name), np.float64)

    @value.setter
    def value(self, value: Array) -> None:
        try:
            setattr(self.owner, self.name, float(value) if np.ndim(value) == 0 else value)
        except AttributeError:
            raise AttributeError(f"{self.name}: is computed from what was counted and cannot be assigned to") from None
