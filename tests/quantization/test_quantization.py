"""Quantized weights: what they stand for, how far outputs move, what is refused, that files and streams keep them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Sequential, _kernels, layers
from rnnx._kernels import LARGEST
from rnnx.functional import GRUParams, LSTMParams, gru, lstm
from rnnx.quantization.rounding import narrow_form, round_weights, wide_form
from tests.oracle import cases

RNG = np.random.default_rng(71)
MODES = ("bf16", "int8", "int8x16", "int16")

X = np.array([[1 + 2**-12]], np.float32)  # its square is not a float32
FUSED = _kernels.product(np.hstack([X**0, X]), np.vstack([-(X**2), X])).item() != 0  # X^2 - X^2, one of them rounded


def model_of(*inner: Any) -> Any:
    model = Sequential([Input((None, 5)), *inner])
    model.set_weights([RNG.normal(size=w.shape) / np.sqrt(w.shape[0]) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 7, 17), (13, 5, 9, 33), (40, 2, 30, 64)], ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_narrow_weights_equal_rounded_full_ones(cell: str, shape: Any, mode: str) -> None:
    batch, timesteps, features, units = shape
    rng = np.random.default_rng([72, *shape])
    params = cases.make_params(cell, features, units, np.float32, rng)
    rounded = replace(
        params, kernel=round_weights(params.kernel, mode), recurrent_kernel=round_weights(params.recurrent_kernel, mode)
    )
    x = rng.normal(size=(batch, timesteps, features)).astype(np.float32)
    core = cases.FAST[cell]
    call = {"initial_state": cases.make_state(cell, batch, units, np.float32, rng)}
    call |= cases.make_valid("gaps", batch, timesteps, rng)
    for given in (params, rounded):  # rounding twice changes nothing
        y = core.forward(given, x, packed=core.pack(given, mode), **call).outputs
        atol = {"bf16": 3e-6, "int8": 0.05}.get(mode, 2e-4)  # operands are rounded too, to 8 or 16 bits
        np.testing.assert_allclose(y, core.forward(rounded, x, **call).outputs, rtol=0, atol=atol)


def round_operands(rows: Any, mode: str) -> Any:
    """What 8-bit weights are multiplied by: integers times a scale for each row."""
    if mode == "int8":
        return round_to_8_bits(rows)
    most = min(32767, (2**31 - 1) // (127 * rows.shape[-1]))
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(most), largest, where=largest > 0, out=np.zeros_like(largest))
    wide = np.float64 if FUSED else np.float32
    return (np.rint(rows.astype(wide) * inverse) * (largest / np.float32(most))).astype(np.float32)


def round_to_8_bits(rows: Any) -> Any:
    """255 steps between the smallest and the largest element of a row, or zero, which is one of them."""
    most = np.float32(min(255, (2**31 - 1) // (127 * rows.shape[-1])))
    low, high = (bound(rows, axis=-1, keepdims=True, initial=0) for bound in (np.min, np.max))
    scale = high / most - low / most
    inverse = np.divide(np.float32(1), scale, where=scale > 0, out=np.zeros_like(scale))
    wide = np.float64 if FUSED else np.float32
    zero = np.rint(-low * inverse)
    return (np.clip(np.rint(rows.astype(wide) * inverse), -zero, most - zero) * scale).astype(np.float32)


@pytest.mark.parametrize("mode", ["int8", "int8x16"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 17), (6, 30, 128), (13, 9, 33), (40, 600, 64)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "simple_rnn"])
def test_8_bit_weights_meet_operands_of_8_or_16_bits(cell: str, shape: Any, mode: str) -> None:
    batch, features, units = shape
    rng = np.random.default_rng([73, *shape])
    params = cases.make_params(cell, features, units, np.float32, rng)
    params = replace(
        params,
        kernel=round_weights(params.kernel, "int8"),
        recurrent_kernel=round_weights(params.recurrent_kernel, "int8"),
    )
    x = rng.normal(size=(batch, 1, features)).astype(np.float32)
    x[-1], x[: batch // 2] = 0, np.abs(x[: batch // 2])
    state = cases.make_state(cell, batch, units, np.float32, rng)
    operand, *rest = state if isinstance(state, tuple) else (state,)
    known = (round_operands(operand, mode), *rest)
    core = cases.FAST[cell]
    y = core.forward(params, x, packed=core.pack(params, mode), initial_state=state).outputs
    expected = core.forward(params, round_operands(x, mode), initial_state=known if rest else known[0]).outputs
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 if features == 600 else 3e-6)


@pytest.mark.parametrize("mode", ["int8", "int8x16"])
@pytest.mark.parametrize("cell", ["gru_after", "gru_before"])
def test_gates_of_8_bit_weights_blend_the_state_itself(cell: str, mode: str) -> None:
    rng = np.random.default_rng(74)
    params = cases.make_params(cell, 11, 37, np.float32, rng)
    kernel, recurrent = (round_weights(w, mode).astype(np.float64) for w in (params.kernel, params.recurrent_kernel))
    x, h = rng.normal(size=(5, 11)).astype(np.float32), np.tanh(rng.normal(size=(5, 37))).astype(np.float32)
    bias = params.bias.astype(np.float64).reshape(-1, 3, 37)
    of_x, of_h = np.split(round_operands(x, mode) @ kernel, 3, -1), np.split(round_operands(h, mode) @ recurrent, 3, -1)
    update, reset = (1 / (1 + np.exp(-(of_x[k] + of_h[k] + bias[:, k].sum(0)))) for k in range(2))
    if cell == "gru_after":
        candidate = np.tanh(of_x[2] + bias[0, 2] + reset * (of_h[2] + bias[1, 2]))
    else:
        product = round_operands((reset * h).astype(np.float32), mode) @ recurrent[:, 74:]
        candidate = np.tanh(of_x[2] + bias[0, 2] + product)
    core = cases.FAST[cell]
    y = core.forward(params, x[:, None], packed=core.pack(params, mode), initial_state=h).outputs[:, 0]
    np.testing.assert_allclose(y, update * h + (1 - update) * candidate, rtol=0, atol=2e-6)


def dynamic_quantization(params: Any, x: Any) -> Any:
    """An LSTM as ONNX Runtime's DynamicQuantizeLSTM runs it: 8 bits with one scale for all inputs, and one for all
    states of a step."""

    def rounded(a: Any) -> Any:
        low, high = min(a.min(), 0), max(a.max(), 0)
        scale = (high - low) / 255 or 1
        zero = np.rint(-low / scale)
        return (np.clip(np.rint(a / scale) + zero, 0, 255) - zero) * scale

    kernel, recurrent = (round_weights(w, "int8") for w in (params.kernel, params.recurrent_kernel))
    gates = rounded(x) @ kernel + params.bias
    h = c = np.zeros((len(x), recurrent.shape[0]))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(gates[:, t] + rounded(h) @ recurrent, 4, -1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        outputs.append(h)
    return np.stack(outputs, 1)


@pytest.mark.parametrize("inputs", ["both signs", "positive", "loud and quiet rows"])
def test_8_bit_operands_are_no_farther_away_than_dynamic_quantization(inputs: str) -> None:
    rng = np.random.default_rng(75)
    params = cases.make_params("lstm", 64, 64, np.float32, rng)
    x = rng.normal(size=(8, 60, 64)).astype(np.float32)
    x = {"positive": np.abs(x), "loud and quiet rows": x * np.logspace(-1, 0, 8, dtype=np.float32)[:, None, None]}.get(
        inputs, x
    )
    exact = lstm.forward(params, x).outputs
    theirs = np.square(dynamic_quantization(params, x) - exact)
    ours = np.square(lstm.forward(params, x, packed=lstm.pack(params, "int8")).outputs - exact)
    closer = np.square(lstm.forward(params, x, packed=lstm.pack(params, "int8x16")).outputs - exact)
    assert ours.mean() < theirs.mean()
    assert closer.mean() < ours.mean()


LEVEL = """
import sys, numpy as np
from rnnx import layers
from rnnx.functional import LSTMParams, GRUParams, gru, lstm
rng = np.random.default_rng(76)
found = []
for rows, features, units in ((1, 1, 1), (3, 30, 17), (13, 77, 70), (40, 128, 64)):
    dense = layers.Dense(units)
    x = rng.integers(-100, 156, (rows, features))
    x[:, 0], x[:, -1] = 155, -100  # scales of 1 then
    if features == 1:
        x[:] = 255
    kernel = rng.integers(-127, 128, (features, units))
    kernel[0] = 127
    dense(x)
    dense.set_weights([kernel, rng.integers(-9, 9, units)])
    dense.quantize(sys.argv[1])
    exact = x @ kernel + dense.get_weights()[1]
    y = dense(x)
    if sys.argv[1] == "int8":
        assert np.array_equal(y, exact)
    found.append(y)
y, x = [], rng.normal(size=(33, 9, 40)).astype("f")
for core, kind, gates in ((lstm, LSTMParams, 4), (gru, GRUParams, 3)):
    shapes = ((40, gates * 70), (70, gates * 70), (gates * 70,) if gates == 4 else (2, 3 * 70))
    params = kind(*(rng.normal(size=shape).astype("f") / 8 for shape in shapes))
    y.append(core.forward(params, x, packed=core.pack(params, sys.argv[1])).outputs)
np.savez(sys.argv[2], *found, *y)
"""


@pytest.mark.parametrize("mode", ["int8", "int8x16"])
def test_all_instruction_sets_give_the_same_numbers(mode: str, tmp_path: Any) -> None:
    found = {}
    for isa in _kernels.ISA_LEVELS:
        path = tmp_path / f"{isa}.npz"
        run = [sys.executable, "-c", LEVEL, mode, str(path)]
        subprocess.run(run, check=True, env={**os.environ, "RNNX_ISA": isa})
        with np.load(path) as arrays:
            found[isa] = list(arrays.values())
    *products, of_lstm, of_gru = found["generic"]
    for isa, (*same, lstm_outputs, gru_outputs) in found.items():
        if mode == "int8":
            assert all(np.array_equal(a, b) for a, b in zip(products, same, strict=True))
        for a, b in ((of_lstm, lstm_outputs), (of_gru, gru_outputs)):  # multiply-adds are fused, or not
            np.testing.assert_allclose(a, b, rtol=0, atol=0.01)
        if isa == "avx512":
            assert all(np.array_equal(a, b) for a, b in zip(found["avx2"], found["avx512"], strict=True))


def whole_weights(units: int, features: int) -> tuple[Any, Any]:
    """An LSTM whose kernels are integers times scales, small ones in some columns; the scales."""
    rng = np.random.default_rng(75)
    scales = tuple(rng.uniform(0.001, 0.01, 4 * units).astype(np.float32) for _ in range(2))
    largest = rng.integers(20, 128, 4 * units)
    kernels = [np.rint(rng.uniform(-largest, largest, (rows, 4 * units))).astype("f") for rows in (features, units)]
    return LSTMParams(*[k * scale for k, scale in zip(kernels, scales, strict=True)]), scales


def test_integers_with_their_scales_are_not_rounded_again() -> None:
    params, scales = whole_weights(17, 9)
    x = np.random.default_rng(76).integers(-60, 61, (5, 1, 9)).astype(np.float32) / 64
    x[..., :2] = -128 / 64, 127 / 64  # so that bytes hold all of a row
    exact = lstm.forward(params, x).outputs
    given = lstm.forward(params, x, packed=lstm.pack(params, "int8", scales=scales)).outputs
    rounded = lstm.forward(params, x, packed=lstm.pack(params, "int8")).outputs
    np.testing.assert_allclose(given, exact, rtol=0, atol=1e-6)
    assert np.abs(rounded - exact).max() > 1e-4


def test_scales_that_are_not_those_of_the_kernels() -> None:
    params, (first, second) = whole_weights(3, 2)
    with pytest.raises(ValueError, match="`kernel` must be whole multiples of its `scales`, of -127 to 127 times"):
        lstm.pack(params, "int8", scales=(first * 1.5, second))
    with pytest.raises(ValueError, match="`recurrent_kernel` must be whole multiples"):
        lstm.pack(params, "int8", scales=(first, second / 16))
    with pytest.raises(ValueError, match="must be positive and finite"):
        lstm.pack(params, "int8", scales=(first, -second))
    with pytest.raises(ValueError, match=r"scales of kernel.*\(12,\)"):
        lstm.pack(params, "int8", scales=(first[:-1], second))
    with pytest.raises(TypeError, match="pair of arrays, got list"):
        lstm.pack(params, "int8", scales=[first, second])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not of `weights` 'bf16'"):
        lstm.pack(params, "bf16", scales=(first, second))


@pytest.mark.parametrize("mode", ["int8", "int8x16", "int16"])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_threads_change_no_bit(cell: str, mode: str) -> None:
    rng = np.random.default_rng(77)
    params = cases.make_params(cell, 128, 128, np.float32, rng)
    x, core = rng.normal(size=(32, 30, 128)).astype(np.float32), cases.FAST[cell]
    packed = core.pack(params, mode)
    one, two = (core.forward(params, x, packed=packed, threads=n).outputs for n in (1, 2))
    assert np.array_equal(one, two)
    assert np.array_equal(core.forward(params, x[5:6], packed=packed).outputs, one[5:6])


@pytest.mark.parametrize("mode", ["int8", "int8x16"])
@pytest.mark.parametrize("features", [1, 2, 3, 16, 514, 519, 5000, 70000])
def test_sums_of_the_largest_integers_are_exact(features: int, mode: str) -> None:
    dense = layers.Dense(3, use_bias=False)
    dense(np.zeros((1, features), np.float32))
    dense.set_weights([np.tile(np.float32([1, -1, 0.5]), (features, 1))])
    dense.quantize(mode)
    x = np.full((2, features), -3.0, np.float32)
    np.testing.assert_allclose(dense(x)[0], [-3 * features, 3 * features, -1.5 * features], rtol=5e-3)
    assert dense(x)[0, 0] == pytest.approx(-3 * features, rel=1e-6)
    assert dense(-x)[1, 1] == pytest.approx(-3 * features, rel=1e-6)


@pytest.mark.parametrize("mode", ["int8", "int8x16", "int16"])
def test_rows_that_are_not_finite_stay_alone(mode: str) -> None:
    dense = layers.Dense(5)
    x = RNG.normal(size=(4, 9)).astype(np.float32)
    before = dense(x)
    dense.quantize(mode)
    x[1, 3], x[2, 8] = np.nan, np.inf
    y = dense(x)
    assert np.isnan(y[1:3]).all()
    np.testing.assert_allclose(y[[0, 3]], before[[0, 3]], atol=0.05)
    assert np.array_equal(dense(np.zeros((1, 9), np.float32)), dense.get_weights()[1][None])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("isa", _kernels.ISA_LEVELS)
def test_rounding(mode: str, isa: str) -> None:
    w = RNG.normal(size=(50, 9)).astype(np.float32)
    w[:, 3] = 0
    rounded = round_weights(w, mode)
    step = np.abs(w) / 128 if mode == "bf16" else np.abs(w).max(axis=0) / LARGEST[mode]
    assert np.all(np.abs(rounded - w) <= step / 2 * 1.0001)
    np.testing.assert_allclose(round_weights(rounded, mode), rounded, rtol=1e-6)


def test_bf16_rounds_ties_to_even() -> None:
    ones = np.array([[0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF]], np.uint32).view(np.float32)
    assert round_weights(ones, "bf16").view(np.uint32).tolist() == [[0x3F800000, 0x3F820000, 0x3F810000, 0x3F800000]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [1, 3, 7, 25])
def test_dense(rows: int, mode: str) -> None:
    dense = layers.Dense(37, activation="tanh")
    x = RNG.normal(size=(rows, 4, 11)).astype(np.float32)
    dense(x)
    dense.quantize(mode)
    kernel, bias = dense.get_weights()
    assert np.array_equal(kernel, round_weights(kernel, mode)) or mode != "bf16"
    operands = x if mode == "bf16" else round_operands(x, mode)
    np.testing.assert_allclose(dense(x), np.tanh(operands @ kernel + bias), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_models_streams_and_files_keep_the_mode(mode: str, tmp_path: Any) -> None:
    model = model_of(
        layers.Bidirectional(layers.LSTM(12, return_sequences=True, dropout=0.3)),
        layers.Dropout(0.2),
        layers.GRU(9, return_sequences=True),
        layers.Dense(3, "softmax"),
    )
    x = RNG.normal(size=(2, 7, 5)).astype(np.float32)
    before = model(x)
    model.quantize(mode)
    y = model(x)
    assert 0 < np.abs(y - before).max() < 0.05
    assert np.array_equal(model.predict(x, verbose=0), y)
    model.save(tmp_path / "m.safetensors")
    again = rnnx.load_model(tmp_path / "m.safetensors")
    assert np.array_equal(again(x), y)
    assert again.layers[-1].quantization_mode == mode
    clone = rnnx.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert np.array_equal(clone(x), y)

    causal = model_of(layers.LSTM(12, return_sequences=True), layers.Dense(3, "softmax"))
    causal.quantize(mode)
    stream, y = causal.stream(2), causal(x)
    np.testing.assert_allclose(np.stack([stream.step(x[:, t]) for t in range(7)], 1), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_files_are_as_narrow_as_the_weights(mode: str, tmp_path: Any) -> None:
    model = model_of(layers.Bidirectional(layers.LSTM(70, return_sequences=True)), layers.GRU(60), layers.Dense(40))
    model.save(tmp_path / "wide.safetensors")
    model.quantize(mode, RNG.normal(size=(9, 8, 5)).astype(np.float32))
    model.save(tmp_path / "narrow.safetensors")
    wide, narrow = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("wide", "narrow"))
    assert narrow < wide * (0.32 if mode in ("int8", "int8x16") else 0.55)
    again = rnnx.load_model(tmp_path / "narrow.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), model.get_weights(), strict=True))
    model.save_weights(tmp_path / "weights.safetensors")
    plain = rnnx.load_model(tmp_path / "wide.safetensors")
    plain.load_weights(tmp_path / "weights.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), model.get_weights(), strict=True))
    assert plain.layers[-1].quantization_mode is None

    changed = [w + RNG.normal(size=w.shape).astype(np.float32) for w in model.get_weights()]
    model.set_weights(changed)
    model.save(tmp_path / "changed.safetensors")
    again = rnnx.load_model(tmp_path / "changed.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), changed, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_narrow_forms(mode: str) -> None:
    for scale in np.float32([1e-38 if mode != "int16" else 1e-33, 3e-20, 1, 7e30]):
        kernel = round_weights(scale * RNG.normal(size=(40, 300)).astype(np.float32), mode)
        kernel[:, 5] = 0
        numbers, scales = narrow_form(kernel, mode)  # type: ignore[misc]
        assert numbers.dtype == {"bf16": np.uint16, "int16": np.int16}.get(mode, np.int8)
        assert np.array_equal(wide_form(numbers, scales), kernel)
    assert narrow_form(RNG.normal(size=(9, 4)).astype(np.float32), mode) is None


def test_monte_carlo_dropout_runs_on_narrow_weights() -> None:
    model = model_of(layers.GRU(16, dropout=0.3, recurrent_dropout=0.3, noise_shape=(1, 1, None), seed=1))
    x = RNG.normal(size=(20, 7, 5)).astype(np.float32)
    seen = []
    for mode in (None, "bf16"):
        if mode:
            model.quantize(mode)
        model.layers[-1].seed_generator.state = (1, 0)
        seen.append(model(x, training=True))
    np.testing.assert_allclose(seen[0], seen[1], rtol=0, atol=0.02)
    assert np.abs(seen[0] - seen[1]).max() > 0


def test_training_is_refused() -> None:
    model = model_of(layers.GRU(4), layers.Dense(1))
    model.compile("sgd", "mse")
    model.quantize("int8")
    before = model.get_weights()
    with pytest.raises(ValueError, match="inference only"):
        model.fit(np.zeros((4, 3, 5)), np.zeros((4, 1)), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert np.isfinite(model.evaluate(np.zeros((4, 3, 5)), np.zeros((4, 1)), verbose=0))
    params = LSTMParams(np.eye(2, 8, dtype=np.float32), np.eye(2, 8, dtype=np.float32), None)
    with pytest.raises(ValueError, match="inference only"):
        lstm.forward(params, np.zeros((1, 1, 2), np.float32), packed=lstm.pack(params, "int8"), training=True)


def test_refusals_leave_the_model() -> None:
    model = model_of(layers.GRU(4), layers.Dense(1))
    before = model.get_weights()
    with pytest.raises(ValueError, match="'bf16', 'int8', 'int8x16', 'int16'"):
        model.quantize("int4")
    with pytest.raises(ValueError, match="no recurrent or Dense"):
        Sequential([Input((None, 5)), layers.Dropout(0.5)]).quantize("int8")
    with pytest.raises(ValueError, match="not built"):
        layers.LSTM(3).quantize("int8")
    with pytest.raises(ValueError, match="only float32"):
        Sequential([Input((None, 5), dtype="float64"), layers.GRU(4, dtype="float64")]).quantize("int8")
    broken = model_of(layers.GRU(4), layers.Dense(1))
    broken.layers[-1].kernel = np.full((4, 1), np.nan)
    with pytest.raises(ValueError, match="not finite"):
        broken.quantize("bf16")
    assert broken.layers[0].quantization_mode is None
    model.quantize("bf16")
    model.quantize("bf16")
    with pytest.raises(ValueError, match="bf16 already"):
        model.quantize("int8")
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    params = GRUParams(np.eye(2, 6), np.eye(2, 6), None)
    for weights in ("int8", "int4"):
        with pytest.raises(ValueError, match="weights"):
            gru.pack(params, weights)
    with pytest.raises(ValueError, match="quantization_mode"):
        layers.GRU(4, quantization_mode="int3")


def test_report() -> None:
    model = model_of(layers.GRU(24), layers.Dense(5, "softmax"))
    x = [RNG.normal(size=(n, 5)).astype(np.float32) for n in (3, 9, 4)]
    before = model.predict(x, verbose=0)
    reports = layers.quantization_report(model, x)
    assert [r.mode for r in reports] == list(MODES)
    for r in reports:
        assert 0 < r.mean <= r.largest < 0.05
        assert r.agreement is not None
        assert r.agreement > 0.6
        assert r.mode in str(r)
    assert reports[0].bytes_after * 2 == reports[0].bytes_before
    assert np.array_equal(model.predict(x, verbose=0), before)
    model.quantize("int8")
    with pytest.raises(ValueError, match="already"):
        layers.quantization_report(model, x)
