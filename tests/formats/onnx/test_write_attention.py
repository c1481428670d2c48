"""Attention layers and convolutional LSTMs in ONNX files: against ONNX' own reference, and read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx import Input, Model, layers
from rnnx.formats.onnx import Session
from rnnx.formats.onnx._write import exported
from rnnx.saving import FormatError

QUERY, VALUE, KEY, SHOWN = (4, 6), (5, 3), (5, 6), (4, 5)
ROWS, SIGNAL, CLIP, VOLUME = (4, 14), (4, 7, 2), (3, 6, 5, 2), (2, 4, 3, 5, 2)
FIRST = {"data_format": "channels_first"}


def masked(x: Any) -> Any:
    """With a mask: the test's inputs have steps of zeros."""
    return layers.Masking()(x)


def attended(make: Callable[[], Any], **call: Any) -> Callable[..., Any]:
    return lambda *x: make()(list(x), **call)


def heads(**options: Any) -> Any:
    return layers.MultiHeadAttention(2, 3, **options)


def with_masks(make: Callable[[], Any], **call: Any) -> Callable[..., Any]:
    return lambda *x: make()([masked(part) for part in x], **call)


def rows(x: Any) -> Any:
    """Signals with a mask of their steps."""
    return layers.TimeDistributed(layers.Reshape((7, 2)))(masked(x))


def conv_with_states(x: Any, h: Any, c: Any) -> Any:
    return layers.ConvLSTM1D(3, 2, return_sequences=True, return_state=True)(x, initial_state=[h, c])


CASES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "attention": (attended(layers.Attention), [QUERY, KEY]),
    "attention of keys": (attended(lambda: layers.Attention(use_scale=True)), [QUERY, VALUE, KEY]),
    "attention, concat": (attended(lambda: layers.Attention(True, "concat"), use_causal_mask=True), [QUERY, KEY]),
    "attention, scores": (attended(lambda: layers.Attention(score_mode="concat", dropout=0.3),
                                   return_attention_scores=True), [QUERY, KEY]),
    "attention, masks": (with_masks(layers.Attention, use_causal_mask=True), [QUERY, KEY]),
    "additive": (attended(layers.AdditiveAttention), [QUERY, VALUE, KEY]),
    "additive, masks": (with_masks(lambda: layers.AdditiveAttention(False), return_attention_scores=True),
                        [QUERY, KEY]),
    "heads": (lambda q, v: heads()(q, v), [QUERY, VALUE]),
    "heads of keys": (lambda q, v, k: heads(value_dim=4, output_shape=5, use_bias=False)(q, v, k), [QUERY, VALUE, KEY]),
    "heads, causal": (lambda q, v: heads(use_gate=True)(q, v, use_causal_mask=True), [QUERY, VALUE]),
    "heads, window": (lambda q, v: heads(sliding_window=2)(q, v, return_attention_scores=True), [QUERY, VALUE]),
    "heads, masks": (lambda q, v, k: heads()(masked(q), masked(v), masked(k)), [QUERY, VALUE, KEY]),
    "heads, shown": (lambda q, v, m: heads()(masked(q), v, attention_mask=m), [QUERY, VALUE, SHOWN]),
    "heads, tagged": (lambda x: layers.Dense(2)(layers.Add()([x, heads()(x, x)])), [QUERY]),
    "conv": (layers.ConvLSTM1D(3, 2), [SIGNAL]),
    "conv, sequences": (lambda x: layers.ConvLSTM1D(3, 3, 2, "same", return_sequences=True)(x), [SIGNAL]),
    "conv, backwards": (lambda x: layers.ConvLSTM1D(3, 2, go_backwards=True, return_sequences=True, **FIRST)(x),
                        [SIGNAL]),
    "conv, states": (conv_with_states, [SIGNAL, (6, 3), (6, 3)]),
    "conv, images": (lambda x: layers.ConvLSTM2D(3, (3, 2), (1, 2), "same", recurrent_activation="hard_sigmoid",
                                                 use_bias=False, return_state=True)(x), [CLIP]),
    "conv, images first": (lambda x: layers.ConvLSTM2D(3, 2, dilation_rate=(1, 2), **FIRST)(x), [(3, 2, 6, 5)]),
    "conv, volumes": (lambda x: layers.ConvLSTM3D(2, 2)(x), [VOLUME]),
    "conv, mask": (lambda x: layers.ConvLSTM1D(3, 2, return_sequences=True)(rows(x)), [ROWS]),
    "conv, mask last": (lambda x: layers.ConvLSTM1D(3, 2, go_backwards=True)(rows(x)), [ROWS]),
    "conv, mask zeros": (lambda x: layers.ConvLSTM1D(3, 2, return_state=True, return_sequences=True,
                                                     zero_output_for_mask=True)(rows(x)), [ROWS]),
    "conv, mask states": (lambda x, h, c: layers.ConvLSTM1D(3, 2)(rows(x), initial_state=[h, c]),
                          [ROWS, (6, 3), (6, 3)]),
}  # fmt: skip


def model_of(name: str) -> tuple[Any, list[Any]]:
    """A model with asymmetric weights, and inputs in which some steps are zero."""
    make, shapes = CASES[name]
    rng = np.random.default_rng(5)
    entries = [Input(shape, name=f"x{k}") for k, shape in enumerate(shapes)]
    model = Model(entries, make(*entries), name="model")
    model.set_weights([rng.normal(size=w.shape) * 0.6 for w in model.weights])
    inputs = [rng.normal(size=(3, *shape)).astype("float32") for shape in shapes]
    if name.endswith("shown"):
        inputs[-1] = (inputs[-1] > -0.5).astype("float32")
    for k, x in enumerate(inputs):
        x[0, -1 - k % 2 :] = x[1, 0] = 0
    return model, inputs


@pytest.mark.parametrize("name", CASES)
def test_nodes_say_what_the_layer_does(name: str) -> None:
    model, inputs = model_of(name)
    proto, _ = exported(model)
    onnx.checker.check_model(proto, full_check=True)
    given = {f"x{k}": x for k, x in enumerate(inputs)}
    expected = model(inputs if len(inputs) > 1 else inputs[0])
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    for found in (ReferenceEvaluator(proto).run(None, given), list(Session(proto).run(given).values())):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_same_model_comes_back(name: str, tmp_path: Any) -> None:
    model, inputs = model_of(name)
    model.save(tmp_path / "m.onnx")
    again = rnnx.load_model(tmp_path / "m.onnx")
    assert again.get_config() == model.get_config()
    given = inputs if len(inputs) > 1 else inputs[0]
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    found, expected = again(given), model(given)
    pairs = zip(found, expected, strict=True) if isinstance(found, list) else [(found, expected)]
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_arrays_in_a_call_are_refused() -> None:
    q, v = Input(QUERY), Input(VALUE)
    model = Model([q, v], heads()(q, v, attention_mask=np.ones((1, 4, 5), bool)))
    with pytest.raises(FormatError, match="attention_mask, which cannot be written"):
        exported(model)
    stateful = rnnx.Sequential([Input(batch_shape=(2, *SIGNAL)), layers.ConvLSTM1D(3, 2, stateful=True)])
    with pytest.raises(FormatError, match="stateful=True"):
        exported(stateful)
