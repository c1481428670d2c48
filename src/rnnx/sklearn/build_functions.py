"""``KerasClassifier`` and ``KerasRegressor`` of ``keras.wrappers.scikit_learn``, as Keras 2 had them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from rnnx.models import Model
from rnnx.utils import to_categorical

USED = (Model.fit, Model.predict, Model.evaluate)


class _OfBuildFunction(BaseEstimator):
    """A model that a function makes, with all its arguments as parameters of the estimator."""

    classes_: Any
    model: Any

    def __init__(self, build_fn: Callable[..., Any] | None = None, **sk_params: Any):
        self.build_fn, self.sk_params = build_fn, sk_params
        self._check(sk_params)

    def _maker(self) -> Callable[..., Any]:
        """What makes the model: the function, or a subclass' ``__call__``."""
        if self.build_fn is None and not callable(self):
            raise TypeError(f"{type(self).__name__}: `build_fn` must be a function that returns a compiled model")
        return self.build_fn if self.build_fn is not None else self

    def _check(self, parameters: dict[str, Any]) -> None:
        maker = inspect.signature(self._maker()).parameters
        if any(part.kind is part.VAR_KEYWORD for part in maker.values()):
            return
        known = {name for function in USED for name in inspect.signature(function).parameters} | set(maker)
        if unknown := sorted(set(parameters) - known):
            raise ValueError(f"{type(self).__name__}: {', '.join(unknown)} is no argument of `build_fn` or of fit")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The function and all arguments."""
        return {**self.sk_params, "build_fn": self.build_fn}

    def set_params(self, **params: Any) -> Any:
        """Set arguments of the function and of fit, predict and evaluate."""
        if "build_fn" in params:
            self.build_fn = params.pop("build_fn")
        self._check(params)
        self.sk_params = {**self.sk_params, **params}
        return self

    def _for(self, function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
        """The arguments that a function takes."""
        known = inspect.signature(function).parameters
        return {**{name: value for name, value in self.sk_params.items() if name in known}, **given}

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Make a model and train it; what its ``fit`` returns."""
        maker = self._maker()
        parameters = inspect.signature(maker).parameters.values()
        everything = any(part.kind is part.VAR_KEYWORD for part in parameters)
        self.model = maker(**(self.sk_params if everything else self._for(maker, {})))
        if type(self.model.loss).__name__ == "CategoricalCrossentropy" and np.ndim(y) != 2:
            y = to_categorical(y)
        return self.model.fit(x, y, **self._for(Model.fit, kwargs))


class KerasClassifier(ClassifierMixin, _OfBuildFunction):
    """A classifier of a function that makes a model, as Keras 2 had it; `SKLearnClassifier` is the word of Keras 3.

    Parameters
    ----------
    build_fn : callable
        Returns a compiled model.
    **sk_params
        Arguments of it and of ``fit``, ``predict`` and ``evaluate``, such as ``epochs``.

    Raises
    ------
    ValueError
        If a parameter is of none of them.
    """

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Make a model and train it on classes, or one-hot rows of them; what its ``fit`` returns."""
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_ = np.arange(y.shape[1])
        else:
            self.classes_, y = np.unique(y, return_inverse=True)
            y = y.reshape(-1)
        return super().fit(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """The class of each sample."""
        said = self.model.predict(x, **self._for(Model.predict, kwargs))
        places = said.argmax(axis=-1) if said.shape[-1] > 1 else (said > 0.5).astype(int)
        return self.classes_[places]

    def predict_proba(self, x: Any, **kwargs: Any) -> Any:
        """The probabilities of the classes."""
        said = self.model.predict(x, **self._for(Model.predict, kwargs))
        return np.hstack([1 - said, said]) if said.shape[1] == 1 else said

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The share of samples whose class is said."""
        y = np.asarray(y)
        classes = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y
        said = self.predict(x, **{name: value for name, value in kwargs.items() if name != "sample_weight"})
        return float(np.average(said.reshape(-1) == classes.reshape(-1), weights=kwargs.get("sample_weight")))


class KerasRegressor(RegressorMixin, _OfBuildFunction):
    """A regressor of a function that makes a model, as Keras 2 had it; `SKLearnRegressor` is the word of Keras 3.

    Parameters
    ----------
    build_fn : callable
        Returns a compiled model.
    **sk_params
        Arguments of it and of ``fit``, ``predict`` and ``evaluate``, such as ``epochs``.

    Raises
    ------
    ValueError
        If a parameter is of none of them.
    """

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Predictions, without axes of size 1."""
        return np.squeeze(self.model.predict(x, **self._for(Model.predict, kwargs)))

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """Minus the loss."""
        found = self.model.evaluate(x, y, **self._for(Model.evaluate, kwargs))
        return -float(found[0] if isinstance(found, list) else found)
