"""Tar archives around a file of ``torch.save``, packed by gzip or not: unpacked in memory, within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from rnnx.formats.torch._archive import START, quoted
from rnnx.saving import FormatError

GZIP = b"\x1f\x8b"
USTAR = (slice(257, 262), b"ustar")
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # how a file of torch.save before PyTorch 1.6 begins
BLOCK = 512  # bytes of a head, and of what contents are filled up to
CHECKSUM = slice(148, 156)
PLAIN = (b"0", b"\0", b"7")  # kinds of members that are files
MOST_MEMBERS = 10_000
GROWTH, BESIDE = 4, 1 << 26  # an archive unpacks to so many times its bytes and these
BEFORE = {"pickle", "storages", "tensors"}  # members of what PyTorch wrote before 0.1.10
MOST_NAMED = 5


def is_tar(data: memoryview) -> bool:
    """Whether a file begins like a tar archive, or one that gzip packed."""
    return bytes(data[:2]) == GZIP or bytes(data[USTAR[0]]) == USTAR[1]


def inside(path: Any, data: memoryview) -> tuple[str, memoryview]:
    """The name and the bytes of the one file of ``torch.save`` in an archive.

    Raises
    ------
    FormatError
        If there is none or there are several, or the archive is damaged or unpacks to more than is read.
    """
    if bytes(data[:2]) == GZIP:
        data = memoryview(_unpacked(path, data))
        if bytes(data[USTAR[0]]) != USTAR[1]:
            raise FormatError(
                f"{path}: a file that gzip packed and that is no tar archive; unpack it with gunzip first"
            )
    names: list[str] = []
    found: list[tuple[str, memoryview]] = []
    for name, content in _members(path, data):
        names.append(name)
        if bytes(content[:4]) == START or bytes(content[: len(LEGACY)]) == LEGACY:
            found.append((name, content))
    if len(found) == 1:
        return found[0]
    if not found and BEFORE & set(names):
        raise FormatError(f"{path}: a tar file of PyTorch before 0.1.10; save it again with a newer PyTorch")
    shown = ", ".join(quoted(name) for name, _ in found[:MOST_NAMED]) or "none"
    raise FormatError(
        f"{path}: a tar archive with {len(found)} files of torch.save ({shown}), one is read; unpack it and "
        "read the file that you want"
    )


def _unpacked(path: Any, data: memoryview) -> bytes:
    """What gzip packed, if it is not too much."""
    most = GROWTH * len(data) + BESIDE
    machine = zlib.decompressobj(wbits=31)
    try:
        found = machine.decompress(data, most + 1)
    except zlib.error as error:
        raise FormatError(f"{path}: what gzip packed is damaged: {error}") from error
    if len(found) > most:
        raise FormatError(f"{path}: {len(data):,} bytes unpack to more than {most:,}, the most that is read")
    if not machine.eof:
        raise FormatError(f"{path}: what gzip packed is cut off")
    return found


def _members(path: Any, data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Names and contents of the files in an archive."""
    position = count = 0
    while position + BLOCK <= len(data):
        head = bytes(data[position : position + BLOCK])
        if not any(head):  # the end
            return
        count += 1
        if count > MOST_MEMBERS:
            raise FormatError(f"{path}: a tar archive with more than {MOST_MEMBERS:,} members")
        size, checksum = _number(head[124:136]), _number(head[CHECKSUM])
        sums = sum(head) - sum(head[CHECKSUM]) + 8 * ord(" ")
        begin = position + BLOCK
        if size is None or checksum != sums or begin + size > len(data):
            raise FormatError(f"{path}: member {count} of the tar file is damaged or cut off")
        if head[156:157] in PLAIN:
            name = head[:100].split(b"\0")[0].decode("utf-8", "replace")
            yield name, data[begin : begin + size]
        position = begin + -(-size // BLOCK) * BLOCK
    if not count:
        raise FormatError(f"{path}: an empty tar archive")


def _number(field: bytes) -> int | None:
    """An octal number; None if it is none."""
    text = field.split(b"\0")[0].strip(b" ")
    if not text or any(digit not in b"01234567" for digit in text):
        return None
    return int(text, 8)
