"""Zip archives of PyTorch: members that are stored as they are, as views of the mapped file.

The directory is read here and not by `zipfile`, which takes a time that is quadratic in the length of an extra field
and makes an object of half a kilobyte of every 46 bytes before it can be asked how many there are.

References
----------
.. [1] PKWARE, ".ZIP File Format Specification", version 6.3.10, sections 4.3 and 4.5.3.
.. [2] D. Fifield, "A better zip bomb", WOOT 2019: members that overlap.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from struct import Struct
from typing import Any

from rnnx.formats._limits import printable
from rnnx.saving import FormatError

START = b"PK\x03\x04"
MOST_MEMBERS = 100_000  # a storage each
LONGEST_DIRECTORY = 1 << 25  # bytes: 335 for each of so many members
MOST_FIELDS = 16  # extra fields of a member that are looked through for its sizes
END = Struct("<4s4H2LH")
LOCATOR = Struct("<4sLQL")
END_64 = Struct("<4sQ2H2L4Q")
ENTRY = Struct("<4s6H3L5H2L")
LOCAL = Struct("<4s22x2H")
NARROW = 0xFFFFFFFF  # in a field of 32 bits: the number is in the extra field
CUT = "the zip archive is damaged or cut off"


@dataclass(eq=False, slots=True)
class Member:
    """One entry of the directory.

    Attributes
    ----------
    offset, end : int
        Where it begins, and where the next one does.
    size, crc : int
    stored : bool
        Neither compressed nor encrypted.
    """

    offset: int
    size: int
    crc: int
    stored: bool
    end: int = 0


class Archive:
    """Members of an archive as views of the mapped file.

    Parameters
    ----------
    path : path
    data : memoryview

    Raises
    ------
    FormatError
        If the directory is damaged or too large, if names are strange or repeated, or members overlap.
    """

    def __init__(self, path: Any, data: memoryview):
        self.path, self.data = path, data
        try:
            self.members = self._directory()
        except (struct.error, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: {CUT}: {printable(error)}") from error
        self.checked: dict[str, memoryview] = {}

    def _ends(self) -> tuple[int, int]:
        """Where the directory begins and ends."""
        data, size = self.data, len(self.data)
        first = max(0, size - END.size - (1 << 16))
        at = first + bytes(data[first:]).rfind(b"PK\x05\x06")
        if at < first:
            raise FormatError(f"{self.path}: {CUT}: it has no end")
        *_, length, begin, comment = END.unpack_from(data, at)
        if at + END.size + comment > size:
            raise FormatError(f"{self.path}: {CUT}: its comment is")
        limit = at
        if at >= LOCATOR.size:
            sign, _, wide, _ = LOCATOR.unpack_from(data, at - LOCATOR.size)
            if sign == b"PK\x06\x07":
                if wide + END_64.size > at:
                    raise FormatError(f"{self.path}: {CUT}: its end is not where it should be")
                sign, *_, length, begin = END_64.unpack_from(data, wide)
                if sign != b"PK\x06\x06":
                    raise FormatError(f"{self.path}: {CUT}: its end is not where it should be")
                limit = wide
        if begin + length > limit:
            raise FormatError(f"{self.path}: {CUT}: its directory is")
        if length > LONGEST_DIRECTORY:
            raise FormatError(
                f"{self.path}: an archive with a directory of {length:,} bytes, the most is {LONGEST_DIRECTORY:,}"
            )
        return begin, begin + length

    def _directory(self) -> dict[str, Member]:
        begin, end = self._ends()
        members: dict[str, Member] = {}
        raw, at, path = bytes(self.data[begin:end]), 0, self.path
        while at < len(raw):
            sign, _, _, flags, method, _, _, crc, packed, size, name_length, extra, comment, _, _, _, offset = (
                ENTRY.unpack_from(raw, at)
            )
            if sign != b"PK\x01\x02":
                raise FormatError(f"{path}: {CUT}: member {len(members)} is not in its directory")
            at += ENTRY.size
            name = str(raw[at : at + name_length], "utf-8" if flags & 0x800 else "cp437")
            at += name_length
            if NARROW in (packed, size, offset):
                size, packed, offset = _wide(raw[at : at + extra], size, packed, offset)
            at += extra + comment
            if name.startswith("/") or "\\" in name or ".." in name.split("/") or ":" in name.split("/")[0]:
                raise FormatError(f"{path}: member {quoted(name)} of the archive has a path that leads outside")
            if name in members:
                raise FormatError(f"{path}: member {quoted(name)} is in the archive twice")
            if offset + LOCAL.size + packed > begin:
                raise FormatError(f"{path}: member {quoted(name)} is cut off")
            members[name] = Member(offset, size, crc, not method and not flags & 1 and packed == size)
            if len(members) > MOST_MEMBERS:
                raise FormatError(f"{path}: an archive of more than {MOST_MEMBERS:,} members, the most that is read")
        if at != len(raw):
            raise FormatError(f"{path}: {CUT}: its directory is")
        ordered = sorted(members.values(), key=lambda member: member.offset)
        for member, after in zip(ordered, [*ordered[1:], Member(begin, 0, 0, True)], strict=True):
            member.end = after.offset
            if member.stored and member.offset + LOCAL.size + member.size > member.end:
                raise FormatError(f"{path}: members of the archive overlap at byte {after.offset}")
        return members

    def view(self, name: str) -> memoryview:
        """The bytes of a member, its checksum compared once."""
        if name in self.checked:
            return self.checked[name]
        member = self.members.get(name)
        if member is None:
            raise FormatError(f"{self.path}: the archive has no member {quoted(name)}")
        if not member.stored:
            raise FormatError(
                f"{self.path}: member {quoted(name)} is compressed or encrypted; PyTorch stores its members as they are"
            )
        sign, name_length, extra = LOCAL.unpack_from(self.data, member.offset)
        if sign != START:
            raise FormatError(f"{self.path}: member {quoted(name)} is not where the archive says")
        begin = member.offset + LOCAL.size + name_length + extra
        if begin + member.size > member.end:
            raise FormatError(f"{self.path}: member {quoted(name)} is cut off, or overlaps the next one")
        found = self.data[begin : begin + member.size]
        if zlib.crc32(found) != member.crc:
            raise FormatError(f"{self.path}: member {quoted(name)} was altered or damaged (its checksum differs)")
        self.checked[name] = found
        return found

    def text(self, name: str) -> str:
        """A short text, empty if there is none."""
        return printable(str(self.view(name)[:64], "ascii", "replace").strip()) if name in self.members else ""


def quoted(name: str) -> str:
    """A name from the file as it stands in a message."""
    return printable(repr(name[:200]))


def _wide(extra: bytes, *narrow: int) -> list[int]:
    """Numbers of an entry, those that do not fit in 32 bits from its extra field."""
    at = 0
    for _ in range(MOST_FIELDS):
        if at + 4 > len(extra):
            break
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(length, 24) // 8}Q", extra, at + 4))
            return [next(wide, number) if number == NARROW else number for number in narrow]
        at += 4 + length
    return list(narrow)
