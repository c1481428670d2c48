"""How sure is the network? Dropout that stays on in predictions."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(16)


class MCDropout(layers.Dropout):
    def call(self, inputs):
        return super().call(inputs, training=True)


x = np.random.default_rng(0).normal(size=(40, 6, 2)).astype("float32")
y = x.sum(axis=(1, 2))
model = keras.Sequential([keras.Input((6, 2)), layers.GRU(8), MCDropout(0.3), layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=3, verbose=0)
samples = np.stack([model.predict(x[:5], verbose=0) for _ in range(10)])
assert samples.shape == (10, 5, 1) and (samples.std(axis=0) > 0).all()
plain = keras.Sequential([keras.Input((6, 2)), layers.GRU(8, dropout=0.3), layers.Dense(1)])
again = np.stack([plain(x[:5], training=True) for _ in range(10)])
assert (np.asarray(again).std(axis=0) > 0).all()
