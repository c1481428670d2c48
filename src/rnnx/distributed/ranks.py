"""What the ranks of a job say to each other: numbers at the same place of a program, arrays, and errors.

MPI waits for ever for a rank that does not come. So every exchange begins with a meeting (`Ranks.meet`), to which each
rank brings the place where it stands and whether something was raised there; arrays follow only when all are at one
place. A rank in which something is raised goes to the next meeting with that (`Ranks.fail`), and it is raised in all.
What follows a meeting is not left half done: Ctrl-C waits for its end.
"""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.training.interrupts import interrupts_wait

ROOM = 32  # numbers of a meeting; more of them need a second message
HEAD = 3  # of these are the place, the state and how many numbers follow
WELL, FAILED, INTERRUPTED = 0.0, 1.0, 2.0
ENDED = 32749  # tag of what a process that ends says to the next one
PAUSE = 0.001  # seconds between looks at who has come


class RankError(RuntimeError):
    """Something was raised in another rank, or the ranks are not at the same place of the program."""


class RankInterrupt(KeyboardInterrupt):
    """Ctrl-C in another rank."""


class Ranks:
    """The ranks of an MPI communicator.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Copies of it are used.

    Attributes
    ----------
    rank, size : int
    comm : mpi4py.MPI.Comm
        For all that is said here.
    farewell : mpi4py.MPI.Comm
        For ranks that end.
    """

    def __init__(self, comm: Any):
        self.comm, self.farewell = comm.Dup(), comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._mine, self._all = np.zeros(ROOM), np.zeros((self.size, ROOM))
        self._known: BaseException | None = None  # that all ranks know of
        self._sums: dict[tuple[int, str], Array] = {}

    @interrupts_wait()
    def meet(self, place: str, numbers: Sequence[float] | Array = ()) -> Array:
        """Numbers of all ranks.

        Parameters
        ----------
        place : str
            Where in the program this is, for the message when ranks are at different ones.
        numbers : sequence of float

        Returns
        -------
        array of shape (ranks, numbers), float64

        Raises
        ------
        RankError, KeyboardInterrupt
            If a rank came with an error, or from another place; in all ranks then.
        """
        count = len(numbers)
        brought = min(count, ROOM - HEAD)
        mine = self._mine
        mine[:HEAD] = zlib.crc32(place.encode()), WELL, count
        mine[HEAD : HEAD + brought] = numbers[:brought]
        self.comm.Allgather(mine, self._all)
        heads = self._all[:, :HEAD]
        if (heads != heads[0]).any():
            self._disagree(place)
        if count == brought:
            return self._all[:, HEAD : HEAD + count].copy()
        whole = np.empty((self.size, count))
        self.comm.Allgather(np.ascontiguousarray(numbers, np.float64), whole)
        return whole

    def _disagree(self, place: str, error: BaseException | None = None) -> None:
        """Raise what is wrong; all ranks come here."""
        said = None if error is None else _words_of(error)
        words = self.comm.allgather((place, said))
        states = self._all[:, 1]
        failed = [k for k, state in enumerate(states) if state == FAILED]
        found: BaseException
        if failed and error is None:
            who = "ranks " + ", ".join(map(str, failed)) if len(failed) > 1 else f"rank {failed[0]}"
            found = RankError(f"{who} of {self.size}, at {words[failed[0]][0]}: {words[failed[0]][1]}")
        elif (states == INTERRUPTED).any():
            found = RankInterrupt()
        elif not failed:
            places = "; ".join(f"rank {k} is at {place}" for k, (place, _) in enumerate(words))
            found = RankError(
                f"the ranks are not at the same place: {places}. All of them must call the same functions in the same "
                "order, with as many batches"
            )
        else:
            return
        self._known = found
        raise found

    @interrupts_wait()
    def fail(self, place: str, error: BaseException) -> None:
        """Tell the others what was raised here, at their next meeting, if they do not know it."""
        if error is self._known:
            return
        self._mine[:] = 0
        self._mine[:HEAD] = zlib.crc32(place.encode()), _state(error), 0
        self.comm.Allgather(self._mine, self._all)
        self._known = error
        try:
            self._disagree(place, error)
        except (RankError, RankInterrupt):
            pass  # its own error goes on here
        self._known = error

    def is_known(self, error: BaseException | None) -> bool:
        """Whether all ranks know of an error."""
        return error is not None and error is self._known

    @interrupts_wait()
    def total(self, place: str, array: Array) -> Array:
        """The sum of an array of all ranks, in its own place.

        The result is the same on every rank, and from run to run of as many ranks.
        """
        from mpi4py import MPI

        self.meet(place, [float(array.size)])
        self.comm.Allreduce(MPI.IN_PLACE, array, op=MPI.SUM)
        return array

    def buffer(self, size: int, dtype: Any) -> Array:
        """An array that is made once for all calls that ask for this size."""
        key = size, np.dtype(dtype).char
        found = self._sums.get(key)
        if found is None:
            self._sums = {key: np.empty(size, dtype)}
            found = self._sums[key]
        return found

    @interrupts_wait()
    def joined(self, place: str, array: Array) -> Array:
        """Arrays of all ranks along their first axis."""
        flags = array.dtype == bool
        part = np.ascontiguousarray(array, np.uint8 if flags else None)
        counts = self.meet(place, [len(part)])[:, 0].astype(int)
        whole = np.empty((int(counts.sum()), *part.shape[1:]), part.dtype)
        each = int(np.prod(part.shape[1:])) * part.itemsize
        sizes = counts * each
        places = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.comm.Allgatherv(
            part.reshape(-1).view(np.uint8), [whole.reshape(-1).view(np.uint8), (sizes.tolist(), places.tolist())]
        )
        return whole.view(bool) if flags else whole

    @interrupts_wait()
    def of_first(self, place: str, value: Any) -> Any:
        """An object of the first rank, on all of them."""
        # Before the meeting: an object that cannot travel is an error like any other.
        written = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL) if self.rank == 0 else b"", np.uint8)
        size = int(self.meet(place, [float(written.size)])[0, 0])
        if self.rank == 0:
            self.comm.Bcast(written, root=0)
            return value
        read = np.empty(size, np.uint8)
        self.comm.Bcast(read, root=0)
        return pickle.loads(read.data)

    @interrupts_wait()
    def objects(self, place: str, value: Any) -> list[Any]:
        """An object of every rank."""
        self.meet(place)
        found: list[Any] = self.comm.allgather(value)
        return found


def mark(array: Array, found: int = 0) -> int:
    """A number that differs where arrays differ, and where those before did, whose mark is ``found``."""
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return zlib.crc32(flat, found)


def wait_for_all(comm: Any, world: Any) -> None:
    """Wait for all ranks of a communicator, as long as none of them has ended instead (`say_ended`).

    A process that ends tells the next one of the job: where some have ended and others wait, one of those is told.

    Raises
    ------
    RankError
        If the process before this one has ended.
    """
    before = (world.Get_rank() - 1) % world.Get_size()
    if before not in comm.group.Translate_ranks(None, world.group):
        before = -1  # does not belong to these
    waiting = comm.Ibarrier()
    while not waiting.Test():
        if before >= 0 and world.Iprobe(source=before, tag=ENDED):
            raise RankError(
                f"rank {before} of {world.Get_size()} has ended, and rank {world.Get_rank()} waits for it at the start "
                "of `data_parallel`; all ranks must come there, or end with an error that says why not"
            )
        time.sleep(PAUSE)


def say_ended(world: Any) -> None:
    """Tell the next process of the job that this one ends."""
    world.Isend(bytearray(), dest=(world.Get_rank() + 1) % world.Get_size(), tag=ENDED)


def _words_of(error: BaseException) -> str:
    """What an error says, also one that cannot be asked: the others wait for its words."""
    try:
        words = str(error)
    except Exception as other:
        words = f"its message raises {type(other).__name__}"
    return f"{type(error).__name__}: {words}".strip().removesuffix(":")


def _state(error: BaseException) -> float:
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
