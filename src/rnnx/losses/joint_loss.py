"""Losses of several outputs together: functions of targets and predictions in lists, tuples and dicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._nested import leaves, packed
from rnnx._typing import Array
from rnnx.layers.input import entry
from rnnx.layers.tracing import Traced, Weightless, trace


class JointLoss:
    """A function of the targets and the predictions of several outputs, traced once; one number for a batch.

    Parameters
    ----------
    loss : FunctionLoss, or a Loss with ``call``
    template : list, tuple or dict
        The form in which the function is given them, with the places of outputs where they are.
    name : str
        In the logs.

    Raises
    ------
    TypeError
        If the loss is for one output.
    """

    def __init__(self, loss: Any, template: Any, name: str):
        if not getattr(loss, "overrides_call", False):
            raise TypeError(
                f"compile: the loss of the outputs {name!r} together must be a function of (y_true, y_pred) or a Loss "
                f"with `call`, got {type(loss).__name__}; give each output a loss of its own"
            )
        self.loss, self.template, self.name = loss, template, name
        self.places: list[int] = leaves(template)
        self._graphs: dict[Any, Traced] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_graphs": {}}

    def weighed(self, targets: list[Any], predictions: list[Array], sample_weight: Any) -> tuple[float, list[Array]]:
        """The loss of a batch, and its gradient for each of the outputs."""
        loss = self.loss
        pairs = zip(targets, predictions, strict=True)
        trues = [_fitting(np.asarray(y), p).astype(p.dtype, copy=False) for y, p in pairs]
        graph = self._graph_for([*trues, *predictions])
        (values,), _, back = graph.run([*trues, *predictions], [], False, True)
        if values.ndim == 0:  # reduced by itself; weights are for all of it
            weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
            share: Any = 1.0 if weights is None else float(weights.sum() if loss.reduction == "sum" else weights.mean())
            total, slope = float(values) * share, np.asarray(share, values.dtype)
        else:
            weights = loss._weights(values.shape, sample_weight, None)
            each = values if weights is None else values * weights
            divisor = 1.0 if loss.reduction == "sum" else float(values.size)
            if loss.reduction == "mean_with_sample_weight" and weights is not None:
                divisor = float(np.sum(sample_weight, dtype=np.float64)) or 1.0
            share = np.ones(values.shape) if weights is None else weights
            total, slope = float(each.sum(dtype=np.float64)) / divisor, (share / divisor).astype(values.dtype)
        found = back(slope).dx[len(trues) :]
        return total, [np.zeros_like(p) if d is None else d for p, d in zip(predictions, found, strict=True)]

    def _graph_for(self, parts: list[Array]) -> Traced:
        key = tuple([(part.shape[1:], part.ndim, part.dtype) for part in parts])
        if key not in self._graphs:
            half = len(parts) // 2
            names = [f"{kind}_{place}" for kind in ("y_true", "y_pred") for place in range(half)]
            entries = [
                entry(name, (None, *part.shape[1:]) if part.ndim else (), part.dtype)
                for name, part in zip(names, parts, strict=True)
            ]
            trues, predictions = (packed(self.template, some) for some in (entries[:half], entries[half:]))
            made = trace(Weightless(self.name), entries, lambda: self.loss.call(trues, predictions))
            if made.outputs != 1:
                raise TypeError(f"{self.name}: a loss must return one tensor, got {made.outputs}")
            self._graphs[key] = made
        return self._graphs[key]


def _fitting(y: Array, y_pred: Array) -> Array:
    """Targets with as many axes as the predictions where one of both has one of size 1 more, as in Keras."""
    if y.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        return y[..., None]
    return y[..., 0] if y.ndim == y_pred.ndim + 1 and y.shape[-1] == 1 else y
