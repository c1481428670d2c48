"""Folders and checkpoints of tf.keras with the outputs it gave, for `tests/formats/keras/test_saved_model.py`.

They lie in ``keras_files/saved_model.tar.xz``. Only what a reader of weights needs is kept of a folder:
``keras_metadata.pb`` and ``variables``; ``saved_model.pb`` holds TensorFlow's functions, megabytes of them.

Environment: ``pip install tensorflow-cpu==2.12.1``.
Command, from the root of the repository: ``python -m tests.golden.make_saved_model``.
"""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.golden.keras_archive import pack
from tests.golden.store import DATA

RNG = np.random.default_rng(0)
keras = tf.keras
L = keras.layers


def chain(*layers, shape=(7, 3), **options):
    return keras.Sequential([keras.Input(shape, **options), *layers])


def models():
    """Models of every kind of layer whose variables lie deeper than in the layer itself."""
    compiled = chain(L.LSTM(4, return_sequences=True), L.Dropout(0.5), L.GRU(3, name="second"), L.Dense(2, "softmax"))
    compiled.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    compiled.fit(RNG.normal(size=(8, 7, 3)), RNG.integers(0, 2, 8), verbose=0)
    words = keras.Sequential([L.Embedding(11, 4, mask_zero=True), L.Bidirectional(L.LSTM(3)), L.Dense(1, "sigmoid")])
    words.build((None, 6))
    inner = keras.Sequential([keras.Input((7, 4)), L.Dense(3, name="deep"), L.BatchNormalization()], name="inside")
    a, b = keras.Input((7, 3), name="a"), keras.Input((7, 2), name="b")
    shared = L.Dense(4, name="shared")
    wide = L.Concatenate()([a, b])
    joined = L.Add()([shared(wide), L.Conv1D(4, 3, padding="same")(wide)])
    both = inner(joined)
    again = inner(shared(wide))
    y = L.GRU(2, reset_after=False)(L.Concatenate()([both, again]))
    z = L.TimeDistributed(L.Dense(2))(L.LayerNormalization()(both))
    cells = L.RNN([L.LSTMCell(4), L.GRUCell(3)], return_sequences=True)
    old = chain(L.LSTM(3, recurrent_activation="hard_sigmoid", stateful=True), batch_size=2)
    frozen = chain(L.SimpleRNN(3, trainable=False), L.Dense(2), L.BatchNormalization())
    for layer in [inner.layers[-1], frozen.layers[-1]]:
        layer.set_weights([RNG.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return {
        "compiled": compiled,
        "words": words,
        "graph": keras.Model([a, b], [y, z], name="graph"),
        "cells": chain(cells, L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode="sum")),
        "stateful": old,
        "frozen": frozen,
    }


class Own(keras.Model):
    """A class of its own says nothing of how its layers are connected."""

    def __init__(self):
        super().__init__()
        self.first, self.last = L.LSTM(3), L.Dense(1)

    def call(self, x):
        return self.last(self.first(x))


def inputs_of(model):
    made = []
    for tensor in model.inputs:
        shape = [2 if n is None else n for n in tensor.shape]
        ids = tensor.name.startswith("embedding")
        made.append(RNG.integers(0, 11, shape) if ids else RNG.normal(size=shape).astype("float32"))
    return made


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outputs = {}
        for key, model in models().items():
            x = inputs_of(model)
            model.reset_states()
            y = model.predict(x if len(x) > 1 else x[0], batch_size=2, verbose=0)
            outputs.update({f"{key}/x{k}": part for k, part in enumerate(x)})
            outputs.update({f"{key}/y{k}": part for k, part in enumerate(y if isinstance(y, list) else [y])})
            model.reset_states()
            model.save(folder / key, save_format="tf")
            model.save_weights(folder / "weights" / key, save_format="tf")
        own = Own()
        own(np.zeros((1, 2, 3), "float32"))
        own.save(folder / "own", save_format="tf")
        np.savez(folder / "outputs.npz", **outputs)
        pack(folder, DATA / "keras_files" / "saved_model.tar.xz", LEFT_OUT)


LEFT_OUT = ("saved_model.pb", "fingerprint.pb", "checkpoint")


if __name__ == "__main__":
    main()
