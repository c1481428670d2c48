"""Activations: values, derivatives, dtypes, extremes, names."""

import copy
import math
import pickle

import numpy as np
import pytest

from rnnx import activations
from rnnx.activations import Activation

NAMES = [name for name in dir(activations) if name not in ("Activation", "get")]
X = np.array([-30.0, -3.1, -1.7, -0.4, -1e-3, 1e-3, 0.3, 1.9, 2.9, 5.0, 7.5, 40.0])
LIMITS = {  # at -inf and at inf
    "tanh": (-1, 1),
    "sigmoid": (0, 1),
    "relu": (0, np.inf),
    "linear": (-np.inf, np.inf),
    "elu": (-1, np.inf),
    "selu": (-activations.SELU_SCALE * activations.SELU_ALPHA, np.inf),
    "softplus": (0, np.inf),
    "softsign": (-1, 1),
    "exponential": (0, np.inf),
    "gelu": (0, np.inf),
    "silu": (0, np.inf),
    "swish": (0, np.inf),
    "leaky_relu": (-np.inf, np.inf),
    "relu6": (0, 6),
    "hard_sigmoid": (0, 1),
    "hard_sigmoid_keras2": (0, 1),
}


def plain(name, x):
    """The textbook formula for one number."""
    return {
        "tanh": lambda: math.tanh(x),
        "sigmoid": lambda: 1 / (1 + math.exp(-x)),
        "relu": lambda: max(x, 0),
        "linear": lambda: x,
        "elu": lambda: x if x > 0 else math.exp(x) - 1,
        "selu": lambda: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
        "softplus": lambda: math.log(1 + math.exp(x)),
        "softsign": lambda: x / (1 + abs(x)),
        "exponential": lambda: math.exp(x),
        "gelu": lambda: 0.5 * x * math.erfc(-x / math.sqrt(2)),
        "silu": lambda: x / (1 + math.exp(-x)),
        "swish": lambda: x / (1 + math.exp(-x)),
        "leaky_relu": lambda: x if x > 0 else 0.2 * x,
        "relu6": lambda: min(max(x, 0), 6),
        "hard_sigmoid": lambda: min(max(x / 6 + 0.5, 0), 1),
        "hard_sigmoid_keras2": lambda: min(max(0.2 * x + 0.5, 0), 1),
    }[name]()


@pytest.mark.parametrize("name", LIMITS)
def test_formula(name):
    np.testing.assert_allclose(activations.get(name)(X), [plain(name, x) for x in X], rtol=1e-12, atol=1e-14)


def test_softmax():
    x = np.array([[1.0, 2.0, 4.0], [1000.0, 1000.0, -np.inf]])
    expected = np.exp(x[0] - 4) / np.exp(x[0] - 4).sum()
    np.testing.assert_allclose(activations.softmax(x), [expected, [0.5, 0.5, 0]], rtol=1e-15)


def test_log_softmax():
    x = np.array([[1.0, 2.0, 4.0], [1000.0, 1000.0, -np.inf]])
    expected = x[0] - 4 - np.log(np.exp(x[0] - 4).sum())
    np.testing.assert_allclose(activations.log_softmax(x), [expected, [-np.log(2), -np.log(2), -np.inf]], rtol=1e-15)


def test_every_name_of_the_documentation_is_there():
    assert set(NAMES) == {*LIMITS, "softmax", "log_softmax"}
    assert activations.swish is activations.silu is activations.get("swish")
    assert activations.get(None) is activations.linear


@pytest.mark.parametrize("name", NAMES)
def test_derivative(name):
    activation = activations.get(name)
    rng = np.random.default_rng(1)
    x = X.reshape(3, 4)[:, :3] * 0.9  # away from the corners of the pieces
    direction, dy = rng.normal(size=(2, *x.shape))
    step = 1e-6
    slope = (activation(x + step * direction) - activation(x - step * direction)) / (2 * step)
    got = activation.vjp(x, activation(x), dy)
    assert (got * direction).sum() == pytest.approx((slope * dy).sum(), rel=1e-7, abs=1e-9)
    if name not in ("softmax", "log_softmax"):
        np.testing.assert_allclose(got * direction, slope * dy, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_dtype_shape_and_float32_accuracy(name, dtype):
    activation = activations.get(name)
    for shape in ((0, 3), (3,), (2, 1, 5)):
        x = np.linspace(-4, 4, math.prod(shape)).reshape(shape).astype(dtype)
        y = activation(x)
        dx = activation.vjp(x, y, np.ones_like(x))
        assert y.dtype == dx.dtype == dtype and y.shape == dx.shape == shape
        exact = activation(x.astype(np.float64))
        np.testing.assert_allclose(y, exact, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LIMITS)
def test_extremes(name, dtype):
    """Infinities reach the limits, huge numbers bring no warning but that of an exponential, NaN stays NaN."""
    activation = activations.get(name)
    x = np.array([-np.inf, np.inf], dtype)
    np.testing.assert_allclose(activation(x), np.array(LIMITS[name], dtype), rtol=1e-6)
    huge = np.array([-0.5, 0 if name == "exponential" else 0.5], dtype) * np.finfo(dtype).max
    y = activation(huge)
    assert np.isfinite(y).all()
    assert np.isfinite(activation.vjp(huge, y, np.ones_like(y))).all()
    assert np.isnan(activation(np.array([np.nan], dtype))).all()


def test_integers_and_lists_are_taken_as_floats():
    assert activations.sigmoid(np.array([0, 1])).dtype == np.float32
    assert activations.sigmoid([0.0, 1.0]).dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_names_survive_saving_copying_and_pickling(name):
    activation = activations.get(name)
    assert activations.get(activation.serialize()) is activation
    assert activations.get(activation) is activation
    assert copy.deepcopy(activation) is activation
    assert pickle.loads(pickle.dumps(activation)) is activation
    assert activation.name in repr(activation)


def relu(x):
    """A user's function that has the name of ours."""
    return np.maximum(x, -0.5)


def test_a_callable_of_the_user():
    custom = activations.get(relu)
    assert isinstance(custom, Activation) and custom.name != "relu"
    x = np.array([-2.0, 1.0])
    np.testing.assert_array_equal(custom(x), [-0.5, 1.0])
    with pytest.raises(ValueError, match="`vjp\\(x, y, dy\\) -> dx`"):
        custom.vjp(x, custom(x), x)
    with pytest.raises(ValueError, match="cannot be saved"):
        custom.serialize()
    again = pickle.loads(pickle.dumps(custom))
    np.testing.assert_array_equal(again(x), custom(x))

    def square(x):
        return x * x

    square.vjp = lambda x, y, dy: 2 * x * dy
    np.testing.assert_array_equal(activations.get(square).vjp(x, x * x, np.ones(2)), 2 * x)


def test_errors():
    with pytest.raises(ValueError, match="unknown activation 'tahn'; known: .*tanh"):
        activations.get("tahn")
    with pytest.raises(TypeError, match="must be a name, a callable or None, got int"):
        activations.get(3)
    with pytest.raises(AttributeError, match="no attribute 'tahn'"):
        _ = activations.tahn
