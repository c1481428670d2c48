"""Intersection over union of what was predicted for a class and what is of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.losses.loss import EPSILON
from rnnx.metrics.metric import Metric


class IoU(Metric):
    """Mean intersection over union of some classes.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    num_classes : int
        Targets and predictions outside of ``0..num_classes - 1`` do not count.
    target_class_ids : list of int
    ignore_class : int, optional
        Targets of this class do not count.
    sparse_y_true, sparse_y_pred : bool
        Whether they are classes; else the largest one along ``axis`` is the class.
    axis : int

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.IoU(2, [1])([0, 1, 1, 1], [0, 0, 1, 1])), 4)
    0.6667
    """

    direction = "up"
    state_names = ("total_cm",)

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        who = type(self).__name__
        self.num_classes, self.target_class_ids = int(num_classes), [int(one) for one in target_class_ids]
        for one in self.target_class_ids:
            if not 0 <= one < self.num_classes:
                raise ValueError(f"{who}: `target_class_ids` must lie in 0..{self.num_classes - 1}, got {one}")
        self.ignore_class, self.axis = ignore_class, int(axis)
        self.sparse_y_true, self.sparse_y_pred = bool(sparse_y_true), bool(sparse_y_pred)
        super().__init__(name, "int32" if dtype is None else dtype)

    def reset_state(self) -> None:
        self.total_cm = np.zeros((self.num_classes, self.num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        truth = np.asarray(y_true) if self.sparse_y_true else np.asarray(y_true).argmax(axis=self.axis)
        guess = np.asarray(y_pred) if self.sparse_y_pred else np.asarray(y_pred).argmax(axis=self.axis)
        if truth.size != guess.size:
            raise ValueError(f"{self.name}: `y_true` and `y_pred` must fit, got shapes {truth.shape} and {guess.shape}")
        shape = guess.shape if guess.ndim else (1,)
        weights = self._weights(shape, None if np.ndim(sample_weight) == 0 else sample_weight, mask)
        if np.ndim(sample_weight) == 0 and sample_weight is not None:
            weights = np.full(shape, float(sample_weight)) if weights is None else weights * float(sample_weight)
        truth, guess = truth.reshape(-1), guess.reshape(-1)
        inside = (truth >= 0) & (truth < self.num_classes) & (guess >= 0) & (guess < self.num_classes)
        if self.ignore_class is not None:
            inside &= truth != self.ignore_class
        if weights is not None:
            inside &= weights.reshape(-1) != 0
        place = truth[inside].astype(np.int64) * self.num_classes + guess[inside].astype(np.int64)
        share = None if weights is None else weights.reshape(-1)[inside]
        self.total_cm += np.bincount(place, share, self.num_classes**2).reshape(self.total_cm.shape)

    def result(self) -> float:
        hits = np.diag(self.total_cm)[self.target_class_ids]
        union = (self.total_cm.sum(axis=0) + self.total_cm.sum(axis=1))[self.target_class_ids] - hits
        valid = union > 1e-9
        return float(np.where(valid, hits / (union + EPSILON), 0).sum() / (valid.sum() + EPSILON))

    def get_config(self) -> dict[str, Any]:
        own = {
            word: getattr(self, word)
            for word in (
                "num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis"
            )
        }  # fmt: skip
        return {**super().get_config(), **own}

    def _config_of(self, *words: str) -> dict[str, Any]:
        config = IoU.get_config(self)
        return {word: config[word] for word in ("name", "dtype", *words)}


class BinaryIoU(IoU):
    """Mean intersection over union of zeros and ones, from probabilities.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    target_class_ids : list of int
        ``(0, 1)``, or one of them.
    threshold : float
        Predictions from it on are ones.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.BinaryIoU()([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    0.5833
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = float(threshold)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        guess: Array = (np.asarray(y_pred) >= self.threshold).astype(np.int64)
        super().update_state(y_true, guess, sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        return {**self._config_of("target_class_ids"), "threshold": self.threshold}


class MeanIoU(IoU):
    """Mean intersection over union of all classes; arguments as of `IoU`.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    num_classes : int
        How many classes there are.
    ignore_class : int, optional
        A class whose places do not count.
    sparse_y_true : bool
        Whether targets are numbers of classes, not rows of them.
    sparse_y_pred : bool
        Whether predictions are numbers of classes, not rows of probabilities.
    axis : int
        That of the classes.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.MeanIoU(2)([0, 1, 1, 1], [0, 0, 1, 1])), 4)
    0.5833
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        classes = range(int(num_classes))
        super().__init__(num_classes, classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return self._config_of("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")


class OneHotIoU(IoU):
    """The same for one-hot targets, and predictions of each class.

    Targets and predictions have shape (batch, ..., classes).

    Parameters
    ----------
    num_classes : int
        How many classes there are.
    target_class_ids : list of int
        The classes that count.
    ignore_class : int, optional
        A class whose places do not count.
    sparse_y_pred : bool
        Whether predictions are numbers of classes, not rows of probabilities.
    axis : int
        That of the classes.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.OneHotIoU(2, [1])([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.5
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return self._config_of("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` for one-hot targets, and predictions of each class.

    Targets and predictions have shape (batch, ..., classes).

    Parameters
    ----------
    num_classes : int
        How many classes there are.
    ignore_class : int, optional
        A class whose places do not count.
    sparse_y_pred : bool
        Whether predictions are numbers of classes, not rows of probabilities.
    axis : int
        That of the classes.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.OneHotMeanIoU(2)([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.25
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return self._config_of("num_classes", "ignore_class", "sparse_y_pred", "axis")
