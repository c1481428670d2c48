"""Calls of layers of one's own that a file of Keras has no words for here."""

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.saving import FormatError


@rnnx.saving.register_keras_serializable("tests.own_calls")
class Scaled(layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x, offset=0.0):
        return x * self.factor + offset


@pytest.mark.parametrize("suffix", ["keras", "h5", "safetensors"])
def test_constants_are_kept_in_the_constructor(tmp_path, suffix):
    x = np.ones((2, 3), "float32")
    a = rnnx.Input((3,))
    model = rnnx.Model(a, Scaled(3.0, name="scaled")(a))
    model.save(tmp_path / f"m.{suffix}")
    assert rnnx.load_model(tmp_path / f"m.{suffix}").predict(x, verbose=0).tolist() == [[3.0] * 3] * 2
    model = rnnx.Model(a, Scaled(3.0, name="scaled")(a, offset=1.5))
    if suffix == "safetensors":
        model.save(tmp_path / "m.safetensors")
        assert rnnx.load_model(tmp_path / "m.safetensors").predict(x, verbose=0).tolist() == [[4.5] * 3] * 2
    else:
        with pytest.raises(FormatError, match="'scaled': it is called with .* constants, .*safetensors"):
            model.save(tmp_path / f"n.{suffix}")


@rnnx.saving.register_keras_serializable("tests.own_calls")
class Apart(layers.Layer):
    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[0][-1],), initializer="ones", name="gain")

    def call(self, inputs):
        one, other = inputs
        return self.gain * (one - other)


@pytest.mark.parametrize("suffix", ["keras", "h5", "safetensors"])
def test_a_list_of_tensors_is_written_as_that_of_a_layer_that_merges(tmp_path, suffix):
    x = [np.random.default_rng(0).normal(size=(2, 3)).astype("float32"), np.ones((2, 3), "float32")]
    a, b = rnnx.Input((3,)), rnnx.Input((3,))
    model = rnnx.Model([a, b], Apart(name="apart")([layers.Dense(2)(a), layers.Dense(2)(b)]))
    model.layers[-1].set_weights([[0.5, 2.0]])
    model.save(tmp_path / f"m.{suffix}")
    again = rnnx.load_model(tmp_path / f"m.{suffix}")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    np.testing.assert_array_equal(again.get_layer("apart").get_weights()[0], [0.5, 2.0])
