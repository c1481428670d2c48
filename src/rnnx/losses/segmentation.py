"""Losses of how much two regions overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import EPSILON, Pullback, StandardLoss


class Overlap(StandardLoss):
    """What `Dice` and `Tversky` share: one value for everything that stands along the axes that are summed over.

    Parameters
    ----------
    axis : int or tuple of int, optional
        All axes if not given, so that the whole batch has one value.
    """

    of_numbers = False

    def __init__(self, reduction: str | None, name: str | None, axis: Any, dtype: Any):
        super().__init__(reduction, name, dtype)
        self.axis = None if axis is None else int(axis) if np.ndim(axis) == 0 else tuple(int(one) for one in axis)

    def reduced_axes(self, ndim: int) -> tuple[int, ...]:
        if self.axis is None:
            return tuple(range(ndim))
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        if any(not -ndim <= axis < ndim for axis in axes):
            raise ValueError(f"{type(self).__name__}: `axis` must lie in [-{ndim}, {ndim}), got {self.axis}")
        return tuple(axis % ndim for axis in axes)

    def get_config(self) -> dict[str, Any]:
        axis = list(self.axis) if isinstance(self.axis, tuple) else self.axis
        return {**super().get_config(), "axis": axis}

    def _sum_over(self, y_pred: Array) -> Callable[[Array], Array]:
        axes = self.reduced_axes(y_pred.ndim)
        return lambda part: part.sum(axis=axes, keepdims=True)

    def _ratio(self, above: Array, below: Array, dabove: Array, dbelow: Any) -> tuple[Array, Array]:
        """One minus a ratio, and its slope."""
        ratio = above / below
        return np.squeeze(1 - ratio, self.reduced_axes(above.ndim)), (ratio * dbelow - dabove) / below

    def mixes_rows(self, ndim: int) -> bool:
        """Whether what is summed over are rows too, also those that weigh nothing."""
        return 0 in self.reduced_axes(ndim)

    def _weights(self, shape: tuple[int, ...], sample_weight: Any, mask: Any) -> Array | None:
        """Weights and masks of rows or steps count for the one value of a whole batch too: as if each had it."""
        if shape == ():
            shape = max(np.shape(sample_weight), () if mask is None else np.shape(mask), key=len)
        return super()._weights(shape, sample_weight, mask)

    def reduced(
        self,
        values: Array,
        pullback: Pullback,
        restore: Callable[[Array], Array],
        p: Array,
        weights: Array | None,
        sample_weight: Any,
        mask: Any,
    ) -> tuple[Any, Array, float | None]:
        if values.ndim == 0 and weights is not None and weights.ndim == 0:  # one number, of which there is no mean
            return float(values * weights), restore(pullback(weights.astype(p.dtype))), None
        if weights is None or values.shape == weights.shape:
            return super().reduced(values, pullback, restore, p, weights, sample_weight, mask)
        each = np.broadcast_to(values, weights.shape)
        return super().reduced(each, lambda d: pullback(d.sum()), restore, p, weights, sample_weight, mask)


class Dice(Overlap):
    """One minus twice the intersection of targets and predictions over the sum of both.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    axis : int or tuple of int, optional
        Axes that are summed over; all if not given.

    References
    ----------
    .. [1] F. Milletari et al., "V-Net: fully convolutional neural networks for volumetric medical image
       segmentation", 3DV 2016.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.Dice()([[1.0, 0.0]], [[0.8, 0.4]])), 4)
    0.2727
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Any = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, axis, dtype)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        over = self._sum_over(y_pred)
        below = over(y_true) + over(y_pred) + np.asarray(EPSILON, y_pred.dtype)
        return self._ratio(2 * over(y_true * y_pred), below, 2 * y_true, 1)


class Tversky(Overlap):
    """One minus the intersection over itself, ``alpha`` times what is missed and ``beta`` times what is too much.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    alpha, beta : float
    axis : int or tuple of int, optional
        Axes that are summed over; all if not given.

    References
    ----------
    .. [1] S. Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks",
       MLMI 2017.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.Tversky(alpha=0.3, beta=0.7)([[1.0, 0.0]], [[0.8, 0.4]])), 4)
    0.2982
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Any = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, axis, dtype)
        self.alpha, self.beta = float(alpha), float(beta)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        over, t = self._sum_over(y_pred), y_true
        both, missed, extra = over(t * y_pred), over((1 - y_pred) * t), over(y_pred * (1 - t))
        below = both + self.alpha * missed + self.beta * extra + np.asarray(EPSILON, y_pred.dtype)
        return self._ratio(both, below, t, t - self.alpha * t + self.beta * (1 - t))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}
