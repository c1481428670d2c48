"""Layers that make a time mask: ids to vectors, and steps that are padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.checks import kind_of
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
        self.input_dim, self.output_dim, self.mask_zero = int(input_dim), int(output_dim), bool(mask_zero)
        self.choose(locals())

    embeddings = weight_value(0)

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        return self.mask_zero

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
