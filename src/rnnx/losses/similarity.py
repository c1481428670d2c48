"""Losses of embeddings: near within a class, far from other classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.losses.loss import Pullback, StandardLoss, checked_between


class Circle(StandardLoss):
    """Circle loss of embeddings of length 1, by the classes of all rows of a batch.

    Targets have shape (batch,), of class numbers, predictions (batch, features).

    Rows without another one of their class, or without one of another class, lose nothing and do not count.

    Parameters
    ----------
    gamma : float
        Scale.
    margin : float
    remove_diagonal : bool
        Whether a row is no neighbour of itself.

    References
    ----------
    .. [1] Y. Sun et al., "Circle loss: a unified perspective of pair similarity optimization", CVPR 2020.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.Circle(gamma=2.0)([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])), 4)
    0.915
    """

    of_numbers = False
    across_rows = True

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        self.gamma = checked_between("Circle", "gamma", gamma, 0)
        self.margin, self.remove_diagonal = float(margin), bool(remove_diagonal)

    def align(self, y_true: Any, y_pred: Array) -> Array:
        labels = np.asarray(y_true)
        if labels.ndim == 2 and labels.shape[-1] == 1:
            labels = labels[..., 0]
        if y_pred.ndim != 2 or labels.shape != y_pred.shape[:1]:
            raise ValueError(
                f"Circle: `y_pred` must be embeddings (batch, width) and `y_true` classes (batch,), got "
                f"{y_pred.shape} and {labels.shape}"
            )
        return labels.astype(np.int64)

    def vjp(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        values, back = self.against(y_true, y_pred, y_true, y_pred)

        def pullback(share: Any) -> Array:
            dp, dreference = back(np.broadcast_to(np.asarray(share, y_pred.dtype), values.shape))
            return dp + dreference

        return values, pullback

    def against(self, labels: Array, rows: Array, reference_labels: Array, reference: Array) -> tuple[Array, Any]:
        """The values of rows against other ones, and the pullback to both."""
        cosine = product(rows, np.ascontiguousarray(reference.T))
        distance = np.maximum(1 - cosine, 0)
        same = labels[:, None] == reference_labels[None, :]
        other = ~same
        if self.remove_diagonal:
            same &= np.arange(len(labels))[:, None] != np.arange(len(reference))
        gamma, margin = (np.asarray(number, rows.dtype) for number in (self.gamma, self.margin))
        near, p = _log_sum(-gamma * np.maximum(margin + distance, 0) * (margin - distance), same)
        pull = np.maximum(1 + margin - distance, 0)
        far, n = _log_sum(gamma * pull * (1 - margin - distance), other)
        total = near + far
        lost = np.isfinite(total)
        finite = np.where(lost, total, 0)
        values = np.where(lost, np.maximum(finite, 0) + np.log1p(np.exp(-np.abs(finite))), 0)

        def back(share: Array) -> tuple[Array, Array]:
            e = np.exp(-np.abs(finite))
            outer = np.where(lost, np.where(finite < 0, e, 1) / (1 + e) * share, 0)[:, None]
            of_near = np.where(margin + distance > 0, 2 * gamma * distance, 0)
            of_far = np.where(pull > 0, -gamma * (2 - 2 * distance), 0)
            dcosine = -np.where(cosine < 1, outer * (p * of_near + n * of_far), 0)
            return product(dcosine, reference), product(np.ascontiguousarray(dcosine.T), rows)

        return values, back

    def counted(self, y_true: Array, values: Array) -> Array | None:
        return values > 0

    def get_config(self) -> dict[str, Any]:
        own = {"gamma": self.gamma, "margin": self.margin, "remove_diagonal": self.remove_diagonal}
        return {**super().get_config(), **own}


def _log_sum(x: Array, chosen: Array) -> tuple[Array, Array]:
    """Logarithm of the sum of the exponentials of the chosen numbers of each row, and the share of each of them."""
    low = np.where(chosen, x, -np.inf)
    top = low.max(axis=1, keepdims=True, initial=-np.inf)
    e = np.where(chosen, np.exp(np.where(chosen, x - np.where(np.isfinite(top), top, 0), 0)), 0)
    total = e.sum(axis=1, keepdims=True)
    empty = total == 0
    with np.errstate(divide="ignore"):
        found = np.where(empty, -np.inf, top + np.log(total))
    return found[:, 0], e / np.where(empty, 1, total)
