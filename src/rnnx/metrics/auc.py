"""The area under a curve over all thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.losses.loss import EPSILON
from rnnx.metrics.thresholds import ThresholdMetric, even_thresholds, given_thresholds, ratio, share

CURVES = ("ROC", "PR", "PRGAIN")
METHODS = ("interpolation", "minoring", "majoring")
SMALLEST = 1 << 16  # scores that are kept as they came before they are counted by their value


class AUC(ThresholdMetric):
    """Area under the ROC curve or another one, exact unless thresholds are asked for.

    Targets and predictions have one shape, (batch, ...); with ``multi_label`` it is (batch, labels).

    Parameters
    ----------
    num_thresholds : int, optional
        The curve is made of so many thresholds from 0 to 1, as in Keras, whose default is 200. If not given, every
        score that occurs is one, and the area is exact: of the ROC curve the chance that a one is above a zero, ties
        shared.
    curve : {"ROC", "PR", "PRGAIN"}
    summation_method : {"interpolation", "minoring", "majoring"}
        How heights between thresholds are chosen; "interpolation" of a precision-recall curve is that of [1]_.
    thresholds : list of float, optional
        The thresholds themselves, in place of ``num_thresholds``.
    multi_label : bool
        Whether every column has an area of its own, whose mean is the result.
    num_labels : int, optional
        Columns, with ``multi_label``; taken from the first batch if not given.
    label_weights : list of float, optional
        Weights of the columns: of their areas with ``multi_label``, else of their predictions.
    from_logits : bool
        Whether predictions come before the sigmoid.

    References
    ----------
    .. [1] J. Davis, M. Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006.

    Examples
    --------
    >>> from rnnx import metrics
    >>> metrics.AUC()([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    >>> round(metrics.AUC(num_thresholds=3)([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 6)
    0.75
    """

    direction = "up"

    def __init__(
        self,
        num_thresholds: int | None = None,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ):
        curve, method = (getattr(word, "value", word) for word in (curve, summation_method))  # Keras has enumerations
        if str(curve).upper() not in CURVES:
            raise ValueError(f"AUC: `curve` must be one of {CURVES}, got {curve!r}")
        if str(method).lower() not in METHODS:
            raise ValueError(f"AUC: `summation_method` must be one of {METHODS}, got {method!r}")
        if num_thresholds is not None and num_thresholds <= 1:
            raise ValueError(f"AUC: `num_thresholds` must be an integer above 1, got {num_thresholds}")
        if num_labels and not multi_label:
            raise ValueError("AUC: `num_labels` is for multi_label=True only")
        self.curve, self.summation_method = str(curve).upper(), str(method).lower()
        self.multi_label, self.num_labels = bool(multi_label), num_labels
        self.label_weights = None if label_weights is None else [float(weight) for weight in label_weights]
        self.from_logits = bool(from_logits)
        self.init_thresholds = None if thresholds is None else sorted(given_thresholds("AUC", thresholds))
        inner = even_thresholds(num_thresholds)[1:-1] if num_thresholds else self.init_thresholds
        self.num_thresholds = None if inner is None else len(inner) + 2
        if self.init_thresholds is not None:
            self.num_thresholds, inner = len(self.init_thresholds) + 2, self.init_thresholds
        found = [] if inner is None else [-EPSILON, *inner, 1 + EPSILON]
        super().__init__(found, name, dtype, labels=num_labels or 0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_truth" not in state:
            super().__setstate__(state)
            return
        AUC.__init__(self, name=state.get("name"))
        parts = zip(state["_score"], state["_truth"], state["_weight"], strict=True)  # of 0.1.0
        self._scores[0] += [(score, weight * truth, weight * ~truth) for score, truth, weight in parts]

    def reset_state(self) -> None:
        super().reset_state()
        self._scores: list[list[tuple[Array, Array, Array]]] = [[] for _ in range(max(1, self.labels))]

    def prepared(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> tuple[Array, Array, Array | None]:
        truth, y_pred, weights = super().prepared(y_true, y_pred, sample_weight, mask)
        if self.from_logits:
            e = np.exp(-np.abs(y_pred))
            y_pred = np.where(y_pred < 0, e, 1) / (1 + e)
        if self.multi_label:
            if y_pred.ndim != 2:
                raise ValueError(f"{self.name}: multi_label=True needs predictions (batch, labels), got {y_pred.shape}")
            if not self.labels:
                self.labels = y_pred.shape[1]
                self.reset_state()
            if y_pred.shape[1] != self.labels:
                raise ValueError(f"{self.name}: predictions must have {self.labels} columns, got {y_pred.shape[1]}")
        elif self.label_weights is not None:
            own = self._of_labels(y_pred.shape[-1])
            weights = np.broadcast_to(own, y_pred.shape) if weights is None else weights * own
        return truth, y_pred, weights

    def _of_labels(self, columns: int) -> Array:
        if len(self.label_weights or []) != columns:
            raise ValueError(
                f"{self.name}: `label_weights` must have a weight for each of {columns} columns, got "
                f"{len(self.label_weights or [])}"
            )
        return np.asarray(self.label_weights, np.float64)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        if self.num_thresholds is not None:
            super().update_state(y_true, y_pred, sample_weight, mask)
            return
        truth, y_pred, weights = self.prepared(y_true, y_pred, sample_weight, mask)
        weights = np.ones(y_pred.shape) if weights is None else weights
        for label, kept in enumerate(self._scores):
            which = (..., label) if self.labels else ...
            score, one, weight = y_pred[which].ravel(), truth[which].ravel(), weights[which].ravel()
            kept.append((np.where(weight != 0, score, 0).astype(np.float64), weight * one, weight * ~one))
            if len(kept) > 1 and sum(len(part[0]) for part in kept[1:]) > max(SMALLEST, 2 * len(kept[0][0])):
                kept[:] = [_by_score(kept)]

    @property
    def variables(self) -> list[Any]:
        """The counts at the thresholds; none while every score is one."""
        return [] if self.num_thresholds is None else super().variables

    def _counts(self) -> list[tuple[Array, Array]]:
        """True and false positives of every label at all thresholds, from below everything to above it."""
        if self.num_thresholds is not None:
            tp, fp = self.true_positives, self.false_positives
            return [(tp[:, k], fp[:, k]) for k in range(self.labels)] if self.labels else [(tp, fp)]
        found = []
        for kept in self._scores:
            if kept:
                kept[:] = [_by_score(kept)]
                _, ones, zeros = kept[0]
                ones, zeros = (np.concatenate([np.cumsum(part[::-1])[::-1], [0.0]]) for part in (ones, zeros))
                found.append((ones, zeros))
        return found

    def result(self) -> float:
        areas = [self._area(*counts) for counts in self._counts()]
        if not areas:
            return 0.0
        if not self.multi_label:
            return float(areas[0])
        if self.label_weights is None:
            return float(np.mean(areas))
        weights = self._of_labels(len(areas))
        return float((weights * areas).sum() / weights.sum()) if weights.sum() else 0.0

    def _area(self, tp: Array, fp: Array) -> float:
        ones, zeros = tp[0], fp[0]
        if self.num_thresholds is not None and not self.labels:
            ones, zeros = self._ones.sum(), self._zeros.sum()
        fn, tn = ones - tp, zeros - fp
        recall = share(tp, fn)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated(tp, fp, fn)
        if self.curve == "ROC":
            x, y = share(fp, tn), recall
        elif self.curve == "PR":
            x, y = recall, share(tp, fp)
        else:
            scale = ratio(np.asarray(ones), np.asarray(zeros))
            x = np.maximum(np.where(tp == 0, 0, 1 - scale * ratio(fn, tp)), 0)
            y = np.where(tp == 0, 1, 1 - scale * ratio(fp, tp))
        pair = y[:-1], y[1:]
        heights = {"interpolation": (y[:-1] + y[1:]) / 2, "minoring": np.minimum(*pair), "majoring": np.maximum(*pair)}
        return float(((x[:-1] - x[1:]) * heights[self.summation_method]).sum())

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": self.label_weights,
            "from_logits": self.from_logits,
        }
        if self.init_thresholds is not None:
            return {**config, "num_thresholds": self.num_thresholds, "thresholds": self.init_thresholds}
        return config if self.num_thresholds is None else {**config, "num_thresholds": self.num_thresholds}


def _by_score(parts: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    """Distinct scores, and the weight of the ones and the zeros with each of them."""
    scores, ones, zeros = (np.concatenate(part) for part in zip(*parts, strict=True))
    distinct, group = np.unique(scores, return_inverse=True)
    return distinct, np.bincount(group, ones, len(distinct)), np.bincount(group, zeros, len(distinct))


def _interpolated(tp: Array, fp: Array, fn: Array) -> float:
    """Area under the precision-recall curve, whose true positives grow evenly between two thresholds."""
    p = tp + fp
    dtp, dp = tp[:-1] - tp[1:], p[:-1] - p[1:]
    slope = ratio(dtp, np.maximum(dp, 0))
    intercept = tp[1:] - slope * p[1:]
    both = (p[:-1] > 0) & (p[1:] > 0)
    growth = np.where(both, ratio(p[:-1], np.maximum(p[1:], 0)), 1)
    return float(ratio(slope * (dtp + intercept * np.log(growth)), np.maximum(tp[1:] + fn[1:], 0)).sum())
