"""Pickles of PyTorch read as data: an interpreter of the opcodes that never imports and never calls anything.

A pickle is a program for a stack machine. Here its opcodes build plain values, and the names of functions and
classes in it stay names: the few functions of `CALLS` are imitated by code of `_values`, a class makes an
`Instance` that holds a state, and what any other function would have returned is an `Instance` too, an inert stand-in
by its name. So a state dict is found beside whatever else a checkpoint holds.

References
----------
.. [1] Python's module ``pickletools`` lists all opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from struct import Struct
from typing import Any

from rnnx.formats.torch._values import (
    ARRAYS,
    CALLS,
    LONGEST_KEY,
    MOST_ARGUMENTS,
    NAMES_ONLY,
    OPAQUE,
    Global,
    Instance,
    NumberArray,
    Storage,
    fill_array,
    mapping,
    put,
    shown,
)
from rnnx.saving import FormatError

LONGEST = 1 << 26  # bytes of one pickle; weights lie outside of it
MOST_OPCODES = 1_000_000  # a tensor needs about 30, so 33,000 tensors, a third of them with the state of an optimizer
MOST_PAIRS = 1_000_000  # given to calls of OrderedDict, which may name one list again and again
LONGEST_INTEGER = 64  # bytes
LARGEST = 1 << 60  # numbers of a storage; hashes of integers below 2**61 differ
NEWEST_PROTOCOL = 5
U8, U16, U32, U64, I32, F64 = (Struct(form) for form in ("<B", "<H", "<I", "<Q", "<i", ">d"))


class _Mark:
    """Where a group of values on the stack begins."""


MARK = _Mark()


# ---- The machine ----------------------------------------------------------------------------------------------------


class Machine:
    """Reads pickles one after the other from a block of bytes.

    Every opcode is one step. A step takes a time that is bounded, or one that its own bytes in the file pay for; what
    else a step would repeat (pairs of a list, arguments of a call) is counted too.

    Parameters
    ----------
    data : memoryview
    who : str
        For error messages: the file.
    start : int
        Where to begin.
    arrays : bool
        Whether arrays of NumPy are read as tensors; they are stand-ins otherwise, like all that is beside tensors.

    Attributes
    ----------
    position : int
        Behind what was read.
    storages : dict of tuple to Storage
        Those that the pickles refer to, by what is said of them.
    uncalled, unread : dict of Global to None
        What was not called, and what was only named, in the order of the pickles.
    """

    def __init__(self, data: memoryview, who: str, start: int = 0, arrays: bool = False):
        self.data, self.who, self.position = data, who, start
        self.known_calls = {**CALLS, **ARRAYS} if arrays else CALLS
        self.count = self.pairs = 0
        self.storages: dict[tuple[str, str, int, int], Storage] = {}
        self.names: dict[tuple[str, str], Global] = {}
        self.lines: dict[bytes, Global] = {}  # the same by the bytes that are found in the file
        self.functions: dict[int, Callable[..., Any]] = {}  # by the id of the name that is in `names`
        self.uncalled: dict[Global, None] = {}
        self.unread: dict[Global, None] = {}

    def load(self) -> Any:
        """The value of the next pickle.

        Raises
        ------
        FormatError
            If the pickle is damaged, too large, or asks for anything but data.
        """
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.mentioned: dict[int, Global] = {}  # names that were not the class of an object, by id
        self.classes: set[int] = set()
        data, opcodes = self.data, OPCODES
        self.end = min(len(data), self.position + LONGEST)
        try:
            while self.position < self.end:
                code = data[self.position]
                self.position += 1
                self.count += 1
                if code == 0x2E:  # STOP
                    value = self.stack.pop()
                    self._check_names()
                    return value
                if self.count > MOST_OPCODES:
                    raise FormatError(f"a pickle of more than {MOST_OPCODES:,} steps, the most that is read")
                run = opcodes.get(code)
                if run is None:
                    raise FormatError(f"the pickle has an unknown or outdated opcode {code:#04x}")
                run(self)
        except FormatError as error:
            if str(error).startswith(self.who):
                raise
            raise FormatError(f"{self.who}: {error}") from error
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            reason = f"{type(error).__name__} at byte {self.position}"
            raise FormatError(f"{self.who}: the pickle is damaged ({reason})") from error
        raise FormatError(f"{self.who}: the pickle is cut off, or longer than {LONGEST:,} bytes")

    def _check_names(self) -> None:
        for key, name in self.mentioned.items():
            inside = f"{name.module}.".startswith(NAMES_ONLY)
            if key not in self.classes and key not in self.functions and not inside:
                self.unread[name] = None

    # ---- Reading -------------------------------------------------------------------------------------------------

    def take(self, length: int) -> memoryview:
        """The next bytes."""
        begin, end = self.position, self.position + length
        if length < 0 or end > self.end:
            raise FormatError(f"the pickle is cut off, or longer than {LONGEST:,} bytes")
        self.position = end
        return self.data[begin:end]

    def integer(self, form: Struct) -> int:
        """The next integer, by its `struct` format; what lies behind the end of the file is no integer."""
        begin = self.position
        self.position = begin + form.size
        value: int = form.unpack_from(self.data, begin)[0]
        return value

    def since_mark(self) -> list[Any]:
        """The values above the last mark, which are taken away with it."""
        values: list[Any] = []
        pop, append = self.stack.pop, values.append
        while (value := pop()) is not MARK:
            append(value)
        values.reverse()
        return values

    # ---- Opcodes that need more than a line ------------------------------------------------------------------------

    def line_name(self) -> None:
        """Put the name on the stack that the next two lines are."""
        ahead = bytes(self.data[self.position : min(self.position + 2 * LONGEST_KEY, self.end)])
        first = ahead.find(b"\n")
        second = ahead.find(b"\n", first + 1)
        if first < 0 or second < 0:
            raise FormatError("the pickle has a name that does not end")
        self.position += second + 1
        both = ahead[:second]
        if both not in self.lines:
            self.name(both[:first].decode(), both[first + 1 :].decode())
            self.lines[both] = self.stack[-1]
        else:
            self.mention(self.lines[both])

    def mention(self, known: Global) -> None:
        self.mentioned[id(known)] = known
        self.stack.append(known)

    def name(self, module: str, name: str) -> None:
        """Put the name of a function or class on the stack."""
        known = self.names.get((module, name))
        if known is None:
            if len(module) + len(name) > 2 * LONGEST_KEY:
                raise FormatError(f"the pickle has a name of {len(module) + len(name):,} characters")
            known = self.names[module, name] = Global(module, name)
            if known in self.known_calls:
                self.functions[id(known)] = self.known_calls[known]
        self.mention(known)

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise FormatError("the pickle has a name that is not a text")
        self.name(module, name)

    def apply(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Put the result of an imitated function on the stack."""
        if len(arguments) > MOST_ARGUMENTS:
            raise FormatError(f"the pickle calls a function with {len(arguments):,} arguments")
        if function is mapping and arguments and isinstance(arguments[0], list):
            self.pairs += len(arguments[0])
            if self.pairs > MOST_PAIRS:
                raise FormatError(f"the pickle makes tables of more than {MOST_PAIRS:,} pairs, the most that is read")
        self.stack.append(function(*arguments))

    def call(self) -> None:
        """Imitate one of the known functions; put a stand-in for what any other one would return."""
        arguments, name = self.stack.pop(), self.stack.pop()
        function = self.functions.get(id(name))
        if not isinstance(arguments, tuple):
            raise FormatError("the pickle calls a function without a tuple of arguments")
        if function is not None:
            self.apply(function, arguments)
            return
        if isinstance(name, Instance):
            name = name.kind  # what a stand-in would return has its name
        if not isinstance(name, Global):
            raise FormatError(f"refused to call {shown(name)}, which is no function")
        self.stand_in(name)

    def stand_in(self, name: Global) -> None:
        """An object in the place of one that would have to be made by code."""
        self.uncalled[name] = None
        self.classes.add(id(name))
        self.stack.append(Instance(name))

    def new_object(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Global) or not isinstance(arguments, tuple):
            raise FormatError("the pickle makes an object of what is not a class")
        function = self.functions.get(id(kind))
        if function is not None:
            self.apply(function, arguments)
        elif arguments:
            self.stand_in(kind)
        else:
            self.classes.add(id(kind))
            self.stack.append(Instance(kind))

    def build(self) -> None:
        """Give an object its state; what state dicts carry besides their items is of no use."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Instance) and target is not OPAQUE:
            target.state = state
        elif isinstance(target, NumberArray) and target.storage is None:
            fill_array(target, state)

    def persistent(self) -> None:
        """A storage: ``("storage", type, key, place, numel)``, in legacy files with a view at the end."""
        given = self.stack.pop()
        if isinstance(given, tuple) and len(given) > 1 and given[0] == "module":
            self.stack.append(given[1])  # the class of a whole module in a legacy file, with its source
            return
        if not isinstance(given, tuple) or len(given) not in (5, 6) or given[0] != "storage":
            raise FormatError("the pickle refers to something outside that is not a storage")
        kind, key, numel = given[1], given[2], given[4]
        name = kind.name if isinstance(kind, Global) and kind.module in ("torch", "torch.storage") else ""
        if not name.endswith("Storage") or not isinstance(key, str) or type(numel) is not int:
            raise FormatError(f"the pickle has a storage of an unknown kind ({shown(kind)})")
        if len(key) > LONGEST_KEY:
            raise FormatError(f"the pickle has a storage whose key has {len(key):,} characters")
        offset = 0
        if len(given) == 6 and given[5] is not None:
            _, offset, numel = given[5]
            if type(offset) is not int or type(numel) is not int:
                raise FormatError("the pickle has a view of a storage that is not described by numbers")
        if not (0 <= numel < LARGEST and 0 <= offset < LARGEST):
            raise FormatError(f"the pickle has a storage that should hold {numel} numbers from number {offset} on")
        same = (name, key, numel, offset)
        if same not in self.storages:
            self.storages[same] = Storage(name.removesuffix("Storage"), key, numel, offset)
        self.stack.append(self.storages[same])

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
        values = tuple(self.stack[-count:])
        if len(values) != count:
            raise FormatError("the pickle has too few values on its stack")
        for value in values:
            if value is MARK:
                raise FormatError("the pickle has too few values on its stack")
        del self.stack[-count:]
        self.stack.append(values)

    def text(self, form: Struct) -> None:
        self.stack.append(str(self.take(self.integer(form)), "utf-8", "surrogatepass"))

    def binary(self, form: Struct) -> None:
        self.stack.append(bytes(self.take(self.integer(form))))

    def latin(self, form: Struct) -> None:
        self.stack.append(str(self.take(self.integer(form)), "latin-1"))

    def long(self, form: Struct) -> None:
        length = self.integer(form)
        if not 0 <= length <= LONGEST_INTEGER:
            raise FormatError(f"the pickle has an integer of {length} bytes")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def keep(self, form: Struct) -> None:
        number = self.integer(form)
        if number > MOST_OPCODES:  # they are counted up; what is spread over 2**32 could be made to collide
            raise FormatError(f"the pickle numbers a value {number:,}, more than it may have")
        self.memo[number] = self.stack[-1]

    def protocol(self) -> None:
        if (number := self.integer(U8)) > NEWEST_PROTOCOL:
            raise FormatError(f"the pickle is of protocol {number}; known are those up to {NEWEST_PROTOCOL}")


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
        "\x95": lambda m: m.integer(U64),  # FRAME
        "(": lambda m: m.stack.append(MARK),
        "0": lambda m: m.stack.pop(),
        "1": Machine.since_mark,
        "N": lambda m: m.stack.append(None),
        "\x88": lambda m: m.stack.append(True),
        "\x89": lambda m: m.stack.append(False),
        "J": lambda m: m.stack.append(m.integer(I32)),
        "K": lambda m: m.stack.append(m.integer(U8)),
        "M": lambda m: m.stack.append(m.integer(U16)),
        "\x8a": lambda m: m.long(U8),
        "\x8b": lambda m: m.long(I32),
        "G": lambda m: m.stack.append(m.integer(F64)),
        "X": lambda m: m.text(U32),
        "\x8c": lambda m: m.text(U8),
        "\x8d": lambda m: m.text(U64),
        "U": lambda m: m.latin(U8),
        "T": lambda m: m.latin(I32),
        "B": lambda m: m.binary(U32),
        "C": lambda m: m.binary(U8),
        "\x8e": lambda m: m.binary(U64),
        "\x96": lambda m: m.binary(U64),
        "]": lambda m: m.stack.append([]),
        "}": lambda m: m.stack.append({}),
        ")": lambda m: m.stack.append(()),
        "\x8f": lambda m: m.stack.append([]),  # a set: its members do not matter
        "l": lambda m: m.stack.append(m.since_mark()),
        "t": lambda m: m.stack.append(tuple(m.since_mark())),
        "\x91": lambda m: m.stack.append(m.since_mark()),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "d": _table,
        "a": lambda m: m.extend([m.stack.pop()]),
        "e": lambda m: m.extend(m.since_mark()),
        "\x90": lambda m: m.extend(m.since_mark()),
        "s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
        "u": lambda m: m.set_items(m.since_mark()),
        "q": lambda m: m.keep(U8),
        "r": lambda m: m.keep(U32),
        "\x94": _memoize,
        "h": lambda m: m.stack.append(m.memo[m.integer(U8)]),
        "j": lambda m: m.stack.append(m.memo[m.integer(U32)]),
        "c": Machine.line_name,
        "\x93": Machine.stack_name,
        "R": Machine.call,
        "\x81": Machine.new_object,
        "b": Machine.build,
        "Q": Machine.persistent,
    }.items()
}
