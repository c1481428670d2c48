"""Building blocks of convolutional and attention models in ONNX files, against ONNX' own reference and read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx import Input, Model, layers
from rnnx.formats.onnx._write import exported

SEQUENCE, IMAGE, VOLUME = (6, 4), (4, 5, 3), (3, 4, 5, 2)
FIRST = {"data_format": "channels_first"}
BLOCKS: dict[str, tuple[Callable[[], Any], list[tuple[int, ...]]]] = {
    "leaky": (lambda: layers.LeakyReLU(0.2), [SEQUENCE]),
    "elu": (lambda: layers.ELU(0.4), [SEQUENCE]),
    "prelu": (lambda: layers.PReLU(shared_axes=[1]), [SEQUENCE]),
    "identity": (layers.Identity, [SEQUENCE]),
    "penalty": (lambda: layers.ActivityRegularization(0.1), [SEQUENCE]),
    "noise": (lambda: layers.GaussianNoise(0.1), [SEQUENCE]),
    "spatial": (lambda: layers.SpatialDropout2D(0.1), [IMAGE]),
    "softmax": (lambda: layers.Softmax(axis=(1, -1)), [IMAGE]),
    "subtract": (layers.Subtract, [SEQUENCE] * 2),
    "maximum": (layers.Maximum, [SEQUENCE] * 3),
    "minimum": (layers.Minimum, [SEQUENCE, (1, 4)]),
    "dot-rows": (lambda: layers.Dot(1), [(4,), (4,)]),
    "dot": (lambda: layers.Dot((1, 2), normalize=True), [SEQUENCE, (5, 6)]),
    "dot-row": (lambda: layers.Dot((2, 1)), [SEQUENCE, (4,)]),
    "dot-images": (lambda: layers.Dot((1, 3)), [(2, 3), (4, 5, 2)]),
    "dot-both": (lambda: layers.Dot((3, 2)), [(4, 5, 2), (3, 2, 6)]),
    "padding": (lambda: layers.ZeroPadding1D((1, 2)), [SEQUENCE]),
    "padding-first": (lambda: layers.ZeroPadding2D(((1, 2), (0, 1)), **FIRST), [IMAGE]),
    "cropping": (lambda: layers.Cropping1D((1, 0)), [SEQUENCE]),
    "cropping-2d": (lambda: layers.Cropping2D(((1, 0), (2, 1))), [IMAGE]),
    "up": (lambda: layers.UpSampling1D(3), [SEQUENCE]),
    "up-2d": (lambda: layers.UpSampling2D((2, 3)), [IMAGE]),
    "up-first": (lambda: layers.UpSampling2D((2, 3), interpolation="bilinear", **FIRST), [IMAGE]),
    "conv": (lambda: layers.Conv2D(4, (3, 2), padding="same", dilation_rate=2, activation="relu"), [IMAGE]),
    "conv-first": (lambda: layers.Conv2D(4, 2, strides=(2, 1), groups=2, **FIRST), [IMAGE]),
    "conv-steps": (lambda: layers.Conv1D(3, 2, padding="causal", **FIRST), [SEQUENCE]),
    "depthwise": (lambda: layers.DepthwiseConv2D(2, 2, "same", 2), [IMAGE]),
    "depthwise-steps": (lambda: layers.DepthwiseConv1D(3, activation="tanh"), [SEQUENCE]),
    "separable": (lambda: layers.SeparableConv2D(4, (1, 3), depth_multiplier=2, **FIRST), [IMAGE]),
    "separable-steps": (lambda: layers.SeparableConv1D(4, 3, use_bias=False), [SEQUENCE]),
    "transposed": (lambda: layers.Conv2DTranspose(3, (3, 2), 2, "same"), [IMAGE]),
    "transposed-valid": (lambda: layers.Conv2DTranspose(3, (1, 3), 2), [IMAGE]),
    "transposed-more": (lambda: layers.Conv1DTranspose(3, 2, 3, output_padding=2, **FIRST), [SEQUENCE]),
    "max-pool": (lambda: layers.MaxPooling2D((2, 3), 1, "same"), [IMAGE]),
    "average-pool": (lambda: layers.AveragePooling2D(2, padding="same"), [IMAGE]),
    "max-pool-all": (lambda: layers.GlobalMaxPooling2D(keepdims=True), [IMAGE]),
    "average-pool-all": (lambda: layers.GlobalAveragePooling2D(**FIRST), [IMAGE]),
    "volume-conv": (lambda: layers.Conv3D(4, (2, 3, 2), strides=(1, 2, 1), activation="relu"), [VOLUME]),
    "volume-transposed": (lambda: layers.Conv3DTranspose(3, (1, 3, 2), 2), [VOLUME]),
    "volume-pool": (lambda: layers.MaxPooling3D((2, 3, 1)), [VOLUME]),
    "volume-mean": (lambda: layers.AveragePooling3D(2, padding="same", **FIRST), [VOLUME]),
    "volume-all": (lambda: layers.GlobalAveragePooling3D(), [VOLUME]),
    "volume-padding": (lambda: layers.ZeroPadding3D(((1, 0), (0, 2), (1, 1))), [VOLUME]),
    "volume-cropping": (lambda: layers.Cropping3D((1, 0, 2), **FIRST), [(2, 3, 4, 5)]),
    "volume-up": (lambda: layers.UpSampling3D((1, 2, 3)), [VOLUME]),
    "volume-noise": (lambda: layers.SpatialDropout3D(0.1), [VOLUME]),
    "batch": (lambda: layers.BatchNormalization(axis=1), [IMAGE]),
    "layer": (lambda: layers.LayerNormalization(axis=(1, 2)), [IMAGE]),
    "group": (lambda: layers.GroupNormalization(2), [SEQUENCE]),
    "group-first": (lambda: layers.GroupNormalization(-1, axis=1), [IMAGE]),
    "rms": (lambda: layers.RMSNormalization(axis=(1, 2)), [IMAGE]),
    "unit": (layers.UnitNormalization, [SEQUENCE]),
}


def model_of(name: str) -> tuple[Any, list[Any]]:
    """A model of one layer with asymmetric weights, and its inputs."""
    make, shapes = BLOCKS[name]
    rng = np.random.default_rng(3)
    entries = [Input(shape, name=f"x{k}") for k, shape in enumerate(shapes)]
    model = Model(entries, make()(entries if len(entries) > 1 else entries[0]), name="model")
    model.set_weights([rng.random(w.shape) + 0.2 for w in model.weights])
    return model, [rng.normal(size=(3, *shape)).astype("float32") for shape in shapes]


@pytest.mark.parametrize("name", BLOCKS)
def test_nodes_say_what_the_layer_does(name, tmp_path):
    model, inputs = model_of(name)
    proto, _ = exported(model)
    onnx.checker.check_model(proto, full_check=True)
    found = ReferenceEvaluator(proto).run(None, {f"x{k}": x for k, x in enumerate(inputs)})
    expected = model(inputs if len(inputs) > 1 else inputs[0])
    np.testing.assert_allclose(found[0], expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_same_model_comes_back(name, tmp_path):
    model, inputs = model_of(name)
    model.save(tmp_path / "m.onnx")
    again = rnnx.load_model(tmp_path / "m.onnx")
    assert again.get_config() == model.get_config()
    given = inputs if len(inputs) > 1 else inputs[0]
    np.testing.assert_array_equal(again(given), model(given))
