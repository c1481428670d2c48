"""Windows by TimeseriesGenerator and a forecast that feeds itself."""

import numpy as np

import rnnx as keras
from rnnx.layers import LSTM, Dense
from rnnx.preprocessing.sequence import TimeseriesGenerator

keras.utils.set_random_seed(5)
series = np.sin(np.arange(120) / 6).reshape(-1, 1)
generator = TimeseriesGenerator(series, series, length=8, batch_size=16)
model = keras.Sequential()
model.add(LSTM(10, activation="tanh", input_shape=(8, 1)))
model.add(Dense(1))
model.compile(optimizer="adam", loss="mse")
model.optimizer.learning_rate = 0.02
model.fit(generator, epochs=12, verbose=0)
window, forecast = series[-8:].reshape(1, 8, 1), []
for _ in range(5):
    step = model.predict(window, verbose=0)[0]
    forecast.append(step)
    window = np.append(window[:, 1:, :], [[step]], axis=1)
assert np.abs(np.array(forecast)[:, 0] - np.sin(np.arange(120, 125) / 6)).max() < 0.5
