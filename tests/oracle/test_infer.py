"""Calls that need no state, mask or gradient leave out what they do not need, and give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx import Input, Sequential, _kernels, layers
from tests.oracle import cases

SHAPES = [(1, 1, 1, 1), (1, 9, 5, 17), (4, 3, 8, 32), (33, 6, 7, 24), (2, 40, 3, 130)]


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_without_states_and_cache(cell: str, dtype: Any, shape: Any, backwards: bool, sequences: bool) -> None:
    batch, timesteps, features, units = shape
    rng = np.random.default_rng([51, *shape])
    params = cases.make_params(cell, features, units, dtype, rng)
    core = cases.FAST[cell]
    packed = core.pack(params)
    time_major = rng.normal(size=(timesteps, batch, 2 * features)).astype(dtype)
    for x in (np.ascontiguousarray(time_major[..., ::2].swapaxes(0, 1)), time_major[..., ::2].swapaxes(0, 1)):
        call = {"packed": packed, "go_backwards": backwards, "return_sequences": sequences}
        run = core.forward(params, x, return_state=False, **call)
        whole = core.forward(params, x, mask=np.ones((batch, timesteps), bool), training=True, **call)
        assert run.state is None and run.cache is None
        assert run.outputs.dtype == whole.outputs.dtype
        assert np.array_equal(run.outputs, whole.outputs)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [16, 17, 100])
def test_small_work_on_several_threads(batch: int, threads: int) -> None:
    rng = np.random.default_rng(52)
    params = cases.make_params("gru_after", 2, 3, np.float32, rng)
    packed = cases.FAST["gru_after"].pack(params)
    x = rng.normal(size=(batch, 2, 2)).astype(np.float32)
    several, one = (_kernels.forward(packed, x, states=False, threads=count)[0] for count in (threads, 1))
    assert np.array_equal(several, one)


LAYERS: dict[str, Any] = {
    "plain": layers.GRU(6, return_sequences=True),
    "last": layers.LSTM(6),
    "backwards": layers.SimpleRNN(6, return_sequences=True, go_backwards=True),
    "dropout": layers.LSTM(6, dropout=0.5, recurrent_dropout=0.5, seed=1),
    "zoneout": layers.GRU(6, zoneout=0.3, seed=1),
    "gelu": layers.LSTM(6, activation="gelu"),
    "state": layers.LSTM(6, return_state=True),
    "stateful": layers.GRU(6, stateful=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_call_of_a_layer_equals_forward_with_all_checks(name: str) -> None:
    layer = LAYERS[name]
    x = np.random.default_rng(53).normal(size=(3, 5, 4)).astype(np.float32)
    layer(x)
    layer.reset_state() if layer.stateful else None
    y = layer(x)
    layer.reset_state() if layer.stateful else None
    z = layer(x, mask=np.ones((3, 5), bool))
    for a, b in zip(y if isinstance(y, list) else [y], z if isinstance(z, list) else [z], strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4), (0, 0, 4)])
def test_nothing_to_do(shape: Any) -> None:
    for layer in (layers.LSTM(6), layers.GRU(6, return_sequences=True)):
        layer.build((None, None, 4))
        y = layer(np.zeros(shape, np.float32))
        assert y.shape == ((*shape[:2], 6) if layer.return_sequences else (shape[0], 6))
        assert not y.any()


@pytest.mark.parametrize("bad", [np.zeros((2, 5, 3)), np.zeros((2, 5)), np.zeros((2, 5, 4), complex), "text"], ids=repr)
def test_what_does_not_fit_is_refused_as_ever(bad: Any) -> None:
    layer = layers.GRU(6)
    layer.build((None, None, 4))
    with pytest.raises((TypeError, ValueError), match="gru|x"):
        layer(bad)


def test_weights_that_change_are_seen() -> None:
    layer = layers.GRU(6)
    x = np.random.default_rng(54).normal(size=(2, 5, 4)).astype(np.float32)
    before = layer(x)
    layer.set_weights([w + 0.1 for w in layer.get_weights()])
    assert not np.array_equal(layer(x), before)
    assert np.array_equal(layer(x), layer(x, mask=np.ones((2, 5), bool)))


# ---- Streams ---------------------------------------------------------------------------------------------------------

ENDS: dict[str, list[Any]] = {
    "nothing": [],
    "linear": [layers.Dense(5)],
    "sigmoid": [layers.Dropout(0.5), layers.Dense(1, "sigmoid", use_bias=False)],
    "softmax": [layers.Dense(40, "relu"), layers.Dense(5, "softmax")],
    "layer": [layers.Dense(5), layers.Activation("gelu")],
    "not_at_the_end": [layers.Activation("gelu"), layers.Dense(5)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("end", ENDS)
def test_chains_equal_the_whole_sequence(end: str, batch: int, dtype: str) -> None:
    x = np.random.default_rng(55).normal(size=(batch, 6, 4)).astype(dtype)
    tail = [type(layer).from_config({**layer.get_config(), "dtype": dtype}) for layer in ENDS[end]]
    own = {"return_sequences": True, "dtype": dtype}
    model = Sequential([Input((None, 4), dtype=dtype), layers.LSTM(9, **own), layers.GRU(20, **own), *tail])
    expected = model(x)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    out = np.empty((batch, expected.shape[-1]), dtype)
    for given in (None, out):
        stream = model.stream(batch)
        for t in range(6):
            y = stream.step(x[:, t], given)
            assert given is None or y is given
            np.testing.assert_allclose(y, expected[:, t], rtol=0, atol=tolerance)
            assert not np.shares_memory(y, stream.step(x[:, t])) if t == 5 else True


@pytest.mark.parametrize("end", ENDS)
def test_chains_refuse_and_stay(end: str) -> None:
    model = Sequential([Input((None, 4)), layers.LSTM(9, return_sequences=True), *ENDS[end]])
    x = np.random.default_rng(56).normal(size=(2, 4)).astype(np.float32)
    stream = model.stream(2)
    stream.step(x)
    before = stream.state
    width = model.outputs[0].shape[-1]
    for bad in (x[:1], x[:, :3], x[None], x.astype(complex)):
        with pytest.raises((TypeError, ValueError), match="step|input"):
            stream.step(bad)
    for out in (np.empty((3, width), np.float32), np.empty((2, width + 1), np.float32)):
        with pytest.raises(ValueError, match=r"out|broadcast"):
            stream.step(x, out)
    for a, b in zip(before, stream.state, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_dense_stepper_checks_its_arguments() -> None:
    kernel = np.eye(3, 2, dtype=np.float32)
    dense = _kernels.DenseStepper(_kernels.PackedDense(kernel, None), "linear", 2)
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert np.array_equal(dense.step(x[:, ::2]), x[:, [0, 2]])
    assert np.array_equal(dense.step(x[::-1, :3]), x[::-1, :2])
    for bad, error in (
        (x[:1, :3], ValueError),
        (x, ValueError),
        (x[:, :3].astype(float), TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error, match="step"):
            dense.step(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out"):
        dense.step(x[:, :3], np.empty((2, 3), np.float32))


def test_links_of_a_chain_fit_each_other() -> None:
    kernel = np.eye(3, 2, dtype=np.float32)
    first, wide, other_type = (
        _kernels.DenseStepper(_kernels.PackedDense(k, None), "linear", 2)
        for k in (kernel, kernel, kernel[:2].astype(float))
    )
    for follower in (wide, other_type):
        with pytest.raises(ValueError, match="Chain: a link of"):
            _kernels.Chain([first, follower])
    last = _kernels.DenseStepper(_kernels.PackedDense(kernel[:2, ::-1].copy(), None), "linear", 2)
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    chain = _kernels.Chain([first, last])
    assert np.array_equal(chain.step(x[:, ::2]), x[:, [2, 0]])
    with pytest.raises(ValueError, match="out"):
        chain.step(x[:, :3], np.empty((2, 3), np.float32))
