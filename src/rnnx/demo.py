"""The demo: who speaks? A masked GRU on spoken vowels with and without dropout, saved, reloaded, streamed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._bench.numpy_loop import NumpyGRU
from rnnx._typing import Array
from rnnx.datasets import load_japanese_vowels
from rnnx.layers import GRU, Dense, GlobalAveragePooling1D, Masking
from rnnx.models import Sequential, load_model
from rnnx.optimizers import Adam
from rnnx.optimizers.schedules import CosineDecay
from rnnx.training.batches import pad
from rnnx.utils import set_random_seed

ARMS: list[tuple[str, dict[str, Any]]] = [
    ("no dropout", {}),
    ("dropout=0.3", {"dropout": 0.3}),
    ("recurrent_dropout=0.3", {"recurrent_dropout": 0.3}),
    ("both", {"dropout": 0.3, "recurrent_dropout": 0.3}),
]
UNITS, BATCH, EPOCHS, SEEDS = 96, 18, 40, 3


def prepare() -> tuple[Array, Array, Array, Array]:
    """Padded and standardised train and test data; padded steps are 0 and will be masked."""
    (x_train, y_train), (x_test, y_test) = load_japanese_vowels()
    frames = np.concatenate(x_train)
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)
    longest = max(len(x) for x in x_train + x_test)
    train, test = (pad([(x - mean) / deviation for x in part], longest)[0] for part in (x_train, x_test))
    return train, y_train, test, y_test


def build(features: int, units: int, rates: dict[str, Any], steps: int) -> Sequential:
    """The network of one arm."""
    model = Sequential(
        [
            Masking(input_shape=(None, features)),
            GRU(units, return_sequences=True, **rates),
            GlobalAveragePooling1D(),
            Dense(9, "softmax"),
        ]
    )
    model.compile(Adam(CosineDecay(0.01, steps)), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def numpy_seconds(x: Array, units: int, batch: int) -> float:
    """Seconds of one epoch of the same recurrent layer, forward and backward, as a NumPy loop; it has no masking."""
    rng = np.random.default_rng(0)
    kernel, recurrent, bias = (
        rng.normal(size=shape, scale=0.1).astype(np.float32)
        for shape in ((x.shape[2], 3 * units), (units, 3 * units), (2, 3 * units))
    )
    loop = NumpyGRU(kernel, recurrent, bias)
    start = time.perf_counter()
    for k in range(0, len(x), batch):
        y = loop.forward(np.ascontiguousarray(x[k : k + batch].swapaxes(0, 1)))
        loop.backward(np.ones_like(y))
    return time.perf_counter() - start


def run(units: int = UNITS, epochs: int = EPOCHS, seeds: int = SEEDS, batch: int = BATCH) -> dict[str, Any]:
    """Train all arms, print what comes out, and return what was measured."""
    began = time.perf_counter()
    x, y, x_test, y_test = prepare()
    print(
        f"Japanese vowels: {len(x)} utterances to learn from, {len(x_test)} to test, 9 speakers, 7 to {x.shape[1]} "
        f"steps of {x.shape[2]} numbers.\nMasking, GRU({units}), mean over time, softmax; {epochs} epochs, "
        f"mean of {seeds} seed(s).\n"
    )
    print(f"{'GRU(...)':<24}{'train':>8}{'test':>8}{'s/epoch':>10}")
    results: dict[str, Any] = {}
    best: Any = None
    for name, rates in ARMS:
        train, test, seconds = [], [], []
        for seed in range(seeds):
            set_random_seed(seed)
            model = build(x.shape[2], units, rates, epochs * -(-len(x) // batch))
            start = time.perf_counter()
            if model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0).interrupted:
                raise KeyboardInterrupt
            seconds.append((time.perf_counter() - start) / epochs)
            train.append(model.evaluate(x, y, batch_size=270)[1])
            test.append(model.evaluate(x_test, y_test, batch_size=370)[1])
            if best is None or test[-1] > best[0]:
                best = (test[-1], model)
        measured = {"train": np.mean(train), "test": np.mean(test), "seconds": float(np.median(seconds))}
        results[name] = measured
        print(f"{name:<24}{measured['train']:>8.1%}{measured['test']:>8.1%}{measured['seconds']:>10.3f}", flush=True)
    loop = float(np.median([numpy_seconds(x, units, batch) for _ in range(3)]))
    print(f"{'NumPy loop, GRU only':<24}{'':>8}{'':>8}{loop:>10.3f}\n")
    results["numpy"] = loop
    results["same"] = _save_and_reload(best[1], x_test)
    results["step"] = _stream(best[1], x_test[0], int((x_test[0] != 0).any(axis=1).sum()))
    print(f"\n{time.perf_counter() - began:.0f} s in all. Next: examples/, `rnnx bench`, docs/dropout.md.")
    return results


def _save_and_reload(model: Any, x: Array) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vowels.safetensors"
        model.save(path)
        start = time.perf_counter()
        again = load_model(path)
        seconds = time.perf_counter() - start
        same = bool(np.array_equal(model.predict(x, batch_size=370), again.predict(x, batch_size=370)))
        size = path.stat().st_size
        del again
    print(f"saved {size / 1e3:.0f} kB, reloaded in {seconds * 1e3:.1f} ms: predictions {'equal' if same else 'DIFFER'}")
    return same


def _stream(model: Any, utterance: Array, steps: int) -> float:
    """Feed the recurrent layer step by step and compare with the whole sequence; microseconds per step."""
    layer = model.layers[1]
    whole = layer(utterance[None, :steps])[0]
    out = np.empty((1, layer.units), np.float32)
    rows = [np.ascontiguousarray(utterance[None, t]) for t in range(steps)]
    stream = layer.stream()
    same = all(np.array_equal(stream.step(row)[0], whole[t]) for t, row in enumerate(rows))
    times = []
    for _ in range(50):
        stream.reset()
        start = time.perf_counter()
        for row in rows:
            stream.step(row, out)
        times.append((time.perf_counter() - start) / steps)
    micro = float(np.median(times)) * 1e6
    print(f"streamed {steps} steps of one utterance: {micro:.1f} µs a step, {'the same bits' if same else 'DIFFERENT'}")
    return micro
