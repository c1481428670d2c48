"""A stateful LSTM that remembers over batches, its state reset by hand."""

import numpy as np

import rnnx as keras
from rnnx.layers import LSTM, Dense

keras.utils.set_random_seed(15)
batch_size, tsteps = 5, 4
wave = np.cos(np.arange(201) / 7)[:, None]
rows = wave[:-1].reshape(batch_size, -1, 1)
after = wave[1:].reshape(batch_size, -1, 1)
x = np.concatenate([rows[:, k : k + tsteps] for k in range(0, 40, tsteps)])
y = np.concatenate([after[:, k + tsteps - 1] for k in range(0, 40, tsteps)])
model = keras.Sequential()
model.add(LSTM(8, batch_input_shape=(batch_size, tsteps, 1), return_sequences=True, stateful=True))
model.add(LSTM(8, stateful=True))
model.add(Dense(1))
model.compile(loss="mse", optimizer=keras.optimizers.RMSprop(0.005))
losses = []
for _ in range(8):
    losses += model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0, shuffle=False).history["loss"]
    for layer in model.layers:
        if hasattr(layer, "reset_states"):
            layer.reset_states()
assert losses[-1] < 0.5 * losses[0]
assert model.predict(x, batch_size=batch_size, verbose=0).shape == y.shape
