"""Lines of 'handwriting': convolutions, a recurrent net over the columns, and CTC."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(8)
rng = np.random.default_rng(0)
labels = rng.integers(1, 4, (48, 3))
images = np.zeros((48, 24, 8, 1), "float32")
for image, word in zip(images, labels, strict=True):
    for place, letter in enumerate(word):
        image[8 * place + 2 : 8 * place + 6, 2 * letter - 1 : 2 * letter + 1] = 1
images += rng.normal(0, 0.05, images.shape)
inputs = keras.Input(shape=(24, 8, 1), name="image")
x = layers.Conv2D(8, (3, 3), activation="relu", padding="same")(inputs)
x = layers.MaxPooling2D((2, 2))(x)
x = layers.Reshape((12, 4 * 8))(x)
x = layers.Dense(12, activation="relu")(x)
x = layers.Bidirectional(layers.LSTM(10, return_sequences=True))(x)
x = layers.Dense(5)(x)
model = keras.Model(inputs, x)
model.compile(keras.optimizers.Adam(0.02), keras.losses.CTC())
history = model.fit(images, labels, epochs=8, batch_size=16, verbose=0).history["loss"]
assert history[-1] < 0.7 * history[0]
