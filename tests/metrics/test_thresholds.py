"""Metrics of yes and no at many thresholds: exact areas, fixed states, padding, files and pickles."""

from __future__ import annotations

import copy
import pickle
import time

import numpy as np
import pytest

import rnnx
from rnnx import layers, losses, metrics

RNG = np.random.default_rng(11)
Y = RNG.integers(0, 2, 400)
P = np.round(np.clip(0.3 * Y + RNG.uniform(0, 0.7, 400), 0, 1), 2)  # with ties
W = RNG.integers(1, 4, 400)


def by_pairs(y, p, w):
    """The chance that a one is above a zero, over all pairs."""
    ones, zeros = p[y == 1], p[y == 0]
    weight = w[y == 1][:, None] * w[y == 0]
    return (weight * ((ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros))).sum() / weight.sum()


@pytest.mark.parametrize("weights", [None, W])
def test_the_area_is_exact_without_thresholds(weights):
    metric = metrics.AUC()
    for k in range(0, 400, 50):
        part = slice(k, k + 50)
        metric.update_state(Y[part], P[part], None if weights is None else weights[part])
    assert metric.result() == pytest.approx(by_pairs(Y, P, np.ones(400) if weights is None else weights), rel=1e-12)
    fine = metrics.AUC(num_thresholds=40_001)
    fine.update_state(Y, P, weights)
    assert fine.result() == pytest.approx(metric.result(), abs=1e-4)


@pytest.mark.parametrize("curve", ["ROC", "PR", "PRGAIN"])
@pytest.mark.parametrize("method", ["interpolation", "minoring", "majoring"])
def test_every_score_is_a_threshold(curve, method):
    """As in Keras with a threshold between all scores."""
    exact = metrics.AUC(curve=curve, summation_method=method)
    exact.update_state(Y, P, W)
    fine = metrics.AUC(thresholds=np.unique(P)[:-1] + 0.001, curve=curve, summation_method=method)
    fine.update_state(Y, P, W)
    assert exact.result() == pytest.approx(fine.result(), rel=1e-9)


def test_columns_apart_and_together():
    y, p = RNG.integers(0, 2, (200, 3)), RNG.uniform(size=(200, 3))
    each = [by_pairs(y[:, k], p[:, k], np.ones(200)) for k in range(3)]
    assert metrics.AUC(multi_label=True)(y, p) == pytest.approx(np.mean(each))
    weighted = metrics.AUC(multi_label=True, num_labels=3, label_weights=[1, 2, 3])
    assert weighted(y, p) == pytest.approx(np.average(each, weights=[1, 2, 3]))
    logits = np.log(p / (1 - p))
    assert metrics.AUC(multi_label=True, from_logits=True)(y, logits) == pytest.approx(np.mean(each))
    assert metrics.AUC()(y, p) == pytest.approx(by_pairs(y.ravel(), p.ravel(), np.ones(600)))
    together = metrics.AUC(label_weights=[1, 2, 0])
    of_columns = np.broadcast_to([1.0, 2.0, 0.0], y.shape)
    assert together(y, p) == pytest.approx(by_pairs(y.ravel(), p.ravel(), of_columns.ravel()))


def test_a_batch_costs_what_is_in_it():
    metric, grown = metrics.AUC(), []
    for _ in range(40):
        metric.update_state(np.arange(5000) % 2, np.round(RNG.uniform(size=5000), 3))
        grown.append(sum(len(part[0]) for part in metric._scores[0]))
    assert max(grown) < 80_000 and grown[-1] < 80_000  # of 200,000; there are 1,001 scores
    for fixed in (metrics.AUC(num_thresholds=200), metrics.PrecisionAtRecall(0.5), metrics.Precision([0.1, 0.5])):
        size = len(pickle.dumps(fixed))
        fixed.update_state(np.arange(50_000) % 2, RNG.uniform(size=50_000))
        assert len(pickle.dumps(fixed)) == size
    start = time.perf_counter()
    for _ in range(20):
        metric.update_state(np.arange(1000) % 2, RNG.uniform(size=1000))
    metric.result()
    assert time.perf_counter() - start < 0.5


def test_what_lies_under_a_mask_may_be_anything():
    y, p, mask = RNG.integers(0, 2, (6, 5, 3)), RNG.uniform(size=(6, 5, 3)), np.arange(5) < RNG.integers(1, 6, (6, 1))
    spoiled = np.where(mask[..., None], p, np.nan)
    for metric in (
        metrics.AUC(), metrics.AUC(num_thresholds=50), metrics.Precision([0.2, 0.6]), metrics.Recall(top_k=2),
        metrics.TruePositives(), metrics.F1Score(), metrics.FBetaScore("micro", threshold=0.4), metrics.R2Score(),
        metrics.SensitivityAtSpecificity(0.3), metrics.BinaryIoU(), metrics.MeanSquaredError(),
        metrics.Recall(class_id=1),
    ):  # fmt: skip
        other = copy.deepcopy(metric)
        if isinstance(metric, metrics.BinaryIoU):
            metric.update_state(y[..., 0], spoiled[..., 0], mask=mask)
            other.update_state(y[mask][:, 0], p[mask][:, 0])
        else:
            metric.update_state(y, spoiled, mask=mask)
            other.update_state(y[mask], p[mask])
        np.testing.assert_allclose(metric.result(), other.result(), rtol=1e-12, err_msg=metric.name)


ALL = {
    "AUC": {"curve": "PR", "num_thresholds": 30}, "Precision": {"thresholds": [0.2, 0.5], "top_k": 2},
    "Recall": {"class_id": 1}, "SensitivityAtSpecificity": {"specificity": 0.4, "num_thresholds": 12},
    "SpecificityAtSensitivity": {"sensitivity": 0.4}, "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5}, "TruePositives": {"thresholds": 0.3}, "TrueNegatives": {},
    "FalsePositives": {}, "FalseNegatives": {"thresholds": [0.1, 0.9]}, "FBetaScore": {"average": "macro", "beta": 2.0},
    "F1Score": {"threshold": 0.4}, "R2Score": {"class_aggregation": None}, "BinaryIoU": {"threshold": 0.4},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [1]}, "OneHotMeanIoU": {"num_classes": 3},
    "CosineSimilarity": {"axis": 0}, "PearsonCorrelation": {"axis": 0}, "ConcordanceCorrelation": {},
    "MeanAbsolutePercentageError": {}, "MeanSquaredLogarithmicError": {}, "LogCoshError": {}, "KLDivergence": {},
    "Poisson": {}, "Hinge": {}, "SquaredHinge": {}, "CategoricalHinge": {}, "BinaryAccuracy": {"threshold": 0.3},
    "BinaryCrossentropy": {"label_smoothing": 0.1}, "CategoricalCrossentropy": {"axis": 0},
    "MeanMetricWrapper": {"fn": "huber", "delta": 0.2}, "TopKCategoricalAccuracy": {"k": 2},
}  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
def test_configurations_pickles_names_and_dtypes(kind):
    y, p = np.eye(3)[RNG.integers(0, 3, 20)], RNG.uniform(0.05, 0.95, (20, 3))
    metric = getattr(metrics, kind)(**ALL[kind], name="own", dtype="float64")
    config = metrics.serialize(metric)
    assert config["config"]["name"] == "own" and config["config"]["dtype"] == "float64"
    assert {word: config["config"][word] for word in ALL[kind]} == ALL[kind]
    metric.update_state(y, p)
    expected = metric.result()
    again = metrics.get(config)
    again.update_state(y, p)
    for twin in (again, pickle.loads(pickle.dumps(metric))):
        np.testing.assert_array_equal(twin.result(), expected)
        assert twin.get_config() == metric.get_config()
    metric.reset_state()
    metric.update_state(y, p)
    np.testing.assert_array_equal(metric.result(), expected)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.Precision(thresholds=[0.5, 1.5]), r"`thresholds` must lie in \[0, 1\]"),
        (lambda: metrics.Recall(top_k=0), "`top_k` must be an integer of at least 1, got 0"),
        (lambda: metrics.Precision(class_id=5)(np.ones((2, 3)), np.ones((2, 3))), r"`class_id` = 5 .* \(2, 3\)"),
        (lambda: metrics.Precision(class_id=0)(np.ones(2), np.ones(2)), "class_id"),
        (lambda: metrics.AUC(curve="PRC"), "`curve` must be one of"),
        (lambda: metrics.AUC(summation_method="trapezoid"), "`summation_method`"),
        (lambda: metrics.AUC(num_thresholds=1), "above 1, got 1"),
        (lambda: metrics.AUC(num_labels=2), "multi_label=True only"),
        (lambda: metrics.AUC(multi_label=True)(np.ones(3), np.ones(3)), r"\(batch, labels\), got \(3,\)"),
        (lambda: metrics.AUC(label_weights=[1.0])(np.ones((3, 2)), np.ones((3, 2))), "2 columns, got 1"),
        (lambda: metrics.PrecisionAtRecall(1.5), r"`recall` must lie in \[0, 1\], got 1.5"),
        (lambda: metrics.SensitivityAtSpecificity(0.5, num_thresholds=0), "num_thresholds"),
        (lambda: metrics.FBetaScore(average="samples"), "`average` must be one of"),
        (lambda: metrics.FBetaScore(beta=0), "`beta` must be a number above 0"),
        (lambda: metrics.F1Score(threshold=2.0), r"number in \(0, 1\], got 2.0"),
        (lambda: metrics.F1Score()(np.ones(3), np.ones(3)), r"\(batch, width\)"),
        (lambda: metrics.R2Score("mean"), "class_aggregation"),
        (lambda: metrics.R2Score(num_regressors=-1), "num_regressors"),
        (lambda: metrics.IoU(3, [3]), "0..2, got 3"),
        (lambda: metrics.MeanIoU(3)(np.ones(4), np.ones(5)), "must fit"),
        (lambda: metrics.Mean(dtype="float7"), "`dtype` must be one of NumPy's, got 'float7'"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_an_adjusted_score_of_too_few_rows_is_not_adjusted():
    metric = metrics.R2Score(num_regressors=5)
    metric.update_state([[1.0], [2.0], [4.0]], [[1.0], [2.5], [3.0]])
    with pytest.warns(UserWarning, match="5 regressors need at least 7 numbers .* got 3"):
        assert metric.result() == pytest.approx(1 - 1.25 / (14 / 3))


@pytest.mark.parametrize(("kind", "value"), [("Precision", 3 / 4), ("Recall", 3 / 4)])
def test_precision_and_recall_of_0_1_0_in_pickles(kind, value):
    old = getattr(metrics, kind).__new__(getattr(metrics, kind))
    old.__setstate__({"name": "p", "thresholds": 0.5, "total": 3.0, "count": 4.0})
    assert old.result() == value
    old.update_state([1], [0.9])
    assert old.result() == 4 / 5 and old.get_config()["thresholds"] == 0.5


def test_an_area_of_0_1_0_in_pickles():
    old = metrics.AUC.__new__(metrics.AUC)
    old.__setstate__({"name": "auc", "_truth": [Y == 1], "_score": [P], "_weight": [W.astype(float)]})
    assert old.result() == pytest.approx(by_pairs(Y, P, W))


def test_functions_by_themselves_and_in_compile():
    y, p = np.eye(3)[RNG.integers(0, 3, 20)], RNG.uniform(size=(20, 3))
    for function, kind in metrics.names.OF_FUNCTION.items():
        if function.__name__.startswith("sparse"):
            found, metric = function(y.argmax(-1), p), None
        else:
            found, metric = function(y, p), metrics.get(function)
        assert len(found) == 20 and (metric is None or type(metric) is kind and metric.name == function.__name__)
        if metric is not None:
            assert metric(y, p) == pytest.approx(np.mean(found))
    assert metrics.get(losses.mean_squared_error).direction == "down"
    model = rnnx.Sequential([layers.Input((3,)), layers.Dense(3, "softmax")])
    chosen = [metrics.categorical_accuracy, losses.huber, metrics.F1Score(), metrics.Precision([0.2, 0.5])]
    model.compile("sgd", losses.categorical_crossentropy, metrics=chosen)
    logs = model.fit(p, y, epochs=2, verbose=2).history
    assert [*logs] == ["loss", "categorical_accuracy", "huber", "f1_score", "precision"]
    assert logs["f1_score"][0].shape == (3,) and logs["precision"][1].shape == (2,)


def test_positional_weights_of_means_and_sums():
    mean, total = metrics.Mean(), metrics.Sum()
    assert mean([1.0, 3.0], [1.0, 0.0]) == 1.0 and total([1.0, 3.0], [2.0, 1.0]) == 5.0
    assert [variable.name for variable in mean.variables] == ["total", "count"]
    for variable in mean.variables:
        variable.assign(0)
    assert mean.result() == 0 and mean.count == 0


def test_a_wider_dtype_is_computed_in():
    y, p = np.float32([[1.0]]), np.float32([[0.1]])
    wide = metrics.BinaryCrossentropy(dtype="float64")(y, p)
    assert wide == -np.log(np.float64(np.float32(0.1))) and wide != metrics.BinaryCrossentropy()(y, p)
    assert metrics.BinaryCrossentropy(dtype="float32")(y.astype(float), p.astype(float)) == wide
    assert metrics.Mean(dtype="float64")._dtype == "float64" and metrics.MeanIoU(2)._dtype == "int32"


def test_an_unknown_function_is_refused_by_name():
    with pytest.raises(ValueError, match="MeanMetricWrapper: `fn` must be a function or one of .*huber.*, got 'mse_'"):
        metrics.MeanMetricWrapper("mse_")
