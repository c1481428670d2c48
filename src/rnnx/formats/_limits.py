"""Limits that the readers of all formats share: what is asked of a file before any work is done for it.

A file below 100 MB is read or refused within 5 s and 1 GB. So no amount that a file names is believed: it is compared
with a limit here or with the bytes that are there, before the loop or the allocation that it stands for.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rnnx.layers.names import printable as printable
from rnnx.saving import FormatError, level_of_caller

LONGEST_MESSAGE = 1000  # characters
LONGEST_WARNING = 4000  # characters
MOST_SHOWN = 12  # reasons in a message
JSON_BYTES = 100_000_000  # what the reference implementation of safetensors allows for a header
JSON_ITEMS = 2_000_000  # values and tables: 20,000 layers have less than half, and Python needs 300 bytes for each
JSON_DIGITS = 400  # of a number: what long ones take grows with the square
JSON_DEPTH = 200  # tables inside each other; 20 models inside each other have less than 100
LONGEST_TRAINING = 100_000  # characters of what ``compile`` was given, as JSON: each metric is an object
DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError
)  # fmt: skip
KNOWN = {"numpy", "scipy", "safetensors", "onnx", "google", "ml_dtypes", "h5py", *sys.stdlib_module_names}
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def obstacles(who: Any, reasons: list[str]) -> FormatError:
    """An error about several parts of a file that cannot be honoured, told together; each reason may begin with it."""
    found = list(dict.fromkeys(reason.removeprefix(f"{who}: ") for reason in reasons))
    groups: dict[str, list[str]] = {}  # what is said of several parts is said once
    for reason in found[:MOST_SHOWN]:
        part, _, text = reason.partition(": ")
        groups.setdefault(text, []).append(part)
    told = [f"{', '.join(parts)}{f': {text}' if text else ''}" for text, parts in groups.items()]
    more = f"; and {len(found) - MOST_SHOWN:,} more" if len(found) > MOST_SHOWN else ""
    error = FormatError(f"{who}: {'; '.join(told)}{more}")
    error.reasons = found
    return error


def warn_of(path: Any, notes: list[str]) -> None:
    """One warning about all that could not be honoured in a file."""
    text = printable(f"{path}: {'; '.join(notes)}", LONGEST_WARNING)
    warnings.warn(text, UserWarning, stacklevel=level_of_caller())


@contextmanager
def reading(path: Any, what: str) -> Iterator[None]:
    """Whatever a malformed file leads to is a `FormatError` of one line.

    An error inside a class of the user's is not one of the file, and goes on as it is.

    Parameters
    ----------
    path : path
    what : str
        The beginning of the message about a fault that has none of its own: "the model cannot be made".
    """
    try:
        yield
    except FormatError as error:
        text = printable(error, LONGEST_MESSAGE)
        if text == str(error):
            raise
        raise FormatError(text) from error
    except DAMAGE as error:
        if is_foreign(error):
            raise
        kind = "" if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: "
        raise FormatError(printable(f"{path}: {what}: {kind}{error}", LONGEST_MESSAGE)) from error


def is_foreign(error: BaseException) -> bool:
    """Whether an error arose in a function that rnnx called and that is neither its own nor of a library of its."""
    if isinstance(error, (MemoryError, RecursionError)):
        return False  # which what a file asks for may lead to anywhere
    place, inside = error.__traceback__, False
    while place is not None:
        package = str(place.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "rnnx":
            inside = True
        elif inside and (package == "__main__" or package not in KNOWN):
            return True
        place = place.tb_next
    return False


def check_regular(path: Any) -> None:
    """Refuse what is not a regular file, without opening it: a pipe would wait for a writer for ever.

    Raises
    ------
    FormatError
        If it is a folder, a pipe, a socket or a device.
    OSError
        If there is nothing, or it cannot be reached.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise FormatError(f"{path}: {KINDS.get(stat.S_IFMT(mode), 'something else')}, not a regular file")


def read_file(path: Any, most: int, what: str) -> bytes:
    """All bytes of a regular file that has no more than so many.

    Raises
    ------
    FormatError
        If it is larger, or not a regular file.
    OSError
        If it cannot be read.
    """
    check_regular(path)
    with Path(path).open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise FormatError(f"{path}: {what} has more than {most:,} bytes, the most that is read")
    return data


class Budget:
    """Work that may still be done for a file, in whatever unit.

    Parameters
    ----------
    who : path or str
        For the message: the file.
    most : int
    what : str
        The unit, in the plural: "calls", "bytes to read".
    """

    def __init__(self, who: Any, most: int, what: str):
        self.who, self.most, self.what = who, most, what
        self.left = most

    def spend(self, amount: int = 1) -> None:
        """Count work that is about to be done.

        Raises
        ------
        FormatError
            If it is more than was left.
        """
        self.left -= amount
        if self.left < 0:
            raise FormatError(f"{self.who}: asks for more than {self.most:,} {self.what}, the most that is allowed")


# ---- JSON -----------------------------------------------------------------------------------------------------------


def parse_json(
    who: Any,
    text: str | bytes,
    what: str,
    *,
    most_bytes: int = JSON_BYTES,
    most_items: int = JSON_ITEMS,
    deepest: int = JSON_DEPTH,
) -> Any:
    """The value of a JSON text whose size, depth and number of values are bounded before it is parsed.

    Parameters
    ----------
    who : path or str
        For messages: the file.
    text : str or bytes
    what : str
        For messages: "the header".
    most_bytes, most_items, deepest : int
        Bytes of the text, of which other characters than ASCII need up to four; values and tables; tables inside
        each other.

    Raises
    ------
    FormatError
        If it is no JSON or beyond a limit.
    """
    beyond = f"{who}: {what} is damaged or too large: it has"
    if len(text) > most_bytes:  # before anything is made of it
        raise FormatError(f"{beyond} {len(text):,} bytes, the most is {most_bytes:,}")
    try:
        if isinstance(text, str):
            raw = text.encode("utf-8", "surrogatepass")
        else:
            encoding = json.detect_encoding(text)
            raw = text if encoding == "utf-8" else text.decode(encoding).encode()
        wide = not raw.isascii() or b"\\u" in raw  # one character beyond 16 bits makes all of a text 4 bytes wide
        if wide and 4 * len(raw) > most_bytes:
            raise FormatError(
                f"{beyond} {len(raw):,} bytes and other characters than ASCII, the most is {most_bytes // 4:,}"
            )
        items = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
        if items > most_items:
            raise FormatError(f"{beyond} {items:,} values and tables, the most is {most_items:,}")
        if raw.translate(_DIGITS).find(b"0" * JSON_DIGITS) >= 0:
            raise FormatError(f"{beyond} a number of {JSON_DIGITS} digits or more")
        depth = _depth(raw) if items > deepest else items
        if depth > deepest:
            raise FormatError(f"{beyond} {depth:,} tables inside each other, the most is {deepest}")
        return json.loads(raw)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{who}: {what} is damaged: {printable(error)}") from error


_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_BLOCK = 1 << 20


def _depth(raw: bytes) -> int:
    """How many tables of a JSON text are inside each other, at most; brackets in texts do not count."""
    signs = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_STRUCTURE)
    deepest, depth, quotes = 0, 0, 0
    for start in range(0, len(signs), _BLOCK):
        block = np.frombuffer(signs[start : start + _BLOCK], np.uint8)
        inside = (np.cumsum(block == ord('"'), dtype=np.int64) + quotes) & 1
        quotes = int(inside[-1])
        opens, closes = (block == ord("[")) | (block == ord("{")), (block == ord("]")) | (block == ord("}"))
        levels = depth + np.cumsum((opens.astype(np.int8) - closes.astype(np.int8)) * (1 - inside))
        deepest, depth = max(deepest, int(levels.max())), int(levels[-1])
    return deepest
