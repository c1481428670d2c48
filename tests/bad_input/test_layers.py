"""Bad arguments of layer calls: one clear error each, and the layer is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnx import layers
from rnnx.dropout import DropoutMasks
from tests.bad_input.unchanged import refuse, unchanged

B, T, F, U = 2, 5, 3, 4
RECURRENT: dict[str, Callable[..., Any]] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "SimpleRNN": layers.SimpleRNN,
    "RNN": lambda units, return_sequences, seed, dropout: layers.RNN(
        layers.GRUCell(units, seed=seed, dropout=dropout), return_sequences=return_sequences
    ),
    "Bidirectional": lambda units, **options: layers.Bidirectional(layers.LSTM(units, **options)),
}


def recurrent(name: str) -> Any:
    layer = RECURRENT[name](U, return_sequences=True, dropout=0.5, seed=3)
    layer(np.zeros((B, T, F)))
    return layer


def x(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape or (B, T, F), dtype)


CALLS: dict[str, tuple[Any, dict[str, Any], type[BaseException], tuple[str, ...]]] = {
    "rank_2": (x(B, F), {}, ValueError, ("(batch, timesteps, features)", "(2, 3)")),
    "rank_4": (x(B, T, F, 1), {}, ValueError, ("(batch, timesteps, features)", "(2, 5, 3, 1)")),
    "features": (x(B, T, F + 1), {}, ValueError, ("3", "(2, 5, 4)")),
    "complex": (x(dtype=np.complex128), {}, TypeError, ("real", "complex128")),
    "object": (x(dtype=object), {}, TypeError, ("real", "object")),
    "string": (np.full((B, T, F), "a"), {}, TypeError, ("real", "<U1")),
    "none": (None, {}, TypeError, ("real", "object")),
    "argument": (x(), {"temperature": 1}, TypeError, ("temperature", "unknown")),
    "mask_shape": (x(), {"mask": x(B, T + 1, dtype=bool)}, ValueError, ("`mask`", "(2, 5)", "(2, 6)")),
    "mask_dtype": (x(), {"mask": np.full((B, T), "1")}, TypeError, ("`mask`", "boolean", "numbers", "<U1")),
    "mask_object": (x(), {"mask": np.full((B, T), None)}, TypeError, ("`mask`", "boolean", "numbers", "object")),
    "lengths_beyond": (x(), {"lengths": [9, 1]}, ValueError, ("`lengths`", "0..5", "9")),
    "lengths_negative": (x(), {"lengths": [1, -2]}, ValueError, ("`lengths`", "0..5", "-2")),
    "lengths_float": (x(), {"lengths": [1.0, 2.0]}, TypeError, ("`lengths`", "integers", "float64")),
    "lengths_shape": (x(), {"lengths": [1, 2, 3]}, ValueError, ("`lengths`", "(2,)", "(3,)")),
    "both": (x(), {"lengths": [1, 2], "mask": x(B, T, dtype=bool)}, ValueError, ("`mask`", "`lengths`")),
    "state_shape": (x(), {"initial_state": "shape"}, ValueError, ("`initial_state`", "(2, 4)", "(2, 5)")),
    "state_batch": (x(), {"initial_state": "batch"}, ValueError, ("`initial_state`", "(2, 4)", "(3, 4)")),
    "state_count": (x(), {"initial_state": "count"}, ValueError, ("`initial_state`", "got")),
    "state_complex": (x(), {"initial_state": "complex"}, TypeError, ("real", "complex64")),
}


def state(layer: Any, kind: str) -> list[Any]:
    count = {"LSTM": 2, "Bidirectional": 4}.get(type(layer).__name__, 1)
    shape = {"shape": (B, U + 1), "batch": (B + 1, U)}.get(kind, (B, U))
    return [x(*shape, dtype=np.complex64 if kind == "complex" else np.float32)] * (5 if kind == "count" else count)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_call(name: str, case: str, training: bool) -> None:
    layer = recurrent(name)
    value, options, kind, words = CALLS[case]
    call = dict(options, training=training)
    if "initial_state" in call:
        call["initial_state"] = state(layer, call["initial_state"])
    with unchanged(layer):
        refuse(lambda: layer(value, **call), kind, *words)


MASKS: dict[str, tuple[Any, type[BaseException], str]] = {
    "type": (np.ones((1, B, 1, F), np.float32), TypeError, "DropoutMasks"),
    "shape": (DropoutMasks(inputs=np.ones((1, B, 1, F + 1), np.float32)), ValueError, "masks.inputs"),
    "dtype": (DropoutMasks(inputs=np.ones((1, B, 1, F))), TypeError, "masks.inputs"),
    "mode": (DropoutMasks(recurrent_mode="other"), ValueError, "recurrent_mode"),
}


@pytest.mark.parametrize("case", MASKS)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_dropout_masks(name: str, case: str) -> None:
    layer = recurrent(name)
    given, kind, word = MASKS[case]
    with unchanged(layer):
        refuse(lambda: layer(x(), training=True, dropout_masks=given), kind, word)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_failed_first_call_does_not_build(name: str) -> None:
    layer = RECURRENT[name](U, return_sequences=True, dropout=0.5, seed=3)
    refuse(lambda: layer(x(B, F)), ValueError, "(batch, timesteps, features)")
    assert not layer.built and layer.get_weights() == []
    assert layer(x()).shape[:2] == (B, T)


@pytest.mark.parametrize("dy", [x(B, T, U + 1), x(B, U), x(B, T, U, dtype=complex)])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "RNN"])
def test_recurrent_pullback(name: str, dy: Any) -> None:
    layer = recurrent(name)
    _, pullback = layer.vjp(x())
    with unchanged(layer):
        refuse(lambda: pullback(dy), (ValueError, TypeError), "doutputs" if dy.dtype.kind == "f" else "complex128")


OTHERS: dict[str, tuple[Callable[[], Any], Any, Any, type[BaseException], tuple[str, ...]]] = {
    "dense_features": (lambda: layers.Dense(4), x(B, 3), x(B, 5), ValueError, ("(batch, ..., 3)", "(2, 5)")),
    "dense_rank": (lambda: layers.Dense(4), x(B, 3), x(3), ValueError, ("(batch, ..., 3)", "(3,)")),
    "dense_string": (lambda: layers.Dense(4), x(B, 3), np.full((B, 3), "a"), TypeError, ("real", "<U1")),
    "embedding_beyond": (lambda: layers.Embedding(6, 4), [[0]], [[1, 6]], ValueError, ("0..5", "6")),
    "embedding_negative": (lambda: layers.Embedding(6, 4), [[0]], [[1, -1]], ValueError, ("0..5", "-1")),
    "embedding_fraction": (lambda: layers.Embedding(6, 4), [[0]], [[0.5]], TypeError, ("integer", "float64")),
    "embedding_nan": (lambda: layers.Embedding(6, 4), [[0]], [[np.nan]], TypeError, ("integer", "float64")),
    "embedding_string": (lambda: layers.Embedding(6, 4), [[0]], [["a"]], TypeError, ("integer", "<U1")),
    "conv_rank": (lambda: layers.Conv1D(4, 2), x(), x(B, 3), ValueError, ("(batch, timesteps", "(2, 3)")),
    "conv_features": (lambda: layers.Conv1D(4, 2), x(), x(B, T, 9), ValueError, ("3", "(2, 5, 9)")),
    "max_pooling_rank": (lambda: layers.MaxPooling1D(2), x(), x(B, 3), ValueError, ("(batch, timesteps", "(2, 3)")),
    "average_rank": (lambda: layers.AveragePooling1D(2), x(), x(B, 3), ValueError, ("(batch, timesteps", "(2, 3)")),
    "global_max_rank": (lambda: layers.GlobalMaxPooling1D(), x(), x(B, 3), ValueError, ("(batch, timesteps", "(2, 3)")),
    "global_max_first": (
        lambda: layers.GlobalMaxPooling1D("channels_first"), x(), x(B, 3, 0), ValueError, ("timesteps >= 1)", "3, 0)"),
    ),  # fmt: skip
    "global_max_steps": (lambda: layers.GlobalMaxPooling1D(), x(), x(B, 0, 3), ValueError, (">= 1", "(2, 0, 3)")),
    "global_average": (
        lambda: layers.GlobalAveragePooling1D(), x(), x(B, 3), ValueError, ("(batch, timesteps", "(2, 3)"),
    ),
    "layer_norm": (lambda: layers.LayerNormalization(), x(), x(B, T, 9), ValueError, ("3", "(2, 5, 9)")),
    "batch_norm": (lambda: layers.BatchNormalization(), x(), x(B, T, 9), ValueError, ("3", "(2, 5, 9)")),
    "reshape": (lambda: layers.Reshape((7,)), x(1, 7), x(B, 3), ValueError, ("(3,)", "(7,)")),
    "permute": (lambda: layers.Permute((2, 1)), x(), x(B, 3), ValueError, ("3 axes", "(2, 3)")),
    "repeat": (lambda: layers.RepeatVector(2), x(B, 3), x(), ValueError, ("(batch, features)", "(2, 5, 3)")),
    "time_distributed": (
        lambda: layers.TimeDistributed(layers.Dense(2)), x(), x(B, 3), ValueError, ("timesteps, ...)", "(2, 3)"),
    ),
    "spatial": (lambda: layers.SpatialDropout1D(0.5), x(), x(B, 3), ValueError, ("(batch, timesteps", "(2, 3)")),
    "dropout_noise_rank": (
        lambda: layers.Dropout(0.5, noise_shape=(None, 1, None)), x(), x(B, 3), ValueError, ("noise_shape", "(2, 3)"),
    ),
    "dropout_noise_size": (
        lambda: layers.Dropout(0.5, noise_shape=(None, 4, None)), x(B, 4, 3), x(), ValueError, ("noise_shape", "4"),
    ),
    "alpha_noise_rank": (
        lambda: layers.AlphaDropout(0.5, noise_shape=(None, 1, None)), x(), x(B, 3), ValueError, ("noise_shape",),
    ),
    "add_shapes": (lambda: layers.Add(), [x(), x()], [x(), x(B, T, 2)], ValueError, ("(2, 5, 3)", "(2, 5, 2)")),
    "multiply_shapes": (lambda: layers.Multiply(), [x(), x()], [x(), x(B, 4, 3)], ValueError, ("(2, 4, 3)",)),
    "average_shapes": (lambda: layers.Average(), [x(), x()], [x(), x(B, T, 2)], ValueError, ("(2, 5, 2)",)),
    "concatenate_shapes": (lambda: layers.Concatenate(), [x(), x()], [x(), x(B, 4, 3)], ValueError, ("(2, 4, 3)",)),
    "merge_one": (lambda: layers.Add(), [x(), x()], x(), ValueError, ("list", "ndarray")),
    "merge_none": (lambda: layers.Add(), [x(), x()], [], ValueError, ("list",)),
    "masking_complex": (lambda: layers.Masking(), x(), x(dtype=complex), TypeError, ("real", "complex128")),
    "activation_object": (lambda: layers.Activation("tanh"), x(), x(dtype=object), TypeError, ("real", "object")),
    "relu_string": (lambda: layers.ReLU(), x(), np.full((2, 2), "a"), TypeError, ("real", "<U1")),
    "flatten_object": (lambda: layers.Flatten(), x(), x(dtype=object), TypeError, ("real", "object")),
    "softmax_argument": (lambda: layers.Softmax(), x(), None, TypeError, ("real", "object")),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_layers(case: str) -> None:
    make, good, bad, kind, words = OTHERS[case]
    layer = make()
    layer(good)
    with unchanged(layer):
        refuse(lambda: layer(bad, training=True), kind, *words)


@pytest.mark.parametrize("case", OTHERS)
def test_unknown_call_arguments(case: str) -> None:
    make, good, _, _, _ = OTHERS[case]
    layer = make()
    with unchanged(layer):
        refuse(lambda: layer(good, colour="red"), TypeError, "colour", layer.name)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float16, np.float64, bool])
@pytest.mark.parametrize("name", [*RECURRENT, "Dense"])
def test_real_numbers_are_cast(name: str, dtype: Any) -> None:
    layer = layers.Dense(4) if name == "Dense" else recurrent(name)
    given = np.random.default_rng(0).integers(0, 2, (B, T, F)).astype(dtype)
    y = layer(given)
    assert y.dtype == np.float32
    assert np.array_equal(y, layer(given.astype(np.float32)))


def strided(a: Any) -> Any:
    return np.repeat(a, 2, axis=-1)[..., ::2]


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("layout", [strided, read_only, np.asfortranarray, lambda a: a.tolist()])
@pytest.mark.parametrize("name", [*RECURRENT, "Dense", "Conv1D", "LayerNormalization", "GlobalMaxPooling1D"])
def test_any_layout_gives_the_same(name: str, layout: Any) -> None:
    makers = {"Dense": (4,), "Conv1D": (4, 2)}
    layer = recurrent(name) if name in RECURRENT else getattr(layers, name)(*makers.get(name, ()))
    given = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
    y, pullback = layer.vjp(given)
    other, back = layer.vjp(layout(given))
    np.testing.assert_allclose(other, y, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(back(layout(y)).dx, pullback(y).dx, rtol=1e-5, atol=1e-6)


WEIGHTS: dict[str, tuple[Callable[[list[Any]], Any], tuple[str, ...]]] = {
    "none": (lambda w: [], ("expected", "got 0")),
    "too_few": (lambda w: w[:-1], ("expected", "arrays")),
    "too_many": (lambda w: [*w, w[0]], ("expected", "arrays")),
    "shape": (lambda w: [*w[:-1], np.zeros((9, 9))], ("(9, 9)", "shape")),
    "transposed": (lambda w: [w[0].T, *w[1:]], ("shape", "got")),
    "complex": (lambda w: [*w[:-1], w[-1].astype(complex)], ("real", "complex128")),
    "string": (lambda w: [*w[:-1], w[-1].astype(str)], ("real", "<U")),
    "object": (lambda w: [*w[:-1], w[-1].astype(object)], ("real", "object")),
}


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize("name", [*RECURRENT, "Dense"])
def test_set_weights(name: str, case: str) -> None:
    if name == "Dense":
        layer = layers.Dense(4)
        layer(x())
    else:
        layer = recurrent(name)
    alter, words = WEIGHTS[case]
    with unchanged(layer):
        refuse(lambda: layer.set_weights(alter(layer.get_weights())), ValueError, *words)


@pytest.mark.parametrize("dy", [[x(B, U)], [x(B, U)] * 4, x(B, U), None])
def test_gradients_of_several_outputs(dy: Any) -> None:
    layer = layers.LSTM(U, return_state=True)
    _, pullback = layer.vjp(x())
    refuse(lambda: pullback(dy), ValueError, "list of 3", type(dy).__name__)


def test_dense_pullback() -> None:
    layer = layers.Dense(4)
    _, pullback = layer.vjp(x())
    refuse(lambda: pullback(x(B, 4)), ValueError, "(2, 5, 4)", "(2, 4)")


def test_dropout_masks_of_both_directions() -> None:
    layer = recurrent("Bidirectional")
    with unchanged(layer):
        refuse(lambda: layer(x(), training=True, dropout_masks=DropoutMasks()), TypeError, "pair", "DropoutMasks")


@pytest.mark.parametrize("name", [*RECURRENT, "Dense"])
def test_rows_that_differ_in_length(name: str) -> None:
    layer = layers.Dense(4) if name == "Dense" else recurrent(name)
    with unchanged(layer):
        refuse(lambda: layer([[1.0, 2.0], [3.0]]), ValueError, "differ in length")


@pytest.mark.parametrize("states", [3, np.zeros(U), np.zeros((B, U + 1)), [], [np.zeros((B, U))] * 2])
def test_reset_states(states: Any) -> None:
    layer = layers.GRU(U, stateful=True)
    layer(np.ones((B, T, F)))
    with unchanged(layer):
        refuse(lambda: layer.reset_states(states), ValueError, "`states` must have")


def test_set_weights_before_the_layer_is_built_says_so() -> None:
    refuse(lambda: layers.GRU(4).set_weights([x(3, 12)]), ValueError, "not built yet")


@pytest.mark.parametrize("name", RECURRENT)
def test_states_of_a_stateful_layer_survive_a_refused_call(name: str) -> None:
    if name in ("RNN", "Bidirectional"):
        inner = layers.GRUCell(U) if name == "RNN" else layers.GRU(U, stateful=True)
        layer = layers.RNN(inner, stateful=True) if name == "RNN" else layers.Bidirectional(inner)
    else:
        layer = RECURRENT[name](U, stateful=True)
    layer(np.random.default_rng(0).normal(size=(B, T, F)))
    with unchanged(layer):
        refuse(lambda: layer(x(B + 1, T, F)), ValueError, "(3, 4)", "(2, 4)")
        refuse(lambda: layer(x(), mask=x(B, 1, dtype=bool)), ValueError, "`mask`")


@pytest.mark.parametrize("cell", [layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell])
def test_single_cells(cell: Any) -> None:
    one = cell(U, dropout=0.5, seed=1)
    one(x(B, F))
    with unchanged(one):
        refuse(lambda: one(x(B, F + 1), training=True), ValueError, "(2, 1, 4)")
        refuse(lambda: one(x(), training=True), ValueError, "(batch, features)", "(2, 5, 3)")
        refuse(lambda: one(x(B, F), [x(B, U + 1)] * one.state_count, training=True), ValueError, "(2, 4)", "(2, 5)")
