"""`Wrapper`: layers of one's own around another one."""

from __future__ import annotations

import pickle
import zipfile
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")


class Shortcut(layers.Wrapper):
    def call(self, inputs: Any) -> Any:
        return inputs + self.layer(inputs)


class Amplified(layers.Wrapper):
    def __init__(self, layer: Any, factor: float = 2.0, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.factor = factor

    def build(self, input_shape: Any) -> None:
        self.gain = self.add_weight(shape=(1,), initializer="ones", name="gain")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        return self.factor * self.gain * self.layer(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def test_training_copies_and_files(tmp_path: Any) -> None:
    model = rnnx.Sequential(
        [rnnx.Input((5, 3)), Shortcut(layers.GRU(3, return_sequences=True)), Amplified(layers.LSTM(2), 3.0)]
    )
    assert model.count_params() == 72 + 48 + 1 and len(model.trainable_weights) == 7
    model.compile("adam", "mse")
    before = [w.copy() for w in model.get_weights()]
    model.fit(X, X[:, 0, :2], verbose=0)
    assert all((a != b).any() for a, b in zip(model.get_weights(), before, strict=True))
    inner = model.layers[0].layer
    np.testing.assert_allclose(model.layers[0](X), X + inner(X), rtol=1e-6)
    wanted = model.predict(X, verbose=0)
    known = {"Shortcut": Shortcut, "Amplified": Amplified}
    for suffix in ("safetensors", "keras", "h5"):
        with rnnx.utils.custom_object_scope(known):
            model.save(tmp_path / f"m.{suffix}")
        again = rnnx.load_model(tmp_path / f"m.{suffix}", custom_objects=known)
        np.testing.assert_array_equal(again.predict(X, verbose=0), wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X, verbose=0), wanted)
    clone = rnnx.models.clone_model(model)
    assert clone.layers[1].factor == 3.0 and type(clone.layers[1].layer) is layers.LSTM


def test_a_layer_that_is_built_is_kept() -> None:
    inside = layers.Dense(3)
    inside.build((None, 3))
    kernel = inside.kernel
    wrapper = Shortcut(inside)
    wrapper(X[:, 0])
    assert wrapper.layer.kernel is kernel or (wrapper.layer.kernel == kernel).all()
    with pytest.raises(ValueError, match="`layer` must be a layer, got str"):
        Shortcut("dense")


def test_a_file_with_the_base_alone_is_refused(tmp_path: Any) -> None:
    model = rnnx.Sequential([rnnx.Input((5, 3)), Shortcut(layers.GRU(3, return_sequences=True))])
    path, other = tmp_path / "m.keras", tmp_path / "n.keras"
    with rnnx.utils.custom_object_scope({"Shortcut": Shortcut}):
        model.save(path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b'"Shortcut"', b'"Wrapper"'))
    with pytest.raises(rnnx.saving.FormatError, match="'shortcut.*not supported"):
        rnnx.load_model(other)


class Valid(layers.Wrapper):
    def call(self, inputs: Any, mask: Any = None) -> Any:
        y = self.layer(inputs)
        return y if mask is None else y * rnnx.ops.cast(mask, y.dtype)[:, None]


def test_a_call_inside_time_distributed_sees_which_steps_are_valid() -> None:
    """Values are those of Keras 3.15."""
    x = np.arange(24).reshape(3, 2, 4).astype("float32")
    mask = np.array([[False, True], [True, False], [True, True]])
    inside = Valid(layers.Dense(1, use_bias=False, kernel_initializer=rnnx.initializers.Constant(0.01)))
    layer = layers.TimeDistributed(inside)
    wanted = np.array([[[0], [0.22]], [[0.38], [0]], [[0.7], [0.86]]])
    np.testing.assert_allclose(layer(x, mask=mask), wanted, rtol=1e-6)
    model = rnnx.Sequential([rnnx.Input((2, 4)), layers.Masking(), layers.TimeDistributed(inside)])
    x[~mask] = 0
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted, rtol=1e-6)
    _, pullback = model.vjp(x)
    slope = pullback(np.ones((3, 2, 1), "float32"))
    assert not slope.dx[~mask].any() and slope.dx[mask].all()
