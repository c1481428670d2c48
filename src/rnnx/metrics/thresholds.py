"""How many are right and wrong on each side of some thresholds, in arrays of a fixed size."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.losses.loss import EPSILON
from rnnx.metrics.metric import Metric
from rnnx.metrics.targets import same_rank

BELOW_ALL = -1e10  # a threshold that everything passes, and what predictions outside of the top k become


class ThresholdMetric(Metric):
    """Base of the metrics of yes and no: a prediction above a threshold says yes, a target other than 0 is one.

    The state is the weight of ones and of zeros between neighbouring thresholds, so that a batch costs no more for many
    thresholds than for one.

    Parameters
    ----------
    thresholds : list of float
    top_k : int, optional
        Only the ``top_k`` largest predictions along the last axis may say yes.
    class_id : int, optional
        Only this column counts.
    labels : int
        Columns that are counted apart; 0 if all belong together.
    """

    state_names: tuple[str, ...] = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    class_id: int | None = None
    top_k: int | None = None
    thresholds: list[float]
    init_thresholds: Any
    labels: int = 0
    _ones: Array
    _zeros: Array

    def arguments_now(self) -> dict[str, Any]:
        found = super().arguments_now()
        return {**found, "thresholds": self.init_thresholds} if "init_thresholds" in vars(self) else found

    def __init__(self, thresholds: list[float], name: str | None = None, dtype: Any = None, **own: Any):
        self._set_thresholds(thresholds)
        vars(self).update(own)
        super().__init__(name, dtype)

    def _set_thresholds(self, thresholds: list[float]) -> None:
        vars(self)["thresholds"] = thresholds
        self._order = np.argsort(thresholds, kind="stable")
        self._sorted = np.asarray(thresholds, np.float64)[self._order]
        even = np.linspace(0, 1, len(thresholds))
        self._even = len(thresholds) > 2 and bool(np.allclose(thresholds, even, rtol=1e-5, atol=EPSILON))

    def reset_state(self) -> None:
        shape = (len(self.thresholds) + 1,) + (self.labels,) * bool(self.labels)
        self._ones, self._zeros = np.zeros(shape), np.zeros(shape)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        truth, y_pred, weights = self.prepared(y_true, y_pred, sample_weight, mask)
        count = len(self.thresholds) + 1
        place = self._places(y_pred)
        if self.labels:
            place = place * self.labels + np.arange(self.labels)
            count *= self.labels
        for state, counted in ((self._ones, truth), (self._zeros, ~truth)):
            share = counted if weights is None else np.where(counted, weights, 0)
            state += np.bincount(place.ravel(), share.ravel(), count).reshape(state.shape)

    def prepared(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any) -> tuple[Array, Array, Array | None]:
        """Targets as bools, predictions and weights, of one shape; what weighs nothing is 0."""
        y_pred = self._widened(np.asarray(y_pred))
        y_pred = y_pred if y_pred.dtype.kind == "f" else y_pred.astype(np.float32)
        y_true = same_rank(self.name, np.asarray(y_true), y_pred)
        weights = self._weights(y_pred.shape, sample_weight, mask)
        if weights is not None:
            y_true, y_pred = (np.where(weights != 0, y, 0) for y in (y_true, y_pred))
        if self.top_k is not None:
            y_pred = _only_top(y_pred, self.top_k)
        if self.class_id is not None:
            if y_pred.ndim < 2 or not -y_pred.shape[-1] <= self.class_id < y_pred.shape[-1]:
                raise ValueError(
                    f"{self.name}: `class_id` = {self.class_id} needs predictions with such a column, got shape "
                    f"{y_pred.shape}"
                )
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
            weights = None if weights is None else weights[..., self.class_id]
        return y_true != 0, y_pred, weights

    def _places(self, y_pred: Array) -> Array:
        """How many thresholds a prediction is above."""
        count = len(self.thresholds)
        if not self._even:
            return np.searchsorted(self._sorted, y_pred, side="left")
        found = np.ceil(np.clip(y_pred, 0, 1) * np.asarray(count - 1, y_pred.dtype)).astype(np.int64)
        return np.maximum(found, 1) if self._sorted[0] < 0 else found

    def _above(self, state: Array) -> Array:
        found = np.empty((len(self.thresholds), *state.shape[1:]))
        found[self._order] = np.cumsum(state[::-1], axis=0)[-2::-1]
        return found

    @property
    def true_positives(self) -> Array:
        """The weight of ones above each threshold."""
        return self._above(self._ones)

    @property
    def false_positives(self) -> Array:
        """The weight of zeros above each threshold."""
        return self._above(self._zeros)

    @property
    def false_negatives(self) -> Array:
        """The weight of ones that are not above each threshold."""
        return self._ones.sum(axis=0) - self.true_positives

    @property
    def true_negatives(self) -> Array:
        """The weight of zeros that are not above each threshold."""
        return self._zeros.sum(axis=0) - self.false_positives

    def _shown(self, values: Array) -> Any:
        return float(values[0]) if len(values) == 1 else values


def _only_top(y_pred: Array, k: int) -> Array:
    """Predictions with something very small in place of all but the ``k`` largest of each row."""
    if k >= y_pred.shape[-1]:
        return y_pred
    places = np.argsort(-y_pred, axis=-1, kind="stable")[..., k:]
    found = y_pred.copy()
    np.put_along_axis(found, places, BELOW_ALL, axis=-1)
    return found


def given_thresholds(who: str, thresholds: Any, default: float = 0.5) -> list[float]:
    """Thresholds as a list; ValueError if one is not in [0, 1]."""
    if thresholds is None:
        return [default]
    found = list(thresholds) if np.ndim(thresholds) else [thresholds]
    if not found or any(one is None or not 0 <= one <= 1 for one in found):
        raise ValueError(f"{who}: `thresholds` must lie in [0, 1], got {thresholds}")
    return [float(one) for one in found]


def even_thresholds(count: int) -> list[float]:
    """So many thresholds from 0 to 1; one is 0.5."""
    return [0.5] if count == 1 else [0.0, *((k + 1) / (count - 1) for k in range(count - 2)), 1.0]


def share(part: Array, rest: Array) -> Array:
    """``part / (part + rest)``, 0 where there is nothing."""
    return ratio(part, part + rest)


def ratio(above: Array, below: Array) -> Array:
    """``above / below``, 0 where that is 0."""
    return np.divide(
        above, below, out=np.zeros(np.broadcast_shapes(np.shape(above), np.shape(below))), where=below != 0
    )
