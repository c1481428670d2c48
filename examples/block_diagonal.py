"""
Block-diagonal recurrent kernels
================================

With ``recurrent_blocks=n`` the units of a recurrent layer stand in n groups, each of which sees the state of its own
group alone; the layer below and the layer above mix them. The recurrent kernel has an n-th of the weights and costs
about an n-th. Two layers learn the characters of a text with dense kernels and with blocks: quality, weights and time,
side by side.

``python examples/block_diagonal.py [--tiny]``
"""

import sys
import time
from pydoc_data import topics

import numpy as np

from rnnx import Sequential
from rnnx.layers import LSTM, Dense, Embedding
from rnnx.losses import SparseCategoricalCrossentropy
from rnnx.optimizers import Adam
from rnnx.utils import set_random_seed

tiny = "--tiny" in sys.argv
units, steps = (32, 16) if tiny else (256, 64)
text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
text = "".join(c for c in text if c == "\n" or " " <= c <= "~")[: 10_000 if tiny else 200_000]
letters = sorted(set(text))
ids = np.array([letters.index(c) for c in text])
rows = ids[: (len(ids) - 1) // steps * steps].reshape(-1, steps)
x, y = rows[:, :-1], rows[:, 1:]
cut = len(x) * 9 // 10

for blocks in (1, 4, 8):
    set_random_seed(11)
    model = Sequential(
        [
            Embedding(len(letters), 32),
            LSTM(units, return_sequences=True, recurrent_blocks=blocks),
            LSTM(units, return_sequences=True, recurrent_blocks=blocks),
            Dense(len(letters)),
        ]
    )
    model.compile(Adam(3e-3, clipnorm=1.0), SparseCategoricalCrossentropy(from_logits=True))
    start = time.perf_counter()
    model.fit(x[:cut], y[:cut], batch_size=32, epochs=1 if tiny else 4, verbose=0)
    seconds = time.perf_counter() - start
    bits = model.evaluate(x[cut:], y[cut:], verbose=0) / np.log(2)
    stream, letter = model.stream(), np.array([0])
    start = time.perf_counter()
    for _ in range(1000):
        stream.step(letter)
    step = (time.perf_counter() - start) * 1000
    name = "dense kernels" if blocks == 1 else f"{blocks} blocks"
    print(
        f"{name:14} {model.count_params():8,} weights  {bits:.3f} bits a character  "
        f"{seconds:6.1f} s to train  {step:6.1f} us a step"
    )
