"""Folders of TensorFlow as one archive each, and changes of what is in their checkpoints."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rnnx.formats._crc32c import crc32c, masked
from rnnx.formats._limits import Budget
from rnnx.formats._wire import fields, varint
from rnnx.formats.keras._checkpoint import OBJECTS
from rnnx.formats.keras._table import FOOTER, MAGIC, table_of

from .json_trees import TIMES

SUFFIX = ".savedmodel"  # of an archive that stands for its folder
INDEX, ARRAYS = "variables/variables.index", "variables/variables.data-00000-of-00001"
METADATA = "keras_metadata.pb"
NUMBERS = (0, 1, 2, 3, 7, 14, 127, 128, 2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
Fields = list[tuple[int, int | bytes]]


def placed(path: Path, data: bytes) -> None:
    """The folder of an archive, or a file of the bytes if they are no archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in (METADATA, INDEX, ARRAYS) if name in archive.namelist()}
    except Exception:  # what a damaged archive leads to in the standard library
        members = {}
    if not members:
        path.write_bytes(data)
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def packed_folder(path: Path) -> bytes:
    """What `placed` laid out, as an archive again."""
    return packed({name: (path / name).read_bytes() for name in (METADATA, INDEX, ARRAYS) if (path / name).exists()})


# ---- Messages and tables ---------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """A number of any length, as protocol buffers have it."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def message(parts: Iterable[tuple[int, int | bytes]]) -> bytes:
    """A message of numbers and texts; field 6 is a checksum of four bytes."""
    made = []
    for field, value in parts:
        if isinstance(value, bytes):
            made.append(number(field << 3 | 2) + number(len(value)) + value)
        elif field == 6:
            made.append(number(field << 3 | 5) + struct.pack("<I", value & 0xFFFFFFFF))
        else:
            made.append(number(field << 3) + number(value))
    return b"".join(made)


def parsed(data: bytes) -> Fields:
    budget = Budget("message", 1_000_000, "fields")
    return [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields("message", memoryview(data), budget)]


def block(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A block whose names have nothing in common, with its checksum."""
    text = b"".join(number(0) + number(len(n)) + number(len(v)) + n + v for n, v in entries)
    text += struct.pack("<II", 0, 1)
    return text + b"\0" + struct.pack("<I", masked(crc32c(text + b"\0")))


def handle(start: int, length: int) -> bytes:
    return number(start) + number(length - 5)


def ended(blocks: bytes, index: bytes) -> bytes:
    """A table of blocks and the block that says where they are."""
    footer = handle(len(blocks), 5) + handle(len(blocks), len(index))
    return blocks + index + footer.ljust(FOOTER - 8, b"\0") + struct.pack("<Q", MAGIC)


def table(entries: dict[bytes, bytes]) -> bytes:
    """A table of one block."""
    made = block(sorted(entries.items()))
    return ended(made, block([(max(entries) + b"~", handle(0, len(made)))]))


def text_entry(text: bytes) -> tuple[bytes, int]:
    """The bytes of an array that is one text, and its checksum."""
    length = len(text).to_bytes(4, "little")
    checked = struct.pack("<I", masked(crc32c(length))) + text
    return number(len(text)) + checked, masked(crc32c(length + checked))


# ---- Changes ---------------------------------------------------------------------------------------------------------


def change_entry(entries: dict[bytes, bytes], rng: random.Random) -> None:
    """A number of an entry becomes another: type, file, offset, size or checksum."""
    name = rng.choice(sorted(entries))
    told = parsed(entries[name])
    if told:
        k = rng.randrange(len(told))
        told[k] = (told[k][0], rng.choice(NUMBERS))
        entries[name] = message(told)


def reshape(entries: dict[bytes, bytes], rng: random.Random) -> None:
    """Other axes."""
    name = rng.choice(sorted(entries))
    axes = [(2, message([(1, rng.choice(NUMBERS))])) for _ in range(rng.choice((0, 1, 2, 33, 1000)))]
    entries[name] = message([(n, message(axes) if n == 2 else v) for n, v in parsed(entries[name])])


def exchange(entries: dict[bytes, bytes], rng: random.Random) -> None:
    """An entry has the value or the name of another."""
    first, second = rng.choice(sorted(entries)), rng.choice(sorted(entries))
    if rng.random() < 0.5:
        entries[first] = entries[second]
    else:
        entries[second + b"\x1b[2J"] = entries.pop(first)


CHANGES: Sequence[Callable[[dict[bytes, bytes], random.Random], None]] = (change_entry, reshape, exchange)


def change_objects(text: bytes, rng: random.Random) -> bytes:
    """An object has other children, or another's, or there are many of it."""
    nodes = parsed(text)
    k = rng.randrange(len(nodes))
    node = parsed(bytes(nodes[k][1])) if isinstance(nodes[k][1], bytes) else []
    deed = rng.choice(("child", "child", "repeat", "exchange"))
    if deed == "child" and node:
        j = rng.randrange(len(node))
        child = parsed(node[j][1]) if isinstance(node[j][1], bytes) else []
        if child:
            i = rng.randrange(len(child))
            old = child[i][1]
            child[i] = (child[i][0], rng.choice((rng.choice(NUMBERS), old, b"kernel", b"cell", b"")))
        node[j] = (node[j][0], message(child))
    elif deed == "repeat":
        node = node * rng.choice(TIMES)
    elif isinstance(other := rng.choice(nodes)[1], bytes):
        node = parsed(other)
    nodes[k] = (nodes[k][0], message(node))
    return message(nodes)


def changed(data: bytes, rng: random.Random) -> bytes:
    """A folder with another table or other objects in its checkpoint; the checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    entries = {name: bytes(value) for name, value in table_of("index", members[INDEX]).items()}
    if rng.random() < 0.5:
        told = dict(parsed(entries[OBJECTS]))
        start, size = int(told.get(4, 0)), int(told.get(5, 0))
        old = members[ARRAYS][start : start + size]
        _, place = varint("text", memoryview(old), 0)
        made, checksum = text_entry(change_objects(old[place + 4 :], rng))
        told.update({4: len(members[ARRAYS]), 5: len(made), 6: checksum})
        members[ARRAYS] += made
        entries[OBJECTS] = message(sorted(told.items()))
    else:
        rng.choice(CHANGES)(entries, rng)
    return packed({**members, INDEX: table(entries)})


def change_description(data: bytes, rng: random.Random) -> bytes:
    """A folder in which the text that describes the model is another."""
    from .mutations import json_text

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (first, root), *rest = parsed(members[METADATA])
    told = dict(parsed(bytes(root)))
    told[5] = json_text(bytes(told[5]), rng)
    members[METADATA] = message([(first, message(sorted(told.items()))), *rest])
    return packed(members)
