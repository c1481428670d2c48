"""SpectralNormalization and ReversibleEmbedding: values of Keras 3.15.1 on PyTorch, and what else they do."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import rnnx
from rnnx import layers, losses, optimizers

KERNEL = np.array([[0.13, -0.13], [0.64, 0.1], [-0.54, 0.36]], "float32")
BIAS, VECTOR = np.array([0.1, -0.2], "float32"), np.array([[0.3, 0.4]], "float32")
X = np.array([[1.3, 0.95, -0.7], [-1.27, -0.62, 0.04]], "float32")
Y = np.array([[1.0], [-1.0]], "float32")
IDS = np.array([[1, 2, 0, 0], [2, 2, 1, 0]])


def normalized(power_iterations=1, **options):
    layer = layers.SpectralNormalization(layers.Dense(2, name="dd"), power_iterations, name="sn", **options)
    layer.build((None, 3))
    layer.set_weights([KERNEL, VECTOR, BIAS])
    return layer


def model_of(layer, optimizer):
    x = rnnx.Input((3,))
    model = rnnx.Model(x, layers.Dense(1, name="e")(layer(x)))
    model.layers[-1].set_weights([[[0.5], [-0.7]], [0.2]])
    model.compile(optimizer, "mse")
    return model


def test_a_call_in_training_divides_the_kernel():
    layer = normalized(2)
    assert [(w.name, w.shape) for w in layer.weights] == [("kernel", (3, 2)), ("vector_u", (1, 2)), ("bias", (2,))]
    assert [w.name for w in layer.trainable_weights] == ["kernel", "bias"]
    close = {"rtol": 1e-5, "atol": 1e-6}
    before = [[1.2549999952316284, -0.5259999632835388], [-0.4834999740123749, -0.08250001817941666]]
    np.testing.assert_allclose(layer(X), before, **close)
    after = [[1.4422065019607544, -0.5788392424583435], [-0.5780757069587708, -0.06345520913600922]]
    np.testing.assert_allclose(layer(X, training=True), after, **close)
    np.testing.assert_allclose(layer(X), after, **close)
    kernel = [[0.15107084810733795, -0.15107084810733795], [0.7437334656715393, 0.11620835214853287],
              [-0.6275251507759094, 0.41835010051727295]]  # fmt: skip
    np.testing.assert_allclose(layer.layer.kernel, kernel, **close)
    np.testing.assert_allclose(layer.vector_u, [[0.9835027456283569, -0.18089279532432556]], **close)


@pytest.mark.parametrize(
    ("options", "wanted", "kernel"),
    [
        ({}, [0.6647753715515137, 0.14455902576446533],
         [[0.2405708134174347, -0.3226339519023895], [0.7619501352310181, 0.03553125634789467],
          [-0.5991947054862976, 0.3942851722240448]]),
        ({"weight_decay": 0.5}, [0.6633679270744324, 0.2076338827610016],
         [[0.23553889989852905, -0.31185513734817505], [0.7248842716217041, 0.028418300673365593],
          [-0.5686932802200317, 0.37603023648262024]]),
    ],
)  # fmt: skip
def test_training_equals_keras(options, wanted, kernel):
    model = model_of(normalized(), optimizers.SGD(0.1, **options))
    history = model.fit(X, Y, batch_size=1, epochs=2, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(history, wanted, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-6)


def test_a_call_that_fails_leaves_everything():
    layer = normalized()
    model = model_of(layer, "sgd")
    with pytest.raises(ValueError, match="y_true"):
        model.train_on_batch(X, np.zeros((2, 5)))
    for one, other in zip(layer.get_weights(), (KERNEL, VECTOR, BIAS), strict=True):
        np.testing.assert_array_equal(one, other)
    copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    layer(X, training=True)
    for twin in copies:
        np.testing.assert_array_equal(twin(X, training=True), layer(X))
    model.predict(X), model.evaluate(X, Y, verbose=0)
    assert not np.array_equal(layer.layer.kernel, KERNEL)


def test_a_kernel_of_zeros_stays():
    layer = normalized()
    layer.set_weights([np.zeros((3, 2)), VECTOR, BIAS])
    np.testing.assert_array_equal(layer(X, training=True), np.tile(BIAS, (2, 1)))


def test_frozen_and_streamed():
    layer = normalized()
    layer.trainable = False
    layer(X, training=True)
    np.testing.assert_array_equal(layer.layer.kernel, KERNEL)
    assert layer.trainable_weights == [] and layer.vjp(X)[1](np.ones((2, 2))).dweights == [None] * 3
    x = rnnx.Input((None, 3))
    model = rnnx.Model(x, layers.SpectralNormalization(layers.Dense(2))(layers.GRU(4)(x)))
    steps = np.random.default_rng(0).normal(size=(1, 5, 3)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(steps, np.ones((1, 2)), verbose=0)
    stream = model.stream()
    for t in range(5):
        last = stream.step(steps[:, t])
    np.testing.assert_allclose(np.ravel(last), model.predict(steps)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inner", [layers.ReLU, lambda: layers.LSTM(2), lambda: layers.SeparableConv1D(2, 2)])
def test_layers_without_one_kernel(inner):
    with pytest.raises(ValueError, match="'kernel' or 'embeddings'"):
        layers.SpectralNormalization(inner()).build((None, 4, 3))


def test_arguments():
    for number in (0, 1.5, True):
        with pytest.raises(ValueError, match="power_iterations"):
            layers.SpectralNormalization(layers.Dense(2), number)
    with pytest.raises(ValueError, match="`layer` must be a layer, got int"):
        layers.SpectralNormalization(3)
    with pytest.raises(ValueError, match="logit_soft_cap"):
        layers.ReversibleEmbedding(3, 2, logit_soft_cap=-1.0)
    with pytest.raises(ValueError, match="reverse_dtype"):
        layers.ReversibleEmbedding(3, 2, reverse_dtype="float64")
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 2\), got \(1, 3\)"):
        layers.ReversibleEmbedding(3, 2)(np.zeros((1, 3)), reverse=True)


# ---- ReversibleEmbedding ---------------------------------------------------------------------------------------------


def reversible(**options):
    embedding = layers.ReversibleEmbedding(3, 2, **options)
    ids = rnnx.Input((4,), dtype="int32")
    model = rnnx.Model(ids, embedding(layers.GRU(2, return_sequences=True)(embedding(ids)), reverse=True))
    table = np.array([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])
    rest = [np.arange(w.array.size).reshape(w.shape) * 0.05 - 0.3 for w in model.weights[1:]]
    model.set_weights([table, *rest])
    return model


def test_there_and_back_equals_keras():
    model = reversible(mask_zero=True, logit_soft_cap=5.0)
    wanted = [
        [[-0.0124528, -0.0106907, -0.0515953], [0.0212347, -0.0370314, 0.0658759], [0.0212347, -0.0370314, 0.0658759],
         [0.0212347, -0.0370314, 0.0658759]],
        [[0.0265736, -0.0339339, 0.0873978], [0.0398958, -0.050321, 0.1314478], [0.0073535, -0.0349459, 0.0139647],
         [0.0073535, -0.0349459, 0.0139647]],
    ]  # fmt: skip
    np.testing.assert_allclose(model.predict(IDS), wanted, atol=2e-7)
    model.compile(optimizers.SGD(0.1), losses.SparseCategoricalCrossentropy(from_logits=True))
    targets = np.array([[0, 1, 2, 0], [1, 1, 0, 2]])
    history = model.fit(IDS, targets, epochs=2, batch_size=2, verbose=0, shuffle=False).history["loss"]
    np.testing.assert_allclose(history, [1.113073706626892, 1.1122452020645142], rtol=1e-6)
    table = [[0.09767864644527435, 0.19768311083316803], [0.3026580810546875, -0.39423686265945435],
             [0.500053882598877, 0.5942647457122803]]  # fmt: skip
    np.testing.assert_allclose(model.get_weights()[0], table, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"logit_soft_cap": 0.7}, {"tie_weights": False}])
def test_gradients_of_the_way_back(options):
    layer = layers.ReversibleEmbedding(5, 3, dtype="float64", **options)
    rng = np.random.default_rng(2)
    x, slope = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 5))
    y, pullback = layer.vjp(x, reverse=True)
    assert y.shape == (2, 4, 5)
    grads = pullback(slope)
    for array, found in [(x, grads.dx), *zip([w.mutable() for w in layer.weights], grads.dweights, strict=True)]:
        for place in ((0,) * array.ndim, tuple(size - 1 for size in array.shape)):
            ends = []
            for step in (1e-6, -1e-6):
                array[place] += step
                for weight in layer.weights:
                    weight.mutable()
                ends.append(float((layer(x, reverse=True) * slope).sum()))
                array[place] -= step
            np.testing.assert_allclose(found[place], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_masks_streams_and_copies():
    layer = layers.ReversibleEmbedding(3, 2, mask_zero=True)
    vectors = layer(IDS)
    np.testing.assert_array_equal(vectors.mask, IDS != 0)
    assert getattr(layer(vectors, reverse=True), "mask", None) is None
    model = reversible()
    stream = model.stream()
    steps = [stream.step(IDS[:1, t]) for t in range(4)]
    np.testing.assert_allclose(np.concatenate(steps), model.predict(IDS)[0], rtol=1e-5, atol=1e-6)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(IDS), model.predict(IDS))
