"""
A character language model
==========================

With truncated back-propagation through time: the text is cut into parallel strips, and each chunk starts from the state
in which the one before it ended.

``python examples/char_language_model.py [--tiny]``
"""

import sys
from pydoc_data import topics

import numpy as np

from rnnx import Sequential
from rnnx.layers import LSTM, Dense, Embedding
from rnnx.losses import SparseCategoricalCrossentropy
from rnnx.optimizers import Adam
from rnnx.training.batches import tbptt_batches
from rnnx.utils import set_random_seed

tiny = "--tiny" in sys.argv
set_random_seed(3)
text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
text = "".join(c for c in text if c == "\n" or " " <= c <= "~")[: 20_000 if tiny else 250_000]
letters = sorted(set(text))
ids = np.array([letters.index(c) for c in text])
held = len(ids) // 20
train, test = ids[:-held], ids[-held:]

model = Sequential(
    [
        Embedding(len(letters), 32),
        LSTM(32 if tiny else 128, return_sequences=True, stateful=True, recurrent_dropout=0.1, zoneout=0.05),
        Dense(len(letters)),
    ]
)
model.compile(Adam(3e-3, clipnorm=1.0), SparseCategoricalCrossentropy(from_logits=True))
batches = tbptt_batches(train, batch_size=32, timesteps=50)
model.fit(batches, epochs=1 if tiny else 3)
model.reset_states()
nats = model.evaluate(tbptt_batches(test, batch_size=32, timesteps=25))
print(f"{len(letters)} characters; {nats / np.log(2):.2f} bits a character on text it has not seen")

rng, stream = np.random.default_rng(0), model.stream()
letter, written = letters.index("T"), "T"
for _ in range(40 if tiny else 300):
    logits = stream.step(np.array([letter]))[0].astype(np.float64) / 0.7
    p = np.exp(logits - logits.max())
    letter = int(rng.choice(len(letters), p=p / p.sum()))
    written += letters[letter]
print(f"\n{written}")
