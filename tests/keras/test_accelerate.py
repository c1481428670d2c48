"""Keras' own layers on the engine: the losses, outputs and seeds of Keras alone."""

from __future__ import annotations

import doctest
import importlib
import itertools
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import rnnx.keras

BACKEND = keras.backend.backend()
engine = importlib.import_module(f"rnnx.keras._{BACKEND}")
COMPILED = BACKEND != "torch"  # every model is compiled for its first batch, which takes a second
pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
CELLS = {"LSTM": layers.LSTM, "GRU": layers.GRU, "SimpleRNN": layers.SimpleRNN}
BIT = (False, True)


def data(sequences: bool) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(4).normal(size=(10, 6, 3)).astype("float32")
    x[2:5, 4:] = 0
    x[3, :2] = 0
    return x, np.ones((10, 6, 1) if sequences else (10, 1), "float32")


def trained(make: Any, x: Any, y: Any, change: Any = None, **options: Any) -> tuple[list[float], np.ndarray]:
    """Losses of three epochs and what is predicted then."""
    keras.utils.set_random_seed(7)
    model = make()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    if change is not None:
        change(model)
    history = model.fit(x, y, epochs=3, batch_size=5, verbose=0, shuffle=False, **options)
    return history.history["loss"], model.predict(x, verbose=0, batch_size=5)


def same(make: Any, x: Any, y: Any) -> None:
    """That a model is what it was after `accelerate`, and that the engine was used."""
    calls = []
    own = engine.loop

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return own(*arguments)

    losses, outputs = trained(make, x, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "loop", counted)
        own_losses, own_outputs = trained(make, x, y, rnnx.keras.accelerate)
    assert calls
    np.testing.assert_allclose(own_losses, losses, rtol=5e-5)
    np.testing.assert_allclose(own_outputs, outputs, atol=2e-5)


def cases() -> list[Any]:
    """All combinations; of compiled backends one cell for each, in turns."""
    rates = (0, 0), (0.3, 0), (0, 0.3), (0.3, 0.3)
    found = itertools.product(rates, BIT, BIT, BIT)
    cells = sorted(CELLS)
    return [(cells[k % 3 :][:1] if COMPILED else cells, *case) for k, case in enumerate(found)]


@pytest.mark.parametrize(
    "name, rates, masked, backwards, sequences", [(name, *case) for names, *case in cases() for name in names]
)
def test_fit_and_predict_as_keras_alone(name, rates, masked, backwards, sequences):
    dropout, recurrent = rates
    options: dict[str, Any] = {"use_bias": bool(dropout) == masked}
    if name == "GRU":
        options["reset_after"] = not backwards
    if name == "LSTM" and sequences:
        options.update(activation="relu", recurrent_activation="hard_sigmoid")

    def make() -> Any:
        given = layers.Input((6, 3))
        x = layers.Masking()(given) if masked else given
        x = CELLS[name](
            4, return_sequences=sequences, go_backwards=backwards, dropout=dropout, recurrent_dropout=recurrent,
            seed=3, **options,
        )(x)  # fmt: skip
        return keras.Model(given, layers.Dense(1)(x))

    same(make, *data(sequences))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True, recurrent_dropout=0.2, seed=1)),
        lambda: layers.RNN(layers.GRUCell(4, recurrent_dropout=0.2, seed=1), return_sequences=True),
        lambda: layers.GRU(4, return_sequences=True, zero_output_for_mask=True),
        lambda: layers.LSTM(4, return_sequences=True, unroll=True),
    ],
)
def test_wrapped_layers(wrap):
    def make() -> Any:
        given = layers.Input((6, 3))
        return keras.Model(given, layers.Dense(1)(wrap()(layers.Masking()(given))))

    same(make, *data(True))


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.LSTM(4, return_sequences=True, return_state=True, dropout=0.2, seed=1)
        self.second = layers.GRU(4)

    def call(self, x, training=False):
        y, h, _ = self.first(x, training=training)
        return self.second(y, initial_state=h, training=training)[:, :1]


def test_subclasses_and_states():
    def make() -> Any:
        net = Net()
        net(np.zeros((5, 6, 3), "float32"))
        return net

    same(make, *data(False))


def test_stateful_layers():
    """In inference: in `fit` the states that Keras 3.15 writes in place break its own gradients on PyTorch."""
    given = layers.Input(batch_shape=(5, 6, 3))
    model = keras.Model(given, layers.LSTM(4, stateful=True)(given))
    x = data(False)[0]
    wanted = [model.predict(x, batch_size=5, verbose=0) for _ in range(2)]
    model.layers[1].reset_states()
    rnnx.keras.accelerate(model)
    for y in wanted:
        np.testing.assert_allclose(model.predict(x, batch_size=5, verbose=0), y, atol=1e-6)


@pytest.mark.skipif(not COMPILED, reason="Keras' own gradients break there")
def test_stateful_layers_in_training():
    def make() -> Any:
        given = layers.Input(batch_shape=(5, 6, 3))
        return keras.Model(given, layers.Dense(1)(layers.GRU(4, stateful=True)(given)))

    same(make, *data(False))


@pytest.mark.parametrize("options", [{}, {"unroll": True}, {"go_backwards": True}, {"zero_output_for_mask": True}])
@pytest.mark.parametrize("sequences", BIT)
def test_masked_steps_before_and_after_the_valid_ones(options, sequences):
    """With initial states: what a row gives before its first valid step differs between Keras' backends."""
    x = np.random.default_rng(1).normal(size=(4, 5, 3)).astype("float32")
    mask = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0]], bool)
    h = np.random.default_rng(2).normal(size=(4, 2)).astype("float32")
    for cell, states in (("LSTM", [h, h + 1]), ("GRU", h), ("SimpleRNN", h)):
        layer = CELLS[cell](2, return_sequences=sequences, return_state=True, **options)
        wanted = layer(x, initial_state=states, mask=mask)
        rnnx.keras.accelerate(layer)
        for parts in zip(layer(x, initial_state=states, mask=mask), wanted, strict=True):
            np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, parts), atol=1e-6)


def test_accelerated_block():
    x, y = data(False)

    def make() -> Any:
        return keras.Sequential([layers.Input((6, 3)), layers.LSTM(4), layers.Dense(1)])

    wanted, _ = trained(make, x, y)
    before = layers.LSTM.inner_loop
    with rnnx.keras.accelerated():
        assert layers.LSTM.inner_loop is not before
        found, _ = trained(make, x, y)
    assert layers.LSTM.inner_loop is before
    np.testing.assert_allclose(found, wanted, rtol=5e-5)


def test_report_and_files(tmp_path):
    class Own(layers.GRU):
        pass

    model = keras.Sequential(
        [
            layers.Input((6, 3)),
            layers.GRU(4, return_sequences=True, name="fast"),
            layers.LSTM(4, return_sequences=True, activation="softmax", name="odd"),
            layers.GRU(4, return_sequences=True, dtype="mixed_bfloat16", name="half"),
            Own(4, name="own"),
        ]
    )
    report = rnnx.keras.accelerate(model)
    assert report.swapped == ["fast"] and set(report.left) == {"odd", "half", "own"}
    assert "fast: on rnnx" in str(report)
    assert rnnx.keras.accelerate(model).swapped == ["fast"]
    assert str(rnnx.keras.accelerate(layers.Dense(2))) == "no recurrent layer inside"
    small = keras.Sequential([layers.Input((6, 3)), layers.GRU(4)])
    rnnx.keras.accelerate(small)
    small.save(tmp_path / "model.keras")
    x = data(False)[0]
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert "inner_loop" not in vars(loaded.layers[0])
    np.testing.assert_allclose(loaded.predict(x, verbose=0), small.predict(x, verbose=0), atol=1e-6)


def test_weights_that_change_are_noticed():
    model = keras.Sequential([layers.Input((6, 3)), layers.GRU(4)])
    rnnx.keras.accelerate(model)
    x = data(False)[0]
    first = model.predict(x, verbose=0)
    model.set_weights([-weight for weight in model.get_weights()])
    other = model.predict(x, verbose=0)
    assert not np.allclose(first, other)
    model.set_weights([-weight for weight in model.get_weights()])
    np.testing.assert_array_equal(model.predict(x, verbose=0), first)


def test_integers_are_left_to_keras():
    layer = layers.GRU(4)
    x = keras.ops.convert_to_tensor(np.arange(30).reshape(2, 5, 3) % 4)
    wanted = layer(x)
    rnnx.keras.accelerate(layer)
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (layer(x), wanted)))


def test_other_things_are_refused(monkeypatch):
    with pytest.raises(TypeError, match="layer of Keras"):
        rnnx.keras.accelerate([1])
    with pytest.raises(TypeError, match=r"got type: GRU is a class, call it: GRU\(...\)"):
        rnnx.keras.accelerate(keras.layers.GRU)
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(NotImplementedError, match="torch, jax, tensorflow.*'openvino'"):
        rnnx.keras.accelerate(layers.GRU(3))


def test_examples_and_page():
    for name in ("accelerate", "layers"):
        assert doctest.testmod(importlib.import_module(f"rnnx.keras.{name}")).failed == 0
    text = (Path(__file__).parents[2] / "docs/in-keras.md").read_text(encoding="utf-8")
    model = keras.Sequential([layers.Input((None, 3)), layers.LSTM(4, recurrent_dropout=0.3), layers.Dense(1)])
    names = {"model": model, "x": np.zeros((4, 5, 3), "float32"), "y": np.zeros((4, 1), "float32")}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
