"""Keras' layers with more kinds of dropout."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import rnnx
import rnnx.keras

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
CLASSES = [rnnx.keras.LSTM, rnnx.keras.GRU, rnnx.keras.SimpleRNN]
X = np.random.default_rng(4).normal(size=(6, 5, 3)).astype("float32")
ALIKE = np.repeat(X[:1], 6, axis=0)  # rows that only their masks tell apart


def numbers(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def rows_are_equal(layer: Any) -> bool:
    y = numbers(layer(ALIKE, training=True))
    assert not np.allclose(y, numbers(layer(ALIKE)))
    return bool(np.all(y == y[:1]))


@pytest.mark.parametrize("cls", CLASSES)
def test_masks_are_shared_as_asked(cls):
    assert not rows_are_equal(cls(8, dropout=0.5, dropout_gates="per_gate"))
    assert rows_are_equal(cls(8, dropout=0.5, noise_shape=(1, 1, None)))
    assert not rows_are_equal(cls(8, recurrent_dropout=0.5, dropout_gates="shared"))
    assert rows_are_equal(cls(8, recurrent_dropout=0.5, recurrent_noise_shape=(1, 1, None)))
    assert rows_are_equal(cls(8, recurrent_dropout=0.5, recurrent_dropout_mode="weights"))
    assert not rows_are_equal(cls(8, recurrent_dropout=0.5, recurrent_dropout_mode="update"))
    assert not rows_are_equal(cls(8, zoneout=0.5))


def test_expected_zoneout_in_inference():
    layer = rnnx.keras.SimpleRNN(4, zoneout=0.3)
    y = numbers(layer(X))
    kernel, recurrent, bias = layer.get_weights()
    h = np.zeros((6, 4))
    for t in range(5):
        h = 0.3 * h + 0.7 * np.tanh(X[:, t] @ kernel + h @ recurrent + bias)
    np.testing.assert_allclose(y, h, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_fit_is_reproducible_and_files_keep_the_words(cls, tmp_path):
    zoneout = (0.1, 0.2) if cls is rnnx.keras.LSTM else 0.1
    words = {"noise_shape": (None, None, 1), "recurrent_dropout_mode": "update", "zoneout": zoneout}

    def trained() -> tuple[list[float], Any]:
        keras.utils.set_random_seed(3)
        layer = cls(4, dropout=0.2, recurrent_dropout=0.2, return_sequences=True, seed=5, **words)
        model = keras.Sequential([layers.Input((None, 3)), layer, layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model.fit(X, np.ones((6, 5, 1)), epochs=4, batch_size=3, verbose=0, shuffle=False).history["loss"], model

    losses, model = trained()
    assert losses == trained()[0] and losses[-1] < losses[0]
    wanted = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is cls
    assert {name: loaded.layers[0].get_config()[name] for name in words} == words
    np.testing.assert_allclose(loaded.predict(X, verbose=0), wanted, atol=1e-6)
    own = rnnx.load_model(tmp_path / "model.keras")
    assert own.layers[-2].zoneout == zoneout and own.layers[-2].recurrent_dropout_mode == "update"
    np.testing.assert_allclose(own.predict(X, verbose=0), wanted, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_without_the_words_they_are_the_layers_of_keras(cls):
    def losses(made: Any) -> list[float]:
        keras.utils.set_random_seed(3)
        layer = made(4, dropout=0.2, recurrent_dropout=0.2, seed=5)
        model = keras.Sequential([layers.Input((5, 3)), layers.Masking(), layer, layers.Dense(1)])
        model.compile("sgd", "mse")
        if made is cls:
            assert rnnx.keras.accelerate(model).swapped == [layer.name]
        return list(model.fit(X, np.ones((6, 1)), epochs=2, verbose=0, shuffle=False).history["loss"])

    np.testing.assert_allclose(losses(cls), losses(cls.__mro__[2]), rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="GRU: `recurrent_dropout_mode`"):
        rnnx.keras.GRU(3, recurrent_dropout_mode="often")
    with pytest.raises(ValueError, match="zoneout"):
        rnnx.keras.GRU(3, zoneout=(0.1, 0.2))
    layer = rnnx.keras.GRU(3, zoneout=0.1, activation="softmax", name="odd")
    with pytest.raises(NotImplementedError, match="GRU 'odd': zoneout.*`activation`"):
        layer(X)
    half = rnnx.keras.GRU(3, dropout=0.1, dropout_gates="shared", dtype="mixed_bfloat16")
    half(X)
    with pytest.raises(NotImplementedError, match="bfloat16"):
        half(X, training=True)
