"""Convolutions of sequences and images."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations, regularizers
from rnnx._typing import Array
from rnnx.functional._convolution import correlate, correlate_kernel, framed, spread, unframed
from rnnx.layers.checks import check_data_format
from rnnx.layers.layer import Gradients, Pullback, weight_value
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.places import PADDINGS, OverWindows, check_padding, each, per_axis
from rnnx.layers.weighted import Weighted


class Convolving(Weighted, OverWindows):
    """Base of the layers whose output at a place is a function of a window of the input there.

    A subclass computes ``convolve`` with the features at the end; padding, bias, activation and the order of the axes
    are here.
    """

    fixed_when_built = Weighted.fixed_when_built | {"filters", "kernel_size", "use_bias", "groups", "depth_multiplier"}
    supports_masking = False
    activation: Any
    paddings: tuple[str, ...] = PADDINGS[:2]
    written: tuple[str, ...] = ()  # names of arguments in the configuration, beside those that all have
    filters: int

    def set_up(self, given: dict[str, Any]) -> None:
        """Check and keep the arguments that all of these layers have."""
        who, rank = type(self).__name__, self.rank
        for name in ("kernel_size", "strides", "dilation_rate"):
            setattr(self, name, per_axis(who, name, given[name], rank))
        self.padding = check_padding(who, given["padding"], self.paddings)
        self.data_format = check_data_format(who, given["data_format"])
        vars(self)["activation"] = activations.get(given["activation"])
        self.use_bias = bool(given["use_bias"])
        self.choose(given)
        if given["activity_regularizer"] is not None:
            vars(self)["activity_regularizer"] = regularizers.get(given["activity_regularizer"])

    @property
    def window(self) -> int:
        """Steps that one output step of a sequence sees."""
        return self.spans[0]

    # ---- Running -----------------------------------------------------------------------------------------------------

    @property
    def features(self) -> int | None:
        """Features of the input; None before the layer is built."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many features its input has")

    @property
    def features_out(self) -> Any:
        """Features of the output."""
        return self.filters

    def convolve(self, x: Array, bias: Array | None) -> tuple[Array, Any]:
        """The output before the activation, and a function of its gradient.

        That gives the gradients of the input, if it is wanted, and of the kernels.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it convolves")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        self.check_rank(x.shape, self.features)
        bias = self._weights[-1].array if self.use_bias else None
        a, back = self.convolve(self.last(x), bias)
        a = self.given(a)
        y = self.activation(a)
        if not keep:
            return y, None

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            da = self.last(self.activation.vjp(a, y, self.cast(dy)))
            dx, dkernels = back(da, need_dx, self.trainable)
            dweights: list[Array | None] = [None] * len(self._weights)
            if self.trainable:
                dbias = [da.sum(axis=tuple(range(da.ndim - 1)))] if self.use_bias else []
                dweights = [*dkernels, *dbias]
            return Gradients(None if dx is None else self.given(dx), dweights)

        return y, pullback

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_rank(input_shape, "features" if self.features is None else self.features)
        batch, places, _ = self.apart(input_shape)
        return self.full_shape(batch, self.counts(places), self.features_out)

    def known_features(self, input_shape: Any) -> int:
        """The features of an input shape, to build for."""
        self.check_rank(input_shape)
        features = self.apart(input_shape)[2]
        if features is None:
            raise ValueError(
                f"{self.name}: the number of features must be known, got an input of shape {tuple(input_shape)}"
            )
        return int(features)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in (*self.written, "kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias"):
            config[name] = getattr(self, name)
        config["activation"] = self.activation.serialize()
        config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config


class Convolution(Convolving):
    """Base of the convolutions: every output is a product with a window of the input."""

    chosen = ("kernel", "bias")
    written = ("filters", "groups")
    kernel = weight_value(0)
    bias = weight_value(1)

    @takes_old_words
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        who = type(self).__name__
        self.filters, self.groups = (
            per_axis(who, "filters", filters, 1), per_axis(who, "groups", groups, 1)
        )  # fmt: skip
        self.set_up(locals())

    @property
    def features(self) -> int | None:
        return self._weights[0].shape[-2] * self.groups if self._weights else None

    def build(self, input_shape: Any) -> None:
        axis = 1 if self.channels_first else -1
        features = input_shape[axis] if len(input_shape) == self.rank + 2 else None
        if features is None or features % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{self.name}: the input must have shape {self.wanted()}, features and filters being "
                f"multiples of groups = {self.groups}; got {tuple(input_shape)}"
            )
        self.add_weight("kernel", (*each(self.kernel_size), features // self.groups, self.filters), chosen="kernel")
        if self.use_bias:
            self.add_weight("bias", (self.filters,), chosen="bias")

    def convolve(self, x: Array, bias: Array | None) -> tuple[Array, Any]:
        kernel, places = self._weights[0].array, x.shape[1:-1]
        windows, before = self.windows(places), self.before(places)
        frame = framed(x, before, windows.frame)
        parts = self._groups(frame.shape[-1])
        if len(parts) == 1:
            a = correlate(frame, kernel, windows, bias)
        else:
            a = np.empty((len(x), *windows.counts, self.filters), x.dtype)
            for own, out in parts:
                a[..., out] = correlate(frame[..., own], kernel[..., out], windows, None if bias is None else bias[out])

        def back(da: Array, need_dx: bool, need_dkernel: bool) -> tuple[Array | None, list[Array]]:
            dkernel = np.empty_like(kernel) if need_dkernel else None
            dframe = np.zeros_like(frame) if need_dx else None
            for own, out in parts:
                if dkernel is not None:
                    dkernel[..., out] = correlate_kernel(frame[..., own], da[..., out], windows)
                if dframe is not None:
                    spread(da[..., out], kernel[..., out], windows, dframe[..., own])
            dx = None if dframe is None else unframed(dframe, before, places)
            return dx, [] if dkernel is None else [dkernel]

        return a, back

    def _groups(self, features: int) -> list[tuple[slice, slice]]:
        """Features of the input and filters of each group."""
        width, filters = features // self.groups, self.filters // self.groups
        return [(slice(g * width, (g + 1) * width), slice(g * filters, (g + 1) * filters)) for g in range(self.groups)]


class Conv1D(Convolution):
    """Convolution along time: every output step is a product with a window of input steps.

    Parameters
    ----------
    filters, kernel_size : int
    strides, dilation_rate : int
    padding : {"valid", "same", "causal"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).
    groups : int
        The features and filters are split into so many parts, each of which sees its own features only.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Conv1D(4, 3, padding="causal")(np.ones((2, 7, 5))).shape
    (2, 7, 4)
    """

    given_axes = 2
    paddings = PADDINGS


class Conv2D(Convolution):
    """Convolution of images: every output is a product with a window of rows and columns.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int)
        Along rows and columns.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).
    groups : int
        The features and filters are split into so many parts, each of which sees its own features only.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Conv2D(4, 3, strides=(1, 2))(np.ones((2, 7, 9, 5))).shape
    (2, 5, 4, 4)
    """

    rank = 2


def __getattr__(name: str) -> Any:
    """The pooling layers, which pickles of rnnx 0.1.0 look for here."""
    from rnnx.layers import pooling

    if name.endswith("Pooling1D") and hasattr(pooling, name):
        return getattr(pooling, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
