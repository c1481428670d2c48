"""Make ``keras_files/compiled.tar.xz``: models of Keras 3 that were compiled and trained, and how training goes on.

Environment: ``pip install keras==3.15.1 torch==2.13.0 h5py``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_compiled``.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import store
from .keras_archive import pack

os.environ["KERAS_BACKEND"] = "torch"
ROWS, TIMESTEPS, FEATURES, CLASSES, BATCH = 12, 4, 3, 3, 5
BEFORE, AFTER = 2, 2  # epochs


def optimizers(keras: Any) -> dict[str, Any]:
    """Those of the files, by their names."""
    kinds, schedules = keras.optimizers, keras.optimizers.schedules
    return {
        "adagrad": kinds.Adagrad(0.1),
        "adam": kinds.Adam(schedules.ExponentialDecay(0.1, 3, 0.7, staircase=True), clipnorm=1.0),
        "adamw": kinds.AdamW(0.02, weight_decay=0.1),
        "amsgrad": kinds.Adam(0.05, beta_2=0.9, amsgrad=True),
        "momentum": kinds.SGD(0.1, momentum=0.9, nesterov=True),
        "muon": kinds.Muon(0.02, exclude_layers=["head"]),
        "nadam": kinds.Nadam(0.05),
        "rmsprop": kinds.RMSprop(0.02, momentum=0.5, centered=True),
        "sgd": kinds.SGD(0.1),
    }


def main() -> None:
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, TIMESTEPS, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, ROWS)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    layers = keras.layers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, optimizer in optimizers(keras).items():
            start = keras.Input((TIMESTEPS, FEATURES), name="start")
            first = layers.Bidirectional(layers.GRU(3), name="both")(start)
            second = layers.LSTM(2, name="lstm", trainable=False)(start)
            joined = layers.BatchNormalization(name="norm")(layers.Concatenate(name="joined")([second, first]))
            model = keras.Model(start, layers.Dense(CLASSES, name="head")(joined), name="net")
            model.compile(
                optimizer,
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top")],
                weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="cross")],
            )
            model.fit(x, y, epochs=BEFORE, **options)
            model.save(folder / f"{kind}.keras")
            loss, *figures = model.evaluate(x, y, batch_size=ROWS, verbose=0)
            again = keras.models.load_model(folder / f"{kind}.keras")
            history = again.fit(x, y, epochs=AFTER, **options).history
            np.savez(
                folder / f"{kind}.npz", x=x, y=y, loss=loss, figures=figures, losses=history["loss"],
                output=model.predict(x, verbose=0),
            )  # fmt: skip
        pack(folder, store.DATA / "keras_files" / "compiled.tar.xz")


if __name__ == "__main__":
    main()
