"""Batches made on demand by a `Sequence`, weighted classes, and a resumed training."""

import numpy as np

import rnnx as keras
from rnnx import layers


class Batches(keras.utils.Sequence):
    def __init__(self, x, y, batch_size):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return int(np.ceil(len(self.x) / self.batch_size))

    def __getitem__(self, idx):
        rows = slice(idx * self.batch_size, (idx + 1) * self.batch_size)
        return self.x[rows], self.y[rows]


keras.utils.set_random_seed(22)
rng = np.random.default_rng(0)
x = rng.normal(size=(60, 5, 3))
y = (x[:, -1, 0] > 0.5).astype(int)
model = keras.Sequential([keras.Input((5, 3)), layers.SimpleRNN(6), layers.Dense(1, activation="sigmoid")])
model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
backup = keras.callbacks.BackupAndRestore("backup")
history = model.fit(Batches(x, y, 16), epochs=8, class_weight={0: 1.0, 1: 2.0}, callbacks=[backup], verbose=0)
assert history.history["auc"][-1] > 0.8
