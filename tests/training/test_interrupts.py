"""Ctrl-C during fit."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

import rnnx
from rnnx import layers, utils
from rnnx.training import interrupts
from rnnx.training.interrupts import Interrupts

RNG = np.random.default_rng(20)


@pytest.fixture(autouse=True)
def _seeded():
    utils.set_random_seed(3)


def sequence_model(per_step=False, **options):
    return rnnx.Sequential(
        [
            layers.Input((None, 3)),
            layers.GRU(5, return_sequences=per_step, seed=1, **options),
            layers.Dense(2),
        ]
    )


def interrupted_fit(model, callbacks=()):
    x, y = RNG.normal(size=(40, 4, 3)), RNG.normal(size=(40, 2))
    return model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=list(callbacks))


def test_ctrl_c_between_batches_stops_and_keeps_everything(capsys):
    model = sequence_model()
    model.compile("adam", "mse")
    ended = []

    def stop(batch, logs):
        if model.optimizer.iterations == 13:
            signal.raise_signal(signal.SIGINT)

    callback = rnnx.callbacks.LambdaCallback(on_train_batch_end=stop, on_train_end=lambda logs: ended.append(1))
    history = interrupted_fit(model, [callback])
    assert history.interrupted
    assert model.optimizer.iterations == 13
    assert len(history.history["loss"]) == 1
    assert ended == [1]
    assert "interrupted" in capsys.readouterr().out
    assert not interrupted_fit(model).interrupted


def test_ctrl_c_during_an_update_lets_it_finish():
    class Interrupted(rnnx.optimizers.SGD):
        def update(self, value, grad, slots, rate, scratch):
            if self.iterations == 5 and not seen:
                seen.append(1)
                signal.raise_signal(signal.SIGINT)
            super().update(value, grad, slots, rate, scratch)

    seen = []
    model = sequence_model()
    start = model.get_weights()
    model.compile(Interrupted(0.01), "mse")
    utils.set_random_seed(1)
    state = RNG.bit_generator.state
    before = signal.getsignal(signal.SIGINT)
    assert interrupted_fit(model).interrupted
    assert signal.getsignal(signal.SIGINT) is before
    stopped = model.get_weights()
    model.set_weights(start)
    model.compile(rnnx.optimizers.SGD(0.01), "mse")
    utils.set_random_seed(1)
    RNG.bit_generator.state = state

    def stop(batch, logs):
        model.stop_training = batch == 4

    history = interrupted_fit(model, [rnnx.callbacks.LambdaCallback(on_train_batch_end=stop)])
    assert not history.interrupted
    assert model.optimizer.iterations == 5
    for left, right in zip(stopped, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def trained_until(batches, start):
    """Weights after so many batches that nobody interrupted."""
    model = sequence_model()
    model.set_weights(start)
    model.compile("sgd", "mse")
    utils.set_random_seed(1)
    x, y = data_of()

    def stop(batch, logs):
        model.stop_training = model.optimizer.iterations == batches

    model.fit(
        x, y, batch_size=4, epochs=9, verbose=0, callbacks=[rnnx.callbacks.LambdaCallback(on_train_batch_end=stop)]
    )
    return model.get_weights()


def data_of():
    rng = np.random.default_rng(4)
    return rng.normal(size=(20, 4, 3)), rng.normal(size=(20, 2))


class PressedInside(layers.Layer):
    """Presses Ctrl-C in the middle of a forward pass."""

    def __init__(self, at, times=1):
        super().__init__()
        self.calls, self.at, self.times = 0, at, times

    def forward(self, x, *, mask=None, training=False, keep=False, **call):
        self.calls += 1
        if self.calls == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return x, lambda dy, need_dx=True: layers.Gradients(dy, [])


def pressed_model(at, times=1):
    model = sequence_model()
    model.add(PressedInside(at, times))
    model.compile("sgd", "mse")
    utils.set_random_seed(1)
    return model


def test_the_batch_at_hand_is_finished():
    model = pressed_model(7)
    start = model.get_weights()
    history = model.fit(*data_of(), batch_size=4, epochs=9, verbose=0)
    assert history.interrupted
    assert model.optimizer.iterations == 7
    assert history.epoch == [0]
    for left, right in zip(model.get_weights(), trained_until(7, start), strict=True):
        np.testing.assert_array_equal(left, right)


class Slow(PressedInside):
    """Presses Ctrl-C, and takes long."""

    def forward(self, x, **call):
        found = super().forward(x, **call)
        if self.calls == self.at:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                time.sleep(0.01)
        return found


@pytest.mark.parametrize("validates", [False, True])
def test_a_long_batch_is_given_up(monkeypatch, capsys, validates):
    """Of the training, and of a validation."""
    monkeypatch.setattr(interrupts, "PATIENCE", 0.05)
    model = sequence_model()
    model.add(Slow(8))
    model.compile("sgd", "mse")
    start = model.get_weights()
    utils.set_random_seed(1)
    begun, (x, y) = time.monotonic(), data_of()
    history = model.fit(x, y, batch_size=4, epochs=9, verbose=0, validation_data=(x, y) if validates else None)
    assert history.interrupted
    assert time.monotonic() - begun < 10
    assert "interrupted" in capsys.readouterr().out
    finished = 5 if validates else 7
    assert model.optimizer.iterations == finished
    for left, right in zip(model.get_weights(), trained_until(finished, start), strict=True):
        np.testing.assert_array_equal(left, right)
    model.layers[-1].at = None
    assert not model.fit(x, y, batch_size=4, verbose=0).interrupted


def test_a_long_callback_is_not_given_up(monkeypatch):
    monkeypatch.setattr(interrupts, "PATIENCE", 0.01)
    ended = []

    def press(batch, logs):
        signal.raise_signal(signal.SIGINT)
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            time.sleep(0.001)
        ended.append(batch)

    model = sequence_model()
    model.compile("sgd", "mse")
    history = model.fit(
        *data_of(), batch_size=4, verbose=0, callbacks=[rnnx.callbacks.LambdaCallback(on_train_batch_end=press)]
    )
    assert history.interrupted
    assert ended == [0]


def test_a_long_step_of_the_engine_is_given_up(monkeypatch):
    monkeypatch.setattr(interrupts, "PATIENCE", 0.02)
    model = rnnx.Sequential([rnnx.Input((None, 1)), layers.LSTM(1024, recurrent_initializer="glorot_uniform")])
    model.compile("adam", "mse")
    start = model.get_weights()
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    x = np.zeros((40, 200, 1), np.float32)
    y = np.zeros((40, 1024), np.float32)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        history = model.fit(x, y, batch_size=40, epochs=1, verbose=0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert history.interrupted
    assert model.optimizer.iterations == 0
    assert all(map(np.array_equal, model.get_weights(), start))


def test_the_second_one_raises_and_leaves_whole_weights(capsys):
    model = pressed_model(7, times=2)
    start = model.get_weights()
    ended = []
    callback = rnnx.callbacks.LambdaCallback(on_train_end=lambda logs: ended.append(1))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data_of(), batch_size=4, epochs=9, verbose=0, callbacks=[callback])
    assert signal.getsignal(signal.SIGINT) is before
    assert ended == [1]
    assert len(model.history.history["loss"]) == 1
    assert "interrupted" not in capsys.readouterr().out
    for left, right in zip(model.get_weights(), trained_until(6, start), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_finished_epoch_is_in_the_history_and_in_files(tmp_path):
    model = sequence_model()
    model.compile("sgd", "mse")

    def stop(epoch, logs):
        if epoch == 1:
            signal.raise_signal(signal.SIGINT)

    log = tmp_path / "log.csv"
    callbacks = [rnnx.callbacks.LambdaCallback(on_epoch_end=stop), rnnx.callbacks.CSVLogger(log)]
    history = model.fit(*data_of(), epochs=9, verbose=0, callbacks=callbacks)
    assert history.interrupted
    assert history.epoch == [0, 1]
    assert len(log.read_text().splitlines()) == 3


def test_no_further_batch_is_asked_for():
    """The source may take long to give one."""
    x, y = data_of()
    made = []

    def source():
        while True:
            made.append(1)
            yield x[:4], y[:4]

    model = pressed_model(3)
    history = model.fit(source(), steps_per_epoch=5, epochs=2, verbose=0)
    assert history.interrupted
    assert model.optimizer.iterations == len(made) == 3


def test_a_validation_stops_too():
    model = sequence_model()
    model.compile("sgd", "mse")
    seen = []

    def stop(batch, logs):
        seen.append(batch)
        if len(seen) == 7:
            signal.raise_signal(signal.SIGINT)

    callback = rnnx.callbacks.LambdaCallback(on_test_batch_end=stop)
    x, y = data_of()
    history = model.fit(x, y, batch_size=4, epochs=9, validation_data=(x, y), verbose=0, callbacks=[callback])
    assert history.interrupted
    assert seen == [0, 1, 2, 3, 4, 0, 1]
    assert model.optimizer.iterations == 10
    assert history.epoch == [0]


def test_handlers_of_others_stay():
    heard = []

    def theirs(*event):
        heard.append(event)

    before = signal.signal(signal.SIGINT, theirs)
    try:
        model = pressed_model(2)
        assert not model.fit(*data_of(), batch_size=4, verbose=0).interrupted
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(heard) == 1


def test_one_inside_another():
    """The inner one hears first; afterwards the outer one listens again."""
    with Interrupts() as outer:
        with Interrupts() as inner:
            signal.raise_signal(signal.SIGINT)
        assert (outer.count, inner.count) == (0, 1)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            outer.check()
    assert outer.count == 1


def test_other_threads_leave_the_signal_alone():
    found = []

    def work():
        with Interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
