"""Changes of safetensors files: the table of tensors, and in rnnx's own files the description with its checksum."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from . import json_trees
from .json_trees import TIMES

AXES = (2, 8, 32, 33, 64, 1000)
SIZES = (0, 1, 2, 3, -1, 2**15, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64)
TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "U16", "BOOL", "F8_E4M3", "C64", "f32", "")
ITEMSIZES = {"F32": 4, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "I8": 1, "I16": 2, "U16": 2}
NUMPY = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1", "I8": "|i1", "I16": "<i2",
         "U16": "<u2"}  # fmt: skip
Table = dict[str, Any]


def _names(table: Table) -> list[str]:
    return [name for name in table if name != "__metadata__"]


def repeat_tensor(table: Table, rng: random.Random) -> None:
    """Many tensors over the same bytes."""
    name = rng.choice(_names(table))
    head, slash, number = name.rpartition("/")
    first = int(number) if number.isdigit() else 0
    for k in range(rng.choice(TIMES)):
        table[f"{head}{slash}{first + k}" if number.isdigit() else f"{name}.{k}"] = copy.deepcopy(table[name])


def reshape(table: Table, rng: random.Random) -> None:
    """Other axes of the same number of elements, or none at all."""
    entry = table[rng.choice(_names(table))]
    count = math.prod(entry["shape"])
    entry["shape"] = rng.choice((
        [count], [count, 1], [1] * rng.choice(AXES) + [count], entry["shape"][::-1], [0], [0, rng.choice(SIZES)], [],
    ))  # fmt: skip
    if 0 in entry["shape"]:
        entry["data_offsets"] = [entry["data_offsets"][0]] * 2


def enlarge(table: Table, rng: random.Random) -> None:
    """A size or an offset becomes another, perhaps with the others to fit."""
    entry = table[rng.choice(_names(table))]
    key = rng.choice(("shape", "data_offsets"))
    if entry[key]:
        entry[key][rng.randrange(len(entry[key]))] = rng.choice(SIZES)
    if rng.random() < 0.3:
        entry["data_offsets"][1] = entry["data_offsets"][0] + 4 * math.prod(entry["shape"])


def shift(table: Table, rng: random.Random) -> None:
    """The bytes of a tensor begin some bytes off, over those of others, or where another's do."""
    entry = table[rng.choice(_names(table))]
    length = entry["data_offsets"][1] - entry["data_offsets"][0]
    other = table[rng.choice(_names(table))]["data_offsets"][0]
    begin = max(0, rng.choice((other, 0, entry["data_offsets"][0] + rng.randint(-9, 9))))
    entry["data_offsets"] = [begin, begin + length]


def retype(table: Table, rng: random.Random) -> None:
    """Elements of another type."""
    table[rng.choice(_names(table))]["dtype"] = rng.choice(TYPES)


def rename(table: Table, rng: random.Random) -> None:
    """A tensor is called like another, or by what is no name."""
    names = _names(table)
    name = rng.choice(names)
    entry = table.pop(name)
    other = rng.choice(names)
    table[rng.choice((other, f"{name}.{other}", f"{name}\x1b[2J\n", name * 3000, "." * 500, "", f"module.{name}"))] = (
        entry
    )


def change_tree(table: Table, rng: random.Random) -> None:
    """Any change of the table as a tree of JSON."""
    made = json.loads(json_trees.changed(json.dumps(table), rng, rng.choice(SHALLOW)))
    table.clear()
    table.update(made)


SHALLOW = [change for change in json_trees.CHANGES if change is not json_trees.nest]
CHANGES: Sequence[Callable[[Table, random.Random], None]] = (
    repeat_tensor, reshape, enlarge, shift, retype, rename, change_tree,
)  # fmt: skip


def split(data: bytes) -> tuple[Table, bytes]:
    """The table and the bytes of the tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(table: Table, content: bytes) -> bytes:
    """A file, with the checksum of rnnx if it is one of its own."""
    metadata = table.get("__metadata__")
    if isinstance(metadata, dict) and isinstance(metadata.get("rnnx"), str):
        metadata["checksum"] = checksum(table, content)
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + content


def checksum(table: Table, content: bytes) -> str:
    """That of `rnnx.formats.safetensors`, whatever the entries of a table are."""
    digest = hashlib.blake2b(table["__metadata__"]["rnnx"].encode("utf-8", "replace"), digest_size=16)
    for name in sorted(_names(table)):
        try:
            entry = table[name]
            begin, end = entry["data_offsets"]
            shape = tuple(int(n) for n in entry["shape"])
            digest.update(f"{name} {NUMPY[entry['dtype']]} {shape}\n".encode("utf-8", "replace"))
            digest.update(content[begin:end])
        except (KeyError, TypeError, ValueError, OverflowError):  # the reader refuses it before
            continue
    return digest.hexdigest()


def change_header(data: bytes, rng: random.Random) -> bytes:
    """One or two changes of the table."""
    table, content = split(data)
    for _ in range(rng.choice((1, 1, 2))):
        if all(_whole(table[name]) for name in _names(table)) and _names(table):
            rng.choice(CHANGES)(table, rng)
    return joined(table, content)


def _whole(entry: Any) -> bool:
    """Whether a changed entry is still one that can be changed."""
    if not isinstance(entry, dict) or any(key not in entry for key in ("shape", "data_offsets", "dtype")):
        return False
    numbers = entry["shape"], entry["data_offsets"]
    lists = all(isinstance(found, list) and all(type(n) is int for n in found) for found in numbers)
    return lists and len(entry["data_offsets"]) == 2


def change_description(data: bytes, rng: random.Random) -> bytes:
    """A file of rnnx itself with changes of the tree that describes the model."""
    table, content = split(data)
    if "rnnx" in table.get("__metadata__", {}):
        table["__metadata__"]["rnnx"] = json_trees.changed(table["__metadata__"]["rnnx"], rng)
        return joined(table, content)
    return change_header(data, rng)
