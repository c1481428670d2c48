"""One array of a layer."""

from __future__ import annotations

import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

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
        Assign another one, or change it within `updating`: elements that are written without it (``value[0] = 0``) do
        not count as a change, and recurrent layers that were called go on with the weights that they have packed.
    version : int
        Grows at the end of every change; whatever was derived from the value before is stale then. Read it before the
        value: what another thread derives from a value that is changing goes by the number before the change, and is
        made again after it.
    """

    __slots__ = ("name", "_value", "trainable", "regularizer", "constraint", "version", "_changing", "_still")

    def __init__(
        self, name: str, value: Array, trainable: bool = True, regularizer: Any = None, constraint: Any = None
    ):
        self.name = name
        self._value = value
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.version = 0
        self._changing = 0  # changes that have begun and not ended
        self._still: tuple[int, Any] = (-1, None)  # of `still`: the version, and a reference to its value

    def _replace(self, value: Array) -> None:
        self._value = value
        with _counting:
            self.version += 1

    # What ``weight.value *= 2`` leaves is the same array, and counts as another value. What reads it is compiled.
    value = property(operator.attrgetter("_value"), _replace)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.value.copy()

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
        array = np.asarray(value.value if isinstance(value, Weight) else value)
        if array.shape != self.value.shape:
            raise ValueError(f"weight {self.name!r} has shape {self.value.shape}, got an array of shape {array.shape}")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"weight {self.name!r} takes real numbers, got dtype {array.dtype}")
        self.replace(array.astype(self.value.dtype, copy=True))

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
        self.value = value

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
            yield self.writable()

    def mutable(self) -> Array:
        """The value for a change in place before anything reads it; see `updating` for one beside other threads."""
        value = self.writable()
        with _counting:
            self.version += 1
        return value

    def writable(self) -> Array:
        """The value for a change in place inside `changing`; a read-only (memory-mapped) one is copied first."""
        if not self._value.flags.writeable:
            self._value = self._value.copy()
        return self._value

    def still(self) -> Weight:
        """A weight with the value of now, which does not change; those of one version share their array."""
        version, (known, reference) = self.version, self._still
        value = reference() if known == version else None
        if value is None:
            value = self.value.copy()
            value.flags.writeable = False
            self._still = (version, weakref.ref(value))
        return Weight(self.name, value, self.trainable, self.regularizer, self.constraint)

    def __getstate__(self) -> dict[str, Any]:
        kept = [name for name in self.__slots__ if name not in ("_value", "_changing", "_still")]
        return {"value": self._value, **{name: getattr(self, name) for name in kept}}

    def __setstate__(self, state: Any) -> None:
        self.version, self._changing, self._still = 0, 0, (-1, None)
        if isinstance(state, tuple):  # rnnx 0.1.0 left it to Python: nothing of a __dict__, then the slots
            state = state[1]
        for name, value in state.items():
            setattr(self, name, value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if graph.tracing.get() is not None:
            raise TypeError(f"weight {self.name!r} has no values while a `call` is traced; use rnnx.ops")
        return np.array(self.value, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*map(operand, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*operand(args), **operand(kwargs))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, which: Any) -> Any:
        return self.operand()[which]

    def __neg__(self) -> Any:
        return -self.operand()

    def __abs__(self) -> Any:
        return abs(self.operand())

    def __repr__(self) -> str:
        return f"<Weight {self.name} {self.value.shape} {self.value.dtype}>"


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


# Functions that write in their first array.
WRITERS = frozenset((np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal))


class WeightArray(TaggedArray):
    """The value of a weight as an attribute of a layer gives it: an array that can be assigned.

    It is the weight's array of this moment; what is made of it, slices included, cannot be assigned. A change in place
    counts as one of the weight (``layer.embeddings[0] = 0``, ``+=``, ``fill``, ``np.copyto``), but not one of a view.

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
        self._of().assign(self._of().value + np.asarray(value))

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value of the weight."""
        self._of().assign(self._of().value - np.asarray(value))

    def numpy(self) -> Array:
        """A copy as a plain array."""
        return np.array(self)

    def _changed(self) -> None:
        if self.weight is not None:
            with _counting:
                self.weight.version += 1

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed()

    def fill(self, value: Any) -> None:
        """Set all elements to one number."""
        super().fill(value)
        self._changed()

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
        if func in WRITERS:
            target = args[0] if args else next(iter(kwargs.values()))
            if isinstance(target, WeightArray):
                target._changed()
        return result.view(np.ndarray) if type(result) is WeightArray else result

    def __copy__(self) -> Any:
        return np.array(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return np.array(self)

    def __reduce__(self) -> Any:
        return np.asarray, (self.view(np.ndarray),)


def _in_place(symbol: str) -> Callable[[WeightArray, Any], WeightArray]:
    """The operator that changes a `WeightArray`."""
    function = getattr(np.ndarray, symbol)

    def operate(self: WeightArray, other: Any) -> WeightArray:
        function(self.view(np.ndarray), operand(other))
        self._changed()
        return self

    return operate


for _symbol in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(WeightArray, f"__i{_symbol}__", _in_place(f"__i{_symbol}__"))


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
            weight._value = value
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
    with _counting:
        if any(weight._changing for weight in weights):
            return None
        return [weight.version for weight in weights]
