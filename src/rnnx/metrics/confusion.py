"""Counts, precision and recall of yes and no at thresholds, and one of them where the other is large enough."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.metrics.thresholds import BELOW_ALL, ThresholdMetric, even_thresholds, given_thresholds, share


class ConfusionCount(ThresholdMetric):
    """Base of the four counts.

    Parameters
    ----------
    thresholds : float or list of float, optional
        0.5 if not given; a list gives an array.
    """

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        self.init_thresholds = thresholds
        super().__init__(given_thresholds(type(self).__name__, thresholds), name, dtype)

    def result(self) -> Any:
        return self._shown(getattr(self, self.state_names[0]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(ConfusionCount):
    """Weight of ones that are predicted so.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    thresholds : float or list of float, optional
        Predictions above it count as positive; .5 if it is not given. Several give a figure each.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.TruePositives()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    2.0
    """

    state_names = ("true_positives",)


class TrueNegatives(ConfusionCount):
    """Weight of zeros that are predicted so.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    thresholds : float or list of float, optional
        Predictions above it count as positive; .5 if it is not given. Several give a figure each.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.TrueNegatives()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    state_names = ("true_negatives",)


class FalsePositives(ConfusionCount):
    """Weight of zeros that are predicted to be ones.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    thresholds : float or list of float, optional
        Predictions above it count as positive; .5 if it is not given. Several give a figure each.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.FalsePositives()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    0.0
    """

    state_names = ("false_positives",)


class FalseNegatives(ConfusionCount):
    """Weight of ones that are predicted to be zeros.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    thresholds : float or list of float, optional
        Predictions above it count as positive; .5 if it is not given. Several give a figure each.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.FalseNegatives()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    state_names = ("false_negatives",)


class Precision(ThresholdMetric):
    """Share of ones among what is predicted above ``thresholds``.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    thresholds : float or list of float, optional
        0.5 if not given, or nothing with ``top_k``; a list gives an array.
    top_k : int, optional
        Only the ``top_k`` largest predictions along the last axis may say yes.
    class_id : int, optional
        Only this column counts.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Precision()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    direction = "up"
    state_names = ("true_positives", "false_positives")

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        who = type(self).__name__
        for word, value, least in (("top_k", top_k, 1), ("class_id", class_id, 0)):
            if value is not None and (not isinstance(value, (int, np.integer)) or value < least):
                raise ValueError(f"{who}: `{word}` must be an integer of at least {least}, got {value!r}")
        self.init_thresholds = thresholds
        found = given_thresholds(who, thresholds, 0.5 if top_k is None else BELOW_ALL)
        super().__init__(found, name, dtype, top_k=top_k, class_id=class_id)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_ones" not in state:  # of 0.1.0: one threshold, and the hits among all that count
            self._take_sums(float(state["thresholds"]), float(state["total"]), float(state["count"]))

    def _take_sums(self, threshold: float, hits: float, counted: float) -> None:
        self.init_thresholds = threshold
        self._set_thresholds([threshold])
        self._ones, self._zeros = np.array([0.0, hits]), np.array([0.0, counted - hits])

    def result(self) -> Any:
        return self._shown(share(self.true_positives, self.false_positives))

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


class Recall(Precision):
    """Share of what is predicted above ``thresholds`` among the ones; arguments as of `Precision`.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    thresholds : float or list of float, optional
        Predictions above it count as positive; .5 if it is not given. Several give a figure each.
    top_k : int, optional
        Only the so many largest predictions of a row count as positive.
    class_id : int, optional
        Only this class counts.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Recall()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    0.6667
    """

    state_names = ("true_positives", "false_negatives")

    def _take_sums(self, threshold: float, hits: float, counted: float) -> None:
        super()._take_sums(threshold, hits, counted)
        self._ones, self._zeros = np.array([counted - hits, hits]), np.zeros(2)

    def result(self) -> Any:
        return self._shown(share(self.true_positives, self.false_negatives))


class BestAtThreshold(ThresholdMetric):
    """Base of the metrics that look for the best threshold at which something else is large enough.

    Parameters
    ----------
    num_thresholds : int
        How many thresholds from 0 to 1 are tried.
    class_id : int, optional
        Only this column counts.
    """

    direction = "up"
    bound = "value"  # the name of what must be large enough

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any):
        who = type(self).__name__
        if not 0 <= value <= 1:
            raise ValueError(f"{who}: `{self.bound}` must lie in [0, 1], got {value}")
        if num_thresholds <= 0:
            raise ValueError(f"{who}: `num_thresholds` must be a positive integer, got {num_thresholds}")
        self.value, self.num_thresholds = float(value), int(num_thresholds)
        setattr(self, self.bound, self.value)
        super().__init__(even_thresholds(self.num_thresholds), name, dtype, class_id=class_id)

    def _best(self, figures: Array, bound: Array) -> float:
        return float(np.where(bound >= self.value, figures, 0).max(initial=0))

    @property
    def _sensitivities(self) -> Array:
        return share(self.true_positives, self.false_negatives)

    @property
    def _specificities(self) -> Array:
        return share(self.true_negatives, self.false_positives)

    @property
    def _precisions(self) -> Array:
        return share(self.true_positives, self.false_positives)

    def get_config(self) -> dict[str, Any]:
        own = {self.bound: self.value, "num_thresholds": self.num_thresholds, "class_id": self.class_id}
        return {**super().get_config(), **own}


class SensitivityAtSpecificity(BestAtThreshold):
    """The largest sensitivity at a threshold whose specificity is at least ``specificity``.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    specificity : float
        The specificity that is asked for, in [0, 1].
    num_thresholds : int
        Thresholds from 0 to 1 that are tried.
    class_id : int, optional
        Only this class counts.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.SensitivityAtSpecificity(0.6)([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    bound = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._sensitivities, self._specificities)


class SpecificityAtSensitivity(BestAtThreshold):
    """The largest specificity at a threshold whose sensitivity is at least ``sensitivity``.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    sensitivity : float
        The sensitivity that is asked for, in [0, 1].
    num_thresholds : int
        Thresholds from 0 to 1 that are tried.
    class_id : int, optional
        Only this class counts.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.SpecificityAtSensitivity(0.6)([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    bound = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._specificities, self._sensitivities)


class PrecisionAtRecall(BestAtThreshold):
    """The largest precision at a threshold whose recall is at least ``recall``.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    recall : float
        The recall that is asked for, in [0, 1].
    num_thresholds : int
        Thresholds from 0 to 1 that are tried.
    class_id : int, optional
        Only this class counts.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.PrecisionAtRecall(0.6)([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    bound = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._precisions, self._sensitivities)


class RecallAtPrecision(BestAtThreshold):
    """The largest recall at a threshold whose precision is at least ``precision``.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    precision : float
        The precision that is asked for, in [0, 1].
    num_thresholds : int
        Thresholds from 0 to 1 that are tried.
    class_id : int, optional
        Only this class counts.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.RecallAtPrecision(0.6)([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    1.0
    """

    bound = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._sensitivities, self._precisions)
