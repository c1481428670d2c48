"""Random damage to files: bytes flipped, cut, spliced, and changes that leave containers and checksums right.

The first kind tries the outer readers. The second, one module for each format beside this one, knows what lies inside
and keeps it well formed, so that the change reaches what comes behind.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence

from . import checkpoints, hdf5_files, json_trees, onnx_graphs, pickles, safetensors_headers

Mutation = Callable[[bytes, random.Random], bytes]
EDGES = (0, 1, 2, 127, 128, 254, 255)
NUMBERS = (0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
PLACES = 4  # at most, of one mutation
WITHIN = 0.6  # the share of mutations that know what is in a file


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.randint(1, PLACES)):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.randint(1, PLACES)):
        made[rng.randrange(len(made))] = rng.choice(EDGES)
    return bytes(made)


def set_number(data: bytes, rng: random.Random) -> bytes:
    """A length or offset of 2, 4 or 8 bytes becomes another."""
    form = rng.choice("HIQ")
    content = struct.pack(f"<{form}", rng.choice(NUMBERS) % (1 << 8 * struct.calcsize(form)))
    place = rng.randrange(len(data))
    return data[:place] + content + data[place + len(content) :]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def drop(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 64) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start : start + rng.randint(1, 64)] * rng.randint(2, 4) + data[start:]


def change_digit(data: bytes, rng: random.Random) -> bytes:
    """A number in a text (JSON) gets other digits."""
    places = [k for k, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if not places:
        return flip_bits(data, rng)
    place = rng.choice(places)
    return data[:place] + str(rng.choice(NUMBERS)).encode() + data[place + 1 :]


PLAIN: Sequence[Mutation] = (
    flip_bits, set_bytes, set_number, cut, drop, repeat, change_digit,
)  # fmt: skip


def members(data: bytes, rng: random.Random) -> bytes:
    """An archive with one member damaged, renamed, repeated or left out; its checksums are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        names = source.namelist()
        victim, deed = rng.choice(names), rng.choice(("damage", "damage", "damage", "rename", "leave out", "swap"))
        other = rng.choice(names)
        with zipfile.ZipFile(out, "w") as target:
            for info in source.infolist():
                content, name = source.read(info), info.filename
                if name == victim:
                    if deed == "leave out":
                        continue
                    if deed == "damage" and content:
                        content = rng.choice(PLAIN)(content, rng)
                    elif deed == "rename":
                        name = rng.choice(("../" + name, name + "x", name.upper(), "/" + name))
                    elif deed == "swap":
                        content = source.read(other)
                target.writestr(zipfile.ZipInfo(name), content, info.compress_type)
    return out.getvalue()


def header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header is damaged and still has its right length."""
    (length,) = struct.unpack("<Q", data[:8])
    text = rng.choice(PLAIN)(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def tensor(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with one entry of its header set to something else."""
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    names = [name for name in table if name != "__metadata__"]
    entry = table[rng.choice(names)]
    key = rng.choice(list(entry))
    entry[key] = rng.choice((None, [], [1, 2], [rng.choice(NUMBERS)], rng.choice(NUMBERS), "F32", "BF16", {}, [[1]]))
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def description(data: bytes, rng: random.Random) -> bytes:
    """A file of rnnx itself with its description of the model damaged, and the checksum right."""
    from safetensors.numpy import load

    from rnnx.formats import safetensors

    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    made = rng.choice(PLAIN)(table["__metadata__"]["rnnx"].encode(), rng).decode("utf-8", "replace")
    table["__metadata__"] = {"rnnx": made, "checksum": safetensors._checksum(load(data), made)}
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def json_text(data: bytes, rng: random.Random) -> bytes:
    """A text of JSON after changes of its tree."""
    return json_trees.changed(data, rng).encode("utf-8", "replace")


def keras_archive(data: bytes, rng: random.Random) -> bytes:
    """A ``.keras`` file in which the configuration or the weights are changed."""
    victim = rng.choice(("config.json", "config.json", "config.json", "metadata.json", "model.weights.h5"))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == victim:
                content = (hdf5_files.changed if victim.endswith(".h5") else json_text)(content, rng)
            target.writestr(zipfile.ZipInfo(info.filename), content, info.compress_type)
    return out.getvalue()


def tar_member(data: bytes, rng: random.Random) -> bytes:
    """A changed pickle or archive of PyTorch in a tar archive, whose head says its new size."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for head in source.getmembers():
            file = source.extractfile(head)
            content = b"" if file is None else file.read()
            if head.name.endswith(".pt"):
                content = mutated("member.pt", content, [content], rng)
                head.size = len(content)
            target.addfile(head, io.BytesIO(content))
    return out.getvalue()


def packed_again(data: bytes, rng: random.Random) -> bytes:
    """What gzip packed, changed and packed again, so that its checksum is right."""
    return gzip.compress(mutated("inside.tar", gzip.decompress(data), [data], rng), mtime=0)


def within(name: str, data: bytes) -> list[Mutation]:
    """The mutations that know what is in a file; none if it is not what its name says.

    Parameters
    ----------
    name : str
        Its suffix says which format it has.
    data : bytes
    """
    suffix, archive = name[name.rfind(".") :], data[:4] == b"PK\x03\x04"
    if suffix in (".pt", ".pth"):
        return [pickles.change_pickle] if archive or data[:1] == b"\x80" else []
    return {
        ".safetensors": [safetensors_headers.change_header, safetensors_headers.change_description],
        ".onnx": [onnx_graphs.changed],
        ".keras": [keras_archive] if archive else [],
        ".h5": [hdf5_files.changed, hdf5_files.changed_model],
        ".json": [json_text],
        ".tar": [tar_member],
        ".gz": [packed_again],
        checkpoints.SUFFIX: [checkpoints.changed, checkpoints.changed, checkpoints.change_description],
    }.get(suffix, [])


def mutated(name: str, data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One damaged version of a file.

    Parameters
    ----------
    name : str
        Its suffix says which mutations fit.
    data : bytes
    others : sequence of bytes
        Files to splice it with.
    rng : random.Random
    """
    if rng.random() < 0.1:
        other = rng.choice(others)
        place = rng.randrange(len(data))
        return data[:place] + other[min(place, rng.randrange(len(other))) :]
    if (inner := within(name, data)) and rng.random() < WITHIN:
        return rng.choice(inner)(data, rng)
    ways: list[Mutation] = list(PLAIN)
    if data[:4] == b"PK\x03\x04":
        ways += [members] * len(PLAIN)
    if name.endswith(".safetensors"):
        ways += [header, tensor] * 3
        ways += [description] * len(PLAIN) * (b'"rnnx"' in data)
    return rng.choice(ways)(data, rng)
