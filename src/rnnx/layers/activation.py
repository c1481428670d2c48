"""Activations as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.layers.layer import Gradients, Layer, Pullback


class Activation(Layer):
    """An activation as a layer.

    Parameters
    ----------
    activation : str or callable
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
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
        if (max_value is not None and max_value < 0) or negative_slope < 0 or threshold < 0:
            raise ValueError("ReLU: `max_value`, `negative_slope` and `threshold` must not be negative")
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
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or axis == 0:
            raise ValueError(f"Softmax: `axis` must be an integer other than 0, the batch axis, got {axis!r}")
        self.axis = int(axis)
        self.built = True

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        if not -x.ndim < self.axis < x.ndim:
            raise ValueError(f"{self.name}: there is no axis {self.axis} in samples of an input of shape {x.shape}")
        inner = x.swapaxes(self.axis, -1)
        softmax = activations.get("softmax")
        y = softmax(inner)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            return Gradients(softmax.vjp(inner, y, self.cast(dy).swapaxes(self.axis, -1)).swapaxes(self.axis, -1))

        return y.swapaxes(self.axis, -1), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
