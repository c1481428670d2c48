"""The engine's activations: error bounds, saturation, NaN. ``bench/activations.py`` sweeps all of float32."""

import numpy as np
import pytest

from rnnx import _kernels


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


EXACT = {"tanh": np.tanh, "sigmoid": logistic}


@pytest.mark.parametrize("name", EXACT)
def test_float32_error(name):
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    exact = EXACT[name](x.astype(np.float64))
    error = np.abs(_kernels.activate(name, x) - exact)
    ulp = np.spacing(np.maximum(np.abs(exact).astype(np.float32), np.finfo(np.float32).tiny)).astype(np.float64)
    assert np.all((error <= 2.5 * ulp) | (error <= 2e-7))
    assert error.max() <= 2e-7


@pytest.mark.parametrize("name", EXACT)
def test_float64_error(name):
    x = np.random.default_rng(1).normal(scale=4, size=100_000)
    np.testing.assert_allclose(_kernels.activate(name, x), EXACT[name](x), rtol=0, atol=5e-16)


@pytest.mark.parametrize("dtype, end", [(np.float32, 90), (np.float64, 711)])
@pytest.mark.parametrize("name", EXACT)
def test_both_ends_of_the_exponents(name, dtype, end):
    """Where e^-x is about to overflow, and where it has."""
    x = np.linspace(end - 5, end, 20_001).astype(dtype)
    for side in (x, -x):
        y = _kernels.activate(name, side)
        np.testing.assert_allclose(y, EXACT[name](side.astype(np.float64)), rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturation_and_nan(dtype):
    far = np.array([np.inf, 800, 100, -100, -800, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(_kernels.activate("tanh", far), np.array([1, 1, 1, -1, -1, -1, np.nan], dtype))
    sigmoid = _kernels.activate("sigmoid", far)
    np.testing.assert_array_equal(sigmoid[[0, 1, 2, 5, 6]], np.array([1, 1, 1, 0, np.nan], dtype))
    assert np.all(sigmoid[3:5] >= 0)
    assert np.all(sigmoid[3:5] < 1e-40)
