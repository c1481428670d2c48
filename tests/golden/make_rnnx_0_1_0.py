"""Make ``rnnx_0_1_0``, files that later versions must open: ``python tests/golden/make_rnnx_0_1_0.py FOLDER``.

To be run with rnnx 0.1.0 installed. Beside each file stand the input and the outputs that it gave.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

import rnnx
from rnnx import layers


def trained(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    model.compile(rnnx.optimizers.Adam(0.01), "mse", metrics=["mae"])
    model.fit(x, y, epochs=2, batch_size=4, verbose=0, shuffle=False)
    return model


def make(folder: Path) -> None:
    rnnx.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 5, 3)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    sequential = rnnx.Sequential([
        rnnx.Input((None, 3)),
        layers.Masking(),
        layers.Bidirectional(layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1, return_sequences=True, seed=1)),
        layers.GRU(5, zoneout=0.1, kernel_regularizer="l2", seed=2),
        layers.BatchNormalization(),
        layers.Dense(2, activation="tanh", kernel_constraint="max_norm"),
    ])  # fmt: skip
    trained(sequential, x, y)
    inputs = rnnx.Input((5, 3))
    stacked = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3, reset_after=False)], return_sequences=True)(inputs)
    convolved = layers.Conv1D(3, 2, padding="causal", activation="relu")(inputs)
    joined = layers.Concatenate()([stacked, convolved]) * 0.5
    outputs = layers.TimeDistributed(layers.Dense(2))(layers.Dropout(0.1, seed=3)(joined))
    functional = rnnx.Model(inputs, layers.GlobalAveragePooling1D()(outputs))
    trained(functional, x, y)
    layer = layers.SimpleRNN(
        4, return_sequences=True, go_backwards=True, activation="relu", recurrent_dropout=0.3, seed=4
    )
    layer(x)

    sequential.save(folder / "sequential.safetensors", include_optimizer=True)
    (folder / "sequential.pickle").write_bytes(pickle.dumps(sequential))
    (folder / "functional_and_layer.pickle").write_bytes(pickle.dumps([functional, layer]))
    results = {
        "x": x,
        "y": y,
        "sequential": sequential.predict(x, verbose=0),
        "functional": functional.predict(x, verbose=0),
    }
    results["layer"], results["layer_training"] = layer(x), layer(x, training=True)
    results["sequential_loss"] = np.array(sequential.train_on_batch(x, y))
    results["sequential_after"] = sequential.predict(x, verbose=0)
    np.savez(folder / "outputs.npz", **results)


def make_quantized(folder: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 6, 3)).astype(np.float32)
    model = rnnx.Sequential([
        rnnx.Input((None, 3)), layers.GRU(6, return_sequences=True), layers.LSTM(5), layers.Dense(2)
    ])  # fmt: skip
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    model.quantize("int8")
    model.save(folder / "quantized.safetensors")
    (folder / "quantized.pickle").write_bytes(pickle.dumps(model))
    np.savez(folder / "quantized_outputs.npz", x=x, y=model.predict(x, verbose=0))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    make_quantized(Path(sys.argv[1]))
