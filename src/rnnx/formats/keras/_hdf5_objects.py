"""The pieces of HDF5 files that Keras writes: headers, groups, types and values, from the published format.

Every offset is checked against the file, every address is visited once, and no size is believed before it is compared
with what the file can hold: a damaged file ends in a `FormatError`, never in a crash, a loop or a full memory.

References
----------
The HDF Group, "HDF5 File Format Specification Version 3.0".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx.saving import FormatError

UNDEFINED = 2**64 - 1
MOST_STEPS = 1_000_000  # pieces of a file that are looked at: each layer of a model has some fifty
MOST_READS = 4  # how often all bytes are read, which parts that lie over each other would make any number ...
ROOM_TO_READ = 64 << 20  # ... beyond so many bytes
MOST_AXES = 32
STEPS_OF_MESSAGE, STEPS_OF_ATTRIBUTE = 3, 6
SHORT, LONGEST_NAME = 256, 65536  # bytes of a name: nearly every one is short
(
    DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, SYMBOLS, ATTRIBUTE_INFO
) = (0x01, 0x02, 0x03, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x10, 0x11, 0x15)  # fmt: skip
SHARED = 0x02
HEAD_1, HEAD_2 = struct.Struct("<HHB"), struct.Struct("<BHB")  # of a message: type, size, flags


@dataclass(frozen=True)
class Type:
    """Type of the elements of an array or attribute.

    Attributes
    ----------
    kind : {"number", "text", "texts", "opaque", "other"}
        ``"text"`` has a fixed length, ``"texts"`` lie elsewhere in the file.
    size : int
        Bytes of an element.
    dtype : dtype or None
        Of numbers.
    """

    kind: str
    size: int
    dtype: np.dtype[Any] | None = None

    def __str__(self) -> str:
        return self.kind if self.dtype is None else self.dtype.newbyteorder("=").name


class Data:
    """The bytes of a file.

    Parameters
    ----------
    path : path
        For messages.
    data : buffer
    """

    def __init__(self, path: Any, data: Any):
        self.path, self.data, self.base = path, memoryview(data), 0
        self.steps = MOST_STEPS
        self.unread = ROOM_TO_READ + MOST_READS * len(self.data)
        self.room = self.unfiltered = 0
        self.nodes: dict[int, Any] = {}  # objects by the addresses of their headers
        self.heaps: dict[int, dict[int, tuple[int, int]]] = {}  # places of texts by the addresses of their collections

    def damaged(self, what: str) -> FormatError:
        return FormatError(f"{self.path}: the HDF5 file is damaged or cut off: {what}")

    def count(self, steps: int) -> None:
        """Count pieces of the file that are about to be looked at."""
        self.steps -= steps
        if self.steps < 0:
            raise self.damaged(f"its parts lead nowhere: more than {MOST_STEPS:,} were looked at")

    def take(self, start: int, count: int) -> memoryview:
        """Bytes at an address."""
        start += self.base
        self.count(1)
        if start < 0 or count < 0 or start + count > len(self.data):
            raise self.damaged(f"{count} bytes at {start}, and it has {len(self.data)}")
        self.unread -= count
        if self.unread < 0:
            raise self.damaged(f"its parts overlap: more than {MOST_READS} times its size would be read")
        return self.data[start : start + count]

    def numbers(self, form: str, start: int) -> tuple[Any, ...]:
        """Little-endian numbers at an address."""
        return struct.unpack("<" + form, self.take(start, struct.calcsize("<" + form)))

    def charge(self, name: str, size: int) -> None:
        """Count the bytes of a value against what the file may hold."""
        if size > self.room:
            raise FormatError(f"{self.path}: {name[:200]!r} would have {size} bytes, more than such a file can hold")
        self.room -= size


class Cursor:
    """Reads numbers one after the other from the bytes of one message."""

    def __init__(self, file: Data, data: memoryview):
        self.file, self.data, self.place = file, data, 0

    def take(self, count: int) -> memoryview:
        if count < 0 or self.place + count > len(self.data):
            raise self.file.damaged("a message is too short")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def skip(self, count: int) -> None:
        self.take(count)

    def align(self, to: int, since: int = 0) -> None:
        self.skip(-(self.place - since) % to)


# ---- Headers --------------------------------------------------------------------------------------------------------


def root_address(file: Data) -> int:
    """Where the header of the root group is; sets the base of all addresses."""
    version = file.take(8, 1)[0]
    if version in (0, 1):
        if tuple(file.take(13, 2)) != (8, 8):
            raise FormatError(f"{file.path}: an HDF5 file with addresses that are not of 8 bytes")
        start = 24 if version == 0 else 28
        base, _, _, _ = file.numbers("4Q", start)
        (address,) = file.numbers("Q", start + 40)
    elif version in (2, 3):
        if tuple(file.take(9, 2)) != (8, 8):
            raise FormatError(f"{file.path}: an HDF5 file with addresses that are not of 8 bytes")
        base, _, _, address = file.numbers("4Q", 12)
    else:
        raise file.damaged(f"version {version} is unknown")
    if base:
        raise FormatError(f"{file.path}: an HDF5 file with something in front of it")
    return int(address)


Message = tuple[int, int, memoryview]  # type, flags, data


def messages(file: Data, address: int) -> Iterator[Message]:
    """The messages of an object's header."""
    if bytes(file.take(address, 4)) == b"OHDR":
        yield from _messages_2(file, address)
        return
    version, _, count, _, size = file.numbers("BBHII", address)
    if version != 1:
        raise file.damaged(f"no header at {address}")
    blocks, seen = deque([(address + 16, size)]), {address + 16}
    while blocks:
        start, length = blocks.popleft()
        block, place = file.take(start, length), 0
        while count > 0 and place + 8 <= length:
            kind, size, flags = HEAD_1.unpack_from(block, place)
            place += 8 + size
            count -= 1
            data = _body(file, block, place, size)
            if kind == CONTINUATION:
                _continue(file, data, blocks, seen)
            else:
                yield kind, flags, data


def _messages_2(file: Data, address: int) -> Iterator[Message]:
    version, flags = file.numbers("BB", address + 4)
    if version != 2:
        raise file.damaged(f"header version {version}")
    start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(file.take(start, width), "little")
    blocks, seen = deque([(start + width, size)]), {start + width}
    first = True
    while blocks:
        start, length = blocks.popleft()
        if not first:  # a signature before and a checksum behind
            start, length = start + 4, length - 8
        first = False
        block, place, head = file.take(start, length), 0, 6 if flags & 0x04 else 4
        while place + head <= length:
            kind, size, own = HEAD_2.unpack_from(block, place)
            place += head + size
            data = _body(file, block, place, size)
            if kind == CONTINUATION:
                _continue(file, data, blocks, seen)
            else:
                yield kind, own, data


def _body(file: Data, block: memoryview, end: int, size: int) -> memoryview:
    """What a message holds: the ``size`` bytes of its block before ``end``."""
    if end > len(block):
        raise file.damaged("a message is too short")
    file.count(STEPS_OF_MESSAGE)
    return block[end - size : end]


def _continue(file: Data, data: memoryview, blocks: deque[tuple[int, int]], seen: set[int]) -> None:
    part = Cursor(file, data)
    start, length = part.number(8), part.number(8)
    if start in seen:
        raise file.damaged("a header that leads back to itself")
    seen.add(start)
    blocks.append((start, length))


# ---- Groups ---------------------------------------------------------------------------------------------------------

Links = dict[str, int | None]  # address of the object, None for a link that is not a hard one


def links(file: Data, header: list[Message]) -> Links | None:
    """Members of a group by name; None if the object is none."""
    found: Links = {}
    is_group = False
    for kind, _, data in header:
        part = Cursor(file, data)
        if kind == SYMBOLS:
            is_group = True
            found.update(_symbol_table(file, part.number(8), part.number(8)))
        elif kind == LINK:
            is_group = True
            name, address = _link(file, part)
            found[name] = address
        elif kind == LINK_INFO:
            is_group = True
            part.skip(1)
            part.skip(8 if part.number(1) & 1 else 0)
            if part.number(8) != UNDEFINED:
                raise FormatError(
                    f"{file.path}: an HDF5 file with indexed groups (libver='latest'); save it again without it"
                )
    return found if is_group else None


def _link(file: Data, part: Cursor) -> tuple[str, int | None]:
    part.skip(1)
    flags = part.number(1)
    kind = part.number(1) if flags & 0x08 else 0
    part.skip((8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0))
    name = bytes(part.take(part.number(1 << (flags & 3)))).decode()
    return name, part.number(8) if kind == 0 else None


def _symbol_table(file: Data, tree: int, heap: int) -> Links:
    """A group of the old kind: a tree of tables of names."""
    if bytes(file.take(heap, 4)) != b"HEAP":
        raise file.damaged("a group without names")
    size, _, names = file.numbers("3Q", heap + 8)
    text = file.take(names, size)
    found: Links = {}
    for table in _leaves(file, tree):
        if bytes(file.take(table, 4)) != b"SNOD":
            raise file.damaged("a group without members")
        (count,) = file.numbers("H", table + 6)
        for k in range(count):
            place, address, cache = file.numbers("QQI", table + 8 + 40 * k)
            found[_name(file, text, place)] = None if cache == 2 or address == UNDEFINED else address
    return found


def _name(file: Data, text: memoryview, place: int) -> str:
    """A text that ends with a zero."""
    for length in SHORT, LONGEST_NAME:
        raw = bytes(text[place : place + length])
        file.unread -= len(raw)
        end = raw.find(b"\0")
        if end >= 0:
            return raw[:end].decode()
    raise file.damaged("a name without end")


def _leaves(file: Data, tree: int) -> Iterator[int]:
    waiting, seen = [tree], {tree}
    while waiting:
        address = waiting.pop()
        if bytes(file.take(address, 4)) != b"TREE":
            raise file.damaged("a group without its tree")
        kind, level, count = file.numbers("BBH", address + 4)
        if kind != 0:
            raise file.damaged("a tree of another kind")
        children = [file.numbers("Q", address + 32 + 16 * k)[0] for k in range(count)]
        for child in children:
            if child in seen:
                raise file.damaged("a tree that leads back to itself")
            seen.add(child)
        if level:
            waiting += reversed(children)
        else:
            yield from children


# ---- Types and values -----------------------------------------------------------------------------------------------


def type_of(file: Data, part: Cursor, depth: int = 0) -> Type:
    """The type in a message."""
    head, bits = part.number(1), part.number(3)
    size = part.number(4)
    kind = head & 15
    order = ">" if bits & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        return Type("number", size, np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))
    if kind == 1 and size in (2, 4, 8):
        return Type("number", size, np.dtype(f"{order}f{size}"))
    if kind == 3 and size:
        return Type("text", size)
    if kind == 9 and bits & 15 == 1 and size == 16:
        return Type("texts", size)
    if kind == 8 and depth < 3:
        return type_of(file, part, depth + 1)
    return Type("opaque" if kind == 5 else "other", size)


def shape_of(file: Data, part: Cursor) -> tuple[int, ...] | None:
    """The shape in a message; None for nothing at all."""
    version, axes, _ = part.number(1), part.number(1), part.number(1)
    if axes > MOST_AXES or version not in (1, 2):
        raise file.damaged(f"an array of {axes} axes")
    if version == 1:
        part.skip(5)
    elif part.number(1) == 2:
        return None
    return tuple(part.number(8) for _ in range(axes))


def attributes(file: Data, header: list[Message]) -> dict[str, tuple[Type, tuple[int, ...] | None, memoryview]]:
    """Type, shape and bytes of all attributes of an object, by name."""
    found: dict[str, tuple[Type, tuple[int, ...] | None, memoryview]] = {}
    for kind, _, data in header:
        part = Cursor(file, data)
        if kind == ATTRIBUTE_INFO:
            part.skip(1)
            part.skip(2 if part.number(1) & 1 else 0)
            if part.number(8) != UNDEFINED:
                raise FormatError(
                    f"{file.path}: an HDF5 file with indexed attributes (libver='latest'); save it again without it"
                )
        if kind != ATTRIBUTE:
            continue
        file.count(STEPS_OF_ATTRIBUTE)
        version, flags = part.number(1), part.number(1)
        sizes = [part.number(2) for _ in range(3)]
        if version == 3:
            part.skip(1)
        pieces = []
        for size in sizes:
            pieces.append(part.take(size))
            if version == 1:
                part.skip(-size % 8)
        name = bytes(pieces[0]).split(b"\0")[0].decode()
        shared = version > 1 and flags & 3
        own = Type("other", 1) if shared else type_of(file, Cursor(file, pieces[1]))
        found[name] = (own, None if shared else shape_of(file, Cursor(file, pieces[2])), part.data[part.place :])
    return found


def texts(file: Data, kind: Type, count: int, data: memoryview) -> list[str]:
    """Texts of a fixed length, or those that a list of references stands for."""
    part = Cursor(file, data)
    found = []
    for _ in range(count):
        file.count(1)
        if kind.kind == "text":
            raw = bytes(part.take(kind.size)).split(b"\0")[0]
        else:
            length, heap, index = part.number(4), part.number(8), part.number(4)
            file.charge("a text", length)
            raw = bytes(_heap_object(file, heap, index)[:length]) if length else b""
        found.append(raw.decode())
    return found


def _heap_object(file: Data, heap: int, index: int) -> memoryview:
    """A value that lies in a collection of them, whose places are looked up once."""
    if heap not in file.heaps:
        file.heaps[heap] = _heap_places(file, heap)
    if index not in file.heaps[heap]:
        raise file.damaged("a text that is nowhere")
    return file.take(*file.heaps[heap][index])


def _heap_places(file: Data, heap: int) -> dict[int, tuple[int, int]]:
    """Address and length of each value of a collection; the first of several with one number."""
    if bytes(file.take(heap, 4)) != b"GCOL":
        raise file.damaged("a text that is nowhere")
    (size,) = file.numbers("Q", heap + 8)
    found: dict[int, tuple[int, int]] = {}
    place = heap + 16
    while place + 16 <= heap + size:
        own, _, _, length = file.numbers("HHIQ", place)
        if own == 0:
            break
        found.setdefault(own, (place + 16, length))
        place += 16 + length + -length % 8
    return found
