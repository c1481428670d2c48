"""What holds an array that can be replaced, and is in arithmetic what it holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array


class HeldArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Base of the variables of optimizers and metrics.

    Attributes
    ----------
    name : str
    value : array
    """

    name: str
    value: Any

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
        self.value = self.fitting(value)

    def fitting(self, value: Any) -> Array:
        """A new value as an array of the same shape and dtype.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        array = np.array(value, self.dtype)
        if array.shape != self.shape:
            raise ValueError(f"{self.name}: the value must have shape {self.shape}, got {array.shape}")
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        values = [part.value if isinstance(part, HeldArray) else part for part in inputs]
        if out is None:
            return getattr(ufunc, method)(*values, **options)
        arrays = tuple([part.numpy() if isinstance(part, HeldArray) else part for part in out])
        getattr(ufunc, method)(*values, out=arrays, casting="unsafe", **options)
        for part, array in zip(out, arrays, strict=True):
            if isinstance(part, HeldArray):
                part.assign(array)
        return out if len(out) > 1 else out[0]

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, value={self.value!r}>"
