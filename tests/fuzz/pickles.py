"""Changes of pickles, opcode by opcode, inside the files of ``torch.save``, zip archives and legacy ones."""

from __future__ import annotations

import functools
import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from .json_trees import TIMES

LARGEST = 1 << 19  # bytes of what was repeated
INTEGERS = (
    0,
    1,
    2,
    3,
    7,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**47,
    2**62,
    2**63 - 1,
    2**63,
    2**80,
    -1,
    -2,
    -(2**31),
)
NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"}
TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE"}
GETS = {"BINGET", "LONG_BINGET", "GET"}
FUNCTIONS = (
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size",
    "torch._utils _rebuild_tensor_v3", "torch._tensor _rebuild_from_type_v2", "torch FloatStorage", "torch LongStorage",
    "torch.storage UntypedStorage", "torch BFloat16Storage", "builtins list", "builtins set", "builtins dict",
    "torch.nn.modules.rnn GRU", "torch.jit._pickle build_intlist", "posix system", "numpy dtype",
)  # fmt: skip


class Op:
    """An opcode with its argument."""

    def __init__(self, name: str, argument: Any, code: bytes):
        self.name, self.argument, self.code = name, argument, code


@functools.lru_cache(maxsize=64)
def parsed(data: bytes) -> tuple[Op, ...]:
    """The opcodes of a pickle."""
    found = [(op.name, argument, place) for op, argument, place in pickletools.genops(data)]
    ends = [place for _, _, place in found[1:]] + [len(data)]
    return tuple(Op(name, argument, data[place:end]) for (name, argument, place), end in zip(found, ends, strict=True))


def integer(number: int) -> Op:
    """An integer of any size."""
    if 0 <= number < 256:
        return Op("BININT1", number, b"K" + bytes([number]))
    if -(2**31) <= number < 2**31:
        return Op("BININT", number, b"J" + struct.pack("<i", number))
    content = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return Op("LONG1", number, b"\x8a" + bytes([len(content)]) + content)


def text(content: str) -> Op:
    """A text of any length."""
    raw = content.encode("utf-8", "surrogatepass")
    return Op("BINUNICODE", content, b"X" + struct.pack("<I", len(raw)) + raw)


def _places(ops: Sequence[Op], names: set[str]) -> list[int]:
    return [k for k, op in enumerate(ops) if op.name in names]


def _run(ops: Sequence[Op], rng: random.Random) -> tuple[int, int]:
    """Some opcodes behind each other, never the first and the last of a pickle."""
    begin = rng.randrange(1, max(2, len(ops) - 1))
    return begin, min(len(ops) - 1, begin + rng.choice((1, 1, 2, 5, 20)))


def repeat_run(ops: list[Op], rng: random.Random) -> None:
    """Some opcodes many times."""
    begin, end = _run(ops, rng)
    length = sum(len(op.code) for op in ops[begin:end])
    ops[end:end] = ops[begin:end] * min(rng.choice(TIMES), LARGEST // max(1, length))


def move_run(ops: list[Op], rng: random.Random) -> None:
    """Some opcodes once more, elsewhere."""
    begin, end = _run(ops, rng)
    place = rng.randrange(1, len(ops))
    ops[place:place] = ops[begin:end]


def remove_run(ops: list[Op], rng: random.Random) -> None:
    """Some opcodes less."""
    begin, end = _run(ops, rng)
    del ops[begin:end]


def swap(ops: list[Op], rng: random.Random) -> None:
    """Two arguments of a kind change places."""
    kind = rng.choice((NUMBERS, TEXTS, GETS, {"GLOBAL"}, {"BINPERSID"}))
    found = _places(ops, kind)
    if found:
        a, b = rng.choice(found), rng.choice(found)
        ops[a], ops[b] = ops[b], ops[a]


def change_number(ops: list[Op], rng: random.Random) -> None:
    """An integer becomes another, huge or negative."""
    if found := _places(ops, NUMBERS):
        ops[rng.choice(found)] = integer(rng.choice(INTEGERS))


def change_tensor(ops: list[Op], rng: random.Random) -> None:
    """Offset, size or stride of a tensor, or the length of its storage: one or all become others."""
    if storages := _places(ops, {"BINPERSID"}):
        place = rng.choice(storages)
        near = [k for k in _places(ops, NUMBERS) if place - 8 <= k <= place + 16]
        number = rng.choice(INTEGERS)
        for k in near if rng.random() < 0.2 else [rng.choice(near)] if near else []:
            ops[k] = integer(number)


def add_axes(ops: list[Op], rng: random.Random) -> None:
    """A tensor of many axes: the numbers of its tuples repeated."""
    if storages := _places(ops, {"BINPERSID"}):
        place = rng.choice(storages)
        for k in reversed([k for k in _places(ops, NUMBERS) if place < k <= place + 12]):
            ops[k:k] = [ops[k]] * rng.choice((1, 7, 40))


def recall(ops: list[Op], rng: random.Random) -> None:
    """What was remembered is fetched often, or something else is."""
    found = _places(ops, GETS)
    if not found:
        return repeat_run(ops, rng)
    place = rng.choice(found)
    if rng.random() < 0.5:
        ops[place] = ops[rng.choice(found)]
    else:
        ops[place:place] = [ops[place]] * rng.choice(TIMES)
    return None


def nest(ops: list[Op], rng: random.Random) -> None:
    """A value inside many tuples or lists, or twice in each of them: a tree of 2**n values in n steps."""
    place = rng.randrange(1, len(ops))
    twice, once = [Op("DUP", None, b"2"), Op("TUPLE2", None, b"\x86")], [Op("TUPLE1", None, b"\x85")]
    listed = [Op("MARK", None, b"("), Op("DUP", None, b"2"), Op("LIST", None, b"l")]
    ops[place:place] = rng.choice((twice, once, listed)) * rng.choice((1, 3, 30, 300, 30_000))


def own_member(ops: list[Op], rng: random.Random) -> None:
    """A table or list that holds itself."""
    place = rng.randrange(1, len(ops))
    item = [Op("DUP", None, b"2"), text("self"), Op("DUP", None, b"2")]
    append = [Op("DUP", None, b"2"), Op("APPEND", None, b"a")]
    ops[place:place] = rng.choice(([item[1], item[0], Op("SETITEM", None, b"s")], append, [item[0], *append]))


def repeat_entry(ops: list[Op], rng: random.Random) -> None:
    """An entry of a state dict many times, with new names."""
    keys = [
        k for k in _places(ops, TEXTS) if "." in ops[k].argument or ops[k].argument.rstrip("0123456789")[-2:] == "_l"
    ]
    if len(keys) < 2:
        return repeat_run(ops, rng)
    first = rng.randrange(len(keys) - 1)
    begin, end = keys[first], keys[first + 1]
    length = sum(len(op.code) for op in ops[begin:end])
    made: list[Op] = []
    for k in range(min(rng.choice(TIMES), LARGEST // length)):
        name = ops[begin].argument
        name = rng.choice((f"{name}.{k}", f"{k}.{name}", f"{name}{k}")) if rng.random() < 0.9 else name * 100
        made += [text(name), *ops[begin + 1 : end]]
    ops[end:end] = made
    return None


def rename(ops: list[Op], rng: random.Random) -> None:
    """A text becomes another of the file, a long one, or one that is none on a terminal."""
    if found := _places(ops, TEXTS):
        own, other = ops[rng.choice(found)].argument, ops[rng.choice(found)].argument
        ops[rng.choice(found)] = text(
            rng.choice((other, f"{own}.{other}", own + "\x1b[2J\n", own * 5000, "." * 9999, "", "\udcff"))
        )


def change_function(ops: list[Op], rng: random.Random) -> None:
    """A function or class becomes another."""
    if found := _places(ops, {"GLOBAL"}):
        name = rng.choice((ops[rng.choice(found)].argument, rng.choice(FUNCTIONS)))
        module, _, function = name.partition(" ")
        ops[rng.choice(found)] = Op("GLOBAL", name, f"c{module}\n{function}\n".encode())


CHANGES: Sequence[Callable[[list[Op], random.Random], None]] = (
    repeat_run, move_run, remove_run, swap, change_number, change_tensor, change_tensor, add_axes, recall, nest,
    own_member, repeat_entry, rename, change_function,
)  # fmt: skip


def changed(data: bytes, rng: random.Random, change: Callable[[list[Op], random.Random], None] | None = None) -> bytes:
    """A pickle after one to three of the changes, or after the one given."""
    ops = list(parsed(data))
    for act in [change] if change else rng.choices(CHANGES, k=rng.choice((1, 1, 1, 2, 3))):
        act(ops, rng)
    return b"".join(op.code for op in ops)


def change_pickle(data: bytes, rng: random.Random, change: Any = None) -> bytes:
    """A file of ``torch.save`` whose pickle is changed; the checksums of the archive are right."""
    if data[:4] != b"PK\x03\x04":
        return _changed_legacy(data, rng, change)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith("/data.pkl"):
                content = changed(content, rng, change)
            target.writestr(zipfile.ZipInfo(member.filename), content)
    return out.getvalue()


def _changed_legacy(data: bytes, rng: random.Random, change: Any) -> bytes:
    """Five pickles behind each other and the bytes of the storages; mostly the fourth is changed, the state dict."""
    parts, source = [], io.BytesIO(data)
    for _ in range(5):
        begin = source.tell()
        list(pickletools.genops(source))
        parts.append(data[begin : source.tell()])
    victim = 3 if change is not None or rng.random() < 0.8 else rng.randrange(5)
    parts[victim] = changed(parts[victim], rng, change)
    return b"".join(parts) + data[source.tell() :]
