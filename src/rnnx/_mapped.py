"""Files in memory as the system maps them: their pages are there once for all processes."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from rnnx._typing import Array


class MappedFile(mmap.mmap):
    """A file that is mapped to be read (``access=mmap.ACCESS_READ``): its pages can be given up and read again."""


def _file_of(array: Array) -> MappedFile | None:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, MappedFile) else None


def is_mapped(array: Array) -> bool:
    """Whether an array is one on a `MappedFile`."""
    return _file_of(array) is not None


def release(array: Array) -> None:
    """Give up the pages of the file behind an array on a `MappedFile`: they do not count for this process until it
    reads them again. Nothing happens to other arrays."""
    file = _file_of(array)
    if file is not None and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)
