"""The engine measured against itself and the machine: what dropout, padding, threads, types and calls cost.

    python bench/bars.py [SECTION ...]

Both sides of a ratio take turns in one process; the figures are ratios of medians. One thread unless said. Sections:
peak, parts, float64, dropout, layer, structured, blocks, ragged, threads, calls, start, narrow, recompute, sessions.
`cc` is needed for `peak`, the package `onnx` for `sessions`.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).with_name("peers")))

import machine
from problem import Cell

import rnnx
from rnnx import Input, Sequential, _kernels, layers
from rnnx.dropout import DropoutMasks, SeedGenerator, sample_masks
from rnnx.functional import GRUParams, LSTMParams, gru, lstm

RNG = np.random.default_rng(1)
CORES: dict[str, tuple[Any, int]] = {"lstm": (lstm, 4), "gru": (gru, 3)}
NARROW = ("full", "bf16", "int8", "int8x16", "int16")
SECTIONS: dict[str, Callable[[], None]] = {}


def section(function: Callable[[], None]) -> Callable[[], None]:
    SECTIONS[function.__name__] = function
    return function


def line(what: str, asked: str, measured: str) -> None:
    print(f"| {what} | {asked} | {measured} |", flush=True)


def medians(*calls: Callable[[], Any], seconds: float = 1.0) -> list[float]:
    """Seconds of each call: medians of rounds in which they take turns."""
    counts, times = [], [[] for _ in calls]
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        counts.append(max(1, int(0.01 / (time.perf_counter() - start))))
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(times[0]) < 7:
        for call, count, own in zip(calls, counts, times, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                call()
            own.append((time.perf_counter() - start) / count)
    return [statistics.median(own) for own in times]


def problem(cell: str, batch: int, timesteps: int, units: int, dtype: Any = np.float32) -> Any:
    """Parameters, packed weights, x and the gradient of the outputs; as many features as units."""
    core, gates = CORES[cell]
    kernels = [(RNG.normal(size=(units, gates * units)) / np.sqrt(units)).astype(dtype) for _ in range(2)]
    params = LSTMParams(*kernels, np.zeros(4 * units, dtype))
    if cell == "gru":
        params = GRUParams(*kernels, np.zeros((2, 3 * units), dtype))
    x, dy = (RNG.normal(size=(batch, timesteps, units)).astype(dtype) for _ in range(2))
    return core, params, core.pack(params), x, dy


def training(core: Any, params: Any, packed: Any, x: Any, dy: Any, **call: Any) -> Callable[[], Any]:
    """Forward, backward, and packing of the weights, which have changed since the last step."""

    def step() -> None:
        run = core.forward(params, x, packed=core.pack(params), training=True, **call)
        core.backward(run.cache, dy)

    return step


def inference(core: Any, params: Any, packed: Any, x: Any, dy: Any, **call: Any) -> Callable[[], Any]:
    return lambda: core.forward(params, x, packed=packed, **call)


def masks_for(cell: str, x: Any, units: int, **options: Any) -> Any:
    batch, timesteps, features = x.shape
    return sample_masks(cell, batch, timesteps, features, units, seed_generator=SeedGenerator(1), **options)


# ---- Sections -------------------------------------------------------------------------------------------------------


@section
def peak() -> None:
    for cell in CORES:
        for units in (128, 256):
            for batch in (8, 32):
                given = problem(cell, batch, 50, units)
                forward = 2.0 * batch * 50 * given[2].products
                t = medians(machine.burn, inference(*given), training(*given))
                flops = machine.burn() / t[0]
                line(
                    f"{cell} B={batch} H={units}: share of the FMA peak ({flops / 1e9:.0f} GFLOP/s), "
                    "inference / training",
                    "85 % / 75 %",
                    f"{forward / t[1] / flops:.0%} / {3 * forward / t[2] / flops:.0%}",
                )


@section
def parts() -> None:
    batch, steps, more = 32, 50, 8  # `more` times as many rows, so that the call for the product alone is no part of it
    for cell in CORES:
        for units in (64, 128, 256, 512):
            given = problem(cell, batch, steps, units)
            kernel = _kernels.PackedDense(given[1].kernel, None)
            rows = RNG.normal(size=(more * batch, units)).astype(np.float32)
            t = medians(inference(*given), functools.partial(kernel.apply, rows))
            products = 2 * steps * t[1] / more / t[0]
            activations = (machine.gates_time(Cell("sequence", cell, batch, steps, units)) or 0) / t[0]
            line(
                f"{cell} B={batch} H={units}: its products alone / its activations alone / the rest, of a sequence",
                "-",
                f"{products:.0%} / {activations:.0%} / {1 - products - activations:.0%}",
            )


@section
def float64() -> None:
    for cell in CORES:
        for units in (128, 256):
            single, double = problem(cell, 16, 30, units), problem(cell, 16, 30, units, np.float64)
            t = medians(inference(*single), inference(*double), training(*single), training(*double))
            line(
                f"{cell} B=16 H={units}: speed of float64 over float32, inference / training",
                "0.45",
                f"{t[0] / t[1]:.2f} / {t[2] / t[3]:.2f}",
            )


@section
def dropout() -> None:
    for cell in CORES:
        for units in (128, 256):
            given = problem(cell, 32, 50, units)
            sites = {"dropout": 0.5, "recurrent_dropout": 0.25}
            per_gate = masks_for(cell, given[3], units, dropout_gates="per_gate", **sites)
            shared = masks_for(cell, given[3], units, dropout_gates="shared", **sites)
            t = medians(*(training(*given, masks=masks) for masks in (None, per_gate, shared)))
            line(
                f"{cell} B=32 H={units}: training step with dropout over without, masks per gate / one for all gates",
                "1.05",
                f"{t[1] / t[0]:.3f} / {t[2] / t[0]:.3f}",
            )


def layer_step(cell: str, batch: int, units: int, **dropout: Any) -> Callable[[], Any]:
    """A training step as users call it: weights assigned, masks drawn, forward, backward; 100 time steps."""
    kind = layers.LSTM if cell == "lstm" else layers.GRU
    layer = kind(units, return_sequences=True, seed=1, **dropout)
    x, dy = (RNG.normal(size=(batch, 100, units)).astype(np.float32) for _ in range(2))
    layer(x)
    values = layer.get_weights()

    def step() -> None:
        for weight, value in zip(layer.weights, values, strict=True):
            weight.assign(value)
        _, pullback = layer.vjp(x, training=True)
        pullback(dy)

    return step


@section
def layer() -> None:
    sites = {"dropout": 0.5, "recurrent_dropout": 0.25}
    rows = {
        "dropout": 0.5,
        "recurrent_dropout": 0.5,
        "noise_shape": (1, 1, None),
        "recurrent_noise_shape": (1, 1, None),
    }
    forms = [{}, *({**rates, "dropout_gates": gates} for rates in (sites, rows) for gates in ("per_gate", "shared"))]
    asked = {32: ("1.08", "-"), 64: ("1.06", "1.3 / 1.5"), 128: ("1.04", "1.5 / 1.65"), 256: ("1.03", "1.6 / 1.75")}
    for cell in CORES:
        for units, (least, most) in asked.items():
            for batch in (16, 32):
                t = medians(*(layer_step(cell, batch, units, **form) for form in forms))
                line(
                    f"{cell} B={batch} H={units}, `layer.vjp`: training step with dropout over without, masks per gate "
                    "/ one for all gates",
                    f"{least} / 1.03",
                    f"{t[1] / t[0]:.3f} / {t[2] / t[0]:.3f}",
                )
                line(
                    f"{cell} B={batch} H={units}, `layer.vjp`: speed with half of the units dropped for the batch, "
                    "masks per gate / one for all gates",
                    most,
                    f"{t[0] / t[3]:.2f} / {t[0] / t[4]:.2f}",
                )


@section
def structured() -> None:
    for cell in CORES:
        for units, batch in ((128, 16), (256, 16), (128, 32), (256, 32)):
            given = problem(cell, batch, 50, units)
            made = []
            for gates in (1, CORES[cell][1]):
                half = np.zeros(
                    (2, gates, 1, 1, units), np.float32
                )  # exactly half, so that the ratio is not one of luck
                for row in half.reshape(-1, units):
                    row[RNG.permutation(units)[: units // 2]] = 2
                made.append(DropoutMasks(inputs=half[0], recurrent=half[1]))
            t = medians(*(training(*given, masks=masks) for masks in (None, *made)))
            line(
                f"{cell} B={batch} H={units}: speed of a training step with half of the units dropped for the batch, "
                "one mask / one per gate",
                "1.6",
                f"{t[0] / t[1]:.2f} / {t[0] / t[2]:.2f}",
            )


@section
def blocks() -> None:
    """Block-diagonal recurrent kernels; the kernel of the input is dense."""
    for cell in CORES:
        for units in (256, 512):
            for features in (16, units):
                steppers, trainings = [], []
                for count in (1, 4, 8):
                    kind = layers.LSTM if cell == "lstm" else layers.GRU
                    layer = kind(units, return_sequences=True, recurrent_blocks=count)
                    x, dy = (RNG.normal(size=(16, 50, width)).astype(np.float32) for width in (features, units))
                    layer(x)
                    row, out = np.ascontiguousarray(x[:1, 0]), np.empty((1, units), np.float32)
                    core, params = layer.core, layer.packed()[0]
                    steppers.append(functools.partial(layer.stream().step, row, out))
                    trainings.append(training(core, params, None, x, dy))
                t, u = medians(*steppers), medians(*trainings)
                line(
                    f"{cell} H={units}, {features} features: speed of 4 / 8 blocks over a dense kernel, a step of one "
                    "row; training, B=16",
                    "2.8 / 5.6" if features == 16 else "-",
                    f"{t[0] / t[1]:.2f} / {t[0] / t[2]:.2f}; {u[0] / u[1]:.2f} / {u[0] / u[2]:.2f}",
                )


@section
def ragged() -> None:
    lengths = RNG.integers(10, 101, size=32)
    share = lengths.sum() / (32 * 100)
    for cell in CORES:
        for units in (64, 256):
            given = problem(cell, 32, 100, units)
            made = [call(*given, **more) for call in (inference, training) for more in ({}, {"lengths": lengths})]
            t = medians(*made)
            line(
                f"{cell} B=32 H={units}, lengths 10 to 100: time over (real / padded steps) x padded time, "
                "inference / training",
                "1.10",
                f"{t[1] / t[0] / share:.2f} / {t[3] / t[2] / share:.2f}",
            )


@section
def threads() -> None:
    for cell in CORES:
        for batch, steps, units in ((16, 20, 32), (16, 50, 64), (32, 50, 128), (32, 50, 256)):
            given = problem(cell, batch, steps, units)
            calls = [call(*given, threads=n) for call in (inference, training) for n in (1, 2)]
            t = medians(*calls)
            line(
                f"{cell} B={batch} T={steps} H={units}: speed of two threads over one, inference / training",
                "1" if batch == 16 else "1.8",
                f"{t[0] / t[1]:.2f} / {t[2] / t[3]:.2f}",
            )
    both = Sequential([Input((None, 256)), layers.Bidirectional(layers.LSTM(256, return_sequences=True))])
    x = RNG.normal(size=(1, 100, 256)).astype(np.float32)

    def directions(n: int) -> Callable[[], Any]:
        def run() -> None:
            with rnnx.threads(n):
                both(x)

        return run

    t = medians(directions(1), directions(2))
    line("Bidirectional LSTM(256), B=1: speed of two threads over one", "-", f"{t[0] / t[1]:.2f}")
    model = Sequential([Input((None, 256)), layers.LSTM(256)])
    x = RNG.normal(size=(4, 100, 256)).astype(np.float32)

    def users(n: int) -> Callable[[], Any]:
        def work() -> None:
            with rnnx.threads(1):
                for _ in range(20 // n):
                    model(x)

        def run() -> None:
            own = [threading.Thread(target=work) for _ in range(n)]
            for thread in own:
                thread.start()
            for thread in own:
                thread.join()

        return run

    t = medians(users(1), users(2), seconds=2)
    line("20 calls of one LSTM(256), by two Python threads over by one", "1.9", f"{t[0] / t[1]:.2f}")


@section
def calls() -> None:
    units = 8
    x = RNG.normal(size=(1, 1, units)).astype(np.float32)
    layer = layers.LSTM(units)
    model = Sequential([Input((None, units)), layers.LSTM(units), layers.Dense(1)])
    layer(x)
    stepper = _kernels.Stepper(layer.packed()[1], 1)
    stream, deep, row, out = layer.stream(), model.stream(), x[:, 0], np.empty((1, units), np.float32)
    t = medians(
        lambda: stepper.step(row, out),
        lambda: stream.step(row, out),
        lambda: deep.step(row),
        lambda: layer(x),
        lambda: model.predict(x, verbose=0),
    )
    line("LSTM(8), one step: `stream.step` over the compiled step", "1 µs", f"{(t[1] - t[0]) * 1e6:.2f} µs")
    line("LSTM(8), Dense(1): `stream.step` of the model", "-", f"{t[2] * 1e6:.2f} µs")
    line("LSTM(8): `layer(x)`", "5 µs", f"{t[3] * 1e6:.1f} µs")
    line("LSTM(8), Dense(1): `model.predict(x)`", "10 µs", f"{t[4] * 1e6:.1f} µs")


@section
def start() -> None:
    weights = "k = rng.normal(size=(8, 64)).astype('f'); r = rng.normal(size=(16, 64)).astype('f'); b = k[0]"
    x = "x = rng.normal(size=(1, 20, 8)).astype('f')"
    common = f"import numpy as np; rng = np.random.default_rng(1); {weights}; {x}"
    loop = """
h = c = np.zeros((1, 16), "f")
for t in range(20):
    i, f, g, o = np.split(x[:, t] @ k + h @ r + b, 4, 1)
    c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
    h = np.tanh(c) / (1 + np.exp(-o))
"""
    ours = """
import rnnx
model = rnnx.Sequential([rnnx.Input((None, 8)), rnnx.layers.LSTM(16)])
model.set_weights([k, r, b])
model.predict(x, verbose=0)
"""

    with tempfile.TemporaryDirectory() as folder:
        compiled = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        compiled.pop("PYTHONDONTWRITEBYTECODE", None)

        def process(text: str) -> Callable[[], Any]:
            return lambda: subprocess.run([sys.executable, "-c", f"{common}\n{text}"], check=True, env=compiled)

        t = medians(process(loop), process(ours), seconds=4)
    line("process start to first prediction, over a NumPy loop", "0.03 s", f"{t[1] - t[0]:.3f} s")


@section
def narrow() -> None:
    for cell in CORES:
        core, _ = CORES[cell]
        for units in (256, 512, 1024):
            for batch in (1, 8):
                _, params, _, x, _ = problem(cell, batch, 20, units)
                packed = [core.pack(params, weights) for weights in NARROW]
                calls = (functools.partial(core.forward, params, x, return_state=False, packed=p) for p in packed)
                t = medians(*calls, seconds=0.5)
                line(
                    f"{cell} B={batch} H={units}: speed of {' / '.join(NARROW[1:])} weights over float32",
                    "1 beyond L2",
                    " / ".join(f"{t[0] / narrow:.2f}" for narrow in t[1:]),
                )


@section
def recompute() -> None:
    for cell in CORES:
        given = problem(cell, 32, 50, 256)
        t = medians(training(*given), training(*given, recompute=True))
        line(f"{cell} B=32 H=256: training step that recomputes over one that stores", "-", f"{t[1] / t[0]:.2f}")


@section
def sessions() -> None:
    """A graph of ONNX as its model, and node by node."""
    from rnnx.formats.onnx import Session
    from rnnx.formats.onnx._file import Source
    from rnnx.formats.onnx._program import Program
    from rnnx.formats.onnx._write import exported

    def sequences(cls: Any) -> Any:
        return cls(64, return_sequences=True)

    stacks: dict[str, Callable[[], list[Any]]] = {
        "GRU": lambda: [sequences(layers.GRU)],
        "GRU, Dense": lambda: [sequences(layers.GRU), layers.Dense(64, activation="tanh")],
        "GRU, LayerNormalization": lambda: [sequences(layers.GRU), layers.LayerNormalization()],
        "Bidirectional LSTM": lambda: [layers.Bidirectional(sequences(layers.LSTM))],
        "5 LSTM": lambda: [sequences(layers.LSTM) for _ in range(5)],
    }
    for name, make in stacks.items():
        proto, _ = exported(Sequential([Input((None, 64), name="x"), *make()]))
        session, source = Session(proto), Source(proto)
        program = Program(source, source.proto.graph)
        by_program = Session(proto)
        by_program._program, by_program._meter = program, source.meter
        assert session.model is not None
        for batch, steps in ((1, 1), (1, 50), (16, 100)):
            feeds = {"x": RNG.normal(size=(batch, steps, 64)).astype(np.float32)}
            (y,), (z,) = session.run(feeds).values(), by_program.run(feeds).values()
            np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-5)
            t = medians(functools.partial(session.run, feeds), functools.partial(by_program.run, feeds))
            line(
                f"ONNX session of {name}, B={batch} T={steps}: time as a model over as a program",
                "1",
                f"{t[0] / t[1]:.2f}",
            )


def main() -> int:
    wanted = sys.argv[1:] or list(SECTIONS)
    if unknown := [name for name in wanted if name not in SECTIONS]:
        print(f"unknown section(s) {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    rnnx.set_num_threads(1)
    print(f"{_kernels.ISA}, {os.cpu_count()} processors\n\n| what | asked | measured |\n|---|---|---|")
    for name in wanted:
        SECTIONS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
