"""HDF5 files, read so that nothing outside of them is touched and no more memory is used than they can fill."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.saving import FormatError

Array = NDArray[Any]
SIGNATURE = b"\x89HDF\r\n\x1a\n"
ROOM = 64 << 20  # bytes of arrays that any file may hold ...
EXPANSION = 16  # ... and how much larger than the file they may be: trained weights hardly compress
LONGEST_ATTRIBUTE = 64 << 20
MOST_PARTS = 10_000


def reader() -> Any:
    """The h5py package.

    Raises
    ------
    FormatError
        If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise FormatError("Keras' files need h5py: pip install 'rnnx[keras]'") from error
    return h5py


@contextmanager
def opened(path: Any, data: bytes | None = None) -> Iterator[Group]:
    """The root of an HDF5 file.

    Parameters
    ----------
    path : path
        For messages, and what is opened if there are no ``data``.
    data : bytes, optional
        The file itself, when it is a member of an archive.

    Raises
    ------
    FormatError
        If it is damaged, also while it is in use.
    OSError
        If it cannot be read.
    """
    h5py = reader()
    if data is None:
        with Path(path).open("rb") as file:
            size, start = file.seek(0, 2), (file.seek(0), file.read(8))[1]
    else:
        size, start = len(data), data[:8]
    if start != SIGNATURE:
        raise FormatError(f"{path}: not an HDF5 file, or cut off: it has {size} bytes and begins with {start!r}")
    try:
        file = h5py.File(io.BytesIO(data) if data is not None else path, "r")
    except (OSError, RuntimeError, ValueError, KeyError, OverflowError) as error:
        raise FormatError(f"{path}: the HDF5 file is damaged or cut off: {error}") from error
    try:
        yield Group(path, file, Room(ROOM + EXPANSION * size))
    except (OSError, RuntimeError, KeyError, UnicodeError, OverflowError) as error:  # what h5py raises
        raise FormatError(f"{path}: the HDF5 file is damaged: {error}") from error
    finally:
        file.close()


class Room:
    """Bytes that may still be read from a file."""

    def __init__(self, size: int):
        self.size = size

    def take(self, path: Any, name: str, size: int) -> None:
        if size > self.size:
            raise FormatError(f"{path}: array {name!r} would have {size} bytes, more than such a file can hold")
        self.size -= size


class Group:
    """A group of an HDF5 file: its members by name, its attributes.

    Parameters
    ----------
    path : path
        Of the file, for messages.
    group : h5py.Group
    room : Room
        Shared by all groups of the file.
    """

    def __init__(self, path: Any, group: Any, room: Room):
        self.path, self._group, self.room = path, group, room

    @property
    def name(self) -> str:
        return str(self._group.name)

    def names(self) -> list[str]:
        """Members, in the order of the alphabet."""
        return list(self._group)

    def _member(self, name: str) -> Any:
        """A member behind hard links only; None if there is none."""
        h5py = reader()
        found = self._group
        for part in name.split("/"):
            if part in ("", ".", ".."):
                raise FormatError(f"{self.path}: {name!r} is not the name of an array")
            if not isinstance(found, h5py.Group):
                return None
            link = found.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise FormatError(f"{self.path}: {name!r} is a link that may lead outside of the file; refused")
            found = found[part]
        return found

    def group(self, name: str) -> Group | None:
        """A group inside this one; None if there is none."""
        found = self._member(name)
        return Group(self.path, found, self.room) if isinstance(found, reader().Group) else None

    def shape(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Type and shape of an array, without reading it."""
        dataset = self._dataset(name)
        return str(dataset.dtype), tuple(dataset.shape)

    def array(self, name: str) -> Array:
        """An array of numbers.

        Raises
        ------
        FormatError
            If there is none, if its data are in another file, or if it is larger than such a file can hold.
        """
        dataset = self._dataset(name)
        self.room.take(self.path, f"{self.name}/{name}", int(dataset.size) * int(dataset.dtype.itemsize))
        if dataset.dtype.kind in "fiu":
            return np.asarray(dataset[()])
        if dataset.dtype.itemsize == 2 and dataset.attrs.get("dtype") in ("bfloat16", b"bfloat16"):
            bits = np.asarray(dataset[()]).view(np.uint16).astype(np.uint32) << 16
            return bits.view(np.float32)
        raise FormatError(f"{self.path}: array {name!r} holds {dataset.dtype}, not numbers")

    def _dataset(self, name: str) -> Any:
        dataset = self._member(name)
        if not isinstance(dataset, reader().Dataset) or dataset.shape is None:
            raise FormatError(f"{self.path}: there is no array {name!r} in {self.name!r}")
        if dataset.is_virtual or dataset.external:
            raise FormatError(f"{self.path}: the data of array {name!r} are outside of the file; refused")
        return dataset

    def text(self, name: str) -> str | None:
        """An attribute of text; None if there is none."""
        value = self._attribute(name)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if not isinstance(value, (str, bytes)):
            raise FormatError(f"{self.path}: attribute {name!r} of {self.name!r} is not text")
        return value.decode() if isinstance(value, bytes) else value

    def texts(self, name: str) -> list[str] | None:
        """An attribute that is a list of texts, also one in pieces ``name0``, ``name1``, ...; None if there is none."""
        whole = self._attribute(name)
        parts = [] if whole is None else [whole]
        while whole is None and len(parts) < MOST_PARTS:
            part = self._attribute(f"{name}{len(parts)}")
            if part is None:
                break
            parts.append(part)
        if not parts:
            return None
        found = [entry for part in parts for entry in np.asarray(part).ravel().tolist()]
        if not all(isinstance(entry, (str, bytes)) for entry in found):
            raise FormatError(f"{self.path}: attribute {name!r} of {self.name!r} is not a list of names")
        return [entry.decode() if isinstance(entry, bytes) else entry for entry in found]

    def _attribute(self, name: str) -> Any:
        if name not in self._group.attrs:
            return None
        handle = self._group.attrs.get_id(name)
        if math.prod(handle.shape or ()) * handle.dtype.itemsize > LONGEST_ATTRIBUTE:
            raise FormatError(f"{self.path}: attribute {name!r} of {self.name!r} has too many bytes")
        return self._group.attrs[name]
