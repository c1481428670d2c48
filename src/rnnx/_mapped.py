"""Files in memory as the system maps them: their pages are there once for all processes."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rnnx._typing import Array


class MappedFile(mmap.mmap):
    """A file that is mapped to be read (``access=mmap.ACCESS_READ``): its pages can be given up and read again.

    What is written into the file in place appears in the arrays on it; see `is_as_mapped`.

    Attributes
    ----------
    path : str
    status : os.stat_result or None
        Of the file before its bytes were looked at; None where nobody is going to ask.
    checksum : str
        Of its contents.
    holds : callable or None
        Whether the file at a path has a checksum.
    """

    path = ""
    status: os.stat_result | None = None
    checksum = ""
    holds: Callable[[str, str], bool] | None = None

    def is_as_mapped(self) -> bool:
        """Whether the file holds what it held when it was mapped; its bytes are read only if it was written since."""
        before = self.status
        try:
            now = os.stat(self.path) if before is not None else None
        except OSError:  # it was removed; what is mapped stays
            return True
        if before is None or now is None or not written_over(before, now):
            return True
        if now.st_size != before.st_size or self.holds is None or not self.holds(self.path, self.checksum):
            return False
        self.status = now
        return True


def written_over(before: os.stat_result, now: os.stat_result) -> bool:
    """Whether a file was written to in place, and not replaced by another one."""
    same = os.path.samestat(before, now)
    return same and (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns)


def _file_of(array: Array) -> MappedFile | None:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, MappedFile) else None


def files_of(arrays: Iterable[Array]) -> tuple[MappedFile, ...]:
    """The files behind arrays."""
    return tuple({id(file): file for array in arrays if (file := _file_of(array)) is not None}.values())


def is_mapped(array: Array) -> bool:
    """Whether an array is one on a `MappedFile`."""
    return _file_of(array) is not None


def release(array: Array) -> None:
    """Give up the pages of the file behind an array on a `MappedFile`: they do not count for this process until it
    reads them again. Nothing happens to other arrays."""
    file = _file_of(array)
    if file is not None and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)
