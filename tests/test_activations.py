"""Activations: values, derivatives, dtypes, extremes, names."""

import copy
import math
import pickle

import numpy as np
import pytest

from rnnx import activations
from rnnx.activations import Activation

NAMES = [name for name in dir(activations) if name not in ("Activation", "get", "glu", "threshold")]
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
    "celu": (-1, np.inf),
    "hard_shrink": (-np.inf, np.inf),
    "hard_silu": (0, np.inf),
    "hard_swish": (0, np.inf),
    "hard_tanh": (-1, 1),
    "log_sigmoid": (-np.inf, 0),
    "mish": (0, np.inf),
    "soft_shrink": (-np.inf, np.inf),
    "sparse_plus": (0, np.inf),
    "sparse_sigmoid": (0, 1),
    "squareplus": (0, np.inf),
    "tanh_shrink": (-np.inf, np.inf),
}
VECTORS = ("softmax", "log_softmax", "sparsemax")  # functions of the last axis


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
        "celu": lambda: x if x > 0 else math.exp(x) - 1,
        "hard_shrink": lambda: x if abs(x) > 0.5 else 0,
        "hard_silu": lambda: x * min(max(x + 3, 0), 6) / 6,
        "hard_swish": lambda: x * min(max(x + 3, 0), 6) / 6,
        "hard_tanh": lambda: min(max(x, -1), 1),
        "log_sigmoid": lambda: -math.log1p(math.exp(-x)),
        "mish": lambda: x * math.tanh(math.log1p(math.exp(x))),
        "soft_shrink": lambda: max(x - 0.5, 0) + min(x + 0.5, 0),
        "sparse_plus": lambda: x if x >= 1 else max(x + 1, 0) ** 2 / 4,
        "sparse_sigmoid": lambda: min(max((x + 1) / 2, 0), 1),
        "squareplus": lambda: (x + math.sqrt(x * x + 4)) / 2,
        "tanh_shrink": lambda: x - math.tanh(x),
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
    assert set(NAMES) == {*LIMITS, *VECTORS}
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
    if name not in VECTORS:
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


A = np.array([[-7.0, -1.5, -0.3, 0.2, 0.9, 6.5], [3.0, 2.0, 2.5, -4.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [  # of the first row, by Keras 3.15
        ("relu", {"negative_slope": 0.1}, [-0.7, -0.15, -0.03, 0.2, 0.9, 6.5]),
        ("relu", {"max_value": 2.0}, [0.0, 0.0, 0.0, 0.2, 0.9, 2.0]),
        ("relu", {"threshold": 0.5}, [0.0, 0.0, 0.0, 0.0, 0.9, 6.5]),
        ("relu", {"negative_slope": 0.5, "max_value": 3.0, "threshold": 0.5}, [-3.75, -1.0, -0.4, -0.15, 0.9, 3.0]),
        ("leaky_relu", {"negative_slope": 0.5}, [-3.5, -0.75, -0.15, 0.2, 0.9, 6.5]),
        ("elu", {"alpha": 2.0}, [-1.9981762, -1.5537397, -0.51836354, 0.2, 0.9, 6.5]),
        ("celu", {"alpha": 2.0}, [-1.9396052, -1.0552669, -0.278584, 0.2, 0.9, 6.5]),
        ("gelu", {"approximate": True}, [0.0, -0.10042842, -0.11462908, 0.11585143, 0.73422849, 6.5]),
        ("hard_shrink", {"threshold": 1.0}, [-7.0, -1.5, 0.0, 0.0, 0.0, 6.5]),
        ("soft_shrink", {"threshold": 1.0}, [-6.0, -0.5, 0.0, 0.0, 0.0, 5.5]),
        ("squareplus", {"b": 2.0}, [0.07071421, 0.28077641, 0.57284161, 0.81414284, 1.28815273, 6.57603367]),
    ],
)
def test_arguments_of_keras(name, arguments, expected):
    function = getattr(activations, name)
    np.testing.assert_allclose(function(A, **arguments)[0], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", VECTORS)
def test_axes(name):
    function = getattr(activations, name)
    np.testing.assert_allclose(function(A, axis=0), function(A.T).T, rtol=1e-12)
    if name != "sparsemax":
        whole = function(A.reshape(-1)).reshape(A.shape)
        np.testing.assert_allclose(function(A, axis=(0, 1)), whole, rtol=1e-12)


def test_sparsemax_is_a_distribution_with_zeros():
    y = activations.sparsemax(A)
    np.testing.assert_allclose(y, [[0, 0, 0, 0, 0, 1], [0.75, 0, 0.25, 0, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("name", [name for name in activations._FORMS if name not in VECTORS])
def test_derivatives_of_forms(name):
    arguments = {"relu": (0.2, 5.0, 0.4), "gelu": (True,), "squareplus": (3.0,)}.get(name, (0.7,))
    function, vjp = activations._FORMS[name](*arguments)
    x = A + 0.05  # away from the corners
    slope = (function(x + 1e-6) - function(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(vjp(x, function(x), np.full(x.shape, 2.0)), 2 * slope, rtol=1e-6, atol=1e-8)


def test_functions_that_are_no_activations_of_layers():
    np.testing.assert_allclose(activations.glu(A), A[:, :3] / (1 + np.exp(-A[:, 3:])))
    np.testing.assert_array_equal(activations.threshold(A, 1.0, -2.0), np.where(A > 1, A, -2.0))
    with pytest.raises(TypeError, match="'tanh' takes no arguments, got \\('alpha',\\)"):
        activations.tanh(A, alpha=1.0)
    with pytest.raises(TypeError, match="alhpa"):
        activations.elu(A, alhpa=1.0)
