"""What each kind of dropout costs, beside Keras, Keras on rnnx and a loop over PyTorch's cells.

    python examples/dropout_study/cost.py [OUT] [--units 128] [--batches 10] [--rounds 7]
    KERAS_BACKEND=torch python examples/dropout_study/cost.py [OUT] --beside keras torch

Shapes are those of the Bach chorales: batches of 16 pieces, 60 steps, 88 keys in and out; the numbers are random. An
epoch is `fit` on ten batches; arms and engines take turns on one thread, and the figures are medians of the seconds
that the processor was busy, which other programs disturb least. A table goes to the screen, and to ``OUT/cost.md`` if a
folder is given. Keras has words for nine arms; a cell of PyTorch takes one mask for all gates.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from arms import ARMS, CELLS, build  # noqa: E402
from fitting import processor  # noqa: E402

import rnnx  # noqa: E402

ROWS, STEPS, KEYS, RATE = 16, 60, 88, 0.5
Epoch = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="folder for cost.md")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--beside", nargs="+", choices=["keras", "torch"], default=[])
    given = parser.parse_args()
    rnnx.set_num_threads(1)
    random = np.random.default_rng(1)
    x, y = ((random.random((given.batches * ROWS, STEPS, KEYS)) < 0.05).astype(np.float32) for _ in range(2))
    tables = [_table(cell, given, x, y) for cell in CELLS]
    text = "\n\n".join([_head(given), *tables]) + "\n"
    print(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "cost.md").write_text(text, encoding="utf-8")


def _head(given: argparse.Namespace) -> str:
    beside = f" --beside {' '.join(given.beside)}" if given.beside else ""
    versions = [f"rnnx {rnnx.__version__}"]
    if "keras" in given.beside:
        import keras

        versions.append(f"Keras {keras.__version__} ({keras.backend.backend()})")
    if "torch" in given.beside:
        import torch

        versions.append(f"PyTorch {torch.__version__}")
    return (
        f"# What dropout costs\n\n`python examples/dropout_study/cost.py OUT --units {given.units}{beside}`; "
        f"{', '.join(versions)}; {processor()}, one thread. Milliseconds of the processor for a training step, medians "
        f"of {given.rounds} epochs of {given.batches} batches, p = {RATE}; in brackets times the step without dropout."
    )


def _table(cell: str, given: argparse.Namespace, x: Any, y: Any) -> str:
    """All arms and engines, which take turns."""
    makers: dict[str, Callable[[str], Epoch | None]] = {"rnnx": lambda arm: _rnnx(cell, arm, given.units, x, y)}
    if "keras" in given.beside:
        makers["Keras"] = lambda arm: _keras(cell, arm, given.units, x, y, False)
        makers["Keras with `rnnx.keras`"] = lambda arm: _keras(cell, arm, given.units, x, y, True)
    if "torch" in given.beside:
        makers["loop over PyTorch's cell"] = lambda arm: _torch(cell, arm, given.units, x, y)
    epochs = {(arm, who): epoch for arm in ARMS for who, make in makers.items() if (epoch := make(arm)) is not None}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in epochs}
    for turn in range(given.rounds + 1):
        for key, epoch in epochs.items():
            start = time.process_time()
            epoch()
            if turn:  # the first one builds and packs
                times[key].append((time.process_time() - start) / given.batches * 1e3)
    rows = [
        f"## {cell}({given.units})",
        "",
        f"| what is dropped | {' | '.join(makers)} |",
        "|---|" + "---|" * len(makers),
    ]
    for arm in ARMS:
        row = [arm]
        for who in makers:
            if (arm, who) not in times:
                row.append("–")
                continue
            own, none = (statistics.median(times[name, who]) for name in (arm, "none"))
            row.append(f"{own:.2f}" + (f" ({own / none:.2f})" if arm != "none" else ""))
        rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows)


def _rnnx(cell: str, arm: str, units: int, x: Any, y: Any) -> Epoch:
    model = build(ARMS[arm], cell, 0.0 if arm == "none" else RATE, 1, units, classes=0, features=KEYS)
    model.compile("adam", "binary_crossentropy")
    return lambda: model.fit(x, y, batch_size=ROWS, epochs=1, verbose=0)


def _keras(cell: str, arm: str, units: int, x: Any, y: Any, accelerated: bool) -> Epoch | None:
    """The arms that Keras has words for."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    front = {
        "before": keras.layers.Dropout(RATE),
        "before and after": keras.layers.Dropout(RATE),
        "spatial": keras.layers.SpatialDropout1D(RATE),
        "whole steps": keras.layers.Dropout(RATE, noise_shape=(None, None, 1)),
    }
    options = {
        "input": {"dropout": RATE},
        "state": {"recurrent_dropout": RATE},
        "both, per gate": {"dropout": RATE, "recurrent_dropout": RATE},
    }
    if arm not in {"none", "after", *front, *options}:
        return None
    net = [keras.layers.Input((STEPS, KEYS)), *([front[arm]] if arm in front else [])]
    net.append(getattr(keras.layers, cell)(units, return_sequences=True, **options.get(arm, {})))
    if arm in ("after", "before and after"):
        net.append(keras.layers.Dropout(RATE))
    model = keras.Sequential([*net, keras.layers.Dense(KEYS, activation="sigmoid")])
    if accelerated:
        import rnnx.keras

        rnnx.keras.accelerate(model)
    model.compile("adam", "binary_crossentropy")
    return lambda: model.fit(x, y, batch_size=ROWS, epochs=1, verbose=0)


def _torch(cell: str, arm: str, units: int, x: Any, y: Any) -> Epoch | None:
    """What people write who want recurrent dropout in PyTorch."""
    rates = {
        "none": (0, 0),
        "input": (RATE, 0),
        "state": (0, RATE),
        "state, one mask a batch": (0, RATE),
        "both, shared": (RATE, RATE),
    }
    if arm not in rates:
        return None
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    one = {"LSTM": torch.nn.LSTMCell, "GRU": torch.nn.GRUCell}[cell](KEYS, units)
    dense = torch.nn.Linear(units, KEYS)
    optimizer = torch.optim.Adam([*one.parameters(), *dense.parameters()])
    loss, drop = torch.nn.BCEWithLogitsLoss(), torch.nn.functional.dropout
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    input_rate, state_rate = rates[arm]
    rows = 1 if arm.endswith("a batch") else ROWS

    def epoch() -> None:
        for start in range(0, len(x), ROWS):
            now = inputs[start : start + ROWS]
            if input_rate:
                now = now * drop(torch.ones(ROWS, 1, KEYS), input_rate)
            kept = drop(torch.ones(rows, units), state_rate) if state_rate else None
            h, c = torch.zeros(ROWS, units), torch.zeros(ROWS, units)
            outputs = []
            for t in range(STEPS):
                before = h if kept is None else h * kept
                if cell == "LSTM":
                    h, c = one(now[:, t], (before, c))
                else:
                    h = one(now[:, t], before)
                outputs.append(h)
            optimizer.zero_grad()
            loss(dense(torch.stack(outputs, 1)), targets[start : start + ROWS]).backward()
            optimizer.step()

    return epoch


if __name__ == "__main__":
    main()
