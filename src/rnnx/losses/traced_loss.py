"""Losses that are functions, or classes with ``call``: these are traced once; the gradient is that of their graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.graph_cache import GraphCache
from rnnx.layers.input import entry
from rnnx.layers.layer import Gradients, Layer
from rnnx.layers.names import unique_name
from rnnx.layers.ops import reductions
from rnnx.layers.tracing import Traced, Weightless, trace
from rnnx.losses.loss import Loss, Pullback


class TracedLoss:
    """The values of a loss whose class defines ``call(y_true, y_pred)``.

    The targets come in the dtype of the predictions, both as they are; what ``call`` returns may have any shape.

    Parameters
    ----------
    loss : Loss

    Attributes
    ----------
    graphs : GraphCache
        By the shapes and types of targets and predictions.
    """

    def __init__(self, loss: Any):
        self.loss = loss
        self.graphs = GraphCache(loss, type(loss).call)

    def align(self, y_true: Any, y_pred: Array) -> Array:
        """The targets in the dtype of the predictions."""
        return np.asarray(y_true).astype(y_pred.dtype, copy=False)

    def vjp(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        """The values, and what makes the gradient of ``y_pred`` from the gradients of the values."""
        (values,), _, back = self.graph_for(y_true, y_pred).run([y_true, y_pred], [], False, True)

        def pullback(share: Any) -> Array:
            dx = back(np.broadcast_to(np.asarray(share, values.dtype), values.shape)).dx[1]
            found: Array = np.zeros_like(y_pred) if dx is None else dx
            return found

        return values, pullback

    def graph_for(self, y_true: Array, y_pred: Array) -> Traced:
        """The graph of ``call``."""
        key = y_true.shape[1:], y_pred.shape[1:], y_true.ndim, y_pred.ndim, y_true.dtype, y_pred.dtype
        return self.graphs.get_or_trace(key, lambda: self._trace(y_true, y_pred))

    def _trace(self, y_true: Array, y_pred: Array) -> Traced:
        entries = [
            entry(name, (None, *part.shape[1:]) if part.ndim else (), part.dtype)
            for name, part in (("y_true", y_true), ("y_pred", y_pred))
        ]
        name = getattr(self.loss, "name", None) or type(self.loss).__name__
        made = trace(Weightless(name), entries, lambda: self.loss.call(*entries))
        if made.outputs != 1:
            raise TypeError(f"{name}: a loss must return one tensor, got {made.outputs}")
        return made

    def _has_axes(self, y_true: Array, y_pred: Array) -> bool:
        """Whether the values are several numbers, so that a mask can say which of them count."""
        return bool(self.graph_for(y_true, y_pred).output_tensors()[0].shape)

    def weighed(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> tuple[Any, Array, float | None]:
        """The loss, its gradient and its mass; see `Loss.weighed`."""
        loss, mask = self.loss, mask_of(y_pred, mask)
        y, p, restore = loss._prepared(y_true, y_pred)
        y = self.align(y, p)
        if mask is not None and self._has_axes(y, p):  # padding may hold anything
            y, p = (_blank(part, mask) for part in (y, p))
        values, pullback = self.vjp(y, p)
        if values.ndim == 0:  # reduced by itself: a mask comes too late, as in Keras; weights are for all of it
            weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
            share = 1.0 if weights is None else float(weights.sum() if loss.reduction == "sum" else weights.mean())
            slope = restore(pullback(np.asarray(share, p.dtype)))
            whole = values * p.dtype.type(share) if loss.reduction in ("none", None) else float(values) * share
            return whole, slope, None
        weights = loss._weights(values.shape, sample_weight, mask)
        value, gradient, mass = loss.reduced(values, pullback, restore, p, weights, sample_weight, mask)
        return value, gradient, mass


def _blank(part: Array, mask: Any) -> Array:
    mask = np.asarray(mask, bool)
    if part.shape[: mask.ndim] != mask.shape or mask.all():
        return part
    return np.where(mask.reshape(mask.shape + (1,) * (part.ndim - mask.ndim)), part, np.zeros((), part.dtype))


class FunctionLoss(Loss):
    """A function of one's own as a loss, ``function(y_true, y_pred) -> values``; files have its name.

    Parameters
    ----------
    function : callable
        Of symbolic tensors, with operators, `rnnx.ops`, or functions of NumPy.
    reduction, name, dtype : optional
        As of every loss.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> def cubed(y_true, y_pred):
    ...     return ops.mean(ops.abs(y_pred - y_true) ** 3, axis=-1)
    >>> value, slope = FunctionLoss(cubed).value_and_grad(np.zeros((1, 2)), np.array([[2.0, 0.0]]))
    >>> value, slope.tolist()
    (4.0, [[6.0, 0.0]])
    """

    def __init__(
        self,
        function: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name or getattr(function, "__name__", None), reduction, dtype)
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.function(y_true, y_pred)

    def _prepared(self, y_true: Any, y_pred: Any) -> tuple[Array, Array, Callable[[Array], Array]]:
        """Of the same number of axes where one of both has one of size 1 more, as in Keras."""
        y, p, restore = super()._prepared(y_true, y_pred)
        if y.ndim == p.ndim + 1 and y.shape[-1] == 1:
            y = y[..., 0]
        elif p.ndim == y.ndim + 1 and p.shape[-1] == 1:
            if y.ndim != 1:
                return y, p[..., 0], lambda slope: restore(slope[..., None])
            y = y[..., None]
        return y, p, restore

    def get_config(self) -> dict[str, Any]:
        raise TypeError(f"loss {self.name!r} is a function, which a file cannot hold")


class LossValues(Layer):
    """The values of a loss in a graph, of targets and predictions; gradients go to the predictions alone."""

    def __init__(self, loss: Loss, **kwargs: Any):
        super().__init__(**kwargs)
        self.loss = loss
        self.built = True

    def takes_list(self, x: Any) -> bool:
        return True

    def forward(
        self, x: list[Array], *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Any]:
        y_true, p, restore = self.loss._prepared(*x)
        loss = self.loss.computation
        values, back = loss.vjp(loss.align(y_true, p), p)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients([None, restore(back(np.asarray(dy)))] if need_dx else None)

        return values.astype(self.dtype, copy=False), pullback if keep else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = tuple(input_shape[1])
        axes = {axis % len(shape) for axis in self.loss.reduced_axes(len(shape))}
        return tuple([size for axis, size in enumerate(shape) if axis not in axes])

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return None


def symbolic_values(loss: Loss, y_true: Any, y_pred: Any) -> SymbolicTensor:
    """The values of a loss of symbolic tensors."""
    made: SymbolicTensor = LossValues(loss, name=unique_name(type(loss).__name__))([y_true, y_pred])
    return made


def reduced_symbols(loss: Loss, y_true: Any, y_pred: Any, weighted: bool) -> SymbolicTensor:
    """The loss of symbolic tensors, reduced as it says."""
    if weighted:
        raise TypeError(
            f"{type(loss).__name__}: weights and masks are for arrays; of symbolic tensors multiply what the loss with "
            "reduction='none' returns by them"
        )
    values = symbolic_values(loss, y_true, y_pred)
    if loss.reduction in ("none", None):
        return values
    reduced: SymbolicTensor = reductions.sum(values) if loss.reduction == "sum" else reductions.mean(values)
    return reduced
