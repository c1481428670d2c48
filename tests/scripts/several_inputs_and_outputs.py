"""Title, text and tags in; priority and department out."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(14)
title_input = keras.Input(shape=(None,), name="title")
body_input = keras.Input(shape=(None,), name="body")
tags_input = keras.Input(shape=(5,), name="tags")
title = layers.LSTM(6)(layers.Embedding(50, 6)(title_input))
body = layers.LSTM(4)(layers.Embedding(50, 6)(body_input))
x = layers.concatenate([title, body, tags_input])
priority = layers.Dense(1, name="priority")(x)
department = layers.Dense(4, name="department")(x)
model = keras.Model(
    inputs=[title_input, body_input, tags_input], outputs={"priority": priority, "department": department}
)
model.compile(
    optimizer=keras.optimizers.RMSprop(1e-2),
    loss={
        "priority": keras.losses.BinaryCrossentropy(from_logits=True),
        "department": keras.losses.CategoricalCrossentropy(from_logits=True),
    },
    loss_weights={"priority": 1.0, "department": 0.2},
)
rng = np.random.default_rng(0)
data = {
    "title": rng.integers(50, size=(64, 5)),
    "body": rng.integers(50, size=(64, 9)),
    "tags": rng.integers(2, size=(64, 5)).astype("float32"),
}
targets = {"priority": rng.integers(2, size=(64, 1)), "department": np.eye(4)[rng.integers(4, size=64)]}
losses = model.fit(data, targets, epochs=3, batch_size=16, verbose=0).history["loss"]
assert losses[-1] < losses[0]
keras.utils.plot_model(model, "tickets.svg", show_shapes=True)
