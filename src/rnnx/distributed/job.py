"""A job that ends in the middle: every rank says why it ends, and none is left waiting."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rnnx.distributed.ranks import RankError, RankInterrupt, Ranks, say_ended

_before: Any = None  # sys.excepthook before ours
_ranks: Ranks | None = None  # of the block that was entered last
PATIENCE = 3.0  # seconds for the other ranks to end as well


@contextmanager
def ended_from_outside(ranks: Ranks) -> Iterator[None]:
    """Say so, and end, when the job is terminated inside the block: mpiexec does that when a rank has died.

    A handler of Python's does not run while MPI waits; a thread that reads the signal from a pipe does.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    other = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    if other != -1:  # somebody else listens, such as an event loop
        signal.set_wakeup_fd(other)
        os.close(read)
        os.close(write)
        yield
        return
    signal.signal(signal.SIGTERM, lambda *event: None)
    threading.Thread(target=_listen, args=(read, ranks), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(write)


def _listen(read: int, ranks: Ranks) -> None:
    while heard := os.read(read, 64):
        if signal.SIGTERM in heard:
            print(
                f"rnnx.distributed: rank {ranks.rank} of {ranks.size} ends: the job was terminated, as mpiexec does "
                "when another rank has died; start it again to go on from the last checkpoint",
                file=sys.stderr,
                flush=True,
            )
            os._exit(128 + signal.SIGTERM)
    os.close(read)


def mpi() -> Any:
    """The module ``mpi4py.MPI``; from here on an error that nobody catches ends the whole job.

    Raises
    ------
    ImportError
        If there is none, or no MPI that it could load.
    """
    global _before
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(f"rnnx.distributed needs mpi4py and an MPI ({error}): pip install 'rnnx[mpi]'") from error
    if _before is None:
        _before, sys.excepthook = sys.excepthook, _end
        atexit.register(_ended)
    return MPI


def _ended() -> None:
    """A program that ends by itself, or by `sys.exit`, before the others have come to it: see `wait_for_all`."""
    from mpi4py import MPI

    if MPI.Is_initialized() and not MPI.Is_finalized() and MPI.COMM_WORLD.Get_size() > 1:
        say_ended(MPI.COMM_WORLD)


def remember(ranks: Ranks) -> None:
    """Say which ranks know of errors."""
    global _ranks
    _ranks = ranks


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python does with an error that nobody catches; the other ranks would wait for this one for ever."""
    ranks, world = _ranks, mpi().COMM_WORLD
    known = ranks is not None and ranks.is_known(error)
    if known and isinstance(error, (RankError, RankInterrupt)):
        said = str(error) or "interrupted in another rank"
        print(f"rnnx.distributed: rank {world.Get_rank()} of {world.Get_size()} ends: {said}", file=sys.stderr)
    else:
        _before(kind, error, trace)
    sys.stderr.flush()
    if world.Get_size() > 1 and not (ranks is not None and known and _all_end(ranks)):
        world.Abort(1)


def _all_end(ranks: Ranks) -> bool:
    """Whether all ranks come here; one that has caught the error and goes on would wait for this one for ever."""
    waiting, begun = ranks.farewell.Ibarrier(), time.monotonic()
    while not waiting.Test():
        if time.monotonic() - begun > PATIENCE:
            return False
        time.sleep(0.01)
    return True
