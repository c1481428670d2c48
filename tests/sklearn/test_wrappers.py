"""Models of one's own in scikit-learn, in Keras' words."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import rnnx
import rnnx.sklearn.wrappers
from rnnx.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer
from rnnx.wrappers.scikit_learn import KerasClassifier, KerasRegressor

pytestmark = pytest.mark.sklearn
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(60, 5, 2)).astype("float32")
SIGN = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
QUIET = {"verbose": 0, "epochs": 30}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    rnnx.utils.set_random_seed(5)


def build(X: Any, y: Any, units: int = 8) -> Any:
    model = rnnx.Sequential([rnnx.layers.GRU(units), rnnx.layers.Dense(y.shape[1], "softmax")])
    model.compile(rnnx.optimizers.Adam(0.02), "categorical_crossentropy")
    return model


def test_a_classifier_of_sequences() -> None:
    classifier = SKLearnClassifier(build, fit_kwargs=QUIET).fit(X, SIGN)
    assert classifier.classes_.tolist() == ["down", "up"] and classifier.score(X, SIGN) > 0.9
    assert classifier.predict(X).dtype == SIGN.dtype
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert len(classifier.history_.history["loss"]) == 30
    again = pickle.loads(pickle.dumps(classifier))
    assert (again.predict(X) == classifier.predict(X)).all()
    search = GridSearchCV(classifier, {"model_kwargs": [{"units": 2}, {"units": 8}]}, cv=2).fit(X, SIGN)
    assert search.best_params_["model_kwargs"]["units"] in (2, 8)
    assert cross_val_score(classifier, X, SIGN, cv=2).mean() > 0.7
    with pytest.raises(ValueError, match="only one class"):
        classifier.fit(X[:3], ["up"] * 3)
    with pytest.raises(ValueError, match="must be classes, got continuous targets"):
        classifier.fit(X, RANDOM.normal(size=60))


def test_a_compiled_model_is_cloned() -> None:
    model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(1)])
    model.compile(rnnx.optimizers.Adam(0.1), "mse")
    before = [w.copy() for w in model.get_weights()]
    table = RANDOM.normal(size=(50, 3))
    y = table @ [1.0, -2.0, 0.5]
    regressor = make_pipeline(StandardScaler(), SKLearnRegressor(model, fit_kwargs={"verbose": 0, "epochs": 60}))
    assert regressor.fit(table, y).score(table, y) > 0.95
    assert regressor.predict(table).shape == (50,)
    for w, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, old)
    warm = SKLearnRegressor(model, warm_start=True, fit_kwargs={"verbose": 0}).fit(table, y)
    assert warm.model_ is model and clone(warm).model is not model
    two = SKLearnTransformer(model, fit_kwargs={"verbose": 0}).fit(table, y)
    assert two.transform(table).shape == (50, 1)
    with pytest.raises(RuntimeError, match="must be a compiled model with a loss"):
        SKLearnRegressor(rnnx.Sequential([rnnx.layers.Dense(1)])).fit(table, y)


def old(units: int = 8, optimizer: str = "adam") -> Any:
    model = rnnx.Sequential([rnnx.layers.Dense(units, "tanh"), rnnx.layers.Dense(1, "sigmoid")])
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def classes() -> Any:
    model = rnnx.Sequential([rnnx.layers.Dense(3, "softmax")])
    model.compile(rnnx.optimizers.Adam(0.1), "categorical_crossentropy")
    return model


def line() -> Any:
    model = rnnx.Sequential([rnnx.layers.Dense(1)])
    model.compile(rnnx.optimizers.Adam(0.1), "mse")
    return model


def test_the_recipe_of_keras_2() -> None:
    table = RANDOM.normal(size=(60, 4))
    y = (table[:, 0] > 0).astype(int)
    classifier = KerasClassifier(build_fn=old, epochs=40, batch_size=10, verbose=0)
    pipeline = make_pipeline(StandardScaler(), FunctionTransformer(), classifier)
    assert cross_val_score(pipeline, table, y, cv=3).mean() > 0.7
    history = classifier.fit(table, y)
    assert len(history.history["loss"]) == 40 and classifier.score(table, y) > 0.8
    assert classifier.predict(table).shape == (60, 1) and classifier.predict_proba(table).shape == (60, 2)
    search = GridSearchCV(classifier, {"units": [2, 8], "epochs": [2, 3]}, cv=2).fit(table, y)
    assert search.best_params_["units"] in (2, 8)
    three = KerasClassifier(classes, epochs=40, verbose=0)
    kinds = np.array(["a", "b", "c"])[np.digitize(table[:, 0], [-0.5, 0.5])]
    three.fit(table, kinds)
    assert three.score(table, kinds) > 0.7 and three.predict(table).shape == (60,)
    regressor = KerasRegressor(line, epochs=60, verbose=0)
    regressor.fit(table, table[:, 0] * 2)
    assert regressor.predict(table).shape == (60,) and -0.1 < regressor.score(table, table[:, 0] * 2) <= 0
    with pytest.raises(ValueError, match="nepochs is no argument of `build_fn` or of fit"):
        KerasClassifier(old, nepochs=3)
    with pytest.raises(TypeError, match="must be a function"):
        KerasClassifier()


def test_the_example() -> None:
    assert doctest.testmod(rnnx.sklearn.wrappers).failed == 0
