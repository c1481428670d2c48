"""HDF5 files of groups, arrays and attributes of text, written without any other library.

They are of the oldest form, which every reader has: superblock 0, headers 1, groups with tables of names, contiguous
arrays. Arrays go to the file one after the other; what describes them is small and follows.

References
----------
The HDF Group, "HDF5 File Format Specification Version 3.0".
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rnnx._typing import Array
from rnnx.formats.keras import _hdf5_objects as objects
from rnnx.saving import FormatError

SUPERBLOCK = 96  # bytes
LEAF_ENTRIES, NODE_CHILDREN = 8, 32  # twice the K of the superblock: members of a table, children of a node
LONGEST_LIST = 64512  # bytes of the attribute of a list, as in Keras: a message of a header has at most 65535
SMALLEST_HEAP = 4096
FILL, HEAP_FREE, CACHED = 0x05, 1, 1


class Tree:
    """A group that is to be written.

    Attributes
    ----------
    attributes : dict
        Texts, and lists of texts.
    members : dict
        Groups and arrays, by name.
    """

    def __init__(self) -> None:
        self.attributes: dict[str, str | list[str]] = {}
        self.members: dict[str, Tree | Array] = {}

    def group(self, path: str) -> Tree:
        """The group at a path, made if it is not there.

        Raises
        ------
        FormatError
            If there is an array at a part of it.
        """
        found = self
        for name in filter(None, path.split("/")):
            inner = found.members.setdefault(name, Tree())
            if not isinstance(inner, Tree):
                raise FormatError(f"{path!r} cannot be written: {name!r} is an array and a group")
            found = inner
        return found

    def put(self, path: str, array: Array) -> None:
        """Set the array at a path.

        Raises
        ------
        FormatError
            If there is something already.
        """
        folder, _, name = path.rpartition("/")
        members = self.group(folder).members
        if name in members:
            raise FormatError(f"{path!r} cannot be written: it is there twice")
        members[name] = array


def write(path: Path, root: Tree) -> None:
    """Write a file.

    Raises
    ------
    FormatError
        If an array is not of numbers, or a name cannot be written.
    OSError
        If it cannot be written; what is there then is no HDF5 file.
    """
    with path.open("wb") as file:
        writer = _Writer(file)
        file.write(bytes(SUPERBLOCK))
        address, tree, heap = writer.group(root)
        end = writer.end()
        file.seek(0)
        head = struct.pack("<8s8BHHI", b"\x89HDF\r\n\x1a\n", 0, 0, 0, 0, 0, 8, 8, 0, LEAF_ENTRIES // 2,
                           NODE_CHILDREN // 2, 0)  # fmt: skip
        head += struct.pack("<4Q", 0, objects.UNDEFINED, end, objects.UNDEFINED)
        file.write(head + struct.pack("<QQII2Q", 0, address, CACHED, 0, tree, heap))


class _Writer:
    def __init__(self, file: BinaryIO):
        self.file = file

    def end(self) -> int:
        """The next address, a multiple of 8."""
        place = self.file.tell()
        self.file.write(bytes(-place % 8))
        return place + -place % 8

    def _append(self, data: bytes) -> int:
        address = self.end()
        self.file.write(data)
        return address

    # ---- Objects -----------------------------------------------------------------------------------------------------

    def group(self, tree: Tree) -> tuple[int, int, int]:
        """Addresses of the header of a group, of its tree and of its names; what is inside comes first."""
        entries: list[tuple[bytes, int]] = []
        for name, member in tree.members.items():
            address = self.group(member)[0] if isinstance(member, Tree) else self._array(name, member)
            entries.append((_name(name), address))
        node, heap = self._table(sorted(entries))
        messages = [(objects.SYMBOLS, struct.pack("<2Q", node, heap))]
        for name, value in tree.attributes.items():
            messages += self._attributes(name, value)
        return self._header(messages), node, heap

    def _array(self, name: str, value: Array) -> int:
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        if array.dtype.kind not in "fiu":
            raise FormatError(f"array {name!r} of dtype {array.dtype} cannot be written")
        address = objects.UNDEFINED
        if array.size:
            address = self.end()
            self.file.write(array.reshape(-1).view(np.uint8).data)
        fill = struct.pack("<4BI", 2, 2, 2, 1, 0)  # late allocation, written if set, and nothing set
        layout = struct.pack("<2B2Q", 3, 1, address, array.nbytes)
        messages = [(objects.DATASPACE, _dataspace(array.shape)), (objects.DATATYPE, _number(array.dtype))]
        return self._header([*messages, (FILL, fill), (objects.LAYOUT, layout)])

    def _header(self, messages: list[tuple[int, bytes]]) -> int:
        body = b""
        for kind, data in messages:
            data += bytes(-len(data) % 8)
            if len(data) > 0xFFFF:
                raise FormatError(f"a header of {len(data):,} bytes cannot be written, the most is {0xFFFF:,}")
            body += struct.pack("<HHB3x", kind, len(data), 0) + data
        return self._append(struct.pack("<BBHII4x", 1, 0, len(messages), 1, len(body)) + body)

    # ---- Members of a group: a tree of tables of names ---------------------------------------------------------------

    def _table(self, entries: list[tuple[bytes, int]]) -> tuple[int, int]:
        """Addresses of the tree of some members in order, and of their names."""
        names = bytearray(8)  # the first one is empty
        places = []
        for name, _ in entries:
            places.append(len(names))
            names += name + bytes(8 - len(name) % 8)
        data = self._append(bytes(names))
        heap = self._append(struct.pack("<4sB3x3Q", b"HEAP", 0, len(names), HEAP_FREE, data))
        children: list[tuple[int, int]] = []  # address, and place of the last name
        for first in range(0, len(entries), LEAF_ENTRIES):
            part = list(zip(entries, places, strict=True))[first : first + LEAF_ENTRIES]
            rows = b"".join(struct.pack("<QQII16x", place, address, 0, 0) for (_, address), place in part)
            table = struct.pack("<4sBxH", b"SNOD", 1, len(part)) + rows.ljust(40 * LEAF_ENTRIES, b"\0")
            children.append((self._append(table), part[-1][1]))
        level = 0
        while True:
            nodes = self._nodes(children, level)
            if len(nodes) == 1:
                return nodes[0][0], heap
            children, level = nodes, level + 1

    def _nodes(self, children: list[tuple[int, int]], level: int) -> list[tuple[int, int]]:
        """One level of a tree: the nodes above some tables or nodes, each knowing those beside it."""
        size = 24 + 8 * (2 * NODE_CHILDREN + 1)
        groups = [children[k : k + NODE_CHILDREN] for k in range(0, len(children), NODE_CHILDREN)] or [[]]
        start, before = self.end(), 0
        found = []
        for k, group in enumerate(groups):
            left = start + (k - 1) * size if k else objects.UNDEFINED
            right = start + (k + 1) * size if k + 1 < len(groups) else objects.UNDEFINED
            node = struct.pack("<4sBBHQQQ", b"TREE", 0, level, len(group), left, right, before)
            for address, last in group:
                node += struct.pack("<QQ", address, last)
                before = last
            found.append((self._append(node.ljust(size, b"\0")), before))
        return found

    # ---- Attributes --------------------------------------------------------------------------------------------------

    def _attributes(self, name: str, value: str | list[str]) -> list[tuple[int, bytes]]:
        """The messages of an attribute: a list that is too long for one is in several, as Keras does it."""
        if isinstance(value, str):
            text = value.encode()
            reference = struct.pack("<IQI", len(text), self._heap_of(text) if text else 0, 1 if text else 0)
            return [_attribute(name, _TEXTS, _dataspace(()), reference)]
        raw = [text.encode() for text in value]
        width = max(map(len, raw), default=1) or 1
        most = LONGEST_LIST // width
        if not most:
            raise FormatError(f"a name of {width:,} bytes cannot be written, the most is {LONGEST_LIST:,}")
        pieces = [raw[k : k + most] for k in range(0, len(raw), most)] or [[]]
        found = []
        for k, piece in enumerate(pieces):
            own = f"{name}{k}" if len(pieces) > 1 else name
            data = b"".join(text.ljust(width, b"\0") for text in piece)
            found.append(_attribute(own, struct.pack("<B3BI", 0x13, 1, 0, 0, width), _dataspace((len(piece),)), data))
        return found

    def _heap_of(self, text: bytes) -> int:
        """Address of a collection of values with one text in it."""
        used = 16 + 16 + len(text) + -len(text) % 8
        size = max(SMALLEST_HEAP, used + 16)
        value = struct.pack("<HH4xQ", 1, 1, len(text)) + text + bytes(-len(text) % 8)
        free = struct.pack("<HH4xQ", 0, 0, size - used)
        return self._append((struct.pack("<4sB3xQ", b"GCOL", 1, size) + value + free).ljust(size, b"\0"))


_TEXTS = struct.pack("<B3BI", 0x19, 1, 1, 0, 16) + struct.pack("<B3BI", 0x13, 0x10, 0, 0, 1)  # UTF-8, each elsewhere


def _name(name: str) -> bytes:
    raw = name.encode()
    if not raw or b"\0" in raw or name == ".":
        raise FormatError(f"{name[:200]!r} cannot be the name of a group or array")
    return raw


def _dataspace(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<4B4x{len(shape)}Q", 1, len(shape), 0, 0, *shape)


def _number(dtype: np.dtype[Any]) -> bytes:
    """The type of little-endian numbers."""
    size = dtype.itemsize
    if dtype.kind in "iu":
        return struct.pack("<B3BIHH", 0x10, 8 if dtype.kind == "i" else 0, 0, 0, size, 0, 8 * size)
    exponent = {2: 5, 4: 8, 8: 11}[size]
    mantissa = 8 * size - exponent - 1
    bits = (0x20, 8 * size - 1, 0)  # the leading bit is implied; where the sign is
    fields = (0, 8 * size, mantissa, exponent, 0, mantissa, (1 << (exponent - 1)) - 1)
    return struct.pack("<B3BIHH4BI", 0x11, *bits, size, *fields)


def _attribute(name: str, kind: bytes, space: bytes, data: bytes) -> tuple[int, bytes]:
    label = _name(name) + b"\0"
    if len(label) > LONGEST_LIST:
        raise FormatError(f"an attribute's name of {len(label):,} bytes cannot be written")
    head = struct.pack("<BxHHH", 1, len(label), len(kind), len(space))
    padded = b"".join(part + bytes(-len(part) % 8) for part in (label, kind, space))
    return objects.ATTRIBUTE, head + padded + data
