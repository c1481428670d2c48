"""A recurrent cell of one's own in an RNN."""

import numpy as np

import rnnx as keras
from rnnx import layers, ops


class MinimalRNNCell(keras.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units), initializer="uniform", name="recurrent_kernel"
        )

    def call(self, inputs, states):
        prev_output = states[0]
        h = ops.matmul(inputs, self.kernel)
        output = h + ops.matmul(prev_output, self.recurrent_kernel)
        return output, [output]


keras.utils.set_random_seed(24)
x = np.random.default_rng(0).normal(size=(48, 6, 3)).astype("float32")
y = x.sum(axis=1)[:, :1]
model = keras.Sequential([keras.Input((None, 3)), layers.RNN([MinimalRNNCell(6), MinimalRNNCell(4)]), layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.03), "mse")
losses = model.fit(x, y, epochs=8, batch_size=16, verbose=0).history["loss"]
assert losses[-1] < 0.5 * losses[0]
