"""Attention of several heads against the formula in plain NumPy, and what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers

HEADS, WIDTH = 2, 3
RNG = np.random.default_rng(6)
QUERY, VALUE, KEY = (RNG.normal(size=shape).astype("float32") for shape in ((2, 4, 5), (2, 6, 3), (2, 6, 7)))


def attention(layer: Any, query: Any, value: Any, key: Any, seen: Any) -> tuple[Any, Any]:
    """The outputs and scores by the formula, in float64."""
    weights = [w.astype(np.float64) for w in layer.get_weights()]
    wq, bq, wk, bk, wv, bv, wo, bo = weights
    q, k, v = (np.einsum("bti,ihd->bthd", x, w) + b for x, w, b in ((query, wq, bq), (key, wk, bk), (value, wv, bv)))
    scores = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(WIDTH)
    scores = np.where(seen, scores, -1e9)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return np.einsum("bhts,bshd,hdo->bto", shares, v, wo) + bo, shares


MASKS = {
    "of steps": RNG.random((4, 6)) < 0.6,
    "of rows": RNG.random((2, 4, 6)) < 0.6,
    "of heads": RNG.random((2, HEADS, 4, 6)) < 0.6,
    "for all queries": RNG.random((2, 1, 6)) < 0.6,
}
for _mask in MASKS.values():
    _mask[..., 0] = True  # every query sees something


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_any_axes(name: str) -> None:
    layer, mask = layers.MultiHeadAttention(HEADS, WIDTH), MASKS[name]
    y, scores = layer(QUERY, VALUE, KEY, attention_mask=mask, return_attention_scores=True)
    layer.set_weights([RNG.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    y, scores = layer(QUERY, VALUE, KEY, attention_mask=mask, return_attention_scores=True)
    seen = mask if mask.ndim == 4 else mask[:, None] if mask.ndim == 3 else mask
    expected, shares = attention(layer, QUERY, VALUE, KEY, seen)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores, shares, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer(query=QUERY, key=KEY, value=VALUE, attention_mask=mask), y)
    entries = [rnnx.Input(part.shape[1:]) for part in (QUERY, VALUE, KEY)]
    shown = rnnx.Input(mask.shape[1:], dtype="bool")
    if mask.ndim == 3:
        model = rnnx.Model([*entries, shown], layer(*entries, attention_mask=shown))
        np.testing.assert_allclose(model([QUERY, VALUE, KEY, mask]), y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda layer: layer(QUERY), ValueError, "a query and a value are needed"),
        (lambda layer: layer([QUERY, VALUE, KEY, KEY, KEY]), ValueError, "a query, a value and perhaps a key"),
        (lambda layer: layer(QUERY, VALUE[:1]), ValueError, r"must have shapes .* got \(2, 4, 5\), \(1, 6, 3\)"),
        (lambda layer: layer(QUERY, VALUE, KEY[:, :2]), ValueError, r"must have shapes .*\(2, 2, 7\)"),
        (lambda layer: layer(QUERY, VALUE, attention_mask=np.ones((2, 4, 5), bool)), ValueError,
         r"`attention_mask` must have shape \(2, 4, 6\), got \(2, 4, 5\)"),
        (lambda layer: layer(QUERY, VALUE, attention_mask=rnnx.Input((4, 6))), TypeError, "is a symbolic tensor"),
        (lambda layer: layer(*[QUERY] * 12), TypeError, "can be given without a name"),
        (lambda layer: layer(rnnx.Input((4, None)), rnnx.Input((6, 3))), ValueError, "features of all inputs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(layers.MultiHeadAttention(HEADS, WIDTH))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        layers.MultiHeadAttention(2, 3, use_gate=True, dtype="float64"),
        layers.GroupedQueryAttention(3, 4, 2, dtype="float64"),
    ],
    ids=["multi_head", "grouped_query"],
)
def test_gradients_know_the_masks_that_a_call_was_given(layer: Any, causal: bool) -> None:
    rng = np.random.default_rng(12)
    query, value, key = (rng.normal(size=shape) for shape in ((2, 4, 5), (2, 6, 3), (2, 6, 2)))
    given = {
        "query_mask": rng.random((2, 4)) < 0.7,
        "value_mask": np.array([[1, 1, 1, 0, 1, 0], [1, 0, 1, 1, 1, 1]], bool),
        "key_mask": np.array([[1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], bool),
        "use_causal_mask": causal,
    }
    layer(query, value, key)
    y, pullback = layer.vjp(query, value, key, **given)
    np.testing.assert_array_equal(y, layer(query, value, key, **given))
    np.testing.assert_array_equal(layer.vjp([query, value, key], **given)[0], y)
    assert np.abs(y - layer.vjp(query, value, key)[0]).max() > 1e-3
    dy = rng.normal(size=y.shape)
    for x, dx, place in zip((query, value, key), pullback(dy).dx, ((1, 2, 3), (0, 2, 1), (1, 0, 1)), strict=True):
        start, step, sums = x[place], 1e-6, []
        for x[place] in (start + step, start - step):
            sums.append((layer(query, value, key, **given) * dy).sum())
        x[place] = start
        np.testing.assert_allclose((sums[0] - sums[1]) / (2 * step), dx[place], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(pullback(dy).dx[1][0, [1, 3, 5]], 0)  # hidden values
