"""Pickles of PyTorch read as data: an interpreter of the opcodes that never imports and never calls anything.

A pickle is a program for a stack machine. Here its opcodes build plain values, and the names of functions and
classes in it stay names: the few functions of `CALLS` are imitated below by code of this module, a class makes an
`Instance` that holds a state, and everything else that a pickle asks to be called is refused by name.

References
----------
.. [1] Python's module ``pickletools`` lists all opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnx.saving import FormatError

LONGEST = 1 << 26  # bytes of one pickle; weights lie outside of it
MOST_OPCODES = 2_000_000
LONGEST_INTEGER = 64  # bytes
NEWEST_PROTOCOL = 5


class _Mark:
    """Where a group of values on the stack begins."""


MARK = _Mark()


@dataclass(frozen=True)
class Global:
    """The name of a function or class; nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else "?" for c in f"{self.module}.{self.name}"[:200])


@dataclass(eq=False)
class Instance:
    """An object of a class that was not made, and the state that it would have."""

    kind: Global
    state: Any = None


@dataclass(frozen=True)
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


@dataclass(eq=False)
class Tensor:
    """A tensor as the file describes it; nothing of it is checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any
    kind: Any = None  # of the elements, where the storage is one of bytes


OPAQUE = Instance(Global("rnnx", "opaque"))  # what is of no use here: devices, layouts, numbers of NumPy
TYPES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
}  # fmt: skip


def shown(value: Any) -> str:
    """A value of a pickle in an error message: a short one, however deep and wide the value is."""
    if isinstance(value, str):
        return repr(value[:200])
    return str(value) if isinstance(value, (Global, int)) else f"a {type(value).__name__}"


# ---- The functions that may be called -------------------------------------------------------------------------------


def _mapping(*given: Any) -> dict[Any, Any]:
    """``OrderedDict()`` or ``OrderedDict([(key, value), ...])``."""
    made: dict[Any, Any] = {}
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
    if function not in (_REBUILD, _REBUILD_V2, _REBUILD_V3) or not isinstance(arguments, tuple):
        raise FormatError(f"a tensor of an unknown kind ({shown(function)})")
    return CALLS[function](*arguments)


def _listed(*given: Any) -> Any:
    return given[0] if given else []


def _opaque(*_: Any) -> Instance:
    return OPAQUE


_REBUILD, _REBUILD_V2, _REBUILD_V3 = (
    Global("torch._utils", f"_rebuild_tensor{end}") for end in ("", "_v2", "_v3")
)  # fmt: skip
CALLS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _mapping,
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
    Global("_codecs", "encode"): _opaque,
    **{Global("torch.jit._pickle", f"build_{kind}list"): _listed for kind in ("int", "tensor", "double", "bool")},
    **{Global(m, kind): _listed for m in ("builtins", "__builtin__") for kind in ("set", "frozenset", "list")},
    **{Global(m, "dict"): _mapping for m in ("builtins", "__builtin__")},
    **{Global(f"numpy.{core}.multiarray", "scalar"): _opaque for core in ("core", "_core")},
    Global("numpy", "dtype"): _opaque,
}  # fmt: skip
NAMES_ONLY = ("torch.", "numpy.", "__torch__.")  # packages whose names may stand in a file as plain values


def put(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item of a table. Keys that are neither texts nor numbers cannot lead to weights and are left out."""
    if type(key) in (str, int, float, bool):
        table[key] = value


# ---- The machine ----------------------------------------------------------------------------------------------------


class Machine:
    """Reads pickles one after the other from a block of bytes.

    Parameters
    ----------
    data : memoryview
    who : str
        For error messages: the file.
    start : int
        Where to begin.

    Attributes
    ----------
    position : int
        Behind what was read.
    storages : list of Storage
        Those that the pickles refer to.
    """

    def __init__(self, data: memoryview, who: str, start: int = 0):
        self.data, self.who, self.position = data, who, start
        self.count = 0
        self.storages: list[Storage] = []

    def load(self) -> Any:
        """The value of the next pickle.

        Raises
        ------
        FormatError
            If the pickle is damaged, or asks for anything but data.
        """
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.mentioned: dict[Global, bool] = {}  # whether it was the class of an object
        end = min(len(self.data), self.position + LONGEST)
        try:
            while self.position < end:
                code = self.data[self.position]
                self.position += 1
                self.count += 1
                if code == 0x2E:  # STOP
                    value = self.stack.pop()
                    self._check_names()
                    return value
                if self.count > MOST_OPCODES:
                    raise FormatError(f"{self.who}: a pickle of more than {MOST_OPCODES} steps")
                run = OPCODES.get(code)
                if run is None:
                    raise FormatError(f"{self.who}: the pickle has an unknown or outdated opcode {code:#04x}")
                run(self)
        except FormatError as error:
            if str(error).startswith(self.who):
                raise
            raise FormatError(f"{self.who}: {error}") from error
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            reason = f"{type(error).__name__} at byte {self.position}"
            raise FormatError(f"{self.who}: the pickle is damaged ({reason})") from error
        raise FormatError(f"{self.who}: the pickle is cut off, or longer than {LONGEST} bytes")

    def _check_names(self) -> None:
        for name, is_class in self.mentioned.items():
            if not is_class and name not in CALLS and not f"{name}".startswith(NAMES_ONLY):
                raise FormatError(f"{self.who}: the pickle mentions {name}, which is not part of a state dict")

    # ---- Reading -------------------------------------------------------------------------------------------------

    def take(self, length: int) -> memoryview:
        """The next bytes."""
        begin, end = self.position, self.position + length
        if length < 0 or end > len(self.data):
            raise FormatError("the pickle is cut off")
        self.position = end
        return self.data[begin:end]

    def integer(self, form: str) -> int:
        """The next integer, by its `struct` format."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def line(self) -> str:
        """Text up to the end of the line."""
        for length in range(1, 1 << 12):
            if self.position + length > len(self.data):
                break
            if self.data[self.position + length - 1] == 0x0A:
                return bytes(self.take(length)[:-1]).decode()
        raise FormatError("the pickle has a name that does not end")

    def since_mark(self) -> list[Any]:
        """The values above the last mark, which are taken away with it."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not MARK:
            values.append(value)
        return values[::-1]

    # ---- Opcodes that need more than a line ------------------------------------------------------------------------

    def name(self, module: str, name: str) -> None:
        """Put the name of a function or class on the stack."""
        known = Global(module, name)
        self.mentioned.setdefault(known, False)
        self.stack.append(known)

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise FormatError("the pickle has a name that is not a text")
        self.name(module, name)

    def call(self) -> None:
        """Imitate one of the known functions."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or function not in CALLS:
            raise FormatError(
                f"{self.who}: refused to call {shown(function)}, as the pickle asks; save model.state_dict() with "
                "torch.save, which needs no such call"
            )
        if not isinstance(arguments, tuple):
            raise FormatError("the pickle calls a function without a tuple of arguments")
        self.stack.append(CALLS[function](*arguments))

    def new_object(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Global) or not isinstance(arguments, tuple):
            raise FormatError("the pickle makes an object of what is not a class")
        if kind in CALLS:
            self.stack.append(CALLS[kind](*arguments))
            return
        if arguments:
            raise FormatError(f"refused to make an object of {kind} with arguments; save model.state_dict() instead")
        self.mentioned[kind] = True
        self.stack.append(Instance(kind))

    def build(self) -> None:
        """Give an object its state; what state dicts carry besides their items is of no use."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Instance) and target is not OPAQUE:
            target.state = state

    def persistent(self) -> None:
        """A storage: ``("storage", type, key, place, numel)``, in legacy files with a view at the end."""
        given = self.stack.pop()
        if isinstance(given, tuple) and len(given) > 1 and given[0] == "module":
            self.stack.append(given[1])  # the class of a whole module in a legacy file, with its source
            return
        if not isinstance(given, tuple) or len(given) not in (5, 6) or given[0] != "storage":
            raise FormatError("the pickle refers to something outside that is not a storage")
        _, kind, key, _, numel, *view = given
        name = kind.name if isinstance(kind, Global) and kind.module in ("torch", "torch.storage") else ""
        if not name.endswith("Storage") or not isinstance(key, str) or type(numel) is not int:
            raise FormatError(f"the pickle has a storage of an unknown kind ({shown(kind)})")
        offset = 0
        if view and view[0] is not None:
            _, offset, numel = view[0]
            if type(offset) is not int or type(numel) is not int:
                raise FormatError("the pickle has a view of a storage that is not described by numbers")
        self.storages.append(Storage(name.removesuffix("Storage"), key, numel, offset))
        self.stack.append(self.storages[-1])

    def set_items(self, values: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict):
            if isinstance(table, Instance):
                return  # items of an object of a class of one's own
            raise FormatError("the pickle sets items of what is not a table")
        for key, value in zip(values[::2], values[1::2], strict=True):
            put(table, key, value)

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Instance):
            raise FormatError("the pickle appends to what is not a list")

    def tuple_of(self, count: int) -> None:
        values = tuple(self.stack[len(self.stack) - count :])
        if len(values) != count or any(value is MARK for value in values):
            raise FormatError("the pickle has too few values on its stack")
        del self.stack[len(self.stack) - count :]
        self.stack.append(values)

    def text(self, form: str) -> None:
        self.stack.append(bytes(self.take(self.integer(form))).decode("utf-8", "surrogatepass"))

    def binary(self, form: str) -> None:
        self.stack.append(bytes(self.take(self.integer(form))))

    def long(self, form: str) -> None:
        length = self.integer(form)
        if not 0 <= length <= LONGEST_INTEGER:
            raise FormatError(f"the pickle has an integer of {length} bytes")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def protocol(self) -> None:
        if (number := self.integer("<B")) > NEWEST_PROTOCOL:
            raise FormatError(f"the pickle is of protocol {number}; known are those up to {NEWEST_PROTOCOL}")


def _push(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        machine.stack.append(make(machine))

    return run


def _keep(form: str) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        machine.memo[machine.integer(form)] = machine.stack[-1]

    return run


def _recall(form: str) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        machine.stack.append(machine.memo[machine.integer(form)])

    return run


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _table(machine: Machine) -> None:
    values = machine.since_mark()
    machine.stack.append({})
    machine.set_items(values)


OPCODES: dict[int, Callable[[Machine], Any]] = {
    ord(code): run
    for code, run in {
        "\x80": Machine.protocol,
        "\x95": lambda m: m.integer("<Q"),  # FRAME
        "(": lambda m: m.stack.append(MARK),
        "0": lambda m: m.stack.pop(),
        "1": Machine.since_mark,
        "N": lambda m: m.stack.append(None),
        "\x88": lambda m: m.stack.append(True),
        "\x89": lambda m: m.stack.append(False),
        "J": _push(lambda m: m.integer("<i")),
        "K": _push(lambda m: m.integer("<B")),
        "M": _push(lambda m: m.integer("<H")),
        "\x8a": lambda m: m.long("<B"),
        "\x8b": lambda m: m.long("<i"),
        "G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
        "X": lambda m: m.text("<I"),
        "\x8c": lambda m: m.text("<B"),
        "\x8d": lambda m: m.text("<Q"),
        "U": _push(lambda m: bytes(m.take(m.integer("<B"))).decode("latin-1")),
        "T": _push(lambda m: bytes(m.take(m.integer("<i"))).decode("latin-1")),
        "B": lambda m: m.binary("<I"),
        "C": lambda m: m.binary("<B"),
        "\x8e": lambda m: m.binary("<Q"),
        "\x96": lambda m: m.binary("<Q"),
        "]": lambda m: m.stack.append([]),
        "}": lambda m: m.stack.append({}),
        ")": lambda m: m.stack.append(()),
        "\x8f": lambda m: m.stack.append([]),  # a set: its members do not matter
        "l": _push(Machine.since_mark),
        "t": _push(lambda m: tuple(m.since_mark())),
        "\x91": _push(Machine.since_mark),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "d": _table,
        "a": lambda m: m.extend([m.stack.pop()]),
        "e": lambda m: m.extend(m.since_mark()),
        "\x90": lambda m: m.extend(m.since_mark()),
        "s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
        "u": lambda m: m.set_items(m.since_mark()),
        "q": _keep("<B"),
        "r": _keep("<I"),
        "\x94": _memoize,
        "h": _recall("<B"),
        "j": _recall("<I"),
        "c": lambda m: m.name(m.line(), m.line()),
        "\x93": Machine.stack_name,
        "R": Machine.call,
        "\x81": Machine.new_object,
        "b": Machine.build,
        "Q": Machine.persistent,
    }.items()
}
