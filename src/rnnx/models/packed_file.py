"""Packed weights in a file that processes map, so that they are in memory once for all of them."""

from __future__ import annotations

import glob
import math
import mmap
import os
import stat
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import __version__, _kernels
from rnnx._config import path_of
from rnnx._digests import blake2b
from rnnx._mapped import MappedFile, is_mapped, release
from rnnx._typing import Array
from rnnx.layers.dense import Dense
from rnnx.layers.layer import walk
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.layers.weight import Weight, replace_all
from rnnx.saving import level_of_caller, write_whole

MAGIC = b"rnnx packed weights"
HEAD = 4096  # bytes before the first panels
ALIGNMENT = 64  # bytes: the engine reads panels in whole cache lines
PATIENCE = 60.0  # seconds for another process that writes the file
PAUSE = 0.01  # seconds between looks at it
WRITERS = stat.S_IWGRP | stat.S_IWOTH

LARGE = 1 << 16  # bytes of an array that is worth a place in the file

Source = tuple[tuple[int, ...], "np.dtype[Any]", Callable[[], Array]]  # of an array in the file: form, and the numbers


class NotShared(Exception):
    """Why a file cannot be used and is left as it is."""


def packed_parts(model: Any) -> list[Any]:
    """What packs weights for the engine in the first call of a model."""
    found: dict[int, Any] = {}
    for layer in walk(model):
        packed = None
        if isinstance(layer, RecurrentWeights) and layer.built:
            packed = layer.packed()[1]  # None: the engine does not have its activations
        elif isinstance(layer, Dense) and layer.built and layer.quantization_mode:  # others are multiplied as they are
            packed = layer.packed()
        if packed is not None:
            found[id(packed)] = packed
    return list(found.values())


def warm_up(model: Any, cache: Any = None, owners: Collection[int] = ()) -> None:
    """Pack the weights of a model, or map them packed from a file.

    Parameters
    ----------
    model : Model
        Built.
    cache : path, optional
        The file, as for `Model.warm_up`.
    owners : collection of int
        Numbers of users whose file may be mapped, besides one's own and that of root.
    """
    parts = packed_parts(model)
    weights = [weight for weight in model.weights if _is_private(weight)] if cache is not None else []
    if cache is None or not parts:
        for part in parts:
            part.prepare()
        return
    if isinstance(cache, bool):
        raise TypeError(
            f"{model.name}.warm_up: `cache` must be the path of the file, got {cache!r}; the folder for caches is "
            "chosen by Predictor(path, cache=True), which knows the file of the model"
        )
    path, versions = (
        Path(os.fspath(path_of(f"{model.name}.warm_up", cache, "cache"))),
        [weight.current_version() for weight in weights],
    )
    sources = [*map(_of_weight, weights), *(source for part in parts for source in _of_part(part))]
    try:
        found = _read(sources, path, owners)
        if found is None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone_in(path.parent) as alone:
                if alone:
                    _remove_parts(path)
                found = _read(sources, path, owners)  # another process may have written it meanwhile
                if found is None:
                    _write(sources, path)
                    found = _read(sources, path, owners)
        if found is None or versions != [weight.current_version() for weight in weights]:
            raise NotShared("the file or the weights are being changed")
    except (OSError, NotShared) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        text = f"{path}: weights are packed in this process alone, which takes memory of its own: {why}"
        warnings.warn(text, UserWarning, stacklevel=level_of_caller())
        for part in parts:
            part.prepare()
        return
    replace_all(weights, [_in_order(weight.array, array) for weight, array in zip(weights, found, strict=False)])
    left = iter(found[len(weights) :])
    for part in packed_parts(model) if weights else parts:  # made anew, they no longer hold what was replaced
        part.adopt([next(left) for _ in part.panel_forms()])
    del parts, sources  # which hold what was replaced
    _kernels.release_buffers()
    for weight in model.weights:
        release(weight.array)


# ---- The file -------------------------------------------------------------------------------------------------------


def _is_private(weight: Weight) -> bool:
    """Whether a weight takes memory of this process that a file can hold: it is large, whole, in nobody's hands, and
    not mapped already."""
    array = weight.array
    if array.nbytes < LARGE or not array.flags.forc or is_mapped(array):
        return False
    weight.current_version()  # after which only those are lent whose value somebody still holds
    return weight.lent is None


def _in_order(like: Array, array: Array) -> Array:
    """An array, transposed where another one has the order of Fortran, as first values of kernels may."""
    return array if like.flags.c_contiguous else array.T


def _of_weight(weight: Weight) -> Source:
    array = _in_order(weight.array, weight.array)
    return array.shape, array.dtype, lambda: array


def _of_part(part: Any) -> Iterator[Source]:
    """The panels of a part, in memory that goes back to the system with the array."""

    def maker(which: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], Array]:
        def make() -> Array:
            size = math.prod(shape) * dtype.itemsize
            panels = np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8)[:size].view(dtype).reshape(shape)
            part.pack_into(which, panels)
            return panels

        return make

    for which, (shape, dtype) in enumerate(part.panel_forms()):
        yield shape, dtype, maker(which, shape, dtype)


def _places(sources: Sequence[Source]) -> tuple[list[tuple[int, int]], int]:
    """First byte and number of bytes of all arrays, and the bytes of the file."""
    at, found = HEAD, []
    for shape, dtype, _ in sources:
        size = math.prod(shape) * dtype.itemsize
        found.append((at, size))
        at += -(-size // ALIGNMENT) * ALIGNMENT
    return found, at


def _head(size: int) -> bytes:
    text = b"%s 1\nrnnx %s, %s, %d bytes\n" % (MAGIC, __version__.encode(), _kernels.ISA.encode(), size)
    return text.ljust(HEAD, b"\0")


def _read(sources: Sequence[Source], path: Path, owners: Collection[int]) -> list[Array] | None:
    """All arrays in the mapped file; None if there is no file, or it is not one of these weights.

    Nothing in the file is believed: every byte that is used equals the one that is there or is packed here and now.

    Raises
    ------
    NotShared
        If the file is something else, or others may write in it.
    OSError
        If it cannot be read.
    """
    places, size = _places(sources)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return None
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NotShared("it is not a regular file")
        head = file.read(HEAD)
        if head and not head.startswith(MAGIC):
            raise NotShared("it holds something else than packed weights, and stays as it is; give another path")
        if os.name == "posix" and (status.st_mode & WRITERS or status.st_uid not in {0, os.geteuid(), *owners}):
            raise NotShared("others than this user may change it; remove it, or give another path")
        if status.st_size != size or head != _head(size):
            return None
        raw = np.frombuffer(MappedFile(handle, 0, access=mmap.ACCESS_READ), np.uint8)
    if raw.size != size:
        return None
    found = []
    for (at, n), (shape, dtype, make) in zip(places, sources, strict=True):
        there = raw[at : at + n].view(dtype).reshape(shape)
        if not _kernels.same_bytes(make(), there):
            return None
        found.append(there)
    return found


def _write(sources: Sequence[Source], path: Path) -> None:
    """Write the file, whole or not at all."""
    places, size = _places(sources)

    def write(target: Path) -> None:
        with target.open("wb") as file:
            file.write(_head(size))
            for (at, _), (_, _, make) in zip(places, sources, strict=True):
                file.write(bytes(at - file.tell()))
                file.write(make().reshape(-1).view(np.uint8).data)
            file.write(bytes(size - file.tell()))

    write_whole(path, write, mode=0o644)


def _remove_parts(path: Path) -> None:
    """Remove what processes have left that were killed while they wrote the file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):  # somebody else's
            left.unlink()


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """One process at a time writes in a folder; where the system has no such locks, any number, one after the other.

    Yields whether this process is alone in it.

    Raises
    ------
    OSError
        If the folder cannot be opened, or another process has kept it for too long.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    alone = True
    handle = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(f"another process has kept {folder} for {PATIENCE:.0f} s") from None
                time.sleep(PAUSE)
            except OSError:  # a file system without locks
                alone = False
                break
        yield alone
    finally:
        os.close(handle)


# ---- Where it is ----------------------------------------------------------------------------------------------------


def default_folder() -> Path:
    """``RNNX_CACHE_DIR``, or rnnx in the user's folder for caches, or one of the user in that for temporary files."""
    if own := os.environ.get("RNNX_CACHE_DIR"):
        return Path(own).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the specification of that variable has others ignored
        base = Path(os.path.expanduser("~")) / ".cache"
    if base.is_absolute():
        return base / "rnnx"
    import tempfile

    return Path(tempfile.gettempdir()) / f"rnnx-{os.getuid() if os.name == 'posix' else 'cache'}"


def owners_of(model_path: str) -> tuple[int, ...]:
    """Who may change the weights anyway: the user whose model file it is."""
    try:
        return (os.stat(model_path).st_uid,)
    except OSError:
        return ()


def file_for(model_path: str, folder: Any = None) -> Path:
    """The file for the weights of a model file on this processor, in a folder or in `default_folder`."""
    real = os.path.realpath(model_path)
    which = blake2b(os.fsencode(real), digest_size=6).hexdigest()
    place = default_folder() if folder is None else Path(folder)
    return place / f"{os.path.basename(real)}.{which}.{_kernels.ISA}.packed"
