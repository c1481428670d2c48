"""Convolutions with a kernel for each feature, alone or before a product with all features."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._convolution import correlate_each, correlate_each_backward, framed, unframed
from rnnx.functional._products import product
from rnnx.layers.convolution import Convolving
from rnnx.layers.layer import weight_value
from rnnx.layers.places import each, per_axis


class Depthwise(Convolving):
    """Base of the depthwise and separable convolutions."""

    depth_multiplier: int

    @property
    def features(self) -> int | None:
        return self._weights[0].shape[-2] if self._weights else None

    def each_feature(self, x: Array) -> tuple[Array, Any]:
        """The convolutions of all features by their own kernels, and the way back."""
        kernel, places = self._weights[0].array, x.shape[1:-1]
        windows, before = self.windows(places), self.before(places)
        frame = framed(x, before, windows.frame)

        def back(da: Array, need_dx: bool) -> tuple[Array | None, Array]:
            dkernel, dframe = correlate_each_backward(frame, kernel, windows, da, need_dframe=need_dx)
            return None if dframe is None else unframed(dframe, before, places), dkernel

        return correlate_each(frame, kernel, windows), back


class DepthwiseConvolution(Depthwise):
    """Base of the depthwise convolutions."""

    chosen = ("depthwise", "bias")
    written = ("depth_multiplier",)
    kernel = weight_value(0)
    bias = weight_value(1)

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: Any = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.depth_multiplier = per_axis(type(self).__name__, "depth_multiplier", depth_multiplier, 1)
        self.set_up(locals())

    @property
    def features_out(self) -> Any:
        return None if self.features is None else self.features * self.depth_multiplier

    def build(self, input_shape: Any) -> None:
        features = self.known_features(input_shape)
        shape = (*each(self.kernel_size), features, self.depth_multiplier)
        self.add_weight("kernel", shape, chosen="depthwise")
        if self.use_bias:
            self.add_weight("bias", (features * self.depth_multiplier,), chosen="bias")

    def convolve(self, x: Array, bias: Array | None) -> tuple[Array, Any]:
        a, back = self.each_feature(x)
        if bias is not None:
            a += bias

        def both(da: Array, need_dx: bool, need_dkernel: bool) -> tuple[Array | None, list[Array]]:
            dx, dkernel = back(da, need_dx)
            return dx, [dkernel]

        return a, both


class DepthwiseConv1D(DepthwiseConvolution):
    """Convolution along time with kernels for each feature: no output sees two features.

    Parameters
    ----------
    kernel_size, strides, dilation_rate : int
    padding : {"valid", "same"}
    depth_multiplier : int
        Kernels, and so outputs, for each feature.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).
    activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer,
    activity_regularizer, depthwise_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.DepthwiseConv1D(3, depth_multiplier=2)(np.ones((2, 7, 5))).shape
    (2, 5, 10)
    """


class DepthwiseConv2D(DepthwiseConvolution):
    """Convolution of images with kernels for each feature: no output sees two features.

    Parameters
    ----------
    kernel_size, strides, dilation_rate : int or (int, int)
        Along rows and columns.
    padding : {"valid", "same"}
    depth_multiplier : int
        Kernels, and so outputs, for each feature.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).
    activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer,
    activity_regularizer, depthwise_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.DepthwiseConv2D(3, padding="same")(np.ones((2, 7, 9, 5))).shape
    (2, 7, 9, 5)
    """

    rank = 2


class SeparableConvolution(Depthwise):
    """Base of the separable convolutions."""

    chosen = ("depthwise", "pointwise", "bias")
    written = ("filters", "depth_multiplier")
    depthwise_kernel = weight_value(0)
    pointwise_kernel = weight_value(1)
    bias = weight_value(2)

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        who = type(self).__name__
        self.filters = per_axis(who, "filters", filters, 1)
        self.depth_multiplier = per_axis(who, "depth_multiplier", depth_multiplier, 1)
        self.set_up(locals())

    def build(self, input_shape: Any) -> None:
        features, sizes = self.known_features(input_shape), each(self.kernel_size)
        self.add_weight("depthwise_kernel", (*sizes, features, self.depth_multiplier), chosen="depthwise")
        shape = (*(1 for _ in sizes), features * self.depth_multiplier, self.filters)
        self.add_weight("pointwise_kernel", shape, chosen="pointwise")
        if self.use_bias:
            self.add_weight("bias", (self.filters,), chosen="bias")

    def convolve(self, x: Array, bias: Array | None) -> tuple[Array, Any]:
        between, back = self.each_feature(x)
        own = self._weights[1].array
        matrix, rows = own.reshape(own.shape[-2:]), between.reshape(-1, between.shape[-1])
        a = product(rows, matrix)
        if bias is not None:
            a += bias

        def both(da: Array, need_dx: bool, need_dkernel: bool) -> tuple[Array | None, list[Array]]:
            da = np.ascontiguousarray(da).reshape(-1, self.filters)
            dx, dkernel = back(product(da, matrix.T).reshape(between.shape), need_dx)
            return dx, [dkernel, product(rows.T, da).reshape(own.shape)] if need_dkernel else []

        return a.reshape(*between.shape[:-1], self.filters), both


class SeparableConv1D(SeparableConvolution):
    """Convolution along time of each feature alone, then a product with all of them at each step.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).
    depth_multiplier : int
        Kernels for each feature.
    activation, use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
    pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint,
    bias_constraint
        As in Keras 3.

    References
    ----------
    .. [1] F. Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.SeparableConv1D(4, 3)(np.ones((2, 7, 5))).shape
    (2, 5, 4)
    """


class SeparableConv2D(SeparableConvolution):
    """Convolution of images of each feature alone, then a product with all of them at each place.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int)
        Along rows and columns.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).
    depth_multiplier : int
        Kernels for each feature.
    activation, use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
    pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint,
    bias_constraint
        As in Keras 3.

    References
    ----------
    .. [1] F. Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.SeparableConv2D(4, (3, 1))(np.ones((2, 7, 9, 5))).shape
    (2, 5, 9, 4)
    """

    rank = 2
