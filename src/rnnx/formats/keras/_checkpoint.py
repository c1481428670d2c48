"""Checkpoints of TensorFlow 2: arrays, and the graph of objects that says whose they are.

A checkpoint is an index (a table of names) and files with the bytes of the arrays. One entry holds the objects: layers,
lists and variables, whose children have the names of attributes in Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats._crc32c import crc32c, masked
from rnnx.formats._limits import Budget, check_regular, printable, read_file
from rnnx.formats._wire import fields, message_of, number_of, text_of, varint
from rnnx.formats.keras._table import table_of
from rnnx.quantization.rounding import from_bfloat16
from rnnx.saving import INDEX, FormatError

EMPTY = memoryview(b"")
LONGEST_INDEX = 64 << 20  # bytes
MOST_FIELDS = 700_000  # of all messages that are looked at: a layer has some fifty
MOST_AXES = 32
MOST_SHARDS = 10_000
OBJECTS = b"_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "VARIABLE_VALUE"
STRING, BFLOAT16 = 7, 14  # of TensorFlow's types
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 5: "<i2", 6: "|i1", 9: "<i8", 10: "|b1", BFLOAT16: "<u2", 17: "<u2",
         19: "<f2", 22: "<u4", 23: "<u8"}  # fmt: skip


class Checkpoint:
    """A checkpoint whose index has been read.

    Parameters
    ----------
    prefix : path
        What its files begin with: ``variables/variables``, ``cp.ckpt``.
    who : path, optional
        For messages, if it is not the prefix.

    Attributes
    ----------
    size : int
        Bytes of the files with arrays.
    root : Object
        Where the objects begin.

    Raises
    ------
    FormatError
        If it is damaged, or of TensorFlow 1, which kept no objects.
    OSError
        If a file cannot be read.
    """

    def __init__(self, prefix: Any, who: Any = None):
        self.prefix, self.path = str(prefix), prefix if who is None else who
        self.budget = Budget(self.path, MOST_FIELDS, "fields in its messages")
        self.index = table_of(self.path, read_file(self.prefix + INDEX, LONGEST_INDEX, "the index"))
        self.shards = self._shards()
        self.size = sum(size for _, size in self.shards)
        self._readable = Budget(self.path, 2 * self.size, "bytes of arrays")
        if OBJECTS not in self.index:
            raise FormatError(
                f"{self.path}: a checkpoint without objects, of TensorFlow 1; load it there into the model and run "
                "model.save_weights('model.weights.h5')"
            )
        text = self._text(OBJECTS)
        who = f"{self.path}: the list of objects"
        self.nodes = [message_of(who, value) for number, value in fields(who, text, self.budget) if number == 1]
        self._objects: dict[int, Object] = {}
        self.root = self.object(0)

    def object(self, number: int) -> Object:
        """An object by its number."""
        if number not in self._objects:
            if not 0 <= number < len(self.nodes):
                raise FormatError(f"{self.path}: there is no object {number}, only {len(self.nodes)}")
            self._objects[number] = Object(self, self.nodes[number])
        return self._objects[number]

    def _shards(self) -> list[tuple[Path, int]]:
        """The files with arrays, and their sizes."""
        who = f"{self.path}: the header of the checkpoint"
        told = {number: number_of(who, value) for number, value in self._fields(who, b"", (1, 2))}
        count = told.get(1, 0)
        if not 1 <= count <= MOST_SHARDS:
            raise FormatError(f"{who} says {count} files with arrays")
        if told.get(2):
            raise FormatError(f"{who} says big-endian arrays; those are not supported")
        found = []
        for k in range(count):
            path = Path(f"{self.prefix}.data-{k:05d}-of-{count:05d}")
            check_regular(path)
            found.append((path, path.stat().st_size))
        return found

    def _fields(self, who: str, name: bytes, wanted: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
        if name not in self.index:
            raise FormatError(f"{who} is not there")
        return (field for field in fields(who, self.index[name], self.budget) if field[0] in wanted)

    def entry(self, name: bytes) -> tuple[int, list[int], int, int, int, int]:
        """What the index says of an array: type, shape, file, first byte, number of bytes, checksum."""
        who = f"{self.path}: the array {printable(name.decode('utf-8', 'replace'))!r}"
        told = dict.fromkeys(range(1, 8), 0)
        shape: list[int] = []
        for number, value in self._fields(who, name, tuple(told)):
            if number == 2:
                for inner, axis in fields(who, message_of(who, value), self.budget):
                    if inner == 2:
                        sizes = dict(fields(who, message_of(who, axis), self.budget))
                        shape.append(number_of(who, sizes.get(1, 0)))
            elif number == 7:
                raise FormatError(f"{who} is stored in slices; that is not supported")
            else:
                told[number] = number_of(who, value)
        if len(shape) > MOST_AXES or any(size < 0 for size in shape):
            raise FormatError(f"{who} has an impossible shape: {shape[:MOST_AXES]}")
        if not 0 <= told[3] < len(self.shards) or not 0 <= told[4] <= told[4] + told[5] <= self.shards[told[3]][1]:
            raise FormatError(f"{who} lies outside of the files of the checkpoint, or they are cut off")
        return told[1], shape, told[3], told[4], told[5], told[6]

    def array(self, name: bytes) -> Array:
        """An array by its name in the index, its checksum compared."""
        who = f"{self.path}: the array {printable(name.decode('utf-8', 'replace'))!r}"
        kind, shape, shard, start, size, checksum = self.entry(name)
        if kind not in TYPES:
            raise FormatError(f"{who} has no numbers (type {kind} of TensorFlow)")
        dtype = np.dtype(TYPES[kind])
        if math.prod(shape) * dtype.itemsize != size:
            raise FormatError(f"{who} of shape {tuple(shape)} has {size:,} bytes")
        data = self._read(shard, start, size)
        if masked(crc32c(data)) != checksum:
            raise FormatError(f"{who} is damaged: its checksum differs")
        array: Array = np.frombuffer(data, dtype).reshape(shape)
        return from_bfloat16(array) if kind == BFLOAT16 else array

    def _text(self, name: bytes) -> memoryview:
        """The one text of an entry: its length, a checksum of that, its bytes."""
        who = f"{self.path}: the list of objects"
        kind, shape, shard, start, size, checksum = self.entry(name)
        if kind != STRING or shape or size > LONGEST_INDEX:
            raise FormatError(f"{who} must be one text of at most {LONGEST_INDEX:,} bytes, got {size:,} bytes")
        data = memoryview(self._read(shard, start, size))
        length, place = varint(who, data, 0)
        if length != size - place - 4:
            raise FormatError(f"{who} is damaged or cut off: {length:,} bytes of {size:,}")
        if masked(crc32c(length.to_bytes(4, "little") + data[place:])) != checksum:
            raise FormatError(f"{who} is damaged: its checksum differs")
        return data[place + 4 :]

    def _read(self, shard: int, start: int, size: int) -> bytes:
        self._readable.spend(size)
        with self.shards[shard][0].open("rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise FormatError(f"{self.path}: {self.shards[shard][0].name} is cut off")
        return data

    def listed(self) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
        """Name, type and shape of every array of numbers."""
        for name in self.index:
            if name and name != OBJECTS:
                kind, shape, *_ = self.entry(name)
                if kind in TYPES:
                    words = name.decode("utf-8", "replace").replace("/.ATTRIBUTES/" + VALUE, "")
                    yield words, ("bfloat16" if kind == BFLOAT16 else np.dtype(TYPES[kind]).name, tuple(shape))


class Object:
    """One object of a checkpoint.

    Attributes
    ----------
    children : dict of str to int
        Numbers of the objects that its attributes are.
    key : bytes or None
        The name of its array in the index, if it is a variable.
    """

    def __init__(self, checkpoint: Checkpoint, message: memoryview):
        self._checkpoint = checkpoint
        self.children: dict[str, int] = {}
        self.key: bytes | None = None
        who, budget = f"{checkpoint.path}: an object", checkpoint.budget
        for number, value in fields(who, message, budget):
            if number == 1:
                told = dict(fields(who, message_of(who, value), budget))
                self.children.setdefault(text_of(who, told.get(2, EMPTY)), number_of(who, told.get(1, 0)))
            elif number == 2:
                told = dict(fields(who, message_of(who, value), budget))
                if text_of(who, told.get(1, EMPTY)) == VALUE:
                    self.key = bytes(message_of(who, told.get(3, EMPTY)))

    def child(self, path: str) -> Object | None:
        """The object that attributes lead to, such as ``forward_layer/cell``; None if there is none."""
        found: Object = self
        for name in path.split("/"):
            if name not in found.children:
                return None
            found = self._checkpoint.object(found.children[name])
        return found

    def array(self) -> Array:
        """The array of a variable."""
        if self.key is None:
            raise FormatError(f"{self._checkpoint.path}: an object is no variable")
        return self._checkpoint.array(self.key)

    def variables(self) -> list[str]:
        """Names of the children that are variables."""
        return [name for name in self.children if (found := self.child(name)) is not None and found.key is not None]
