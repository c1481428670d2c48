"""The limits of ONNX files, and what a run has taken of them."""

from __future__ import annotations

import threading

from rnnx.saving import FormatError

# ---- Files -----------------------------------------------------------------------------------------------------------

DEEPEST = 24  # subgraphs inside subgraphs
LARGEST_FILE = 2**31 - 1  # bytes, of protocol buffers
MOST_NODES = 20_000  # with every local function written out: the largest exported networks have some thousands
MOST_EVALUATED = 1_000  # different nodes for the reference evaluator, which takes half a millisecond to make one
MOST_LAYERS = 2_000  # inputs, and calls of layers, of a graph that is made into a model: a millisecond each
MOST_REPEATED = 2**20  # how often a value is repeated, in all nodes of a graph that is made into a model
MOST_NAMES = 300_000  # inputs, outputs and attributes of nodes, constants, and values of graphs
MOST_RECURRENT = 2_000  # LSTM, GRU and RNN nodes: half a millisecond each
MOST_SIZES = 100_000  # numbers that say axes, sizes or where to cut
LONGEST_NAME = 10_000  # characters: a name is looked up at every use
MOST_NUMBERS = 2**23  # integers in lists outside of raw data: each costs 36 bytes while it is read
MOST_FIELDS = 500_000  # messages, numbers and texts in a file
MOST_AXES = 64  # of an array in NumPy
MOST_DESCRIBED = 2**22  # bytes of the description of a model
UNFOLDED = 2**25  # bytes beyond twice the file that it may become with its local functions written out
OLDEST_OPSET = 7

# ---- Constants, computed when a file is loaded -----------------------------------------------------------------------

MOST_COMPUTED = 2**27  # bytes, and four times the file: bytes turned back into floats
LOADING = 300_000_000  # nanoseconds

# ---- Runs ------------------------------------------------------------------------------------------------------------

MEMORY = 3 * 2**27  # bytes, or four times the file if that is more; its pages alone take half a second
PER_INPUT = 64  # bytes for each byte of the inputs
WORK = 1_000_000_000  # nanoseconds
WORK_PER_BYTE = 10  # and for each byte of the file: networks that make much of a few letters are large
WORK_PER_INPUT = 4_096  # for each byte of the inputs
SHARE = 128  # and for each byte of the inputs one for so many bytes of the file: a product of each with each
SPECIALISED = 500_000_000  # nanoseconds for making programs of particular shapes
LONG = 2**22  # nanoseconds of a node that is asked for before it runs
SMALL = 2**22  # bytes that are not counted one by one


class Meter(threading.local):
    """What the run of this thread may still take, shared by the programs inside each other.

    Attributes
    ----------
    memory : int
        Bytes that its values may take together.
    held : int
        Bytes of the values of the programs around the one that runs.
    work, left : int
        Nanoseconds that it may take, and that are left.
    specialising : int
        Nanoseconds that are left for making programs of particular shapes.
    """

    memory, held, work, left, specialising = MEMORY, 0, LOADING, LOADING, 0

    def begin(self, memory: int, work: int, specialising: int = SPECIALISED, held: int = 0) -> None:
        """A run starts."""
        self.memory, self.work, self.left, self.specialising, self.held = memory, work, work, specialising, held

    def hold(self, more: int) -> None:
        """Count values that stay while a program inside runs; a negative number gives them back."""
        self.held += more
        if more > 0:
            self.ask(0)

    def ask(self, size: int, time: int = 0) -> None:
        """Refuse what would take more bytes or nanoseconds than there are.

        Raises
        ------
        FormatError
            With the numbers.
        """
        total = self.held + size
        if total > self.memory:
            raise FormatError(
                f"the run would take {total:,} bytes, at most {self.memory:,} are allowed; "
                "give Session(..., memory=...) if this is meant"
            )
        if time > self.left:
            taken = self.work - self.left + time
            raise FormatError(
                f"the run would take some {taken:,} ns of work, at most {self.work:,} are allowed; "
                "give Session(..., work=...) if this is meant"
            )

    def spend(self, time: int) -> None:
        """Count work that was done.

        Raises
        ------
        FormatError
            If it was more than was left.
        """
        left = self.left - time
        if left < 0:
            self.ask(0, time)
        self.left = left
