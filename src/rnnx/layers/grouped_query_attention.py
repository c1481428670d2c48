"""Attention whose heads of queries share heads of keys and values."""

from __future__ import annotations

from typing import Any

from rnnx.dropout import SeedGenerator
from rnnx.layers.multi_head_attention import MultiHeadAttention
from rnnx.layers.places import per_axis


class GroupedQueryAttention(MultiHeadAttention):
    """A `MultiHeadAttention` with fewer heads of keys and values than of queries: each serves a group of these.

    Called as ``layer(query, value, key=None, ...)`` with inputs of shape (batch, steps, features), and the arguments
    that a `MultiHeadAttention` is called with. ``GroupQueryAttention`` is Keras' other name of it.

    Parameters
    ----------
    head_dim : int
        Features of a query, a key and a value in one head.
    num_query_heads : int
    num_key_value_heads : int
        How many heads of keys and values; they divide those of the queries. With one it is multi-query attention.
    dropout : float
        Rate at which weights are dropped in training.
    use_bias : bool
    sliding_window : int, optional
        A query sees values less than so many steps away.
    flash_attention : None or False
        Another way to compute the same in Keras.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
        Of all projections, as in Keras 3.
    activity_regularizer : None
    use_gate : bool
        A sigmoid of a projection of the query multiplies the results of the heads.
    seed : int, SeedGenerator or None

    Raises
    ------
    ValueError
        If a number is not positive, or the heads cannot be divided among the queries.

    References
    ----------
    .. [1] J. Ainslie et al., "GQA: training generalized multi-query transformer models from multi-head checkpoints",
       EMNLP 2023.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((7, 8))
    >>> layer = rnnx.layers.GroupedQueryAttention(head_dim=4, num_query_heads=6, num_key_value_heads=2)
    >>> layer(x, x, use_causal_mask=True).shape, [w.shape for w in layer.weights[:3:2]]
    ((None, 7, 8), [(8, 6, 4), (8, 2, 4)])
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | SeedGenerator | None = None,
        **kwargs: Any,
    ):
        who = type(self).__name__
        queries = per_axis(who, "num_query_heads", num_query_heads, 1)
        shared = per_axis(who, "num_key_value_heads", num_key_value_heads, 1)
        if queries % shared:
            raise ValueError(
                f"{who}: `num_query_heads` must be divisible by `num_key_value_heads`, got {queries} and {shared}"
            )
        super().__init__(
            queries, per_axis(who, "head_dim", head_dim, 1), None, dropout, use_bias, None, None, sliding_window,
            flash_attention, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint, use_gate, seed, **kwargs,
        )  # fmt: skip
        self.repeats = queries // shared

    def arguments_now(self) -> dict[str, Any]:
        found = super().arguments_now()
        for name in ("num_heads", "key_dim", "value_dim", "output_shape"):
            found.pop(name, None)
        own = ("head_dim", "num_query_heads", "num_key_value_heads")
        return {**found, **{name: getattr(self, name) for name in own}}

    head_dim: Any = property(lambda self: self.key_dim, doc="Features of a head.")
    num_query_heads: Any = property(lambda self: self.num_heads, doc="Heads of queries.")
    num_key_value_heads: Any = property(lambda self: self.num_heads // self.repeats, doc="Heads of keys and values.")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("num_heads", "key_dim", "value_dim", "output_shape", "attention_axes"):
            del config[name]
        own = ("head_dim", "num_query_heads", "num_key_value_heads")
        return {**config, **{name: getattr(self, name) for name in own}}
