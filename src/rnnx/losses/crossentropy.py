"""Cross-entropies, from probabilities and from logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.losses.loss import EPSILON, StandardLoss, checked_axis, checked_between


class Crossentropy(StandardLoss):
    """What the cross-entropies share.

    Parameters
    ----------
    from_logits : bool
        Whether predictions come before the sigmoid or softmax.
    label_smoothing : float
        Moves targets towards their mean.
    axis : int
        Where the classes stand.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        who = type(self).__name__
        self.axis = self.vector_axis = checked_axis(who, axis)
        self.label_smoothing = checked_between(who, "label_smoothing", label_smoothing, 0, 1)
        self.from_logits = bool(from_logits)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"axis": -1, **state})  # of 0.1.0 there was none

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}
        return {**config, "axis": self.axis}

    def _smooth(self, y_true: Array, classes: int) -> Array:
        """Targets nearer to the same share for each of some classes."""
        if not self.label_smoothing:
            return y_true
        smooth = y_true * (1 - self.label_smoothing) + self.label_smoothing / classes
        return smooth.astype(y_true.dtype, copy=False)


class BinaryCrossentropy(Crossentropy):
    """Cross-entropy of independent yes/no targets; mean over the axis.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits.
    label_smoothing : float
        Share of the targets, in [0, 1], that is spread over all classes.
    axis : int
        The axis over which the mean is taken.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.BinaryCrossentropy()([[1.0, 0.0]], [[0.8, 0.4]])), 4)
    0.367
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = self._smooth(y_true, 2)
        width = np.asarray(y_pred.shape[-1], y_pred.dtype)
        if self.from_logits:
            e = np.exp(-np.abs(y_pred))
            loss = np.maximum(y_pred, 0) - y_pred * t + np.log1p(e)
            return loss.mean(axis=-1), (np.where(y_pred < 0, e, 1) / (1 + e) - t) / width
        p, inside = _clipped(y_pred)
        loss = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        return loss.mean(axis=-1), np.where(inside, (p - t) / (p * (1 - p)), 0) / width


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy with a distribution (one-hot or soft) over the axis.

    Targets and predictions have shape (batch, ..., classes).

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits.
    label_smoothing : float
        Share of the targets, in [0, 1], that is spread over all classes.
    axis : int
        That of the classes.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.CategoricalCrossentropy()([[0.0, 1.0]], [[0.2, 0.8]])), 4)
    0.2231
    """

    of_classes = True
    of_numbers = False

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = self._smooth(y_true, y_true.shape[-1])
        log_p, back = _log_probabilities(y_pred, self.from_logits)
        return -(t * log_p).sum(axis=-1), back(-t)


class SparseCategoricalCrossentropy(Crossentropy):
    """Cross-entropy with integer classes.

    Targets have shape (batch, ...), of class numbers, predictions (batch, ..., classes).

    Parameters
    ----------
    from_logits : bool
    ignore_class : int, optional
        Targets of this class do not count; a mean is one over the others.
    axis : int
        Where the classes stand.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.SparseCategoricalCrossentropy()([1], [[0.2, 0.8]])), 4)
    0.2231
    """

    of_numbers = False

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, 0.0, axis, reduction, name, dtype)
        self.ignore_class = ignore_class

    def align(self, y_true: Any, y_pred: Array) -> Array:
        return classes_of("SparseCategoricalCrossentropy", y_true, y_pred, self.ignore_class)

    def counted(self, y_true: Array, values: Array) -> Array | None:
        return None if self.ignore_class is None else y_true != self.ignore_class

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        ignored = None if self.ignore_class is None else y_true == self.ignore_class
        index = (y_true if ignored is None else np.where(ignored, 0, y_true))[..., None]
        loss, slope = (_of_class_from_logits if self.from_logits else _of_class)(y_pred, index)
        if ignored is not None:
            loss, slope = np.where(ignored, 0, loss), np.where(ignored[..., None], 0, slope)
        return loss, slope

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["label_smoothing"]
        if self.axis == -1:
            del config["axis"]  # Keras never writes it
        return {**config, "ignore_class": self.ignore_class}


class BinaryFocalCrossentropy(Crossentropy):
    """Binary cross-entropy that counts less where the prediction is right anyway; mean over the axis.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Each term is multiplied by ``(1 - p) ** gamma``, where p is what is predicted for the target.

    Parameters
    ----------
    apply_class_balancing : bool
        Whether targets of 1 weigh ``alpha``, and those of 0 ``1 - alpha``.
    alpha, gamma : float
    from_logits : bool
        Whether the predictions are logits.
    label_smoothing : float
        Share of the targets, in [0, 1], that is spread over all classes.
    axis : int
        The axis over which the mean is taken.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.BinaryFocalCrossentropy(gamma=1.0)([[1.0, 0.0]], [[0.8, 0.4]])), 4)
    0.1245
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = bool(apply_class_balancing)
        self.alpha, self.gamma = float(alpha), checked_between(type(self).__name__, "gamma", gamma, 0)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t, q = self._smooth(y_true, 2), activations.get("sigmoid")(y_pred) if self.from_logits else y_pred
        p, inside = _clipped(q)
        entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        slope = np.where(inside, (p - t) / (p * (1 - p)), 0)
        factor, of_factor = _focus(t * q + (1 - t) * (1 - q), self.gamma)
        slope = factor * slope + of_factor * (2 * t - 1) * entropy
        loss = factor * entropy
        if self.apply_class_balancing:
            share = (t * self.alpha + (1 - t) * (1 - self.alpha)).astype(y_pred.dtype, copy=False)
            loss, slope = share * loss, share * slope
        if self.from_logits:
            slope = slope * q * (1 - q)
        return loss.mean(axis=-1), slope / np.asarray(y_pred.shape[-1], y_pred.dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"apply_class_balancing": self.apply_class_balancing, "alpha": self.alpha, "gamma": self.gamma}
        return {**super().get_config(), **own}


class CategoricalFocalCrossentropy(Crossentropy):
    """Cross-entropy with a distribution over the axis that counts less where the prediction is right anyway.

    Targets and predictions have shape (batch, ..., classes).

    Each term is multiplied by ``alpha * (1 - p) ** gamma``.

    Parameters
    ----------
    alpha : float, or list with a float for each class
    gamma : float
    from_logits : bool
        Whether the predictions are logits.
    label_smoothing : float
        Share of the targets, in [0, 1], that is spread over all classes.
    axis : int
        That of the classes.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.CategoricalFocalCrossentropy(gamma=1.0)([[0.0, 1.0]], [[0.2, 0.8]])), 4)
    0.0112
    """

    of_classes = True
    of_numbers = False

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = float(alpha) if np.ndim(alpha) == 0 else [float(share) for share in alpha]
        self.gamma = checked_between(type(self).__name__, "gamma", gamma, 0)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = self._smooth(y_true, y_true.shape[-1])
        p, inside, back = _probabilities(y_pred, self.from_logits)
        factor, of_factor = _focus(p, self.gamma)
        share = np.asarray(self.alpha, y_pred.dtype) * t
        log_p = np.log(p)
        dp = -share * (factor / p + of_factor * log_p)
        return -(share * factor * log_p).sum(axis=-1), back(np.where(inside, dp, 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


class CategoricalGeneralizedCrossEntropy(StandardLoss):
    """``(1 - p ** q) / q`` of the probability p of the class, for targets that may be wrong.

    Targets have shape (batch, ...), of class numbers, predictions (batch, ..., classes).

    It lies between cross-entropy (q = 0) and mean absolute error (q = 1); targets are integer classes.

    Parameters
    ----------
    q : float
        Between 0 and 1.

    References
    ----------
    .. [1] Z. Zhang, M. Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels",
       NeurIPS 2018.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.CategoricalGeneralizedCrossEntropy(q=0.5)([1], [[0.2, 0.8]])), 4)
    0.2111
    """

    of_numbers = False

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        if not 0 < q < 1:
            raise ValueError(f"CategoricalGeneralizedCrossEntropy: `q` must lie between 0 and 1, got {q}")
        self.q = float(q)

    def align(self, y_true: Any, y_pred: Array) -> Array:
        return classes_of("CategoricalGeneralizedCrossEntropy", y_true, y_pred)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        p = np.take_along_axis(y_pred, y_true[..., None], axis=-1)
        slope = np.zeros_like(y_pred)
        low = np.asarray(EPSILON, p.dtype)  # the slope at 0 is infinite
        np.put_along_axis(slope, y_true[..., None], -(np.maximum(p, low) ** (self.q - 1)), axis=-1)
        return ((1 - p**self.q) / self.q)[..., 0].astype(p.dtype, copy=False), slope

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "q": self.q}


def classes_of(who: str, y_true: Any, y_pred: Array, ignored: int | None = None) -> Array:
    """Targets as integer classes of predictions with the classes along the last axis.

    Raises
    ------
    ValueError, TypeError
        If they are none; one class may be ignored, whatever its number.
    """
    y = np.asarray(y_true)
    if y.ndim == y_pred.ndim and y.shape[-1] == 1:
        y = y[..., 0]
    if y.shape != y_pred.shape[:-1]:
        raise ValueError(f"{who}: `y_true` must be classes of shape {y_pred.shape[:-1]}, got {y.shape}")
    if y.dtype.kind not in "fiub":
        raise TypeError(
            f"{who}: `y_true` must be the numbers of classes, got dtype {y.dtype}; "
            "np.unique(y, return_inverse=True)[1] gives them"
        )
    if y.dtype.kind not in "iub" and not np.array_equal(y, np.trunc(y)):
        raise ValueError(f"{who}: `y_true` must be whole numbers, got {y.dtype}")
    y = y.astype(np.int64)
    counted = y if ignored is None else y[y != ignored]
    if counted.size and (counted.min() < 0 or counted.max() >= y_pred.shape[-1]):
        bad = int(counted.min()) if counted.min() < 0 else int(counted.max())
        raise ValueError(f"{who}: classes must lie in 0..{y_pred.shape[-1] - 1}, got {bad}")
    return y


def _focus(p: Array, gamma: float) -> tuple[Array, Array]:
    """``(1 - p) ** gamma`` and its slope."""
    rest = 1 - p
    if not gamma:
        return np.ones_like(p), np.zeros_like(p)
    base = np.where(rest > 0, rest, 1) if gamma < 1 else rest  # a slope at 0 that is infinite counts as 0
    of_factor = np.where(rest > 0, -gamma * base ** (gamma - 1), 0) if gamma < 1 else -gamma * base ** (gamma - 1)
    return (rest**gamma).astype(p.dtype, copy=False), of_factor.astype(p.dtype, copy=False)


def _clipped(p: Array) -> tuple[Array, Array]:
    """Probabilities kept away from 0 and 1, and where they were inside anyway."""
    low, high = np.asarray(EPSILON, p.dtype), np.asarray(1 - EPSILON, p.dtype)
    return np.clip(p, low, high), (p >= low) & (p <= high)


def _probabilities(y_pred: Array, from_logits: bool) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Normalised probabilities away from 0 and 1, where they were inside anyway, and the pullback of those."""
    if from_logits:
        shifted = np.exp(y_pred - y_pred.max(axis=-1, keepdims=True))
        q = shifted / shifted.sum(axis=-1, keepdims=True)
        return *_clipped(q), lambda dq: q * (dq - (dq * q).sum(axis=-1, keepdims=True))
    total = y_pred.sum(axis=-1, keepdims=True)
    q = y_pred / total
    return *_clipped(q), lambda dq: (dq - (dq * q).sum(axis=-1, keepdims=True)) / total


def _log_probabilities(y_pred: Array, from_logits: bool) -> tuple[Array, Callable[[Array], Array]]:
    """Logarithms of the (normalised) probabilities, and their pullback."""
    if from_logits:
        shifted = y_pred - y_pred.max(axis=-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return log_p, lambda d: d - np.exp(log_p) * d.sum(axis=-1, keepdims=True)
    p, inside, back = _probabilities(y_pred, False)
    return np.log(p), lambda d: back(np.where(inside, d / p, 0))


def _of_class_from_logits(y_pred: Array, index: Array) -> tuple[Array, Array]:
    """Cross-entropy with the class ``index`` of each row, and its slope, without a one-hot row."""
    shifted = y_pred - y_pred.max(axis=-1, keepdims=True)
    of_class = np.take_along_axis(shifted, index, axis=-1)
    slope = np.exp(shifted, out=shifted)
    total = slope.sum(axis=-1, keepdims=True)
    slope /= total
    np.put_along_axis(slope, index, np.take_along_axis(slope, index, axis=-1) - 1, axis=-1)
    return (np.log(total) - of_class)[..., 0], slope


def _of_class(y_pred: Array, index: Array) -> tuple[Array, Array]:
    """The same for probabilities, which are normalised first."""
    total = y_pred.sum(axis=-1, keepdims=True)
    q = np.take_along_axis(y_pred, index, axis=-1) / total
    p, inside = _clipped(q)
    dq = np.where(inside, -1 / p, 0)
    slope = np.empty_like(y_pred)
    slope[...] = -dq * q / total
    np.put_along_axis(slope, index, (dq - dq * q) / total, axis=-1)
    return -np.log(p)[..., 0], slope
