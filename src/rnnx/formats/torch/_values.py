"""What pickles of PyTorch hold: names, objects, storages and tensors, and the functions that may be called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx.formats._limits import printable
from rnnx.saving import FormatError

MOST_ARGUMENTS = 16  # of a call; the functions below take 8 at most
LONGEST_KEY = 1000  # characters of a key, a name or the key of a storage; keys of modules have less than 200


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a function or class; nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}")


@dataclass(eq=False, slots=True)
class Instance:
    """An object of a class that was not made, and the state that it would have."""

    kind: Global
    state: Any = None


@dataclass(eq=False, slots=True)
class NumberType(Instance):
    """A ``numpy.dtype`` of numbers; its state is NumPy's, with the byte order in the second place."""

    code: str = ""


@dataclass(eq=False, slots=True)
class Storage:
    """Bytes of tensors, stored elsewhere in the file.

    Attributes
    ----------
    kind : str
        A type of `_tensors.TYPES`, such as ``"Float"``; ``"Untyped"`` for bytes.
    key : str
    numel : int
        Number of elements; for a view in legacy files, of the view.
    offset : int
        Of a view in legacy files, in elements.
    """

    kind: str
    key: str
    numel: int
    offset: int = 0


@dataclass(eq=False, slots=True)
class InlineStorage(Storage):
    """Bytes that stand in the pickle, and their order."""

    data: bytes = b""
    order: str = "<"


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor as the file describes it; nothing of it is checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any
    kind: Any = None  # of the elements, where the storage is one of bytes


@dataclass(eq=False, slots=True)
class NumberArray(Tensor):
    """An array of NumPy, a tensor whose bytes stand in the pickle; without a storage until its state has been read."""


OPAQUE = Instance(Global("rnnx", "opaque"))  # what is of no use here: devices, layouts
KINDS = {"b1": "Bool", "i1": "Char", "i2": "Short", "i4": "Int", "i8": "Long", "u1": "Byte", "f2": "Half",
         "f4": "Float", "f8": "Double"}  # fmt: skip
NUMBER_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
LONGEST_NUMBER = 8  # bytes
TYPES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
}  # fmt: skip


def shown(value: Any) -> str:
    """A value of a pickle in an error message: a short one, however deep and wide the value is."""
    if isinstance(value, str):
        return printable(repr(value[:200]))
    return str(value) if isinstance(value, (Global, int)) else f"a {type(value).__name__}"


# ---- The functions that may be called -------------------------------------------------------------------------------


def mapping(*given: Any) -> dict[str, Any]:
    """``OrderedDict()`` or ``OrderedDict([(key, value), ...])``."""
    made: dict[str, Any] = {}
    for pair in given[0] if given and isinstance(given[0], list) else ():
        key, value = pair
        put(made, key, value)
    return made


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, size, stride)


def _tensor_of_bytes(storage: Any, offset: Any, size: Any, stride: Any, _g: Any, _h: Any, dtype: Any, *_: Any) -> Any:
    return Tensor(storage, offset, size, stride, TYPES.get(getattr(dtype, "name", ""), shown(dtype)))


def _first(value: Any, *_: Any) -> Any:
    return value


def _from_type(function: Any, _kind: Any, arguments: Any, _state: Any = None) -> Any:
    known = isinstance(function, Global) and function in (_REBUILD, _REBUILD_V2, _REBUILD_V3)
    if not known or not isinstance(arguments, tuple) or len(arguments) > MOST_ARGUMENTS:
        raise FormatError(f"a tensor of an unknown kind ({shown(function)})")
    return CALLS[function](*arguments)


def _listed(*given: Any) -> Any:
    return given[0] if given else []


def _opaque(*_: Any) -> Instance:
    return OPAQUE


def _number_type(code: Any = None, *_: Any) -> Instance:
    return NumberType(Global("numpy", "dtype"), code=code) if code in NUMBER_TYPES else OPAQUE


def _encoded(text: Any = None, encoding: Any = None) -> Any:
    """``_codecs.encode(text, "latin1")``, as protocol 2 writes a few bytes."""
    if not isinstance(text, str) or len(text) > LONGEST_NUMBER or encoding not in ("latin1", "latin-1"):
        return OPAQUE
    return text.encode("latin-1") if all(ord(letter) < 256 for letter in text) else OPAQUE


def _number(kind: Any = None, data: Any = None) -> Any:
    """A number of NumPy, which arguments of modules may be, as one of Python."""
    if not isinstance(kind, NumberType) or not isinstance(data, bytes):
        return OPAQUE
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if order not in ("<", ">", "|"):
        return OPAQUE
    dtype = np.dtype(order + kind.code)
    return np.frombuffer(data, dtype)[0].item() if len(data) == dtype.itemsize else OPAQUE


def _blank_array(*_: Any) -> NumberArray:
    return NumberArray(None, 0, (), ())


def _array_of_bytes(data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C", *_: Any) -> NumberArray:
    """``_frombuffer(bytes, dtype, shape, order)``, as NumPy writes an array in protocol 5."""
    made = _blank_array()
    fill_array(made, (1, shape, dtype, order == "F", data))
    return made


def fill_array(target: NumberArray, state: Any) -> None:
    """Give an array the state that NumPy pickles: version, shape, dtype, whether the first axis is the fastest, bytes.

    Raises
    ------
    FormatError
        If it is not one of real numbers.
    """
    shape: Any
    _, shape, dtype, fortran, data = state if isinstance(state, tuple) and len(state) == 5 else (None,) * 5
    if not isinstance(dtype, NumberType) or dtype.code not in KINDS or not isinstance(shape, tuple):
        raise FormatError("the pickle has an array that is not one of real numbers")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "<"
    if order not in ("<", ">", "|") or not isinstance(data, bytes):
        raise FormatError("the pickle has an array that is not one of real numbers")
    if any(type(n) is not int or not 0 <= n < 1 << 48 for n in shape) or len(shape) > MOST_ARGUMENTS:
        raise FormatError("the pickle has an array whose shape is not one of numbers")
    strides, step = [], 1
    for n in shape if fortran is True else shape[::-1]:
        strides.append(step)
        step *= n
    kind = KINDS[dtype.code]
    count = len(data) // int(dtype.code[1:])
    target.storage = InlineStorage(kind, str(id(data)), count, 0, data, "<" if order == "|" else order)
    target.size, target.stride = shape, tuple(strides if fortran is True else strides[::-1])


_REBUILD, _REBUILD_V2, _REBUILD_V3 = (
    Global("torch._utils", f"_rebuild_tensor{end}") for end in ("", "_v2", "_v3")
)  # fmt: skip
CALLS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): mapping,
    Global("collections", "defaultdict"): lambda *_: {},
    _REBUILD: _tensor,
    _REBUILD_V2: _tensor,
    _REBUILD_V3: _tensor_of_bytes,
    Global("torch._utils", "_rebuild_parameter"): _first,
    Global("torch._utils", "_rebuild_parameter_with_state"): _first,
    Global("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    Global("torch", "Size"): _listed,
    Global("torch", "device"): _opaque,
    Global("torch.serialization", "_get_layout"): _opaque,
    Global("torch.jit._pickle", "restore_type_tag"): _first,
    Global("_codecs", "encode"): _encoded,
    **{Global("torch.jit._pickle", f"build_{kind}list"): _listed for kind in ("int", "tensor", "double", "bool")},
    **{Global(m, kind): _listed for m in ("builtins", "__builtin__") for kind in ("set", "frozenset", "list")},
    **{Global(m, "dict"): mapping for m in ("builtins", "__builtin__")},
    **{Global(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    Global("numpy", "dtype"): _number_type,
}  # fmt: skip
ARRAYS: dict[Global, Callable[..., Any]] = {  # beside them, in pickles of NumPy's arrays
    **{Global(f"numpy.{core}.multiarray", "_reconstruct"): _blank_array for core in ("core", "_core")},
    **{Global(f"numpy.{core}.numeric", "_frombuffer"): _array_of_bytes for core in ("core", "_core")},
}
NAMES_ONLY = ("torch.", "numpy.", "__torch__.")  # packages whose names may stand in a file as plain values


def put(table: dict[str, Any], key: Any, value: Any) -> None:
    """Set an item of a table. Keys that cannot lead to weights are left out: long texts, numbers, everything else.

    The hash of numbers is no secret: a table of multiples of 2**61 - 1 takes a time that is quadratic in their number.
    Long texts that are equal take the time of a comparison each.
    """
    if type(key) is str and len(key) <= LONGEST_KEY:
        table[key] = value
