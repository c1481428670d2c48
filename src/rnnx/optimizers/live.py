"""Numbers and arrays of an optimizer as Keras hands them out: to be read, and to be assigned to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._held import HeldArray
from rnnx._typing import Array


class Live:
    """A number as it is at one moment, of an optimizer that has it as an attribute.

    ``assign`` sets that of the optimizer, ``value`` asks it again.
    """

    attribute: str
    kind: Any
    _owner: Any

    def __new__(cls, value: Any, owner: Any) -> Any:
        found = cls.kind.__new__(cls, value)
        found._owner = owner
        return found

    @property
    def value(self) -> Any:
        return self.kind(getattr(self._owner, self.attribute))

    def assign(self, value: Any) -> None:
        """Set that of the optimizer."""
        setattr(self._owner, self.attribute, self.kind(value))

    def numpy(self) -> Any:
        """That of the optimizer now."""
        return np.asarray(self.value)[()]

    def __reduce__(self) -> Any:
        return self.kind, (self.kind(self),)


class Rate(Live, float):
    """The learning rate at one moment."""

    attribute, kind = "learning_rate", float


class Steps(Live, int):
    """The number of steps at one moment."""

    attribute, kind = "iterations", int


class Variable(HeldArray):
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

    @value.setter
    def value(self, value: Array) -> None:
        self._put(value)
