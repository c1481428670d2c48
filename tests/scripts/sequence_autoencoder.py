"""An autoencoder: the last state repeated and decoded; its errors find what is unusual."""

import numpy as np

import rnnx as keras
from rnnx.layers import LSTM, Dense, RepeatVector, TimeDistributed

keras.utils.set_random_seed(13)
phase = np.random.default_rng(0).uniform(0, 6, (80, 1))
x = np.sin(phase + np.arange(8) / 2)[..., None]
model = keras.Sequential()
model.add(LSTM(12, input_shape=(8, 1)))
model.add(RepeatVector(8))
model.add(LSTM(12, return_sequences=True))
model.add(TimeDistributed(Dense(1)))
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mae")
history = model.fit(x, x, epochs=15, batch_size=16, validation_split=0.1, verbose=0, shuffle=False)
assert history.history["loss"][-1] < 0.6 * history.history["loss"][0]
usual = np.abs(model.predict(x, verbose=0) - x).mean()
strange = np.abs(model.predict(3 * x[::-1], verbose=0) - 3 * x[::-1]).mean()
assert strange > usual
