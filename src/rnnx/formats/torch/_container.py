"""Files of ``torch.save``: zip archives and the legacy form before PyTorch 1.6, mapped and never unpacked."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnx.formats.torch._pickle import Machine, Storage
from rnnx.formats.torch._tensors import TYPES, Tensors
from rnnx.saving import FormatError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MOST_MEMBERS = 200_000
ZIP_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, struct.error, ValueError, OverflowError,
    EOFError, IndexError, KeyError, RuntimeError, zlib.error,
)  # fmt: skip


@dataclass
class Contents:
    """What a file holds.

    Attributes
    ----------
    value : object
        Result of the pickle: tables, lists, `Tensor`, `Instance`.
    tensors : Tensors
        Makes arrays of the tensors in it.
    kind : str
        ``"zip"``, ``"legacy"`` or ``"TorchScript"``.
    notes : dict
        What the file says about itself: versions, byte order.
    """

    value: Any
    tensors: Tensors
    kind: str
    notes: dict[str, Any] = field(default_factory=dict)


def read(path: Any) -> Contents:
    """Read the structure of a file; weights are mapped and not yet touched.

    Raises
    ------
    FormatError
        If the file is damaged, not of PyTorch, or asks for code to be run.
    OSError
        If it cannot be read.
    """
    with Path(path).open("rb") as file:
        if not file.seek(0, 2):
            raise FormatError(f"{path}: the file is empty")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if bytes(data[:4]) == b"PK\x03\x04":
            return _read_zip(path, file, data)
    if bytes(data[257:262]) == b"ustar":
        raise FormatError(f"{path}: a tar file of PyTorch before 0.1.10; save it again with a newer PyTorch")
    if bytes(data[:1]) != b"\x80":
        raise FormatError(f"{path}: not a file of torch.save (neither a zip archive nor a pickle)")
    return _read_legacy(path, data)


# ---- Zip archives ---------------------------------------------------------------------------------------------------


def _members(path: Any, file: Any) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name; strange names, repeated names and compression are refused."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except ZIP_ERRORS as error:
        raise FormatError(f"{path}: the zip archive is damaged or cut off: {error}") from error
    if len(found) > MOST_MEMBERS:
        raise FormatError(f"{path}: an archive of {len(found)} members")
    members: dict[str, zipfile.ZipInfo] = {}
    for member in found:
        name = member.filename
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise FormatError(f"{path}: member {name[:200]!r} of the archive has a path that leads outside")
        if name in members:
            raise FormatError(f"{path}: member {name[:200]!r} is in the archive twice")
        members[name] = member
    return members


class _Archive:
    """Members of an archive as views of the mapped file."""

    def __init__(self, path: Any, data: memoryview, members: dict[str, zipfile.ZipInfo]):
        self.path, self.data, self.members = path, data, members
        self.checked: dict[str, memoryview] = {}

    def view(self, name: str) -> memoryview:
        """The bytes of a member, its checksum compared once."""
        if name in self.checked:
            return self.checked[name]
        member = self.members.get(name)
        if member is None:
            raise FormatError(f"{self.path}: the archive has no member {name[:200]!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise FormatError(
                f"{self.path}: member {name[:200]!r} is compressed or encrypted; PyTorch stores its members as they are"
            )
        head = self.data[member.header_offset : member.header_offset + 30]
        if member.header_offset < 0 or len(head) < 30 or bytes(head[:4]) != b"PK\x03\x04":
            raise FormatError(f"{self.path}: member {name[:200]!r} is not where the archive says")
        begin = member.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        found = self.data[begin : begin + member.file_size]
        if member.compress_size != member.file_size or len(found) != member.file_size:
            raise FormatError(f"{self.path}: member {name[:200]!r} is cut off")
        if zlib.crc32(found) != member.CRC:
            raise FormatError(f"{self.path}: member {name[:200]!r} was altered or damaged (its checksum differs)")
        self.checked[name] = found
        return found

    def text(self, name: str) -> str:
        """A short text, empty if there is none."""
        return bytes(self.view(name)[:64]).decode("ascii", "replace").strip() if name in self.members else ""


def _read_zip(path: Any, file: Any, data: memoryview) -> Contents:
    members = _members(path, file)
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise FormatError(f"{path}: a zip archive, but not of torch.save (it has {len(roots)} members */data.pkl)")
    root, archive = roots[0], _Archive(path, data, members)
    order = archive.text(f"{root}byteorder") or "little"
    if order not in ("little", "big"):
        raise FormatError(f"{path}: unknown byte order {order!r}")
    sign = "<" if order == "little" else ">"

    def record(storage: Storage) -> tuple[memoryview, str]:
        return archive.view(f"{root}data/{storage.key}"), sign

    value = Machine(archive.view(f"{root}data.pkl"), str(path)).load()
    script = f"{root}constants.pkl" in members
    notes = {"byte order": order, "archive version": archive.text(f"{root}version")}
    return Contents(value, Tensors(str(path), record, len(data)), "TorchScript" if script else "zip", notes)


# ---- The legacy form ------------------------------------------------------------------------------------------------


def _read_legacy(path: Any, data: memoryview) -> Contents:
    """Four pickles (magic number, protocol, machine, the value), one of the storages' keys, and their bytes."""
    machine = Machine(data, str(path))
    if machine.load() != LEGACY_MAGIC:
        raise FormatError(f"{path}: a pickle, but not of torch.save")
    if machine.load() != LEGACY_PROTOCOL:
        raise FormatError(f"{path}: an unknown protocol of torch.save")
    system = machine.load()
    little = not isinstance(system, dict) or system.get("little_endian", True) is not False
    value, keys = machine.load(), machine.load()
    if not isinstance(keys, list) or any(not isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
        raise FormatError(f"{path}: the list of its storages is damaged")
    widths = {storage.key: _width(path, storage) for storage in machine.storages}
    position, found = machine.position, {}
    for key in keys:
        head = data[position : position + 8]
        if len(head) < 8 or key not in widths:
            raise FormatError(f"{path}: storage {key[:200]!r} is not there; is the file cut off?")
        (numel,) = struct.unpack("<q", head)
        end = position + 8 + numel * widths[key]
        if numel < 0 or end > len(data):
            raise FormatError(f"{path}: storage {key[:200]!r} of {numel} numbers is cut off")
        found[key], position = data[position + 8 : end], end

    def record(storage: Storage) -> tuple[memoryview, str]:
        if storage.key not in found:
            raise FormatError(f"{path}: storage {storage.key[:200]!r} is not in the file")
        return found[storage.key], "<" if little else ">"

    notes = {"byte order": "little" if little else "big"}
    return Contents(value, Tensors(str(path), record, len(data)), "legacy", notes)


def _width(path: Any, storage: Storage) -> int:
    """Bytes of an element."""
    if storage.kind == "Untyped":
        return 1
    if storage.kind not in TYPES:
        raise FormatError(f"{path}: a storage of type {storage.kind}, which rnnx cannot read")
    return int(TYPES[storage.kind][1:])
