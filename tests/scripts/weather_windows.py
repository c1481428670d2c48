"""Next value of a series from windows of many features, with a checkpoint of the best epoch."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(4)
steps = np.arange(400)
data = np.stack([np.sin(steps / 9), np.cos(steps / 9), np.sin(steps / 20)], axis=1)
mean, std = data[:300].mean(axis=0), data[:300].std(axis=0)
data = (data - mean) / std
options = dict(sampling_rate=2, sequence_length=8, batch_size=32)
train = keras.utils.timeseries_dataset_from_array(
    data[:-20], data[20:, 0], end_index=300, shuffle=True, seed=1, **options
)
held = keras.utils.timeseries_dataset_from_array(data[:-20], data[20:, 0], start_index=300, **options)
for samples, targets in train.take(1):
    assert samples.shape == (32, 8, 3) and targets.shape == (32,)
inputs = keras.Input(shape=(8, 3))
x = layers.LSTM(8, recurrent_dropout=0.1)(inputs)
x = layers.Dropout(0.1)(x)
model = keras.Model(inputs, layers.Dense(1)(x))
callbacks = [
    keras.callbacks.ModelCheckpoint("weather.keras", save_best_only=True),
    keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
]
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mse", metrics=["mae"])
history = model.fit(train, epochs=6, validation_data=held, callbacks=callbacks, verbose=0)
assert history.history["val_mae"][-1] < history.history["val_mae"][0]
best = keras.models.load_model("weather.keras")
assert best.evaluate(held, verbose=0)[1] <= min(history.history["val_mae"]) + 1e-4
