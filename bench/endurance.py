"""What months in a service are made of, in minutes: does memory grow, and are there steps that take long?

    python bench/endurance.py [--minutes 5] [--steps 10000000] [--calls 1000000]

Steps of a stream, then calls of `predict` whose batch and number of steps change, single arrays and ragged lists, then
streams of a pool that come, step and go. Each part ends after its number or its share of the minutes, whichever comes
first. Memory is what the process holds (RSS) after a tenth of a part and at its end; the times of single steps are
those of the first part. Ends with 1 if memory grew by more than 1 MB in a part, or the 99th percentile of a step took
more than 3 times its median: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import rnnx
from rnnx import layers

FEATURES, UNITS = 16, 32
MOST_GROWTH = 1.0  # MB
MOST_TAIL = 3.0  # times the median
TIMED = 2_000_000  # steps of which the times are kept


def memory() -> float:
    """MB that this process holds."""
    gc.collect()
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def part(name: str, work: Callable[[int], None], count: int, seconds: float, piece: int) -> float:
    """Do ``work(number)``, a piece at a time, so often; the growth of memory in MB from a tenth on."""
    start, done, begun = time.perf_counter(), 0, None
    while done < count and time.perf_counter() - start < seconds:
        size = min(piece, count - done)
        work(size)
        done += size
        if begun is None and (done >= count / 10 or time.perf_counter() - start > seconds / 10):
            begun = memory()
    end, begun = memory(), memory() if begun is None else begun
    print(f"{done:10,} {name}: {begun:.1f} -> {end:.1f} MB, {time.perf_counter() - start:.0f} s", flush=True)
    return end - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    options = parser.parse_args()
    rnnx.set_num_threads(1)
    rng = np.random.default_rng(0)
    model = rnnx.Sequential([rnnx.Input((None, FEATURES)), layers.LSTM(UNITS), layers.Dense(4)])
    x = rng.normal(size=(32, 64, FEATURES)).astype(np.float32)
    seconds = options.minutes * 20

    stream, one, y = model.stream(), x[:1, 0], np.zeros((1, 4), np.float32)
    step, clock = stream.step, time.perf_counter_ns
    times, taken = np.zeros(min(TIMED, options.steps), np.int64), 0
    times += 1  # its pages are there before memory is looked at

    def steps(count: int) -> None:
        nonlocal taken
        for _ in range(count):
            before = clock()
            step(one, y)
            times[taken % len(times)] = clock() - before
            taken += 1

    def calls(count: int) -> None:
        shapes = rng.integers(1, (9, 33), (count, 2))
        for k, (rows, length) in enumerate(shapes.tolist()):
            if k % 16:
                model.predict(x[:rows, :length])
            else:
                model.predict([x[r, : 1 + (length + 7 * r) % 32] for r in range(rows)])

    pool = rnnx.StreamPool(model, max_streams=100)

    def streams(count: int) -> None:
        for _ in range(count):
            ids = pool.open(8)
            pool.step(ids, x[:8, 0])
            pool.load(pool.save(int(ids[0])))
            for id in pool.ids.tolist():
                pool.close(id)

    grown = [
        part("steps of a stream", steps, options.steps, seconds, 10_000),
        part("calls of changing shapes", calls, options.calls, seconds, 1_000),
        part("rounds of streams that come and go", streams, options.calls // 10, seconds, 100),
    ]
    known = times[: min(taken, len(times))] / 1e3
    median, late, most = (float(np.quantile(known, q)) for q in (0.5, 0.99, 1))
    print(f"a step: median {median:.2f} us, p99 {late:.2f} ({late / median:.1f} times), most {most:.0f}")
    return int(max(grown) > MOST_GROWTH or late > MOST_TAIL * median)


if __name__ == "__main__":
    sys.exit(main())
