"""What a layer with ``call`` of its own is called with: tensors taken out of lists, tuples and dicts, and constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._nested import LEAF, flatten
from rnnx.layers.call_signature import signature_of
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.layer import Layer
from rnnx.layers.weight import Weight, operand

SIMPLE = ("dict", ("", LEAF))  # one tensor, for the first argument


def is_tensor(leaf: Any) -> bool:
    """Whether this is an array or a symbolic tensor."""
    return isinstance(leaf, (SymbolicTensor, np.ndarray))


class Arguments:
    """What a layer is called with.

    Attributes
    ----------
    tensors : list
        Arrays or symbolic tensors, in order.
    structure : tuple
        Of the arguments by their names, without ``training`` and ``mask``.
    call : dict
        ``training`` and ``mask`` as far as they were given, and ``lengths``.
    """

    __slots__ = ("tensors", "structure", "call")

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        if len(args) == 1 and not kwargs and is_tensor(args[0]):
            self.tensors, self.call = [args[0]], {}
            self.structure: Any = SIMPLE
            return
        names = signature_of(type(layer))
        call: dict[str, Any] = {name: kwargs.pop(name) for name in ("lengths",) if name in kwargs}
        for name in ("training", "mask"):  # the engine gives them to every layer
            if name in kwargs and name not in names.parameters:
                call[name] = kwargs.pop(name)
        try:
            given = names.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{layer.name}: {error}; `call` takes {names.signature}") from None
        for name in ("training", "mask"):
            if given.get(name) is not None:
                call[name] = given[name]
            given.pop(name, None)
        if not given:
            raise TypeError(f"{layer.name}: an input is needed; `call` takes {names.signature}")
        first = next(iter(given))
        given[first] = operand(_as_arrays(layer, given[first]))
        for name in list(given)[1:]:
            given[name] = operand(given[name])
        self.tensors, self.call = [], call
        if set(given) == {first} and is_tensor(given[first]):
            self.tensors, self.structure = [given[first]], SIMPLE
            return
        try:
            parts = [(name, flatten(value, is_tensor, self.tensors)) for name, value in given.items()]
            self.structure = ("dict", *parts)
        except TypeError as error:
            raise TypeError(f"{layer.name}: its arguments must be tensors or constants: {error}") from None


def list_structure(layer: Any, count: int) -> Any:
    """The structure of a list of so many inputs."""
    return ("dict", (signature_of(type(layer)).first, ("list", *[LEAF] * count)))


def _as_arrays(layer: Any, value: Any) -> Any:
    """The first argument: lists without arrays in them are arrays themselves."""
    if isinstance(value, dict):
        return {name: _as_arrays(layer, part) for name, part in value.items()}
    if isinstance(value, (list, tuple)) and _holds_tensors(value):
        return type(value)([_as_arrays(layer, part) for part in value])
    if value is None or isinstance(value, (np.ndarray, SymbolicTensor, Weight)):
        return value
    return Layer.cast(layer, value) if isinstance(value, (float, list, tuple)) else np.asarray(value)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(part) for part in value)
    return isinstance(value, (np.ndarray, SymbolicTensor, Weight))
