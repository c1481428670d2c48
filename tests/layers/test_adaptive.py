"""Adaptive pooling, and `EinsumDense` with `...`: values and gradients are those of Keras 3.15."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx import initializers, layers

STEPS = np.array([3.0, 1, 4, 1, 5, 9, 2]).reshape(1, 7, 1)
IMAGE = (np.arange(20.0) * 7 % 20).reshape(1, 4, 5, 1)
VOLUME = (np.arange(24.0) * 5 % 24).reshape(1, 2, 3, 4, 1)
CASES: list[tuple[str, Any, Any, list[float], list[float]]] = [
    ("Average", STEPS, 3, [8 / 3, 10 / 3, 16 / 3], [1 / 3, 1 / 3, 1, 2 / 3, 5 / 3, 1, 1]),
    ("Average", STEPS, 9, [3, 2, 2.5, 2.5, 1, 3, 7, 5.5, 2], [2, 2.5, 3.5, 10, 6.5, 7.5, 13]),
    (
        "Average", IMAGE, (3, 2), [47 / 6, 8.5, 9.5, 61 / 6, 67 / 6, 71 / 6],
        [1 / 6, 1 / 6, 0.5, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 5 / 3, 1, 1, 4 / 3, 4 / 3, 3, 5 / 3, 5 / 3, 5 / 6, 5 / 6,
         11 / 6, 1, 1],
    ),
    (
        "Average", VOLUME, (1, 2, 3), [9.5, 11.5, 13.5, 11.5, 10.5, 12.5],
        2 * [0.125, 0.375, 0.625, 0.375, 0.625, 1.5, 2, 1.125, 0.5, 1.125, 1.375, 0.75],
    ),
    ("Max", STEPS, 3, [4, 5, 9], [0, 0, 1, 0, 2, 3, 0]),
    ("Max", STEPS, 9, [3, 3, 4, 4, 1, 5, 9, 9, 2], [3, 0, 7, 5, 6, 15, 9]),
    ("Max", IMAGE, (3, 2), [15, 16, 17, 18, 19, 19], [0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 11, 0, 0]),
    (
        "Max", VOLUME, (1, 2, 3), [20, 22, 23, 21, 21, 23],
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "x", "size", "wanted", "slope"), CASES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_values(kind: str, x: Any, size: Any, wanted: Any, slope: Any, data_format: str) -> None:
    layer = getattr(layers, f"Adaptive{kind}Pooling{x.ndim - 2}D")(size, data_format=data_format, dtype="float64")
    x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    y, pullback = layer.vjp(x)
    assert y.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(y.ravel(), wanted, rtol=1e-12)
    dx = pullback(np.arange(1.0, y.size + 1).reshape(y.shape)).dx
    assert dx.shape == x.shape
    np.testing.assert_allclose(dx.ravel(), slope, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_means_of_windows_without_a_value_do_not_see_it(value: float) -> None:
    x = STEPS.copy()
    x[0, 1] = value
    y, pullback = layers.AdaptiveAveragePooling1D(3, dtype="float64").vjp(x)
    np.testing.assert_allclose(y.ravel(), [value, 10 / 3, 16 / 3], rtol=1e-12)
    dy = np.array([value, 2, 3]).reshape(1, 3, 1)
    np.testing.assert_allclose(pullback(dy).dx.ravel(), [*[value] * 3, 2 / 3, 5 / 3, 1, 1], rtol=1e-12)
    image = np.arange(25.0).reshape(1, 5, 5, 1)
    image[0, 0, 4] = value
    found = layers.AdaptiveAveragePooling2D(2, dtype="float64")(image).ravel()  # of rows and columns 0-2 and 2-4
    np.testing.assert_allclose(found, [6, value, 16, 18], rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_places_between_others_do_not_see_a_value(value: float) -> None:
    image = np.array([value, 0.0, 4.0, 8.0]).reshape(1, 1, 4, 1)
    found = layers.UpSampling2D((1, 2), interpolation="bilinear", dtype="float64")(image)
    np.testing.assert_array_equal(found.ravel(), [value, value, value, 1, 3, 5, 7, 8])


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="`output_size` must be"):
        layers.AdaptiveMaxPooling2D(0)
    with pytest.raises(ValueError, match=r"\(batch, timesteps, features\), got \(2, 3\)"):
        layers.AdaptiveMaxPooling1D(2)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="places along all axes"):
        layers.AdaptiveAveragePooling1D(2)(np.ones((2, 0, 3)))


@pytest.mark.parametrize(
    ("equation", "size", "bias", "wanted"),
    [
        ("ab...,bc->ac...", 3, "c", [9, 12, 15, 13, 18, 23, 17, 24, 31, 27, 30, 33, 43, 48, 53, 59, 66, 73]),
        ("ab...,bc->ac...", (3, 3), "c", [9, 12, 15, 13, 18, 23, 17, 24, 31, 27, 30, 33, 43, 48, 53, 59, 66, 73]),
        ("...b,bc->...c", 3, None, [3, 4, 5, 12, 19, 26, 21, 34, 47, 30, 49, 68]),
        ("...b,bc->...c", (2, 3), None, [3, 4, 5, 12, 19, 26, 21, 34, 47, 30, 49, 68]),
    ],
)
def test_axes_without_letters_need_no_size(equation: str, size: Any, bias: str | None, wanted: list[float]) -> None:
    x = np.arange(12.0).reshape(2, 2, 3)[..., : 2 if equation[0] == "." else 3]
    layer = layers.EinsumDense(equation, size, bias_axes=bias)
    layer(x)
    layer.set_weights([np.arange(w.value.size).reshape(w.shape) for w in layer.weights])
    assert layer(x).ravel().tolist() == wanted
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *layer(x).shape[1:])
    again = layers.EinsumDense.from_config(layer.get_config())
    assert again.compute_output_shape(x.shape) == layer(x).shape


def test_the_first_kernel_has_the_scale_of_its_inputs_and_outputs() -> None:
    """As in Keras 3.15: with `glorot_uniform` the variance is 2 / (inputs + outputs), of all heads together."""
    layer = layers.MultiHeadAttention(8, 16, kernel_initializer=initializers.GlorotUniform(seed=1))
    layer.build([(2, 5, 128)] * 2)
    for projection in (layer.query_dense, layer.output_dense):
        assert abs(projection.kernel.std() / np.sqrt(2 / (128 + 128)) - 1) < 0.02
    dense = layers.EinsumDense("abc,cde->abde", (None, 8, 16), kernel_initializer=initializers.LecunNormal(seed=1))
    dense.build((2, 5, 32))
    assert abs(dense.kernel.std() / np.sqrt(1 / 32) - 1) < 0.03
    given = initializers.VarianceScaling(seed=1, input_axes=[1], output_axes=[0])
    dense = layers.EinsumDense("abc,cde->abde", (None, 8, 16), kernel_initializer=given)
    dense.build((2, 5, 32))
    assert abs(dense.kernel.std() / np.sqrt(1 / 8) - 1) < 0.03


def test_shapes_of_attention_one_by_one() -> None:
    """As Keras has them, beside one list."""
    layer = layers.MultiHeadAttention(2, 3)
    assert layer.compute_output_shape((2, 5, 4), (2, 6, 4)) == layer.compute_output_shape([(2, 5, 4), (2, 6, 4)])
    layer.build(query_shape=(2, 5, 4), value_shape=(2, 6, 7), key_shape=(2, 6, 3))
    assert layer.query_dense.kernel.shape == (4, 2, 3) and layer.value_dense.kernel.shape == (7, 2, 3)
    assert layer.key_dense.kernel.shape == (3, 2, 3) and layer.output_dense.kernel.shape == (2, 3, 4)
    mask = np.ones((2, 5), bool)
    assert layers.Attention().compute_mask(inputs=[np.ones((2, 5, 4))] * 2, mask=[mask, None]) is mask
    attention = layers.Attention(use_scale=True)
    attention.build([(2, 5, 4)] * 2)
    assert attention.scale.shape == () and layers.Attention().scale is None
