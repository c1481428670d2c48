"""Sums of numbers as texts, one-hot characters in and out."""

import numpy as np

import rnnx as keras
from rnnx import layers


class CharacterTable:
    def __init__(self, chars):
        self.chars = sorted(set(chars))
        self.char_indices = {c: k for k, c in enumerate(self.chars)}

    def encode(self, text, num_rows):
        x = np.zeros((num_rows, len(self.chars)))
        for k, c in enumerate(text):
            x[k, self.char_indices[c]] = 1
        return x

    def decode(self, x):
        return "".join(self.chars[k] for k in x.argmax(axis=-1))


keras.utils.set_random_seed(17)
table = CharacterTable("0123456789+ ")
questions = [f"{a}+{b}" for a in range(8) for b in range(8)]
answers = [str(sum(map(int, q.split("+")))).ljust(2) for q in questions]
x = np.array([table.encode(q, 3) for q in questions], dtype=bool)
y = np.array([table.encode(a, 2) for a in answers], dtype=bool)
model = keras.Sequential()
model.add(layers.Input((3, 12)))
model.add(layers.LSTM(24))
model.add(layers.RepeatVector(2))
model.add(layers.LSTM(24, return_sequences=True))
model.add(layers.Dense(12, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(0.02), metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=15, verbose=0)
assert model.evaluate(x, y, verbose=0)[1] > 0.4
assert len(table.decode(model.predict(x[:1], verbose=0)[0])) == 2
