"""
Sequence classification with an LSTM
====================================

As in Keras' guide, on text that every Python brings along: Embedding, LSTM, Dropout and Dense decide whether a line
comes from the documentation of Python's language or from the source code of its library.

``python examples/sequence_classification.py [--tiny]``
"""

import inspect
import json
import random
import re
import sys
import textwrap
import threading
from pydoc_data import topics

import numpy as np

from rnnx import Sequential
from rnnx.callbacks import EarlyStopping
from rnnx.layers import LSTM, Dense, Dropout, Embedding
from rnnx.utils import pad_sequences, set_random_seed

tiny = "--tiny" in sys.argv
set_random_seed(7)
prose = [line for text in topics.topics.values() for line in textwrap.wrap(text, 90)]
code = [
    line.strip()
    for module in (textwrap, inspect, json, random, threading)
    for line in inspect.getsource(module).split("\n")
]


def words(line):
    """Lower-case words and punctuation marks."""
    return re.findall(r"[a-z]+|[^\sa-z]", line.lower())[:40]


lines = [(words(line), label) for label, source in enumerate((prose, code)) for line in source if len(words(line)) > 4]
random.shuffle(lines)
lines = lines[: 400 if tiny else 6000]
counts: dict[str, int] = {}
for tokens, _ in lines:
    for token in tokens:
        counts[token] = counts.get(token, 0) + 1
vocabulary = {token: k + 2 for k, token in enumerate(sorted(t for t, n in counts.items() if n > 2))}  # 1 is unknown
x = pad_sequences([[vocabulary.get(t, 1) for t in tokens] for tokens, _ in lines])
y = np.array([label for _, label in lines])

model = Sequential(
    [
        Embedding(len(vocabulary) + 2, 64, mask_zero=True),
        LSTM(64, dropout=0.2, recurrent_dropout=0.2),
        Dropout(0.5),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
cut = len(x) * 4 // 5
model.fit(
    x[:cut],
    y[:cut],
    batch_size=32,
    epochs=1 if tiny else 5,
    validation_split=0.1,
    callbacks=[EarlyStopping(patience=2, restore_best_weights=True)],
)
loss, accuracy = model.evaluate(x[cut:], y[cut:])
print(f"{len(vocabulary)} words, {len(x)} lines; accuracy on lines it has not seen: {accuracy:.1%}")
