"""A look at the bytes of an ONNX file before the parser of protocol buffers gets them.

Two bytes are enough for an empty node, and the parser makes a hundred of them: what a large file would unfold to is
counted here. Files below `UNSEEN` bytes cannot unfold to much.
"""

from __future__ import annotations

UNSEEN = 2**22  # bytes
VARINT, TEXT = 0, 2
SIZES = {1: 8, 5: 4}  # bytes of numbers of the other forms
# By the kind of a message: the fields with messages inside, and with numbers of any length ("numbers").
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "entry", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph", 3: "entry", 4: "entry"},
    "graph": {
        1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 14: "annotation", 15: "sparse", 16: "entry",
    },
    "function": {7: "node", 9: "entry", 11: "attribute", 12: "value", 14: "entry"},
    "node": {5: "attribute", 9: "entry"},
    "attribute": {
        5: "tensor", 6: "graph", 7: "numbers", 8: "numbers", 10: "tensor", 11: "graph", 14: "type", 15: "type",
        22: "sparse", 23: "sparse",
    },
    "tensor": {
        1: "numbers", 4: "floats", 5: "numbers", 7: "numbers", 10: "floats", 11: "numbers", 13: "entry", 16: "entry",
    },
    "sparse": {1: "tensor", 2: "tensor", 3: "numbers"},
    "value": {2: "type", 4: "entry"},
    "type": {1: "tensor type", 4: "element", 5: "element", 8: "tensor type", 9: "element"},
    "element": {1: "type", 2: "type"},
    "tensor type": {2: "shape"},
    "shape": {1: "entry"},
    "annotation": {2: "entry"},
    "entry": {},
}  # fmt: skip


def count(data: bytes, most: int) -> tuple[int, int]:
    """Fields of all messages, and numbers in lists that are not floats in a row; counting ends beyond ``most``.

    Parameters
    ----------
    data : bytes
        Damaged ones are counted as far as they make sense: the parser will refuse them.
    most : int
    """
    fields = numbers = 0
    pending = [("model", 0, len(data))]
    while pending:
        kind, place, end = pending.pop()
        inside = MESSAGES[kind]
        while place < end and fields <= most:
            tag = data[place]
            if tag > 127:
                tag, place = _varint(data, place)
            else:
                place += 1
            form, fields = tag & 7, fields + 1
            if form == TEXT:
                size, place = _varint(data, place)
                found = inside.get(tag >> 3)
                if found == "numbers":
                    numbers += size
                elif found is not None and found != "floats":
                    pending.append((found, place, min(end, place + size)))
                place += size
            elif form == VARINT:
                numbers += inside.get(tag >> 3) == "numbers"
                while place < end and data[place] > 127:
                    place += 1
                place += 1
            elif form in SIZES:
                place += SIZES[form]
            else:
                break
    return fields, numbers


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of up to ten bytes, and the place behind it; zeros stand behind the end."""
    value = shift = 0
    for byte in data[place : place + 10]:
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    return 0, place + 1
