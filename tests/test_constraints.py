"""Constraints on weights."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx import constraints

W = np.array([[3.0, -0.3, 0.0], [-4.0, 0.4, 0.0]])


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (constraints.NonNeg(), [[3, 0, 0], [0, 0.4, 0]]),
        (constraints.MaxNorm(1.0), [[0.6, -0.3, 0], [-0.8, 0.4, 0]]),
        (constraints.MaxNorm(4.5, axis=None), [[2.6866, -0.26866, 0], [-3.58213, 0.35821, 0]]),
        (constraints.UnitNorm(), [[0.6, -0.6, 0], [-0.8, 0.8, 0]]),
        (constraints.UnitNorm(axis=1), [[0.995, -0.0995, 0], [-0.995, 0.0995, 0]]),
        (constraints.MinMaxNorm(1.0, 2.0), [[1.2, -0.6, 0], [-1.6, 0.8, 0]]),
        (constraints.MinMaxNorm(1.0, 2.0, rate=0.5), [[2.1, -0.45, 0], [-2.8, 0.6, 0]]),
    ],
    ids=repr,
)
def test_by_hand(constraint, expected):
    np.testing.assert_allclose(constraint(W), expected, atol=1e-4)
    assert constraint(W.astype(np.float32)).dtype == np.float32
    again = constraints.get(constraints.serialize(constraint))
    np.testing.assert_array_equal(again(W), constraint(W))


def test_several_axes():
    w = np.random.default_rng(1).normal(size=(2, 3, 4))
    norms = np.sqrt((constraints.UnitNorm(axis=[0, 1])(w) ** 2).sum(axis=(0, 1)))
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_names():
    assert constraints.get(None) is None
    for name in ("non_neg", "NonNeg", "max_norm", "MaxNorm", "unit_norm", "UnitNorm", "min_max_norm", "MinMaxNorm"):
        assert isinstance(constraints.get(name), constraints.Constraint)
    assert constraints.max_norm(3.0).max_value == 3
    with pytest.raises(ValueError, match="unknown constraint 'neg'"):
        constraints.get("neg")
