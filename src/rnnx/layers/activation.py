"""Activations as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.layers.carried import carrying, taken_apart
from rnnx.layers.checks import as_mask
from rnnx.layers.graph import is_symbolic
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.weighted import Activated

LEFT_OUT = -1e9  # what a masked number is for the softmax, as in Keras


class Activation(Layer):
    """An activation as a layer.

    Parameters
    ----------
    activation : str or callable
    """

    activation: Any = Activated()

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        vars(self)["activation"] = activations.get(activation)
        self.built = True

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        y = self.activation(x)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(self.activation.vjp(x, y, self.cast(dy)) if need_dx else None)

        return y, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": self.activation.serialize()}


class ReLU(Layer):
    """``max(0, x)``, with an upper limit, a slope below the threshold, and the threshold itself on demand.

    Parameters
    ----------
    max_value : float, optional
    negative_slope, threshold : float
    """

    def __init__(self, max_value: Any = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        for given, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and given != "max_value") or (value is not None and not value >= 0):
                raise ValueError(f"ReLU: `{given}` must be a number of at least 0, got {value}")
        self.max_value, self.negative_slope, self.threshold = max_value, float(negative_slope), float(threshold)
        self.built = True

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        zero, slope, threshold = np.asarray([0, self.negative_slope, self.threshold], x.dtype)
        most = None if self.max_value is None else np.asarray(self.max_value, x.dtype)
        if slope or threshold:
            y = np.where(x > threshold, x, slope * (x - threshold))
        else:
            y = np.maximum(x, zero)  # 0 for minus infinity, which times a slope of 0 would be NaN
        if most is not None:
            y = np.minimum(y, most)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            d = np.where(x > threshold, np.ones((), x.dtype), slope)
            if most is not None:  # below the threshold nothing is above 0
                d = np.where((x > threshold) & (x > most), zero, d)
            return Gradients(self.cast(dy) * d)

        return y, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(max_value=self.max_value, negative_slope=self.negative_slope, threshold=self.threshold)
        return config


class Softmax(Layer):
    """Softmax over one axis.

    Parameters
    ----------
    axis : int

    Notes
    -----
    A ``mask`` in the call broadcasts to the input: True where a number counts, the others give 0, and so does all of a
    row without a number that counts. Masks of other types count above 0.5, as in Keras. In a model it has all axes of
    the input; time masks pass by.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Softmax()(np.array([[1.0, 2.0, 1.0]]), mask=np.array([[True, False, True]]))
    array([[0.5, 0. , 0.5]], dtype=float32)
    """

    positional_arguments = ("mask",)

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or axis == 0:
            raise ValueError(f"Softmax: `axis` must be an integer other than 0, the batch axis, got {axis!r}")
        self.axis = int(axis)
        self.built = True

    def given_mask(self, x: Any, mask: Any) -> Any:
        found = np.asarray(mask)
        found = found if found.dtype.kind == "b" else as_mask(self.name, found) & (found > 0.5)
        if is_symbolic(x) and found.ndim != x.ndim:
            raise ValueError(
                f"{self.name}: in a model `mask` must have all {x.ndim} axes of the input, got {found.shape}"
            )
        return found

    def _call_masked(self, x: Any, call: dict[str, Any], keep: bool) -> tuple[Any, Pullback | None]:
        if call.get("mask") is None:
            return super()._call_masked(x, call, keep)
        x, time_mask = taken_apart(x)
        x = self.prepare(x)
        y, pullback = self.forward(x, keep=keep, **{**call, "mask": self.given_mask(x, call["mask"])})
        return carrying(y, time_mask), pullback

    def forward_masked(self, x: Any, *, mask: Any = None, keep: bool = False, **call: Any) -> tuple[Any, Any, Any]:
        own = mask if mask is not None and mask.ndim == x.ndim else None
        y, pullback = self.forward(x, mask=own, keep=keep, **call)
        return y, mask if own is None else None, pullback

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        if not -x.ndim < self.axis < x.ndim:
            raise ValueError(f"{self.name}: there is no axis {self.axis} in samples of an input of shape {x.shape}")
        zero = np.zeros((), x.dtype)
        used = None if mask is None else self._spread(mask, x.shape)
        given = x if used is None else np.where(used, x, np.asarray(LEFT_OUT, x.dtype))
        inner = given.swapaxes(self.axis, -1)
        softmax = activations.get("softmax")
        y = softmax(inner)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            dy = self.cast(dy) if used is None else np.where(used, self.cast(dy), zero)
            dx = softmax.vjp(inner, y, dy.swapaxes(self.axis, -1)).swapaxes(self.axis, -1)
            return Gradients(dx if used is None else np.where(used, dx, zero))

        outer = y.swapaxes(self.axis, -1)
        return outer if used is None else np.where(used, outer, zero), pullback if keep else None

    def _spread(self, mask: Any, shape: tuple[int, ...]) -> Array:
        """The mask in the shape of the input."""
        try:
            return np.broadcast_to(mask, shape)
        except ValueError as error:
            raise ValueError(
                f"{self.name}: `mask` must broadcast to the input's shape {shape}, got {mask.shape}"
            ) from error

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
