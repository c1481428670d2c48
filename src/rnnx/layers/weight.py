"""One array of a layer."""

from __future__ import annotations

import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._nested import mapped
from rnnx._typing import Array
from rnnx.layers import graph
from rnnx.layers.tagged import TaggedArray

_counting = threading.Lock()  # two threads that end a change at the same time must not count it once


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
    value : array
        Elements may be written in it by any means (``value[0] = 0``, ``out=value``, a slice, a memoryview): as long as
        someone holds it, or a view of it, what is derived from the weight goes by a fingerprint of its numbers. While
        other threads read the weight, change it within `updating`.
    array : array
        The same numbers for those who neither write in them nor hand them on; costs nothing later.
    version : int
        Grows at the end of every change; whatever was derived from the value before is stale then. Read it before the
        value: what another thread derives from a value that is changing goes by the number before the change, and is
        made again after it. It is up to date if ``lent`` is None; ask `current_version` otherwise.
    lent : weak reference or None
        To the array that `value` gave last, if someone may have written in it since the version was counted.
    """

    __slots__ = (
        "name", "array", "trainable", "regularizer", "constraint", "version", "lent", "_fingerprint", "_changing",
        "_still",
    )  # fmt: skip

    def __init__(
        self, name: str, value: Array, trainable: bool = True, regularizer: Any = None, constraint: Any = None
    ):
        self.name = name
        self.array = value
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.version = 0
        self.lent: weakref.ref[Array] | None = None
        self._fingerprint = 0  # of the array when it was lent, or counted last since
        self._changing = 0  # changes that have begun and not ended
        self._still: tuple[int, Any] = (-1, None)  # of `still`: the version, and a reference to its value

    @property
    def value(self) -> Array:
        array = self.array
        if not array.flags.writeable:
            return array
        with _counting:
            lent = None if self.lent is None else self.lent()
            if lent is None or not np.may_share_memory(lent, array):
                # Views of an array whose memory is that of a memoryview hold the array itself, not the memory: it ends
                # with the last of them.
                lent = np.asarray(array.data)
                if self.lent is None:
                    self._fingerprint = _kernels.fingerprint([array])
                self.lent = weakref.ref(lent)
        return lent

    @value.setter
    def value(self, value: Array) -> None:
        if self.lent is None or value is not self.lent():  # it is that after ``weight.value *= 2``, changed already
            self.assign(value)

    def gave(self, array: Array) -> bool:
        """Whether an array is the value of now, not a copy or a part of it."""
        return array is self.array or (self.lent is not None and array is self.lent())

    def current_version(self) -> int:
        """The version, when what may have been written in the array that `value` gave has been counted."""
        lent = self.lent
        if lent is not None:
            if lent() is None:
                with _counting:
                    if self.lent is lent:
                        self.lent = None
            found = _kernels.fingerprint([self.array])
            with _counting:
                if found != self._fingerprint:
                    self._fingerprint = found
                    self.version += 1
        return self.version

    # What reads them is compiled.
    shape = property(operator.attrgetter("array.shape"))
    ndim = property(operator.attrgetter("array.ndim"))
    dtype = property(operator.attrgetter("array.dtype"))

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.array.copy()

    def operand(self) -> Any:
        """What the weight stands for in a computation: its value, or a symbolic tensor while a `call` is traced."""
        tracing = graph.tracing.get()
        return self.value if tracing is None else tracing.tensor_of(self)

    def assign(self, value: Any) -> None:
        """Replace the value by a copy of an array of the same shape; it is cast to the weight's dtype.

        In a ``call`` that is traced, the value is symbolic, and replaced whenever a call has succeeded.

        Raises
        ------
        ValueError
            If the shape differs or the values are not real numbers.
        """
        if isinstance(value, graph.SymbolicTensor):
            self._assign_later(value)
            return
        array = np.asarray(value.array if isinstance(value, Weight) else value)
        if array.shape != self.shape:
            raise ValueError(f"weight {self.name!r} has shape {self.shape}, got an array of shape {array.shape}")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"weight {self.name!r} takes real numbers, got dtype {array.dtype}")
        self.replace(array.astype(self.dtype, copy=True))

    def assign_add(self, value: Any) -> None:
        """Add to the value."""
        self.assign(self.operand() + value)

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value."""
        self.assign(self.operand() - value)

    def _assign_later(self, value: graph.SymbolicTensor) -> None:
        tracing = graph.tracing.get()
        if tracing is None:
            raise TypeError(f"weight {self.name!r} can be given a symbolic tensor in a layer's `call` alone")
        if tuple(value.shape) != self.shape:
            raise ValueError(f"weight {self.name!r} has shape {self.shape}, got a tensor of shape {value.shape}")
        tracing.changed[self] = value

    def replace(self, value: Array) -> None:
        """Take an array of the weight's shape and dtype as the value, without a copy."""
        replace_all([self], [value])

    @contextmanager
    def updating(self) -> Iterator[Array]:
        """The value for a change in place inside a ``with`` block, also while other threads read it.

        Whoever reads it inside the block may see a part of the change, but nobody keeps what he saw. A read-only
        (memory-mapped) value is copied first.

        Examples
        --------
        >>> import numpy as np
        >>> weight = Weight("bias", np.zeros(2))
        >>> with weight.updating() as value:
        ...     value += 1
        >>> weight.value, weight.version
        (array([1., 1.]), 1)
        """
        with changing([self]):
            self.writable()
            yield self.value

    def mutable(self) -> Array:
        """The value for a change in place before anything reads it; see `updating` for one beside other threads."""
        self.writable()
        with _counting:
            self.version += 1
        return self.value

    def writable(self) -> Array:
        """The value for a change in place inside `changing`; a read-only (memory-mapped) one is copied first."""
        if not self.array.flags.writeable:
            self.array = self.array.copy()
        return self.array

    def still(self) -> Weight:
        """A weight with the value of now, which does not change; those of one version share their array."""
        version, (known, reference) = self.current_version(), self._still
        value = reference() if known == version else None
        if value is None:
            value = self.array.copy()
            value.flags.writeable = False
            self._still = (version, weakref.ref(value))
        return Weight(self.name, value, self.trainable, self.regularizer, self.constraint)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("name", "trainable", "regularizer", "constraint", "version")
        return {"value": self.array, **{name: getattr(self, name) for name in kept}}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):  # rnnx 0.1.0 left it to Python: nothing of a __dict__, then the slots
            state = state[1]
        Weight.__init__(self, state["name"], state["value"])
        for name in state.keys() - {"name", "value"}:
            setattr(self, name, state[name])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if graph.tracing.get() is not None:
            raise TypeError(f"weight {self.name!r} has no values while a `call` is traced; use rnnx.ops")
        return np.array(self.array, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*map(operand, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*operand(args), **operand(kwargs))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, which: Any) -> Any:
        return self.operand()[which]

    def __neg__(self) -> Any:
        return -self.operand()

    def __abs__(self) -> Any:
        return abs(self.operand())

    def __repr__(self) -> str:
        return f"<Weight {self.name} {self.shape} {self.dtype}>"


def operand(value: Any) -> Any:
    """Operands in place of the weights in a value."""
    return mapped(lambda leaf: leaf.operand() if isinstance(leaf, Weight) else leaf, value)


def _operators(function: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """``weight * other`` and ``other * weight`` for an operator."""
    return lambda self, other: function(self.operand(), operand(other)), lambda self, other: function(
        operand(other), self.operand()
    )


for _symbol in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    _forward, _reflected = _operators(getattr(operator, _symbol))
    setattr(Weight, f"__{_symbol}__", _forward)
    setattr(Weight, f"__r{_symbol}__", _reflected)
for _symbol in ("lt", "le", "gt", "ge"):
    setattr(Weight, f"__{_symbol}__", _operators(getattr(operator, _symbol))[0])


class WeightArray(TaggedArray):
    """The value of a weight as an attribute of a layer gives it: an array that can be assigned.

    It is the weight's array of this moment, see `Weight.value`: a change in place is one of the weight. What is made of
    it, slices included, cannot be assigned.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.Dense(1, kernel_initializer="ones")
    >>> y = layer(np.ones((1, 2)))
    >>> layer.kernel.assign([[2.0], [3.0]])
    >>> layer.kernel.numpy().tolist(), type(2 * layer.kernel).__name__
    ([[2.0], [3.0]], 'ndarray')
    """

    weight: Weight | None = None

    def _of(self) -> Weight:
        if self.weight is None:
            raise AttributeError("this array was made of the value of a weight, and is none itself")
        return self.weight

    def assign(self, value: Any) -> None:
        """Replace the value of the weight; see `Weight.assign`."""
        self._of().assign(value)

    def assign_add(self, value: Any) -> None:
        """Add to the value of the weight."""
        self._of().assign(self._of().array + np.asarray(value))

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value of the weight."""
        self._of().assign(self._of().array - np.asarray(value))

    def numpy(self) -> Array:
        """A copy as a plain array."""
        return np.array(self)

    @property
    def value(self) -> Array:
        """The plain array."""
        return self.view(np.ndarray)

    @property
    def name(self) -> str:
        return self._of().name

    @property
    def trainable(self) -> bool:
        return self._of().trainable

    @property
    def regularizer(self) -> Any:
        return self._of().regularizer

    @property
    def constraint(self) -> Any:
        return self._of().constraint

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = super().__array_function__(func, types, args, kwargs)
        return result.view(np.ndarray) if type(result) is WeightArray else result

    def __copy__(self) -> Any:
        return np.array(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return np.array(self)

    def __reduce__(self) -> Any:
        return np.asarray, (self.view(np.ndarray),)


def assignable(weight: Weight) -> Any:
    """The value of a weight as a `WeightArray`; a symbolic tensor while a `call` is traced."""
    value = weight.operand()
    if not isinstance(value, np.ndarray):
        return value
    array = value.view(WeightArray)
    array.weight = weight
    return array


def replace_all(weights: Sequence[Weight], values: Sequence[Array]) -> None:
    """Take arrays of the weights' shapes and dtypes as their values, without copies and all at once."""
    with _counting:
        for weight, value in zip(weights, values, strict=True):
            weight.array = value
            weight.version += 1


@contextmanager
def changing(weights: Sequence[Weight]) -> Iterator[None]:
    """The weights change inside this ``with`` block; their versions grow when it ends, however it ends."""
    with _counting:
        for weight in weights:
            weight._changing += 1
    try:
        yield
    finally:
        with _counting:
            for weight in weights:
                weight._changing -= 1
                weight.version += 1


def settled(weights: Sequence[Weight]) -> list[int] | None:
    """The versions of all weights; None while one of them is changing.

    What was read of the weights between two equal answers belongs together.
    """
    for weight in weights:
        weight.current_version()
    with _counting:
        if any(weight._changing for weight in weights):
            return None
        return [weight.version for weight in weights]
