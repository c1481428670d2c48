"""A model as a class."""

import numpy as np

import rnnx as keras
from rnnx import layers


class Forecaster(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.gru = layers.GRU(units)
        self.dropout = layers.Dropout(0.2)
        self.out = layers.Dense(1)

    def call(self, inputs, training=False):
        x = self.gru(inputs)
        x = self.dropout(x, training=training)
        return self.out(x)


keras.utils.set_random_seed(12)
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 7, 2)).astype("float32")
y = x[:, -1, :1] - x[:, 0, :1]
model = Forecaster(8)
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mse")
history = model.fit(x, y, epochs=10, batch_size=16, verbose=0).history["loss"]
assert history[-1] < 0.5 * history[0]
model.save_weights("forecaster.weights.h5")
again = Forecaster(8)
again(x[:1])
again.load_weights("forecaster.weights.h5")
np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
