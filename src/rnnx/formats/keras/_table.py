"""Sorted tables of names and values, as LevelDB lays them out: the index of a checkpoint of TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rnnx.formats._crc32c import crc32c, masked
from rnnx.formats._limits import Budget, printable
from rnnx.formats._wire import varint
from rnnx.saving import FormatError

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes: two places of blocks, padded, and the magic number
TRAILER = 5  # bytes behind a block: how it is compressed, and a checksum
MOST_ENTRIES = 300_000
MOST_NAMED = 64 << 20  # bytes of all names, of which each may repeat the one before


def table_of(path: object, data: bytes) -> dict[bytes, memoryview]:
    """The values of a table by their names.

    Raises
    ------
    FormatError
        If it is damaged, or not written as TensorFlow does: compressed, or blocks over each other.
    """
    who = f"{path}: the index"
    view = memoryview(data)
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise FormatError(f"{path}: not the index of a checkpoint of TensorFlow, or cut off: it has {len(data)} bytes")
    footer = view[-FOOTER:-8]
    place = _handle(who, footer, 0)[1]  # of what filters there are: none
    (start, size), _ = _handle(who, footer, place)
    entries = Budget(path, MOST_ENTRIES, "entries of its index")
    named = Budget(path, MOST_NAMED, "bytes of names in its index")
    found: dict[bytes, memoryview] = {}
    reached, last = 0, b""
    for _, handle in _entries(who, _block(who, view, start, size), entries, named):
        (start, size), _ = _handle(who, handle, 0)
        if start < reached:
            raise FormatError(f"{who} is damaged: its blocks overlap")
        reached = start + size
        for name, value in _entries(who, _block(who, view, start, size), entries, named):
            if found and name <= last:
                raise FormatError(f"{who} is damaged: {printable(name.decode('utf-8', 'replace'))!r} is out of order")
            found[name], last = value, name
    return found


def _handle(who: str, data: memoryview, place: int) -> tuple[tuple[int, int], int]:
    """Where a block is, and the place behind that."""
    start, place = varint(who, data, place)
    size, place = varint(who, data, place)
    return (start, size), place


def _block(who: str, view: memoryview, start: int, size: int) -> memoryview:
    """The bytes of a block, its checksum compared."""
    if start + size + TRAILER > len(view) - FOOTER:
        raise FormatError(f"{who} is damaged or cut off: a block ends at {start + size:,} of {len(view):,} bytes")
    end = start + size
    if view[end]:
        raise FormatError(f"{who} is compressed ({view[end]}), which TensorFlow does not do")
    if masked(crc32c(view[start : end + 1])) != struct.unpack_from("<I", view, end + 1)[0]:
        raise FormatError(f"{who} is damaged: the checksum of a block differs")
    return view[start:end]


def _entries(who: str, block: memoryview, entries: Budget, named: Budget) -> Iterator[tuple[bytes, memoryview]]:
    """Names and values of a block; a name says how much it has in common with the one before."""
    restarts = struct.unpack_from("<I", block, len(block) - 4)[0] if len(block) >= 4 else 0
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise FormatError(f"{who} is damaged: a block has {len(block)} bytes and {restarts} restarts")
    block = block[:end]
    place, name = 0, b""
    while place < end:
        entries.spend()
        common, place = varint(who, block, place)
        own, place = varint(who, block, place)
        size, place = varint(who, block, place)
        if common > len(name) or own + size > end - place:
            raise FormatError(f"{who} is damaged: an entry does not end in its block")
        named.spend(common + own)
        name = name[:common] + bytes(block[place : place + own])
        place += own
        yield name, block[place : place + size]
        place += size
