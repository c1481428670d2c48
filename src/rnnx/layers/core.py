"""Dense, Activation, Embedding, Masking and the input of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _kernels, activations, constraints, initializers, regularizers
from rnnx.functional._products import product
from rnnx.layers import graph
from rnnx.layers.base import Array, Gradients, Layer, Pullback, Weight, weight_value


class InputLayer(Layer):
    """The entry of a model.

    Parameters
    ----------
    shape : tuple
        Shape of one sample, unknown sizes None.
    batch_size : int, optional
    dtype : str
        ``"int32"`` or ``"int64"`` for ids.
    """

    def __init__(self, shape: Any = None, batch_size: int | None = None, dtype: Any = None, **kwargs: Any):
        for name in ("sparse", "ragged", "optional"):
            if kwargs.pop(name, False):
                raise ValueError(f"InputLayer: `{name}` inputs are not supported; ragged batches are lists of arrays")
        try:
            wanted = np.dtype("float32" if dtype is None else dtype)
        except TypeError as error:
            raise ValueError(f"InputLayer: unknown `dtype` {dtype!r}") from error
        if wanted.kind not in "fiub":
            raise ValueError(f"InputLayer: `dtype` must be a float or integer type, got {wanted}")
        if batch_size is not None and (not isinstance(batch_size, (int, np.integer)) or batch_size < 1):
            raise ValueError(f"InputLayer: `batch_size` must be a positive integer or None, got {batch_size!r}")
        if shape is not None:
            kwargs["input_shape"] = shape
        super().__init__(dtype=wanted if wanted.kind == "f" else "float32", **kwargs)
        if self.given_input_shape is None:
            raise ValueError("InputLayer: give the shape of one sample, for example shape=(None, 8)")
        self.value_dtype = wanted
        self.batch_size = batch_size = self.given_batch_size if batch_size is None else int(batch_size)
        self.built = True
        self.batch_shape = (batch_size, *self.given_input_shape)

    def cast(self, x: Any) -> Array:
        return np.asarray(x) if self.value_dtype.kind in "iu" else super().cast(x)

    def forward(self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any) -> Any:
        return x, (lambda dy, *, need_dx=True: Gradients(dy if need_dx else None)) if keep else None

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": self.given_input_shape,
            "batch_size": self.batch_size,
            "dtype": self.value_dtype.name,
        }


def Input(
    shape: Any = None, batch_size: int | None = None, dtype: Any = None, name: str | None = None, **kwargs: Any
) -> graph.SymbolicTensor:
    """A symbolic tensor from which a model is made.

    Parameters
    ----------
    shape : tuple
        Shape of one sample, unknown sizes None.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((None, 3))
    >>> rnnx.Model(x, rnnx.layers.LSTM(4)(x)).output_shape
    (None, 4)
    """
    layer = InputLayer(shape, batch_size, dtype, name=name, **kwargs)
    return graph.enter(layer)


class Dense(Layer):
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
        self.units, self.use_bias = int(units), bool(use_bias)
        self.activation = activations.get(activation)
        self.kernel_initializer, self.bias_initializer = (
            initializers.get(kernel_initializer),
            initializers.get(bias_initializer),
        )
        self.kernel_regularizer, self.bias_regularizer = (
            regularizers.get(kernel_regularizer),
            regularizers.get(bias_regularizer),
        )
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint, self.bias_constraint = (
            constraints.get(kernel_constraint),
            constraints.get(bias_constraint),
        )

    kernel = weight_value(0)
    bias = weight_value(1)
    _memo: tuple[Any, Any, Any] = (None, None, None)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: the last axis of the input must be known, got shape {tuple(input_shape)}")
        self.add_weight(
            "kernel",
            (int(input_shape[-1]), self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.add_weight(
                "bias",
                (self.units,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        kernel = self._weights[0].value
        if x.ndim < 2 or x.shape[-1] != kernel.shape[0]:
            raise ValueError(f"{self.name}: the input must have shape (batch, ..., {kernel.shape[0]}), got {x.shape}")
        flat = x.reshape(-1, kernel.shape[0])
        if keep:
            self.check_trainable()
        if self.quantization_mode:
            a = self.packed().apply(np.ascontiguousarray(flat))
        else:
            a = product(flat, kernel)
            if self.use_bias:
                a += self._weights[1].value
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
                dweights = [product(flat.T, da), da.sum(axis=0)][: len(self._weights)]
            return Gradients(product(da, kernel.T).reshape(x.shape) if need_dx else None, dweights)

        return y, pullback

    def packed(self) -> _kernels.PackedDense:
        """The kernel and bias in the layout of the engine, made once for each version of the weights."""
        versions: list[Any] = [(w.version, id(w.value)) for w in self._weights]  # before the values: see `Weight`
        versions.append(self.quantization_mode)
        known, _, packed = self._memo
        if known != versions:
            values = [w.value for w in self._weights]  # kept, so that no other array gets their ids
            kernel, *bias = map(np.ascontiguousarray, values)
            packed = _kernels.PackedDense(kernel, bias[0] if bias else None, versions[-1] or "full")
            self._memo = (versions, values, packed)
        made: _kernels.PackedDense = packed
        return made

    @property
    def quantized_weights(self) -> list[Weight]:
        return self._weights[:1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._weights and input_shape[-1] not in (None, width := self._weights[0].shape[0]):
            raise ValueError(f"{self.name}: the input must have shape (batch, ..., {width}), got {tuple(input_shape)}")
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(units=self.units, activation=self.activation.serialize(), use_bias=self.use_bias)
        for name in ("kernel", "bias"):
            config[f"{name}_initializer"] = initializers.serialize(getattr(self, f"{name}_initializer"))
            config[f"{name}_regularizer"] = regularizers.serialize(getattr(self, f"{name}_regularizer"))
            config[f"{name}_constraint"] = constraints.serialize(getattr(self, f"{name}_constraint"))
        config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config


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
        slope, threshold = np.asarray(self.negative_slope, x.dtype), np.asarray(self.threshold, x.dtype)
        active = x > threshold
        y = np.where(active, x, slope * (x - threshold))
        limited = np.zeros_like(active) if self.max_value is None else y > self.max_value
        if self.max_value is not None:
            y = np.minimum(y, np.asarray(self.max_value, x.dtype))

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            d = np.where(limited, np.zeros((), x.dtype), np.where(active, np.ones((), x.dtype), slope))
            return Gradients(self.cast(dy) * d if need_dx else None)

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


class Embedding(Layer):
    """Rows of a table, looked up by integer ids.

    Parameters
    ----------
    input_dim : int
        Number of ids.
    output_dim : int
        Width of a row.
    embeddings_initializer, embeddings_regularizer, embeddings_constraint
        As in Keras 3.
    mask_zero : bool
        Id 0 is padding: it is masked downstream (its row is still looked up).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Embedding(10, 4)(np.array([[1, 2, 9]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        **kwargs: Any,
    ):
        for name, value in (("input_dim", input_dim), ("output_dim", output_dim)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"Embedding: `{name}` must be a positive integer, got {value!r}")
        if (length := kwargs.get("input_length")) is not None and kwargs.get("input_shape") is None:
            kwargs["input_shape"] = (length,)
        super().__init__(**kwargs)
        self.input_dim, self.output_dim, self.mask_zero = int(input_dim), int(output_dim), bool(mask_zero)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)

    embeddings = weight_value(0)

    def build(self, input_shape: Any) -> None:
        self.add_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )

    def cast(self, x: Any) -> Array:
        ids = np.asarray(x)
        if ids.dtype.kind not in "iu":
            if ids.dtype.kind not in "fb" or not np.array_equal(ids, np.trunc(ids)):
                raise TypeError(f"{self.name}: the input must be integer ids, got dtype {ids.dtype}")
            ids = ids.astype(np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.input_dim):
            bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ValueError(f"{self.name}: ids must lie in 0..{self.input_dim - 1} (input_dim - 1), got {bad}")
        return ids

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        y = self._weights[0].value[x]

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            if not self.trainable:
                return Gradients(None, [None])
            from scipy.sparse import csr_array  # takes a tenth of a second: only for those who train

            places = x.reshape(-1)
            one_hot = csr_array(
                (np.ones(places.size, self.dtype), (places, np.arange(places.size))), (self.input_dim, places.size)
            )
            return Gradients(None, [one_hot @ np.asarray(dy, self.dtype).reshape(-1, self.output_dim)])

        return y, pullback if keep else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return np.asarray(x) != 0 if self.mask_zero else mask

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
        }


class Masking(Layer):
    """Masks the steps whose features all equal ``mask_value``, and sets them to 0.

    Parameters
    ----------
    mask_value : float
    """

    def __init__(self, mask_value: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        try:
            self.mask_value = float(mask_value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Masking: `mask_value` must be a number, got {mask_value!r}") from error
        if np.isnan(self.mask_value):
            raise ValueError("Masking: nothing equals NaN; replace it first: x = np.where(np.isnan(x), 0, x)")
        self.built = True

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return np.any(np.asarray(x) != self.mask_value, axis=-1)

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        used = self.compute_mask(x, None)[..., None]
        zero = np.zeros((), self.dtype)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(np.where(used, self.cast(dy), zero) if need_dx else None)

        return np.where(used, x, zero), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
