"""Losses whose values do not stand for the vectors along the last axis, functions, and what a loss remembers."""

from __future__ import annotations

import inspect
import itertools
import pickle

import numpy as np
import pytest

import rnnx
from rnnx import layers, losses

RNG = np.random.default_rng(4)
P = RNG.uniform(0.1, 0.9, (3, 4, 5))
T = RNG.integers(0, 2, (3, 4, 5)).astype(float)
IDS = RNG.integers(0, 4, (3, 5))
LABELS = np.array([[1, 1, 2, 0], [3, 0, 0, 0], [4, 3, 4, 3], [0, 0, 0, 0]])
LOGITS = RNG.normal(size=(4, 9, 5))
STEPS = np.arange(9) < np.array([[6], [9], [8], [2]])
ROWS = RNG.normal(size=(7, 3))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
KINDS = np.array([0, 1, 0, 2, 1, 1, 0])
CASES = {
    "dice": (losses.Dice(), T, P, {}),
    "dice of samples": (losses.Dice(axis=(1, 2), reduction="sum"), T, P, {"sample_weight": np.array([1.0, 0.0, 2.0])}),
    "tversky": (losses.Tversky(alpha=0.3, beta=0.9, axis=1), T, P, {"mask": RNG.uniform(size=(3, 5)) < 0.7}),
    "categories along 1": (losses.CategoricalCrossentropy(axis=1), T + 0.1, P, {"sample_weight": np.arange(3.0)}),
    "bits along 1": (losses.BinaryCrossentropy(axis=1, label_smoothing=0.1), T, P, {"mask": T[:, 0] > 0}),
    "classes along 1": (losses.SparseCategoricalCrossentropy(axis=-2, ignore_class=1), IDS, P, {}),
    "cosine along 0": (losses.CosineSimilarity(axis=0), T, P, {}),
    "circle": (losses.Circle(gamma=5.0), KINDS, ROWS, {}),
    "circle of some": (losses.Circle(gamma=5.0), KINDS, ROWS, {"sample_weight": np.arange(7.0)}),
    "circle, itself too": (losses.Circle(gamma=3.0, remove_diagonal=False, reduction="sum"), KINDS, ROWS, {}),
    "ctc": (losses.CTC(), LABELS, LOGITS, {}),
    "ctc, weights": (losses.CTC(reduction="sum"), LABELS, LOGITS, {"sample_weight": np.array([1.0, 2.0, 0.0, 3.0])}),
    "ctc, lengths": (losses.CTC(), LABELS, LOGITS, {"mask": STEPS}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient_by_finite_differences(name):
    loss, y, p, more = CASES[name]
    value, gradient = loss.value_and_grad(y, p, **more)
    assert gradient.shape == p.shape and gradient.dtype == p.dtype
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=p.shape)
        up, down = (np.sum(loss(y, p + s * 1e-6 * direction, **more)) for s in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((up - down) / 2e-6, rel=2e-6, abs=1e-7), value


@pytest.mark.parametrize("name", CASES)
def test_configurations_and_pickles(name):
    loss, y, p, more = CASES[name]
    for again in (losses.get(losses.serialize(loss)), pickle.loads(pickle.dumps(loss))):
        assert repr(again) == repr(loss) and again.name == loss.name
        np.testing.assert_array_equal(again(y, p, **more), loss(y, p, **more))


def every_path(labels, logits):
    """The probability of labels by adding up all paths."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        said = [k for k, before in zip(path, (None, *path), strict=False) if k and k != before]
        if said == list(labels):
            total += np.prod([p[t, k] for t, k in enumerate(path)])
    return -np.log(total)


@pytest.mark.parametrize("labels", [(), (1,), (1, 1), (1, 2), (2, 1, 2)])
def test_ctc_is_the_sum_over_all_paths(labels):
    logits = np.random.default_rng(8).normal(size=(5, 3)) * 2
    y = np.zeros((1, 4), int)
    y[0, : len(labels)] = labels
    assert losses.CTC()(y, logits[None]) == pytest.approx(every_path(labels, logits), rel=1e-12)
    later = np.concatenate([logits, np.full((3, 3), np.nan)])[None]
    assert losses.CTC()(y, later, mask=np.arange(8)[None] < 5) == pytest.approx(every_path(labels, logits), rel=1e-12)


def test_ctc_of_labels_that_do_not_fit():
    y = np.array([[1, 1, 1], [1, 0, 0]])
    value, gradient = losses.CTC(reduction="none").value_and_grad(y, np.zeros((2, 4, 3)))
    assert value[0] == np.inf and np.isfinite(value[1])
    assert not gradient[0].any() and np.isfinite(gradient).all() and gradient[1].any()


def test_ctc_survives_long_sequences_of_large_logits():
    logits = (np.random.default_rng(2).normal(size=(2, 700, 8)) * 90).astype(np.float32)
    y = np.random.default_rng(3).integers(1, 8, (2, 60))
    value, gradient = losses.CTC().value_and_grad(y, logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-5)


def test_a_network_learns_labels_without_their_steps():
    rng = np.random.default_rng(0)
    y = rng.integers(1, 4, (32, 3))
    x = np.zeros((32, 9, 4), np.float32)
    for row, labels in zip(x, y, strict=True):
        row[[1, 4, 7], labels] = 1
    model = rnnx.Sequential([layers.Input((9, 4)), layers.GRU(12, return_sequences=True, seed=1), layers.Dense(4)])
    model.compile(rnnx.optimizers.Adam(0.03), losses.CTC())
    history = model.fit(x, y, epochs=40, batch_size=16, verbose=0, seed=1).history["loss"]
    assert history[-1] < 0.1 * history[0]


@pytest.mark.parametrize("name", sorted(losses.names.FUNCTIONS))
def test_functions_have_the_values_of_their_losses(name):
    function = getattr(losses, name)
    assert losses.get(name) is function and pickle.loads(pickle.dumps(function)) is function
    assert function.__name__ == name and [*inspect.signature(function).parameters][:2] == ["y_true", "y_pred"]
    y, p = {"ctc": (LABELS, LOGITS), "circle": (KINDS, ROWS)}.get(name, (T, P))
    if function.loss.__name__ in ("SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy"):
        y = y[..., 0].astype(int)
    found = function(y, p)
    np.testing.assert_array_equal(found, function.loss(reduction=None)(y, p))
    assert losses.loss_of(function)(y, p) == pytest.approx(losses.loss_of(name)(y, p))


def test_arguments_of_functions():
    np.testing.assert_array_equal(losses.huber(T, P, 0.2), losses.Huber(0.2, reduction=None)(T, P))
    np.testing.assert_array_equal(losses.tversky(T, P, 0.2, 0.8, 1), losses.Tversky(0.2, 0.8, None, None, 1)(T, P))
    assert losses.mse([0.0, 2.0], [1.0, 4.0]) == 2.5 and losses.mae is losses.MAE is losses.mean_absolute_error
    with pytest.raises(TypeError, match="mean_squared_error"):
        losses.mean_squared_error(T, P, 1)
    with pytest.raises(TypeError, match="detla"):
        losses.huber(T, P, detla=1)
    others = np.eye(3)
    assert losses.circle(KINDS, ROWS, [0, 1, 2], others, False).shape == (7,)


def test_names_and_dtypes_are_kept():
    """The defaults are those of Keras 3.15."""
    names = [losses.Huber().name, losses.MeanSquaredError().name, losses.KLDivergence().name, losses.CTC().name]
    assert names == ["huber_loss", "mean_squared_error", "kl_divergence", "ctc"]
    loss = losses.MeanSquaredError(name="x", dtype="float64")
    assert loss.get_config() == {"name": "x", "reduction": "sum_over_batch_size", "dtype": "float64"}
    narrow = np.float32([[1 / 3, 1e-5]]), np.float32([[0.1, 0.2]])
    wide = losses.MeanSquaredError(dtype="float64").value_and_grad(*narrow)
    assert wide[0] == losses.MeanSquaredError()(*(a.astype(np.float64) for a in narrow)) and wide[1].dtype == np.float32
    assert wide[0] != losses.MeanSquaredError()(*narrow)
    assert losses.SparseCategoricalCrossentropy(True, None, "sum", 1).axis == 1  # the order of Keras


def test_a_loss_of_ones_own_in_both_orders_of_arguments():
    class Own(losses.Loss):
        def values(self, y_true, y_pred):
            return y_pred.sum(-1), np.ones_like(y_pred)

    class Fixed(Own):
        def __init__(self):
            super().__init__("sum", "fixed")  # the order of rnnx 0.1.0

    assert (Own("n", "sum").name, Own("n", "sum").reduction) == ("n", "sum")
    assert (Own("sum").name, Own("sum").reduction) == ("own", "sum")
    assert (Fixed().name, Fixed().reduction, Fixed().get_config()) == ("fixed", "sum", {})
    assert Own(reduction="sum")(T, P) == pytest.approx(P.sum())


def test_losses_of_0_1_0_in_pickles():
    old = losses.BinaryCrossentropy.__new__(losses.BinaryCrossentropy)
    old.__setstate__({"reduction": "sum", "name": None, "from_logits": False, "label_smoothing": 0.0})
    assert old(T, P) == losses.BinaryCrossentropy(reduction="sum")(T, P)
    assert old.get_config()["name"] == "binary_crossentropy" and old.axis == -1


@pytest.mark.parametrize(
    "loss", [losses.MeanSquaredError(), losses.BinaryCrossentropy(), losses.Hinge(), losses.Huber(0.1)]
)
def test_a_weight_for_each_number(loss):
    """Of sequences too: weights (batch, timesteps, features)."""
    weights, mask = RNG.uniform(size=P.shape), RNG.uniform(size=P.shape[:2]) < 0.7
    each = type(loss).from_config({**loss.get_config(), "reduction": None})(T[..., None], P[..., None])
    value, gradient = loss.value_and_grad(T, P, weights)
    assert value == pytest.approx((each * weights).mean()) and gradient.shape == P.shape
    direction = RNG.normal(size=P.shape)
    up, down = (loss(T, P + s * 1e-6 * direction, weights) for s in (1, -1))
    assert (gradient * direction).sum() == pytest.approx((up - down) / 2e-6, rel=1e-6)
    masked, gradient = loss.value_and_grad(T, np.where(mask[..., None], P, np.nan), weights, mask)
    assert masked == pytest.approx((each * weights)[mask].mean()) and not gradient[~mask].any()
    model = rnnx.Sequential([layers.Input((4, 5)), layers.Dense(5, "sigmoid", kernel_initializer="ones")])
    model.compile("sgd", loss)
    assert model.evaluate(P, T, sample_weight=weights) == pytest.approx(loss(T, model.predict(P), weights), rel=1e-5)
