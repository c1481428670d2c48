"""The estimators: scikit-learn's own checks, the forms of X, and what scikit-learn does with estimators."""

from __future__ import annotations

import doctest
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import rnnx.sklearn.estimators
from rnnx.sklearn import SequenceClassifier, SequenceRegressor

pytestmark = pytest.mark.sklearn
SMALL = {"units": 8, "epochs": 15, "random_state": 0}


@parametrize_with_checks(
    [
        SequenceClassifier(units=16, epochs=40, random_state=0),
        SequenceRegressor(units=16, epochs=60, random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def ragged(count: int = 60) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences of two features whose class is the sign of the first one."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, count)
    found = []
    for label in labels:
        steps = random.normal(size=(random.integers(2, 9), 2))
        steps[:, 0] += 4 * label - 2
        found.append(steps)
    return found, np.array(["down", "up"])[labels]


def test_ragged_lists_and_object_arrays():
    X, y = ragged()
    found = SequenceClassifier(**SMALL).fit(X, y)
    assert found.score(X, y) > 0.95 and found.n_features_in_ == 2
    assert list(found.classes_) == ["down", "up"]
    assert len(found.loss_curve_) == found.n_iter_ == 15
    objects = np.empty(len(X), object)
    objects[:] = X
    np.testing.assert_array_equal(found.predict_proba(objects), found.predict_proba(X))
    np.testing.assert_allclose(found.predict_proba(X).sum(1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="3 feature"):
        found.predict([np.zeros((4, 3))])
    with pytest.raises(ValueError, match="table"):
        found.predict(np.zeros((4, 3)))


def test_forms_of_sktime_and_aeon():
    random = np.random.default_rng(2)
    X = random.normal(size=(20, 6, 2)).astype("float32")
    y = X[:, :, 0].sum(1)
    found = SequenceRegressor(**SMALL).fit(X, y)
    wanted = found.predict(X)
    nested = pd.DataFrame({name: [pd.Series(x[:, k]) for x in X] for k, name in enumerate("ab")})
    index = pd.MultiIndex.from_product([range(20), range(6)])
    long = pd.DataFrame(X.reshape(-1, 2), index=index)
    for form in (nested, long, list(X)):
        np.testing.assert_allclose(found.predict(form), wanted, rtol=1e-5, atol=1e-6)
    other = clone(found).set_params(channels_first=True).fit(X.swapaxes(1, 2), y)
    np.testing.assert_allclose(other.predict(X.swapaxes(1, 2)), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other.predict([x.T for x in X]), wanted, rtol=1e-5, atol=1e-6)


def test_the_same_random_state_gives_the_same_model():
    X, y = ragged()
    first, second = (SequenceClassifier(**SMALL, dropout=0.2, early_stopping=True).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    state = np.random.get_state()[1].copy()
    SequenceClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_tools_of_scikit_learn():
    X, y = ragged()
    estimator = SequenceClassifier(**SMALL)
    assert cross_val_score(estimator, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(estimator, {"cell": ["gru", "lstm"], "bidirectional": [True]}, cv=2, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.9
    copied = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copied.predict(X), search.predict(X))
    doubled = make_pipeline(FunctionTransformer(lambda X: [2 * x for x in X]), estimator).fit(X, y)
    assert doubled.score(X, y) > 0.9


def test_deviation_by_dropout():
    random = np.random.default_rng(3)
    X = random.normal(size=(30, 5, 1))
    y = np.stack([X.sum((1, 2)), 100 * X[:, -1, 0]], axis=1)
    found = SequenceRegressor(**SMALL, recurrent_dropout=0.2).fit(X, y)
    mean, deviation = found.predict(X, return_std=True)
    assert mean.shape == deviation.shape == (30, 2)
    assert (deviation > 0).all() and deviation[:, 1].mean() > 10 * deviation[:, 0].mean()
    plain = SequenceRegressor(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="dropout"):
        plain.predict(X, return_std=True)
    labels = y[:, 0] > 0
    proba, spread = SequenceClassifier(**SMALL, dropout=0.2).fit(X, labels).predict_proba(X, return_std=True)
    assert proba.shape == spread.shape == (30, 2)


def test_early_stopping_keeps_the_best_weights():
    X, y = ragged(100)
    y[::4] = "up"
    found = SequenceClassifier(units=16, epochs=200, early_stopping=True, patience=2, random_state=1).fit(X, y)
    assert found.n_iter_ < 200


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"cell": "rnn"}, "cell"),
        ({"epochs": 0}, "epochs"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"dropout": 1.5}, "dropout"),
        ({"optimizer": "newton"}, "newton"),
    ],
)
def test_wrong_arguments(wrong, said):
    X, y = ragged(10)
    with pytest.raises(ValueError, match=said):
        SequenceClassifier(**wrong).fit(X, y)


@pytest.mark.parametrize(
    "X, said",
    [
        ([], "expected"),
        ([np.zeros((0, 2)), np.zeros((3, 2))], "sequence 0"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], "sequence 1"),
        ([np.full((2, 2), np.nan), np.zeros((3, 2))], "NaN"),
        ([np.zeros((2, 2, 2)), np.zeros((3, 2, 2))], "sequence 0"),
    ],
)
def test_wrong_sequences(X, said):
    with pytest.raises(ValueError, match=f"(?i){said}"):
        SequenceClassifier(**SMALL).fit(X, [0, 1][: len(X)])


def test_examples_and_page():
    assert doctest.testmod(rnnx.sklearn.estimators).failed == 0
    text = (Path(__file__).parents[2] / "docs/in-sklearn.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert float(names["accuracy"]) > 0.7
