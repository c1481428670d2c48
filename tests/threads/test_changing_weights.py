"""Whoever reads weights while they change may see a part of the change, and keeps nothing of what he saw."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnx import Sequential, layers, optimizers
from rnnx.layers.weight import Weight, changing, settled

RNG = np.random.default_rng(43)
X = RNG.normal(size=(3, 6, 5)).astype(np.float32)
Reader = Callable[[], Any]
MAKERS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: layers.LSTM(8, return_sequences=True),
    "GRU": lambda: layers.GRU(8),
    "GRU_before": lambda: layers.GRU(8, reset_after=False),
    "SimpleRNN": lambda: layers.SimpleRNN(8, return_sequences=True),
    "slow": lambda: layers.GRU(6, activation="gelu"),
    "stacked": lambda: layers.RNN([layers.LSTMCell(6), layers.GRUCell(6)]),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(8)),
    "Dense": lambda: layers.Dense(7, activation="tanh"),
    "Conv1D": lambda: layers.Conv1D(6, 2, padding="causal"),
    "model": lambda: Sequential(
        [
            layers.LSTM(8, return_sequences=True, input_shape=(None, 5)),
            layers.BatchNormalization(),
            layers.GRU(6),
            layers.Dense(3, activation="softmax"),
        ]
    ),
}
NARROW = ["LSTM", "GRU", "Dense", "Bidirectional", "model"]
STREAMS = ["LSTM", "GRU", "GRU_before", "SimpleRNN", "slow", "stacked", "Dense", "Conv1D", "model"]


def made(name: str, mode: str | None = None) -> Any:
    layer = MAKERS[name]()
    layer(X)
    layer.set_weights([RNG.uniform(0.1, 1, w.shape) for w in layer.weights])
    if mode is not None:
        layer.quantize(mode)
    return layer


def fresh(layer: Any) -> Any:
    """Another layer with the same weights, in which nothing was derived from them yet."""
    return copy.deepcopy(layer)


def in_thread(work: Reader) -> None:
    """Let another thread do it, and wait."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join(60)
    assert not worker.is_alive() and not errors, errors


class Halfway(optimizers.SGD):
    """Changes one half of a weight, lets another thread read, and changes the other half."""

    def __init__(self, reader: Reader):
        super().__init__(0.5)
        self.reader, self.reads = reader, 0

    def update(self, value: Any, grad: Any, slots: Any, rate: float, scratch: Any) -> None:
        half = len(value) // 2
        value[:half] -= grad[:half]
        in_thread(self.reader)
        self.reads += 1
        value[half:] -= grad[half:]


def step(layer: Any, reader: Reader) -> None:
    own = layer.trainable_weights
    optimizer = Halfway(reader)
    optimizer.apply(own, [RNG.normal(size=w.shape).astype(np.float32) for w in own])
    assert optimizer.reads == len(own)


def streamed(stream: Any) -> Any:
    return np.stack([stream.step(X[:, t]) for t in range(X.shape[1])])


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, None) for name in MAKERS] + [(name, mode) for name in NARROW for mode in ("int8", "bf16", "int16")],
)
def test_an_update_while_others_predict(name: str, mode: str | None) -> None:
    layer = made(name, mode)
    before = layer(X)
    for _ in range(2):
        step(layer, lambda: layer(X))
        assert np.array_equal(layer(X), fresh(layer)(X))
    assert not np.array_equal(layer(X), before)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "Bidirectional", "model"])
def test_an_update_while_others_differentiate(name: str) -> None:
    layer = made(name)

    def gradients(of: Any) -> list[Any]:
        y, back = of.vjp(X)
        grads = back(np.ones_like(y))
        return [grads.dx, *(d for d in grads.dweights if d is not None)]

    gradients(layer)
    step(layer, lambda: gradients(layer))
    assert all(np.array_equal(a, b) for a, b in zip(gradients(layer), gradients(fresh(layer)), strict=True))


@pytest.mark.parametrize(
    ("name", "mode"), [(name, None) for name in STREAMS] + [("LSTM", "int8"), ("model", "bf16"), ("model", "int16")]
)
def test_a_stream_made_during_an_update(name: str, mode: str | None) -> None:
    layer = made(name, mode)
    streams: list[Any] = []

    def make() -> None:
        streams.append(layer.stream(len(X)))
        streamed(streams[-1])
        streams[-1].reset()

    step(layer, make)
    expected = streamed(fresh(layer).stream(len(X)))
    for stream in [*streams, *(stream.copy() for stream in streams)]:
        stream.reset()
        assert np.array_equal(streamed(stream), expected)
        assert stream._settled


def test_a_stream_keeps_its_state_when_it_takes_the_weights_again() -> None:
    layer = made("LSTM")
    with changing(layer.weights):
        stream = layer.stream(len(X))
        first = stream.step(X[:, 0])
    whole = np.stack([first, *(stream.step(X[:, t]) for t in range(1, X.shape[1]))])
    assert np.array_equal(whole, streamed(layer.stream(len(X))))


@pytest.mark.parametrize(("name", "mode"), [(name, None) for name in MAKERS] + [("LSTM", "int8"), ("Dense", "int16")])
def test_set_weights_while_others_predict(name: str, mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = made(name, mode)
    layer(X)
    assign = Weight.assign
    streams: list[Any] = []

    def read() -> None:
        layer(X)
        if name in STREAMS:
            streams.append(layer.stream(len(X)))

    def assigning(self: Weight, value: Any) -> None:
        in_thread(read)
        assign(self, value)
        in_thread(read)

    new = [RNG.uniform(0.1, 1, w.shape) for w in layer.weights]
    with monkeypatch.context() as patch:
        patch.setattr(Weight, "assign", assigning)
        layer.set_weights(new)
    twin = fresh(layer)
    assert np.array_equal(layer(X), twin(X))
    if name in STREAMS:
        expected = streamed(twin.stream(len(X)))
        assert all(np.array_equal(streamed(stream), expected) for stream in streams)


def test_quantize_while_others_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, streams = made("model"), []
    assign = Weight.assign

    def assigning(self: Weight, value: Any) -> None:
        in_thread(lambda: (layer(X), streams.append(layer.stream(len(X)))))
        assign(self, value)

    with monkeypatch.context() as patch:
        patch.setattr(Weight, "assign", assigning)
        layer.quantize("int8")
    twin = fresh(layer)
    assert np.array_equal(layer(X), twin(X))
    expected = streamed(twin.stream(len(X)))
    assert streams and all(np.array_equal(streamed(stream), expected) for stream in streams)


@pytest.mark.parametrize("save", ["save_weights", "save"])
def test_load_weights_while_others_predict(save: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other, layer = made("model"), made("model")
    path = tmp_path / "model.safetensors"
    getattr(other, save)(path)
    replace = Weight.replace

    def replacing(self: Weight, value: Any) -> None:
        in_thread(lambda: layer(X))
        replace(self, value)
        in_thread(lambda: layer(X))

    with monkeypatch.context() as patch:
        patch.setattr(Weight, "replace", replacing)
        layer.load_weights(path)
    assert np.array_equal(layer(X), other(X))
    step(layer, lambda: layer(X))  # the weights are those of a mapped file, which cannot be changed in place
    assert np.array_equal(layer(X), fresh(layer)(X)) and not np.array_equal(layer(X), other(X))


@pytest.mark.parametrize("name", ["LSTM", "Dense"])
def test_an_update_that_fails_half_way(name: str) -> None:
    layer = made(name, "int8")
    old = layer(X)

    def fail() -> None:
        raise ArithmeticError("no")

    class Failing(Halfway):
        def update(self, value: Any, grad: Any, slots: Any, rate: float, scratch: Any) -> None:
            value[: len(value) // 2] -= grad[: len(value) // 2]
            in_thread(lambda: layer(X))
            fail()

    with pytest.raises(ArithmeticError):
        Failing(fail).apply(layer.weights, [np.ones(w.shape, np.float32) for w in layer.weights])
    assert np.array_equal(layer(X), fresh(layer)(X)) and not np.array_equal(layer(X), old)
    assert settled(layer.weights) is not None


def test_a_constraint_that_looks() -> None:
    """A constraint is a part of the update: what is derived of the weight before it, is stale after it."""

    def constraint(value: Any) -> Any:
        in_thread(lambda: layer(X))
        return np.clip(value, 0, 0.25)

    layer = layers.LSTM(8, kernel_constraint=constraint)
    layer(X)
    optimizers.SGD(0.5).apply(layer.weights, [np.ones(w.shape, np.float32) for w in layer.weights])
    assert layer.kernel.max() <= 0.25
    twin = layers.LSTM(8)
    twin(X)
    twin.set_weights(layer.get_weights())
    assert np.array_equal(layer(X), twin(X))


def test_fit_while_others_predict() -> None:
    model = made("model")
    y = np.eye(3, dtype=np.float32)
    model.compile(Halfway(lambda: model.predict(X, verbose=0)), "categorical_crossentropy")
    model.fit(X, y, epochs=2, verbose=0)
    assert np.array_equal(model.predict(X, verbose=0), fresh(model).predict(X, verbose=0))


def test_values_assigned_one_after_the_other_are_never_taken_for_each_other() -> None:
    """An array may get the address of one that was thrown away."""
    layer = made("Dense", "bf16")
    for k in range(50):
        layer.weights[0].value = np.full((5, 7), k, np.float32)
        if k % 3 == 0:
            layer(X)
    assert np.array_equal(layer(X), fresh(layer)(X))


def test_changes_that_end_at_once_are_both_counted() -> None:
    weight = Weight("w", np.zeros(3))

    def change() -> None:
        for _ in range(500):
            with weight.updating():
                pass

    workers = [threading.Thread(target=change) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert weight.version == 2000


def test_a_copy_made_during_a_change_is_not_changing() -> None:
    weight = Weight("w", np.zeros(3))
    with weight.updating() as value:
        assert value is weight.value and settled([weight]) is None
        for twin in (copy.deepcopy(weight), copy.copy(weight), pickle.loads(pickle.dumps(weight))):
            assert settled([twin]) == [0] and twin.name == "w"
    assert settled([weight]) == [1]
