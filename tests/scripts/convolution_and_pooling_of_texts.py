"""A convolution over words before the LSTM, and learning rates by epoch."""

import numpy as np

import rnnx as keras
from rnnx.callbacks import CSVLogger, LearningRateScheduler, ReduceLROnPlateau
from rnnx.layers import LSTM, Activation, Conv1D, Dense, Dropout, Embedding, MaxPooling1D

keras.utils.set_random_seed(21)
rng = np.random.default_rng(0)
x = rng.integers(1, 40, (100, 16))
y = (x[:, :8] == 5).any(axis=1).astype(int) | (x[:, 8] > 20)
model = keras.Sequential()
model.add(Embedding(40, 8))
model.add(Dropout(0.25))
model.add(Conv1D(8, 5, padding="valid", activation="relu", strides=1))
model.add(MaxPooling1D(pool_size=4))
model.add(LSTM(8))
model.add(Dense(1))
model.add(Activation("sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
watch = [
    LearningRateScheduler(lambda epoch, lr: 0.02 * 0.9**epoch),
    CSVLogger("log.csv"),
    ReduceLROnPlateau(monitor="val_loss", patience=2),
]
history = model.fit(x, y, batch_size=16, epochs=6, validation_data=(x, y), callbacks=watch, verbose=0)
assert history.history["learning_rate"][1] < history.history["learning_rate"][0]
with open("log.csv") as file:
    assert file.readline().startswith("epoch,")
