"""Attention of several heads at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx import constraints, dropout, initializers, regularizers
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator
from rnnx.functional._products import products
from rnnx.layers.attention import Attending, causal_mask, softmax_back, softmax_of
from rnnx.layers.checks import as_mask, generator_of, seed_config
from rnnx.layers.einsum import EinsumDense
from rnnx.layers.graph import is_symbolic
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.places import per_axis
from rnnx.layers.weighted import CHOICES

MASKED = -1e9  # the score of a masked step, as in Keras
MASKS = ("query_mask", "value_mask", "key_mask")
WORDS = (*MASKS, "attention_mask", "return_attention_scores", "training", "use_causal_mask")


class MultiHeadAttention(Attending):
    """Several attentions side by side, each of projections of query, key and value, and a projection of their results.

    Called as ``layer(query, value, key=None, ...)`` with inputs of shape (batch, steps, features).

    Parameters
    ----------
    num_heads : int
    key_dim : int
        Features of a query and a key in one head.
    value_dim : int, optional
        Those of a value; ``key_dim`` if not given.
    dropout : float
        Rate at which weights are dropped in training.
    use_bias : bool
    output_shape : int or tuple of one, optional
        Features of the output; those of the query if not given.
    attention_axes : None or (1,)
        The axis of the steps.
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

    Notes
    -----
    Masks of query, value and key come with the inputs, or as ``query_mask``, ``value_mask`` and ``key_mask``.
    ``attention_mask`` of shape (batch, query steps, value steps) says which values a query sees, beside them;
    ``use_causal_mask=True`` hides later ones. ``return_attention_scores=True`` returns ``[output, weights]``, the
    latter of shape (batch, heads, query steps, value steps). A query that sees nothing gets 0 of the heads.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((7, 8))
    >>> rnnx.layers.MultiHeadAttention(num_heads=2, key_dim=4)(x, x, use_causal_mask=True).shape
    (None, 7, 8)
    """

    fixed_when_built = Attending.fixed_when_built | {"num_heads", "key_dim", "value_dim", "use_bias", "use_gate"}
    call_arguments = Attending.call_arguments | {"attention_mask", *MASKS}
    repeats = 1  # heads of queries that share one of keys and values

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
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
        super().__init__(**kwargs)
        who = type(self).__name__
        self.num_heads, self.key_dim = per_axis(who, "num_heads", num_heads, 1), per_axis(who, "key_dim", key_dim, 1)
        self.value_dim = self.key_dim if value_dim is None else per_axis(who, "value_dim", value_dim, 1)
        self.output_size = None if output_shape is None else per_axis(who, "output_shape", output_shape, 1)
        self.sliding_window = None if sliding_window is None else per_axis(who, "sliding_window", sliding_window, 1)
        axes = attention_axes if isinstance(attention_axes, (list, tuple)) else (attention_axes,)
        if attention_axes is not None and tuple(axes) not in ((1,), (-2,)):
            raise ValueError(f"{who}: `attention_axes` must be None or (1,), the axis of steps, got {attention_axes!r}")
        self._set_rate(dropout, seed)
        if flash_attention:
            raise ValueError(f"{who}: `flash_attention` is not supported, leave it out")
        if activity_regularizer is not None:
            raise ValueError(f"{who}: `activity_regularizer` is not supported, put it on another layer")
        self.use_bias, self.use_gate = bool(use_bias), bool(use_gate)
        given = locals()
        self.choices = {
            f"{name}_{choice}": None if given[f"{name}_{choice}"] is None else known.get(given[f"{name}_{choice}"])
            for name in ("kernel", "bias")
            for choice, known in CHOICES.items()
        }
        self._projections: dict[str, EinsumDense] = {}

    not_attributes = frozenset(
        {
            "output_shape",
            "attention_axes",
            "flash_attention",
            "activity_regularizer",
            *(f"{name}_{choice}" for name in ("kernel", "bias") for choice in CHOICES),
        }
    )
    output_size: int | None = None

    def arguments_now(self) -> dict[str, Any]:
        return {**super().arguments_now(), "output_shape": self.output_size, **self.choices}

    def _set_rate(self, rate: float, seed: Any) -> None:
        self.dropout = dropout.check_rate(type(self).__name__, "dropout", rate, one_allowed=True)
        self.seed_generator = generator_of(seed)
        self.seed = None if seed is None else self.seed_generator.seed

    # ---- Weights -----------------------------------------------------------------------------------------------------

    @property
    def inner_layers(self) -> list[Layer]:
        return list(self._projections.values())

    @property
    def projections(self) -> dict[str, EinsumDense]:
        """The projections by the names that Keras has for them, in the order of the weights."""
        return self._projections

    query_dense: Any = property(lambda self: self._projections.get("query_dense"), doc="That of the query.")
    key_dense: Any = property(lambda self: self._projections.get("key_dense"), doc="That of the key.")
    value_dense: Any = property(lambda self: self._projections.get("value_dense"), doc="That of the value.")
    output_dense: Any = property(lambda self: self._projections.get("output_dense"), doc="That of the heads.")

    def build(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> None:
        """Make the weights for the shapes of query, value and key, which may come in one list."""
        input_shape = _listed(query_shape, value_shape, key_shape)
        query, value, key, _ = self._check(input_shape)
        widths = {"query": query[-1], "key": key[-1], "gate": query[-1], "value": value[-1]}
        if None in widths.values():
            raise ValueError(f"{self.name}: the features of all inputs must be known, got {input_shape}")
        sizes = {"query": self.key_dim, "key": self.key_dim, "gate": self.value_dim, "value": self.value_dim}
        heads = {name: self.num_heads // (self.repeats if name in ("key", "value") else 1) for name in sizes}
        made: dict[str, EinsumDense] = {}
        for name in ("query", "key", "gate", "value"):
            if name != "gate" or self.use_gate:
                made[f"{name}_dense"] = self._projection(
                    name, "abc,cde->abde", (None, heads[name], sizes[name]), "de", (*query[:-1], widths[name])
                )
        wanted = query[-1] if self.output_size is None else self.output_size
        joined = (query[0], query[1], self.num_heads, self.value_dim)
        made["output_dense"] = self._projection("attention_output", "abcd,cde->abe", (None, wanted), "e", joined)
        self._projections = made

    def _projection(self, name: str, equation: str, sizes: Any, bias_axes: str, shape: Any) -> EinsumDense:
        layer = EinsumDense(
            equation, sizes, "sigmoid" if name == "gate" else None, bias_axes if self.use_bias else None, name=name,
            dtype=self.dtype, trainable=self.trainable, **self.choices,
        )  # fmt: skip
        layer.build(shape)
        return layer

    # ---- Calling -----------------------------------------------------------------------------------------------------

    def _by_name(self, args: tuple[Any, ...], call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        query, value, key, *given = [*args, None, None, None][: max(3, len(args))]
        query, value, key = call.pop("query", query), call.pop("value", value), call.pop("key", key)
        if len(given) > len(WORDS):
            raise TypeError(f"{self.name}: at most {3 + len(WORDS)} arguments can be given without a name")
        x = list(query) if isinstance(query, (list, tuple)) and value is None else [query, value]
        return x + ([] if key is None else [key]), _with_masks({**dict(zip(WORDS, given, strict=False)), **call})

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        x = list(x) if isinstance(x, (list, tuple)) else [x]
        if len(x) < 2 or x[1] is None:
            raise ValueError(f"{self.name}: a query and a value are needed, got the query alone")
        call = _with_masks(call)
        shown = call.get("attention_mask")
        if is_symbolic(shown) and not is_symbolic(x):
            raise TypeError(f"{self.name}: `attention_mask` is a symbolic tensor, the inputs are arrays")
        if is_symbolic(shown):
            x = [*x, x[1]][:3] + [call.pop("attention_mask")]
        call = {word: value for word, value in call.items() if value is not None and value is not False}
        return super()._call(x, call)

    def prepare(self, x: Any) -> Any:
        x = super().prepare([np.asarray(part) for part in x])
        self._check([part.shape for part in x])
        return x

    def _check(self, shapes: Any) -> list[Any]:
        """Shapes of query, value, key and of a mask (or None), which fit together."""
        if not isinstance(shapes, list) or len(shapes) not in (2, 3, 4):
            raise ValueError(f"{self.name}: call it with a query, a value and perhaps a key")
        query, value, key = shapes[0], shapes[1], shapes[min(2, len(shapes) - 1)]
        shown = shapes[3] if len(shapes) == 4 else None
        fits = len(query) == len(value) == len(key) == 3 and all(
            a is None or b is None or a == b for a, b in ((value[1], key[1]), (query[0], value[0]), (value[0], key[0]))
        )
        if not fits:
            listed = ", ".join(str(tuple(shape)) for shape in shapes)
            raise ValueError(
                f"{self.name}: query, value and key must have shapes (batch, a, n), (batch, b, m), (batch, b, k), got "
                f"{listed}"
            )
        for layer, shape in zip(self.projections.values(), (query, key), strict=False):
            layer.compute_output_shape(shape)
        return [query, value, key, shown]

    def compute_output_shape(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> Any:
        query = self._check(_listed(query_shape, value_shape, key_shape))[0]
        return (*query[:-1], query[-1] if self.output_size is None else self.output_size)

    def scores_shape(self, input_shape: Any) -> tuple[Any, ...]:
        query, value, *_ = self._check(input_shape)
        return (query[0], self.num_heads, query[1], value[1])

    def _seen(self, x: list[Array], mask: Any, attention_mask: Any, causal: bool) -> Any:
        """Which values each query sees, as it broadcasts to (batch, heads, query steps, value steps); None for all."""
        query_mask, value_mask, key_mask = (list(mask or []) + [None, None, None])[:3]
        rows, columns = x[0].shape[1], x[1].shape[1]
        parts = [] if query_mask is None else [query_mask[:, None, :, None]]
        parts += [own[:, None, None, :] for own in (value_mask, key_mask) if own is not None]
        if causal:
            parts.append(causal_mask(rows, columns)[None, None])
        if self.sliding_window is not None:
            apart = np.abs(np.arange(rows)[:, None] - np.arange(columns))
            parts.append((apart < self.sliding_window)[None, None])
        if attention_mask is not None:
            shown = as_mask(self.name, attention_mask)
            wanted = (len(x[0]), rows, columns) if shown.ndim < 4 else (len(x[0]), self.num_heads, rows, columns)
            sizes = zip(shown.shape[::-1], wanted[::-1], strict=False)
            if not 2 <= shown.ndim <= 4 or any(n not in (1, want) for n, want in sizes):
                raise ValueError(f"{self.name}: `attention_mask` must have shape {wanted}, got {shown.shape}")
            parts.append(shown if shown.ndim == 4 else shown[:, None] if shown.ndim == 3 else shown[None, None])
        seen: Any = None
        for part in parts:
            seen = part if seen is None else seen & part
        return seen

    def _shared(self, heads: Array) -> Array:
        """Heads of keys or values, (batch, heads, steps, features), for each head of the queries."""
        return heads if self.repeats == 1 else heads.repeat(self.repeats, axis=1)

    def _shared_back(self, d: Array) -> Array:
        if self.repeats == 1:
            return d
        batch, heads, *rest = d.shape
        return d.reshape(batch, heads // self.repeats, self.repeats, *rest).sum(axis=2)

    def forward(
        self,
        x: Any,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        if len(x) == 4:
            attention_mask, mask = x[3], None if mask is None else list(mask)[:2]
        own_key = 2 < len(x)
        value, key = x[1], x[2] if own_key else x[1]
        inputs = {"query_dense": x[0], "key_dense": key, "gate_dense": x[0], "value_dense": value}
        runs = {
            name: layer.forward(inputs[name], keep=keep) for name, layer in self.projections.items() if name in inputs
        }
        heads = {name: y.transpose(0, 2, 1, 3) for name, (y, _) in runs.items()}
        scale = np.asarray(1 / math.sqrt(self.key_dim), self.dtype)
        q, k, v = heads["query_dense"] * scale, self._shared(heads["key_dense"]), self._shared(heads["value_dense"])
        scores = products(q, k.swapaxes(2, 3))
        seen = self._seen(x, mask, attention_mask, use_causal_mask)
        zero = np.zeros((), self.dtype)
        if seen is not None:
            scores = np.where(seen, scores, np.asarray(MASKED, self.dtype))
        weights = softmax_of(scores)
        if seen is not None:
            weights = np.where(seen, weights, zero)
        used, kept = weights, None
        if training and self.dropout > 0:
            used, kept = dropout.dropout(weights, self.dropout, self.seed_generator.begin(), None, self.name)
        mixed = products(used, v)
        gate = heads.get("gate_dense")
        gated = mixed if gate is None else mixed * gate
        y, back = self.projections["output_dense"].forward(gated.transpose(0, 2, 1, 3), keep=keep)

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            dy, dscores = dy if return_attention_scores else (dy, None)
            dy = np.zeros_like(y) if dy is None else self.cast(dy)
            assert back is not None
            last = back(dy)
            dgated = last.dx.transpose(0, 2, 1, 3)
            dmixed = dgated if gate is None else dgated * gate
            dweights = products(dmixed, v.swapaxes(2, 3))
            if kept is not None:
                dweights = dropout.dropout_backward(dweights, kept, self.dropout)
            if dscores is not None:
                dweights = dweights + self.cast(dscores)
            if seen is not None:
                dweights = np.where(seen, dweights, zero)
            d = softmax_back(weights, dweights)
            if seen is not None:
                d = np.where(seen, d, zero)
            of_heads = {
                "query_dense": products(d, k) * scale,
                "key_dense": self._shared_back(products(d.swapaxes(2, 3), q)),
                "value_dense": self._shared_back(products(used.swapaxes(2, 3), dmixed)),
            }
            if gate is not None:
                of_heads["gate_dense"] = dgated * mixed
            grads = {
                name: run[1](of_heads[name].transpose(0, 2, 1, 3), need_dx=need_dx)
                for name, run in runs.items()
                if run[1] is not None
            }
            dweights_of = [part for name in runs for part in grads[name].dweights] + last.dweights
            if not self.trainable:
                dweights_of = [None] * len(dweights_of)
            if not need_dx:
                return Gradients(None, dweights_of)
            dquery = grads["query_dense"].dx
            if gate is not None:
                dquery = dquery + grads["gate_dense"].dx
            dvalue, dkey = grads["value_dense"].dx, grads["key_dense"].dx
            dx = [dquery, dvalue, dkey] if own_key else [dquery, dvalue + dkey]
            return Gradients([*dx, *(np.zeros_like(part) for part in x[3:])], dweights_of)

        return ([y, weights] if return_attention_scores else y), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "sliding_window", "use_gate"):
            config[name] = getattr(self, name)
        config.update(output_shape=self.output_size, attention_axes=None)
        config["seed"] = seed_config(self.seed, self.seed_generator)
        known = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
        for name, value in self.choices.items():
            config[name] = known[name.rsplit("_", 1)[-1]].serialize(value)
        return config


def _with_masks(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call with the masks of query, value and key, if there are any, in one list."""
    masks = [call.get(word) for word in MASKS]
    rest = {word: value for word, value in call.items() if word not in MASKS}
    return {**rest, "mask": masks} if any(mask is not None for mask in masks) else rest


def _listed(query: Any, value: Any, key: Any) -> list[Any]:
    """Shapes in one list, from one or from arguments of their own."""
    return query if value is None else [tuple(shape) for shape in (query, value, key) if shape is not None]
