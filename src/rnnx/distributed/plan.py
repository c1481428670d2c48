"""How long a step of training would take on more ranks than there are here.

    python -m rnnx.distributed.plan model.safetensors --batch 256 --timesteps 100 --ranks 64
    mpiexec --host a,b -n 2 python -m rnnx.distributed.plan ...     # with the network between these machines

What a rank computes is timed with as many rows as it would have. What ranks exchange follows from two measured points,
a small and a large sum, by the model of latency and bandwidth: a message of n bytes takes ``latency + n * per_byte``,
and a sum over N ranks ``2 log2(N)`` messages in which ``2 (N - 1) / N`` of its bytes travel.

References
----------
.. [1] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH", IJHPCA
   19(1), 2005.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import optimizers
from rnnx.distributed.job import mpi
from rnnx.distributed.ranks import ROOM
from rnnx.runtime import threads
from rnnx.saving import load_model

MEETINGS = 2  # in a step, beside the sum of the gradients
MESSAGE = "rnnx.distributed.plan: "


@dataclass(frozen=True)
class Exchange:
    """What messages cost between ranks.

    Attributes
    ----------
    latency : float
        Seconds of a small message.
    per_byte : float
        Seconds that each further byte takes.
    """

    latency: float
    per_byte: float

    def meeting(self, ranks: int) -> float:
        """Seconds of a meeting."""
        return math.ceil(math.log2(ranks)) * self.latency

    def total(self, ranks: int, nbytes: int) -> float:
        """Seconds of a sum of so many bytes."""
        return 2 * self.meeting(ranks) + 2 * (ranks - 1) / ranks * nbytes * self.per_byte

    def of_step(self, ranks: int, nbytes: int) -> float:
        """Seconds that a step of training exchanges, with gradients of so many bytes."""
        return 0.0 if ranks == 1 else MEETINGS * self.meeting(ranks) + self.total(ranks, nbytes)

    @classmethod
    def of_points(cls, ranks: int, small: float, large: float, nbytes: int) -> Exchange:
        """From the seconds of a meeting and of a sum of so many bytes, of some ranks."""
        latency = small / math.ceil(math.log2(ranks))
        left = large - 2 * small
        return cls(latency, max(0.0, left) / (2 * (ranks - 1) / ranks * nbytes))


@dataclass(frozen=True)
class Step:
    """A step of training, predicted.

    Attributes
    ----------
    ranks, rows : int
        How many ranks; rows of the batch that the busiest of them has.
    compute, exchange : float
        Seconds.
    """

    ranks: int
    rows: int
    compute: float
    exchange: float

    @property
    def seconds(self) -> float:
        return self.compute + self.exchange


def measured_exchange(comm: Any, nbytes: int, rounds: int = 30) -> Exchange:
    """What messages cost between the ranks of a communicator; all of them call it.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Of at least two ranks.
    nbytes : int
        Of the large sum.
    rounds : int
        The least of so many counts.
    """
    small, everybody = np.zeros(ROOM), np.zeros((comm.Get_size(), ROOM))
    large = np.zeros(max(1, nbytes // 4), np.float32)
    points = []
    for call in (lambda: comm.Allgather(small, everybody), lambda: comm.Allreduce(mpi().IN_PLACE, large)):
        found = []
        for _ in range(rounds):
            comm.Barrier()
            begun = time.perf_counter()
            call()
            found.append(time.perf_counter() - begun)
        points.append(comm.allreduce(min(found), op=mpi().MAX))
    return Exchange.of_points(comm.Get_size(), points[0], points[1], large.nbytes)


def exchange_here(nbytes: int) -> Exchange:
    """What messages cost between two processes of this machine.

    Raises
    ------
    RuntimeError
        If there is no mpiexec, or it fails.
    """
    beside = Path(sys.executable).with_name("mpiexec")
    program = str(beside) if beside.exists() else shutil.which("mpiexec")
    if program is None:
        raise RuntimeError("there is no mpiexec (pip install 'rnnx[mpi]'); or give --latency and --bandwidth")
    code = f"from rnnx.distributed import plan; plan.report_exchange({nbytes})"
    job = subprocess.run([program, "-n", "2", sys.executable, "-c", code], capture_output=True, text=True)
    found = [line for line in job.stdout.splitlines() if line.startswith(MESSAGE)]
    if job.returncode or not found:
        said = (job.stderr or job.stdout).strip()
        if "allow-run-as-root" in said:
            said = (
                "it refuses root; set OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, or be someone else"
            )
        raise RuntimeError(f"mpiexec failed: {said[-500:]}")
    return Exchange(*json.loads(found[0].removeprefix(MESSAGE)))


def report_exchange(nbytes: int) -> None:
    """Print what `exchange_here` reads."""
    comm = mpi().COMM_WORLD
    found = measured_exchange(comm, nbytes)
    if comm.Get_rank() == 0:
        print(MESSAGE + json.dumps([found.latency, found.per_byte]), flush=True)


def seconds_of_rows(model: Any, rows: int, timesteps: int | None, rounds: int = 5) -> float:
    """Seconds of a step with so many rows on one thread: forward, backward and update, the least of some rounds."""
    entries = model.inputs
    arrays = []
    for entry in entries:
        shape: list[Any] = [timesteps if size is None else size for size in entry.shape[1:]]
        if None in shape:
            raise ValueError(f"{model.name}: give --timesteps, its input has shape {tuple(entry.shape)}")
        arrays.append(np.random.default_rng(0).integers(0, 2, [rows, *shape]).astype(np.float32))  # ids or numbers
    x = arrays if model.several_inputs else arrays[0]
    optimizer = optimizers.Adam(1e-12)
    found = []
    with threads(1):
        for _ in range(rounds + 1):  # the first one warms up
            begun = time.perf_counter()
            y, pullback = model.vjp(x, training=True)
            slopes = [np.ones_like(part) for part in y] if model.several_outputs else np.ones_like(y)
            optimizer.apply(pullback(slopes).dweights, model.weights)
            found.append(time.perf_counter() - begun)
    return min(found[1:])


def predicted(compute: Callable[[int], float], exchange: Exchange, nbytes: int, batch: int, most: int) -> list[Step]:
    """Steps on 1, 2, 4, ... up to ``most`` ranks.

    Parameters
    ----------
    compute : callable
        Seconds of a step with so many rows.
    exchange : Exchange
    nbytes : int
        Of the gradients.
    batch : int
        Rows of the whole batch.
    most : int
    """
    counts = [2**k for k in range(most.bit_length()) if 2**k <= most]
    if most not in counts:
        counts.append(most)
    found = []
    for ranks in counts:
        rows = -(-batch // ranks)
        found.append(Step(ranks, rows, compute(rows), exchange.of_step(ranks, nbytes)))
    return found


def table(steps: Sequence[Step]) -> str:
    """Steps as lines of text."""
    lines = ["ranks   rows  compute ms  exchange ms   step ms  times as fast  efficiency"]
    first = steps[0].seconds * steps[0].ranks
    for step in steps:
        faster = first / step.seconds
        lines.append(
            f"{step.ranks:5} {step.rows:6} {1e3 * step.compute:11.3f} {1e3 * step.exchange:12.3f} "
            f"{1e3 * step.seconds:9.3f} {faster:14.2f} {100 * faster / step.ranks:10.0f}%"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m rnnx.distributed.plan",
        description="How long a step of training takes on many ranks, from measurements on this machine.",
    )
    parser.add_argument("model", help="a model file of any format that load_model reads")
    parser.add_argument("--batch", type=int, required=True, help="rows of the whole batch")
    parser.add_argument("--ranks", type=int, default=64, help="up to so many ranks")
    parser.add_argument("--timesteps", type=int, help="steps of a sequence, for a model that takes any number")
    parser.add_argument("--latency", type=float, help="microseconds of a small message, instead of measuring it")
    parser.add_argument("--bandwidth", type=float, help="gigabytes a second of large ones, instead of measuring it")
    given = parser.parse_args(arguments)
    if given.batch < 1 or given.ranks < 1 or (given.timesteps is not None and given.timesteps < 1):
        parser.error("--batch, --ranks and --timesteps must be at least 1")
    if (given.latency is None) != (given.bandwidth is None):
        parser.error("give --latency and --bandwidth, or neither")
    if given.latency is not None and (given.latency < 0 or given.bandwidth <= 0):
        parser.error("--latency must be at least 0 and --bandwidth positive")
    try:
        model = load_model(given.model)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    nbytes = sum(weight.array.nbytes for weight in model.weights if weight.trainable)
    try:
        steps, exchange = _steps(model, given, nbytes)
    except (ImportError, RuntimeError, ValueError) as error:
        parser.error(str(error))
    if steps:
        speed = f"{1e-9 / exchange.per_byte:.2f} GB/s" if exchange.per_byte else "no measurable time for bytes"
        print(f"gradients of {nbytes / 1e6:.2f} MB; latency {1e6 * exchange.latency:.1f} us, {speed}")
        print(table(steps), flush=True)
    return 0


def _steps(model: Any, given: argparse.Namespace, nbytes: int) -> tuple[list[Step], Exchange]:
    """What is predicted, on the first rank."""
    comm: Any = None
    if given.latency is not None:
        exchange = Exchange(1e-6 * given.latency, 1e-9 / given.bandwidth)
    elif (world := mpi().COMM_WORLD).Get_size() > 1:
        comm, exchange = world, measured_exchange(world, nbytes)
    else:
        exchange = exchange_here(nbytes)
    known: dict[int, float] = {}

    def compute(rows: int) -> float:
        if rows not in known:
            known[rows] = seconds_of_rows(model, rows, given.timesteps)
        return known[rows]

    steps = []
    if comm is None or comm.Get_rank() == 0:
        steps = predicted(compute, exchange, nbytes, given.batch, given.ranks)
    if comm is not None:
        ended = comm.Ibarrier()
        while not ended.Test():  # the others sleep while the first one is timed
            time.sleep(0.01)
    return steps, exchange


if __name__ == "__main__":
    sys.exit(main())
