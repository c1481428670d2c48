"""Quantized weights: what they stand for, how far outputs move, what is refused, that files and streams keep them."""

from __future__ import annotations

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
MODES = ("bf16", "int8", "int16")

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
        atol = 3e-6 if mode == "bf16" else 2e-4  # operands of 8-bit weights have 16 bits
        np.testing.assert_allclose(y, core.forward(rounded, x, **call).outputs, rtol=0, atol=atol)


def round_operands(rows: Any) -> Any:
    """What 8-bit weights are multiplied by: integers times a scale for each row."""
    most = min(32767, (2**31 - 1) // (127 * rows.shape[-1]))
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(most), largest, where=largest > 0, out=np.zeros_like(largest))
    wide = np.float64 if FUSED else np.float32
    return (np.rint(rows.astype(wide) * inverse) * (largest / np.float32(most))).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 17), (6, 30, 128), (13, 9, 33), (40, 600, 64)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "simple_rnn"])
def test_8_bit_weights_meet_16_bit_operands(cell: str, shape: Any) -> None:
    batch, features, units = shape
    rng = np.random.default_rng([73, *shape])
    params = cases.make_params(cell, features, units, np.float32, rng)
    params = replace(
        params,
        kernel=round_weights(params.kernel, "int8"),
        recurrent_kernel=round_weights(params.recurrent_kernel, "int8"),
    )
    x = rng.normal(size=(batch, 1, features)).astype(np.float32)
    x[-1] = 0
    state = cases.make_state(cell, batch, units, np.float32, rng)
    operand, *rest = state if isinstance(state, tuple) else (state,)
    known = (round_operands(operand), *rest)
    core = cases.FAST[cell]
    y = core.forward(params, x, packed=core.pack(params, "int8"), initial_state=state).outputs
    expected = core.forward(params, round_operands(x), initial_state=known if rest else known[0]).outputs
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 if features == 600 else 3e-6)


@pytest.mark.parametrize("features", [1, 2, 3, 16, 514, 519, 5000])
def test_sums_of_the_largest_integers_are_exact(features: int) -> None:
    dense = layers.Dense(3, use_bias=False)
    dense(np.zeros((1, features), np.float32))
    dense.set_weights([np.tile(np.float32([1, -1, 0.5]), (features, 1))])
    dense.quantize("int8")
    x = np.full((2, features), -3.0, np.float32)
    np.testing.assert_allclose(dense(x)[0], [-3 * features, 3 * features, -1.5 * features], rtol=5e-3)
    assert dense(x)[0, 0] == pytest.approx(-3 * features, rel=1e-6)
    assert dense(-x)[1, 1] == pytest.approx(-3 * features, rel=1e-6)


def test_rows_that_are_not_finite_stay_alone() -> None:
    dense = layers.Dense(5)
    x = RNG.normal(size=(4, 9)).astype(np.float32)
    before = dense(x)
    dense.quantize("int8")
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
    operands = x if mode == "bf16" else round_operands(x)
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
    assert 0 < np.abs(y - before).max() < 0.03
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
    assert narrow < wide * (0.32 if mode == "int8" else 0.55)
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
        assert numbers.dtype == (np.uint16 if mode == "bf16" else mode)
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
    with pytest.raises(ValueError, match="'bf16', 'int8', 'int16'"):
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
