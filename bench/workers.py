"""What a model costs in each worker process of a service: its share of the machine's memory (PSS), way by way.

    python bench/workers.py [--workers 4] [--units 1024] [--mode int8]

Linux only: the numbers are those of /proc/self/smaps_rollup. Every worker makes one prediction; all are measured while
all are alive. "without a model" is what Python, NumPy and rnnx take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from typing import Any

import numpy as np

import rnnx
from rnnx import layers

FEATURES = 32


def memory() -> tuple[float, float]:
    """PSS and private bytes of this process, in MB."""
    found = {}
    with open("/proc/self/smaps_rollup") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if rest.strip().endswith("kB"):
                found[name] = int(rest.split()[0]) / 1024
    return found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


def work(predictor: Any, barrier: Any, results: Any) -> None:
    """One worker: a prediction, and what it costs."""
    if predictor is not None:
        predictor(np.zeros((1, 2, FEATURES), np.float32))
    barrier.wait()
    found = memory()
    barrier.wait()
    results.put(found)


def measured(how: str, predictor: Any, workers: int) -> tuple[float, float]:
    """The mean of PSS and of private memory in MB over workers that are started in this way."""
    context: Any = multiprocessing.get_context(how)
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=work, args=(predictor, barrier, results)) for _ in range(workers)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    pss, private = (sum(column) / workers for column in zip(*found, strict=True))
    return pss, private


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--mode", help="of Model.quantize, for a file of narrow weights")
    options = parser.parse_args()
    folder = tempfile.mkdtemp()
    model = rnnx.Sequential(
        [
            rnnx.Input((None, FEATURES)),
            layers.LSTM(options.units, return_sequences=True, recurrent_initializer="glorot_uniform"),
            layers.LSTM(options.units, recurrent_initializer="glorot_uniform"),
            layers.Dense(8),
        ]
    )
    path = os.path.join(folder, "model.safetensors")
    if options.mode:
        model.quantize(options.mode)
    model.save(path)
    size = os.path.getsize(path) / 2**20
    del model
    print(f"a file of {size:.1f} MB, {options.workers} workers; MB in each worker: share (PSS), private, of the model")
    for how in ("fork", "spawn"):
        base, _ = measured(how, None, options.workers)
        print(f"{how:5}  without a model            {base:8.1f}")
        for name, warm, cache in (
            ("read in each worker", False, None),
            ("cache, not there before", False, os.path.join(folder, how)),
            ("cache, there before", False, os.path.join(folder, how)),
            ("warm_up before the fork", True, None),
        ):
            if how == "spawn" and warm:
                continue
            predictor = rnnx.Predictor(path, threads=1, cache=cache)
            pss, private = measured(how, predictor.warm_up() if warm else predictor, options.workers)
            print(f"{how:5}  {name:25}  {pss:8.1f} {private:8.1f} {pss - base:8.1f}")


if __name__ == "__main__":
    main()
