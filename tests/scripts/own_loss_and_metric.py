"""A loss and a metric as plain functions."""

import numpy as np

import rnnx as keras
from rnnx import layers, ops


def pinball(y_true, y_pred):
    error = y_true - y_pred
    return ops.mean(ops.maximum(0.9 * error, -0.1 * error), axis=-1)


def covered(y_true, y_pred):
    return ops.cast(y_true <= y_pred, "float32")


keras.utils.set_random_seed(23)
rng = np.random.default_rng(0)
x = rng.normal(size=(120, 5, 2)).astype("float32")
y = x[:, -1, :1] + 0.5 * rng.normal(size=(120, 1)).astype("float32")
model = keras.Sequential([keras.Input((5, 2)), layers.GRU(8), layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.03), loss=pinball, metrics=[covered])
history = model.fit(x, y, epochs=15, batch_size=24, verbose=0).history
assert 0.7 < history["covered"][-1] <= 1
