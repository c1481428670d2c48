"""Bad arguments of the functional core: one clear error each, before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnnx.dropout import DropoutMasks
from rnnx.functional import GRUParams, LSTMParams, RNNParams, gru, lstm, simple_rnn
from tests.bad_input.unchanged import refuse

B, T, F, U = 2, 5, 3, 4
CELLS: dict[str, tuple[Any, Any, int]] = {
    "lstm": (lstm, LSTMParams, 4),
    "gru": (gru, GRUParams, 3),
    "simple_rnn": (simple_rnn, RNNParams, 1),
}


def make(cell: str, dtype: Any = np.float32) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(7)
    core, params, gates = CELLS[cell]
    bias = rng.normal(size=(2, gates * U) if cell == "gru" else (gates * U,)).astype(dtype)
    weights = (rng.normal(size=(F, gates * U)).astype(dtype), rng.normal(size=(U, gates * U)).astype(dtype), bias)
    return core, params(*weights), rng.normal(size=(B, T, F)).astype(dtype)


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def read_only(*shape: int) -> Any:
    array = zeros(*shape)
    array.flags.writeable = False
    return array


def masks(**parts: Any) -> dict[str, Any]:
    return {"masks": DropoutMasks(**parts)}


INPUTS: dict[str, tuple[Any, type[BaseException], tuple[str, ...]]] = {
    "list": ([[[0.0] * F] * T] * B, TypeError, ("`x`", "numpy array", "list")),
    "rank_2": (zeros(T, F), ValueError, ("`x`", "(any, any, 3)", "(5, 3)")),
    "rank_4": (zeros(B, T, F, 1), ValueError, ("`x`", "(2, 5, 3, 1)")),
    "features": (zeros(B, T, F + 1), ValueError, ("`x`", "(any, any, 3)", "(2, 5, 4)")),
    "int": (zeros(B, T, F, dtype=np.int64), TypeError, ("`x`", "float32 or float64", "int64")),
    "bool": (zeros(B, T, F, dtype=bool), TypeError, ("`x`", "bool")),
    "complex": (zeros(B, T, F, dtype=np.complex64), TypeError, ("`x`", "complex64")),
    "object": (zeros(B, T, F, dtype=object), TypeError, ("`x`", "object")),
    "string": (np.full((B, T, F), "a"), TypeError, ("`x`", "<U1")),
    "half": (zeros(B, T, F, dtype=np.float16), TypeError, ("`x`", "float16")),
    "other_float": (zeros(B, T, F, dtype=np.float64), TypeError, ("`x`", "float64", "float32", "one dtype")),
    "none": (None, TypeError, ("`x`", "NoneType")),
}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_input(cell: str, case: str) -> None:
    core, params, _ = make(cell)
    x, kind, words = INPUTS[case]
    refuse(lambda: core.forward(params, x), kind, *words)


OPTIONS: dict[str, tuple[dict[str, Any], type[BaseException], tuple[str, ...]]] = {
    "mask_int": ({"mask": zeros(B, T, dtype=np.int8)}, TypeError, ("`mask`", "boolean", "int8")),
    "mask_float": ({"mask": zeros(B, T)}, TypeError, ("`mask`", "boolean", "float32")),
    "mask_shape": ({"mask": zeros(B, T + 1, dtype=bool)}, ValueError, ("`mask`", "(2, 5)", "(2, 6)")),
    "mask_rank": ({"mask": zeros(B, T, 1, dtype=bool)}, ValueError, ("`mask`", "(2, 5)", "(2, 5, 1)")),
    "mask_and_lengths": (
        {"mask": zeros(B, T, dtype=bool), "lengths": np.array([1, 2])}, ValueError, ("`mask`", "`lengths`", "not both"),
    ),
    "lengths_negative": ({"lengths": np.array([5, -1])}, ValueError, ("`lengths`", "0..5", "-1", "row 1")),
    "lengths_beyond": ({"lengths": np.array([6, 2])}, ValueError, ("`lengths`", "0..5", "6", "row 0")),
    "lengths_float": ({"lengths": np.array([1.0, 2.0])}, TypeError, ("`lengths`", "integers", "float64")),
    "lengths_bool": ({"lengths": np.array([True, False])}, TypeError, ("`lengths`", "integers", "bool")),
    "lengths_shape": ({"lengths": np.array([1, 2, 3])}, ValueError, ("`lengths`", "(2,)", "(3,)")),
    "lengths_scalar": ({"lengths": 3}, ValueError, ("`lengths`", "(2,)", "()")),
    "out_shape": ({"out": zeros(B, T, U + 1)}, ValueError, ("`out`", "(2, 5, 4)", "(2, 5, 5)")),
    "out_dtype": ({"out": zeros(B, T, U, dtype=np.float64)}, TypeError, ("`out`", "float64", "float32")),
    "out_read_only": ({"out": read_only(B, T, U)}, ValueError, ("`out`", "read-only")),
    "out_last_only": (
        {"out": zeros(B, T, U), "return_sequences": False}, ValueError, ("`out`", "(2, 4)", "(2, 5, 4)"),
    ),
    "out_list": ({"out": [0.0]}, TypeError, ("`out`", "list")),
    "threads_zero": ({"threads": 0}, ValueError, ("`threads`", "positive", "0")),
    "threads_float": ({"threads": 1.5}, ValueError, ("`threads`", "positive", "1.5")),
    "masks_type": ({"masks": zeros(1, B, 1, F)}, TypeError, ("`masks`", "DropoutMasks", "ndarray")),
    "masks_mode": (masks(recurrent_mode="no"), ValueError, ("`recurrent_mode`", "'no'")),
    "masks_rank": (masks(inputs=zeros(B, 1, F)), ValueError, ("`masks.inputs`", "(2, 1, 3)")),
    "masks_features": (masks(inputs=zeros(1, B, 1, F + 1)), ValueError, ("`masks.inputs`", "(1, 2, 1, 4)")),
    "masks_gates": (masks(inputs=zeros(7, B, 1, F)), ValueError, ("`masks.inputs`", "gates", "(7, 2, 1, 3)")),
    "masks_steps": (masks(recurrent=zeros(1, B, T - 1, U)), ValueError, ("`masks.recurrent`", "(1, 2, 4, 4)")),
    "masks_dtype": (masks(recurrent=zeros(1, B, 1, U, dtype=np.float64)), TypeError, ("`masks.recurrent`", "float64")),
    "masks_weights": (
        masks(recurrent=zeros(U, U + 1), recurrent_mode="weights"), ValueError, ("`masks.recurrent`", "(4, 5)"),
    ),
    "masks_zoneout": (masks(zoneout_hidden=zeros(B, 1, U + 1)), ValueError, ("`masks.zoneout_hidden`", "(2, 1, 5)")),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_options(cell: str, case: str) -> None:
    core, params, x = make(cell)
    options, kind, words = OPTIONS[case]
    refuse(lambda: core.forward(params, x, **options), kind, *words)


@pytest.mark.parametrize("cell", ["gru", "simple_rnn"])
def test_zoneout_of_a_cell_that_is_not_there(cell: str) -> None:
    core, params, x = make(cell)
    call = masks(zoneout_cell=zeros(B, 1, U))
    refuse(lambda: core.forward(params, x, **call), ValueError, "`masks.zoneout_cell`", "LSTM only")


STATES: dict[str, tuple[Any, type[BaseException]]] = {
    "units": (zeros(B, U + 1), ValueError),
    "batch": (zeros(B + 1, U), ValueError),
    "rank": (zeros(U), ValueError),
    "dtype": (zeros(B, U, dtype=np.float64), TypeError),
    "int": (zeros(B, U, dtype=np.int32), TypeError),
    "number": (0.0, TypeError),
}


@pytest.mark.parametrize("case", STATES)
@pytest.mark.parametrize("cell", CELLS)
def test_initial_state(cell: str, case: str) -> None:
    core, params, x = make(cell)
    state, kind = STATES[case]
    given = (zeros(B, U), state) if cell == "lstm" else state
    refuse(lambda: core.forward(params, x, initial_state=given), kind, "`initial_state")


@pytest.mark.parametrize("count", [1, 3])
def test_initial_state_of_an_lstm_is_a_pair(count: int) -> None:
    core, params, x = make("lstm")
    refuse(lambda: core.forward(params, x, initial_state=(zeros(B, U),) * count), ValueError, "pair (h, c)")


PARAMS: dict[str, tuple[str, Any, type[BaseException]]] = {
    "kernel_list": ("kernel", [[1.0]], TypeError),
    "kernel_rank": ("kernel", zeros(F), ValueError),
    "kernel_columns": ("kernel", zeros(F, 7), ValueError),
    "kernel_dtype": ("kernel", np.float64, TypeError),
    "kernel_int": ("kernel", np.int32, TypeError),
    "recurrent_square": ("recurrent_kernel", zeros(U + 1, U), ValueError),
    "recurrent_empty": ("recurrent_kernel", zeros(0, 0), ValueError),
    "recurrent_rank": ("recurrent_kernel", zeros(U), ValueError),
    "recurrent_complex": ("recurrent_kernel", np.complex128, TypeError),
    "bias_shape": ("bias", zeros(3), ValueError),
    "bias_dtype": ("bias", np.float64, TypeError),
}


@pytest.mark.parametrize("case", PARAMS)
@pytest.mark.parametrize("cell", CELLS)
def test_params(cell: str, case: str) -> None:
    core, params, x = make(cell)
    name, value, kind = PARAMS[case]
    bad = getattr(params, name).astype(value) if isinstance(value, type) else value
    refuse(lambda: core.forward(replace(params, **{name: bad}), x), kind, f"`{name}`")


@pytest.mark.parametrize("name", ["activation", "recurrent_activation"])
def test_unknown_activation(name: str) -> None:
    core, params, x = make("gru")
    refuse(lambda: core.forward(replace(params, **{name: "sinus"}), x), ValueError, "activation", "'sinus'")


GRADIENTS: dict[str, tuple[Any, Any, type[BaseException], str]] = {
    "doutputs_shape": (zeros(B, T, U + 1), None, ValueError, "`doutputs`"),
    "doutputs_rank": (zeros(B, U), None, ValueError, "`doutputs`"),
    "doutputs_dtype": (zeros(B, T, U, dtype=np.float64), None, TypeError, "`doutputs`"),
    "doutputs_list": ([0.0], None, TypeError, "`doutputs`"),
    "dstate_shape": (None, zeros(B, U + 1), ValueError, "`dstate"),
    "dstate_dtype": (None, zeros(B, U, dtype=np.float64), TypeError, "`dstate"),
    "dstate_parts": (None, (None, None, None), ValueError, "`dstate`"),
}


@pytest.mark.parametrize("case", GRADIENTS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell: str, case: str) -> None:
    core, params, x = make(cell)
    doutputs, dstate, kind, word = GRADIENTS[case]
    if cell == "lstm" and isinstance(dstate, np.ndarray):
        dstate = (None, dstate)
    cache = core.forward(params, x, training=True).cache
    refuse(lambda: core.backward(cache, doutputs, dstate), kind, word)


@pytest.mark.parametrize("cache", [None, "cache", 3])
@pytest.mark.parametrize("cell", CELLS)
def test_cache(cell: str, cache: Any) -> None:
    refuse(lambda: CELLS[cell][0].backward(cache, None), TypeError, "`cache`", "training=True", type(cache).__name__)


def strided(array: Any) -> Any:
    big = np.full((*array.shape[:-1], 2 * array.shape[-1]), 9, array.dtype)
    big[..., ::2] = array
    return big[..., ::2]


def fixed(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "strided": strided,
    "read_only": fixed,
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[:, ::-1].copy()[:, ::-1],
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_any_memory_layout_gives_the_same(cell: str, dtype: Any, layout: str) -> None:
    core, params, x = make(cell, dtype)
    run = core.forward(params, x, training=True)
    given = LAYOUTS[layout](x)
    before = given.tobytes()
    other = core.forward(params, given, training=True)
    assert np.array_equal(run.outputs, other.outputs)
    assert given.tobytes() == before
    slope = np.random.default_rng(3).normal(size=run.outputs.shape).astype(dtype)
    one, two = core.backward(run.cache, slope), core.backward(other.cache, LAYOUTS[layout](slope))
    assert np.array_equal(one.dx, two.dx)
    assert np.array_equal(one.dparams.kernel, two.dparams.kernel)


@pytest.mark.parametrize("shape", [(0, T, F), (B, 0, F), (0, 0, F)])
@pytest.mark.parametrize("cell", CELLS)
def test_empty(cell: str, shape: tuple[int, ...]) -> None:
    core, params, _ = make(cell)
    run = core.forward(params, zeros(*shape), training=True)
    assert run.outputs.shape == (*shape[:2], U)
    state = run.state if isinstance(run.state, tuple) else (run.state,)
    assert all(s.shape == (shape[0], U) and not s.any() for s in state)
    grads = core.backward(run.cache, np.ones_like(run.outputs))
    assert grads.dx.shape == shape
    assert not grads.dparams.kernel.any() and not grads.dparams.bias.any()
    assert core.forward(params, zeros(*shape), return_sequences=False).outputs.shape == (shape[0], U)


@pytest.mark.parametrize("cell", CELLS)
def test_no_features(cell: str) -> None:
    core, params, _ = make(cell)
    params = replace(params, kernel=params.kernel[:0])
    run = core.forward(params, zeros(B, T, 0), training=True)
    assert run.outputs.shape == (B, T, U) and np.isfinite(run.outputs).all()
    assert core.backward(run.cache, run.outputs).dx.shape == (B, T, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", CELLS)
def test_not_finite_propagates_in_its_row_only(cell: str, value: float) -> None:
    core, params, x = make(cell)
    clean = core.forward(params, x).outputs
    x[1, 2, 0] = value
    y = core.forward(params, x).outputs
    assert np.array_equal(y[0], clean[0]) and np.array_equal(y[1, :2], clean[1, :2])
    assert not np.array_equal(y[1, 2:], clean[1, 2:])
    if np.isnan(value):
        assert np.isnan(y[1, 2:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_never_leaks(cell: str, backwards: bool, value: float) -> None:
    core, params, x = make(cell)
    lengths = np.array([3, 0])
    valid = np.arange(T) < lengths[:, None]
    dirty = np.where(valid[..., None], x, np.float32(value))
    clean = np.where(valid[..., None], x, np.float32(0))
    runs = [core.forward(params, a, lengths=lengths, go_backwards=backwards, training=True) for a in (clean, dirty)]
    assert np.array_equal(runs[0].outputs, runs[1].outputs)
    grads = [core.backward(run.cache, np.ones_like(run.outputs)) for run in runs]
    assert np.array_equal(grads[0].dx, grads[1].dx)
    assert np.array_equal(grads[0].dparams.kernel, grads[1].dparams.kernel)


@pytest.mark.parametrize("cell", CELLS)
def test_a_refused_call_leaves_its_arguments_alone(cell: str) -> None:
    core, params, x = make(cell)
    out = np.full((B, T, U), 5, np.float32)
    before = [a.tobytes() for a in (x, params.kernel, params.recurrent_kernel, params.bias, out)]
    refuse(lambda: core.forward(params, x, out=out, lengths=np.array([9, 9])), ValueError, "`lengths`")
    assert [a.tobytes() for a in (x, params.kernel, params.recurrent_kernel, params.bias, out)] == before
