"""``model.fit`` of three models that Keras' own examples have, one text for Keras and rnnx.

sentiment: an embedding of 20,000 words, one layer with dropout 0.2 on the input and the recurrent state, one output
("bidirectional LSTM on IMDB", with one direction). language: an embedding of 10,000 words, two layers with `Dropout`
between, 10,000 classes at every step. forecast: one layer on seven measurements, one number ("timeseries forecasting
for weather prediction").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from problem import GATES, Array, Cell, Problem, Work

BATCHES = 8  # of a call
MODELS = {"sentiment": (32, 80, 128), "language": (20, 35, 200), "forecast": (256, 120, 32)}  # batch, timesteps, units
WORDS = {"sentiment": 20_000, "language": 10_000}
MEASUREMENTS = 7


def _recurrent(cell: Cell, rng: np.random.Generator, features: int) -> list[Array]:
    columns, rows = GATES[cell.kind] * cell.units, (2,) * (cell.kind == "gru")
    return [
        _normal(rng, features, columns),
        _normal(rng, cell.units, columns),
        rng.normal(size=(*rows, columns)).astype(np.float32) * np.float32(0.1),
    ]


def _normal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)


def arrays(cell: Cell) -> dict[str, Array]:
    """Inputs ``x``, targets ``y`` and the weights ``w0``, ``w1`` and so on, in Keras' order."""
    rng = np.random.default_rng([cell.units, GATES[cell.kind]])
    rows, words, units = BATCHES * cell.batch, WORDS.get(cell.model, 0), cell.units
    features, outputs = units if words else MEASUREMENTS, words if cell.model == "language" else 1
    weights = [_normal(rng, words, units)] if words else []
    for layer in range(2 if cell.model == "language" else 1):
        weights += _recurrent(cell, rng, units if layer else features)
    weights += [_normal(rng, units, outputs), np.zeros(outputs, np.float32)]
    steps = (rows, cell.timesteps)
    x = rng.integers(0, words, steps) if words else rng.normal(size=(*steps, features)).astype(np.float32)
    if cell.model == "language":
        y = rng.integers(0, words, steps)
    else:
        y = rng.integers(0, 2, (rows, 1)).astype(np.float32)
    return {"x": x, "y": y, **{f"w{k}": weight for k, weight in enumerate(weights)}}


def work(keras: Any, p: Problem) -> Work:
    """A call is one epoch; checked are the predictions before the first one."""
    c, layers = p.cell, keras.layers
    kind = layers.LSTM if c.kind == "lstm" else layers.GRU
    if c.model == "sentiment":
        model = [
            layers.Embedding(WORDS[c.model], c.units),
            kind(c.units, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
        compiled = {"loss": "binary_crossentropy", "metrics": ["accuracy"]}
    elif c.model == "language":
        model = [layers.Embedding(WORDS[c.model], c.units)]
        for _ in range(2):
            model += [layers.Dropout(0.2), kind(c.units, return_sequences=True)]
        model += [layers.Dropout(0.2), layers.Dense(WORDS[c.model])]
        compiled = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    else:
        model = [kind(c.units), layers.Dense(1)]
        compiled = {"loss": "mse"}
    network = keras.Sequential(model)
    network.compile("adam", **compiled)
    first = p.x[: c.batch]
    network.predict(first, verbose=0)
    network.set_weights([p.arrays[f"w{k}"] for k in range(len(network.get_weights()))])
    return Work(
        lambda: network.fit(p.x, p.y, batch_size=c.batch, epochs=1, verbose=0),
        lambda: {"y": np.asarray(network.predict(first, verbose=0))},
    )
