"""One stream fed by many threads: every call happens as a whole, as if one thread had made them all."""

from __future__ import annotations

import copy
import itertools
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rnnx import Sequential, _kernels, layers
from rnnx.layers.weight import changing

RNG = np.random.default_rng(47)
THREADS, STEPS = 3, 20
QUICK: Any = {"recurrent_initializer": "glorot_uniform"}  # to make


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Counting(layers.Layer):
    """A cell of one's own, in Python: it counts its steps, and lets others come between."""

    state_size = output_size = 1
    pause: Callable[[], Any] = staticmethod(lambda: None)

    def __call__(self, x: Any, states: Any, **_: Any) -> Any:
        self.pause()
        (count,) = states
        time.sleep(0)
        return count + 1, [count + 1]


def chain(width: int = 16) -> Any:
    return Sequential(
        [
            layers.LSTM(width, return_sequences=True, input_shape=(None, 5), **QUICK),
            layers.GRU(width, **QUICK),
            layers.Dense(3, activation="softmax"),
        ]
    )


def own() -> Any:
    layer = layers.RNN([Counting(), Counting()])
    layer(np.zeros((1, 1, 5)))
    return layer


def built(layer: Any) -> Any:
    layer(np.zeros((1, 2, 5)))
    return layer


def narrow(layer: Any) -> Any:
    layer.quantize("int8")
    return layer


MAKERS: dict[str, Callable[[], Any]] = {  # the wide ones give up the interpreter's lock within a step
    "LSTM": lambda: built(layers.LSTM(8)),
    "wide LSTM": lambda: built(layers.LSTM(256, **QUICK)),
    "wide GRU": lambda: built(layers.GRU(264, **QUICK)),
    "slow": lambda: built(layers.GRU(4, activation="gelu")),
    "zoneout": lambda: built(layers.LSTM(256, zoneout=0.3, **QUICK)),
    "chain": chain,
    "wide chain": lambda: chain(200),
    "quantized": lambda: narrow(chain(232)),
    "masked": lambda: Sequential([layers.Masking(input_shape=(None, 5)), *chain().layers[0:2]]),
    "stacked": lambda: built(layers.RNN([layers.LSTMCell(232, **QUICK), layers.GRUCell(8)])),
    "Conv1D": lambda: built(layers.Conv1D(4, 3, padding="causal")),
    "own": own,
}


def together(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """The results of ``work(k)``, all started at once."""
    results: list[Any] = [None] * count
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(k: int) -> None:
        try:
            gate.wait(60)
            results[k] = work(k)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive(), "a thread waits for ever"
    if errors:
        raise errors[0]
    return results


def same(stream: Any, twin: Any) -> bool:
    pairs = zip(stream.state, twin.state, strict=True)
    return all(np.array_equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_steps_of_many_threads(name: str, batch: int) -> None:
    layer = MAKERS[name]()
    x = RNG.normal(size=(batch, 5)).astype(np.float32)
    alone, stream = layer.stream(batch), layer.stream(batch)
    expected = [alone.step(x).tobytes() for _ in range(THREADS * STEPS)]
    found = [y for own in together(lambda k: [stream.step(x).tobytes() for _ in range(STEPS)]) for y in own]
    assert sorted(found) == sorted(expected)
    assert same(stream, alone)


@pytest.mark.parametrize("name", ["LSTM", "wide LSTM", "chain", "masked", "own"])
def test_masked_steps_of_many_threads(name: str) -> None:
    layer = MAKERS[name]()
    x, mask = RNG.normal(size=(2, 5)).astype(np.float32), np.array([True, False])
    alone, stream = layer.stream(2), layer.stream(2)
    for own in (alone, stream):
        out = np.empty_like(own.step(x))
        own.step(x, out)
    for _ in range(THREADS * STEPS):
        alone.step(x, mask=mask)
    together(lambda k: [stream.step(x, np.empty_like(out), mask=mask) for _ in range(STEPS)])
    assert same(stream, alone)


@pytest.mark.parametrize("name", ["wide LSTM", "slow", "chain", "own"])
def test_the_steps_of_a_run_stay_together(name: str) -> None:
    layer = MAKERS[name]()
    blocks = RNG.normal(size=(THREADS, 1, 6, 5)).astype(np.float32)
    stream = layer.stream()
    found = together(lambda k: stream.run(blocks[k]))

    def fits(order: tuple[int, ...]) -> bool:
        alone = layer.stream()
        return all(np.array_equal(alone.run(blocks[k]), found[k]) for k in order) and same(stream, alone)

    assert any(fits(order) for order in itertools.permutations(range(THREADS)))


CALLS: dict[str, Callable[[Any], Any]] = {
    "step": lambda s: s.step(np.zeros((1, 5), np.float32)),
    "masked step": lambda s: s.step(np.zeros((1, 5), np.float32), mask=np.array([True])),
    "run": lambda s: s.run(np.zeros((1, 2, 5), np.float32)),
    "reset": lambda s: s.reset(),
    "reset rows": lambda s: s.reset([0]),
    "state": lambda s: s.state,
    "set state": lambda s: setattr(s, "state", [([[7]],), ([[7]],)]),
    "copy": lambda s: s.copy().state,
    "copy.copy": lambda s: copy.copy(s).state,
    "deepcopy": lambda s: copy.deepcopy(s).state,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)).state,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_waits_for_a_step_that_is_half_done(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two cells has made its step, the second one not: nobody may see or use that."""
    stream = own().stream()
    inside, go_on, done = threading.Event(), threading.Event(), threading.Event()
    calls, errors, found = [0], [], []

    def pause() -> None:
        calls[0] += 1
        if calls[0] == 2:
            inside.set()
            assert go_on.wait(60)

    monkeypatch.setattr(Counting, "pause", staticmethod(pause))

    def other() -> None:
        try:
            found.append(CALLS[name](stream))
        except BaseException as error:
            errors.append(error)
        done.set()

    first = threading.Thread(target=lambda: stream.step(np.zeros((1, 5), np.float32)), daemon=True)
    first.start()
    assert inside.wait(60)
    second = threading.Thread(target=other, daemon=True)
    second.start()
    assert not done.wait(0.05)
    go_on.set()
    assert done.wait(60) and not errors, errors
    first.join(60)
    counts = [int(part[0][0, 0]) for part in stream.state]
    steps = {"step": 2, "masked step": 2, "run": 3, "reset": 0, "reset rows": 0, "set state": 7}.get(name, 1)
    assert counts == [steps, steps]
    if name in ("state", "copy", "copy.copy", "deepcopy", "pickle"):
        assert [int(part[0][0, 0]) for part in found[0]] == [1, 1]


@pytest.mark.parametrize("name", ["wide LSTM", "chain", "masked", "own"])
def test_resets_and_states_between_steps(name: str) -> None:
    """Whatever is read is the state after some whole number of steps."""
    layer = MAKERS[name]()
    x = RNG.normal(size=(1, 5)).astype(np.float32)
    alone, stream = layer.stream(), layer.stream()
    known = {pickle.dumps(alone.state)}
    for _ in range(STEPS):
        alone.step(x)
        known.add(pickle.dumps(alone.state))

    def work(k: int) -> list[bytes]:
        seen = []
        for turn in range(STEPS):
            if k == 0:
                stream.step(x)
                if turn % 5 == 4:
                    stream.reset()
            elif k == 1:
                seen.append(pickle.dumps(stream.state))
            else:
                seen.append(pickle.dumps(stream.copy().state))
        return seen

    assert {state for own in together(work) for state in own} <= known


def test_compiled_steps_without_a_stream() -> None:
    layer = built(layers.LSTM(256, **QUICK))
    packed = layer.packed()[1]
    x = RNG.normal(size=(1, 5)).astype(np.float32)
    dense = _kernels.PackedDense(RNG.normal(size=(256, 300)).astype(np.float32), None)
    links = [_kernels.Stepper(packed, 1), _kernels.DenseStepper(dense, "tanh", 1)]
    for make in (lambda: _kernels.Stepper(packed, 1), lambda: _kernels.Chain(links)):
        expected = [(stepper := make()).step(x).tobytes()] + [stepper.step(x).tobytes() for _ in range(89)]
        links[0].state = [np.zeros((1, 256)), np.zeros((1, 256))]
        shared = make()
        found = [y for own in together(lambda k, s=shared: [s.step(x).tobytes() for _ in range(30)]) for y in own]
        assert sorted(found) == sorted(expected)


def test_a_step_that_fails_gives_its_turn_back() -> None:
    for layer in (MAKERS["LSTM"](), chain(), own()):
        stream = layer.stream()
        for wrong in (np.zeros((2, 5), np.float32), np.zeros((1, 5), complex)):
            with pytest.raises((TypeError, ValueError)):
                stream.step(wrong)
        with pytest.raises(ValueError, match="state"):
            stream.state = [1, 2, 3]
        together(lambda k, s=stream: s.step(np.zeros((1, 5), np.float32)))


def test_a_turn_within_a_turn_and_its_order() -> None:
    turn, order = _kernels.Turn(), []

    def work(k: int) -> None:
        for _ in range(20):
            with turn:
                with turn:
                    order.append(("in", k))
                    time.sleep(0)
                order.append(("out", k))

    together(work, 6)
    assert len(order) == 240
    for (first, k), (second, again) in zip(order[::2], order[1::2], strict=True):
        assert (first, second) == ("in", "out") and k == again


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_who_waits_hears_signals() -> None:
    """Ctrl-C ends the wait for a turn, and the turn goes on to whoever comes next."""
    turn, inside, go_on = _kernels.Turn(), threading.Event(), threading.Event()

    def hold() -> None:
        with turn:
            inside.set()
            go_on.wait(60)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert inside.wait(60)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt), turn:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        go_on.set()
    holder.join(60)
    together(lambda k: turn.__exit__(None, None, None) if turn.__enter__() else None)


def by_pickle(stream: Any) -> Any:
    return pickle.loads(pickle.dumps(stream))


@pytest.mark.parametrize("name", ["LSTM", "slow", "zoneout", "chain", "masked", "stacked", "Conv1D"])
@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, by_pickle])
def test_copies_go_on_alone(name: str, twin_of: Callable[[Any], Any]) -> None:
    layer = MAKERS[name]()
    x = RNG.normal(size=(4, 1, 5)).astype(np.float32)
    stream = layer.stream()
    stream.step(x[0])
    twin = twin_of(stream)
    expected = [stream.step(part) for part in x[1:]]
    assert all(np.array_equal(twin.step(part), y) for part, y in zip(x[1:], expected, strict=True))
    assert same(twin, stream)
    twin.reset()
    assert not same(twin, stream)


def test_threads_share_a_stream_made_while_weights_change() -> None:
    layer = MAKERS["wide LSTM"]()
    x = RNG.normal(size=(1, 5)).astype(np.float32)
    with changing(layer.weights):
        stream = layer.stream()
    alone = layer.stream()
    expected = [alone.step(x).tobytes() for _ in range(THREADS)]
    assert sorted(together(lambda k: stream.step(x).tobytes())) == sorted(expected)
