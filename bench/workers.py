"""What a model costs in each worker process of a service: its share of the machine's memory (PSS), way by way.

    python bench/workers.py [--workers 4] [--units 1024] [--mode int8] [--gunicorn]

Linux only: the numbers are those of /proc/self/smaps_rollup. Every worker makes one prediction; all are measured while
all are alive. "without a model" is what Python, NumPy and rnnx take. With --gunicorn (`pip install gunicorn`) the
workers are those of gunicorn with examples/services/gunicorn_app.py.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import rnnx
from rnnx import layers

FEATURES = 32
EXAMPLES = Path(__file__).parents[1] / "examples/services"


def memory(process: int | str = "self") -> tuple[float, float]:
    """PSS and private bytes of a process, in MB."""
    found = {}
    with open(f"/proc/{process}/smaps_rollup") as lines:
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


def asked(port: int, body: bytes) -> None:
    """Send a request, and wait for the answer."""
    import urllib.request  # not at the top: spawned workers import this file, and would be measured with it

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, timeout=60) as answer:
        answer.read()


def of_gunicorn(path: str, workers: int, preload: bool, cache: str | None) -> tuple[float, float]:
    """As `measured`, for workers of gunicorn; all have answered before."""
    import socket
    import subprocess
    from concurrent.futures import ThreadPoolExecutor

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"RNNX_MODEL": path, **({} if cache is None else {"RNNX_CACHE_DIR": cache})}
    words = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--chdir", str(EXAMPLES)]
    run = [sys.executable, "-m", "gunicorn", *words, *(["--preload"] if preload else []), "gunicorn_app:app"]
    server = subprocess.Popen(run, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    body = io.BytesIO()
    np.save(body, np.zeros((1, 2, FEATURES), np.float32))
    try:
        deadline = time.monotonic() + 120
        children: list[str] = []
        while len(children) < workers and time.monotonic() < deadline:
            time.sleep(0.5)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        before = {child: processor_time(child) for child in children}
        while time.monotonic() < deadline:
            try:
                with ThreadPoolExecutor(4 * workers) as pool:
                    list(pool.map(lambda _: asked(port, body.getvalue()), range(50 * workers)))
            except OSError:  # it does not listen yet
                time.sleep(0.5)
                continue
            if all(processor_time(child) > before[child] for child in children):
                break
        found = [memory(child) for child in children]
    finally:
        server.terminate()
        server.wait()
    pss, private = (sum(column) / workers for column in zip(*found, strict=True))
    return pss, private


def processor_time(process: str) -> int:
    """Ticks that a process has computed for."""
    return sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--gunicorn", action="store_true", help="workers of gunicorn")
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
    if options.gunicorn:
        for name, preload, cache in (
            ("read in each worker", False, None),
            ("cache", False, os.path.join(folder, "gunicorn")),
            ("--preload", True, None),
        ):
            pss, private = of_gunicorn(path, options.workers, preload, cache)
            print(f"gunicorn  {name:21}  {pss:8.1f} {private:8.1f}", flush=True)
        return
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
