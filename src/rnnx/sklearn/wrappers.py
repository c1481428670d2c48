"""Models of one's own as estimators of scikit-learn, in the words of ``keras.wrappers``."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from rnnx.models import Model, clone_model


class _Wrapper(BaseEstimator):
    """What the three wrappers share.

    Attributes
    ----------
    model_ : Model
        What was trained.
    history_ : History
        What its ``fit`` returned.
    """

    model_: Any
    history_: Any

    def __init__(
        self,
        model: Any,
        warm_start: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        fit_kwargs: dict[str, Any] | None = None,
    ):
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_clone__(self) -> Any:
        model = copy.deepcopy(self.model) if isinstance(self.model, Model) else self.model
        return type(self)(model, self.warm_start, self.model_kwargs, self.fit_kwargs)

    def _start(self, X: Any, y: Any) -> Any:
        """The model to train: a clone of the given one, or what the given function makes."""
        if isinstance(self.model, Model):
            model = self.model if self.warm_start else clone_model(self.model)
        elif self.warm_start and hasattr(self, "model_"):
            model = self.model_
        else:
            model = self.model(X=X, y=y, **(self.model_kwargs or {}))
        if not isinstance(model, Model) or not model.compiled or model.loss is None:
            raise RuntimeError(f"{type(self).__name__}: `model` must be a compiled model with a loss, or make one")
        return model

    def fit(self, X: Any, y: Any, **fit_kwargs: Any) -> Any:
        """Train the model.

        Parameters
        ----------
        X : array of shape (samples, features) or (samples, timesteps, features)
        y : array of shape (samples,) or (samples, outputs)
        **fit_kwargs
            Of ``model.fit``, beside those of the constructor.
        """
        X, y = validate_data(self, X, y, allow_nd=True, multi_output=True)
        targets = self._targets(y)
        self.model_ = self._start(X, targets)
        self.history_ = self.model_.fit(X, targets, **{**(self.fit_kwargs or {}), **fit_kwargs})
        return self

    def _targets(self, y: Any) -> Any:
        """What the model is to predict."""
        type_of_target(y, raise_unknown=True)
        self._one_column = y.ndim == 1
        return y[:, None] if self._one_column else y

    def _outputs(self, X: Any) -> Any:
        """What the model predicts."""
        check_is_fitted(self, "model_")
        return self.model_.predict(validate_data(self, X, reset=False, allow_nd=True), verbose=0)

    def predict(self, X: Any) -> Any:
        """Predictions in the shape of the targets."""
        y = self._outputs(X)
        return y[:, 0] if self._one_column and y.ndim == 2 and y.shape[1] == 1 else y


class SKLearnClassifier(ClassifierMixin, _Wrapper):
    """A model as a classifier: its outputs are the probabilities of the classes, in sorted order.

    Parameters
    ----------
    model : Model or callable
        Compiled; what is trained is a clone. Or a function ``model(X, y, **model_kwargs)`` that makes one; ``y`` has a
        column for each class then.
    warm_start : bool
        Train the model itself, on and on.
    model_kwargs, fit_kwargs : dict, optional
        Arguments of that function, and of ``model.fit``.

    Raises
    ------
    RuntimeError
        If the model is not compiled.
    ValueError
        If there is one class only, or the targets are no classes.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> from rnnx.wrappers import SKLearnClassifier
    >>> def build(X, y):
    ...     model = rnnx.Sequential([rnnx.layers.GRU(4), rnnx.layers.Dense(y.shape[1], "softmax")])
    ...     model.compile("adam", "categorical_crossentropy")
    ...     return model
    >>> X = np.random.default_rng(0).normal(size=(20, 5, 3))
    >>> classifier = SKLearnClassifier(build, fit_kwargs={"verbose": 0}).fit(X, ["up", "down"] * 10)
    >>> classifier.predict(X).shape, classifier.predict_proba(X).shape
    ((20,), (20, 2))
    """

    def _targets(self, y: Any) -> Any:
        if type_of_target(y, raise_unknown=True) not in ("binary", "multiclass"):
            raise ValueError(f"{type(self).__name__}: `y` must be classes, got {type_of_target(y)} targets")
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__}: Classifier can't train when only one class is present.")
        return np.eye(len(self.classes_), dtype=np.float32)[places.ravel()]

    def decision_function(self, X: Any) -> Any:
        """What the model predicts, with a column for each class."""
        return self._outputs(X)

    def predict_proba(self, X: Any) -> Any:
        """The same, under its usual name."""
        return self._outputs(X)

    def predict(self, X: Any) -> Any:
        """The class with the largest output of each sample."""
        return self.classes_[self._outputs(X).argmax(axis=1)]


class SKLearnRegressor(RegressorMixin, _Wrapper):
    """A model as a regressor; see `SKLearnClassifier` for the arguments.

    Parameters
    ----------
    model : Model or callable
    warm_start : bool
    model_kwargs, fit_kwargs : dict, optional
    """


class SKLearnTransformer(TransformerMixin, _Wrapper):
    """A model as a transformer, whose outputs are the new features; see `SKLearnClassifier` for the arguments.

    Parameters
    ----------
    model : Model or callable
    warm_start : bool
    model_kwargs, fit_kwargs : dict, optional
    """

    def transform(self, X: Any) -> Any:
        """What the model predicts."""
        return self._outputs(X)
