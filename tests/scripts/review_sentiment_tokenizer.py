"""Sentiment of short reviews: Tokenizer, padded ids, Embedding and LSTM."""

import numpy as np

import rnnx as keras
from rnnx.layers import LSTM, Dense, Embedding, SpatialDropout1D
from rnnx.models import Sequential
from rnnx.preprocessing.sequence import pad_sequences
from rnnx.preprocessing.text import Tokenizer

keras.utils.set_random_seed(1)
good, bad = "a great fun and moving film", "a dull slow and awful film"
rng = np.random.default_rng(0)
texts = [" ".join(rng.permutation((good if k % 2 else bad).split())[:4]) for k in range(120)]
labels = np.arange(120) % 2
tokenizer = Tokenizer(num_words=50, oov_token="<OOV>")
tokenizer.fit_on_texts(texts)
x = pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=6)
model = Sequential()
model.add(Embedding(50, 8))
model.add(SpatialDropout1D(0.2))
model.add(LSTM(8, dropout=0.2, recurrent_dropout=0.2))
model.add(Dense(1, activation="sigmoid"))
model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(0.02), metrics=["accuracy"])
model.fit(x, labels, epochs=8, batch_size=16, validation_split=0.2, verbose=0)
score, accuracy = model.evaluate(x, labels, verbose=0)
assert accuracy > 0.8
new = pad_sequences(tokenizer.texts_to_sequences(["what a great moving thing"]), maxlen=6)
assert model.predict(new, verbose=0).shape == (1, 1)
