"""State trees: the paths of Keras 3.15.1, and everything back where it was."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import layers

X, Y = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32"), np.ones((8, 1), "float32")


def network(optimizer="adam"):
    model = rnnx.Sequential(
        [rnnx.Input((5, 3)), layers.LSTM(2, name="l"), layers.BatchNormalization(name="b"), layers.Dense(1, name="d")],
        name="seq",
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def shapes(tree):
    return {name: shapes(part) if isinstance(part, dict) else np.shape(part) for name, part in tree.items()}


def test_paths_of_keras():
    rnnx.utils.clear_session()
    model = network()
    model.fit(X, Y, verbose=0)
    found = shapes(model.get_state_tree())
    cell = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}
    assert found["trainable_variables"] == {
        "seq": {"l": {"lstm_cell": cell}, "b": {"gamma": (2,), "beta": (2,)}, "d": {"kernel": (2, 1), "bias": (1,)}}
    }
    assert found["non_trainable_variables"] == {"seq": {"b": {"moving_mean": (2,), "moving_variance": (2,)}}}
    assert found["metrics_variables"] == {
        "loss": {"total": (), "count": ()},
        "mae": {"total": (), "count": ()},
    }
    adam = found["optimizer_variables"]["adam"]
    assert adam["iteration"] == adam["learning_rate"] == ()
    assert adam["seq_l_lstm_cell_kernel_momentum"] == adam["seq_l_lstm_cell_kernel_velocity"] == (3, 8)
    x = rnnx.Input((5, 3))
    functional = rnnx.Model(x, layers.Dense(1, name="d2")(layers.GRU(2, name="g")(x)))
    assert shapes(functional.get_state_tree())["trainable_variables"] == {
        "g": {"gru_cell": {"kernel": (3, 6), "recurrent_kernel": (2, 6), "bias": (2, 6)}},
        "d2": {"kernel": (2, 1), "bias": (1,)},
    }


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sgd"])
def test_training_goes_on_from_a_tree(optimizer, tmp_path):
    straight, other = network(optimizer), network(optimizer)
    straight.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False)
    other.optimizer.build(other.weights)
    other.optimizer.name = straight.optimizer.name
    other.set_state_tree(straight.get_state_tree("numpy_array"))
    assert [float(m.result()) for m in other.metrics] == [float(m.result()) for m in straight.metrics]
    straight.save(tmp_path / "m.safetensors")
    loaded = rnnx.load_model(tmp_path / "m.safetensors")
    loaded.set_state_tree(straight.get_state_tree())  # slots that are views of the file are copied first
    for model in (straight, other, loaded):
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False)
    for model in (other, loaded):
        for one, two in zip(model.get_weights(), straight.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_tracker_of_the_loss():
    model = network()
    assert [metric.name for metric in model.metrics] == ["loss", "mae"] and float(model.metrics[0].result()) == 0.0
    seen = []
    watch = rnnx.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((logs["loss"], model.metrics[0].result()))
    )
    history = model.fit(X, Y, batch_size=3, verbose=0, callbacks=[watch]).history
    assert len(seen) == 3 and all(loss == pytest.approx(mean, rel=1e-12) for loss, mean in seen)
    assert model.metrics[0].result() == pytest.approx(history["loss"][-1], rel=1e-12)
    assert rnnx.Sequential([rnnx.Input((3,)), layers.Dense(1)]).metrics == []


def test_errors_change_nothing():
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match="unknown name 'weights'; there are trainable_variables"):
        model.set_state_tree({"weights": {}})
    with pytest.raises(ValueError, match="no 'seq/x/kernel' among the trainable_variables"):
        model.set_state_tree({"trainable_variables": {"seq": {"d": {"bias": [5.0]}, "x": {"kernel": 1}}}})
    with pytest.raises(ValueError, match=r"'seq/d/bias' must be real numbers of shape \(1,\), got float64 \(2,\)"):
        model.set_state_tree({"trainable_variables": {"seq": {"d": {"bias": [1.0, 2.0]}}}})
    with pytest.raises(ValueError, match="value_format"):
        model.get_state_tree("list")
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_weights_of_one_path():
    class Twice(rnnx.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(2, name="same"), layers.Dense(2, name="same")

        def call(self, inputs):
            return self.two(self.one(inputs))

    model = Twice()
    model(np.ones((1, 2)))
    with pytest.raises(ValueError, match="The following variable path is found twice in the model: 'same/kernel'"):
        model.get_state_tree()
