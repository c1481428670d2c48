"""Automatic names of layers, and names of any origin as they can be printed."""

from __future__ import annotations

import re
import threading
from typing import Any

LONGEST_NAME = 200  # characters of a name in a message or a table

_name_counts: dict[str, int] = {}
_name_lock = threading.Lock()


def snake_case(class_name: str) -> str:
    """The name of a class in small letters with underscores, as Keras writes it.

    Examples
    --------
    >>> snake_case("GlobalMaxPooling1D"), snake_case("KLDivergence")
    ('global_max_pooling1d', 'kl_divergence')
    """
    stem = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", stem).lower()


def unique_name(class_name: str) -> str:
    """``lstm``, ``lstm_1``, ...: the class name in snake case with a counter, as Keras does."""
    stem = snake_case(class_name)
    with _name_lock:
        count = _name_counts.get(stem, 0)
        _name_counts[stem] = count + 1
    return f"{stem}_{count}" if count else stem


def clear_names() -> None:
    """Start the automatic names again."""
    with _name_lock:
        _name_counts.clear()


def printable(text: Any, longest: int = LONGEST_NAME) -> str:
    """Text from a file as it may stand in a line of a message or table: without control characters, and short.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.
    longest : int
        Characters.

    Examples
    --------
    >>> printable("dense\\x1b[2J")
    'dense?[2J'
    """
    found = str(text)
    short = found if len(found) <= longest else found[: longest - 3] + "..."
    return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)
