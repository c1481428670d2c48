"""An Embedding in front of a recurrent layer: a table of what the weights make of its rows, with the same bits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import rnnx
from rnnx import functional, layers
from rnnx.layers.rnn import weights as recurrent_weights
from tests.oracle import cases

RNG = np.random.default_rng(5)
IDS = RNG.integers(0, 20, (6, 9))
IDS[2, 4:] = IDS[4] = 0
RECURRENT = {
    "LSTM": lambda **kw: layers.LSTM(9, return_sequences=True, **kw),
    "GRU": lambda **kw: layers.GRU(17, return_sequences=True, **kw),
    "GRU_before": lambda **kw: layers.GRU(9, reset_after=False, return_sequences=True, **kw),
    "SimpleRNN": lambda **kw: layers.SimpleRNN(9, **kw),
    "backwards": lambda **kw: layers.LSTM(9, go_backwards=True, **kw),
    "Bidirectional": lambda **kw: layers.Bidirectional(layers.LSTM(9, return_sequences=True, **kw)),
    "zoneout": lambda **kw: layers.LSTM(9, zoneout=0.2, **kw),
}


def model_of(layer, mask_zero=False, dtype="float32", **options):
    return rnnx.Sequential(
        [
            layers.Input((None,), dtype="int32"),
            layers.Embedding(20, 8, mask_zero=mask_zero, dtype=dtype, embeddings_initializer="normal"),
            layers.SpatialDropout1D(0.3, seed=1, dtype=dtype),
            RECURRENT[layer](dtype=dtype, **options),
        ]
    )


def tables(model):
    """The tables that the recurrent layers have made."""
    last = model.layers[-1]
    parts = last.sublayers if isinstance(last, layers.Bidirectional) else [last]
    return [part._lookups[1] for part in parts]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_the_bits_are_those_without_a_table(name, mask_zero, dtype, monkeypatch):
    model = model_of(name, mask_zero, dtype)
    monkeypatch.setattr(recurrent_weights, "MOST_BYTES_OF_TABLE", 0)
    want = model(IDS)
    assert all(table is None for table in tables(model))
    monkeypatch.undo()
    np.testing.assert_array_equal(model(IDS), want)
    assert all(table is not None for table in tables(model))
    np.testing.assert_array_equal(model.predict(IDS, batch_size=4), want)
    lengths = np.array([9, 0, 4, 7, 1, 9])
    if not mask_zero:
        valid = np.arange(9) < lengths[:, None]
        found = model(IDS, lengths=lengths)
        monkeypatch.setattr(recurrent_weights, "MOST_BYTES_OF_TABLE", 0)
        np.testing.assert_array_equal(found, model(IDS, mask=valid))


@pytest.mark.parametrize("mode", ["bf16", "int8", "int8x16", "int16"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_of_narrow_weights(name, mode, monkeypatch):
    model = model_of(name)
    model.quantize(mode)
    found = model(IDS)
    assert tables(model)[0] is not None
    monkeypatch.setattr(recurrent_weights, "MOST_BYTES_OF_TABLE", 0)
    np.testing.assert_array_equal(model(IDS), found)


def test_it_is_made_when_it_has_paid_and_dropped_when_a_weight_is_assigned():
    model = model_of("LSTM")
    few = IDS[:1, :9]
    model(few)
    model(few)
    assert tables(model) == [None]  # 18 ids so far, of 20
    model(few)
    first = tables(model)[0]
    assert first is not None
    model(IDS)
    assert tables(model)[0] is first
    for weight in model.weights[:3]:  # embeddings, kernel, recurrent kernel
        weight.assign(weight.value * 2)
        again = rnnx.Sequential.from_config(model.get_config())
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(model(IDS), again(IDS))
        assert tables(model)[0] is not first
        first = tables(model)[0]
    assert tables(pickle.loads(pickle.dumps(model))) == [None]


def test_training_looks_nothing_up():
    model = model_of("LSTM", dropout=0.3, recurrent_dropout=0.2, seed=3)
    model(IDS, training=True)
    y, pullback = model.vjp(IDS)
    assert tables(model) == [None]
    assert len(pullback(np.ones_like(y)).dweights) == 4
    mean, _ = model.predict_mc(IDS, samples=3)
    assert tables(model) == [None] and mean.shape == y.shape


def test_recurrent_noise_alone_takes_the_table(monkeypatch):
    found = []
    for most in (1 << 26, 0):
        monkeypatch.setattr(recurrent_weights, "MOST_BYTES_OF_TABLE", most)
        rnnx.utils.set_random_seed(3)
        model = model_of("GRU", recurrent_dropout=0.4, seed=3)
        model.layers[1].rate = 0.0
        found.append(model.predict_mc(IDS, samples=4, return_samples=True)[2])
        assert (tables(model)[0] is None) == (most == 0)
    np.testing.assert_array_equal(*found)


def test_an_embedding_of_another_type_and_wrong_ids():
    x = rnnx.Input((None,), dtype="int32")
    model = rnnx.Model(x, layers.LSTM(4)(layers.Embedding(20, 3, dtype="float64")(x)))
    model(IDS)
    assert tables(model) == [None]
    model = model_of("LSTM")
    model(IDS)
    for wrong in (-1, 20):
        with pytest.raises(ValueError, match=rf"ids must lie in 0..19 \(input_dim - 1\), got {wrong}"):
            model(np.full((2, 3), wrong))


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU_before"])
def test_streams(name, mask_zero, monkeypatch):
    model = model_of(name, mask_zero)
    model.add(layers.GRU(5, return_sequences=True))
    model.add(layers.Dense(3, activation="softmax"))
    want = model(IDS)
    stream = model.stream(batch_size=6)
    assert model.layers[2]._lookups[1] is not None
    steps = [stream.step(IDS[:, t].astype(kind)) for t, kind in enumerate(["int64", "int32", "uint8", "float32"])]
    out = np.empty((6, 3), np.float32)
    steps.append(stream.step(IDS[:, 4], out).copy())
    steps += [stream.step(IDS[:, t], mask=np.ones(6, bool)) for t in (5, 6)]
    steps += [stream.step(IDS[:, t].tolist()) for t in (7, 8)]
    np.testing.assert_allclose(np.stack(steps, 1), want, atol=1e-6)
    before = stream.state
    for wrong, words in (
        (np.array([0, 1, 2, 3, 4, 20]), "ids must lie in 0..19"),
        (np.array([-1, 1, 2, 3, 4, 5]), "ids must lie in 0..19"),
        (IDS[:5, 0], r"`x` must hold ids of shape \(batch,\) = \(6,\), got \(5,\)"),
        (np.full(6, 0.5), "must be integer"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            stream.step(wrong)
    np.testing.assert_array_equal(stream.state[0][0], before[0][0])
    fork = stream.copy()
    np.testing.assert_array_equal(fork.step(IDS[:, 1]), stream.step(IDS[:, 1]))


@pytest.mark.parametrize("cell", cases.CELLS)
def test_in_functional(cell):
    params = cases.make_params(cell, 5, 17, np.float32, RNG)
    core, rows = cases.FAST[cell], RNG.normal(size=(200, 5)).astype(np.float32)
    packed, ids = core.pack(params), RNG.integers(0, 200, (7, 6))
    table = packed.table(rows)
    call = {"lengths": np.array([6, 0, 3, 2, 6, 1, 5]), "packed": packed, "go_backwards": True}
    want = core.forward(params, rows[ids], **call)
    got = core.forward(params, ids, table=table, **call)
    np.testing.assert_array_equal(got.outputs, want.outputs)
    for wrong, words in (
        ({"training": True}, "`table` is for inference"),
        ({"packed": None}, "`table` is for inference"),
        ({"table": table[:, 1:]}, "`table` must have shape that of packed.table"),
        ({"table": table.astype(np.float64)}, "`table` is float64 but the weights are float32"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            core.forward(params, ids, **{"table": table, **call, **wrong})
    for wrong, words in ((ids + 1 + 200 - ids.max(), "must lie in 0..199"), (rows[ids], "must hold integers")):
        with pytest.raises(ValueError, match=words):
            core.forward(params, wrong, table=table, **call)


def test_a_batch_of_one_and_threads():
    params = cases.make_params("lstm", 64, 128, np.float32, RNG)
    rows, ids = RNG.normal(size=(300, 64)).astype(np.float32), RNG.integers(0, 300, (40, 50))
    packed = functional.lstm.pack(params)
    table = packed.table(rows)
    want = functional.lstm.forward(params, rows[ids], packed=packed, threads=1).outputs
    for threads in (1, 2, 3):
        got = functional.lstm.forward(params, ids, packed=packed, table=table, threads=threads).outputs
        np.testing.assert_array_equal(got, want)
    one = functional.lstm.forward(params, ids[:1].astype(np.int32), packed=packed, table=table).outputs
    np.testing.assert_array_equal(one, want[:1])


@pytest.mark.parametrize(
    ("core", "kind"),
    [(functional.lstm, layers.LSTM), (functional.gru, layers.GRU), (functional.simple_rnn, layers.SimpleRNN)],
)
def test_a_table_may_lie_anyhow_in_memory(core, kind):
    layer = kind(5)
    layer.build((None, None, 3))
    params, packed = layer.packed()
    rows, ids = RNG.normal(size=(20, 3)).astype("float32"), IDS
    want = core.forward(params, rows[ids], packed=packed).outputs
    table = packed.table(rows)
    for same in (
        np.asfortranarray(table),
        np.repeat(table, 2, axis=0)[::2],
        np.repeat(table, 2, axis=1)[:, ::2],
        table[::-1].copy()[::-1],
        table.astype(table.dtype.newbyteorder()),
    ):
        assert np.array_equal(core.forward(params, ids, packed=packed, table=same).outputs, want)
