"""Layers that make a time mask: ids to vectors, and steps that are padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers.checks import check_dtype, kind_of
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.layer import Gradients, Layer, Pullback, weight_value
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.weighted import Weighted


class Embedding(Weighted):
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

    fixed_when_built = Weighted.fixed_when_built | {"input_dim", "output_dim"}
    chosen = ("embeddings",)

    @takes_old_words
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
        self.input_dim, self.output_dim = int(input_dim), int(output_dim)
        self.mask_zero = self.makes_mask = bool(mask_zero)
        self.choose(locals())

    embeddings = weight_value(0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"makes_mask": state.get("mask_zero", False), **state})  # older versions did not keep it

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        return self._call_making_mask(x, call) if self.mask_zero else super()._call(x, call)

    def build(self, input_shape: Any = None) -> None:
        self.add_weight("embeddings", (self.input_dim, self.output_dim), chosen="embeddings")

    def cast(self, x: Any) -> Array:
        ids = np.asarray(x)
        if ids.dtype.kind not in "iu":
            if ids.dtype.kind not in "fb" or not np.array_equal(ids, np.trunc(ids)):
                raise TypeError(f"{self.name}: the input must be integer ids, got {kind_of(ids)}")
            ids = ids.astype(np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.input_dim):
            bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ValueError(f"{self.name}: ids must lie in 0..{self.input_dim - 1} (input_dim - 1), got {bad}")
        return ids

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        y = self._weights[0].array[x]

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
        if not self.mask_zero:
            return mask
        return (x if isinstance(x, SymbolicTensor) else np.asarray(x)) != 0  # symbolic where `call` asks

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "mask_zero": self.mask_zero,
        }


class ReversibleEmbedding(Embedding):
    """An `Embedding` that also goes back: with ``reverse=True`` from rows to a number for each id.

    Parameters
    ----------
    input_dim : int
        Number of ids.
    output_dim : int
        Width of a row.
    tie_weights : bool
        Go back by the same table; without it there is another matrix for the way back.
    embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero
        As of `Embedding`. What comes back has no mask.
    reverse_dtype : dtype, optional
        That of the layer, if it is given.
    logit_soft_cap : float, optional
        The numbers on the way back are ``cap * tanh(number / cap)``.

    Raises
    ------
    ValueError
        If an argument does not fit.

    References
    ----------
    .. [1] O. Press, L. Wolf, "Using the output embedding to improve language models", EACL 2017.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> words = rnnx.layers.ReversibleEmbedding(10, 4)
    >>> vectors = words(np.array([[1, 2, 9]]))
    >>> vectors.shape, words(vectors, reverse=True).shape
    ((1, 3, 4), (1, 3, 10))
    """

    call_arguments = frozenset({"mask", "training", "reverse"})
    positional_arguments = ("reverse",)
    outputs_by_call = True

    fixed_when_built = Embedding.fixed_when_built | {"tie_weights"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer,
            embeddings_regularizer,
            embeddings_constraint,
            mask_zero,
            **kwargs,
        )
        if reverse_dtype is not None and check_dtype("ReversibleEmbedding", reverse_dtype) != self.dtype:
            raise ValueError(
                f"ReversibleEmbedding: `reverse_dtype` must be that of the layer, {self.dtype}, or None, "
                f"got {reverse_dtype!r}"
            )
        if logit_soft_cap is not None and not logit_soft_cap > 0:
            raise ValueError(f"ReversibleEmbedding: `logit_soft_cap` must be positive or None, got {logit_soft_cap!r}")
        self.tie_weights, self.reverse_dtype = bool(tie_weights), reverse_dtype
        self.logit_soft_cap = None if logit_soft_cap is None else float(logit_soft_cap)

    reverse_embeddings = weight_value(1)

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if not self.tie_weights:
            own: Any = self
            self.add_weight("reverse_embeddings", (self.output_dim, self.input_dim), own.embeddings_initializer)

    def cast(self, x: Any) -> Array:
        return np.asarray(x)  # ids or vectors, which only the call says

    def forward(
        self,
        x: Array,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        reverse: bool = False,
        **call: Any,
    ) -> tuple[Array, Pullback | None]:
        if reverse:
            return self._back(x, keep)
        y, inner = super().forward(super().cast(x), mask=mask, training=training, keep=keep)
        if inner is None or self.tie_weights:
            return y, inner

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            own = [np.zeros_like(self._weights[1].array) if self.trainable else None]
            return Gradients(None, inner(dy, need_dx=need_dx).dweights + own)

        return y, pullback

    def _back(self, x: Array, keep: bool) -> tuple[Array, Pullback | None]:
        x = Layer.cast(self, x)
        if not x.ndim or x.shape[-1] != self.output_dim:
            raise ValueError(
                f"{self.name}: with reverse=True the input must have shape (..., {self.output_dim}), got {x.shape}"
            )
        kernel = self._weights[0].array.T if self.tie_weights else self._weights[1].array
        rows = x.reshape(-1, self.output_dim)
        y = product(rows, kernel).reshape(*x.shape[:-1], self.input_dim)
        cap = None if self.logit_soft_cap is None else np.asarray(self.logit_soft_cap, self.dtype)
        if cap is not None:
            y = np.tanh(y / cap) * cap

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dy = np.asarray(dy, self.dtype)
            if cap is not None:
                dy = dy * (1 - (y / cap) ** 2)
            numbers = dy.reshape(-1, self.input_dim)
            dx = product(numbers, kernel.T).reshape(x.shape) if need_dx else None
            if not self.trainable:
                return Gradients(dx, [None] * len(self._weights))
            dkernel = product(rows.T, numbers)
            tied = self.tie_weights
            return Gradients(dx, [dkernel.T] if tied else [np.zeros_like(self._weights[0].array), dkernel])

        return y, pullback if keep else None

    def forward_masked(self, x: Any, *, mask: Any = None, reverse: bool = False, **call: Any) -> tuple[Any, Any, Any]:
        y, pullback = self.forward(x, mask=mask, reverse=reverse, **call)
        return y, None if reverse else self.compute_mask(x, mask), pullback

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        if call.get("reverse"):
            return (*input_shape[:-1], self.input_dim)
        return super().call_output_shapes(input_shape, call)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tie_weights": self.tie_weights,
            "reverse_dtype": self.reverse_dtype,
            "logit_soft_cap": self.logit_soft_cap,
        }


class Masking(Layer):
    """Masks the steps whose features all equal ``mask_value``, and sets them to 0.

    Parameters
    ----------
    mask_value : float

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Masking()(np.array([[[1.0], [0.0]]])).mask.tolist()
    [[True, False]]
    """

    makes_mask = True
    _call = Layer._call_making_mask

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
        values = x if isinstance(x, SymbolicTensor) else np.asarray(x)
        return np.any(values != self.mask_value, axis=-1)

    def forward(
        self, x: Array, *, keep: bool = False, used: Array | None = None, **call: Any
    ) -> tuple[Array, Pullback | None]:
        """``used`` is the mask of the output if it is known."""
        valid = (self.compute_mask(x) if used is None else used)[..., None]
        zero = np.zeros((), self.dtype)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(np.where(valid, self.cast(dy), zero) if need_dx else None)

        return np.where(valid, x, zero), pullback if keep else None

    def forward_masked(self, x: Any, *, mask: Any = None, **call: Any) -> tuple[Any, Any, Any]:
        used = self.compute_mask(x, mask)
        y, pullback = self.forward(x, mask=mask, used=used, **call)
        return y, used, pullback

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
