"""Many live streams: `rnnx.StreamPool` against the same streams one by one, and at a fixed pace.

    python bench/pool.py [--profile tiny] [--threads 1] [--paced SECONDS]

Times are the best of several rounds, taken in turns, so that both sides have the same machine; with one thread they are
processor time, which other programs change less. "limit" is what the multiplications and additions of a row alone take
at the rate of a large product of the engine: no batched step takes less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import rnnx
from rnnx import layers

RNG = np.random.default_rng(3)
FEATURES = 16


def made(units: int) -> layers.LSTM:
    """A layer of this many units."""
    layer = layers.LSTM(units)
    layer(np.zeros((1, 1, FEATURES), np.float32))
    return layer


def fastest_product() -> float:
    """Multiplications and additions a second of a product in the tiles of the engine, the best of many."""
    rows, depth, columns = 96, 128, 256
    a, b = (RNG.normal(size=shape).astype(np.float32) for shape in ((rows, depth), (depth, columns)))
    packed, best = rnnx._kernels.PackedDense(b, None), np.inf
    for _ in range(500):
        start = time.thread_time()
        packed.apply(a)
        best = min(best, time.thread_time() - start)
    return 2 * rows * depth * columns / best


def against_single(units: int, streams: int, rounds: int, clock: Callable[[], float]) -> tuple[float, ...]:
    """Seconds of one step of all streams: one by one, by a pool with arrays, in another order, and with a dict."""
    layer = made(units)
    single = [layer.stream() for _ in range(streams)]
    pool = rnnx.StreamPool(layer)
    ids = pool.open(streams)
    mixed = RNG.permutation(ids)
    x = RNG.normal(size=(streams, FEATURES)).astype(np.float32)
    rows, inputs = [x[k : k + 1] for k in range(streams)], dict(zip(ids.tolist(), x, strict=True))
    for _ in range(2):  # all states move alike, and must agree bit for bit
        y = pool.step(ids, x)
        for stream, row, other in zip(single, rows, y, strict=True):
            assert np.array_equal(stream.step(row)[0], other)

    def one_by_one() -> None:
        for stream, row in zip(single, rows, strict=True):
            stream.step(row)

    best = [np.inf] * 4
    calls = [one_by_one, lambda: pool.step(ids, x), lambda: pool.step(mixed, x), lambda: pool.step(inputs)]
    for _ in range(rounds):
        for k, call in enumerate(calls):
            start = clock()
            call()
            best[k] = min(best[k], clock() - start)
    return tuple(best)


def paced(units: int, streams: int, rate: float, seconds: float) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum in seconds of steps of all streams at so many a second."""
    layer = made(units)
    pool = rnnx.StreamPool(layer)
    ids = pool.open(streams)
    x = RNG.normal(size=(streams, FEATURES)).astype(np.float32)
    y = pool.step(ids, x)
    times, due = [], time.perf_counter()
    for _ in range(max(3, int(seconds * rate))):
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        pool.step(ids, x, out=y)
        times.append(time.perf_counter() - start)
    return float(np.median(times)), float(np.quantile(times, 0.99)), max(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=["tiny", "full"], default="full")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--paced", type=float, default=20.0, help="seconds of the paced run")
    options = parser.parse_args()
    tiny = options.profile == "tiny"
    rnnx.set_num_threads(options.threads)
    streams, rounds = (40, 3) if tiny else (1000, 30)
    clock, rate = time.thread_time if options.threads == 1 else time.perf_counter, fastest_product()
    print(
        f"{streams} streams, {FEATURES} features, {options.threads} thread(s): microseconds of one step of one stream"
    )
    print("              one by one   arrays   mixed order     dict    limit    times faster          at most")
    for units in (32, 128, 256):
        found = against_single(units, streams, rounds, clock)
        single, arrays, mixed, mapping = (1e6 * t / streams for t in found)
        limit = 1e6 * 2 * 4 * units * (FEATURES + units) / rate / options.threads
        times = f"{single / arrays:.1f} / {single / mixed:.1f} / {single / mapping:.1f}"
        print(
            f"LSTM({units:3})  {single:13.3f} {arrays:8.3f} {mixed:13.3f} {mapping:8.3f} {limit:8.3f}    {times:18}"
            f"  {single / limit:8.1f}"
        )
    median, late, most = paced(128, streams, 31.0, 0.1 if tiny else options.paced)
    times = f"{1e3 * median:.2f} ms, p99 {1e3 * late:.2f}, maximum {1e3 * most:.2f}"
    print(f"{streams} LSTM(128) at 31 steps a second: {times}")


if __name__ == "__main__":
    main()
