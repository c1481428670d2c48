"""What Keras 3.15's own tests ask of layers: attributes set afterwards, shapes by cell, exclusive arguments."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers, regularizers

X = np.random.default_rng(7).normal(size=(3, 5, 4)).astype("float32")


@pytest.mark.parametrize("cls", [layers.Dense, layers.LSTM, layers.GRU, layers.SimpleRNN])
@pytest.mark.parametrize("value", ["relu", None, rnnx.activations.get("softsign")])
def test_an_activation_set_after_a_call(cls: Any, value: Any) -> None:
    layer = cls(3, activation="elu")
    before = layer(X)
    layer.activation = value
    wanted = cls(3, activation=value)
    wanted.build(X.shape)
    wanted.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(X), wanted(X))
    assert np.abs(layer(X) - before).max() > 0.01
    assert layer.get_config()["activation"] == wanted.get_config()["activation"]


@pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU])
def test_a_recurrent_activation_set_after_a_call(cls: Any) -> None:
    layer = cls(3)
    before = layer(X)
    layer.recurrent_activation = "hard_sigmoid"
    wanted = cls(3, recurrent_activation="hard_sigmoid")
    wanted.build(X.shape)
    wanted.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(X), wanted(X))
    assert np.abs(layer(X) - before).max() > 1e-3


def test_an_unknown_activation_set_afterwards() -> None:
    layer = layers.Activation("relu")
    layer.activation = None
    np.testing.assert_array_equal(layer(X), X)
    with pytest.raises(ValueError, match="unknown activation 'nothing'"):
        layer.activation = "nothing"
    np.testing.assert_array_equal(layer(X), X)


def test_output_shapes_of_a_stack_by_cell() -> None:
    """Keras 3.15 has the same in tuples: ``((2, 7), [(2, 10), (2, 10)], (2, 7))``."""
    layer = layers.RNN([layers.LSTMCell(10), layers.GRUCell(7)], return_state=True)
    assert layer.compute_output_shape((2, 3, 5)) == [(2, 7), [(2, 10), (2, 10)], (2, 7)]
    both = layers.Bidirectional(layer)
    half = [[(2, 10), (2, 10)], (2, 7)]
    assert both.compute_output_shape((2, 3, 5)) == [(2, 14), *half, *half]
    entry = rnnx.Input((3, 5))
    model = rnnx.Model(entry, rnnx.layers.Flatten()(both(entry)[1][0]))
    assert model.compute_output_shape((2, 3, 5)) == (2, 10)


def test_a_merge_of_one_tensor() -> None:
    for cls in (layers.Add, layers.Multiply, layers.Average, layers.Concatenate):
        with pytest.raises(ValueError, match="expected a list of inputs, got SymbolicTensor"):
            cls()(rnnx.Input((4,)))


def test_an_input_of_two_shapes() -> None:
    with pytest.raises(ValueError, match="give `shape` or `batch_shape`, not both"):
        layers.InputLayer(shape=(2, 3), batch_shape=(2, 3))
    with pytest.raises(ValueError, match="give `batch_size` or `batch_shape`, not both"):
        layers.InputLayer(batch_size=4, batch_shape=(2, 3))


def test_batch_normalization_spreads_a_mask() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
    mask = np.array([[True, False, True], [True, True, False]])
    one, other = (layers.BatchNormalization(momentum=0.5) for _ in range(2))
    y = one(x, mask=mask[:, :, None], training=True)
    np.testing.assert_array_equal(y, other(x, mask=np.repeat(mask[:, :, None], 4, axis=2), training=True))
    np.testing.assert_allclose(one.moving_mean, 0.5 * x[mask].mean(axis=(0, 1)), rtol=1e-5)
    with pytest.raises(ValueError, match="`mask` must have shape"):
        one(x, mask=np.ones((2, 3, 2), bool), training=True)


def test_both_directions_keep_use_cudnn() -> None:
    for cls in (layers.GRU, layers.LSTM):
        for given in (True, False, "auto"):
            both = layers.Bidirectional(cls(1, use_cudnn=given))
            assert both.forward_layer.use_cudnn == both.backward_layer.use_cudnn == given
    assert not hasattr(layers.Bidirectional(layers.SimpleRNN(1)).forward_layer, "use_cudnn")


@pytest.mark.parametrize("name", ["negative_slope", "threshold"])
@pytest.mark.parametrize("value", [None, float("nan"), -0.5])
def test_relu_of_no_number(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be a number of at least 0"):
        layers.ReLU(**{name: value})


def test_l1l2_by_its_other_name() -> None:
    assert regularizers.get("l1l2").get_config() == {"l1": 0.0, "l2": 0.0}


A = np.array([[[3, -1], [2, 2], [5, 0.5], [-1, 4]]], "float32")
B = np.array([[[1, 1], [-2, 7], [6, -3], [2, 2]]], "float32")
C = np.array([[[0, 9], [8, -8], [1, 1], [-5, -6]]], "float32")
MASK_A, MASK_B, MASK_C = (np.array([row], bool) for row in ([1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]))
ALL, ENDS = [MASK_A, MASK_B, MASK_C], [MASK_A, None, MASK_C]


@pytest.mark.parametrize(
    ("cls", "masks", "output", "gradients"),
    [
        (
            layers.Maximum,
            ALL,
            [3, 1, 8, 7, 5, 1, -1, 4],
            [[1, 0, 0, 0, 5, 0, 7, 8], [0, 2, 0, 4, 0, 0, 0, 0], [0, 0, 3, 0, 0, 6, 0, 0]],
        ),
        (
            layers.Maximum,
            ENDS,
            [3, 1, 8, 7, 6, 1, 2, 2],
            [[1, 0, 0, 0, 0, 0, 0, 0], [0, 2, 0, 4, 5, 0, 7, 8], [0, 0, 3, 0, 0, 6, 0, 0]],
        ),
        (
            layers.Minimum,
            ALL,
            [1, -1, -2, -8, 1, 0.5, -1, 4],
            [[0, 2, 0, 0, 0, 6, 7, 8], [1, 0, 3, 0, 0, 0, 0, 0], [0, 0, 0, 4, 5, 0, 0, 0]],
        ),
    ],
)
def test_masked_inputs_do_not_count_in_maxima(cls: Any, masks: Any, output: Any, gradients: Any, tmp_path: Any) -> None:
    """Values and gradients of Keras 3.15 with PyTorch, for the gradient 1, 2, ... 8 of the output."""
    y, pullback = cls().vjp([A, B, C], mask=masks)
    assert y.ravel().tolist() == output
    found = pullback(np.arange(1, 9, dtype="float32").reshape(1, 4, 2)).dx
    assert [d.ravel().tolist() for d in found] == gradients
    assert getattr(y, "mask", None) is None or y.mask.tolist() == [[True, True, True, False]]
    entries = [rnnx.Input((4, 2)) for _ in range(3)]
    parts = [e if m is None else layers.Masking()(e) for e, m in zip(entries, masks, strict=True)]
    model = rnnx.Model(entries, cls()(parts))
    data = [x if m is None else np.where(m[..., None], x, 0) for x, m in zip((A, B, C), masks, strict=True)]
    model.save(tmp_path / "model.onnx")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "model.onnx")(data), model(data))
    from rnnx.formats.onnx import Session

    session = Session(tmp_path / "model.onnx")
    given = dict(zip([i.name for i in session.inputs], data, strict=True))
    np.testing.assert_array_equal(next(iter(session.run(given).values())), model(data))


def test_masks_of_a_merge_are_lists() -> None:
    for layer in (layers.Add(), layers.Concatenate()):
        with pytest.raises(ValueError, match="compute_mask: `mask` must be a list"):
            layer.compute_mask([A, B], MASK_A)
        with pytest.raises(ValueError, match="compute_mask: `inputs` must be a list"):
            layer.compute_mask(A, [None, None])
        with pytest.raises(ValueError, match="compute_mask: 2 inputs need as many masks, got 1"):
            layer.compute_mask([A, B], [None])


def test_dense_says_its_activity_regularizer_if_it_has_one() -> None:
    assert "activity_regularizer" not in layers.Dense(2).get_config()
    config = layers.Dense(2, activity_regularizer="l2").get_config()
    assert type(layers.Dense.from_config(config).activity_regularizer) is regularizers.L2


def test_weights_of_layers_can_be_assigned() -> None:
    """``layer.kernel.assign``, ``.numpy()`` and what else scripts do with Keras' variables."""
    layer = layers.Dense(2, kernel_regularizer="l2", bias_constraint="non_neg")
    before = layer(X)
    kernel = layer.kernel
    assert isinstance(kernel, np.ndarray) and type(layer.kernel.numpy()) is np.ndarray
    layer.kernel.assign(2 * kernel)
    np.testing.assert_allclose(layer(X), 2 * before, rtol=1e-6)
    layer.bias.assign_add([1.0, 2.0])
    layer.bias.assign_sub(np.array([0.5, 0.5]))
    np.testing.assert_allclose(layer(X), 2 * before + [0.5, 1.5], rtol=1e-5)
    assert (layer.kernel.name, layer.kernel.trainable) == ("kernel", True)
    assert type(layer.kernel.regularizer).__name__ == "L2" and type(layer.bias.constraint).__name__ == "NonNeg"
    assert type(layer.kernel + 1) is type(layer.kernel[0]) is type(np.stack([kernel])) is np.ndarray
    assert (
        type(pickle.loads(pickle.dumps(kernel))) is type(copy.copy(kernel)) is type(copy.deepcopy(kernel)) is np.ndarray
    )
    with pytest.raises(ValueError, match="weight 'kernel' has shape"):
        layer.kernel.assign(np.ones(3))
    with pytest.raises(AttributeError, match="was made of the value of a weight"):
        layer.kernel.T.assign(1)


def test_weights_of_other_layers_can_be_assigned() -> None:
    for layer, names in (
        (layers.LSTM(3), ("kernel", "recurrent_kernel", "bias")),
        (layers.Conv1D(3, 2), ("kernel", "bias")),
        (layers.BatchNormalization(), ("gamma", "beta", "moving_mean", "moving_variance")),
        (layers.LayerNormalization(), ("gamma", "beta")),
    ):
        before = layer(X)
        for name in names:
            value = getattr(layer, name)
            value.assign(np.full(value.shape, 0.3))
            assert (getattr(layer, name) == np.float32(0.3)).all()
        assert np.abs(layer(X) - before).max() > 0.05
