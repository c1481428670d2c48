"""Densely connected layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _kernels, activations, regularizers
from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers.layer import Gradients, Pullback, Weight, weight_value
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.weighted import Weighted


class Dense(Weighted):
    """``activation(x @ kernel + bias)`` over the last axis.

    Parameters
    ----------
    units : int
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Dense(5, activation="relu")(np.ones((2, 7, 3))).shape
    (2, 7, 5)
    """

    fixed_when_built = Weighted.fixed_when_built | {"units", "use_bias"}
    chosen = ("kernel", "bias")
    units: int
    use_bias: bool
    activation: Any

    @takes_old_words
    def __init__(
        self,
        units: int,
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
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
            raise ValueError(f"Dense: `units` must be a positive integer, got {units!r}")
        super().__init__(**kwargs)
        vars(self).update(units=int(units), use_bias=bool(use_bias), activation=activations.get(activation))
        self.choose(locals())
        if activity_regularizer is not None:
            vars(self)["activity_regularizer"] = regularizers.get(activity_regularizer)

    kernel = weight_value(0)
    bias = weight_value(1)
    _memo: tuple[Any, Any] = (None, None)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: the last axis of the input must be known, got shape {tuple(input_shape)}")
        self.add_weight("kernel", (int(input_shape[-1]), self.units), chosen="kernel")
        if self.use_bias:
            self.add_weight("bias", (self.units,), chosen="bias")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        kernel = self._weights[0].array
        if x.ndim < 2 or x.shape[-1] != kernel.shape[0]:
            raise ValueError(f"{self.name}: the input must have shape (batch, ..., {kernel.shape[0]}), got {x.shape}")
        if keep:
            self.check_trainable()
        bias = self._weights[1].array if self.use_bias else None
        a: Any = None if self.quantization_mode else _kernels.small_dense(x, kernel, bias)
        if a is not None:
            if not _kernels.all_finite(a):
                product(x, kernel)  # complains if that comes of finite numbers
        else:
            flat = x.reshape(-1, kernel.shape[0])
            if self.quantization_mode:
                a = self.packed().apply(np.ascontiguousarray(flat))
            else:
                a = product(flat, kernel)
                if bias is not None:
                    a += bias
            a = a.reshape(*x.shape[:-1], self.units)
        y = self.activation(a)
        if not keep:
            return y, None

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dy = self.cast(dy)
            if dy.shape != y.shape:
                raise ValueError(f"{self.name}: the gradient must have the shape {y.shape}, got {dy.shape}")
            da = self.activation.vjp(a, y, dy).reshape(-1, self.units)
            dweights: list[Array | None] = [None] * len(self._weights)
            if self.trainable:
                dweights = [product(x.reshape(-1, kernel.shape[0]).T, da), da.sum(axis=0)][: len(self._weights)]
            return Gradients(product(da, kernel.T).reshape(x.shape) if need_dx else None, dweights)

        return y, pullback

    def packed(self) -> _kernels.PackedDense:
        """The kernel and bias in the layout of the engine, made once for each version of the weights."""
        versions: list[Any] = [w.current_version() for w in self._weights]  # before the arrays: see `Weight`
        versions.append(self.quantization_mode)
        known, packed = self._memo
        if known != versions:
            kernel, *bias = (np.ascontiguousarray(w.array) for w in self._weights)
            packed = _kernels.PackedDense(kernel, bias[0] if bias else None, versions[-1] or "full")
            self._memo = (versions, packed)
        made: _kernels.PackedDense = packed
        return made

    @property
    def quantized_weights(self) -> list[Weight] | None:
        return None if self.overrides_call else self._weights[:1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._weights and input_shape[-1] not in (None, width := self._weights[0].shape[0]):
            raise ValueError(f"{self.name}: the input must have shape (batch, ..., {width}), got {tuple(input_shape)}")
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(units=self.units, activation=self.activation.serialize(), use_bias=self.use_bias)
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config
