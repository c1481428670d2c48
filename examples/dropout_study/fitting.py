"""One fit of the study: train, stop early, and measure on all three parts."""

from __future__ import annotations

import functools
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sets
from arms import ARMS, build

import rnnx
from rnnx.callbacks import EarlyStopping, ReduceLROnPlateau


@dataclass(frozen=True)
class Fit:
    """What is asked for; the key of a line of the results."""

    set: str
    cell: str
    arm: str
    rate: float
    seed: int
    learning_rate: float
    tiny: bool = False

    def settings(self) -> dict[str, Any]:
        """Everything else that the result depends on."""
        own = (sets.TINY if self.tiny else sets.SETS)[self.set]
        own_settings = {name: getattr(own, name) for name in ("units", "batch", "epochs", "patience")}
        cooling = {"cooling": own.cooling} if own.cooling else {}
        form = {"reset_after": False} if self.cell == "GRU" and not own.reset_after else {}
        return {"edition": sets.EDITION, **own_settings, **cooling, **form}


@functools.lru_cache(maxsize=4)
def _split(name: str, seed: int, tiny: bool) -> sets.Split:
    return (sets.TINY if tiny else sets.SETS)[name].split(seed)


def run(fit: Fit) -> dict[str, Any]:
    """Train one network; the line of the results."""
    own, start = (sets.TINY if fit.tiny else sets.SETS)[fit.set], (time.perf_counter(), time.process_time())
    split = _split(fit.set, fit.seed, fit.tiny)
    features = 0 if split.words else split.train[0][0].shape[-1]
    shapes = {"classes": own.classes, "features": features, "words": split.words}
    form = {"reset_after": own.reset_after} if fit.cell == "GRU" else {}
    model = build(ARMS[fit.arm], fit.cell, fit.rate, fit.seed, own.units, **shapes, **form)
    loss = "sparse_categorical_crossentropy" if own.classes > 1 else "binary_crossentropy"
    metrics = ["accuracy"] if own.classes else []
    model.compile(rnnx.optimizers.Adam(fit.learning_rate, clipnorm=1.0), loss, metrics=metrics)
    callbacks: list[Any] = [EarlyStopping(patience=own.patience, restore_best_weights=True)]
    if own.cooling:
        callbacks.append(ReduceLROnPlateau(patience=own.cooling, factor=0.5))
    logs = model.fit(
        *split.train,
        batch_size=own.batch,
        epochs=own.epochs,
        validation_data=split.valid,
        callbacks=callbacks,
        seed=fit.seed,
        verbose=0,
    ).history
    seconds, busy = time.perf_counter() - start[0], time.process_time() - start[1]
    scores = {part: score(model, *getattr(split, part), own.classes) for part in ("train", "valid", "test")}
    return {
        **asdict(fit),
        **fit.settings(),
        "epochs_run": len(logs["loss"]),
        "best_epoch": int(np.argmin(logs["val_loss"])) + 1,
        **{f"{part}_{name}": round(value, 6) for part, found in scores.items() for name, value in found.items()},
        "seconds": round(seconds, 3),
        "processor_seconds": round(busy, 3),
        "versions": f"rnnx {rnnx.__version__}, NumPy {np.__version__}, Python {platform.python_version()}",
        "processor": processor(),
    }


def score(model: Any, x: Any, y: Any, classes: int) -> dict[str, float]:
    """Loss in nats and accuracy in percent; of the chorales nats per step alone.

    Nats per step are the sum over the 88 keys and the mean over all steps of all pieces together, as the published
    figures count them (`evaluate` of ``poly_music/music_test.py`` in the repository of the data).
    """
    if classes:
        loss, accuracy = model.evaluate(x, y, verbose=0)
        return {"loss": float(loss), "score": 100 * float(accuracy)}
    nats, steps = 0.0, 0
    for said, true in zip(model.predict(x, verbose=0), y, strict=True):
        sure = np.clip(said.astype(np.float64), 1e-7, 1 - 1e-7)
        nats -= float((true * np.log(sure) + (1 - true) * np.log1p(-sure)).sum())
        steps += len(true)
    return {"loss": nats / steps, "score": nats / steps}


@functools.cache
def processor() -> str:
    """The name of the processor, and the instructions that rnnx uses of it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {rnnx.cpu_info()['isa']}"
