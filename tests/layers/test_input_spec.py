"""`InputSpec` of layers of one's own, and inputs by their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.layers import InputSpec


class Weighted(layers.Layer):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.input_spec = [InputSpec(ndim=3)]

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(name="w", shape=(input_shape[-1],), initializer="ones")
        self.input_spec = InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, x: Any) -> Any:
        return x * self.w


def test_inputs_are_checked_before_and_after_the_layer_is_built() -> None:
    layer = Weighted(name="mine")
    with pytest.raises(ValueError, match=r"mine: the input must have 3 axes, got shape \(2, 4\)"):
        layer(np.ones((2, 4)))
    assert layer(np.ones((2, 5, 4))).shape == (2, 5, 4)
    for given in (np.ones((2, 5, 3)), rnnx.Input((5, 3))):
        with pytest.raises(ValueError, match=r"mine: axis -1 of the input must have size 4, got shape"):
            layer(given)
    with pytest.raises(ValueError, match=r"mine: the input must have at least 2 axes, got shape \(4,\)"):
        layer(np.ones(4))


def test_it_trains_in_a_model() -> None:
    model = rnnx.Sequential([rnnx.Input((5, 4)), Weighted(), layers.GRU(2)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 5, 4)), np.ones((4, 2)), verbose=0)


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({"shape": (None, 3)}, (2, 4), "axis 1 of the input must have size 3"),
        ({"shape": (None, 3)}, (2, 3, 1), "must have 2 axes"),
        ({"max_ndim": 2}, (2, 3, 1), "at most 2 axes"),
    ],
)
def test_shapes_that_do_not_fit(options: dict[str, Any], shape: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InputSpec(**options).check("layer", shape)


def test_several_inputs_and_configuration() -> None:
    class Both(layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="both")
            self.input_spec = [InputSpec(ndim=2), InputSpec(ndim=3)]

        def call(self, inputs: Any) -> Any:
            return inputs[0][:, None] + inputs[1]

    assert Both()([np.ones((2, 3)), np.ones((2, 5, 3))]).shape == (2, 5, 3)
    with pytest.raises(ValueError, match="both: the input must have 3 axes"):
        Both()([np.ones((2, 3)), np.ones((2, 3))])
    spec = InputSpec("float32", ndim=3, axes={2: 4})
    assert InputSpec.from_config(spec.get_config()).get_config() == spec.get_config()
    assert InputSpec(shape=(None, 3)).ndim == 2 and rnnx.InputSpec is InputSpec
    with pytest.raises(ValueError, match="names axis 3 of an input with 3 axes"):
        InputSpec(ndim=3, axes={3: 1})


def test_inputs_by_name() -> None:
    x = np.random.default_rng(1).normal(size=(2, 5, 4))
    for layer, name in ((layers.Dense(3), "inputs"), (layers.GRU(3), "sequences"), (layers.LSTM(3), "inputs")):
        np.testing.assert_array_equal(layer(**{name: x}), layer(x))
    entry = rnnx.Input((5, 4))
    model = rnnx.Model(entry, layers.GRU(3)(inputs=entry))
    np.testing.assert_array_equal(model(inputs=x), model(x))
    with pytest.raises(TypeError, match=r"dense.*: an input is needed: call it as layer\(x\)"):
        layers.Dense(3)()


def test_files_by_the_name_of_keras(tmp_path: Any) -> None:
    model = rnnx.Sequential([rnnx.Input((5, 4)), layers.GRU(2)])
    assert not model.compiled
    model.compile("sgd", "mse")
    assert model.compiled
    model.save(filepath=tmp_path / "m.keras")
    model.save_weights(filepath=tmp_path / "m.weights.h5")
    model.load_weights(filepath=tmp_path / "m.weights.h5")
    rnnx.models.save_model(model, filepath=tmp_path / "n.keras")
    again = rnnx.load_model(filepath=tmp_path / "m.keras")
    x = np.ones((2, 5, 4))
    np.testing.assert_array_equal(again(x), model(x))
    assert not rnnx.load_model(tmp_path / "n.keras", None, False).compiled
    for wrong in (model.save, model.save_weights, model.load_weights, rnnx.load_model):
        with pytest.raises(TypeError, match="give the path of a file, as `path` or as `filepath`"):
            wrong()
        with pytest.raises(TypeError, match="give the path of a file"):
            wrong("a", filepath="b")
