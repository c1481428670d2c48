"""Frames through one convolution each, then in time; and a ConvLSTM."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(25)
rng = np.random.default_rng(0)
frames = np.zeros((32, 5, 6, 6, 1), "float32")
direction = rng.integers(0, 2, 32)
for film, right in zip(frames, direction, strict=True):
    for t in range(5):
        film[t, 2:4, t if right else 5 - t] = 1
model = keras.Sequential(
    [
        keras.Input((5, 6, 6, 1)),
        layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
        layers.TimeDistributed(layers.Flatten()),
        layers.LSTM(8),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
model.fit(frames, direction, epochs=12, batch_size=8, verbose=0)
assert model.evaluate(frames, direction, verbose=0)[1] > 0.9
film = keras.Input((None, 6, 6, 1))
x = layers.ConvLSTM2D(2, (3, 3), padding="same", return_sequences=True)(film)
x = layers.BatchNormalization()(x)
following = keras.Model(film, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x[:, -1]))
following.compile("adam", "binary_crossentropy")
assert len(following.fit(frames[:, :4], frames[:, 4], epochs=1, verbose=0).epoch) == 1
