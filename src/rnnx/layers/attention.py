"""Attention of sequences to sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import dropout
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator
from rnnx.functional._products import product, products
from rnnx.layers.checks import as_masks, generator_of, seed_config
from rnnx.layers.layer import Gradients, Layer, Pullback

LEFT_OUT = 1e9  # taken off the score of a masked step, as in Keras
SCORES = ("dot", "concat")


def causal_mask(rows: int, columns: int) -> Array:
    """True where a step of the query may see a step of the value: at its own place and before."""
    return np.tri(rows, columns, dtype=bool)


def softmax_of(scores: Array) -> Array:
    """The softmax over the last axis."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True)) if scores.shape[-1] else scores
    total: Array = e.sum(axis=-1, keepdims=True)
    return e / total


def softmax_back(weights: Array, dweights: Array) -> Array:
    """Gradient of the scores of `softmax_of` for that of the weights."""
    return weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))


class Attending(Layer):
    """What the attention layers share: several inputs with masks, and scores that are returned on demand."""

    outputs_by_call = True
    call_arguments = frozenset({"mask", "training", "return_attention_scores", "use_causal_mask"})

    def takes_list(self, x: Any) -> bool:
        return isinstance(x, (list, tuple))

    def given_mask(self, x: Any, mask: Any) -> Any:
        if not isinstance(mask, (list, tuple)) or not 1 <= len(mask) <= 3:
            raise ValueError(
                f"{self.name}: `mask` must be a list of those of query and value, got {type(mask).__name__}"
            )
        masks = as_masks(self.name, list(mask), True)
        for part, own in zip(x, masks, strict=False):
            known = None if own is None else zip(own.shape, part.shape[:2], strict=False)
            if known is not None and (own.ndim != 2 or any(want not in (None, got) for got, want in known)):
                raise ValueError(f"{self.name}: a `mask` must have shape {tuple(part.shape[:2])}, got {own.shape}")
        return masks

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if mask else None

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        output = self.compute_output_shape(input_shape)
        return [output, self.scores_shape(input_shape)] if call.get("return_attention_scores") else output

    def scores_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Shape of the scores."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its scores are")


class Attention(Attending):
    """Dot-product attention: each step of the query takes a mean of the values, weighted by how well their keys fit.

    Called with ``[query, value]`` or ``[query, value, key]`` of shapes (batch, steps, features); without a key the
    value is its own.

    Parameters
    ----------
    use_scale : bool
        A learned factor of the scores.
    score_mode : {"dot", "concat"}
        The product of query and key, or the sum of ``tanh(query + key)`` over the features with a learned factor.
    dropout : float
        Rate at which weights are dropped in training.
    seed : int, SeedGenerator or None

    Notes
    -----
    Masks of the query and the value come with the inputs, or as ``mask=[query_mask, value_mask]``: masked values are
    not seen, outputs of masked queries are 0. ``use_causal_mask=True`` hides later values from a query.
    ``return_attention_scores=True`` returns ``[output, weights]``, the latter of shape (batch, query steps, value
    steps).

    References
    ----------
    .. [1] M.-T. Luong, H. Pham, C. D. Manning, "Effective approaches to attention-based neural machine translation",
       EMNLP 2015.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.layers.GRU(4, return_sequences=True)(rnnx.Input((7, 3)))
    >>> rnnx.layers.Attention()([x, x]).shape
    (None, 7, 4)
    """

    fixed_when_built = Attending.fixed_when_built | {"use_scale", "score_mode"}

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | SeedGenerator | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.set_up(use_scale, dropout, seed)
        if score_mode not in SCORES:
            raise ValueError(f"Attention: `score_mode` must be one of {SCORES}, got {score_mode!r}")
        self.score_mode = score_mode

    @property
    def scale(self) -> Any:
        """The learned factor; None if there is none, or before the layer is built."""
        return next((weight for weight in self._weights if weight.name.rpartition("/")[2] == "scale"), None)

    def set_up(self, use_scale: bool, rate: float, seed: Any) -> None:
        """Check and keep what both attention layers are given."""
        self.use_scale = bool(use_scale)
        self.dropout = dropout.check_rate(type(self).__name__, "dropout", rate, one_allowed=True)
        self.seed_generator = generator_of(seed)
        self.seed = None if seed is None else self.seed_generator.seed

    def prepare(self, x: Any) -> Any:
        if not isinstance(x, (list, tuple)):
            raise ValueError(f"{self.name}: expected [query, value] or [query, value, key], got {type(x).__name__}")
        x = super().prepare([np.asarray(part) for part in x])
        self.check([part.shape for part in x])
        return x

    def check(self, shapes: Any) -> None:
        """Refuse shapes that do not fit together."""
        if not isinstance(shapes, list) or len(shapes) not in (2, 3):
            given = f"{len(shapes)} inputs" if isinstance(shapes, list) else "one input"
            raise ValueError(f"{self.name}: expected [query, value] or [query, value, key], got {given}")
        query, value, key = shapes[0], shapes[1], shapes[-1]
        fits = len(query) == len(value) == len(key) == 3 and all(
            a is None or b is None or a == b
            for a, b in ((query[2], key[2]), (value[1], key[1]), (query[0], value[0]), (value[0], key[0]))
        )
        if not fits:
            shown = ", ".join(str(tuple(shape)) for shape in shapes)
            raise ValueError(
                f"{self.name}: query, value and key must have shapes (batch, a, n), (batch, b, m), (batch, b, n), got "
                f"{shown}"
            )

    def build(self, input_shape: Any) -> None:
        self.check(input_shape)
        if self.use_scale:
            self.add_weight("scale", (), "ones")
        if self.score_mode == "concat":
            self.add_weight("concat_score_weight", (), "ones")

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check(input_shape)
        return (*input_shape[0][:-1], input_shape[1][-1])

    def scores_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*input_shape[0][:-1], input_shape[1][1])

    def scores(self, query: Array, key: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, list[Any]]]]:
        """How well keys fit queries; gradients of the query, the key and the weights for that of the scores."""
        weights = {weight.name: weight.array for weight in self._weights}
        scale = weights.get("scale", np.ones((), query.dtype))
        if self.score_mode == "dot":
            raw = products(query, key.swapaxes(1, 2))

            def of_dot(d: Array) -> tuple[Array, Array, list[Any]]:
                ds = d * scale
                own = [(d * raw).sum()] if self.use_scale else []
                return products(ds, key), products(ds.swapaxes(1, 2), query), own

            return raw * scale, of_dot
        factor, joined = weights["concat_score_weight"], query[:, :, None] + key[:, None]
        bent = np.tanh(scale * joined)
        total = bent.sum(axis=-1)

        def of_concat(d: Array) -> tuple[Array, Array, list[Any]]:
            dinner = (d * factor)[..., None] * (1 - bent * bent)
            own = [(dinner * joined).sum()] if self.use_scale else []
            djoined = dinner * scale
            return djoined.sum(axis=2), djoined.sum(axis=1), [*own, (d * total).sum()]

        return factor * total, of_concat

    def forward(
        self,
        x: Any,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        query, value, key = x[0], x[1], x[-1]
        query_mask, value_mask = (list(mask) + [None, None])[:2] if mask else (None, None)
        scores, back = self.scores(query, key)
        seen = None if value_mask is None else value_mask[:, None]
        if use_causal_mask:
            causal = causal_mask(*scores.shape[1:])
            seen = causal if seen is None else seen & causal
        if seen is not None:
            scores = np.where(seen, scores, scores - np.asarray(LEFT_OUT, scores.dtype))
        whole = softmax_of(scores)
        weights, kept = whole, None
        if training and self.dropout > 0:
            weights, kept = dropout.dropout(whole, self.dropout, self.seed_generator.begin(), None, self.name)
        y = products(weights, value)
        if query_mask is not None:
            y = np.where(query_mask[..., None], y, np.zeros((), y.dtype))

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            dy, dscores = dy if return_attention_scores else (dy, None)
            dy = np.zeros_like(y) if dy is None else self.cast(dy)
            if query_mask is not None:
                dy = np.where(query_mask[..., None], dy, np.zeros((), y.dtype))
            dweights = products(dy, value.swapaxes(1, 2))
            if dscores is not None:
                dweights = dweights + self.cast(dscores)
            if kept is not None:
                dweights = dropout.dropout_backward(dweights, kept, self.dropout)
            dquery, dkey, own = back(softmax_back(whole, dweights))
            dvalue = products(weights.swapaxes(1, 2), dy)
            dx = [dquery, dvalue + dkey] if len(x) == 2 else [dquery, dvalue, dkey]
            found: list[Array | None] = [None] * len(own)
            if self.trainable:
                found = [np.asarray(d, self.dtype).reshape(w.shape) for d, w in zip(own, self._weights, strict=True)]
            return Gradients(dx if need_dx else None, found)

        return ([y, weights] if return_attention_scores else y), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(use_scale=self.use_scale, dropout=self.dropout, seed=seed_config(self.seed, self.seed_generator))
        if hasattr(self, "score_mode"):
            config["score_mode"] = self.score_mode
        return config


class AdditiveAttention(Attention):
    """Additive attention: keys fit a query by the sum of ``scale * tanh(query + key)`` over the features.

    Called with ``[query, value]`` or ``[query, value, key]`` of shapes (batch, steps, features).

    Parameters
    ----------
    use_scale : bool
        A learned factor for each feature.
    dropout : float
        Rate at which weights are dropped in training.
    seed : int, SeedGenerator or None

    Notes
    -----
    Masks and arguments of the call are those of `Attention`.

    References
    ----------
    .. [1] D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and translate",
       ICLR 2015.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.layers.GRU(4, return_sequences=True)(rnnx.Input((7, 3)))
    >>> rnnx.layers.AdditiveAttention()([x, x]).shape
    (None, 7, 4)
    """

    not_attributes = frozenset({"score_mode"})

    def __init__(
        self, use_scale: bool = True, dropout: float = 0.0, seed: int | SeedGenerator | None = None, **kwargs: Any
    ):
        Attending.__init__(self, **kwargs)
        self.set_up(use_scale, dropout, seed)

    def build(self, input_shape: Any) -> None:
        self.check(input_shape)
        width = input_shape[0][-1]
        if self.use_scale:
            if width is None:
                raise ValueError(f"{self.name}: the features of the query must be known, got {input_shape[0]}")
            self.add_weight("scale", (int(width),), "glorot_uniform")

    def scores(self, query: Array, key: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, list[Any]]]]:
        width = query.shape[-1]
        scale = self._weights[0].array if self._weights else np.ones(width, query.dtype)
        bent = np.tanh(query[:, :, None] + key[:, None])

        def back(d: Array) -> tuple[Array, Array, list[Any]]:
            own = [product(d.reshape(-1), bent.reshape(-1, width))] if self._weights else []
            djoined = d[..., None] * scale * (1 - bent * bent)
            return djoined.sum(axis=2), djoined.sum(axis=1), own

        return product(bent.reshape(-1, width), scale).reshape(bent.shape[:-1]), back
