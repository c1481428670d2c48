"""Convolution and pooling along the time axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import activations, regularizers
from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers.checks import check_data_format, check_mask, check_sequence_shape
from rnnx.layers.layer import Gradients, Layer, Pullback, weight_value
from rnnx.layers.weighted import Weighted

PADDINGS = ("valid", "same", "causal")


def _one(who: str, name: str, value: Any) -> int:
    """An integer from an integer or a tuple of one."""
    number = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise ValueError(f"{who}: `{name}` must be a positive integer, got {value!r}")
    return int(number)


def _pads(padding: str, timesteps: int, width: int, stride: int) -> tuple[int, int]:
    """Steps of padding before and after; `width` is that of the dilated window."""
    if padding == "causal":
        return width - 1, 0
    if padding == "valid":
        return 0, 0
    total = max((-(-timesteps // stride) - 1) * stride + width - timesteps, 0)
    return total // 2, total - total // 2


def _output_steps(who: str, padding: str, timesteps: int, width: int, stride: int) -> int:
    before, after = _pads(padding, timesteps, width, stride)
    steps = (timesteps + before + after - width) // stride + 1
    if steps < 1:
        wanted = f"at least {width} steps, or padding='same'" if padding == "valid" else "at least 1 step"
        raise ValueError(f"{who}: {timesteps} step(s) give no output; {wanted} needed")
    return steps


class Conv1D(Weighted):
    """Convolution along time: every output step is a product with a window of input steps.

    Parameters
    ----------
    filters, kernel_size : int
    strides, padding, dilation_rate, groups, activation, use_bias, ...
        As in Keras 3; ``padding`` is ``"valid"``, ``"same"`` or ``"causal"``.
    """

    supports_masking = False
    chosen = ("kernel", "bias")

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
        if padding not in PADDINGS:
            raise ValueError(f"Conv1D: `padding` must be one of {PADDINGS}, got {padding!r}")
        if data_format not in (None, "channels_last"):
            raise ValueError(f"Conv1D: only channels_last input is supported, got {data_format!r}")
        self.filters, self.groups = _one("Conv1D", "filters", filters), _one("Conv1D", "groups", groups)
        self.kernel_size, self.strides = _one("Conv1D", "kernel_size", kernel_size), _one("Conv1D", "strides", strides)
        self.dilation_rate, self.padding = _one("Conv1D", "dilation_rate", dilation_rate), padding
        self.activation, self.use_bias = activations.get(activation), bool(use_bias)
        self.choose(locals())
        if activity_regularizer is not None:
            self.activity_regularizer = regularizers.get(activity_regularizer)

    kernel = weight_value(0)
    bias = weight_value(1)

    @property
    def window(self) -> int:
        """Steps that one output step sees."""
        return (self.kernel_size - 1) * self.dilation_rate + 1

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        if len(input_shape) != 3 or channels is None or channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{self.name}: the input must have shape (batch, timesteps, features), features and filters being "
                f"multiples of groups = {self.groups}; got {tuple(input_shape)}"
            )
        self.add_weight("kernel", (self.kernel_size, channels // self.groups, self.filters), chosen="kernel")
        if self.use_bias:
            self.add_weight("bias", (self.filters,), chosen="bias")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        kernel, groups = self._weights[0].value, self.groups
        if x.ndim != 3 or x.shape[-1] != kernel.shape[1] * groups:
            raise ValueError(
                f"{self.name}: the input must have shape (batch, timesteps, {kernel.shape[1] * groups}), got {x.shape}"
            )
        before, after = _pads(self.padding, x.shape[1], self.window, self.strides)
        padded = np.pad(x, ((0, 0), (before, after), (0, 0))) if before or after else x
        steps = _output_steps(self.name, self.padding, x.shape[1], self.window, self.strides)
        index = np.arange(steps)[:, None] * self.strides + np.arange(self.kernel_size) * self.dilation_rate
        width, each = x.shape[-1] // groups, self.filters // groups
        a = np.empty((x.shape[0], steps, self.filters), x.dtype)
        windows = []
        for g in range(groups):
            rows = padded[:, index, g * width : (g + 1) * width].reshape(-1, self.kernel_size * width)
            weights = kernel[:, :, g * each : (g + 1) * each].reshape(-1, each)
            a[..., g * each : (g + 1) * each] = product(rows, weights).reshape(x.shape[0], steps, each)
            windows.append(rows)
        if self.use_bias:
            a += self._weights[1].value
        y = self.activation(a)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            da = self.activation.vjp(a, y, self.cast(dy))
            dkernel, dpadded = np.zeros_like(kernel), np.zeros_like(padded)
            for g in range(groups):
                d = np.ascontiguousarray(da[..., g * each : (g + 1) * each]).reshape(-1, each)
                of_group = kernel[:, :, g * each : (g + 1) * each].reshape(-1, each)
                own = product(windows[g].T, d).reshape(self.kernel_size, width, each)
                dkernel[:, :, g * each : (g + 1) * each] = own
                if need_dx:
                    drows = product(d, of_group.T).reshape(x.shape[0], steps, self.kernel_size, width)
                    for k in range(self.kernel_size):
                        dpadded[:, index[:, k], g * width : (g + 1) * width] += drows[:, :, k]
            dweights: list[Array | None] = [None] * len(self._weights)
            if self.trainable:
                dweights = [dkernel, da.sum(axis=(0, 1))][: len(self._weights)]
            return Gradients(dpadded[:, before : before + x.shape[1]] if need_dx else None, dweights)

        return y, pullback if keep else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        check_sequence_shape(self, input_shape, self._weights[0].shape[1] * self.groups if self._weights else None)
        batch, timesteps, _ = input_shape
        if timesteps is not None:
            timesteps = _output_steps(self.name, self.padding, timesteps, self.window, self.strides)
        return (batch, timesteps, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias"):
            config[name] = getattr(self, name)
        config["activation"] = self.activation.serialize()
        config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config


class TimePooling(Layer):
    """Base of all pooling layers along time, of inputs whose features come last or, with "channels_first", before it.

    Their ``pool`` and ``pooled_shape`` see (batch, timesteps, features) whatever the input is.
    """

    data_format = "channels_last"  # also of layers that were pickled before there was another one

    def __init__(self, data_format: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = check_data_format(type(self).__name__, data_format)
        self.built = True

    @property
    def channels_first(self) -> bool:
        return self.data_format == "channels_first"

    @property
    def wanted(self) -> str:
        """The shape of an input, for errors."""
        return "(batch, features, timesteps)" if self.channels_first else "(batch, timesteps, features)"

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        """The output and the gradient of the input for that of the output, with the time axis second."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it pools")

    def pooled_shape(self, batch: Any, timesteps: Any, features: Any) -> tuple[Any, ...]:
        """Shape of the output, with the time axis second if there is one."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it pools to")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        if x.ndim != 3:
            raise ValueError(f"{self.name}: the input must have shape {self.wanted}, got {x.shape}")
        y, back = self.pool(x.swapaxes(1, 2) if self.channels_first else x, mask)
        turned = self.channels_first and y.ndim == 3

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not need_dx:
                return Gradients()
            dy = self.cast(dy)
            dx = back(dy.swapaxes(1, 2) if turned else dy)
            return Gradients(dx.swapaxes(1, 2) if self.channels_first else dx)

        return y.swapaxes(1, 2) if turned else y, pullback if keep else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        if len(input_shape) != 3:
            raise ValueError(f"{self.name}: the input must have shape {self.wanted}, got {tuple(input_shape)}")
        batch, timesteps, features = input_shape
        if not self.channels_first:
            return self.pooled_shape(batch, timesteps, features)
        batch, *rest = self.pooled_shape(batch, features, timesteps)
        return (batch, *reversed(rest))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Pooling1D(TimePooling):
    """Base of the pooling layers over windows of steps.

    Parameters
    ----------
    pool_size, strides : int
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, timesteps, features), or (batch, features, timesteps).
    """

    supports_masking = False

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: str = "valid", data_format: Any = None, **kwargs: Any
    ):
        super().__init__(data_format, **kwargs)
        who = type(self).__name__
        self.pool_size = _one(who, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else _one(who, "strides", strides)
        if padding not in PADDINGS[:2]:
            raise ValueError(f"{who}: `padding` must be 'valid' or 'same', got {padding!r}")
        self.padding = padding

    def windows(self, x: Array) -> tuple[Array, Array]:
        """Time indices of every window (steps, pool_size), and which of them exist."""
        before, _ = _pads(self.padding, x.shape[1], self.pool_size, self.strides)
        steps = _output_steps(self.name, self.padding, x.shape[1], self.pool_size, self.strides)
        index = np.arange(steps)[:, None] * self.strides + np.arange(self.pool_size) - before
        exists = (index >= 0) & (index < x.shape[1])
        return np.clip(index, 0, x.shape[1] - 1), exists

    def pooled_shape(self, batch: Any, timesteps: Any, features: Any) -> tuple[Any, ...]:
        if timesteps is not None:
            timesteps = _output_steps(self.name, self.padding, timesteps, self.pool_size, self.strides)
        return (batch, timesteps, features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }


class MaxPooling1D(Pooling1D):
    """Largest value of each window of steps."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        index, exists = self.windows(x)
        values = np.where(exists[:, :, None], x[:, index], np.asarray(-np.inf, x.dtype))
        best = values.argmax(axis=2)

        def back(dy: Array) -> Array:
            dx = np.zeros_like(x)
            b, s, f = np.indices(best.shape)
            np.add.at(dx, (b, index[s, best], f), dy)
            return dx

        return np.take_along_axis(values, best[:, :, None], axis=2)[:, :, 0], back


class AveragePooling1D(Pooling1D):
    """Mean of each window of steps; padding does not count."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        index, exists = self.windows(x)
        share = (exists / np.maximum(1, exists.sum(axis=1, keepdims=True))).astype(x.dtype)

        def back(dy: Array) -> Array:
            dx = np.zeros_like(x)
            parts = dy[:, :, None] * share[:, :, None]
            for k in range(self.pool_size):
                np.add.at(dx.swapaxes(0, 1), index[:, k], parts[:, :, k].swapaxes(0, 1))
            return dx

        return np.einsum("bskf,sk->bsf", x[:, index], share), back


class GlobalPooling1D(TimePooling):
    """Base of the pooling layers over all steps.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, features), or (batch, features, timesteps).
    keepdims : bool
        The output keeps the time axis, of one step.
    """

    def __init__(self, data_format: Any = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.keepdims = bool(keepdims)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return None

    def pooled_shape(self, batch: Any, timesteps: Any, features: Any) -> tuple[Any, ...]:
        return (batch, 1, features) if self.keepdims else (batch, features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}


class GlobalMaxPooling1D(GlobalPooling1D):
    """Largest value over all steps; the time mask is ignored, as in Keras."""

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        if x.shape[1] == 0:
            shape = x.swapaxes(1, 2).shape if self.channels_first else x.shape
            wanted = self.wanted.replace("timesteps", "timesteps >= 1")
            raise ValueError(f"{self.name}: the input must have shape {wanted}, got {shape}")
        best = x.argmax(axis=1)[:, None]

        def back(dy: Array) -> Array:
            dx = np.zeros_like(x)
            np.put_along_axis(dx, best, dy.reshape(best.shape), axis=1)
            return dx

        y = np.take_along_axis(x, best, axis=1)
        return y if self.keepdims else y[:, 0], back


class GlobalAveragePooling1D(GlobalPooling1D):
    """Mean over the steps that are not masked; a row without any gives 0."""

    positional_arguments = ("mask",)

    def pool(self, x: Array, mask: Any) -> tuple[Array, Callable[[Array], Array]]:
        used = np.ones(x.shape[:2], bool) if mask is None else check_mask(self.name, mask, x.shape)
        share = (used / np.maximum(1, used.sum(axis=1, keepdims=True))).astype(x.dtype)[:, :, None]
        y = (np.where(used[:, :, None], x, np.zeros((), x.dtype)) * share).sum(axis=1, keepdims=self.keepdims)
        return y, lambda dy: dy.reshape(len(x), 1, x.shape[2]) * share
