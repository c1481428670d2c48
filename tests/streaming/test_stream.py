"""Streams: step by step equals the whole sequence; states come out and go in; what cannot be streamed says so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, Sequential, layers

RNG = np.random.default_rng(29)
STEPS, FEATURES = 7, 3
CELLS: dict[str, Any] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU_before": lambda units, **kw: layers.GRU(units, reset_after=False, **kw),
    "SimpleRNN": layers.SimpleRNN,
    "LSTM_relu": lambda units, **kw: layers.LSTM(units, activation="relu", **kw),
    "LSTM_slow": lambda units, **kw: layers.LSTM(units, activation="gelu", **kw),
    "GRU_slow": lambda units, **kw: layers.GRU(units, recurrent_activation="softmax", **kw),
    "GRU_zoneout": lambda units, **kw: layers.GRU(units, zoneout=0.2, seed=1, **kw),
    "LSTM_zoneout": lambda units, **kw: layers.LSTM(units, zoneout=(0.2, 0.1), seed=1, **kw),
    "GRU_dropout": lambda units, **kw: layers.GRU(units, dropout=0.5, recurrent_dropout=0.5, seed=1, **kw),
    "no_bias": lambda units, **kw: layers.LSTM(units, use_bias=False, **kw),
    "RNN": lambda units, **kw: layers.RNN(layers.GRUCell(units, dtype=kw["dtype"]), **kw),
    "RNN_stack": lambda units, **kw: layers.RNN(
        [layers.LSTMCell(5, dtype=kw["dtype"]), layers.GRUCell(units, dtype=kw["dtype"])], **kw
    ),
}
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def data(batch: int, dtype: str = "float32") -> Any:
    return RNG.normal(size=(batch, STEPS, FEATURES)).astype(dtype)


def made(name: str, units: int = 4, dtype: str = "float32") -> Any:
    layer = CELLS[name](units, return_sequences=True, dtype=dtype)
    layer(data(1, dtype))
    layer.set_weights([RNG.normal(size=w.shape) / np.sqrt(2 * w.shape[0]) for w in layer.get_weights()])
    return layer


def close(a: Any, b: Any, dtype: str = "float32") -> None:
    np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("units", [1, 4, 17, 64])
@pytest.mark.parametrize("name", CELLS)
def test_layers_equal_the_whole_sequence(name: str, units: int, batch: int, dtype: str) -> None:
    layer, x = made(name, units, dtype), data(batch, dtype)
    stream = layer.stream(batch)
    steps = np.stack([stream.step(x[:, t]) for t in range(STEPS)], axis=1)
    whole = layer(x)
    assert steps.dtype == dtype and steps.shape == whole.shape
    close(steps, whole, dtype)
    close(layer.stream(batch).run(x), whole, dtype)


def model_of(name: str) -> Any:
    if name == "chain":
        return Sequential(
            [
                layers.LSTM(5, return_sequences=True, dropout=0.4, input_shape=(None, FEATURES)),
                layers.Dropout(0.4),
                layers.LayerNormalization(),
                layers.GRU(4, return_sequences=True),
                layers.TimeDistributed(layers.Dense(6, activation="tanh")),
                layers.BatchNormalization(),
                layers.Dense(2, activation="softmax"),
            ]
        )
    if name == "last_only":
        return Sequential([layers.GRU(5, input_shape=(None, FEATURES)), layers.ReLU(), layers.Dense(2)])
    if name == "nested":
        inner = Sequential(
            [layers.GRU(4, return_sequences=True, input_shape=(None, FEATURES)), layers.Activation("elu")]
        )
        return Sequential([inner, layers.SimpleRNN(3, return_sequences=True)])
    x = Input((None, FEATURES))
    h = layers.Dense(4)(x)
    a, b = layers.GRU(4, return_sequences=True)(h), layers.LSTM(4, return_sequences=True)(h)
    return Model(x, layers.Dense(2)(layers.concatenate([layers.add([a, h]), layers.multiply([a, b]), b])))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["chain", "nested", "graph"])
def test_models_equal_the_whole_sequence(name: str, batch: int) -> None:
    model, x = model_of(name), data(batch)
    close(model.stream(batch).run(x), model(x))


def test_a_model_of_the_last_output_gives_it_at_every_step() -> None:
    model, x = model_of("last_only"), data(2)
    stream = model.stream(2)
    for t in range(STEPS):
        close(stream.step(x[:, t]), model(x[:, : t + 1]))


def test_ids() -> None:
    model = Sequential([layers.Embedding(9, 4), layers.GRU(3, return_sequences=True), layers.Dense(9)])
    ids = RNG.integers(0, 9, (2, STEPS))
    whole = model(ids)
    stream = model.stream(2)
    close(np.stack([stream.step(ids[:, t]) for t in range(STEPS)], 1), whole)
    close(model.stream(2).run(ids), whole)
    before = stream.state
    for bad in (9, -1):
        with pytest.raises(ValueError, match=r"0\.\.8"):
            stream.step(np.array([1, bad]))
    assert np.array_equal(stream.state, before)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_single_cells(name: str) -> None:
    cell = getattr(layers, f"{name}Cell")(4)
    x = data(2)
    cell(x[:, 0])
    stream, states = cell.stream(2), None
    for t in range(STEPS):
        y, states = cell(x[:, t], states)
        close(stream.step(x[:, t]), y)
    for mine, theirs in zip(stream.state[0], states, strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("name", CELLS)
def test_state_out_and_in(name: str) -> None:
    layer, x = made(name), data(2)
    one = layer.stream(2)
    one.run(x[:, :3])
    saved = one.state
    rest = one.run(x[:, 3:])
    other = layer.stream(2)
    other.state = saved
    assert np.array_equal(other.run(x[:, 3:]), rest)
    one.state = saved
    assert np.array_equal(one.run(x[:, 3:]), rest)
    for parts in saved:
        for part in parts:
            part[...] = 99  # copies
    one.reset()
    close(one.run(x), layer(x))


def test_state_of_a_layer_that_returns_it() -> None:
    layer, x = layers.LSTM(4, return_state=True, return_sequences=True), data(2)
    y, h, c = layer(x)
    stream = layer.stream(2)
    close(stream.run(x), y)
    close(stream.state[0][0], h)
    close(stream.state[0][1], c)
    stream.state = [(np.ones((2, 4)), np.zeros((2, 4)))]
    close(stream.run(x), layer(x, initial_state=[np.ones((2, 4)), np.zeros((2, 4))])[0])


@pytest.mark.parametrize("rows", [1, [1], slice(1, 2), np.array([False, True, False])])
@pytest.mark.parametrize("name", ["LSTM", "GRU_slow", "RNN_stack"])
def test_reset_of_some_rows(name: str, rows: Any) -> None:
    layer, x = made(name), data(3)
    stream, undisturbed = layer.stream(3), layer.stream(3)
    for s in (stream, undisturbed):
        s.run(x)
    stream.reset(rows)
    y, going_on, fresh = stream.run(x), undisturbed.run(x), layer(x)
    close(y[1], fresh[1])
    assert np.array_equal(y[[0, 2]], going_on[[0, 2]])


@pytest.mark.parametrize("name", CELLS)
def test_copies_are_independent(name: str) -> None:
    layer, x = made(name), data(1)
    stream = layer.stream()
    stream.step(x[:, 0])
    other = stream.copy()
    a = [stream.step(x[:, t]) for t in range(1, STEPS)]
    b = [other.step(x[:, t]) for t in range(1, STEPS)]
    assert np.array_equal(a, b)


def test_many_streams_share_a_layer() -> None:
    layer, x = made("GRU"), data(4)
    streams = [layer.stream() for _ in range(4)]
    y = np.stack([[s.step(x[k : k + 1, t])[0] for k, s in enumerate(streams)] for t in range(STEPS)], 1)
    close(y, layer(x))


def test_weights_are_those_of_the_beginning() -> None:
    layer, x = made("LSTM"), data(1)
    stream, before = layer.stream(), layer(x)
    layer.set_weights([w * 0 for w in layer.get_weights()])
    close(stream.run(x), before)
    close(layer.stream().run(x), layer(x))


@pytest.mark.parametrize("name", ["LSTM", "GRU_slow", "RNN_stack"])
def test_out(name: str) -> None:
    layer, x = made(name), data(2)
    one, two = layer.stream(2), layer.stream(2)
    out = np.empty((2, 4), np.float32)
    for t in range(STEPS):
        expected = two.step(x[:, t])
        returned = one.step(x[:, t], out)
        assert np.array_equal(out, expected) and np.array_equal(np.asarray(returned), expected)


@pytest.mark.parametrize("given", ["list", "float64", "int", "strided", "read_only"])
def test_inputs_are_cast(given: str) -> None:
    layer = made("GRU")
    x = np.round(data(2) * 3)[:, 0]
    other = np.repeat(x, 2, axis=1)[:, ::2]
    fixed = x.copy()
    fixed.flags.writeable = False
    forms = {
        "list": x.tolist(),
        "float64": x.astype(float),
        "int": x.astype(int),
        "strided": other,
        "read_only": fixed,
    }
    assert np.array_equal(layer.stream(2).step(forms[given]), layer.stream(2).step(x))


# ---- Bad input ------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Any, type[BaseException], str]] = {
    "rank": (np.zeros(FEATURES), ValueError, "shape"),
    "sequence": (np.zeros((2, STEPS, FEATURES)), ValueError, "shape|axes"),
    "features": (np.zeros((2, FEATURES + 1)), ValueError, "shape"),
    "batch": (np.zeros((3, FEATURES)), ValueError, r"shape|row\(s\)"),
    "complex": (np.zeros((2, FEATURES), complex), TypeError, "real"),
    "string": (np.full((2, FEATURES), "a"), TypeError, "real"),
    "none": (None, TypeError, "real"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", [*CELLS, "chain", "graph", "last_only"])
def test_a_refused_step_leaves_the_state(name: str, case: str) -> None:
    owner = made(name) if name in CELLS else model_of(name)
    stream = owner.stream(2)
    stream.run(data(2))
    before = stream.state
    value, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        stream.step(value)
    for mine, theirs in zip(stream.state, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


OUTS = [
    np.empty((2, 5), np.float32),
    np.empty((2, 4)),
    np.empty((3, 4), np.float32),
    np.empty((2, 8), np.float32)[:, ::2],
]


@pytest.mark.parametrize("out", OUTS)
def test_bad_out(out: Any) -> None:
    stream = made("GRU").stream(2)
    with pytest.raises(ValueError, match=r"`out` must be .* \(2, 4\)"):
        stream.step(np.zeros((2, FEATURES), np.float32), out)
    assert not stream.state[0][0].any()


@pytest.mark.parametrize("value", [[], [(np.zeros((2, 5)), np.zeros((2, 4)))], [(np.zeros((2, 4)),)], [(1, 2)]])
def test_bad_states(value: Any) -> None:
    stream = made("LSTM").stream(2)
    stream.run(data(2))
    before = stream.state
    with pytest.raises(ValueError, match="state"):
        stream.state = value
    assert all(np.array_equal(a, b) for a, b in zip(stream.state[0], before[0], strict=True))


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2", None])
def test_bad_batch_size(batch: Any) -> None:
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        made("GRU").stream(batch)


@pytest.mark.parametrize(("shape", "way"), [((3,), "one row alone is x[None]"), ((1, 5, 3), "several steps go to run")])
def test_an_axis_too_few_or_too_many(shape: tuple[int, ...], way: str) -> None:
    stream = Sequential([Input((None, 3)), layers.GRU(2)]).stream()
    with pytest.raises(ValueError, match=re.escape(f"got shape {shape}; {way}")):
        stream.step(np.zeros(shape))


def test_bad_blocks() -> None:
    stream = made("GRU").stream(2)
    for block, words in ((np.zeros((3, 4, FEATURES)), r"\(2, timesteps"), (np.zeros((2, 0, FEATURES)), "no steps")):
        with pytest.raises(ValueError, match=words):
            stream.run(block)


def two_inputs() -> Any:
    a, b = Input((None, 3)), Input((None, 3))
    return Model([a, b], layers.add([a, b]))


def passes_states() -> Any:
    a = Input((None, 3))
    y, h = layers.GRU(4, return_sequences=True, return_state=True, name="culprit")(a)
    return Model(a, layers.GRU(4, name="second")(y, initial_state=h))


def sequential(*inner: Any) -> Any:
    return lambda: Sequential([layers.GRU(4, return_sequences=True, input_shape=(6, 3)), *[make() for make in inner]])


REFUSED: dict[str, tuple[Any, str]] = {
    "bidirectional": (sequential(lambda: layers.Bidirectional(layers.GRU(2), name="culprit")), "from its end"),
    "backwards": (sequential(lambda: layers.GRU(2, go_backwards=True, name="culprit")), "goes backwards"),
    "flatten": (sequential(lambda: layers.Flatten(name="culprit")), "joins all steps"),
    "pooling": (sequential(lambda: layers.MaxPooling1D(2, name="culprit")), "several steps"),
    "global": (sequential(lambda: layers.GlobalAveragePooling1D(name="culprit")), "joins all steps"),
    "convolution": (sequential(lambda: layers.Conv1D(2, 3, name="culprit")), "cannot be streamed"),
    "permute": (sequential(lambda: layers.Permute((2, 1), name="culprit")), "cannot be streamed"),
    "softmax": (sequential(lambda: layers.Softmax(axis=1, name="culprit")), "joins the steps"),
    "steps_and_whole": (
        lambda: Model(
            x := Input((6, 3)),
            layers.Concatenate(name="culprit")([x, layers.RepeatVector(6)(layers.GRU(2)(x))]),
        ),
        "joins steps with a value of all steps",
    ),
    "concatenate": (
        lambda: Model(
            x := Input((6, 3)), layers.GRU(2)(layers.Concatenate(axis=1, name="culprit")([x, layers.Dense(3)(x)]))
        ),
        "joins the steps",
    ),
    "states": (passes_states, "states? around|returns its state"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_layer(case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(ValueError, match=f"'culprit'.*({reason})"):
        make().stream()


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="not built yet"):
        layers.GRU(3).stream()
    with pytest.raises(ValueError, match="one input and one output"):
        two_inputs().stream()


def test_softmax_over_features_merges_and_average_stream_too() -> None:
    x = Input((None, FEATURES))
    h = layers.GRU(4, return_sequences=True)(x)
    model, given = Model(x, layers.Softmax()(layers.average([h, layers.Dense(4)(x)]))), data(2)
    close(model.stream(2).run(given), model(given))
    model = Model(x, layers.Softmax(axis=2)(layers.Concatenate(axis=2)([h, x])))
    close(model.stream(2).run(given), model(given))


def test_any_layer_may_follow_the_last_output() -> None:
    model = Sequential(
        [
            layers.GRU(4, input_shape=(None, FEATURES)),
            layers.RepeatVector(3),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
            layers.Flatten(),
        ]
    )
    stream, x = model.stream(2), data(2)
    for t in range(STEPS):
        close(stream.step(x[:, t]), model(x[:, : t + 1]))


def test_ids_through_several_recurrent_layers() -> None:
    model = Sequential(
        [
            layers.Embedding(9, 4),
            layers.GRU(3, return_sequences=True),
            layers.LSTM(5, return_sequences=True),
            layers.SimpleRNN(4),
            layers.Dense(9),
        ]
    )
    ids = RNG.integers(0, 9, (2, STEPS))
    model(ids)
    stream = model.stream(2)
    for t in range(STEPS):
        close(stream.step(ids[:, t]), model(ids[:, : t + 1]))


def test_layers_of_different_dtypes() -> None:
    model = Sequential(
        [
            Input((None, FEATURES), dtype="float64"),
            layers.GRU(4, return_sequences=True),
            layers.LSTM(3, return_sequences=True, dtype="float64"),
            layers.Dense(2),
        ]
    )
    x = data(2)
    close(model.stream(2).run(x), model(x))


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize("head", [None, "linear", "softmax"])
def test_an_output_that_does_not_fit_is_refused_on_every_way(activation, head):
    inner = [layers.SimpleRNN(1, activation=activation)] + ([] if head is None else [layers.Dense(1, head)])
    model = Sequential([Input((None, 1)), *inner])
    x = np.full((1, 1), 0.7, np.float32)
    read_only = np.zeros((1, 1), np.float32)
    read_only.flags.writeable = False
    for out in (np.zeros((3, 5), np.float32), np.zeros((1, 1), np.int32), np.zeros((1, 1)), read_only):
        for mask in (None, np.array([True])):
            stream = model.stream(1)
            before = stream.state
            with pytest.raises(ValueError, match="`out` must"):
                stream.step(x, out, mask=mask)
            for parts, after in zip(before, stream.state, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(parts, after, strict=True))


def test_a_block_that_fails_in_the_middle_leaves_the_state():
    model = Sequential([Input((None,), dtype="int32"), layers.Embedding(10, 4), layers.GRU(3, return_sequences=True)])
    stream = model.stream(1)
    stream.run(np.array([[1, 2]]))
    before = stream.state[0][0]
    with pytest.raises(ValueError, match="ids must lie"):
        stream.run(np.array([[3, 4, 99]]))
    assert np.array_equal(stream.state[0][0], before)
