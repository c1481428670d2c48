"""One encoder for two texts, compared by their distance."""

import numpy as np

import rnnx as keras
from rnnx import backend as K
from rnnx import layers

keras.utils.set_random_seed(19)
rng = np.random.default_rng(0)
left = rng.integers(1, 15, (96, 5))
same = rng.integers(0, 2, 96)
right = np.where(same[:, None] == 1, left, rng.integers(1, 15, (96, 5)))
encoder = keras.Sequential([keras.Input((5,)), layers.Embedding(15, 8), layers.LSTM(8)])
a, b = keras.Input((5,)), keras.Input((5,))
distance = layers.Lambda(lambda t: K.exp(-K.sum(K.abs(t[0] - t[1]), axis=1, keepdims=True)))([encoder(a), encoder(b)])
model = keras.Model([a, b], distance)
model.compile(keras.optimizers.Adam(0.02), "mean_squared_error", metrics=["accuracy"])
losses = model.fit([left, right], same, epochs=8, batch_size=16, verbose=0).history["loss"]
assert losses[-1] < losses[0]
