"""Activations as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.layers.axes import axes_of, given_axes
from rnnx.layers.carried import carrying, unwrap
from rnnx.layers.checks import as_mask
from rnnx.layers.graph import is_symbolic
from rnnx.layers.layer import Gradients, Layer, Pullback, weight_value
from rnnx.layers.weighted import Weighted

LEFT_OUT = -1e9  # what a masked number is for the softmax, as in Keras


class Activation(Layer):
    """An activation as a layer.

    Parameters
    ----------
    activation : str or callable

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    activation: Any

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


class Rectifier(Layer):
    """What both rectifiers compute: x above a threshold, up to a most value, and a line with a slope below it."""

    max_value: Any = None
    negative_slope = 0.0
    threshold = 0.0

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


class ReLU(Rectifier):
    """``max(0, x)``, with an upper limit, a slope below the threshold, and the threshold itself on demand.

    Parameters
    ----------
    max_value : float, optional
    negative_slope, threshold : float

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ReLU(max_value=1.5)(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 1.5]]
    """

    def __init__(self, max_value: Any = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        for given, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and given != "max_value") or (value is not None and not value >= 0):
                raise ValueError(f"ReLU: `{given}` must be a number of at least 0, got {value}")
        self.max_value, self.negative_slope, self.threshold = max_value, float(negative_slope), float(threshold)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(max_value=self.max_value, negative_slope=self.negative_slope, threshold=self.threshold)
        return config


class LeakyReLU(Rectifier):
    """``x`` where it is positive, ``negative_slope * x`` elsewhere.

    Parameters
    ----------
    negative_slope : float
        At least 0; ``alpha`` is its name in Keras 2.

    Raises
    ------
    ValueError
        If the slope is negative or no number.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.LeakyReLU(0.25)(np.array([-2.0, 2.0]))
    array([-0.5,  2. ], dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        self.negative_slope = _number("LeakyReLU", "negative_slope", negative_slope)
        if self.negative_slope < 0:
            raise ValueError(f"LeakyReLU: `negative_slope` must not be negative, got {negative_slope!r}")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


def _number(who: str, name: str, value: Any) -> float:
    """A number of a constructor."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{who}: `{name}` must be a number, got {value!r}")
    return float(value)


class ELU(Layer):
    """``x`` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere.

    Parameters
    ----------
    alpha : float

    Raises
    ------
    ValueError
        If ``alpha`` is no number.

    References
    ----------
    .. [1] D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by exponential linear
       units (ELUs)", ICLR 2016.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ELU(0.5)(np.array([-100.0, 2.0]))
    array([-0.5,  2. ], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = _number("ELU", "alpha", alpha)
        self.built = True

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        zero, alpha = np.asarray([0, self.alpha], x.dtype)
        below = alpha * np.expm1(np.minimum(x, zero))
        y = np.where(x > 0, x, below)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(self.cast(dy) * np.where(x > 0, np.ones((), x.dtype), below + alpha) if need_dx else None)

        return y, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class PReLU(Weighted):
    """``x`` where it is positive, ``alpha * x`` elsewhere, with a learned ``alpha`` for every number of a sample.

    Parameters
    ----------
    alpha_initializer, alpha_regularizer, alpha_constraint
        Of the weight ``alpha``, of the shape of a sample.
    shared_axes : int or list of int, optional
        Axes of the input, counted from 1, along which one ``alpha`` serves all; ``[1]`` shares it over the steps.

    References
    ----------
    .. [1] K. He et al., "Delving deep into rectifiers: surpassing human-level performance on ImageNet classification",
       ICCV 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.PReLU(alpha_initializer="ones", shared_axes=1)
    >>> layer(np.array([[[-1.0, 2.0], [3.0, -4.0]]])).tolist(), layer.alpha.shape
    ([[[-1.0, 2.0], [3.0, -4.0]]], (1, 2))
    """

    fixed_when_built = Weighted.fixed_when_built | {"shared_axes"}
    chosen = ("alpha",)
    alpha = weight_value(0)

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        axes = [] if shared_axes is None else shared_axes if isinstance(shared_axes, (list, tuple)) else [shared_axes]
        if any(isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or axis < 1 for axis in axes):
            raise ValueError(f"PReLU: `shared_axes` must be axes of the input counted from 1, got {shared_axes!r}")
        self.shared_axes = None if shared_axes is None else [int(axis) for axis in axes]
        self.choose(locals())

    def build(self, input_shape: Any) -> None:
        shared = self.shared_axes or []
        if any(axis >= len(input_shape) for axis in shared):
            raise ValueError(
                f"{self.name}: `shared_axes` must be axes 1..{len(input_shape) - 1} of the input, got {shared}"
            )
        sizes = [1 if axis in shared else size for axis, size in enumerate(input_shape[1:], 1)]
        if None in sizes:
            raise ValueError(
                f"{self.name}: axes of unknown size need `shared_axes`, got an input of shape {tuple(input_shape)}; "
                f"share {[axis for axis, size in enumerate(sizes, 1) if size is None]}"
            )
        self.add_weight("alpha", tuple(int(n or 0) for n in sizes), chosen="alpha")

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._weights:
            self._check(tuple(input_shape))
        return input_shape

    def _check(self, shape: tuple[Any, ...]) -> None:
        own = self._weights[0].shape
        shared = self.shared_axes or []
        wanted = [None if axis in shared else size for axis, size in enumerate(own, 1)]
        fits = len(shape) == len(own) + 1 and all(
            want is None or got in (None, want) for want, got in zip(wanted, shape[1:], strict=True)
        )
        if not fits:
            sizes = ", ".join("..." if size is None else str(size) for size in wanted)
            raise ValueError(f"{self.name}: the input must have shape (batch, {sizes}), got {shape}")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        self._check(x.shape)
        alpha, zero = self._weights[0].array, np.zeros((), x.dtype)
        below = np.minimum(x, zero)
        y = np.where(x > 0, x, alpha * below)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dy = self.cast(dy)
            dalpha = None
            if self.trainable:
                shared = (0, *(axis for axis, size in enumerate(alpha.shape, 1) if size != x.shape[axis]))
                dalpha = (dy * below).sum(axis=shared, keepdims=True)[0]
            slope = np.where(x > 0, np.ones((), x.dtype), np.where(x < 0, alpha, zero))
            return Gradients(dy * slope if need_dx else None, [dalpha])

        return y, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared_axes": self.shared_axes}


class Softmax(Layer):
    """Softmax over one axis, or over several together.

    Parameters
    ----------
    axis : int or tuple of int

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

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        axes = given_axes("Softmax", axis, in_order=False)
        self.axis: Any = tuple(axes) if isinstance(axes, list) else axes
        self.built = True

    @property
    def axes(self) -> tuple[int, ...]:
        """All axes that one softmax goes over."""
        return self.axis if isinstance(self.axis, tuple) else (self.axis,)

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
        x, time_mask = unwrap(x)
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
        axes_of(self, x.shape)
        zero = np.zeros((), x.dtype)
        used = None if mask is None else self._spread(mask, x.shape)
        given = x if used is None else np.where(used, x, np.asarray(LEFT_OUT, x.dtype))
        inner, back = self._joined(given)
        softmax = activations.get("softmax")
        y = softmax(inner)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            dy = self.cast(dy) if used is None else np.where(used, self.cast(dy), zero)
            dx = back(softmax.vjp(inner, y, self._joined(dy)[0]))
            return Gradients(dx if used is None else np.where(used, dx, zero))

        outer = back(y)
        return outer if used is None else np.where(used, outer, zero), pullback if keep else None

    def _joined(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        """All axes of the softmax as the last one, and the way back."""
        if len(self.axes) == 1:
            return x.swapaxes(self.axis, -1), lambda y: y.swapaxes(self.axis, -1)
        ends = tuple(range(-len(self.axes), 0))
        moved = np.moveaxis(x, self.axes, ends)
        return moved.reshape(*moved.shape[: ends[0]], -1), lambda y: np.moveaxis(
            y.reshape(moved.shape), ends, self.axes
        )

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
