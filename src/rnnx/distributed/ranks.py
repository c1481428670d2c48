"""What the ranks of a job say to each other: numbers at the same place of a program, arrays, and errors.

MPI waits for ever for a rank that does not come. So every exchange begins with a meeting (`Ranks.meet`), to which each
rank brings the place where it stands and whether something was raised there; arrays follow only when all are at one
place. A rank in which something is raised goes to the next meeting with that (`Ranks.fail`), and it is raised in all.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array

ROOM = 32  # numbers of a meeting; more of them need a second message
HEAD = 3  # of these are the place, the state and how many numbers follow
WELL, FAILED, INTERRUPTED = 0.0, 1.0, 2.0


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
        said = None if error is None else f"{type(error).__name__}: {error}".strip().removesuffix(":")
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

    def total(self, array: Array) -> Array:
        """The sum of an array of all ranks, in its own place; after a meeting.

        The result is the same on every rank, and from run to run of as many ranks.
        """
        from mpi4py import MPI

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

    def of_first(self, place: str, value: Any) -> Any:
        """An object of the first rank, on all of them."""
        self.meet(place)
        return self.comm.bcast(value, root=0)

    def objects(self, place: str, value: Any) -> list[Any]:
        """An object of every rank."""
        self.meet(place)
        found: list[Any] = self.comm.allgather(value)
        return found


def mark(array: Array, found: int = 0) -> int:
    """A number that differs where arrays differ, and where those before did, whose mark is ``found``."""
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return zlib.crc32(flat, found)


def _state(error: BaseException) -> float:
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
