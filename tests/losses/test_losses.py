"""Losses: gradients by finite differences, masks, weights and reductions, names."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx import layers, losses, ops
from rnnx.layers.carried import carrying
from rnnx.losses.traced_loss import FunctionLoss

REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none"]
KINDS = {
    "mse": (losses.MeanSquaredError, {}),
    "mae": (losses.MeanAbsoluteError, {}),
    "huber": (losses.Huber, {"delta": 0.4}),
    "log_cosh": (losses.LogCosh, {}),
    "poisson": (losses.Poisson, {}),
    "kld": (losses.KLDivergence, {}),
    "binary": (losses.BinaryCrossentropy, {"label_smoothing": 0.1}),
    "binary_logits": (losses.BinaryCrossentropy, {"from_logits": True}),
    "categorical": (losses.CategoricalCrossentropy, {}),
    "categorical_logits": (losses.CategoricalCrossentropy, {"from_logits": True, "label_smoothing": 0.2}),
    "sparse": (losses.SparseCategoricalCrossentropy, {}),
    "sparse_logits": (losses.SparseCategoricalCrossentropy, {"from_logits": True, "ignore_class": 2}),
    "mape": (losses.MeanAbsolutePercentageError, {}),
    "msle": (losses.MeanSquaredLogarithmicError, {}),
    "cosine": (losses.CosineSimilarity, {}),
    "hinge": (losses.Hinge, {}),
    "squared_hinge": (losses.SquaredHinge, {}),
    "cat_hinge": (losses.CategoricalHinge, {}),
    "binary_focal": (losses.BinaryFocalCrossentropy, {"apply_class_balancing": True, "gamma": 1.3}),
    "binary_focal_logits": (losses.BinaryFocalCrossentropy, {"from_logits": True, "label_smoothing": 0.1}),
    "cat_focal": (losses.CategoricalFocalCrossentropy, {"alpha": [0.1, 0.2, 0.3, 0.4]}),
    "cat_focal_logits": (losses.CategoricalFocalCrossentropy, {"from_logits": True, "gamma": 0.6}),
    "sparse_generalized": (losses.CategoricalGeneralizedCrossEntropy, {"q": 0.7}),
    "dice": (losses.Dice, {"axis": -1}),
    "tversky": (losses.Tversky, {"axis": -1, "alpha": 0.2}),
}


def case(kind, batch=(3, 4), width=4, seed=1):
    rng = np.random.default_rng(seed)
    shape = (*batch, width)
    p = rng.normal(size=shape) if kind.endswith("logits") or kind in ("mse", "mae", "huber", "log_cosh") else None
    p = rng.uniform(0.1, 0.9, shape) if p is None else p
    if kind.startswith("sparse"):
        return rng.integers(0, width, batch), p
    if kind.startswith("binary"):
        return rng.integers(0, 2, shape).astype(float), p
    y = rng.uniform(0.1, 1, shape)
    return (y / y.sum(-1, keepdims=True) if kind.startswith(("cat", "kld")) else y), p


def extras(which, batch=(3, 4)):
    rng = np.random.default_rng(9)
    mask = rng.uniform(size=batch) < 0.6
    mask[0] = False
    return {
        "plain": {},
        "mask": {"mask": mask},
        "weights": {"sample_weight": rng.uniform(0.2, 2, batch)},
        "row_weights": {"sample_weight": rng.uniform(0.2, 2, batch[0])},
        "both": {"mask": mask, "sample_weight": rng.uniform(0.2, 2, batch[0])},
    }[which]


def make(kind, reduction="sum_over_batch_size"):
    cls, options = KINDS[kind]
    return cls(**options, reduction=reduction)


@pytest.mark.parametrize("which", ["plain", "mask", "weights", "row_weights", "both"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_finite_differences(kind, reduction, which):
    loss, (y, p), more = make(kind, reduction), case(kind), extras(which)
    value, gradient = loss.value_and_grad(y, p, **more)
    np.testing.assert_allclose(value, loss(y, p, **more), rtol=1e-14)
    assert gradient.dtype == np.float64
    rng = np.random.default_rng(5)
    for _ in range(3):
        direction = rng.normal(size=p.shape)
        up, down = (np.sum(loss(y, p + s * 1e-6 * direction, **more)) for s in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((up - down) / 2e-6, rel=2e-6, abs=1e-8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_under_the_mask_matters(kind, reduction):
    loss, (y, p), more = make(kind, reduction), case(kind), extras("both")
    value, gradient = loss.value_and_grad(y, p, **more)
    spoiled, targets = p.copy(), y.astype(float) if y.dtype.kind == "f" else y.copy()
    spoiled[~more["mask"]] = np.nan
    if targets.dtype.kind == "f":
        targets[~more["mask"]] = np.nan
    again, other = loss.value_and_grad(targets, spoiled, **more)
    np.testing.assert_array_equal(again, value)
    np.testing.assert_array_equal(other, gradient)
    assert not gradient[~more["mask"]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_of_the_same_values(kind):
    (y, p), weights = case(kind), extras("weights")["sample_weight"]
    mask = extras("mask")["mask"]
    values = make(kind, "none")(y, p)
    assert values.shape == (3, 4)
    valid = y != 2 if kind == "sparse_logits" else np.ones((3, 4), bool)  # a mean leaves out the ignored class
    assert 4 < valid.sum() and (valid & mask).any()
    assert make(kind, "sum")(y, p) == pytest.approx(values.sum())
    assert make(kind)(y, p) == make(kind, "mean")(y, p) == pytest.approx(values[valid].mean())
    assert make(kind)(y, p, weights) == pytest.approx((values * weights)[valid].mean())
    average = np.average(values[valid], weights=weights[valid])
    assert make(kind, "mean_with_sample_weight")(y, p, weights) == pytest.approx(average)
    assert make(kind)(y, p, mask=mask) == pytest.approx(values[mask & valid].mean())
    assert make(kind, "sum")(y, p, mask=mask) == pytest.approx(values[mask].sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_without_any_step_gives_zero(kind):
    (y, p), mask = case(kind), np.zeros((3, 4), bool)
    value, gradient = make(kind).value_and_grad(y, p, mask=mask)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("kind", ["binary_logits", "categorical_logits", "sparse_logits", "log_cosh"])
def test_large_values_stay_finite(kind):
    y, p = case(kind)
    value, gradient = make(kind).value_and_grad(y, (p * 1e4).astype(np.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_probabilities_of_zero_and_one_stay_finite():
    for loss, y in ((losses.BinaryCrossentropy(), [[1.0, 0.0]]), (losses.CategoricalCrossentropy(), [[1.0, 0.0]])):
        value, gradient = loss.value_and_grad(np.array(y), np.array([[0.0, 1.0]]))
        assert value == pytest.approx(-np.log(1e-7), rel=1e-6)
        assert np.isfinite(gradient).all()


def test_ignored_classes_do_not_count():
    y, p = np.array([0, -1, 1]), np.array([[0.7, 0.3], [0.5, 0.5], [0.4, 0.6]])
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1, reduction="sum")
    value, gradient = loss.value_and_grad(y, p)
    assert value == pytest.approx(-np.log(0.7) - np.log(0.6))
    assert not gradient[1].any()


def test_a_mean_leaves_out_the_ignored_class():
    """The numbers are those of Keras 3.15.1."""
    y, p = np.array([0, -1, 1]), np.array([[0.7, 0.3], [0.5, 0.5], [0.4, 0.6]])
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    assert loss(y, p) == pytest.approx(0.4337502717971802, rel=1e-6)
    assert loss(y, p, np.array([1.0, 2.0, 3.0])) == pytest.approx(0.944575846195221, rel=1e-6)
    assert loss(y, p, mask=np.array([True, True, False])) == pytest.approx(-np.log(0.7))


@pytest.mark.parametrize("label", [-1, 99])
@pytest.mark.parametrize("how", ["mask", "sample_weight"])
def test_labels_that_do_not_count_may_be_anything(how, label):
    loss, (y, p) = losses.SparseCategoricalCrossentropy(), case("sparse")
    counted = extras("mask")["mask"]
    expected = loss.value_and_grad(y, p, **{how: counted})
    found = loss.value_and_grad(np.where(counted, y, label), p, **{how: counted})
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    nothing = loss.value_and_grad(np.where(counted, y, np.nan), p, **{how: counted})
    assert nothing[0] == expected[0]
    with pytest.raises(ValueError, match="0..3"):
        loss(np.where(counted, label, y), p, **{how: counted})


@pytest.mark.parametrize(
    ("names", "cls"),
    [
        (["mse", "MSE", "mean_squared_error", "MeanSquaredError"], losses.MeanSquaredError),
        (["mae", "MAE", "mean_absolute_error", "MeanAbsoluteError"], losses.MeanAbsoluteError),
        (["huber", "Huber"], losses.Huber),
        (["log_cosh", "logcosh", "LogCosh"], losses.LogCosh),
        (["kld", "kl_divergence", "KLDivergence"], losses.KLDivergence),
        (["poisson", "Poisson"], losses.Poisson),
        (["bce", "binary_crossentropy", "BinaryCrossentropy"], losses.BinaryCrossentropy),
        (["categorical_crossentropy", "CategoricalCrossentropy"], losses.CategoricalCrossentropy),
        (["sparse_categorical_crossentropy"], losses.SparseCategoricalCrossentropy),
    ],
)
def test_names(names, cls):
    for name in names:
        assert type(losses.loss_of(name)) is cls
        found = losses.get(name)
        assert type(found) is cls if name[0].isupper() and name not in ("MSE", "MAE") else found.loss is cls


@pytest.mark.parametrize("kind", KINDS)
def test_configurations(kind):
    loss, (y, p) = make(kind, "sum"), case(kind)
    again = losses.get(losses.serialize(loss))
    assert repr(again) == repr(loss)
    assert again(y, p) == loss(y, p)


def test_shapes_that_fit():
    p = np.array([[0.2], [0.9]])
    expected = losses.MeanSquaredError()(np.array([[1.0], [0.0]]), p)
    for y in (np.array([1.0, 0.0]), np.array([[[1.0]], [[0.0]]]), [[1], [0]]):
        assert losses.MeanSquaredError()(y, p) == expected
    assert losses.MeanSquaredError()(np.array([1.0, 0.0]), p[:, 0]) == expected
    sparse = losses.SparseCategoricalCrossentropy()
    q = np.array([[0.3, 0.7], [0.6, 0.4]])
    assert sparse(np.array([[1], [0]]), q) == sparse(np.array([1.0, 0.0]), q)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: losses.MeanSquaredError()(np.zeros((2, 3)), np.zeros((2, 4))), "shape of `y_pred`"),
        (lambda: losses.MeanSquaredError(reduction="median"), "reduction"),
        (lambda: losses.Huber(delta=0), "delta"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=2), "label_smoothing"),
        (lambda: losses.CategoricalCrossentropy(axis=2)(np.ones((2, 3)), np.ones((2, 3))), "axis"),
        (lambda: losses.MeanSquaredError(dtype="bfloat16"), "dtype"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1.0), "between 0 and 1"),
        (lambda: losses.Dice(axis=3)(np.zeros((2, 3)), np.zeros((2, 3))), "axis"),
        (lambda: losses.CTC()([[1]], np.zeros((1, 3))), "3|timesteps"),
        (lambda: losses.CTC()([[3]], np.zeros((1, 4, 3))), "1..2.*got 3"),
        (lambda: losses.CTC()([[0, 1]], np.zeros((1, 4, 3))), "in front"),
        (lambda: losses.CTC()([[1.5]], np.zeros((1, 4, 3))), "whole numbers"),
        (lambda: losses.CTC()([[1]], np.zeros((1, 4, 3)), mask=np.ones((1, 3))), "one of steps"),
        (lambda: losses.Circle()([[1, 2]], np.zeros((1, 3))), "embeddings"),
        (lambda: losses.SparseCategoricalCrossentropy()(np.array([5]), np.ones((1, 3))), "0..2, got 5"),
        (lambda: losses.SparseCategoricalCrossentropy()(np.array([-1]), np.ones((1, 3))), "0..2, got -1"),
        (lambda: losses.SparseCategoricalCrossentropy()(np.array([0.5]), np.ones((1, 3))), "whole numbers"),
        (lambda: losses.SparseCategoricalCrossentropy()(np.array([0, 1]), np.ones((1, 3))), "classes of shape"),
        (lambda: losses.MeanSquaredError()(np.zeros((2, 3)), np.zeros((2, 3)), np.ones(5)), "sample_weight"),
        (lambda: losses.MeanSquaredError()(np.zeros((2, 3)), np.zeros((2, 3)), mask=np.ones((2, 2, 2))), "mask"),
        (lambda: losses.MeanSquaredError()(np.float64(1), np.float64(1)), "at least one axis"),
        (lambda: losses.get("mean_spared"), "unknown loss"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_mask_on_predictions_counts():
    """Keras 3.15: 6.5 for ids [3, 4, 0], whose rows are 3, 4 and 0, and targets of 1."""
    words = layers.Embedding(9, 1, mask_zero=True, weights=[np.arange(9.0)[:, None]])
    y_pred = words(np.array([[3, 4, 0]]))
    loss = losses.MeanSquaredError()
    assert loss(np.ones((1, 3, 1)), y_pred) == 6.5
    value, slope = loss.value_and_grad(np.ones((1, 3, 1)), y_pred)
    assert value == 6.5
    np.testing.assert_allclose(slope.ravel(), [2, 3, 0])
    assert loss(np.ones((1, 3, 1)), y_pred, mask=np.ones((1, 3), bool)) == pytest.approx(14 / 3)
    logits = np.random.default_rng(0).normal(size=(1, 3, 4))
    carried = carrying(logits, np.array([[True, True, False]]))
    assert losses.CTC()([[1]], carried) == losses.CTC()([[1]], logits[:, :2]) != losses.CTC()([[1]], logits)


def test_rows_that_weigh_nothing_are_still_neighbours_in_circle() -> None:
    circle, embeddings = losses.Circle(reduction="none"), np.float32([[0.6, 0.8], [0.8, 0.6], [1, 0], [0, 1]])
    labels, weights = np.array([2, 1, 0, 1]), np.float32([0, 1, 2, 3])
    np.testing.assert_allclose(circle(labels, embeddings), [0, 60.928, 0, 38.4], rtol=1e-5)  # Keras 3.15
    np.testing.assert_allclose(circle(labels, embeddings, sample_weight=weights), [0, 60.928, 0, 115.2], rtol=1e-5)


def test_a_function_that_gives_one_number_sees_what_a_mask_hides() -> None:
    x = np.float32([[[1, 2], [3, 4], [0, 0]]])
    y = np.float32([[[0, 1], [1, 1], [2, 5]]])
    mask = np.array([[True, True, False]])
    whole = FunctionLoss(lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred)))
    by_step = FunctionLoss(lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred), axis=-1))
    assert whole(y, x, mask=mask) == pytest.approx(44 / 6)  # Keras 3.15: 7.3333335
    np.testing.assert_allclose(whole.value_and_grad(y, x, mask=mask)[1], (x - y) / 3, rtol=1e-6)
    assert by_step(y, x, mask=mask) == pytest.approx(15 / 4)


@pytest.mark.parametrize("kind", [losses.Dice, losses.Tversky])
@pytest.mark.parametrize(
    "reduction, wanted",
    [
        ("sum_over_batch_size", 0.5488888621330261),
        ("sum", 1.6466666460037231),
        ("mean_with_sample_weight", 0.4333333373069763),
        ("none", [0.4333333373069763, 1.0833333730697632, 0.1300000101327896]),
    ],
)
def test_weights_of_rows_for_one_value_of_the_batch(kind, reduction, wanted):
    """As Keras 3.15 has them, and so has ``class_weight``."""
    y, p = np.eye(3, dtype="f"), np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]], "f")
    loss, weights = kind(reduction=reduction), np.array([1.0, 2.5, 0.3])
    value, slope = loss.value_and_grad(y, p, weights)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    if reduction != "none":
        step = 1e-3 * np.random.default_rng(0).normal(size=p.shape)
        exact = kind(reduction=reduction, dtype="float64")
        change = exact(y, p + step, weights) - exact(y, p - step, weights)
        np.testing.assert_allclose((slope * 2 * step).sum(), change, rtol=1e-3)
    masked = {"sum": 2 * 0.4333333373069763, "none": [0.4333333373069763, 0.4333333373069763, 0.0]}
    found = loss(y, p, mask=np.array([True, True, False]))
    np.testing.assert_allclose(found, masked.get(reduction, 0.4333333373069763), rtol=1e-6)


@pytest.mark.parametrize(
    ("axis", "reduction", "weight", "mask", "wanted"),
    [
        (None, "sum_over_batch_size", "rows", None, 0.40443527698516846),  # a row that weighs nothing is summed over
        ((-3, -2, -1), "sum_over_batch_size", "rows", None, 0.40443527698516846),  # likewise
        (None, "mean_with_sample_weight", "rows", None, 0.4622117578983307),
        (None, "mean_with_sample_weight", "number", None, 0.23110586404800415),  # one number, of which there is no mean
        (None, "sum_over_batch_size", None, "rows", 0.4622117578983307),
        (None, "sum", None, "steps", 2.7732701301574707),
        (None, "sum_over_batch_size", "steps", "steps", 0.2386825680732727),
        (None, "mean_with_sample_weight", "rows", "rows", 0.4622117280960083),
        ((1,), "mean_with_sample_weight", "column", "rows", 0.9909906387329102),  # weights count as they are given
        ((-1,), "mean_with_sample_weight", "column", "rows", 1.947243332862854),
    ],
)
def test_weights_and_masks_of_dice_are_those_of_keras(axis, reduction, weight, mask, wanted):
    """Values of Keras 3.15.1 on PyTorch."""
    drawn = np.random.default_rng(3)
    y = (drawn.random((4, 3, 2)) > 0.5).astype("f")
    p = drawn.random((4, 3, 2)).astype("f")
    rows = np.array([0.5, 1, 2, 0], "f")
    weights = {"number": 0.5, "rows": rows, "column": rows[:, None], "steps": drawn.random((4, 3)).astype("f")}
    masks = {
        "rows": np.array([1, 1, 0, 1], bool),
        "steps": np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], bool),
    }
    loss = losses.Dice(reduction, axis=axis)
    value, slope = loss.value_and_grad(y, p, weights.get(weight), mask=masks.get(mask))
    assert value == pytest.approx(wanted, rel=1e-5)
    step = 1e-3 * drawn.normal(size=p.shape)
    exact = losses.Dice(reduction, axis=axis, dtype="float64")
    ends = [exact(y, p + sign * step, weights.get(weight), mask=masks.get(mask)) for sign in (1, -1)]
    np.testing.assert_allclose((slope * 2 * step).sum(), ends[0] - ends[1], rtol=1e-3)
