"""`Attention` and `AdditiveAttention` between a question and the steps of a text."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(10)
query_input, value_input = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
embedding = layers.Embedding(30, 8)
cnn = layers.Conv1D(8, 3, padding="same")
query, value = cnn(embedding(query_input)), cnn(embedding(value_input))
attended = layers.Attention()([query, value])
more = layers.AdditiveAttention()([query, value])
together = layers.Concatenate()([layers.GlobalAveragePooling1D()(part) for part in (query, attended, more)])
model = keras.Model([query_input, value_input], layers.Dense(1)(together))
model.compile("adam", "mse")
rng = np.random.default_rng(0)
a, b = rng.integers(1, 30, (32, 4)), rng.integers(1, 30, (32, 6))
losses = model.fit([a, b], rng.normal(size=32), epochs=5, verbose=0).history["loss"]
assert losses[-1] < losses[0]
