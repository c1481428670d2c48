"""Penalties on weights and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx import ops, regularizers

W = np.array([[0.5, -2.0], [1.5, 0.25]])


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (regularizers.L1(0.1), 0.425),
        (regularizers.L2(0.1), 0.65625),
        (regularizers.L1L2(0.1, 0.2), 0.425 + 1.3125),
        (regularizers.l1_l2(), 0.0425 + 0.065625),
        (regularizers.get("l1"), 0.0425),
        (regularizers.get("l2"), 0.065625),
        (regularizers.l2(0.1), 0.65625),
        (regularizers.OrthogonalRegularizer(0.1), 0.1 * 0.25 / np.sqrt(4.25 * 2.3125)),
        (regularizers.OrthogonalRegularizer(0.1, "columns"), 0.1 * 0.625 / np.sqrt(2.5 * 4.0625)),
    ],
    ids=repr,
)
def test_values_and_gradients(regularizer, expected):
    assert regularizer(W) == pytest.approx(expected)
    gradient = regularizer.grad(W)
    for index in np.ndindex(W.shape):
        up, down = W.copy(), W.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        assert gradient[index] == pytest.approx((regularizer(up) - regularizer(down)) / 2e-6)
    assert regularizer.grad(W.astype(np.float32)).dtype == np.float32
    assert regularizers.get(regularizers.serialize(regularizer))(W) == regularizer(W)


def test_none_names_and_errors():
    assert regularizers.get(None) is None
    with pytest.raises(ValueError, match="unknown regularizer 'l3'"):
        regularizers.get("l3")
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="L2: `l2`"):
            regularizers.L2(bad)
    with pytest.raises(NotImplementedError, match="gradient"):
        regularizers.Regularizer().grad(W)
    with pytest.raises(ValueError, match="expected a name, a configuration or an object"):
        regularizers.get(3)
    with pytest.raises(ValueError, match="two axes"):
        regularizers.OrthogonalRegularizer()(W[0])
    with pytest.raises(ValueError, match="`mode`"):
        regularizers.OrthogonalRegularizer(mode="both")


def test_orthogonal_penalty_of_several_rows():
    w = np.random.default_rng(3).normal(size=(3, 5))
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    cosines = [abs(unit[0] @ unit[1]), abs(unit[0] @ unit[2]), abs(unit[1] @ unit[2])]
    assert regularizers.OrthogonalRegularizer(0.3)(w) == pytest.approx(0.3 * np.mean(cosines))


def test_penalties_of_ones_own_have_a_gradient():
    """Functions, and classes that say the penalty alone."""

    class Cubes(regularizers.Regularizer):
        def __call__(self, w):
            return 0.5 * ops.sum(ops.abs(w) ** 3)

    for penalty in (Cubes(), regularizers.get(lambda w: 0.5 * np.sum(np.abs(w) ** 3))):
        np.testing.assert_allclose(float(penalty(W)), 0.5 * (np.abs(W) ** 3).sum())
        np.testing.assert_allclose(penalty.grad(W), 1.5 * np.abs(W) * W)
    with pytest.raises(TypeError, match="class Bad: `call` would never be called; implement `__call__"):

        class Bad(regularizers.Regularizer):
            def call(self, w):
                return 0
