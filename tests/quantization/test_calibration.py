"""Rounding with an eye on the inputs: it moves outputs less, counts what counts, and keeps its promises elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Sequential, layers
from rnnx.quantization import quantizable
from rnnx.quantization.calibration import Moments, observe, round_in_order
from rnnx.quantization.rounding import round_weights

RNG = np.random.default_rng(91)


def correlated(count: int, timesteps: int, features: int = 12) -> Any:
    """Sequences whose features have few directions."""
    rng = np.random.default_rng([92, count])
    mixing = np.random.default_rng(93).normal(size=(3, features))
    noise = 0.05 * rng.normal(size=(count, timesteps, features))
    return (rng.normal(size=(count, timesteps, 3)).cumsum(axis=1) * 0.3 @ mixing + noise).astype(np.float32)


def model_of(*inner: Any) -> Any:
    model = Sequential([Input((None, 12)), *inner])
    rng = np.random.default_rng(94)
    model.set_weights([rng.normal(size=w.shape) / np.sqrt(w.shape[0]) for w in model.get_weights()])
    return model


def moved(model: Any, mode: str, data: Any, x: Any) -> float:
    (report,) = layers.quantization_report(model, x, [mode], calibration_data=data)
    return report.relative


@pytest.mark.parametrize("mode", ["bf16", "int8x16"])
@pytest.mark.parametrize(
    "inner",
    [
        lambda: [layers.LSTM(40, return_sequences=True), layers.Dense(7)],
        lambda: [layers.Bidirectional(layers.GRU(24)), layers.Dense(7, "softmax")],
        lambda: [layers.RNN(layers.GRUCell(32, reset_after=False)), layers.Dense(5)],
        lambda: [layers.TimeDistributed(layers.Dense(30, "tanh")), layers.SimpleRNN(20, go_backwards=True)],
    ],
    ids=["lstm", "bidirectional", "cell", "time-distributed"],
)
def test_outputs_move_less_on_data_not_seen(inner: Any, mode: str) -> None:
    model = model_of(*inner())
    before = model.get_weights()
    x = correlated(20, 30)
    assert moved(model, mode, correlated(60, 30), x) < 0.75 * moved(model, mode, None, x)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("inputs", [1, 5, 128, 300])
def test_products_move_less(inputs: int) -> None:
    x = RNG.normal(size=(400, 4)) @ RNG.normal(size=(4, inputs)) + 0.01 * RNG.normal(size=(400, inputs))
    kernel = RNG.normal(size=(inputs, 6))
    moments = Moments(inputs)
    moments.add(x[:150])
    moments.add(x[150:])
    nearest = np.round
    chosen = round_in_order(20 * kernel, moments, nearest)
    assert np.array_equal(chosen, np.round(chosen))
    plain, careful = (np.linalg.norm(x @ (w - 20 * kernel)) for w in (np.round(20 * kernel), chosen))
    assert careful <= plain if inputs == 1 else careful < 0.6 * plain


def test_without_data_every_weight_is_rounded_to_nearest() -> None:
    kernel = RNG.normal(size=(7, 3))
    assert np.array_equal(round_in_order(kernel, Moments(7), np.round), np.round(kernel))
    silent = Moments(7)
    silent.add(np.full((4, 7), np.nan))
    assert np.array_equal(round_in_order(kernel, silent, np.round), np.round(kernel))


def test_the_rounded_weights_stand_for_themselves(tmp_path: Any) -> None:
    model = model_of(layers.LSTM(33, return_sequences=True), layers.Dense(4))
    scales = [np.abs(part.quantized_weights[0].value).max(axis=0) for part in quantizable(model)]
    model.quantize("int8", calibration_data=correlated(30, 20))
    for part, scale in zip(quantizable(model), scales, strict=True):
        for weight in part.quantized_weights:
            np.testing.assert_allclose(round_weights(weight.value, "int8"), weight.value, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(np.abs(part.quantized_weights[0].value).max(axis=0), scale, rtol=1e-6)
    x = correlated(3, 9)
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(rnnx.load_model(tmp_path / "m.safetensors").predict(x), model.predict(x))


def test_padding_does_not_count() -> None:
    x = correlated(9, 16)
    lengths = RNG.integers(1, 17, 9)
    rows = [row[:n] for row, n in zip(x, lengths, strict=True)]
    for i, n in enumerate(lengths):
        x[i, n:] = -1
    for inner in (layers.GRU(8, return_sequences=True), layers.Bidirectional(layers.GRU(8, return_sequences=True))):
        masked, plain = model_of(layers.Masking(-1.0), inner, layers.Dense(2)), model_of(inner, layers.Dense(2))
        plain.set_weights(masked.get_weights())
        found = [
            [moments.sums for part in observe(model, data, list(quantizable(model))) for moments in part]
            for model, data in ((masked, x), (plain, rows))
        ]
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
        assert any(s.any() for s in found[0])


def test_states_of_layers_that_return_their_last_output() -> None:
    x = correlated(5, 11)
    last, all_ = layers.GRU(6), layers.GRU(6, return_sequences=True)
    all_.build((None, 11, 12))
    last.build((None, 11, 12))
    last.set_weights(all_.get_weights())
    for call in ({}, {"return_state": True}, {"stateful": True}):
        for name, value in call.items():
            setattr(last, name, value)
        (found,), (wanted,) = observe(last, x, [last]), observe(all_, x, [all_])
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.sums, b.sums, rtol=1e-5, atol=1e-5)
    assert last.states is None or all(s is None or not np.any(s) for s in np.atleast_1d(last.states))
    y = all_(x)
    np.testing.assert_allclose(wanted[1].sums, np.einsum("btu,btv->uv", y, y, dtype=np.float64), rtol=1e-4, atol=1e-4)


def amplifying() -> Any:
    """A model whose first layer is so sensitive that its weights need more than 8 bits."""
    model = model_of(layers.GRU(24, return_sequences=True), layers.GRU(16, return_sequences=True), layers.Dense(4))
    model.layers[0].set_weights([30 * w for w in model.layers[0].get_weights()])
    return model


@pytest.mark.parametrize("mode, first", [("int8", "int16"), ("bf16", None)])
def test_layers_that_move_outputs_too_far_get_more_bits(mode: str, first: str | None, tmp_path: Any) -> None:
    model, data = amplifying(), correlated(20, 30)
    before, exact = model.get_weights(), model.predict(data)
    (whole,) = layers.quantization_report(model, data, [mode], data)
    tolerance = whole.largest / 8
    (partly,) = layers.quantization_report(model, data, [mode], data, tolerance)
    assert 0 < partly.largest <= tolerance
    assert whole.bytes_after < partly.bytes_after < partly.bytes_before
    model.quantize(mode, data, tolerance)
    assert [layer.quantization_mode for layer in model.layers] == [first, mode, mode]
    assert first or all(np.array_equal(a, b) for a, b in zip(before[:3], model.get_weights()[:3], strict=True))
    assert np.abs(model.predict(data) - exact).max() == pytest.approx(partly.largest)
    model.save(tmp_path / "m.safetensors")
    again = rnnx.load_model(tmp_path / "m.safetensors")
    assert [layer.quantization_mode for layer in again.layers] == [first, mode, mode]
    assert np.array_equal(again.predict(data), model.predict(data))


def test_16_bit_integers_move_outputs_fifty_times_less() -> None:
    model, x = model_of(layers.LSTM(40, return_sequences=True), layers.Dense(7)), correlated(8, 50)
    bf16, int8, int8x16, int16 = layers.quantization_report(model, x)
    assert int16.relative < int8x16.relative / 50
    assert int8x16.relative < int8.relative
    assert int16.relative < bf16.relative / 50
    assert int8.bytes_after == int8x16.bytes_after < int16.bytes_after
    assert int16.bytes_after < 1.2 * bf16.bytes_after  # the scales of seven inputs count


def test_a_tolerance_that_all_layers_keep_or_none() -> None:
    model, free, data = amplifying(), amplifying(), correlated(20, 30)
    before = model.get_weights()
    with pytest.raises(ValueError, match="no layer of sequential.* stays within tolerance=1e-09; .* alone moves"):
        model.quantize("int8", data, tolerance=1e-9)
    for tolerance, calibration in ((0.1, None), (0.0, data), (-1, data), (np.nan, data)):
        with pytest.raises(ValueError, match="must be positive and needs `calibration_data`"):
            model.quantize("int8", calibration, tolerance)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert all(layer.quantization_mode is None for layer in model.layers)
    model.quantize("int8", data, tolerance=100.0)
    free.quantize("int8", data)
    assert all(np.array_equal(a, b) for a, b in zip(free.get_weights(), model.get_weights(), strict=True))
    cell = layers.GRU(5)
    cell.build((None, 9, 12))
    cell.quantize("int8", correlated(3, 9), tolerance=1.0)
    assert cell.quantization_mode == "int8"


def test_bad_data_leave_the_model() -> None:
    model = model_of(layers.LSTM(6), layers.Dense(2))
    before = model.get_weights()
    with pytest.raises(ValueError, match="12"):
        model.quantize("int8", calibration_data=np.zeros((3, 4, 5), np.float32))
    assert all(part.quantization_mode is None for part in quantizable(model))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_any_type_of_data_calibrates(kind: Any) -> None:
    """Data that are cast on the way give the weights that the cast data give."""
    made = []
    for data in (correlated(6, 5), correlated(6, 5).astype(np.float64), correlated(6, 5).astype(">f4")):
        model = model_of(layers.Bidirectional(kind(8, return_sequences=True)), kind(6), layers.Dense(3))
        model.quantize("int8", calibration_data=data)
        made.append(model.get_weights())
    for other in made[1:]:
        for a, b in zip(made[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
