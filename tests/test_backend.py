"""Thin words of ``keras.backend`` and ``keras.config``."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import backend as K
from rnnx import config, layers


def test_settings_are_fixed() -> None:
    for module in (K, config, rnnx.backend, rnnx.config):
        assert (module.backend(), module.floatx(), module.epsilon()) == ("rnnx", "float32", 1e-7)
        assert module.image_data_format() == "channels_last"
        module.set_floatx("float32")
        module.set_epsilon(1e-7)
        module.set_image_data_format("channels_last")
        for name, value, instead in (
            ("set_floatx", "float64", "dtype='float64'"),
            ("set_epsilon", 1e-3, "epsilon="),
            ("set_image_data_format", "channels_first", "data_format='channels_first'"),
        ):
            with pytest.raises(ValueError, match=instead):
                getattr(module, name)(value)
    with pytest.raises(NotImplementedError, match="custom_objects"):
        config.enable_unsafe_deserialization()


def test_functions_of_models() -> None:
    x = rnnx.Input((3,))
    hidden = layers.Dense(2, name="hidden")(x)
    model = rnnx.Model(x, layers.Dense(1)(hidden))
    values = np.ones((4, 3), "float32")
    (found,) = K.function([model.input], [hidden])([values])
    np.testing.assert_array_equal(found, model.get_layer("hidden")(values))
    assert K.int_shape(hidden) == (None, 2) and K.ndim(hidden) == 2
    assert K.is_keras_tensor(hidden) and not K.is_keras_tensor(found)
    kernel = model.get_layer("hidden").weights[0]
    assert K.count_params(kernel) == 6
    K.set_value(kernel, np.zeros((3, 2)))
    assert not K.get_value(kernel).any() and not K.eval(kernel).any()
    with pytest.raises(TypeError, match=r"model.optimizer.learning_rate = value"):
        K.set_value(0.1, 0.2)
    assert K.get_value(0.5) == 0.5


def test_names_start_again() -> None:
    K.clear_session()
    assert layers.Dense(1).name == "dense"
    assert [K.get_uid("layer"), K.get_uid("layer"), K.get_uid("other")] == [1, 2, 1]


def test_unknown_words_point_to_the_functions() -> None:
    with pytest.raises(AttributeError, match="no_such_function.*rnnx.ops"):
        K.no_such_function  # noqa: B018


def test_functions_of_arrays_are_those_of_ops() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert K.mean is rnnx.ops.mean and K.transpose is rnnx.ops.transpose
    assert K.permute_dimensions.__wrapped__ is rnnx.ops.transpose
    for name in K.RENAMED:
        assert callable(getattr(K, name)), name
    assert K.concatenate([x, x]).shape == (2, 6) and K.expand_dims(x).shape == (2, 3, 1)
    assert K.argmax(x).tolist() == [2, 2] and K.argmin(x).tolist() == [0, 0]
    assert K.cumsum(x).tolist() == [[0, 1, 2], [3, 5, 7]]
    assert K.gather(x, [1, 0, 1]).tolist() == x[[1, 0, 1]].tolist()
    assert K.repeat(x, 4).shape == (2, 4, 3)
    np.testing.assert_allclose(K.l2_normalize(x, axis=1), x / np.sqrt((x**2).sum(axis=1, keepdims=True)), rtol=1e-6)
    assert not K.l2_normalize(np.zeros((1, 3)), axis=1).any()
    assert K.permute_dimensions(x, (1, 0)).shape == (3, 2) and K.reverse(x, 1)[0].tolist() == [2, 1, 0]
    entry = rnnx.Input((3,))
    model = rnnx.Model(entry, K.concatenate([K.l2_normalize(entry, axis=1), K.expand_dims(K.sum(entry, axis=1))]))
    assert model(x).shape == (2, 4)


def test_words_of_keras_2() -> None:
    """Shapes of ``batch_dot`` are those of tf.keras 2.12."""
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(2, 4, 5)
    np.testing.assert_allclose(K.batch_dot(a, b), a @ b)
    assert K.batch_dot(a, a, axes=2).shape == (2, 3, 3) and K.batch_dot(a[:, 0], a[:, 1], axes=1).shape == (2, 1)
    assert K.batch_dot(a[:, 0], b).shape == (2, 5) and K.batch_dot(a, a[:, 0]).shape == (2, 3)
    assert K.batch_dot(a.astype("float32"), b.astype("float32")).dtype == np.float32
    assert K.flatten(a).shape == (24,) and K.batch_flatten(a).shape == (2, 12)
    assert K.cast_to_floatx(a).dtype == np.float32 and K.dtype(a) == "float64"
    assert K.switch(a[:, 0, 0] > 5, a, lambda: -a).tolist() == [(-a[0]).tolist(), a[1].tolist()]
    assert K.temporal_padding(a, (1, 2)).shape == (2, 6, 4)
    image = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    assert K.spatial_2d_padding(image, ((1, 0), (0, 2))).shape == (1, 5, 6, 1)
    assert K.pool2d(image, (2, 2), strides=(2, 2)).ravel().tolist() == [5, 7, 13, 15]
    assert K.pool2d(image, (2, 2), strides=(2, 2), pool_mode="avg").ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    with pytest.raises(ValueError, match="`pool_mode` must be 'max' or 'avg'"):
        K.pool2d(image, (2, 2), pool_mode="sum")
    np.testing.assert_array_equal(K.bias_add(a, np.arange(4.0)), a + np.arange(4.0))
    np.testing.assert_array_equal(K.bias_add(a, np.arange(3.0), "channels_first"), a + np.arange(3.0)[:, None])
    with pytest.raises(ValueError, match="must be a vector, got 2 axes"):
        K.bias_add(a, np.ones((3, 4)))
    layer = layers.Dense(1)
    layer.build((None, 2))
    with K.name_scope("anything"):
        K.batch_set_value([(layer.kernel, np.ones((2, 1))), (layer.bias, [3.0])])
    assert [part.tolist() for part in K.batch_get_value(layer.weights)] == [[[1], [1]], [3]]


def test_arguments_by_the_words_of_the_backend() -> None:
    """What Keras 2.15 gives for these calls."""
    x = np.array([[-2.0, 0.5, 9.0]], "float32")
    y = np.ones((1, 3), "float32")
    for found, wanted in (
        (K.variable(value=x, dtype="float32", name="v", constraint=None), x),
        (K.constant(value=2.0, shape=(2, 1), name="c"), [[2.0], [2.0]]),
        (K.constant(x), x),
        (K.clip(x, min_value=-1.0, max_value=1.0), [[-1.0, 0.5, 1.0]]),
        (K.pow(x, a=2), [[4.0, 0.25, 81.0]]),
        (K.reverse(x, axes=1), [[9.0, 0.5, -2.0]]),
        (K.permute_dimensions(x, pattern=(1, 0)), x.T),
        (K.repeat_elements(x, rep=2, axis=0), np.concatenate([x, x])),
        (K.tile(x, n=(1, 2)), np.concatenate([x, x], axis=1)),
        (K.one_hot(indices=np.array([1]), num_classes=3), [[0.0, 1.0, 0.0]]),
        (K.maximum(x=x, y=y), [[1.0, 1.0, 9.0]]),
        (K.equal(x=x, y=y), [[False, False, False]]),
        (K.reshape(x, shape=(3, 1)), x.T),
        (K.zeros(shape=(2,), name="z"), [0.0, 0.0]),
        (K.relu(x), [[0.0, 0.5, 9.0]]),
        (K.relu(x, alpha=0.1, max_value=6.0), [[-0.2, 0.5, 6.0]]),
        (K.relu(x, threshold=1.0), [[0.0, 0.0, 9.0]]),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    tensor = rnnx.Input((3,))
    model = rnnx.Model(tensor, K.clip(K.relu(tensor, alpha=0.5), min_value=-0.5, max_value=8.0))
    np.testing.assert_allclose(model(x), [[-0.5, 0.5, 8.0]])
    with pytest.raises(TypeError, match="x_max"):
        K.clip(x, min_value=0.0, max_val=1.0)
    with pytest.raises(TypeError, match="clip: `min_value` and `x_min` are one argument; give one of them"):
        K.clip(x, x_min=0.0, min_value=0.0, max_value=1.0)
