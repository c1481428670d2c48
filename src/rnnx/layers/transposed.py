"""Transposed convolutions: every input place adds a kernel to a window of the output."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._convolution import Windows, correlate, correlate_kernel, framed, spread
from rnnx.layers.convolution import Convolving
from rnnx.layers.layer import weight_value
from rnnx.layers.places import each, per_axis


class ConvolutionTranspose(Convolving):
    """Base of the transposed convolutions."""

    chosen = ("kernel", "bias")
    written = ("filters", "output_padding")
    kernel = weight_value(0)
    bias = weight_value(1)

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: Any = None,
        dilation_rate: Any = 1,
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
        self.filters = per_axis(who, "filters", filters, 1)
        self.output_padding = (
            None if output_padding is None else per_axis(who, "output_padding", output_padding, self.rank, 0)
        )
        self.set_up(locals())
        if self.output_padding is not None:
            pairs = zip(each(self.output_padding), each(self.strides), strict=True)
            if any(more >= stride for more, stride in pairs):
                raise ValueError(f"{who}: `output_padding` must be less than `strides`, got {output_padding!r}")

    @property
    def features(self) -> int | None:
        return self._weights[0].shape[-1] if self._weights else None

    def build(self, input_shape: Any) -> None:
        features = self.known_features(input_shape)
        self.add_weight("kernel", (*each(self.kernel_size), self.filters, features), chosen="kernel")
        if self.use_bias:
            self.add_weight("bias", (self.filters,), chosen="bias")

    def _edges(self) -> list[tuple[int, int]]:
        """For each axis: outputs before the first that is kept, and outputs beyond those that ``n`` strides reach."""
        more = (None,) * self.rank if self.output_padding is None else each(self.output_padding)
        found = []
        for span, stride, extra in zip(self.spans, each(self.strides), more, strict=True):
            if self.padding == "valid":
                found.append((0, max(span - stride, 0) if extra is None else span - stride + extra))
            else:
                total = stride + span - 2 if extra is None else span + span % 2 - 2 + extra
                left = min(total // 2 + total % 2, span - 1)
                found.append((span - 1 - left, 0 if extra is None else span % 2 + extra - stride))
        return found

    def counts(self, places: Any) -> tuple[Any, ...]:
        parts = zip(places, each(self.strides), self._edges(), strict=True)
        sizes = tuple(None if n is None else n * stride + beyond for n, stride, (_, beyond) in parts)
        if any(n is not None and n < 1 for n in sizes):
            raise ValueError(f"{self.name}: an input of {tuple(places)} places gives no output")
        return sizes

    def convolve(self, x: Array, bias: Array | None) -> tuple[Array, Any]:
        kernel, places = self._weights[0].array, x.shape[1:-1]
        windows = Windows(each(self.kernel_size), each(self.strides), each(self.dilation_rate), places)
        before = [start for start, _ in self._edges()]
        sizes = self.counts(places)
        whole = [
            max(n, start + size) for n, start, size in zip(windows.frame, before, sizes, strict=True)
        ]  # all that a window reaches and all that is kept
        inside = (slice(None), *(slice(start, start + n) for start, n in zip(before, sizes, strict=True)))
        full = np.zeros((len(x), *whole, self.filters), x.dtype)
        spread(x, kernel, windows, full)
        a = np.ascontiguousarray(full[inside])
        if bias is not None:
            a += bias

        def back(da: Array, need_dx: bool, need_dkernel: bool) -> tuple[Array | None, list[Array]]:
            frame = framed(da, before, whole)
            dx = correlate(frame, kernel, windows) if need_dx else None
            return dx, [correlate_kernel(frame, x, windows)] if need_dkernel else []

        return a, back


class Conv1DTranspose(ConvolutionTranspose):
    """Transposed convolution along time, the way back of the steps of a `Conv1D`: ``strides`` times as many steps.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int
    padding : {"valid", "same"}
    output_padding : int, optional
        Further steps at the end, fewer than ``strides``.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Conv1DTranspose(4, 3, strides=2, padding="same")(np.ones((2, 7, 5))).shape
    (2, 14, 4)
    """


class Conv2DTranspose(ConvolutionTranspose):
    """Transposed convolution of images, the way back of the places of a `Conv2D`.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int)
        Along rows and columns.
    padding : {"valid", "same"}
    output_padding : int or (int, int), optional
        Further rows and columns at the end, fewer than ``strides``.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, rows, columns, features), or (batch, features, rows, columns).
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Conv2DTranspose(4, 3, strides=2)(np.ones((2, 7, 9, 5))).shape
    (2, 15, 19, 4)
    """

    rank = 2
