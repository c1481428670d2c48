"""Messages of protocol buffers, field by field, where no description of them is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnx.formats._limits import Budget
from rnnx.saving import FormatError

VARINT, WIDE, TEXT, NARROW = 0, 1, 2, 5  # forms of a field
LONGEST_VARINT = 10  # bytes
SIZES = {WIDE: 8, NARROW: 4}


def varint(who: Any, data: memoryview, place: int) -> tuple[int, int]:
    """A number of up to ten bytes, and the place behind it.

    Raises
    ------
    FormatError
        If it is cut off or longer.
    """
    value = shift = 0
    for byte in data[place : place + LONGEST_VARINT]:
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7
    raise FormatError(f"{who} is damaged or cut off: a number does not end")


def fields(who: Any, data: memoryview, budget: Budget) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and an integer or the bytes of a text or of a message inside.

    Parameters
    ----------
    who : str
        For messages: file and part.
    data : memoryview
    budget : Budget
        Of fields.

    Raises
    ------
    FormatError
        If it is no message, or has more fields than are left.
    """
    place, end = 0, len(data)
    while place < end:
        budget.spend()
        tag, place = varint(who, data, place)
        number, form = tag >> 3, tag & 7
        if form == VARINT:
            value, place = varint(who, data, place)
            yield number, value
            continue
        size = SIZES.get(form)
        if form == TEXT:
            size, place = varint(who, data, place)
        if size is None or size > end - place:
            raise FormatError(f"{who} is damaged or cut off: field {number} does not end")
        found = data[place : place + size]
        yield number, found if form == TEXT else int.from_bytes(found, "little")
        place += size


def text_of(who: Any, value: int | memoryview) -> str:
    """The text of a field.

    Raises
    ------
    FormatError
        If it is none.
    """
    try:
        return str(message_of(who, value), "utf-8")
    except UnicodeError as error:
        raise FormatError(f"{who} is damaged: a name is no text") from error


def message_of(who: Any, value: int | memoryview) -> memoryview:
    """The bytes of a field that holds a text or a message."""
    if isinstance(value, int):
        raise FormatError(f"{who} is damaged: a number stands where a text or a message is expected")
    return value


def number_of(who: Any, value: int | memoryview) -> int:
    """The integer of a field, which may be negative."""
    if not isinstance(value, int):
        raise FormatError(f"{who} is damaged: a text stands where a number is expected")
    return value - (1 << 64) if value >> 63 else value
