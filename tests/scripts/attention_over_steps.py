"""Weights over the steps, from a Dense layer and a softmax, and their weighted sum."""

import numpy as np

import rnnx as keras
from rnnx import layers
from rnnx.layers import Activation, Dense, Flatten, Multiply, Permute, RepeatVector

keras.utils.set_random_seed(9)
rng = np.random.default_rng(0)
x_train = rng.normal(size=(120, 6, 4)).astype("float32")
y_train = (x_train[:, 2, 0] > 0).astype("float32")
inputs = keras.Input(shape=(6, 4))
activations = layers.LSTM(8, return_sequences=True)(inputs)
attention = Dense(1, activation="tanh")(activations)
attention = Flatten()(attention)
attention = Activation("softmax", name="weights")(attention)
attention = RepeatVector(8)(attention)
attention = Permute([2, 1])(attention)
merged = Multiply()([activations, attention])
pooled = layers.GlobalAveragePooling1D()(merged)
model = keras.Model(inputs, Dense(1, activation="sigmoid")(pooled))
model.compile(optimizer=keras.optimizers.Adam(0.05), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=15, batch_size=16, verbose=0)
assert model.evaluate(x_train, y_train, verbose=0)[1] > 0.75
weights = keras.Model(inputs, model.get_layer("weights").output).predict(x_train, verbose=0)
np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
