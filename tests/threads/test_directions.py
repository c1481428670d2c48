"""The two directions of a Bidirectional run side by side, and give the bits of one after the other."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.layers.rnn import bidirectional
from rnnx.runtime import parallel as runtime

RNG = np.random.default_rng(41)
CELLS: dict[str, Any] = {
    "LSTM": lambda: layers.LSTM(24, return_sequences=True, dropout=0.3, recurrent_dropout=0.2, seed=3),
    "GRU": lambda: layers.GRU(24, seed=3),
    "states": lambda: layers.LSTM(24, return_state=True, zoneout=0.2, seed=3),
}


@pytest.fixture
def idents(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads on which directions run; all work is worth a thread."""
    found: list[int] = []
    monkeypatch.setattr(bidirectional, "PRODUCTS_WORTH_A_THREAD", 0)
    plain = layers.LSTM.forward, layers.GRU.forward

    def recorded(method: Any) -> Any:
        def forward(self: Any, *arguments: Any, **call: Any) -> Any:
            found.append(threading.get_ident())
            time.sleep(0.01)  # long enough for the other one to begin
            return method(self, *arguments, **call)

        return forward

    for kind, method in zip((layers.LSTM, layers.GRU), plain, strict=True):
        monkeypatch.setattr(kind, "forward", recorded(method))
    return found


def gradients(layer: Any, x: Any, threads: int) -> list[Any]:
    for direction in layer.sublayers:
        direction.seed_generator.state = (3, 0)
    with rnnx.threads(threads):
        y, back = layer.forward(x, training=True, keep=True)
        outputs = y if isinstance(y, list) else [y]
        g = back([np.ones_like(part) for part in outputs] if isinstance(y, list) else np.ones_like(y))
    return [*outputs, g.dx, *g.dweights]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("batch", [1, 5, 40])
def test_same_bits(name: str, batch: int, idents: list[int]) -> None:
    layer = layers.Bidirectional(CELLS[name]())
    x = RNG.normal(size=(batch, 7, 5)).astype(np.float32)
    layer(x)
    one = gradients(layer, x, 1)
    idents.clear()
    two = gradients(layer, x, 2)
    assert len(set(idents)) == 2
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_an_error_of_either_is_raised_when_both_have_ended() -> None:
    ended = []

    def fails() -> None:
        raise ValueError("no")

    with rnnx.threads(2):
        for pair in ((fails, lambda: ended.append(1)), (lambda: ended.append(1), fails)):
            with pytest.raises(ValueError, match="no"):
                runtime.side_by_side(*pair)
        assert runtime.side_by_side(lambda: 1, lambda: 2) == (1, 2)


def test_settings_of_the_caller_hold_on_both_threads() -> None:
    def seen() -> Any:
        time.sleep(0.01)
        return np.geterr()["over"], rnnx.get_num_threads()

    with rnnx.threads(4), np.errstate(over="raise"):
        assert runtime.side_by_side(seen, seen) == (("raise", 2), ("raise", 2))
    with rnnx.threads(1):
        assert runtime.side_by_side(seen, threading.get_ident) == (seen(), threading.get_ident())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork() -> None:
    with rnnx.threads(2):
        runtime.side_by_side(int, int)
        child = os.fork()
        if child == 0:
            os._exit(0 if runtime.side_by_side(lambda: 1, lambda: 2) == (1, 2) else 1)
        assert os.waitpid(child, 0)[1] == 0
