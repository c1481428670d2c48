"""The kinds of files that ask for more than they hold: a maker each, with its size as a parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """One way in which a small file can take long or much memory.

    Attributes
    ----------
    name : str
        What it does, in a few words.
    suffix : str
        Of the file, with its dot.
    make : callable
        Writes the file: ``make(path, size)``.
    size : int
        How deep, long or large it is in the plain suite.
    large : int
        The same in ``python -m tests.hostile``.
    refused : str or None
        A regular expression found in the refusal; None where the file may also be read, within the limits.
    """

    name: str
    suffix: str
    make: Callable[[Path, int], None]
    size: int
    large: int
    refused: str | None = None
