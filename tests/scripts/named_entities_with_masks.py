"""A label for every word of padded sentences; what is padding counts for nothing."""

import numpy as np

import rnnx as keras
from rnnx.layers import LSTM, Bidirectional, Dense, Embedding, TimeDistributed
from rnnx.preprocessing.sequence import pad_sequences
from rnnx.utils import to_categorical

keras.utils.set_random_seed(18)
rng = np.random.default_rng(0)
sentences = [rng.integers(1, 20, rng.integers(3, 9)).tolist() for _ in range(80)]
tags = [[int(w > 10) + int(w > 15) for w in s] for s in sentences]
x = pad_sequences(sentences, maxlen=8, padding="post")
y = to_categorical(pad_sequences(tags, maxlen=8, padding="post"), num_classes=3)
model = keras.Sequential()
model.add(Embedding(input_dim=20, output_dim=8, input_length=8, mask_zero=True))
model.add(Bidirectional(LSTM(8, return_sequences=True, recurrent_dropout=0.1)))
model.add(TimeDistributed(Dense(3, activation="softmax")))
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
model.optimizer.learning_rate = 0.03
model.fit(x, y, batch_size=16, epochs=8, validation_split=0.1, verbose=0)
assert model.evaluate(x, y, verbose=0)[1] > 0.8
