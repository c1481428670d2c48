"""The base of all losses: targets that fit, weights, masks and reductions around the values of a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._config import Configurable, accepted, on_demand
from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.layers.graph import is_symbolic
from rnnx.layers.names import snake_case

EPSILON = 1e-7
REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)
DTYPES = ("float16", "float32", "float64")
Pullback = Callable[[Any], Array]


class Loss(Configurable, family=True):
    """Base of the losses: one value for each vector along the last axis, then a reduction.

    One of one's own implements ``values(y_true, y_pred)``, or `vjp` if a value depends on more than its own vector.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None}
        The first two divide the weighted sum by the number of values, the third by the sum of the weights.
    dtype : {"float16", "float32", "float64"}, optional
        What it is computed in; that of the predictions if not given.

    Attributes
    ----------
    vector_axis : int
        The axis of the predictions along which a vector stands.
    of_numbers : bool
        Whether the value of a vector is the mean of those of its numbers, so that a number alone has one too.
    of_classes : bool
        Whether a vector of targets says which class it is, so that classes are a mistake that is easily made.
    """

    vector_axis: int = -1
    of_numbers: bool = True
    of_classes: bool = False
    default_name: str = "loss"
    dtype: str | None = None
    reduction: str | None
    name: str
    across_rows = False  # whether the value of a row depends on other ones, also on those that weigh nothing
    overrides_call = False  # whether the class has `call` of its own, which is traced: see `rnnx.losses.traced_loss`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "default_name" not in vars(cls):
            cls.default_name = snake_case(cls.__name__)
        if "call" in vars(cls) and not {"values", "vjp"} & vars(cls).keys():
            cls.overrides_call, cls.of_numbers = True, False

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        if name is not None and name in REDUCTIONS:  # the order of rnnx 0.1.0: reduction, name
            name, reduction = None if reduction in REDUCTIONS else reduction, name
        who = type(self).__name__
        if reduction not in REDUCTIONS:
            raise ValueError(f"{who}: `reduction` must be one of {REDUCTIONS}, got {reduction!r}")
        if dtype is not None:
            dtype = getattr(dtype, "compute_dtype", None) or getattr(dtype, "name", dtype)
            if dtype not in DTYPES:
                raise ValueError(f"{who}: `dtype` must be one of {DTYPES} or None, got {dtype!r}")
        vars(self).update(dtype=dtype, reduction=reduction, name=name or self.default_name)

    @property
    def computation(self) -> Any:
        """What computes the values: this loss, or what has the graphs of its ``call``."""
        if not self.overrides_call:
            return self
        found = vars(self).get("_computation")
        return vars(self).setdefault("_computation", on_demand("TracedLoss")(self)) if found is None else found

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what can be made again."""
        return {name: value for name, value in vars(self).items() if name != "_computation"}

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Loss of each vector along the last axis of ``y_pred``, and its slope, shaped as ``y_pred``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its values are")

    def vjp(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        """The values, and what makes the gradient of ``y_pred`` from the gradients of the values (or one for all).

        Targets fit the predictions; vectors stand along the last axis.
        """
        if self.overrides_call:
            traced, back = self.computation.vjp(y_true, y_pred)
            return traced, back
        values, slope = self.values(y_true, y_pred)
        axes = self.reduced_axes(y_pred.ndim)

        def pullback(share: Any) -> Array:
            share = np.asarray(share)
            if share.ndim:
                share = np.expand_dims(share, axes)
                found = np.where(share != 0, slope, 0)  # where nothing counts there may be anything, NaN included
            else:
                found = slope
            return (found * share).astype(y_pred.dtype, copy=False)

        return values, pullback

    def reduced_axes(self, ndim: int) -> tuple[int, ...]:
        """The axes of predictions with so many axes that the values have not."""
        return (ndim - 1,)

    def align(self, y_true: Any, y_pred: Array) -> Array:
        """The targets as an array that fits the predictions.

        Raises
        ------
        ValueError
            If it cannot be made to fit.
        """
        y = np.asarray(y_true)
        if self.overrides_call:
            return y.astype(y_pred.dtype, copy=False)
        if y.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
            y = y[..., None]
        elif y.ndim == y_pred.ndim + 1 and y.shape[-1] == 1:
            y = y[..., 0]
        if y.shape != y_pred.shape:
            classes = y.shape in (y_pred.shape[:-1], (*y_pred.shape[:-1], 1)) and y_pred.shape[-1] > 1
            hint = "; classes need a sparse loss or utils.to_categorical(y)" if classes and self.of_classes else ""
            raise ValueError(
                f"{type(self).__name__}: `y_true` must have the shape of `y_pred` {y_pred.shape}, got {y.shape}{hint}"
            )
        return y.astype(y_pred.dtype, copy=False)

    def counted(self, y_true: Array, values: Array) -> Array | None:
        """Which values count by their (aligned) targets or by themselves, a bool array; None if all do."""
        return None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> Any:
        """The loss.

        Parameters
        ----------
        y_true, y_pred : arrays
        sample_weight : array, optional
            Of the shape of the values, or with fewer axes (one weight for each sample); where a value is a mean over
            numbers, of their shape too: a weight for each number.
        mask : bool array, optional
            Values that count; predictions and targets of the others may be anything, NaN included. If it is not given,
            the mask on the predictions of a layer.

        Returns
        -------
        float, or the array of values with reduction "none"; of symbolic tensors a symbolic tensor
        """
        if is_symbolic(y_pred):
            weighted = sample_weight is not None or mask is not None
            return on_demand("reduced_symbols")(self, y_true, y_pred, weighted)
        return self.weighed(y_true, y_pred, sample_weight, mask)[0]

    def value_and_grad(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> tuple[Any, Array]:
        """The loss and its gradient with respect to ``y_pred``; see `__call__`."""
        return self.weighed(y_true, y_pred, sample_weight, mask)[:2]

    def weighed(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> tuple[Any, Array, float | None]:
        """The loss, its gradient, and what it is a mean over; see `__call__`.

        Returns
        -------
        value, gradient
            As of `value_and_grad`.
        mass : float or None
            Number or weight of the values that count: the loss of parts of a batch together is the mean of theirs by
            their masses, with ``reduction="sum"`` their sum. None if it does not follow from those of the parts.
        """
        if self.overrides_call:
            value, gradient, mass = self.computation.weighed(y_true, y_pred, sample_weight, mask)
            return value, gradient, mass
        mask = mask_of(y_pred, mask)
        y_true, p, restore = self._prepared(y_true, y_pred)
        if sample_weight is not None and self.of_numbers and 1 != p.shape[-1] and np.shape(sample_weight) == p.shape:
            y_true, p, restore = self._apart(y_true, p, restore)
        shape = self._values_shape(p)
        weights = self._weights(shape, sample_weight, mask)
        if weights is not None and not self.mixes_rows(p.ndim):
            y_true = blank(y_true, weights != 0)
        targets = self.align(y_true, p)
        values, pullback = self.vjp(targets, p)
        counted = self.counted(targets, values)
        if counted is not None:
            mask = counted if mask is None else counted & self._broadcast("mask", np.asarray(mask, bool), shape)
            weights = self._weights(shape, sample_weight, mask)
        return self.reduced(values, pullback, restore, p, weights, sample_weight, mask)

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
        """The loss of some values, its gradient and its mass, with a weight for each value (None: all the same)."""
        if weights is None:
            share: Any = np.ones((), np.float64)
            total, mass = float(values.sum(dtype=np.float64)), float(values.size)
        else:
            values = np.where(weights != 0, values, 0) * weights
            share, total = weights, float(values.sum(dtype=np.float64))
            mass = _mass(sample_weight, mask)
        if self.reduction in ("none", None):
            return values.astype(p.dtype), restore(pullback(share.astype(p.dtype))), None
        divisor = 1.0
        if self.reduction != "sum":
            divisor = mass or 1.0 if self.reduction == "mean_with_sample_weight" else max(1.0, float(values.size))
        counts: float | None = mass if self.reduction == "mean_with_sample_weight" else float(values.size)
        if mask is not None and self.reduction != "sum":
            number = int(self._broadcast("mask", np.asarray(mask, bool), values.shape).sum())
            counts = mass if self.reduction == "mean_with_sample_weight" else number
        if not self._by_rows(values, p):
            counts = None
        return total / divisor, restore(pullback(np.asarray(share / divisor, p.dtype))), counts

    def mixes_rows(self, ndim: int) -> bool:
        """As `across_rows` says, of predictions with so many axes."""
        return self.across_rows

    def _by_rows(self, values: Array, y_pred: Array) -> bool:
        """Whether each value is of one row, so that the loss of a batch follows from those of its parts."""
        ndim = y_pred.ndim
        if self.mixes_rows(ndim) or values.shape[:1] != y_pred.shape[:1]:
            return False
        return self.overrides_call or not (0 in self.reduced_axes(ndim) or self.vector_axis % ndim == 0 < ndim - 1)

    def each(self, y_true: Any, y_pred: Any) -> Array:
        """The values without a reduction, weights and masks: one for each vector."""
        y_true, p, _ = self._prepared(y_true, y_pred)
        found: Array = self.computation.vjp(self.computation.align(y_true, p), p)[0]
        return found

    def _prepared(self, y_true: Any, y_pred: Any) -> tuple[Array, Array, Callable[[Array], Array]]:
        """Targets and predictions as real numbers with the vectors along the last axis, and the way back."""
        who = type(self).__name__
        y, p = np.asarray(y_true), np.asarray(y_pred)
        for name, given in (("y_true", y), ("y_pred", p)):
            if given.dtype.kind not in "fiub":
                raise TypeError(f"{who}: `{name}` must be real numbers, got dtype {given.dtype}")
        if p.ndim == 0:
            raise ValueError(f"{who}: `y_pred` must have at least one axis")
        given_dtype = p.dtype if p.dtype.kind == "f" else np.dtype(np.float32)
        p = p.astype(self.dtype or given_dtype, copy=False)
        axis = self.vector_axis
        if p.ndim == 1 and self.of_numbers:
            return y[..., None], p[:, None], lambda slope: slope[:, 0].astype(given_dtype, copy=False)
        if not -p.ndim <= axis < p.ndim:
            raise ValueError(f"{who}: `axis` must lie in [-{p.ndim}, {p.ndim}) for these predictions, got {axis}")
        if axis % p.ndim == p.ndim - 1:
            return y, p, lambda slope: slope.astype(given_dtype, copy=False)
        y = np.moveaxis(y, axis, -1) if y.ndim == p.ndim else y
        return y, np.moveaxis(p, axis, -1), lambda slope: np.moveaxis(slope, -1, axis).astype(given_dtype, copy=False)

    def _apart(self, y_true: Array, y_pred: Array, restore: Any) -> tuple[Array, Array, Any]:
        """Every number as a vector of its own, for weights of the predictions' shape."""
        if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
            y_true = y_true[..., 0]
        return y_true[..., None], y_pred[..., None], lambda slope: restore(slope[..., 0])

    def _values_shape(self, y_pred: Array) -> tuple[int, ...]:
        away = self.reduced_axes(y_pred.ndim)
        return tuple(size for axis, size in enumerate(y_pred.shape) if axis not in away)

    def _weights(self, shape: tuple[int, ...], sample_weight: Any, mask: Any) -> Array | None:
        """One weight for each value; a mask scales the others up so that a mean is one over what counts."""
        weights: Array | None = None
        if sample_weight is not None:
            weights = self._broadcast("sample_weight", np.asarray(sample_weight, np.float64), shape)
        if mask is not None:
            valid = self._broadcast("mask", np.asarray(mask, bool), shape)
            scale = valid.size / max(1, int(valid.sum())) if self.reduction in ("sum_over_batch_size", "mean") else 1.0
            weights = np.where(valid, scale if weights is None else weights * scale, 0.0)
        return weights

    def _broadcast(self, name: str, given: Array, shape: tuple[int, ...]) -> Array:
        if given.ndim == len(shape) + 1 and given.shape[-1] == 1:
            given = given[..., 0]
        if given.ndim > len(shape) or any(got not in (1, want) for got, want in zip(given.shape, shape, strict=False)):
            raise ValueError(f"{type(self).__name__}: `{name}` must fit values of shape {shape}, got {given.shape}")
        return np.broadcast_to(given.reshape(given.shape + (1,) * (len(shape) - given.ndim)), shape)

    def get_config(self) -> dict[str, Any]:
        config = {"name": self.name or self.default_name, "reduction": self.reduction}
        if self.dtype is not None:
            config["dtype"] = self.dtype
        return accepted(type(self), config)


def _mass(sample_weight: Any, mask: Any) -> float:
    """The sum of the weights that count, as they are given: not broadcast to the values."""
    if mask is None:
        return float(np.sum(sample_weight, dtype=np.float64))
    counted = np.asarray(mask, np.float64)
    if sample_weight is None:
        return float(counted.sum())
    given = np.asarray(sample_weight, np.float64)
    axes = max(given.ndim, counted.ndim)
    given, counted = (part.reshape(part.shape + (1,) * (axes - part.ndim)) for part in (given, counted))
    return float((given * counted).sum())


class StandardLoss(Loss):
    """Base of the losses that Keras has: ``reduction`` comes before ``name``, as theirs does."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None):
        super().__init__(name, reduction, dtype)


def blank(y_true: Array, counted: Array) -> Array:
    """Targets with zeros where they do not count, so that padding may hold anything."""
    if y_true.shape[: counted.ndim] != counted.shape or counted.all():
        return y_true
    return np.where(counted.reshape(counted.shape + (1,) * (y_true.ndim - counted.ndim)), y_true, 0)


def checked_axis(who: str, axis: Any) -> int:
    """An axis; TypeError if it is none."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{who}: `axis` must be an integer, got {axis!r}")
    return int(axis)


def checked_between(who: str, name: str, value: float, low: float, high: float = math.inf) -> float:
    """A number between two others; ValueError if it is not."""
    if not low <= value <= high:
        raise ValueError(f"{who}: `{name}` must lie in [{low}, {high}], got {value}")
    return float(value)
