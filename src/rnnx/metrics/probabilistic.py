"""Cross-entropies and divergences, and what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import losses
from rnnx.layers.carried import mask_of
from rnnx.metrics.reduction import LossMetric, OfLoss


class KLDivergence(OfLoss):
    """Kullback-Leibler divergence of distributions over the last axis.

    Targets and predictions have shape (batch, ..., classes).

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.KLDivergence()([[0.5, 0.5]], [[0.2, 0.8]])), 4)
    0.2231
    """

    of = "kl_divergence"


class Poisson(OfLoss):
    """Poisson loss of counts.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Poisson()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    -0.331
    """

    of = "poisson"


class BinaryCrossentropy(LossMetric):
    """Binary cross-entropy.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits.
    label_smoothing : float
        Share of the targets, in [0, 1], that is spread over all classes.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.BinaryCrossentropy()([[1.0, 0.0]], [[0.8, 0.4]])), 4)
    0.367
    """

    def __init__(
        self, name: str | None = None, dtype: Any = None, from_logits: bool = False, label_smoothing: float = 0.0
    ):
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["axis"]
        return config


class CategoricalCrossentropy(LossMetric):
    """Cross-entropy with a distribution over the axis.

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
    >>> from rnnx import metrics
    >>> round(float(metrics.CategoricalCrossentropy()([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.5697
    """

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ):
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing, axis), name, dtype)


class SparseCategoricalCrossentropy(LossMetric):
    """Cross-entropy with integer classes.

    Targets have shape (batch, ...), of class numbers, predictions (batch, ..., classes).

    Targets of ``ignore_class`` count with 0, as in Keras; where there are sample weights, they do not count.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits.
    ignore_class : int, optional
        A class whose places do not count.
    axis : int
        That of the classes.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.SparseCategoricalCrossentropy()([1], [[0.2, 0.8]])), 4)
    0.2231
    """

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis), name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        if self.loss.ignore_class is not None and sample_weight is not None:
            y_true = np.asarray(y_true)
            classes = y_true[..., 0] if y_true.ndim == np.ndim(y_pred) and y_true.shape[-1] == 1 else y_true
            counted = classes != self.loss.ignore_class
            mask = counted if mask is None else counted & np.asarray(mask, bool)
        super().update_state(y_true, y_pred, sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.loss.axis}


class Perplexity(LossMetric):
    """Exponential of the mean cross-entropy with integer classes.

    Targets have shape (batch, ...), of class numbers, predictions (batch, ..., classes).

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Perplexity()([1], [[0.2, 0.8]])), 4)
    1.25
    """

    def __init__(self, from_logits: bool = False, name: str | None = None, dtype: Any = None):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name or "perplexity", dtype)

    def result(self) -> float:
        return float(np.exp(super().result()))

    def get_config(self) -> dict[str, Any]:
        return {"from_logits": self.loss.from_logits, "name": self.name, "dtype": self.dtype.name}
