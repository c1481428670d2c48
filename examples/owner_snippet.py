"""
Two ways to write dropout
=========================

``model.add(Dropout(0.5))`` or ``GRU(..., dropout=0.5)``: train with both, and look at what each drops.

``python examples/owner_snippet.py [--tiny]``
"""

import sys

import numpy as np

from rnnx import Sequential
from rnnx.layers import GRU, Dense, Dropout
from rnnx.utils import set_random_seed

tiny = "--tiny" in sys.argv
set_random_seed(1)
features_size, rows, steps = 6, 60 if tiny else 600, 12
rng = np.random.default_rng(0)
x = rng.normal(size=(rows, steps, features_size)).astype(np.float32)
y = np.cumsum(x[:, :, :2], axis=1)  # the network must remember

model = Sequential()
model.add(GRU(units=512, return_sequences=True, dropout=0.5, input_shape=(None, features_size,)))  # fmt: skip
model.add(Dropout(0.5))
model.add(Dense(2))
model.compile("adam", "mse")
model.summary()
model.fit(x, y, epochs=1 if tiny else 4, batch_size=30)


def show(title, kept):
    """One sequence: features down, time to the right, # is kept."""
    print(f"\n{title}")
    for row in np.broadcast_to(kept, (steps, features_size)).T:
        print("   ", "".join("#" if value else "." for value in row))


gru, dropout = model.layers[0], model.layers[1]
masks = gru.sample_masks(batch=1, timesteps=steps)
show("GRU(dropout=0.5) drops input features, the same ones at every step:", masks.inputs[0, 0])
ones = np.ones((1, steps, features_size), np.float32)
show("Dropout(0.5) drops other numbers at every step:", dropout(ones, training=True)[0])
whole = Dropout(0.5, noise_shape=(None, None, 1), seed=3)
show("Dropout(0.5, noise_shape=(None, None, 1)) drops whole steps:", whole(ones, training=True)[0])
print("\nNeither is on in predict:", bool(np.array_equal(model.predict(x[:2]), model.predict(x[:2]))))
