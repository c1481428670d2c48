"""F scores: precision and recall in one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx.layers.carried import mask_of
from rnnx.losses.loss import EPSILON
from rnnx.metrics.metric import Metric
from rnnx.metrics.targets import flat_rows, same_rank


class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall of each column, ``beta`` times as much for recall.

    Targets and predictions have shape (batch, outputs).

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        How the columns become one number: counted together, by their mean, or by their mean weighted with the number of
        ones; None gives an array.
    beta : float
    threshold : float, optional
        Predictions above it say yes; if not given, the largest one of each row does.

    Examples
    --------
    >>> from rnnx import metrics
    >>> [round(float(value), 4) for value in metrics.FBetaScore(beta=2.0)([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])]
    [0.0, 0.8333]
    """

    direction = "up"
    state_names = ("true_positives", "false_positives", "false_negatives")
    AVERAGES = (None, "micro", "macro", "weighted")

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        who = type(self).__name__
        if average not in self.AVERAGES:
            raise ValueError(f"{who}: `average` must be one of {self.AVERAGES}, got {average!r}")
        if isinstance(beta, bool) or not isinstance(beta, (int, float, np.number)) or not beta > 0:
            raise ValueError(f"{who}: `beta` must be a number above 0, got {beta!r}")
        if threshold is not None and (
            isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)) or not 0 < threshold <= 1
        ):
            raise ValueError(f"{who}: `threshold` must be None or a number in (0, 1], got {threshold!r}")
        self.average, self.beta = average, float(beta)
        self.threshold = None if threshold is None else float(threshold)
        super().__init__(name or ("fbeta_score" if type(self) is FBetaScore else None), dtype)

    def reset_state(self) -> None:
        self.true_positives = self.false_positives = self.false_negatives = np.zeros(())

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        y_pred = np.asarray(y_pred)
        y_true = same_rank(self.name, np.asarray(y_true), y_pred)
        y_true, y_pred, weights = flat_rows(self, y_true.astype(np.float64), y_pred, sample_weight, mask)
        if self.threshold is None:
            guess = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (np.abs(y_pred) > 1e-9)
        else:
            guess = y_pred > self.threshold
        for name, hits in (
            ("true_positives", guess * y_true),
            ("false_positives", guess * (1 - y_true)),
            ("false_negatives", ~guess * y_true),
        ):
            hits = hits if weights is None else hits * weights
            setattr(self, name, getattr(self, name) + hits.sum(axis=None if self.average == "micro" else 0))

    def result(self) -> Any:
        precision = self.true_positives / (self.true_positives + self.false_positives + EPSILON)
        recall = self.true_positives / (self.true_positives + self.false_negatives + EPSILON)
        squared = self.beta**2
        score = (1 + squared) * (precision * recall / (squared * precision + recall + EPSILON))
        if self.average == "weighted":
            ones = self.true_positives + self.false_negatives
            return float((score * (ones / (ones.sum() + EPSILON))).sum())
        return score if self.average is None else float(score.mean())

    def get_config(self) -> dict[str, Any]:
        own = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return {**super().get_config(), **own}


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall; arguments as of `FBetaScore`.

    Targets and predictions have shape (batch, outputs).

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        How the figures of classes become one; None keeps them apart.
    threshold : float, optional
        Predictions above it count as positive; if it is not given, the largest of each row does.

    Examples
    --------
    >>> from rnnx import metrics
    >>> [round(float(value), 4) for value in metrics.F1Score()([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])]
    [0.0, 0.6667]
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
