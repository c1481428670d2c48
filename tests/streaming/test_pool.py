"""Pools: whatever streams step together, each gives what a stream of its own gives."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, StreamPool, layers

RNG = np.random.default_rng(53)
FEATURES = 3


def built(layer: Any) -> Any:
    layer(np.zeros((1, 2, FEATURES)))
    layer.set_weights([RNG.normal(size=w.shape) * 0.6 for w in layer.get_weights()])
    for weight in layer.weights:
        if weight.name.endswith("variance"):
            weight.assign(np.abs(weight.numpy()) + 0.1)
    return layer


def narrow(layer: Any, mode: str = "int8") -> Any:
    layer.quantize(mode)
    return layer


def branched() -> Any:
    x = Input((None, FEATURES))
    h = layers.Dense(4)(x)
    a, b = layers.GRU(4, return_sequences=True)(h), layers.LSTM(4, return_sequences=True)(h)
    return Model(x, layers.Dense(2)(layers.concatenate([layers.add([a, h]), b])))


class Own(layers.Layer):
    """A cell in Python that does not begin at zero."""

    state_size = output_size = FEATURES

    def get_initial_state(self, batch_size: int) -> Any:
        return [np.full((batch_size, FEATURES), 2.0)]

    def __call__(self, x: Any, states: Any, **_: Any) -> Any:
        y = 0.5 * states[0] + x
        return y, [y]


def chain(*parts: Any) -> Any:
    return built(Sequential([Input((None, FEATURES)), *parts]))


SEQUENCES: Any = {"return_sequences": True}
MODELS: dict[str, Any] = {
    "LSTM": lambda: built(layers.LSTM(5)),
    "LSTM wide": lambda: built(layers.LSTM(70)),
    "LSTM float64": lambda: built(layers.LSTM(9, dtype="float64")),
    "LSTM cell": lambda: layers.RNN(layers.LSTMCell(5)),
    "LSTM zoneout": lambda: built(layers.LSTM(5, zoneout=(0.3, 0.2))),
    "LSTM relu": lambda: built(layers.LSTM(5, activation="relu")),
    "LSTM slow": lambda: built(layers.LSTM(5, activation="gelu", zoneout=0.2)),
    "LSTM int8": lambda: narrow(built(layers.LSTM(20))),
    "GRU": lambda: built(layers.GRU(33)),
    "LSTM blocks": lambda: built(layers.LSTM(24, recurrent_blocks=4)),
    "GRU blocks": lambda: built(layers.GRU(70, recurrent_blocks=2)),
    "GRU before": lambda: built(layers.GRU(17, reset_after=False)),
    "GRU before int8": lambda: narrow(built(layers.GRU(17, reset_after=False))),
    "GRU int16": lambda: narrow(built(layers.GRU(17)), "int16"),
    "SimpleRNN": lambda: built(layers.SimpleRNN(6, use_bias=False)),
    "cells": lambda: built(layers.RNN([layers.LSTMCell(5), layers.GRUCell(4)])),
    "own cell": lambda: built(layers.RNN(Own())),
    "stacked": lambda: chain(layers.LSTM(7, **SEQUENCES), layers.GRU(9), layers.Dense(4, "relu"), layers.Dense(2)),
    "stacked int8": lambda: narrow(chain(layers.LSTM(7, **SEQUENCES), layers.GRU(9), layers.Dense(2))),
    "softmax": lambda: chain(layers.Dense(6, "tanh"), layers.SimpleRNN(4), layers.Dense(3, "softmax")),
    "activation": lambda: chain(layers.GRU(4, **SEQUENCES), layers.ReLU(), layers.LSTM(4), layers.Activation("elu")),
    "normalized": lambda: chain(
        layers.LayerNormalization(),
        layers.LSTM(5, dropout=0.4, **SEQUENCES),
        layers.Dropout(0.4),
        layers.BatchNormalization(),
        layers.GRU(4),
        layers.Dense(2),
    ),
    "distributed": lambda: chain(
        layers.TimeDistributed(layers.Dense(20, "elu")),
        layers.RMSNormalization(),
        layers.GRU(40),
        layers.Dense(30, "gelu"),
        layers.Dense(20),
    ),
    "convolution": lambda: chain(layers.Conv1D(5, 3, padding="causal"), layers.GRU(4, **SEQUENCES), layers.Dense(2)),
    "branched": lambda: built(branched()),
}


def close_streams(streams: dict[int, Any], pool: StreamPool, count: int) -> None:
    for id in RNG.choice(list(streams), count, replace=False).tolist():
        del streams[id]
        pool.close(id)


def to_rounding(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_each_stream_gives_what_it_gives_alone(name: str, threads: int) -> None:
    model = MODELS[name]()
    if not model.built:
        built(model)
    pool, streams = StreamPool(model), {}
    same = np.testing.assert_array_equal if name != "convolution" else to_rounding
    with rnnx.threads(threads):
        for turn in range(8):
            new = pool.open(40)
            streams |= {id: model.stream() for id in new.tolist()}
            if turn == 4:
                again = RNG.choice(list(streams), 5, replace=False)
                pool.reset(again)
                streams |= {id: model.stream() for id in again.tolist()}
            ids = RNG.permutation(list(streams))[: RNG.integers(1, len(streams) + 1)] if turn % 3 else pool.ids
            x = RNG.normal(size=(len(ids), FEATURES)).astype(np.float32)
            y = pool.step(ids, x)
            for k, id in enumerate(ids.tolist()):
                same(y[k : k + 1], streams[id].step(x[k : k + 1]))
            close_streams(streams, pool, 30)
    assert len(pool) == len(streams) == 80
    for id in list(streams)[:5]:
        for mine, theirs in zip(pool.state(id), streams[id].state, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                same(a, b)
    x = RNG.normal(size=(len(streams), FEATURES)).astype(np.float32)
    for id, y in pool.step(dict(zip(streams, x, strict=True))).items():
        same(y[None], streams[id].step(x[list(streams).index(id)][None]))


def test_two_threads_share_the_rows_of_a_large_step() -> None:
    """The bits are those of one thread; the size is above what a thread is worth."""
    layer = built(layers.LSTM(128))
    one, two = StreamPool(layer), StreamPool(layer)
    ids = one.open(200), two.open(200)
    for _ in range(3):
        x = RNG.normal(size=(200, FEATURES)).astype(np.float32)
        with rnnx.threads(1):
            y = one.step(ids[0], x)
        with rnnx.threads(3):
            assert np.array_equal(two.step(ids[1], x), y)


def texts(**options: Any) -> Any:
    model = Sequential([layers.Embedding(9, 4, **options), layers.LSTM(5, return_sequences=True), layers.Dense(9)])
    model(np.array([[1, 2]]))
    return model


@pytest.mark.parametrize("mask_zero", [False, True])
def test_ids(mask_zero: bool) -> None:
    model = texts(mask_zero=mask_zero)
    pool = StreamPool(model)
    streams = {id: model.stream() for id in pool.open(70).tolist()}
    for _ in range(3):
        x = RNG.integers(1, 9, 70)
        y = pool.step(list(streams), x)
        for k, stream in enumerate(streams.values()):
            assert np.array_equal(y[k : k + 1], stream.step(x[k : k + 1]))
    first = next(iter(streams))
    assert np.array_equal(pool.step({first: 4})[first][None], streams[first].step(np.array([4])))
    before = pool.state(first)[0][0]
    with pytest.raises(ValueError, match=r"ids must lie in 0\.\.8 \(input_dim - 1\), got 9"):
        pool.step({first: 9})
    if mask_zero:
        with pytest.raises(ValueError, match="id 0, which is padding"):
            pool.step({first: 0})
    assert np.array_equal(pool.state(first)[0][0], before)


def test_masked_steps_are_refused() -> None:
    model = chain(layers.Masking(), layers.GRU(4, return_sequences=True))
    pool = StreamPool(model)
    a, b = pool.open(2).tolist()
    pool.step({a: np.ones(FEATURES), b: np.ones(FEATURES)})
    before = pool.save(a), pool.save(b)
    with pytest.raises(ValueError, match="padding .masked.; leave its stream out"):
        pool.step({a: np.ones(FEATURES), b: np.zeros(FEATURES)})
    assert before == (pool.save(a), pool.save(b))


def test_what_cannot_be_streamed_is_refused_by_name() -> None:
    for layer, words in (
        (layers.Bidirectional(layers.GRU(3), name="both"), "'both' .* reads the sequence from its end too"),
        (layers.LSTM(3, go_backwards=True, name="back"), "'back' cannot be streamed: it goes backwards"),
    ):
        with pytest.raises(ValueError, match=words):
            StreamPool(built(layer))
    with pytest.raises(ValueError, match="not built yet"):
        StreamPool(layers.LSTM(3))


@pytest.mark.parametrize("name", ["LSTM", "LSTM int8", "normalized"])
def test_not_a_number_stays_in_its_stream(name: str) -> None:
    model = MODELS[name]()
    pool, other = StreamPool(model), StreamPool(model)
    ids = pool.open(50)
    others = other.open(50)
    x = RNG.normal(size=(50, FEATURES)).astype(np.float32)
    bad = x.copy()
    bad[7, 1], bad[20] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        pool.step(ids, bad)
    other.step(others, x)
    keep = np.delete(np.arange(50), [7, 20])
    with np.errstate(invalid="ignore"):
        y = pool.step(ids, x)
    assert np.isnan(y[7]).any()
    assert np.array_equal(y[keep], other.step(others, x)[keep])


@pytest.mark.parametrize("name", ["LSTM", "stacked", "softmax", "normalized", "own cell"])
def test_errors_change_nothing(name: str) -> None:
    model = MODELS[name]()
    pool = StreamPool(model)
    a, b, gone = pool.open(3).tolist()
    x = np.ones((2, FEATURES), np.float32)
    units = pool.step([a, b], x).shape[1]
    pool.close(gone)
    before = pool.save(a), pool.save(b)
    for error, words, call in (
        (LookupError, f"step: no stream {gone} is open; it was closed or evicted", lambda: pool.step([a, gone], x)),
        (LookupError, "step: no stream -1 is open", lambda: pool.step([a, -1], x)),
        (LookupError, "step: no stream 12345678901 is open", lambda: pool.step([a, 12345678901], x)),
        (ValueError, f"step: stream {a} comes twice", lambda: pool.step([a, a], x)),
        (ValueError, None, lambda: pool.step([a, b], x[:1])),
        (ValueError, None, lambda: pool.step([a, b], x[:, :2])),
        (TypeError, "ids must be integers, as `open` gives them, got <U1", lambda: pool.step(["a", "b"], x)),
        (TypeError, "ids must be integers, as `open` gives them, got float64", lambda: pool.step([0.0, 1.0], x)),
        (TypeError, "must be a mapping of id to input, got list", lambda: pool.step([a])),
        (TypeError, "a mapping of id to input alone", lambda: pool.step({a: x[0]}, x)),
        (
            ValueError,
            rf"one shape, got \(3,\) for stream {a} and \(2,\) for {b}",
            lambda: pool.step({a: x[0], b: x[0, :2]}),
        ),
        (TypeError, None, lambda: pool.step([a, b], np.full((2, FEATURES), "x"))),
        (ValueError, "`out` must", lambda: pool.step([a, b], x, out=np.zeros((2, units + 1), np.float32))),
        (ValueError, "`out` must", lambda: pool.step([a, b], x, out=np.zeros((2, units), np.int32))),
    ):
        with pytest.raises(error, match=words):
            call()
        assert before == (pool.save(a), pool.save(b))
    out = np.zeros_like(pool.step([a, b], x))
    assert pool.step([a, b], x, out=out) is out and out.any()
    assert pool.step({}) == {} and pool.step([], x[:0]).shape == (0, units)


def test_any_real_input_is_taken() -> None:
    pool = StreamPool(MODELS["LSTM"]())
    a, b = pool.open(2).tolist()
    x = RNG.normal(size=(2, 2 * FEATURES)).astype(np.float32)
    first = pool.save(a), pool.save(b)
    wanted = pool.step([a, b], x[:, ::2].copy())
    for given in (
        x[:, ::2],
        np.asfortranarray(x[:, ::2]),
        x[:, ::2].astype(np.float64),
        x[:, ::2].tolist(),
        x[:, ::2].astype(">f4"),
    ):
        ids = [pool.load(data) for data in first]
        assert np.array_equal(pool.step(ids, given), wanted)
        ids = [pool.load(data) for data in first]
        rows = pool.step({ids[0]: given[0], ids[1]: given[1]})
        assert np.array_equal([rows[id] for id in ids], wanted)


def test_ids_are_never_given_twice() -> None:
    pool = StreamPool(MODELS["LSTM"]())
    seen: set[int] = set()
    for _ in range(300):
        ids = pool.open(3).tolist()
        assert not seen.intersection(ids)
        seen.update(ids)
        pool.close(ids[:2])
        for id in ids[:2]:
            assert id not in pool
            with pytest.raises(LookupError, match=f"close: no stream {id} is open"):
                pool.close(id)
    assert len(pool) == 300 and set(pool.ids.tolist()) < seen
    assert "a" not in pool and -1 not in pool and 2**70 not in pool


def test_the_idle_are_evicted() -> None:
    now = [100.0]
    pool = StreamPool(MODELS["LSTM"](), max_streams=3, max_idle=10, evict_oldest=True)
    clock, time.monotonic = time.monotonic, lambda: now[0]
    try:
        a, b, c = (pool.open() for _ in range(3))
        x = np.ones(FEATURES)
        now[0] += 1
        pool.step({a: x, c: x})
        assert pool.ids.tolist() == [b, a, c]
        d = pool.open()
        assert pool.ids.tolist() == [a, c, d]
        with pytest.raises(LookupError, match=f"no stream {b} is open"):
            pool.step({b: x})
        now[0] += 9.5
        pool.step({c: x})
        now[0] += 0.5
        assert pool.evict() == [a, d] and pool.ids.tolist() == [c]
        now[0] += 20
        e = pool.open()
        assert pool.ids.tolist() == [e]
        now[0] += 0.25
        assert pool.evict(0.5) == [] and pool.evict(0.1) == [e]
    finally:
        time.monotonic = clock
    strict = StreamPool(MODELS["LSTM"](), max_streams=2)
    strict.open(2)
    with pytest.raises(RuntimeError, match="open: 2 of at most 2 streams .max_streams. are open, 1 more wanted"):
        strict.open()
    with pytest.raises(ValueError, match="evict: `max_idle` must be a number of seconds of at least 0, got None"):
        strict.evict()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_streams": 0}, "`max_streams` must be an integer from 1 to"),
        ({"max_streams": True}, "`max_streams` must be an integer from 1 to"),
        ({"max_idle": 0}, "`max_idle` must be a number of seconds above 0"),
        ({"evict_oldest": True}, "`evict_oldest` has no effect without `max_streams`"),
    ],
)
def test_bad_options(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StreamPool(MODELS["LSTM"](), **options)
    with pytest.raises(ValueError, match="open: `count` must be an integer of at least 0"):
        StreamPool(MODELS["LSTM"]()).open(-1)


def test_a_new_stream_begins_at_the_beginning() -> None:
    """Also in a row that another one had."""
    for name in ("LSTM", "own cell"):
        model = MODELS[name]()
        pool, x = StreamPool(model), np.ones((1, FEATURES), np.float32)
        for _ in range(3):
            id = pool.open()
            assert np.array_equal(pool.step([id], x), model.stream().step(x))
            pool.close(id)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "stacked int8", "convolution", "own cell", "LSTM float64"])
def test_a_stream_as_bytes(name: str) -> None:
    model = MODELS[name]()
    pool, other = StreamPool(model), StreamPool(model)
    a, b = pool.open(2).tolist()
    x = RNG.normal(size=(1, FEATURES)).astype(np.float32)
    pool.step([a], x)
    other.open(5)
    data = pool.save(a)
    id = other.load(data)
    assert id in other and len(other) == 6 and other.save(id) == data != pool.save(b)
    assert np.array_equal(other.step([id], x), pool.step([a], x))
    stream = model.stream()
    stream.state = pool.state(a)
    assert np.array_equal(stream.step(x), pool.step([a], x))
    pool.set_state(b, stream.state)
    assert np.array_equal(pool.step([b], x), stream.step(x))


def test_damaged_bytes_are_refused() -> None:
    pool = StreamPool(MODELS["LSTM"]())
    data = pool.save(pool.open())
    for k in range(len(data)):
        with pytest.raises(ValueError, match="^load: "):
            pool.load(data[:k] + bytes([data[k] ^ 1]) + data[k + 1 :])
        with pytest.raises(ValueError, match="^load: "):
            pool.load(data[:k])
    with pytest.raises(ValueError, match="^load: "):
        pool.load(data + b"x")
    with pytest.raises(ValueError, match=r"another model: \[\[\[\[5\],.float32.\].* expected \[\[\[\[33\]"):
        StreamPool(MODELS["GRU"]()).load(data)
    assert len(pool) == 1


def test_a_state_that_does_not_fit() -> None:
    pool = StreamPool(MODELS["LSTM"]())
    id = pool.open()
    for wrong in ([], [(np.ones((1, 5)),)], [(np.ones((1, 5)), np.ones((1, 4)))], [(np.ones((2, 5)), np.ones((2, 5)))]):
        with pytest.raises(ValueError, match=r"set_state: expected arrays of shapes \[\[\(1, 5\), \(1, 5\)\]\], got"):
            pool.set_state(id, wrong)
    assert not any(part.any() for part in pool.state(id)[0])


GOES_ON = """
import sys, numpy as np, rnnx
pool = rnnx.StreamPool(rnnx.load_model(sys.argv[1]))
id = pool.load(open(sys.argv[2], "rb").read())
print(pool.step({id: np.ones(3)})[id].tobytes().hex())
"""


def test_another_process_goes_on(tmp_path: Any) -> None:
    model = MODELS["stacked"]()
    model.save(tmp_path / "model.safetensors")
    pool = StreamPool(model)
    id = pool.open()
    pool.step({id: np.full(FEATURES, 0.5)})
    (tmp_path / "stream").write_bytes(pool.save(id))
    command = [sys.executable, "-c", GOES_ON, tmp_path / "model.safetensors", tmp_path / "stream"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found == pool.step({id: np.ones(FEATURES)})[id].tobytes().hex()


def test_weights_are_those_of_the_beginning_until_they_are_reloaded() -> None:
    model = MODELS["stacked"]()
    pool = StreamPool(model)
    ids = pool.open(3)
    x = RNG.normal(size=(3, FEATURES)).astype(np.float32)
    pool.step(ids, x)
    old = copy.deepcopy(pool)
    model.set_weights([2 * w for w in model.get_weights()])
    stream = model.stream(3)
    stream.state = [
        tuple(np.concatenate(part) for part in zip(*parts, strict=True))
        for parts in zip(*(pool.state(id) for id in ids), strict=True)
    ]
    state = [pool.save(id) for id in ids]
    wanted = stream.step(x)
    assert not np.array_equal(pool.step(ids, x), wanted)
    again = [pool.load(data) for data in state]
    pool.reload()
    assert np.array_equal(pool.step(again, x), wanted)
    assert len(pool) == 6 and pool.model is model and pool.ids.tolist()[-3:] == again
    with pytest.raises(ValueError, match=r"reload: the streams have states .*make a new pool"):
        pool.reload(MODELS["LSTM"]())
    assert pool.model is model and np.array_equal(old.ids, ids)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda pool: pickle.loads(pickle.dumps(pool))])
@pytest.mark.parametrize("name", ["LSTM", "normalized"])
def test_copies_go_on_by_themselves(name: str, how: Any) -> None:
    pool = StreamPool(MODELS[name](), max_streams=90, max_idle=50)
    ids = pool.open(80)
    pool.close(ids[3:40])
    ids = np.delete(ids, np.arange(3, 40))
    x = RNG.normal(size=(43, FEATURES)).astype(np.float32)
    pool.step(ids[::-1], x)
    other = how(pool)
    assert np.array_equal(other.ids, pool.ids) and (other.max_streams, other.max_idle) == (90, 50)
    y = pool.step(ids, x)
    assert np.array_equal(other.step(ids, x), y)
    new = other.open(30).tolist()
    assert not set(new).intersection(range(80)) and len(other) == 73 and len(pool) == 43
    assert np.array_equal(other.step(ids, x), pool.step(ids, x))
    assert pickle.loads(pickle.dumps(StreamPool(pool.model))).open(2).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["LSTM wide", "normalized"])
def test_threads_take_turns(name: str) -> None:
    model = MODELS[name]()
    pool, errors = StreamPool(model), []
    shared = pool.open(64)
    before = sys.getswitchinterval()

    def use(number: int) -> None:
        try:
            random = np.random.default_rng(number)
            own = pool.open(20).tolist()
            streams = [model.stream() for _ in own]
            for _ in range(15):
                x = random.normal(size=(len(own), FEATURES)).astype(np.float32)
                y = pool.step(own, x)
                assert all(np.array_equal(y[k : k + 1], s.step(x[k : k + 1])) for k, s in enumerate(streams))
                pool.step(shared, np.ones((64, FEATURES), np.float32))
                pool.close(own.pop())
                streams.pop()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors and len(pool) == 64 + 3 * 5
    stream = model.stream()
    for _ in range(45):  # as many steps as all threads made, one after the other
        y = stream.step(np.ones((1, FEATURES), np.float32))
    assert (
        np.array_equal(
            pool.step(shared, np.ones((64, FEATURES), np.float32)),
            np.repeat(stream.step(np.ones((1, FEATURES), np.float32)), 64, 0),
        )
        and y.any()
    )


def test_a_million_that_are_never_closed() -> None:
    """Room for the newest alone."""
    pool = StreamPool(MODELS["LSTM"](), max_streams=500, evict_oldest=True)
    for _ in range(100):
        last = pool.open(500)
    one = pool.open()
    assert len(pool) == 500 and one in pool and int(last[0]) not in pool and int(last[-1]) in pool
    assert pool._roster.capacity <= 1024
