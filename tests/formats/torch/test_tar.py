"""Tar archives around a file of ``torch.save``: read in memory, within bounds; damaged ones are refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import convert, info, torch
from rnnx.saving import FormatError
from tests.golden import store

NETWORK = (store.DATA / "torch_files/network.pt").read_bytes()


def packed(members: dict[str, bytes], *, format: int = tarfile.USTAR_FORMAT, folder: str = "model") -> bytes:
    """An archive with a folder, as medaka's are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        head = tarfile.TarInfo(folder)
        head.type = tarfile.DIRTYPE
        archive.addfile(head)
        for name, data in members.items():
            head = tarfile.TarInfo(f"{folder}/{name}")
            head.size = len(data)
            archive.addfile(head, io.BytesIO(data))
    return file.getvalue()


def written(folder: Path, data: bytes, name: str = "model.tar.gz") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def same(own: dict[str, Any], others: dict[str, Any]) -> None:
    assert own.keys() == others.keys()
    for name, layer in own.items():
        for a, b in zip(layer.get_weights(), others[name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_file_inside_is_read(format: int, compress: Any, tmp_path: Path) -> None:
    members = {"meta.pkl": b"\x80\x04N.", "weights.pt": NETWORK}
    folder = "model" if format == tarfile.USTAR_FORMAT else "model" * 40  # names of more than 100 letters
    path = written(tmp_path, compress(packed(members, format=format, folder=folder)), "model.any")
    plain = torch.load(store.DATA / "torch_files/network.pt")
    same(torch.load(path), plain)
    lines = info.lines(path)
    assert any("weights.pt" in line or "model" in line for line in lines) and any("encoder.0" in line for line in lines)
    convert.convert(path, tmp_path / "out.safetensors", modules=["embedding", "encoder.0"])
    assert len(rnnx.load_model(tmp_path / "out.safetensors").layers) == 2


def test_the_legacy_form_inside(tmp_path: Path) -> None:
    legacy = next(path for path in sorted((store.DATA / "torch_files").iterdir()) if path.read_bytes()[:1] == b"\x80")
    path = written(tmp_path, gzip.compress(packed({"w.pth": legacy.read_bytes()})))
    same(torch.load(path), torch.load(legacy))


@pytest.mark.parametrize("members, why", [
    ({"a.pt": NETWORK, "b.pt": NETWORK}, r"with 2 files of torch.save \('model/a.pt', 'model/b.pt'\), one is read"),
    ({"a.txt": b"text"}, r"with 0 files of torch.save \(none\), one is read; unpack it"),
    ({"pickle": b"", "storages": b""}, "before 0.1.10"),
    ({"w.pt": NETWORK[:-30]}, "model.tar.gz"),
])  # fmt: skip
def test_other_contents_are_refused(members: dict[str, bytes], why: str, tmp_path: Path) -> None:
    folder = "model" if "pickle" not in members else "."
    data = packed(members, folder=folder)
    if folder == ".":
        data = data.replace(b"./pickle", b"pickle\0\0").replace(b"./storages", b"storages\0\0")
        data = _summed(data)
    with pytest.raises(FormatError, match=why):
        torch.load(written(tmp_path, data))


def _summed(data: bytes) -> bytes:
    """The archive with the checksums that its heads must have."""
    found = bytearray(data)
    for start in range(0, len(found), 512):
        head = found[start : start + 512]
        if head[257:262] == b"ustar":
            total = sum(head) - sum(head[148:156]) + 8 * 32
            found[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(found)


def _changed(data: bytes, place: int, new: bytes, *, summed: bool = True) -> bytes:
    found = data[:place] + new + data[place + len(new) :]
    return _summed(found) if summed else found


WHOLE = packed({"w.pt": NETWORK})
DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut off": (WHOLE[: len(WHOLE) // 2 // 512 * 512], "member 2 of the tar file is damaged or cut off"),
    "another checksum": (_changed(WHOLE, 512, b"N", summed=False), "member 2 .* is damaged"),
    "a negative size": (_changed(WHOLE, 512 + 124, b"-0000000001\0"), "member 2 .* is damaged"),
    "a size in binary": (_changed(WHOLE, 512 + 124, b"\xff" * 12), "member 2 .* is damaged"),
    "a size without end": (_changed(WHOLE, 512 + 124, b"77777777777\0"), "member 2 .* is damaged"),
    "gzip cut off": (gzip.compress(WHOLE)[:-9], "packed is cut off"),
    "gzip changed": (_changed(gzip.compress(WHOLE), 200, b"\0\0\0\0", summed=False), "packed is damaged"),
    "gzip of something else": (gzip.compress(b"{}"), "no tar archive; unpack it with gunzip"),
    "gzip alone": (b"\x1f\x8b", "cut off|damaged"),
    "heads alone": (WHOLE[:512] * 10_001, "more than 10,000 members"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_archives_are_refused(name: str, tmp_path: Path) -> None:
    data, why = DAMAGED[name]
    with pytest.raises(FormatError, match=f"model.tar.gz.*({why})"):
        rnnx.load_model(written(tmp_path, data))


def test_an_archive_that_grows_without_end(tmp_path: Path) -> None:
    """A few hundred kilobytes of zeros behind zeros: no more is unpacked than is read."""
    machine = zlib.compressobj(9, wbits=31)
    data = b"".join([*(machine.compress(bytes(1 << 20)) for _ in range(200)), machine.flush()])
    with pytest.raises(FormatError, match=r"bytes unpack to more than .* the most that is read"):
        torch.load(written(tmp_path, data))
