"""A bag of words by TF-IDF and a dense network."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(3)
texts = ["red apple pie", "green apple", "fast red car", "slow old car", "apple cake", "car engine"] * 10
labels = np.array([0, 0, 1, 1, 0, 1] * 10)
bag = layers.TextVectorization(ngrams=2, max_tokens=40, output_mode="tf_idf")
bag.adapt(texts)
train = bag(texts)
model = keras.Sequential(
    [
        keras.Input((train.shape[1],)),
        layers.Dense(8, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
model.fit(train, labels, epochs=30, verbose=0)
assert model.evaluate(train, labels, verbose=0)[1] > 0.9
