"""Training by several ranks of MPI against one process, in turns, each rank on one thread.

    python bench/distributed.py                 # LSTM(256), batches of 64, 100 steps, 2 ranks
    python bench/distributed.py --ranks 4 --profile tiny
    python bench/distributed.py --check         # are sums the same bits, whoever comes first?
    python bench/distributed.py --plan          # rnnx.distributed.plan against steps of 1, 2, and of 4 and 8 that sleep

It starts mpiexec by itself; needs the extra ``mpi``. While one process trains, the other ranks sleep.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np

import rnnx
import rnnx.distributed
from rnnx import layers
from rnnx.distributed import plan
from rnnx.distributed.job import mpi
from rnnx.distributed.ranks import Ranks

PROFILES = {  # units, rows of a batch, time steps, features, rounds, steps of each
    "tiny": (16, 8, 10, 4, 3, 2),
    "full": (256, 64, 100, 64, 9, 4),
}
STARTED = "RNNX_BENCH_RANKS"


def compiled(units: int, features: int):
    made = rnnx.Sequential([rnnx.Input((None, features)), layers.LSTM(units), layers.Dense(1)])
    made.compile("adam", "mse")
    return made


def wait(comm) -> None:
    """A barrier that leaves the processor to others."""
    waiting = comm.Ibarrier()
    while not waiting.Test():
        time.sleep(0.002)


exchanged = [0.0]  # processor time inside MPI, where a rank may only be waiting


def counting(method):
    def counted(*arguments):
        begun = time.process_time()
        try:
            return method(*arguments)
        finally:
            exchanged[0] += time.process_time() - begun

    return counted


def times_of(model, x, y, steps: int) -> list[tuple[float, float]]:
    """Of each step the seconds, and those of the processor's work outside of MPI."""
    found = []
    for _ in range(steps):
        exchanged[0] = 0.0
        begun, worked = time.perf_counter(), time.process_time()
        model.train_on_batch(x, y)
        found.append((time.perf_counter() - begun, time.process_time() - worked - exchanged[0]))
    return found


def speed(profile: str) -> None:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD.Dup()
    units, rows, timesteps, features, rounds, steps = PROFILES[profile]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, timesteps, features)).astype("float32"), rng.normal(size=(rows, 1))
    rnnx.utils.set_random_seed(0)
    one, many = compiled(units, features), compiled(units, features)
    many.set_weights(one.get_weights())
    alone: list[tuple[float, float]] = []
    together: list[tuple[float, float]] = []
    for name in ("meet", "total"):
        setattr(Ranks, name, counting(getattr(Ranks, name)))
    for number in range(rounds + 1):  # the first one warms up
        wait(comm)
        found = times_of(one, x, y, steps) if comm.rank == 0 else []
        wait(comm)
        with rnnx.distributed.data_parallel(comm):
            both = times_of(many, x, y, steps)
        if number:
            alone += found
            together += both
    flat, small = np.zeros(sum(w.value.size for w in many.weights), "float32"), np.zeros(32)
    all_small = np.zeros((comm.size, 32))
    sums, meetings = [], []
    for _ in range(30):
        comm.Barrier()
        begun = time.perf_counter()
        comm.Allreduce(MPI.IN_PLACE, flat)
        sums.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        comm.Allgather(small, all_small)
        meetings.append(time.perf_counter() - begun)
    if comm.rank:
        return
    for own, other in zip(one.get_weights(), many.get_weights(), strict=True):
        assert np.allclose(own, other, rtol=1e-3, atol=1e-4), "the ranks train something else than one process"
    one_seconds, one_work = np.array(alone).T
    all_seconds, own_work = np.array(together).T
    least, median = (f(one_seconds) / f(all_seconds) for f in (np.min, np.median))
    print(f"LSTM({units}), batch {rows}, {timesteps} steps, {features} features, {comm.size} ranks of one thread")
    for name, seconds, work in (("one process", one_seconds, one_work), (f"{comm.size} ranks", all_seconds, own_work)):
        print(
            f"{name:12} {1e3 * seconds.min():8.2f} ms a step (least), {1e3 * np.median(seconds):8.2f} (median), "
            f"{1e3 * np.median(work):8.2f} of the processor outside of MPI"
        )
    print(f"ratio        {least:8.2f} (of the least), {median:.2f} (of the medians)", end="")
    print(f", {np.median(one_work) / np.median(own_work):.2f} of the work of a rank")
    print(f"allreduce of {flat.nbytes / 1e6:.2f} MB {1e3 * min(sums):.3f} ms, a meeting {1e6 * min(meetings):.0f} us")


def planned(compute: float, profile: str, sleeps: bool) -> None:
    """Seconds of a step of this job, whose ranks compute or sleep instead; the least and the median on rank 0."""
    comm = mpi().COMM_WORLD
    units, rows, timesteps, features, rounds, _ = PROFILES[profile]
    found = []
    if sleeps:
        ranks, flat = Ranks(comm), np.zeros(sum(w.value.size for w in compiled(units, features).weights), "float32")
        for _ in range(rounds):
            wait(comm)
            begun = time.perf_counter()
            time.sleep(compute)
            ranks.meet("losses", np.zeros(6))
            ranks.total("gradients", flat)
            found.append(time.perf_counter() - begun)
    else:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(rows, timesteps, features)).astype("float32"), rng.normal(size=(rows, 1))
        model = compiled(units, features)
        with rnnx.distributed.data_parallel():
            found = [seconds for seconds, _ in times_of(model, x, y, rounds)[1:]]
    if comm.rank == 0:
        print(f"measured {min(found)} {np.median(found)}", flush=True)


def against_plan(profile: str, run) -> None:
    """Predictions from two points and one process, and what jobs of 1, 2, 4 and 8 ranks take."""
    units, rows, timesteps, features, *_ = PROFILES[profile]
    model = compiled(units, features)
    nbytes = sum(weight.value.nbytes for weight in model.weights)
    exchange = plan.exchange_here(nbytes)
    print(f"latency {1e6 * exchange.latency:.1f} us, {1e-9 / max(1e-15, exchange.per_byte):.2f} GB/s")
    for ranks in (1, 2, 4, 8):
        sleeps = ranks > 2  # more than processors here: what they compute is slept, of 4 times the batch
        of_rank = -(-rows * (4 if sleeps else 1) // ranks)
        step = plan.Step(
            ranks, of_rank, plan.seconds_of_rows(model, of_rank, timesteps), exchange.of_step(ranks, nbytes)
        )
        words = ["--seconds", str(step.compute), "--profile", profile, *(["--sleeps"] if sleeps else [])]
        job = run(ranks, words)
        least, median = map(float, job.stdout.split("measured ")[1].split()[:2])
        print(
            f"{ranks} ranks: predicted {1e3 * step.seconds:8.2f} ms ({1e3 * step.exchange:.2f} of exchange), "
            f"measured {1e3 * least:8.2f} (least), {1e3 * median:8.2f} (median), "
            f"ratio {least / step.seconds:.2f} (of the least)",
            flush=True,
        )


def check() -> None:
    """Sums of one communicator again and again, with ranks that come late by turns."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    for size in (100, 10_000, 600_000, 4_000_000):
        given = np.random.default_rng(comm.rank).normal(size=size).astype("float32")
        found = set()
        for k in range(40):
            if k % comm.size == comm.rank:
                time.sleep(0.002)
            summed = given.copy()
            comm.Allreduce(MPI.IN_PLACE, summed)
            found.add(zlib.crc32(summed))
        everywhere = set().union(*comm.allgather(found))
        if comm.rank == 0:
            print(f"{size:9} numbers, {comm.size} ranks: {len(everywhere)} different result(s) of {40 * comm.size}")
        assert len(everywhere) == 1, "sums depend on who comes first"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="full")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--sleeps", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if os.environ.get(STARTED):
        if given.seconds is not None:
            planned(given.seconds, given.profile, given.sleeps)
        else:
            check() if given.check else speed(given.profile)
        return
    beside = Path(sys.executable).with_name("mpiexec")
    program = str(beside) if beside.exists() else shutil.which("mpiexec")
    if program is None:
        sys.exit("there is no mpiexec: pip install 'rnnx[mpi]'")
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")  # of the planner too
    environment = dict(os.environ, RNNX_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", **{STARTED: str(given.ranks)})
    environment.setdefault("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")

    def run(ranks: int, words: list[str], **options):
        return subprocess.run([program, "-n", str(ranks), sys.executable, __file__, *words], env=environment, **options)

    if given.plan:
        with rnnx.threads(1):
            against_plan(given.profile, lambda *job: run(*job, stdout=subprocess.PIPE, text=True, check=True))
    else:
        sys.exit(run(given.ranks, sys.argv[1:]).returncode)


if __name__ == "__main__":
    main()
