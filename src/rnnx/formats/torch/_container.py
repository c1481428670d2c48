"""Files of ``torch.save``: zip archives and the legacy form before PyTorch 1.6, mapped and never unpacked."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rnnx.formats._limits import check_regular
from rnnx.formats.torch._archive import START, Archive, quoted
from rnnx.formats.torch._pickle import Machine
from rnnx.formats.torch._tar import inside, is_tar
from rnnx.formats.torch._tensors import TYPES, Tensors
from rnnx.formats.torch._values import ARRAYS, LONGEST_KEY, Storage
from rnnx.saving import FormatError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MOST_NAMES = 5  # of functions, in a message


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
        ``"zip"``, ``"legacy"``, ``"TorchScript"`` or ``"pickle of arrays"``.
    notes : dict
        What the file says about itself: versions, byte order.
    uncalled, unread : list of str
        Functions that the pickle asked to be called and that were not, and names of others, some of them.
    """

    value: Any
    tensors: Tensors
    kind: str
    notes: dict[str, Any] = field(default_factory=dict)
    uncalled: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def named_by(machine: Machine) -> dict[str, list[str]]:
    """What pickles named and nobody called or used, as `Contents` has it."""
    return {
        "uncalled": [str(name) for name in islice(machine.uncalled, MOST_NAMES)],
        "unread": [str(name) for name in islice(machine.unread, MOST_NAMES)],
    }


def read(path: Any) -> Contents:
    """Read the structure of a file; weights are mapped and not yet touched.

    Raises
    ------
    FormatError
        If the file is damaged, not of PyTorch, or asks for code to be run.
    OSError
        If it cannot be read.
    """
    if not Path(path).is_dir():  # which open refuses as an OSError
        check_regular(path)
    with Path(path).open("rb") as file:
        if not file.seek(0, 2):
            raise FormatError(f"{path}: the file is empty")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if is_tar(data):
        name, data = inside(path, data)
        found = _read_zip(path, data) if bytes(data[:4]) == START else _read_legacy(path, data)
        found.notes["member of the archive"] = quoted(name)
        return found
    if bytes(data[:4]) == START:
        return _read_zip(path, data)
    if bytes(data[:1]) != b"\x80":
        raise FormatError(f"{path}: not a file of torch.save (neither a zip archive nor a pickle)")
    return _read_legacy(path, data)


# ---- Zip archives ---------------------------------------------------------------------------------------------------


def _read_zip(path: Any, data: memoryview) -> Contents:
    archive = Archive(path, data)
    members = archive.members
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise FormatError(f"{path}: a zip archive, but not of torch.save (it has {len(roots)} members */data.pkl)")
    (root,) = roots
    order = archive.text(f"{root}byteorder") or "little"
    if order not in ("little", "big"):
        raise FormatError(f"{path}: unknown byte order {order!r}")
    sign = "<" if order == "little" else ">"

    def record(storage: Storage) -> tuple[memoryview, str]:
        return archive.view(f"{root}data/{storage.key}"), sign

    machine = Machine(archive.view(f"{root}data.pkl"), str(path))
    value = machine.load()
    script = f"{root}constants.pkl" in members
    notes = {"byte order": order, "archive version": archive.text(f"{root}version")}
    tensors = Tensors(str(path), record, len(data))
    return Contents(value, tensors, "TorchScript" if script else "zip", notes, **named_by(machine))


# ---- The legacy form ------------------------------------------------------------------------------------------------


def _read_legacy(path: Any, data: memoryview) -> Contents:
    """Four pickles (magic number, protocol, machine, the value), one of the storages' keys, and their bytes."""
    machine = Machine(data, str(path))
    if machine.load() != LEGACY_MAGIC:
        if any(name in ARRAYS for name in machine.uncalled):
            return _read_arrays(path, data)
        calls = f"; refused to call {', '.join(named_by(machine)['uncalled'])}" if machine.uncalled else ""
        raise FormatError(
            f"{path}: a pickle, but not of torch.save{calls}; torch.save(model.state_dict(), path) writes one"
        )
    if machine.load() != LEGACY_PROTOCOL:
        raise FormatError(f"{path}: an unknown protocol of torch.save")
    system = machine.load()
    little = not isinstance(system, dict) or system.get("little_endian", True) is not False
    value, keys = machine.load(), machine.load()
    known = isinstance(keys, list) and all(isinstance(key, str) and len(key) <= LONGEST_KEY for key in keys)
    if not known or len(set(keys)) != len(keys):
        raise FormatError(f"{path}: the list of its storages is damaged")
    widths = {storage.key: _width(path, storage) for storage in machine.storages.values()}
    position, found = machine.position, {}
    for key in keys:
        head = data[position : position + 8]
        if len(head) < 8 or key not in widths:
            raise FormatError(f"{path}: storage {quoted(key)} is not there; is the file cut off?")
        (numel,) = struct.unpack("<q", head)
        end = position + 8 + numel * widths[key]
        if numel < 0 or end > len(data):
            raise FormatError(f"{path}: storage {quoted(key)} of {numel} numbers is cut off")
        found[key], position = data[position + 8 : end], end

    def record(storage: Storage) -> tuple[memoryview, str]:
        if storage.key not in found:
            raise FormatError(f"{path}: storage {quoted(storage.key)} is not in the file")
        return found[storage.key], "<" if little else ">"

    notes = {"byte order": "little" if little else "big"}
    return Contents(value, Tensors(str(path), record, len(data)), "legacy", notes, **named_by(machine))


def _read_arrays(path: Any, data: memoryview) -> Contents:
    """A plain pickle of NumPy's arrays by the names of a state dict, as programs without PyTorch keep them."""
    machine = Machine(data, str(path), arrays=True)
    value = machine.load()
    tensors = Tensors(str(path), lambda storage: (memoryview(storage.data), storage.order), len(data))
    return Contents(value, tensors, "pickle of arrays", {}, **named_by(machine))


def _width(path: Any, storage: Storage) -> int:
    """Bytes of an element."""
    if storage.kind == "Untyped":
        return 1
    if storage.kind not in TYPES:
        raise FormatError(f"{path}: a storage of type {quoted(storage.kind)}, which rnnx cannot read")
    return int(TYPES[storage.kind][1:])
