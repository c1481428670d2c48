"""Streams with steps that do not count, causal convolutions, and cells of one's own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, Sequential, layers
from rnnx._nested import leaves

RNG = np.random.default_rng(37)
MASK = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=bool
)
ROWS, STEPS = MASK.shape
FEATURES = 3
OPTIONS = {"dtype": "float64"}
MADE: dict[str, Any] = {
    "LSTM": lambda **kw: layers.LSTM(4, **OPTIONS, **kw),
    "GRU": lambda **kw: layers.GRU(4, **OPTIONS, **kw),
    "GRU_slow": lambda **kw: layers.GRU(4, activation="gelu", reset_after=False, **OPTIONS, **kw),
    "SimpleRNN": lambda **kw: layers.SimpleRNN(4, zoneout=0.3, **OPTIONS, **kw),
    "stack": lambda **kw: layers.RNN([layers.LSTMCell(5, **OPTIONS), layers.GRUCell(4, **OPTIONS)], **kw),
}


def data(*shape: int) -> Any:
    return RNG.normal(size=shape or (ROWS, STEPS, FEATURES))


def made(name: str, **options: Any) -> Any:
    layer = MADE[name](**options)
    layer(data())
    layer.set_weights([RNG.normal(size=w.shape) * 0.6 for w in layer.get_weights()])
    return layer


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_masked_steps_equal_the_masked_sequence(name: str, zero: bool) -> None:
    layer, x = made(name, return_sequences=True, zero_output_for_mask=zero), data()
    x[~MASK] = np.nan
    stream = layer.stream(ROWS)
    close(stream.run(x, mask=MASK), layer(x, mask=MASK))
    final = made(name, return_state=True)
    final.set_weights(layer.get_weights())
    states = [part for parts in stream.state for part in parts]
    for mine, theirs in zip(states, leaves(final(x, mask=MASK)[1:]), strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("name", MADE)
def test_masked_steps_of_a_last_output(name: str) -> None:
    layer, x = made(name), data()
    stream = layer.stream(ROWS)
    for t in range(STEPS):
        close(stream.step(x[:, t], mask=MASK[:, t]), layer(x[:, : t + 1], mask=MASK[:, : t + 1]))


def test_plain_steps_before_masked_ones() -> None:
    layer, x = made("GRU", return_sequences=True), data()
    stream = layer.stream(ROWS)
    first = stream.step(x[:, 0])
    nobody = np.zeros(ROWS, bool)
    assert np.array_equal(stream.copy().step(x[:, 1], mask=nobody), first)
    assert np.array_equal(stream.step(x[:, 1], mask=nobody), first)
    stream.reset([0, 2])
    y = stream.step(x[:, 1], mask=nobody)
    assert not y[[0, 2]].any() and np.array_equal(y[[1, 3, 4]], first[[1, 3, 4]])
    assert np.array_equal(stream.copy().step(x[:, 1], mask=nobody), y)


def masking() -> Any:
    return Sequential(
        [
            layers.Masking(input_shape=(None, FEATURES)),
            layers.LSTM(4, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3, activation="tanh")),
            layers.Dropout(0.5),
            layers.GRU(3, return_sequences=True),
        ]
    )


def masking_last() -> Any:
    return Sequential([masking(), layers.LSTM(4), layers.Dense(2)])


def masked_graph() -> Any:
    x = Input((None, FEATURES))
    a = layers.Masking()(x)
    b = layers.GRU(4, return_sequences=True)(a)
    c = layers.SimpleRNN(4, return_sequences=True)(x)
    return Model(x, layers.LSTM(3, return_sequences=True)(layers.concatenate([layers.add([b, c]), a])))


@pytest.mark.parametrize("make", [masking, masking_last, masked_graph])
def test_models_that_mask(make: Any) -> None:
    model, x = make(), data()
    x[~MASK] = 0
    stream = model.stream(ROWS)
    for t in range(STEPS):
        whole = model(x[:, : t + 1])
        close(stream.step(x[:, t]), whole[:, -1] if whole.ndim == 3 else whole)


def test_ids_that_mask() -> None:
    model = Sequential([layers.Embedding(7, 4, mask_zero=True), layers.GRU(3, return_sequences=True), layers.LSTM(3)])
    ids = np.where(MASK, RNG.integers(1, 7, MASK.shape), 0)
    model(ids)
    stream = model.stream(ROWS)
    for t in range(STEPS):
        close(stream.step(ids[:, t]), model(ids[:, : t + 1]))


@pytest.mark.parametrize("mask", [np.ones(ROWS), np.ones(ROWS + 1, bool), np.ones((ROWS, 1), bool), True])
@pytest.mark.parametrize("name", ["GRU", "stack"])
def test_bad_masks(name: str, mask: Any) -> None:
    layer = made(name, return_sequences=True)
    stream = layer.stream(ROWS)
    with pytest.raises(ValueError, match=rf"`mask` must be boolean of shape \({ROWS},\)"):
        stream.step(data(ROWS, FEATURES), mask=mask)
    with pytest.raises(ValueError, match=r"`mask` must have shape \(5, 6\)"):
        stream.run(data(), mask=MASK[:, 1:])
    assert not any(part.any() for parts in stream.state for part in parts)


# ---- Causal convolutions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "dilation_rate": 2, "activation": "relu"},
        {"kernel_size": 2, "groups": 3, "use_bias": False},
        {"kernel_size": 1, "padding": "valid"},
    ],
)
def test_causal_convolutions(options: dict[str, Any]) -> None:
    conv = layers.Conv1D(6, **{"padding": "causal", **options})
    model = Sequential([Input((None, FEATURES)), conv, layers.GRU(4, return_sequences=True)])
    x = data()
    stream = model.stream(ROWS)
    close(stream.run(x), model(x))
    other = stream.copy()
    assert np.array_equal(other.step(x[:, 0]), stream.step(x[:, 0]))
    stream.reset()
    close(stream.run(x[:, :4]), model(x[:, :4]))
    saved = stream.state
    rest = stream.run(x[:, 4:])
    stream.state = saved
    assert np.array_equal(stream.run(x[:, 4:]), rest)
    with pytest.raises(ValueError, match="state: expected arrays of shapes"):
        stream.state = [(np.zeros((1, 2, 3)),), saved[1]]


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": "causal", "strides": 2}])
def test_other_convolutions_are_refused(options: dict[str, Any]) -> None:
    model = Sequential([Input((8, FEATURES)), layers.Conv1D(6, 3, name="culprit", **options)])
    with pytest.raises(ValueError, match="'culprit'.*causal"):
        model.stream()


# ---- Cells of one's own ----------------------------------------------------------------------------------------------


class Leaky:
    """A running sum that forgets, and the number of steps."""

    state_size = (FEATURES, 1)

    def call(self, x: Any, states: Any) -> Any:
        total, count = states
        total = 0.7 * total + x
        return total / (count + 1), [total, count + 1]


def test_cells_of_ones_own() -> None:
    layer, x = layers.RNN([Leaky(), layers.GRUCell(4)], return_sequences=True), data().astype(np.float32)
    whole = layer(x)
    stream = layer.stream(ROWS)
    close(stream.run(x), whole)
    assert [part.shape for part in stream.state[0]] == [(ROWS, FEATURES), (ROWS, 1)]
    assert (stream.state[0][1] == STEPS).all()
    stream.reset()
    close(stream.run(x, mask=MASK), layer(x, mask=MASK))


def texts(**options: Any) -> Any:
    model = Sequential([layers.Embedding(9, 4, **options), layers.GRU(5, return_sequences=True), layers.Dense(9)])
    model(np.array([[1, 2]]))
    return model


class Halving(layers.Layer):
    """A cell of one's own that gives its state out."""

    state_size = output_size = FEATURES

    def __call__(self, x: Any, states: Any, **_: Any) -> Any:
        y = 0.5 * states[0] + x
        return y, [y]


CHAINS: dict[str, Any] = {
    "LSTM": lambda: made("LSTM", return_sequences=True),
    "zeros": lambda: made("GRU", return_sequences=True, zero_output_for_mask=True),
    "zoneout": lambda: made("SimpleRNN", return_sequences=True),
    "last": lambda: Sequential([Input((None, FEATURES)), layers.LSTM(4), layers.Dense(3, "softmax")]),
    "chain": lambda: Sequential(
        [
            Input((None, FEATURES)),
            layers.Dense(5, "tanh"),
            layers.LSTM(4, return_sequences=True),
            layers.GRU(6, return_sequences=True),
            layers.Dense(3),
            layers.Activation("elu"),
        ]
    ),
    "zeros and more": lambda: Sequential(
        [
            Input((None, FEATURES)),
            layers.GRU(4, return_sequences=True, zero_output_for_mask=True),
            layers.Dense(3, bias_initializer="ones"),
        ]
    ),
    "slow": lambda: Sequential(  # what follows goes layer by layer
        [
            Input((None, FEATURES)),
            layers.LayerNormalization(),
            layers.LSTM(4, activation="gelu", return_sequences=True),
            layers.GRU(5, return_sequences=True),
            layers.Dense(3),
        ]
    ),
    "masked": lambda: Sequential(
        [Input((None, FEATURES)), layers.Masking(7.0), layers.GRU(5, return_sequences=True), layers.Dense(3)]
    ),
    "convolution": lambda: Sequential(
        [Input((None, FEATURES)), layers.Conv1D(4, 3, padding="causal"), layers.GRU(5, return_sequences=True)]
    ),
    "convolution alone": lambda: Sequential([Input((None, FEATURES)), layers.Conv1D(4, 2, padding="causal")]),
    "own cell": lambda: Sequential([Input((None, FEATURES)), layers.RNN(Halving(), return_sequences=True)]),
    "ids": texts,
    "padded ids": lambda: texts(mask_zero=True),
}


@pytest.mark.parametrize("name", CHAINS)
def test_some_rows_step_as_they_would_alone(name: str) -> None:
    """The same bits, whichever rows step with it; steps of all rows, resets and assigned states between them."""
    model, batch, random = CHAINS[name](), 130, np.random.default_rng(5)
    stream = model.stream(batch)
    alone = [model.stream() for _ in range(batch)]
    nothing = np.zeros(1, bool)
    for turn in range(24):
        ids = "ids" in name
        x = random.integers(1, 9, batch) if ids else random.normal(size=(batch, FEATURES)).astype(np.float32)
        valid = random.random(batch) < (0.02, 0.3, 0.9, 1)[turn % 4]
        if turn == 6:
            stream.reset([3, 7, 100])
            for row in (3, 7, 100):
                alone[row].reset()
        if turn == 11:
            stream.state = [tuple(part[::-1] for part in parts) for parts in stream.state]
            states = [single.state for single in alone]
            for single, state in zip(alone, states[::-1], strict=True):
                single.state = state
        if turn == 17:
            x[5], valid[5] = 0 if ids else np.nan, False
        if turn == 20 and name == "padded ids":
            x[60], valid[60] = 0, True
        same = np.testing.assert_array_equal if not name.startswith("convolution") else close
        repeated = [s.step(x[k : k + 1], mask=nothing)[0] for k, s in enumerate(alone)]
        wanted = [s.step(x[k : k + 1])[0] if valid[k] else repeated[k] for k, s in enumerate(alone)]
        for k in np.flatnonzero(valid) if turn > 17 else ():  # a row that rests repeats what it gave
            if not name.startswith("zeros"):
                np.testing.assert_array_equal(alone[k].step(x[k : k + 1] % 8 + 1, mask=nothing)[0], wanted[k])
        out = np.empty_like(wanted) if turn % 2 else None
        y = stream.step(x, out, mask=valid)
        same(y, wanted)
        assert out is None or y is out
        y[...] = 99  # nobody else has it
    for k in range(batch):
        for mine, theirs in zip(leaves(stream.state), leaves(alone[k].state), strict=True):
            same(mine[k], theirs[0])


@pytest.mark.parametrize("name", ["chain", "ids"])
def test_a_masked_step_that_is_refused_changes_nothing(name: str) -> None:
    stream = CHAINS[name]().stream(4)
    x = np.array([1, 2, 3, 4]) if name == "ids" else np.ones((4, FEATURES))
    valid = np.array([True, False, True, False])
    units = stream.step(x, mask=valid).shape[1]
    before = stream.state
    for call, words in (
        (lambda: stream.step(x[:3], mask=valid), r"`x` must have shape \(batch.*\) = \(4,"),
        (lambda: stream.step(x, mask=valid[:3]), r"`mask` must be boolean of shape \(4,\), got bool of \(3,\)"),
        (lambda: stream.step(x, mask=valid.astype(int)), "`mask` must be boolean"),
        (lambda: stream.step(x, np.zeros((4, units + 1), np.float32), mask=valid), "`out` must be a writable float32"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
        for mine, theirs in zip(leaves(stream.state), leaves(before), strict=True):
            assert np.array_equal(mine, theirs)


def test_a_masked_step_costs_what_its_rows_cost() -> None:
    """One row in a thousand: far less than a step of all, which took two."""
    model = Sequential([Input((None, 16)), layers.LSTM(128), layers.Dense(3)])
    stream, x, one = model.stream(1000), np.zeros((1000, 16), np.float32), np.zeros(1000, bool)
    one[500] = True

    def seconds(**options: Any) -> float:
        best = np.inf
        for _ in range(5):
            start = time.perf_counter()
            stream.step(x, **options)
            best = min(best, time.perf_counter() - start)
        return best

    stream.step(x, mask=one)
    assert 5 * seconds(mask=one) < seconds()
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        stream.reset([500])
        best = min(best, time.perf_counter() - start)
    assert 5 * best < seconds()
