"""One layer or model used by many threads, and by a forked process."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rnnx import Sequential, layers
from rnnx.dropout import SeedGenerator

RNG = np.random.default_rng(37)
X = RNG.normal(size=(4, 9, 5)).astype(np.float32)
THREADS, ROUNDS = 8, 6
MAKERS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: layers.LSTM(16, return_sequences=True),
    "GRU": lambda: layers.GRU(16),
    "SimpleRNN": lambda: layers.SimpleRNN(16, return_sequences=True),
    "GRU_slow": lambda: layers.GRU(6, activation="gelu"),
    "RNN": lambda: layers.RNN([layers.LSTMCell(6), layers.GRUCell(6)]),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(8)),
    "model": lambda: Sequential(
        [layers.GRU(8, return_sequences=True, input_shape=(None, 5)), layers.LayerNormalization(), layers.LSTM(4)]
    ),
}


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """The results of ``work(k)``, all started together; the first error is raised."""
    results: list[Any] = [None] * count
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(k: int) -> None:
        try:
            gate.wait()
            results[k] = work(k)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return results


@pytest.mark.parametrize("name", MAKERS)
def test_inference(name: str) -> None:
    layer = MAKERS[name]()
    inputs = [X[: 1 + k % 4, : 3 + k % 6] for k in range(THREADS)]
    expected = [layer(x) for x in inputs]
    found = in_threads(lambda k: [layer(inputs[k]) for _ in range(ROUNDS)])
    assert all(np.array_equal(y, expected[k]) for k, own in enumerate(found) for y in own)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients(name: str) -> None:
    layer = MAKERS[name]()
    inputs = [X[: 1 + k % 4, : 3 + k % 6] for k in range(THREADS)]

    def gradients(k: int) -> list[Any]:
        y, pullback = layer.vjp(inputs[k])
        grads = pullback(np.ones_like(y))
        return [y, grads.dx, *grads.dweights]

    expected = [gradients(k) for k in range(THREADS)]
    found = in_threads(lambda k: [gradients(k) for _ in range(ROUNDS)])
    for k, own in enumerate(found):
        for arrays in own:
            assert all(np.array_equal(a, b) for a, b in zip(arrays, expected[k], strict=True))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_one_cache_differentiated_by_many(name: str) -> None:
    layer = MAKERS[name]()
    y, pullback = layer.vjp(X)
    slopes = [RNG.normal(size=y.shape).astype(np.float32) for _ in range(THREADS)]
    expected = [pullback(slope) for slope in slopes]
    found = in_threads(lambda k: pullback(slopes[k]))
    for one, two in zip(expected, found, strict=True):
        assert np.array_equal(one.dx, two.dx)
        assert all(np.array_equal(a, b) for a, b in zip(one.dweights, two.dweights, strict=True))


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "model"])
def test_the_first_call_builds_once(name: str) -> None:
    for _ in range(3):
        layer = MAKERS[name]()
        results = in_threads(lambda k, layer=layer: layer(X))
        assert all(np.array_equal(y, results[0]) for y in results)
        alone = MAKERS[name]()
        alone(X)
        assert [w.shape for w in layer.weights] == [w.shape for w in alone.weights]


def test_each_call_draws_noise_of_its_own() -> None:
    layer = layers.GRU(6, dropout=0.5, recurrent_dropout=0.5, seed=9)
    layer(X)
    alone = layers.GRU(6, dropout=0.5, recurrent_dropout=0.5, seed=9)
    alone(X)
    alone.set_weights(layer.get_weights())
    expected = sorted(alone(X, training=True).tobytes() for _ in range(THREADS * ROUNDS))
    found = in_threads(lambda k: [layer(X, training=True).tobytes() for _ in range(ROUNDS)])
    assert sorted(y for own in found for y in own) == expected


def test_counters_are_not_lost() -> None:
    generator = SeedGenerator(3)
    found = in_threads(lambda k: [generator.advance(2) for _ in range(200)])
    numbers = sorted(n for own in found for n in own)
    assert numbers == list(range(0, 2 * 200 * THREADS, 2))


def test_streams_side_by_side() -> None:
    layer = MAKERS["LSTM"]()
    whole = layer(X)

    def run(k: int) -> Any:
        stream = layer.stream()
        return np.stack([stream.step(X[k % 4 : k % 4 + 1, t]) for t in range(X.shape[1])], axis=1)

    for k, y in enumerate(in_threads(run)):
        np.testing.assert_allclose(y, whole[k % 4 : k % 4 + 1], atol=2e-6)


def test_weights_changed_while_others_read() -> None:
    """Each result is that of one set of weights or the other, never of a mixture."""
    layer = MAKERS["GRU"]()
    layer(X)
    kernel = layer.kernel.copy()
    wanted = []
    for factor in (1, 2):
        layer.kernel = kernel * factor
        wanted.append(layer(X).tobytes())

    def work(k: int) -> list[bytes]:
        if k:
            return [layer(X).tobytes() for _ in range(40)]
        for turn in range(80):
            layer.kernel = kernel * (1 + turn % 2)
        return []

    found = {y for own in in_threads(work, 4) for y in own}
    assert found <= set(wanted)


def test_names_are_unique() -> None:
    names = [name for own in in_threads(lambda k: [layers.Dense(1).name for _ in range(50)]) for name in own]
    assert len(set(names)) == len(names)


# ---- Fork and pickle ------------------------------------------------------------------------------------------------


def _child(layer: Any, queue: Any) -> None:
    y, pullback = layer.vjp(X)
    queue.put([y, pullback(np.ones_like(y)).dx])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "model"])
def test_a_forked_process_goes_on(name: str) -> None:
    layer = MAKERS[name]()
    y, pullback = layer.vjp(np.repeat(X, 8, axis=0))  # large enough for threads to have been used
    y, pullback = layer.vjp(X)
    expected = [y, pullback(np.ones_like(y)).dx]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(layer, queue))
    child.start()
    try:
        found = queue.get(timeout=60)
        child.join(timeout=60)
    finally:
        if child.is_alive():
            child.kill()
    assert child.exitcode == 0
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert np.array_equal(layer(X), expected[0]), os.getpid()


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("name", MAKERS)
def test_pickle_and_copy(name: str, protocol: int) -> None:
    layer = MAKERS[name]()
    y = layer(X)
    for twin in (pickle.loads(pickle.dumps(layer, protocol)), copy.deepcopy(layer)):
        assert np.array_equal(twin(X), y)
        twin.weights[0].mutable()[...] = 0
        assert np.array_equal(layer(X), y) and not np.array_equal(twin(X), y)


def test_monte_carlo_in_one_thread_stops_no_averages_in_another() -> None:
    model = Sequential([layers.BatchNormalization(input_shape=(None, 5)), layers.Dropout(0.5), layers.GRU(4)])
    model(X)
    normalization, inside, go_on = model.layers[0], threading.Event(), threading.Event()
    before = normalization.moving_mean.copy()
    middle = model.layers[1].forward

    def pausing(x: Any, **call: Any) -> Any:
        inside.set()
        assert go_on.wait(60)
        return middle(x, **call)

    model.layers[1].forward = pausing
    worker = threading.Thread(target=lambda: model.predict_mc(X, samples=2))
    worker.start()
    try:
        assert inside.wait(60)
        assert normalization.trainable and np.array_equal(normalization.moving_mean, before)
        normalization(X, training=True)
        assert not np.array_equal(normalization.moving_mean, before)
        before = normalization.moving_mean.copy()
    finally:
        go_on.set()
        worker.join(60)
    assert np.array_equal(normalization.moving_mean, before)
