"""Connectionist temporal classification: labels without the steps at which they stand."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._ctc import counted, ctc
from rnnx.layers.carried import mask_of
from rnnx.losses.loss import Pullback, StandardLoss

BLANK = 0


class CTC(StandardLoss):
    """Minus the logarithm of the probability of a label sequence, over all ways to spread it over the steps.

    ``y_pred`` are logits of shape (batch, timesteps, classes), where class 0 is the blank; ``y_true`` are labels of
    shape (batch, length), with 0 behind the last one. A time mask of shape (batch, timesteps) says which steps count.
    Labels that do not fit into the steps lose infinitely much, and have no gradient.

    References
    ----------
    .. [1] A. Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with recurrent
       neural networks", ICML 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import losses
    >>> logits = np.zeros((1, 2, 3))  # of 9 paths with the same probability, 3 say the label 1: 11, 01 and 10
    >>> round(losses.CTC()([[1]], logits), 6), round(float(np.log(9 / 3)), 6)
    (1.098612, 1.098612)
    """

    of_numbers = False

    def reduced_axes(self, ndim: int) -> tuple[int, ...]:
        if ndim != 3:
            raise ValueError(f"CTC: `y_pred` must be logits of shape (batch, timesteps, classes), got {ndim} axes")
        return (1, 2)

    def weighed(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> tuple[Any, Array, float | None]:
        mask = mask_of(y_pred, mask)
        if mask is not None and np.ndim(mask) == 2 and np.ndim(y_pred) == 3 and not self.overrides_call:
            steps = np.asarray(mask, bool)
            if steps.shape != np.shape(y_pred)[:2]:
                raise ValueError(
                    f"CTC: `mask` must be one of steps, of shape {np.shape(y_pred)[:2]}, or of rows, got {steps.shape}"
                )
            y_pred = counted(np.asarray(y_pred), steps, BLANK)
            mask = steps.any(axis=1)
        return super().weighed(y_true, y_pred, sample_weight, mask)

    def align(self, y_true: Any, y_pred: Array) -> Array:
        y = np.asarray(y_true)
        if y.ndim != 2 or len(y) != len(y_pred):
            raise ValueError(f"CTC: `y_true` must be labels of shape ({len(y_pred)}, length), got {y.shape}")
        if not np.array_equal(y, np.trunc(y)):
            raise ValueError(f"CTC: `y_true` must be whole numbers, got {y.dtype}")
        y = y.astype(np.int64)
        most = y_pred.shape[2] - 1
        if y.size and (y.min() < 0 or y.max() > most):
            bad = int(y.min()) if y.min() < 0 else int(y.max())
            raise ValueError(f"CTC: labels must lie in 1..{most}, with 0 behind the last one, got {bad}")
        if (np.diff((y != BLANK).astype(np.int8), axis=1) > 0).any():
            raise ValueError("CTC: `y_true` must have its labels in front and 0 behind them, got a 0 between or before")
        return y

    def vjp(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        if not y_pred.shape[1]:
            raise ValueError("CTC: `y_pred` must have at least one step, got 0")
        return ctc(y_true, (y_true != BLANK).sum(axis=1), y_pred, BLANK)
