"""Automatic names of layers, and names of any origin as they can be printed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LONGEST_NAME = 200  # characters of a name in a message or a table

_name_counts: dict[str, int] = {}
_name_lock = threading.Lock()
_own_counts: ContextVar[dict[str, int] | None] = ContextVar("rnnx_names", default=None)


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
        own = _own_counts.get()
        counts = _name_counts if own is None else own
        count = counts.get(stem, 0)
        counts[stem] = count + 1
    return f"{stem}_{count}" if count else stem


def clear_names() -> None:
    """Start the automatic names again."""
    with _name_lock:
        own = _own_counts.get()
        (_name_counts if own is None else own).clear()


@contextmanager
def names_from_the_start() -> Iterator[None]:
    """Count the automatic names of a ``with`` block from the start, whatever other threads make meanwhile."""
    token = _own_counts.set({})
    try:
        yield
    finally:
        _own_counts.reset(token)


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
