"""Files that ``torch.load(path, weights_only=True)`` and ``safetensors.torch.load_file`` read."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.saving import FormatError, write_whole

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}
ALIGNMENT = 64  # bytes, as PyTorch aligns tensors in its archives
DATE = (1980, 1, 1, 0, 0, 0)
PADDING_FIELD = b"FB"  # header of the extra field that PyTorch uses for padding


def write(path: Any, arrays: Mapping[str, Array], *, overwrite: bool = True) -> None:
    """Write a state dict; the suffix says how.

    Raises
    ------
    FormatError
        If the suffix is none of ``.pt``, ``.pth``, ``.safetensors``.
    OSError
        If the file cannot be written; an old one is still there.
    """
    suffix = Path(path).suffix.lower()
    whole = {name: np.array(array, order="C") for name, array in arrays.items()}
    if suffix == ".safetensors":
        from safetensors.numpy import save_file

        write_whole(path, lambda part: save_file(whole, part, {"format": "pt"}), overwrite=overwrite)
    elif suffix in (".pt", ".pth"):
        write_whole(path, lambda part: _write_zip(part, whole), overwrite=overwrite)
    else:
        raise FormatError(f"{path}: PyTorch's files end in .pt, .pth or .safetensors, not {suffix!r}")


def _write_zip(path: Path, arrays: Mapping[str, Array]) -> None:
    members = {"data.pkl": pickled(arrays), "byteorder": b"little"}
    for number, array in enumerate(arrays.values()):
        members[f"data/{number}"] = array.astype(array.dtype.newbyteorder("<")).tobytes()
    members["version"] = b"3\n"
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(f"archive/{name}", DATE)
            head = file.tell() + 30 + len(member.filename.encode()) + 4
            gap = -head % ALIGNMENT
            member.extra = PADDING_FIELD + struct.pack("<H", gap) + b"Z" * gap
            archive.writestr(member, content)


# ---- The pickle -----------------------------------------------------------------------------------------------------


def pickled(arrays: Mapping[str, Array]) -> bytes:
    """The pickle (protocol 2) of a dictionary of tensors, each with a storage of its own."""
    items = b"".join(_text(name) + _tensor(array, number) for number, (name, array) in enumerate(arrays.items()))
    return b"\x80\x02}(" + items + b"u."


def _tensor(array: Array, number: int) -> bytes:
    """``torch._utils._rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())``."""
    strides = [step // array.itemsize for step in array.strides]
    storage = b"(" + _text("storage") + _name("torch", STORAGES[array.dtype.name]) + _text(str(number)) + _text("cpu")
    return (
        _name("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage + _integer(array.size) + b"tQ"
        + _integer(0) + _numbers(array.shape) + _numbers(strides) + b"\x89"
        + _name("collections", "OrderedDict") + b")R"
        + b"tR"
    )  # fmt: skip


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _integer(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(8, "little", signed=True)
    return b"\x8a\x08" + data


def _numbers(values: Any) -> bytes:
    return b"(" + b"".join(_integer(int(value)) for value in values) + b"t"
