"""Numbers and names of a table, prepared inside of the model."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(20)
rng = np.random.default_rng(0)
age, city = rng.uniform(18, 80, (120, 1)), rng.choice(["rome", "oslo", "lima"], (120, 1))
y = ((age > 45) ^ (city == "oslo")).astype(int)
normalizer = layers.Normalization(axis=None)
normalizer.adapt(age)
lookup = layers.StringLookup(output_mode="one_hot")
lookup.adapt(city)
buckets = layers.Discretization(bin_boundaries=[30.0, 45.0, 60.0])
numbers, names = keras.Input((1,), name="age"), keras.Input((1,), name="city", dtype="string")
bins = layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")(buckets(numbers))
x = layers.concatenate([normalizer(numbers), bins, lookup(names)])
x = layers.Dense(16, activation="relu")(x)
model = keras.Model({"age": numbers, "city": names}, layers.Dense(1, activation="sigmoid")(x))
model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
model.fit({"age": age, "city": city}, y, epochs=30, verbose=0)
assert model.evaluate({"age": age, "city": city}, y, verbose=0)[1] > 0.85
