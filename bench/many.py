"""Many small models on one machine: `rnnx.fit_many` by one worker and by several, and joblib with PyTorch.

    python bench/many.py [--fits 1000] [--jobs 2] [--units 32] [--torch PYTHON]
    python bench/many.py --share          # how much of a fit holds the interpreter's lock

Each fit is a GRU with a Dense layer on data of its own: 256 rows of 50 steps, batches of 32, 5 epochs of Adam. The
weights that the ways give are compared, bit for bit. With --torch, the path of a Python that has torch and joblib, as
many fits are made by joblib's processes there, the model and its loop written as in PyTorch's tutorials.

"of processors" is the time of all processes together: over that of one worker it says what was lost to the others. On a
machine with other work the clock says little.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

ROWS, TIMESTEPS, BATCH, EPOCHS = 256, 50, 32, 5


def dataset(number: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(ROWS, TIMESTEPS, 1)).astype("float32")
    return x, x[:, -5:].mean(axis=1)


# ---- PyTorch, in a Python of its own ---------------------------------------------------------------------------------


def fit_in_torch(number: int, units: int) -> float:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(number)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.dense = torch.nn.GRU(1, units, batch_first=True), torch.nn.Linear(units, 1)

        def forward(self, x: Any) -> Any:
            return self.dense(self.gru(x)[0][:, -1])

    x, y = map(torch.from_numpy, dataset(number))
    model = Network()
    optimizer, loss_of = torch.optim.Adam(model.parameters()), torch.nn.MSELoss()
    loss = torch.zeros(())
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
    return float(loss.detach())


def torch_side(fits: int, jobs: int, units: int) -> None:
    from joblib import Parallel, delayed

    begun = time.perf_counter()
    losses = Parallel(n_jobs=jobs)(delayed(fit_in_torch)(k, units) for k in range(fits))
    print(f"seconds {time.perf_counter() - begun} loss {np.mean(losses)}")


# ---- rnnx -----------------------------------------------------------------------------------------------------------


class Build:
    """Makes the model; a class so that processes find it by its name."""

    def __init__(self, units: int):
        self.units = units

    def __call__(self) -> Any:
        import rnnx
        from rnnx import layers

        model = rnnx.Sequential([rnnx.Input((None, 1)), layers.GRU(self.units), layers.Dense(1)])
        model.compile("adam", "mse")
        return model


def processor_time() -> float:
    """Of this process and of those it has waited for."""
    return sum(part.ru_utime + part.ru_stime for part in map(resource.getrusage, (resource.RUSAGE_SELF, -1)))


def fit_all(fits: int, jobs: int, units: int, backend: str) -> tuple[float, float, list[Any]]:
    """Seconds, seconds of processors, and the fits."""
    import rnnx

    datasets = [dataset(k) for k in range(fits)]
    worked, begun = processor_time(), time.perf_counter()
    found = rnnx.fit_many(
        Build(units), datasets, n_jobs=jobs, backend=backend, seeds=0, epochs=EPOCHS, batch_size=BATCH, verbose=0
    )
    assert not found.failed, found[found.failed[0]].error
    seconds = time.perf_counter() - begun
    if backend != "threads":  # the system counts the time of processes that have ended
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown()
    return seconds, processor_time() - worked, found


def compare(fits: int, jobs: int, units: int, python: str | None) -> None:
    ways = [
        ("one worker", 1, "threads"), ("threads", jobs, "threads"), ("processes", jobs, "processes"),
        ("auto", jobs, "auto"),
    ]  # fmt: skip
    fit_all(2, 1, units, "threads")
    times: dict[str, tuple[float, float]] = {}
    expected: Any = None
    print(f"{fits} fits of GRU({units}): {ROWS} rows of {TIMESTEPS} steps, {EPOCHS} epochs, {jobs} workers\n")
    print("| | seconds | of processors | a fit, ms | times one worker |")
    print("|---|---|---|---|---|")
    for name, workers, backend in ways:
        seconds, worked, found = fit_all(fits, workers, units, backend)
        weights = [[w.tobytes() for w in model.get_weights()] for model in found.models]
        expected = weights if expected is None else expected
        assert weights == expected, f"{name}: other weights than those of one worker"
        times[name] = seconds, worked
        own = 1e3 * np.median([fit.seconds for fit in found])
        print(
            f"| {name} | {seconds:.2f} | {worked:.2f} | {own:.1f} | {times['one worker'][0] / seconds:.2f} |",
            flush=True,
        )
    best = min(times[name][0] for name, workers, _ in ways if workers > 1)
    if python is None:
        return
    words = [python, __file__, "--inside-torch", "--fits", str(fits), "--jobs", str(jobs), "--units", str(units)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    said = subprocess.run(words, env=clean, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    print(f"| joblib + torch | {float(said[1]):.2f} | | | {times['one worker'][0] / float(said[1]):.2f} |")
    print(f"\n{jobs} workers: {float(said[1]) / best:.1f} times as fast as joblib and PyTorch with as many")


def share(units: int) -> None:
    """Let a second thread ask for the interpreter's lock all the time: what it gets is what a fit leaves."""
    from rnnx import _kernels

    model, (x, y) = Build(units)(), dataset(0)
    times: dict[str, float] = {}

    def timed(name: str) -> Any:
        method = getattr(_kernels, name)

        def call(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                times[name] = times.get(name, 0.0) + time.perf_counter() - begun

        return call

    fit: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": 0}
    model.fit(x, y, **fit)
    alone = min(_seconds(lambda: model.fit(x, y, **fit)) for _ in range(20))
    own = {name: getattr(_kernels, name) for name in ("forward", "backward")}
    for name in own:
        setattr(_kernels, name, timed(name))
    whole = _seconds(lambda: [model.fit(x, y, **fit) for _ in range(20)]) / 20
    for name, method in own.items():
        setattr(_kernels, name, method)
    inside = sum(times.values()) / 20
    steps = EPOCHS * ROWS // BATCH
    print(
        f"a fit of {steps} steps: {1e3 * alone:.2f} ms alone, {100 * inside / whole:.0f} % of it in the engine's passes"
    )
    print(f"a step: {1e6 * inside / steps:.0f} us in them, {1e6 * (whole - inside) / steps:.0f} us outside")
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            for _ in range(100):
                pass
            counted[0] += 1

    def counts(work: Any) -> float:
        counted[0] = 0
        stop.clear()
        thread = threading.Thread(target=count)
        thread.start()
        seconds = _seconds(work)
        stop.set()
        thread.join()
        return counted[0] / seconds

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # a thread that waits gets the lock at once
    free, beside = counts(lambda: time.sleep(0.3)), counts(lambda: [model.fit(x, y, **fit) for _ in range(10)])
    sys.setswitchinterval(before)
    print(f"a thread that only counts, beside fits: {100 * beside / free:.0f} % of its speed")


def _seconds(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--share", action="store_true")
    parser.add_argument("--inside-torch", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside_torch:
        torch_side(given.fits, given.jobs, given.units)
    elif given.share:
        share(given.units)
    else:
        compare(given.fits, given.jobs, given.units, given.torch)


if __name__ == "__main__":
    main()
