"""Numbers and arrays of an optimizer as Keras hands them out: to be read, and to be assigned to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array


class Rate(float):
    """The learning rate at one moment, a number; ``assign`` sets that of the optimizer, ``value`` asks it again."""

    _owner: Any

    def __new__(cls, value: float, owner: Any) -> Rate:
        found = super().__new__(cls, value)
        found._owner = owner
        return found

    @property
    def value(self) -> float:
        return float(self._owner.learning_rate)

    def assign(self, value: Any) -> None:
        """Set the learning rate of the optimizer."""
        self._owner.learning_rate = float(value)

    def numpy(self) -> Any:
        """The learning rate of the optimizer now."""
        return np.float64(self.value)

    def __reduce__(self) -> Any:
        return float, (float(self),)


class Steps(int):
    """The number of steps at one moment; ``assign`` sets that of the optimizer, ``value`` asks it again."""

    _owner: Any

    def __new__(cls, value: int, owner: Any) -> Steps:
        found = super().__new__(cls, value)
        found._owner = owner
        return found

    @property
    def value(self) -> int:
        return int(self._owner.iterations)

    def assign(self, value: Any) -> None:
        """Set the number of steps of the optimizer."""
        self._owner.iterations = int(value)

    def numpy(self) -> Any:
        """The number of steps of the optimizer now."""
        return np.int64(self.value)

    def __reduce__(self) -> Any:
        return int, (int(self),)


class Variable(np.lib.mixins.NDArrayOperatorsMixin):
    """Something that an optimizer keeps, for arithmetic like any array.

    Parameters
    ----------
    name : str
    get, put : callable
        Read and replace the value.
    """

    def __init__(self, name: str, get: Callable[[], Any], put: Callable[[Array], None]):
        self.name, self._get, self._put = name, get, put

    @property
    def value(self) -> Array:
        return np.asarray(self._get())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.value.copy()

    def assign(self, value: Any) -> None:
        """Replace the value by one of the same shape."""
        array = np.asarray(value)
        if array.shape != self.shape:
            raise ValueError(f"{self.name}: the value must have shape {self.shape}, got {array.shape}")
        self._put(array.astype(self.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        values = [part.value if isinstance(part, Variable) else part for part in inputs]
        return getattr(ufunc, method)(*values, **options)

    def __repr__(self) -> str:
        return f"<Variable name={self.name}, value={self.value!r}>"
