"""Automatic names of layers."""

from __future__ import annotations

import re
import threading

_name_counts: dict[str, int] = {}
_name_lock = threading.Lock()


def unique_name(class_name: str) -> str:
    """``lstm``, ``lstm_1``, ...: the class name in snake case with a counter, as Keras does."""
    stem = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", class_name)
    stem = re.sub(r"([a-z])([A-Z])", r"\1_\2", stem).lower()
    with _name_lock:
        count = _name_counts.get(stem, 0)
        _name_counts[stem] = count + 1
    return f"{stem}_{count}" if count else stem


def clear_names() -> None:
    """Start the automatic names again."""
    with _name_lock:
        _name_counts.clear()
