"""What a metric keeps from batch to batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array


class MetricVariable(np.lib.mixins.NDArrayOperatorsMixin):
    """What a metric of one's own keeps: an array with ``assign``, for arithmetic like any array.

    Parameters
    ----------
    value : array
    name : str, optional
    """

    value: Array

    def __init__(self, value: Array, name: str | None = None):
        self.value, self.name = value, name or "variable"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    def assign(self, value: Any) -> None:
        """Replace the value by one of the same shape."""
        array = np.array(value, self.value.dtype)
        if array.shape != self.value.shape:
            raise ValueError(f"{self.name}: the value must have shape {self.value.shape}, got {array.shape}")
        self.value = array

    def assign_add(self, value: Any) -> None:
        """Add to the value."""
        self.assign(self.value + np.asarray(value))

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value."""
        self.assign(self.value - np.asarray(value))

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        values = [part.value if isinstance(part, MetricVariable) else part for part in inputs]
        if (out := options.pop("out", None)) is None:
            return getattr(ufunc, method)(*values, **options)
        arrays = tuple(part.value if isinstance(part, MetricVariable) else part for part in out)
        getattr(ufunc, method)(*values, out=arrays, casting="unsafe", **options)
        return out[0]

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

    def __repr__(self) -> str:
        return f"<MetricVariable name={self.name}, value={self.value!r}>"


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
