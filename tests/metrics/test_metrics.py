"""Metrics against values made by hand."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import losses, metrics
from rnnx.layers.carried import carrying

P = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
CLASSES = np.array([1, 0, 1, 2])
ONE_HOT = np.eye(3)[CLASSES]


@pytest.mark.parametrize(
    ("metric", "y", "p", "expected"),
    [
        (metrics.Accuracy(), [1, 2, 3, 4], [1, 2, 0, 4], 0.75),
        (metrics.BinaryAccuracy(), [[1], [0], [1]], [[0.6], [0.2], [0.5]], 2 / 3),
        (metrics.BinaryAccuracy(), [1, 0, 1], [[0.6], [0.2], [0.4]], 2 / 3),
        (metrics.BinaryAccuracy(threshold=0.3), [[1, 0]], [[0.4, 0.35]], 0.5),
        (metrics.CategoricalAccuracy(), ONE_HOT, P, 0.5),
        (metrics.SparseCategoricalAccuracy(), CLASSES, P, 0.5),
        (metrics.SparseCategoricalAccuracy(), CLASSES[:, None], P, 0.5),
        (metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, P, 1.0),
        (metrics.SparseTopKCategoricalAccuracy(k=1), CLASSES, P, 0.5),
        (metrics.MeanSquaredError(), [[1.0, 2.0]], [[2.0, 4.0]], 2.5),
        (metrics.RootMeanSquaredError(), [[1.0, 2.0]], [[2.0, 4.0]], np.sqrt(2.5)),
        (metrics.MeanAbsoluteError(), [[1.0, 2.0]], [[2.0, 4.0]], 1.5),
        (metrics.BinaryCrossentropy(), [[1.0]], [[0.25]], np.log(4)),
        (metrics.CategoricalCrossentropy(), ONE_HOT[:1], P[:1], -np.log(0.7)),
        (metrics.SparseCategoricalCrossentropy(), CLASSES[:1], P[:1], -np.log(0.7)),
        (metrics.Perplexity(), CLASSES[:1], P[:1], 1 / 0.7),
        (metrics.Precision(), [1, 0, 1, 1], [0.9, 0.8, 0.7, 0.1], 2 / 3),
        (metrics.Recall(), [1, 0, 1, 1], [0.9, 0.8, 0.7, 0.1], 2 / 3),
        (metrics.Precision(thresholds=0.75), [1, 0, 1, 1], [0.9, 0.8, 0.7, 0.1], 1 / 2),
        (metrics.Recall(thresholds=0.05), [1, 0, 1, 1], [0.9, 0.8, 0.7, 0.1], 1.0),
        (metrics.AUC(), [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        (metrics.AUC(), [0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
    ],
    ids=lambda c: repr(c) if isinstance(c, metrics.Metric) else "",
)
def test_by_hand(metric, y, p, expected):
    y, p = np.asarray(y), np.asarray(p)
    assert metric(y, p) == pytest.approx(expected)
    metric.reset_state()
    assert metric.result() == 0 or isinstance(metric, metrics.Perplexity)
    for k in range(len(y)):
        metric.update_state(y[k : k + 1], p[k : k + 1])
    assert metric.result() == pytest.approx(expected)
    again = metrics.get(metrics.serialize(metric))
    assert again(y, p) == pytest.approx(expected)
    assert again.name == metric.name


def test_weights_and_masks():
    y, p = np.array([[1, 0, 2]]), np.array([[[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0, 0.1, 0.9]]])
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(y, p, sample_weight=[[1.0, 2.0, 1.0]])
    assert metric.result() == pytest.approx(0.5)
    metric.reset_state()
    p[0, 1] = np.nan
    metric.update_state(y, p, mask=np.array([[True, False, True]]))
    assert metric.result() == 1
    metric.reset_state()
    metric.update_state(y, p, mask=np.zeros((1, 3), bool))
    assert metric.result() == 0


@pytest.mark.parametrize("how", ["mask", "sample_weight"])
@pytest.mark.parametrize(
    "metric",
    [metrics.SparseCategoricalAccuracy(), metrics.SparseTopKCategoricalAccuracy(1), metrics.Perplexity()],
    ids=lambda metric: metric.name,
)
def test_labels_that_do_not_count_may_be_anything(metric, how):
    y, p = np.array([[1, 99, 2], [-1, 0, 0]]), np.array([P[:3], P[1:]])
    counted = np.array([[True, False, True], [False, True, True]])
    metric.update_state(y, p, **{how: counted})
    found = metric.result()
    metric.reset_state()
    metric.update_state(y[counted], p[counted])
    assert found == pytest.approx(metric.result())


def test_a_mean_of_weight_zero_may_be_nan():
    metric = metrics.Mean()
    metric.update_state([1.0, np.nan, 4.0], sample_weight=[1.0, 0.0, 2.0])
    assert metric.result() == 3


@pytest.mark.parametrize("kind", ["Precision", "Recall", "AUC"])
def test_weights_and_masks_of_yes_and_no(kind):
    rng = np.random.default_rng(3)
    y, p, weight, mask = (
        rng.integers(0, 2, (6, 5)),
        rng.uniform(size=(6, 5)),
        rng.integers(1, 4, (6, 5)),
        np.ones((6, 5), bool),
    )
    mask[2:4, 1:3] = False
    first, second = getattr(metrics, kind)(), getattr(metrics, kind)()
    first.update_state(y, p, sample_weight=weight, mask=mask)
    repeats = np.where(mask, weight, 0).reshape(-1)
    second.update_state(np.repeat(y.reshape(-1), repeats), np.repeat(p.reshape(-1), repeats))
    assert first.result() == pytest.approx(second.result())


@pytest.mark.parametrize("kind", ["Precision", "Recall", "AUC"])
def test_one_weight_and_one_prediction_per_row(kind):
    y, p = np.array([1, 0, 1, 0]), np.array([[0.9], [0.8], [0.3], [0.1]])
    first, second = getattr(metrics, kind)(), getattr(metrics, kind)()
    first.update_state(y, p, sample_weight=np.array([1.0, 2.0, 1.0, 0.0]))
    second.update_state(y[[0, 1, 1, 2]], p[[0, 1, 1, 2]])
    assert first.result() == pytest.approx(second.result())


def test_losses_are_metrics():
    assert metrics.get("huber")(np.array([[0.0]]), np.array([[3.0]])) == pytest.approx(2.5)
    assert metrics.get(losses.Poisson()).name == "poisson"
    assert metrics.get("mse").name == "mean_squared_error"
    mean = metrics.Mean()
    mean.update_state([1.0, 3.0])
    mean.update_state([5.0], sample_weight=[2.0])
    assert mean.result() == pytest.approx(14 / 4)
    with pytest.raises(ValueError, match="unknown metric 'acuracy'"):
        metrics.get("acuracy")


@pytest.mark.parametrize(
    ("loss", "y", "p", "kind"),
    [
        ("binary_crossentropy", np.zeros((2, 1)), np.zeros((2, 1)), "BinaryAccuracy"),
        ("binary_crossentropy", np.zeros((2, 4)), np.zeros((2, 4)), "BinaryAccuracy"),
        ("mse", np.zeros(2), np.zeros((2, 1)), "BinaryAccuracy"),
        ("categorical_crossentropy", np.zeros((2, 4)), np.zeros((2, 4)), "CategoricalAccuracy"),
        ("sparse_categorical_crossentropy", np.zeros(2), np.zeros((2, 4)), "SparseCategoricalAccuracy"),
        ("sparse_categorical_crossentropy", np.zeros((2, 1)), np.zeros((2, 4)), "SparseCategoricalAccuracy"),
        ("sparse_categorical_crossentropy", np.zeros((2, 3)), np.zeros((2, 3, 4)), "SparseCategoricalAccuracy"),
    ],
)
def test_which_accuracy(loss, y, p, kind):
    found = metrics.choose_accuracy(losses.loss_of(loss), y, p, "accuracy")
    assert (type(found).__name__, found.name) == (kind, "accuracy")


def test_accuracy_of_logits():
    loss = losses.BinaryCrossentropy(from_logits=True)
    found = metrics.choose_accuracy(loss, np.zeros((2, 1)), np.zeros((2, 1)), "acc")
    assert found(np.array([[1], [0]]), np.array([[0.2], [-0.2]])) == 1


def test_functions(tmp_path):
    def largest_error(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    metric = metrics.get(largest_error)
    assert metric.name == "largest_error"
    assert metric(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.5, 1.0], [0.0, 1.5]])) == pytest.approx(1.0)
    x, y = np.ones((3, 2, 2)), np.zeros((3, 1))
    model = rnnx.Sequential([rnnx.layers.Input((None, 2)), rnnx.layers.GRU(2), rnnx.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[largest_error, "mae"])
    found = model.evaluate(x, y, return_dict=True)
    assert found["largest_error"] == pytest.approx(found["mae"])
    assert model.metrics_names == ["loss", "largest_error", "mae"]
    model.save(tmp_path / "m.safetensors", include_optimizer=True)
    with pytest.warns(UserWarning, match="left out: unknown function 'largest_error'; give custom_objects"):
        again = rnnx.load_model(tmp_path / "m.safetensors")
    assert again.evaluate(x, y, return_dict=True) == {name: found[name] for name in ("loss", "mae")}
    again = rnnx.load_model(tmp_path / "m.safetensors", custom_objects={"largest_error": largest_error})
    assert again.evaluate(x, y, return_dict=True) == found
    with pytest.raises(TypeError, match="a file cannot hold"):
        metrics.serialize(metric)


# ---- Weights with the axes of the values, and with fewer -------------------------------------------------------

Y3 = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
P3 = np.array([[0.9, 0.6, 0.2], [0.1, 0.7, 0.8]])
EACH = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (metrics.BinaryAccuracy, lambda y, p: (y == (p > 0.5)).astype(float)),
        (metrics.Accuracy, lambda y, p: (y == p).astype(float)),
        (metrics.RootMeanSquaredError, lambda y, p: (y - p) ** 2),
        (metrics.MeanSquaredError, lambda y, p: ((y - p) ** 2).mean(-1)),
        (metrics.MeanAbsoluteError, lambda y, p: np.abs(y - p).mean(-1)),
        (metrics.BinaryCrossentropy, lambda y, p: -np.log(np.where(y == 1, p, 1 - p)).mean(-1)),
        (lambda: metrics.FunctionMetric(lambda y, p: y * p), lambda y, p: y * p),
    ],
    ids=["binary_accuracy", "accuracy", "rmse", "mse", "mae", "bce", "function"],
)
def test_weights_fit_the_values_or_are_refused(make, values):
    root = np.sqrt if make is metrics.RootMeanSquaredError else float
    of_values = values(Y3, P3)
    for weight in (EACH, EACH[:, 0], EACH[:, :1], EACH[:1], EACH[:, :, None], np.float64(3), np.ones(1)):
        metric, array = make(), np.asarray(weight)
        array = array[..., 0] if array.ndim == of_values.ndim + 1 and array.shape[-1] == 1 else array
        if array.ndim <= of_values.ndim:
            full = np.broadcast_to(array.reshape(array.shape + (1,) * (of_values.ndim - array.ndim)), of_values.shape)
            metric.update_state(Y3, P3, sample_weight=weight)
            assert metric.result() == pytest.approx(root((of_values * full).sum() / full.sum())), np.shape(weight)
        else:
            with pytest.raises(ValueError, match=rf"{metric.name}: `sample_weight` must fit values of shape"):
                metric.update_state(Y3, P3, sample_weight=weight)
    for wrong in (EACH.T, EACH[:, :2], np.ones(3), np.ones((2, 3, 2)), np.ones((2, 3, 1, 1))):
        with pytest.raises(ValueError, match=r"must fit values of shape .* got \("):
            make().update_state(Y3, P3, sample_weight=wrong)


def test_weights_as_in_keras():
    """Values of Keras 3.15."""
    metric = metrics.BinaryAccuracy()
    metric.update_state([[1, 1], [0, 0]], [[0.9, 0.1], [0.9, 0.1]], [[1, 0], [0, 1]])
    assert metric.result() == 1
    rmse = metrics.RootMeanSquaredError()
    assert rmse([2.0, 4, 6, 8], [1.0, 3, 2, 3], [0, 1, 0, 1]) == pytest.approx(3.6055513)
    with pytest.raises(ValueError, match="mean: `sample_weight` must fit"):
        metrics.Mean().update_state(np.ones((4, 5)), np.ones(5))
    for metric in (metrics.Precision(), metrics.Recall(), metrics.AUC()):
        with pytest.raises(ValueError, match=rf"{metric.name}: `sample_weight` must fit"):
            metric.update_state(np.ones((4, 5)), np.ones((4, 5)), np.ones(5))
    mean = metrics.Mean()
    mean.update_state([[1.0, 3.0], [5.0, 9.0]], sample_weight=[3.0, 1.0])
    assert mean.result() == pytest.approx((3 * 2 + 7) / 4)
    assert metrics.BinaryAccuracy()([[0.7], [1.0]], [[0.9], [0.8]]) == 0.5  # a target between 0 and 1 is neither


def test_numbers_without_a_last_axis_have_their_own_weights():
    y, p, weight = np.arange(4.0), np.array([1.0, 1.0, 4.0, 0.0]), np.array([1.0, 0.0, 2.0, 3.0])
    for metric, values in ((metrics.MeanSquaredError(), (y - p) ** 2), (metrics.MeanAbsoluteError(), abs(y - p))):
        assert metric(y, p) == pytest.approx(values.mean())
        metric.reset_state()
        assert metric(y, p, weight) == pytest.approx((values * weight).sum() / weight.sum())


MASKED = [
    metrics.MeanSquaredError, metrics.RootMeanSquaredError, metrics.CosineSimilarity, metrics.BinaryAccuracy,
    metrics.AUC, metrics.Recall, metrics.TruePositives, metrics.BinaryIoU, metrics.BinaryCrossentropy,
]  # fmt: skip


@pytest.mark.parametrize("cls", MASKED)
def test_the_mask_on_predictions_counts(cls):
    y_pred = np.array([[[0.9], [0.2], [0.6], [0.7]], [[0.4], [0.8], [0.3], [0.9]]])
    y_true = np.array([[[1.0], [0.0], [1.0], [1.0]], [[0.0], [1.0], [1.0], [1.0]]])
    mask = np.array([[True, True, False, False], [True, True, True, False]])
    metric = cls()
    metric.update_state(y_true, y_pred, mask=mask)
    expected = metric.result()
    metric.reset_state()
    metric.update_state(y_true, carrying(y_pred, mask))
    assert metric.result() == expected
    metric.reset_state()
    metric.update_state(y_true, y_pred)
    assert metric.result() != expected


def test_the_mask_on_predictions_as_in_keras():
    """Keras 3.15: 6.5 for ids [3, 4, 0], whose rows are 3, 4 and 0, and targets of 1."""
    words = rnnx.layers.Embedding(9, 1, mask_zero=True, weights=[np.arange(9.0)[:, None]])
    assert metrics.MeanSquaredError()(np.ones((1, 3, 1)), words(np.array([[3, 4, 0]]))) == 6.5


def test_functions_are_named_as_in_keras() -> None:
    def myOwnMetric(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:  # noqa: N802
        return np.abs(y_true - y_pred)

    model = rnnx.Sequential([rnnx.Input((2,)), rnnx.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[myOwnMetric, lambda y_true, y_pred: np.abs(y_pred)])
    logs = model.evaluate(np.ones((1, 2)), np.ones((1, 2)), verbose=0, return_dict=True)
    assert set(logs) == {"loss", "my_own_metric", "lambda"}


def test_every_public_metric_is_found_by_its_name() -> None:
    public = {
        name
        for name in metrics.__all__
        if isinstance(kind := getattr(metrics, name), type) and issubclass(kind, metrics.Metric)
    }
    by_name = {name for name, kind in metrics.names.TABLE.items() if name == kind.__name__}
    assert by_name == public - {"Metric", "FunctionMetric"}
