"""
Streaming
=========

A network trained on whole sequences, fed step by step; several streams share one model.

``python examples/stateful_streaming.py [--tiny]``
"""

import sys
import time

import numpy as np

from rnnx import Sequential
from rnnx.layers import GRU, Dense
from rnnx.utils import set_random_seed, timeseries_windows

tiny = "--tiny" in sys.argv
set_random_seed(5)
rng = np.random.default_rng(0)
t = np.arange(600 if tiny else 6000)
series = (np.sin(t / 7) + 0.5 * np.sin(t / 3.1) + 0.1 * rng.normal(size=len(t))).astype(np.float32)[:, None]
windows = timeseries_windows(series, 50, 5)
x, y = windows[:, :-1], windows[:, 1:]

model = Sequential([GRU(32, return_sequences=True, dropout=0.05, input_shape=(None, 1)), Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=1 if tiny else 15, verbose=2)

whole = model.predict(series[None, :200])[0]
stream = model.stream()
steps = [series[None, k] for k in range(200)]
start = time.perf_counter()
stepwise = np.stack([stream.step(row)[0] for row in steps])
micro = (time.perf_counter() - start) / len(steps) * 1e6
print(f"200 steps, {micro:.1f} µs each; largest difference to the whole sequence: {np.abs(stepwise - whole).max():.1e}")

branch = stream.copy()  # look ahead without disturbing the stream
forecast = [branch.step(stepwise[-1:])]
for _ in range(9):
    forecast.append(branch.step(forecast[-1]))
print("ten steps ahead:", np.round(np.concatenate(forecast)[:, 0], 2))

many = model.stream(batch_size=100)  # a hundred sources at once; one of them starts again
many.run(np.repeat(series[None, :20], 100, axis=0))
many.reset(rows=[3])
print("states of row 3 after its reset:", float(np.abs(many.state[0][0][3]).max()))
