"""The base of all metrics: weights and masks around the values of a metric."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import initializers, losses
from rnnx._config import Configurable, accepted, refuse_overrides
from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.layers.names import snake_case
from rnnx.metrics.variable import MetricVariable, StateVariable


class Metric(Configurable, family=True):
    """Base of the metrics: ``update_state`` for each batch, then ``result``.

    A metric of one's own implements ``values(y_true, y_pred)``, whose weighted mean it is then, or ``update_state`` and
    ``result`` with what it keeps in `add_weight`; a time mask comes as ``mask`` if ``update_state`` has this argument,
    else as weights of 0 and 1.

    Parameters
    ----------
    name : str, optional
    dtype : dtype, optional
        Of what `add_weight` makes, float32 if not given; predictions are widened to it, never narrowed. Sums of numbers
        are kept in float64 whatever it is.

    Attributes
    ----------
    direction : {"up", "down", None}
        Whether more or less is better, for callbacks that watch the metric with ``mode="auto"``; None if it does not
        say.
    """

    direction: str | None = None
    state_names: tuple[str, ...] = ("total", "count")  # what `variables` has of a metric without any of its own
    total: Any
    count: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls, {"call": "implement `values(y_true, y_pred)`, or `update_state` and `result`"})
        if "reset_states" in vars(cls) and "reset_state" not in vars(cls):  # its name in Keras 2
            type.__setattr__(cls, "reset_state", vars(cls)["reset_states"])

    def __init__(self, name: str | None = None, dtype: Any = None):
        self.name = name or snake_case(type(self).__name__)
        self.dtype = self._checked_dtype(dtype)
        self._variables: list[MetricVariable] = []
        Metric.reset_state(self)
        try:
            self.reset_state()
        except (AttributeError, TypeError):
            if type(self).__init__ is Metric.__init__:
                raise
            # One of its own that needs what the constructor of the subclass makes; it starts fresh anyway.

    def _checked_dtype(self, dtype: Any) -> np.dtype[Any]:
        try:
            return np.dtype("float32" if dtype is None else getattr(dtype, "compute_dtype", dtype))
        except TypeError:
            raise ValueError(f"{type(self).__name__}: `dtype` must be one of NumPy's, got {dtype!r}") from None

    @property
    def _dtype(self) -> str:
        """The name of the dtype, which metrics of one's own cast to in Keras."""
        return self.dtype.name

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = {"dtype": np.dtype("float32"), **state}  # of 0.1.0 there was none
        own.setdefault("_variables", own.pop("variables", []))
        vars(self).update(own)

    def _metrics_inside(self) -> list[Metric]:
        """The metrics among its attributes, those in lists and dicts too."""
        return [part for part in leaves(list(vars(self).values())) if isinstance(part, Metric)]

    @property
    def variables(self) -> list[MetricVariable]:
        """What is kept from batch to batch, that of metrics inside too; assigning to one changes it."""
        inside = self._metrics_inside()
        if self._variables or inside:
            return [*self._variables, *(variable for part in inside for variable in part.variables)]
        return [StateVariable(self, name) for name in self.state_names]

    def reset_state(self) -> None:
        """Start again."""
        for name in ("total", "count"):
            if not isinstance(getattr(self, name, None), MetricVariable):  # a subclass may keep its own under this name
                setattr(self, name, 0.0)
        for part in self._metrics_inside():
            part.reset_state()
        for variable in self._variables:
            variable.assign(np.zeros(variable.shape))

    def add_weight(
        self, shape: Any = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> MetricVariable:
        """A number or array that a metric of one's own keeps; zeros if no initializer is given, and after a reset.

        Parameters
        ----------
        shape : tuple of int
            Or the name, as in Keras 2.
        initializer : str or Initializer, optional
        dtype : dtype, optional
        name : str, optional
        """
        if isinstance(shape, str):
            shape, name = (), shape
        made = initializers.get("zeros" if initializer is None else initializer)(tuple(shape), dtype="float32")
        variable = MetricVariable(np.array(made, self.dtype if dtype is None else dtype), name)
        self._variables.append(variable)
        return variable

    def add_variable(
        self, shape: Any, initializer: Any = None, dtype: Any = None, aggregation: Any = None, name: str | None = None
    ) -> MetricVariable:
        """The same under its name in Keras 3."""
        return self.add_weight(shape, initializer, dtype, name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Take a batch into account; masked values do not count.

        Weights have the axes of the values, or the first of them: one for each sample, or for each step.

        Raises
        ------
        ValueError
            If ``sample_weight`` does not fit the values.
        """
        mask = mask_of(y_pred, mask)
        y_true, y_pred = np.asarray(y_true), self._widened(np.asarray(y_pred))
        for given in (sample_weight, mask):
            if given is not None and np.shape(given) == y_pred.shape[:-1]:
                y_true = losses.blank(y_true, np.asarray(given) != 0)
        values = self.values(y_true, y_pred)
        weights = self._weights(values.shape, sample_weight, mask)
        if weights is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
        else:
            self.total += float((np.where(weights != 0, values, 0) * weights).sum(dtype=np.float64))
            self.count += float(weights.sum())

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One value for each prediction (without the last axis)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its values are")

    def _weights(self, shape: tuple[int, ...], sample_weight: Any, mask: Any) -> Array | None:
        """One weight for each value; None if all count the same."""
        weights: Array | None = None
        for given, needed in ((sample_weight, True), (mask, False)):
            if given is None:
                continue
            array = np.asarray(given, np.float64)
            if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
                array = array[..., 0]
            if array.ndim > len(shape) and not needed:
                continue  # a time mask does not concern one value for each sequence
            if array.ndim > len(shape) or any(a not in (1, b) for a, b in zip(array.shape, shape, strict=False)):
                raise ValueError(
                    f"{self.name}: `{'sample_weight' if needed else 'mask'}` must fit values of shape {shape}: the "
                    f"same axes or the first of them, got {np.shape(given)}"
                )
            array = np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)
            weights = array if weights is None else weights * array
        return weights

    def result(self) -> float:
        """The value so far; 0 if nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Take a batch into account, with the arguments of `update_state`, and give the value so far."""
        self.update_state(*arguments, **options)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return accepted(type(self), {"name": self.name, "dtype": self.dtype.name})

    def _widened(self, x: Array) -> Array:
        """Numbers in the metric's dtype, if that is the wider one."""
        wider = x.dtype.kind == self.dtype.kind == "f" and self.dtype.itemsize > x.dtype.itemsize
        return x.astype(self.dtype) if wider else x
