"""HDF5 files as trees of groups with arrays and attributes, read without any other library.

Files with links to elsewhere, arrays whose data are elsewhere, and arrays larger than the file can hold are refused.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.keras import _hdf5_objects as objects
from rnnx.formats.keras._hdf5_objects import Cursor, Data, Type
from rnnx.quantization.rounding import from_bfloat16
from rnnx.saving import FormatError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ROOM = 64 << 20  # bytes of arrays that any file may hold ...
EXPANSION = 4  # ... and how much larger than the file they may be: trained weights hardly compress
MOST_ABSENT = 1 << 20  # bytes of an array of whose numbers the file holds some, or none: they are zero
MOST_FILTERS = 8  # of the pieces of an array; Keras writes none, h5py at most three
MOST_PIECES = 10_000  # of one list of texts
DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3


def room_of(size: int) -> int:
    """Bytes that the arrays of a file of this size may have."""
    return ROOM + EXPANSION * size


@contextmanager
def opened(path: Any, data: bytes | None = None, room: int | None = None) -> Iterator[Group]:
    """The root of an HDF5 file.

    Parameters
    ----------
    path : path
        For messages, and what is opened if there are no ``data``.
    data : bytes, optional
        The file itself, when it is a member of an archive.
    room : int, optional
        Bytes that its arrays may have, if not as many as its own size allows.

    Raises
    ------
    FormatError
        If it is damaged, also while it is in use.
    OSError
        If it cannot be read.
    """
    view: Any = data
    if data is None:
        with Path(path).open("rb") as source:
            if source.seek(0, 2):
                view = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    file = Data(path, view if view is not None else b"")
    file.room = room_of(len(file.data)) if room is None else room
    file.unfiltered = 2 * file.room  # a piece may be unpacked and then unshuffled
    start = bytes(file.data[:8])
    if start != SIGNATURE:
        raise FormatError(f"{path}: not an HDF5 file, or cut off: it has {len(file.data)} bytes, first {start!r}")
    try:
        yield Group(file, objects.root_address(file), "")
    except (struct.error, UnicodeError, OverflowError, zlib.error) as error:
        raise file.damaged(str(error)) from error


class Node:
    """An object of the file.

    Parameters
    ----------
    file : Data
    address : int
        Of its header.
    name : str
        Its path, for messages.
    """

    def __init__(self, file: Data, address: int, name: str):
        self.file, self.address, self.name = file, address, name
        self.path = file.path

    @cached_property
    def header(self) -> list[objects.Message]:
        return list(objects.messages(self.file, self.address))

    @cached_property
    def _attributes(self) -> dict[str, tuple[Type, tuple[int, ...] | None, memoryview]]:
        return objects.attributes(self.file, self.header)

    def text(self, name: str) -> str | None:
        """An attribute of text; None if there is none."""
        found = self.texts(name)
        if found is None:
            return None
        if len(found) != 1:
            raise FormatError(f"{self.path}: attribute {name!r} of {self.name!r} is not one text")
        return found[0]

    def texts(self, name: str) -> list[str] | None:
        """An attribute that is a list of texts, also one in pieces ``name0``, ``name1``, ...; None if there is none."""
        names = [name] if name in self._attributes else []
        while not names or names != [name]:
            piece = f"{name}{len(names)}"
            if piece not in self._attributes or len(names) >= MOST_PIECES:
                break
            names.append(piece)
        return [entry for piece in names for entry in self._texts(piece)] if names else None

    def _texts(self, name: str) -> list[str]:
        kind, shape, data = self._attributes[name]
        count = 0 if shape is None else math.prod(shape)
        if not count:
            return []
        if kind.kind not in ("text", "texts"):
            raise FormatError(f"{self.path}: attribute {name!r} of {self.name!r} is not text")
        return objects.texts(self.file, kind, count, data)


class Group(Node):
    """A group: its members by name, its attributes."""

    @cached_property
    def _links(self) -> objects.Links:
        return objects.links(self.file, self.header) or {}

    def names(self) -> list[str]:
        """Members, in the order of the alphabet."""
        return sorted(self._links)

    def _find(self, name: str) -> Node | None:
        """A member behind hard links only; None if there is none."""
        found: Node = self
        for part in name.split("/"):
            if part in ("", ".", ".."):
                raise FormatError(f"{self.path}: {name[:200]!r} is not the name of an array")
            if not isinstance(found, Group) or part not in found._links:
                return None
            address = found._links[part]
            if address is None:
                raise FormatError(f"{self.path}: {name[:200]!r} is a link that may lead outside of the file; refused")
            found = self._node(address, f"{found.name}/{part}")
        return found

    def _node(self, address: int, name: str) -> Node:
        """The object with its header at an address, which is read once however many names it has."""
        self.file.count(1)
        found: Node | None = self.file.nodes.get(address)
        if found is None:
            found = Node(self.file, address, name)
            if objects.links(self.file, found.header) is not None:
                found = Group(self.file, address, name)
            else:
                found = Dataset(self.file, address, name)
            self.file.nodes[address] = found
        return found

    def group(self, name: str) -> Group | None:
        """A group inside this one; None if there is none."""
        found = self._find(name)
        return found if isinstance(found, Group) else None

    def _dataset(self, name: str) -> Dataset:
        found = self._find(name)
        if not isinstance(found, Dataset):
            raise FormatError(f"{self.path}: there is no array {name[:200]!r} in {self.name[:200]!r}")
        return found

    def shape(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Type and shape of an array, without reading it."""
        dataset = self._dataset(name)
        return str(dataset.type), dataset.shape

    def array(self, name: str) -> Array:
        """An array of numbers.

        Raises
        ------
        FormatError
            If there is none, if its data are in another file, or if it is larger than such a file can hold.
        """
        return self._dataset(name).read()


class FlatTree:
    """Groups whose whole path is one name, ``layers\\lstm\\cell``, as tf.keras on Windows wrote them.

    Parameters
    ----------
    root : Group
    names : list of str
        Of its members, sorted.
    place : str
        Where in the tree, in that way of writing.
    """

    def __init__(self, root: Group, names: list[str], place: str = ""):
        self.root, self.names, self.place = root, names, place
        self.path = root.path

    def group(self, name: str) -> FlatTree | Group | None:
        """See `Group.group`; ``vars`` at the end of a path is a group in it."""
        *parts, last = name.split("/")
        place = "\\".join([*([self.place] if self.place else []), *parts])
        if last == "vars":
            holder = self.root.group(place) if place else self.root
            return None if holder is None else holder.group(last)
        place = f"{place}\\{last}" if place else last
        found = self._first(place) == place or self._first(f"{place}\\").startswith(f"{place}\\")
        return FlatTree(self.root, self.names, place) if found else None

    def _first(self, name: str) -> str:
        """The first name that is not before this one."""
        k = bisect_left(self.names, name)
        return self.names[k] if k < len(self.names) else ""


Tree = Group | FlatTree


def tree_of(root: Group) -> Tree:
    """A group as a tree of paths, whichever way they are written."""
    names = sorted(root.names())
    return FlatTree(root, names) if any("\\" in name for name in names) else root


class Dataset(Node):
    """An array."""

    def _message(self, kind: int) -> Cursor | None:
        for own, flags, data in self.header:
            if own == kind:
                if flags & objects.SHARED:
                    raise FormatError(f"{self.path}: array {self.name!r} has a type of its own; that is not supported")
                return Cursor(self.file, data)
        return None

    def _needed(self, kind: int) -> Cursor:
        found = self._message(kind)
        if found is None:
            raise self.file.damaged(f"there is no array {self.name!r}")
        return found

    @cached_property
    def type(self) -> Type:
        return objects.type_of(self.file, self._needed(objects.DATATYPE))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        shape = objects.shape_of(self.file, self._needed(objects.DATASPACE))
        if shape is None:
            raise FormatError(f"{self.path}: array {self.name!r} is empty")
        return shape

    def read(self) -> Array:
        """The values."""
        bfloat16 = self.type.kind == "opaque" and self.type.size == 2 and self.text("dtype") == "bfloat16"
        if self.type.dtype is None and not bfloat16:
            raise FormatError(f"{self.path}: array {self.name!r} does not hold numbers")
        dtype = np.dtype("<u2") if bfloat16 else self.type.dtype
        assert dtype is not None
        self.file.charge(self.name, math.prod(self.shape) * dtype.itemsize)
        found = self._values(dtype)
        if bfloat16:
            return from_bfloat16(found)
        return found.astype(dtype.newbyteorder("="), copy=False)

    def _values(self, dtype: np.dtype[Any]) -> Array:
        if self._message(objects.EXTERNAL) is not None:
            raise FormatError(f"{self.path}: the data of array {self.name!r} are outside of the file; refused")
        layout = self._needed(objects.LAYOUT)
        version, kind = layout.number(1), layout.number(1)
        if version not in (3, 4) or kind > 2 or (version == 4 and kind == 2):
            what = "are outside of the file" if kind == 3 else f"are stored in a way that is not supported ({version})"
            raise FormatError(f"{self.path}: the data of array {self.name!r} {what}; refused")
        size = math.prod(self.shape) * dtype.itemsize
        if kind == 2:
            return self._chunks(layout, dtype)
        if kind == 0:
            data = layout.take(layout.number(2))
        else:
            address, length = layout.number(8), layout.number(8)
            if address == objects.UNDEFINED:
                self._check_absent(dtype)
                return np.zeros(self.shape, dtype)
            data = self.file.take(address, length)
        if len(data) < size:
            raise self.file.damaged(f"array {self.name!r} has {len(data)} bytes instead of {size}")
        return np.frombuffer(data[:size], dtype).reshape(self.shape)

    def _check_absent(self, dtype: np.dtype[Any]) -> None:
        """Refuse a large array whose numbers are not all in the file: zeros that cost nothing there."""
        size = math.prod(self.shape) * dtype.itemsize
        if size > MOST_ABSENT:
            raise self.file.damaged(f"array {self.name!r} would have {size:,} bytes, and not all of them are there")

    # ---- Arrays in pieces, perhaps compressed --------------------------------------------------------------------

    def _chunks(self, layout: Cursor, dtype: np.dtype[Any]) -> Array:
        axes, tree = layout.number(1) - 1, layout.number(8)
        chunk = tuple(layout.number(4) for _ in range(axes))
        if axes != len(self.shape) or not all(chunk):
            raise self.file.damaged(f"array {self.name!r} has pieces of another shape")
        self.file.charge(self.name, math.prod(chunk) * dtype.itemsize)
        filters, pieces = self._filters(), list(self._pieces(tree, axes))
        if len(pieces) < math.prod(-(-n // c) for n, c in zip(self.shape, chunk, strict=True)):
            self._check_absent(dtype)
        values = np.zeros(self.shape, dtype)
        filled: set[tuple[int, ...]] = set()
        for place, address, length, skipped in pieces:
            if place in filled:
                raise self.file.damaged(f"array {self.name!r} has two pieces at one place")
            filled.add(place)
            data = bytes(self.file.take(address, length))
            for number, kind in reversed(list(enumerate(filters))):
                if not skipped >> number & 1:
                    data = self._undone(kind, data, math.prod(chunk) * dtype.itemsize, dtype.itemsize)
            inside_it = all(p < n for p, n in zip(place, self.shape, strict=True))
            if len(data) != math.prod(chunk) * dtype.itemsize or not inside_it:
                raise self.file.damaged(f"a piece of array {self.name!r} has another size")
            ends = [min(n, p + c) for p, c, n in zip(place, chunk, self.shape, strict=True)]
            inside = tuple(slice(0, end - p) for p, end in zip(place, ends, strict=True))
            outside = tuple(slice(p, end) for p, end in zip(place, ends, strict=True))
            values[outside] = np.frombuffer(data, dtype).reshape(chunk)[inside]
        return values

    def _pieces(self, tree: int, axes: int) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
        """Place, address, length and left-out filters of all pieces."""
        waiting, seen = ([tree], {tree}) if tree != objects.UNDEFINED else ([], set())
        width = 8 + 8 * (axes + 1)
        while waiting:
            address = waiting.pop()
            if bytes(self.file.take(address, 4)) != b"TREE":
                raise self.file.damaged(f"array {self.name!r} without its tree")
            kind, level, count = self.file.numbers("BBH", address + 4)
            if kind != 1:
                raise self.file.damaged("a tree of another kind")
            for k in range(count):
                key = address + 24 + k * (width + 8)
                length, skipped = self.file.numbers("II", key)
                place = self.file.numbers(f"{axes}Q", key + 8)
                (child,) = self.file.numbers("Q", key + width)
                if child in seen:
                    raise self.file.damaged("a tree that leads back to itself")
                seen.add(child)
                if level:
                    waiting.append(child)
                else:
                    yield place, child, length, skipped

    def _filters(self) -> list[int]:
        part = self._message(objects.FILTERS)
        if part is None:
            return []
        version, count = part.number(1), part.number(1)
        part.skip(6 if version == 1 else 0)
        found = []
        for _ in range(count):
            kind = part.number(2)
            name = part.number(2) if version == 1 or kind >= 256 else 0
            part.skip(2)
            values = part.number(2)
            part.skip(name + (-name % 8 if version == 1 else 0) + 4 * values)
            part.skip(4 if version == 1 and values % 2 else 0)
            if kind not in (DEFLATE, SHUFFLE, CHECKSUM):
                raise FormatError(f"{self.path}: array {self.name!r} is compressed in a way that is not supported")
            found.append(kind)
        if len(found) > MOST_FILTERS:
            raise FormatError(f"{self.path}: array {self.name!r} has {len(found)} filters, the most is {MOST_FILTERS}")
        return found

    def _undone(self, kind: int, data: bytes, size: int, width: int) -> bytes:
        """The data before a filter."""
        if kind == CHECKSUM:
            return data[:-4]
        self.file.unfiltered -= size if kind == DEFLATE else len(data)
        if self.file.unfiltered < 0:
            raise FormatError(f"{self.path}: array {self.name!r}: its pieces unpack to more than such a file can hold")
        if kind == DEFLATE:
            return zlib.decompressobj().decompress(data, size + 4)
        if len(data) % width:
            raise self.file.damaged(f"a piece of array {self.name!r} has another size")
        return np.frombuffer(data, np.uint8).reshape(width, -1).T.tobytes()
