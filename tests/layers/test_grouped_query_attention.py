"""Heads of keys and values that serve groups of queries: as many heads with equal weights."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers

RNG = np.random.default_rng(8)
QUERY, VALUE = (RNG.normal(size=shape).astype("float32") for shape in ((2, 4, 5), (2, 6, 3)))


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"use_gate": True, "use_bias": False}, {"sliding_window": 2}])
def test_it_is_a_multi_head_attention_with_equal_heads(shared: int, options: dict[str, Any]) -> None:
    grouped = layers.GroupedQueryAttention(3, 4, shared, **options)
    whole = layers.MultiHeadAttention(4, 3, **options)
    for layer in (grouped, whole):
        layer.build(QUERY.shape, VALUE.shape)
    grouped.set_weights([RNG.normal(size=w.shape) for w in grouped.get_weights()])
    gate = whole.use_gate
    parts = grouped.get_weights()
    step = 2 if whole.use_bias else 1
    for name, place in (("key", 1), ("value", 3 if gate else 2)):
        for k in range(place * step, (place + 1) * step):
            assert parts[k].shape[-2] == shared, name
            parts[k] = np.repeat(parts[k], 4 // shared, axis=-2)
    whole.set_weights(parts)
    (y, scores), (wanted, wanted_scores) = (
        layer(QUERY, VALUE, use_causal_mask=True, return_attention_scores=True) for layer in (grouped, whole)
    )
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)
    assert scores.shape == (2, 4, 4, 6)


WANTED = [[0.66367203, 0.68557954], [0.6637066, 0.6856153], [0.66374123, 0.6856512]]


def test_values_of_keras() -> None:
    """Of Keras 3.15: weights 0.01, 0.02, ... in the order of the layer, inputs 0, 0.1, ..."""
    layer = layers.GroupedQueryAttention(2, 2, 1)
    query, value = (np.arange(6, dtype="f").reshape(1, 3, 2) / 10, np.arange(4, dtype="f").reshape(1, 2, 2) / 10)
    layer.build(query.shape, value.shape)
    sizes = [w.size for w in layer.get_weights()]
    count = np.arange(1, sum(sizes) + 1, dtype="f") / 100
    parts = np.split(count, np.cumsum(sizes)[:-1])
    layer.set_weights([part.reshape(w.shape) for part, w in zip(parts, layer.get_weights(), strict=True)])
    np.testing.assert_allclose(layer(query, value)[0], WANTED, rtol=1e-5)


def test_files_have_the_names_of_keras(tmp_path: Path) -> None:
    a, b = rnnx.Input((4, 5)), rnnx.Input((6, 3))
    model = rnnx.Model([a, b], layers.GroupedQueryAttention(3, 4, 2, use_gate=True)(a, b))
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        entry = json.loads(archive.read("config.json"))["config"]["layers"][2]
    assert (entry["module"], entry["class_name"]) == ("keras.layers", "GroupQueryAttention")
    assert "num_heads" not in entry["config"] and entry["config"]["num_key_value_heads"] == 2
    again = rnnx.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again([QUERY, VALUE]), model([QUERY, VALUE]))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="`num_query_heads` must be divisible by `num_key_value_heads`, got 4 and 3"):
        layers.GroupedQueryAttention(3, 4, 3)
    with pytest.raises(ValueError, match="GroupedQueryAttention: `head_dim`"):
        layers.GroupedQueryAttention(0, 4, 2)
    with pytest.raises(ValueError, match="GroupedQueryAttention: `flash_attention` is not supported"):
        layers.GroupedQueryAttention(3, 4, 2, flash_attention=True)
