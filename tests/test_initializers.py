"""Initializers: variance, orthogonality, seeds, configurations."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rnnx import initializers, layers, utils
from rnnx.dropout import SeedGenerator

SHAPE = (300, 200)
FANS = {"fan_in": 300, "fan_out": 200, "fan_avg": 250}


@pytest.mark.parametrize(
    ("name", "variance", "limit"),
    [
        ("glorot_uniform", 1 / 250, np.sqrt(3 / 250)),
        ("glorot_normal", 1 / 250, 2 * np.sqrt(1 / 250) / 0.8796),
        ("he_uniform", 2 / 300, np.sqrt(6 / 300)),
        ("he_normal", 2 / 300, 2 * np.sqrt(2 / 300) / 0.8796),
        ("lecun_uniform", 1 / 300, np.sqrt(3 / 300)),
        ("lecun_normal", 1 / 300, 2 * np.sqrt(1 / 300) / 0.8796),
        ("random_normal", 0.05**2, np.inf),
        ("random_uniform", 0.1**2 / 12, 0.05),
        ("truncated_normal", (0.05 * 0.87963) ** 2, 0.1),
    ],
)
def test_mean_variance_and_range(name, variance, limit):
    cls = type(initializers.get(name))
    w = cls(seed=3)(SHAPE, np.float64)
    assert w.shape == SHAPE
    assert abs(w.mean()) < 4 * np.sqrt(variance / w.size)
    assert w.var() == pytest.approx(variance, rel=0.03)
    assert np.abs(w).max() <= limit
    if np.isfinite(limit):
        assert np.abs(w).max() > 0.95 * limit


@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal", "untruncated_normal"])
@pytest.mark.parametrize("mode", FANS)
def test_variance_scaling(mode, distribution):
    w = initializers.VarianceScaling(1.7, mode, distribution, seed=4)(SHAPE, np.float64)
    assert w.var() == pytest.approx(1.7 / FANS[mode], rel=0.03)


def test_fans_of_other_shapes():
    assert initializers.fans((5, 3, 4)) == (15, 20)
    assert initializers.fans((7,)) == (7, 7)
    assert initializers.fans(()) == (1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 6), (5, 20), (20, 5), (2, 3, 4)])
def test_orthogonal_over_the_whole_matrix(shape, dtype):
    w = initializers.Orthogonal(gain=2.0, seed=1)(shape, dtype)
    assert w.dtype == dtype
    flat = w.reshape(-1, shape[-1]).astype(np.float64) / 2
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)


@pytest.mark.parametrize(("cell", "gates"), [("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1)])
def test_recurrent_kernels_are_orthogonal_as_a_whole(cell, gates):
    layer = getattr(layers, cell)(5)
    layer.build((None, None, 3))
    kernel = layer.get_weights()[1].astype(np.float64)
    assert kernel.shape == (5, 5 * gates)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(5), atol=1e-6)


def test_orthogonal_matrices_have_no_preferred_sign():
    signs = np.mean([np.sign(np.diag(initializers.Orthogonal(seed=k)((3, 3)))) for k in range(300)], axis=0)
    assert np.abs(signs).max() < 0.25


RANDOM = [
    "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "GlorotUniform", "GlorotNormal",
    "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "Orthogonal",
]  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name):
    cls = getattr(initializers, name)
    np.testing.assert_array_equal(cls(seed=5)((4, 3)), cls(seed=5)((4, 3)))
    assert not np.array_equal(cls(seed=5)((4, 3)), cls(seed=6)((4, 3)))
    assert not np.array_equal(cls()((4, 3)), cls()((4, 3)))
    seeded, free = cls(seed=5), cls()
    np.testing.assert_array_equal(seeded((4, 3)), seeded((4, 3)))
    assert not np.array_equal(free((4, 3)), free((4, 3)))
    utils.set_random_seed(9)
    first = cls()((4, 3))
    utils.set_random_seed(9)
    np.testing.assert_array_equal(cls()((4, 3)), first)
    again = initializers.get(initializers.serialize(cls(seed=5)))
    np.testing.assert_array_equal(again((4, 3)), cls(seed=5)((4, 3)))


def test_constants():
    assert initializers.get("zeros")((2,)).tolist() == [0, 0]
    assert initializers.get("ones")((2,)).tolist() == [1, 1]
    assert initializers.Constant(2.5)((2,)).tolist() == [2.5, 2.5]
    assert initializers.Identity(3.0)((2, 3)).tolist() == [[3, 0, 0], [0, 3, 0]]
    for name in ("zeros", "ones", "Constant", "identity"):
        assert initializers.get(name)((2, 2), "float64").dtype == np.float64


def test_callables_and_layers():
    def own(shape, dtype=None):
        return np.full(shape, 7, dtype)

    dense = layers.Dense(2, kernel_initializer=own, bias_initializer=initializers.Constant(0.5))
    dense.build((None, 3))
    assert dense.get_weights()[0].tolist() == [[7, 7]] * 3
    assert dense.get_weights()[1].tolist() == [0.5, 0.5]


def test_forget_gates_start_open():
    layer = layers.LSTM(3)
    layer.build((None, None, 2))
    assert layer.get_weights()[2].tolist() == [0] * 3 + [1] * 3 + [0] * 6


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: initializers.get("glorot"), "unknown initializer 'glorot'"),
        (lambda: initializers.VarianceScaling(scale=0), "scale"),
        (lambda: initializers.VarianceScaling(mode="fan"), "mode"),
        (lambda: initializers.VarianceScaling(distribution="normal"), "distribution"),
        (lambda: initializers.Orthogonal()((3,)), "two axes"),
        (lambda: initializers.Identity()((3,)), "two axes"),
        (lambda: initializers.GlorotUniform(seed=-1), "GlorotUniform: `seed` must be an integer of at least 0"),
        (lambda: initializers.Orthogonal(seed=1.5), "`seed`"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_words_of_keras():
    assert type(initializers.get("IdentityInitializer")) is initializers.Identity
    assert type(initializers.get("OrthogonalInitializer")) is initializers.Orthogonal


def test_an_array_is_the_value_of_a_weight_of_its_shape():
    given = np.arange(6.0).reshape(2, 3)
    made = initializers.get(given)((2, 3))
    assert made.dtype == "float32" and (made == given).all()
    with pytest.raises(ValueError, match=r"shape \(2, 3\) is no initial value of shape \(3, 2\)"):
        initializers.get(given)((3, 2))


def test_a_constant_array_comes_back_from_its_configuration():
    """Keras 3.15 writes ``{"class_name": "__numpy__", "config": {"value": [...], "dtype": "float32"}}``."""
    given = np.array([[1, 2.5]], "float32")
    config = json.loads(json.dumps(initializers.serialize(initializers.Constant(given))))
    assert config["config"]["value"] == {"class_name": "__numpy__", "config": {"value": [[1, 2.5]], "dtype": "float32"}}
    back = initializers.get(config)
    assert back.value.dtype == "float32" and (back((3, 2)) == [[1, 2.5]] * 3).all()
    with pytest.raises(ValueError, match="`value` must be a number or an array of numbers"):
        initializers.Constant.from_config({"value": {"class_name": "function", "config": "f"}})


def test_a_seed_generator_gives_new_values_every_call():
    maker = initializers.RandomNormal(seed=SeedGenerator(5))
    first, second = maker((4,)), maker((4,))
    assert (first != second).all()
    again = initializers.get(json.loads(json.dumps(initializers.serialize(maker))))
    assert (again((4,)) == first).all()


def test_fans_of_given_axes():
    """A weight of shape (features, heads, size), as Keras' tests have it."""
    assert initializers.fans((512, 8, 64), [0], [1, 2]) == (512, 512)
    assert initializers.fans((512, 8, 64), [0, 1], [2]) == (4096, 64)
    maker = initializers.VarianceScaling(2.0, seed=1, input_axes=[0], output_axes=[1, 2])
    assert maker((320, 4, 16)).var() == pytest.approx(2 / 320, rel=0.03)
    assert type(maker).from_config(maker.get_config()).get_config() == maker.get_config()
    assert "input_axes" not in initializers.VarianceScaling().get_config()
