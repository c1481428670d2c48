"""What docs/services.md says of processes, memory and signals."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Sequential, StreamPool, layers

RNG = np.random.default_rng(61)
X = RNG.normal(size=(4, 6, 3)).astype(np.float32)
FORKS = "fork" in multiprocessing.get_all_start_methods()


def chain(units: int = 16) -> Any:
    return Sequential([rnnx.Input((None, 3)), layers.LSTM(units), layers.Dense(2)])


def used(model: Any) -> tuple[Any, Any, list[int]]:
    """A stream and a pool of a model, all of which have been used."""
    model.predict(X)
    stream, pool = model.stream(4), StreamPool(model)
    ids = pool.open(4).tolist()
    stream.step(X[:, 0])
    pool.step(ids, X[:, 0])
    return stream, pool, ids


def go_on(model: Any, stream: Any, pool: Any, ids: list[int]) -> list[bytes]:
    """What they give next; the model with several threads."""
    with rnnx.threads(2):
        large = model.predict(np.tile(X, (40, 1, 1)))
    return [large.tobytes(), stream.step(X[:, 1]).tobytes(), pool.step(ids, X[:, 1]).tobytes()]


def send(connection: Any, *things: Any) -> None:
    connection.send(go_on(*things))


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_they_go_on_in_a_child_and_here(how: str) -> None:
    """Forked, they are there; spawned, they are pickled."""
    if how == "fork" and not FORKS:
        pytest.skip("no fork here")
    model = chain(64)
    stream, pool, ids = used(model)
    go_on(model, copy.copy(stream), copy.copy(pool), ids)  # has started threads
    context: Any = multiprocessing.get_context(how)
    here, there = context.Pipe()
    child = context.Process(target=send, args=(there, model, stream, pool, ids))
    child.start()
    assert here.poll(120)
    found = here.recv()
    child.join(60)
    assert child.exitcode == 0 and found == go_on(model, stream, pool, ids)


def test_copies_are_independent() -> None:
    model = chain()
    stream, pool, ids = used(model)
    for other in (copy.deepcopy((model, stream, pool)), pickle.loads(pickle.dumps((model, stream, pool)))):
        before = go_on(other[0], copy.copy(other[1]), copy.copy(other[2]), ids)
        for weights in (model, other[0]):
            assert len(weights.get_weights()) == 5
        kept = model.get_weights()
        model.set_weights([2 * w for w in kept])
        assert go_on(*other, ids) == before
        model.set_weights(kept)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_other_threads_run_while_the_engine_computes() -> None:
    """A counter in Python advances during one long call."""
    model = chain(512)
    x = np.zeros((64, 60, 3), np.float32)
    model(x)
    count, done = 0, threading.Event()

    def compute() -> None:
        with rnnx.threads(1):
            model(x)
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    while not done.is_set():
        count += 1
        time.sleep(0.0005)
    thread.join()
    assert count > 10


def growth(call: Any, times: int) -> int:
    """Bytes of Python and NumPy that are left behind by so many calls, after as many to warm up."""
    for _ in range(times):
        call()
    gc.collect()
    tracemalloc.start()
    call()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(times):
        call()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def resident() -> int:
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_is_left_behind() -> None:
    model = chain(8)
    stream, pool, _ = used(model)
    shapes = [RNG.normal(size=(b, t, 3)).astype(np.float32) for b in (1, 2, 33) for t in (1, 7, 40)]

    def predict() -> None:
        for x in shapes:
            model.predict(x)

    def step() -> None:
        for _ in range(20):
            stream.step(X[:, 0])
            stream.step(X[:, 0], mask=np.array([True, False, False, True]))

    def come_and_go() -> None:
        ids = pool.open(50)
        pool.step(ids, np.zeros((50, 3), np.float32))
        pool.load(pool.save(ids[0]))
        pool.close(pool.ids[4:])

    for call in (predict, step, come_and_go):
        assert growth(call, 600) < 60_000, call.__name__  # an array for each call would be more
    if sys.platform == "linux":
        before = resident()
        for _ in range(300):
            predict(), step(), come_and_go()
        assert resident() - before < 8 << 20


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("what", ["predict", "run"])
def test_long_calls_are_interrupted(what: str) -> None:
    """At the next batch or step; a stream is where it was."""
    model = chain(32)
    stream = model.stream()
    stream.step(X[:1, 0])
    state = stream.state
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("the bell")))
    long = np.zeros((200_000, 20, 3), np.float32) if what == "predict" else np.zeros((1, 3_000_000, 3), np.float32)
    start = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError, match="the bell"):
            model.predict(long, batch_size=64) if what == "predict" else stream.run(long)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - start < 3
    assert all(np.array_equal(a, b) for a, b in zip(stream.state[0], state[0], strict=True))


def test_a_replaced_file_leaves_what_was_read(tmp_path: Any) -> None:
    path = tmp_path / "model.safetensors"
    chain().save(path)
    model = rnnx.load_model(path)
    pool = StreamPool(model)
    ids = pool.open(4)
    wanted = model.predict(X)
    newer = chain()
    newer.save(path)
    assert np.array_equal(model.predict(X), wanted)
    pool.step(ids, X[:, 0])
    pool.reload(rnnx.load_model(path))
    stream = newer.stream(4)
    stream.state = [tuple(np.concatenate(parts) for parts in zip(*(pool.state(id)[0] for id in ids), strict=True))]
    assert np.array_equal(pool.step(ids, X[:, 1]), stream.step(X[:, 1]))
