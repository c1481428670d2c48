"""How many Python functions of the package a call goes through: each costs, and each has to be read."""

from __future__ import annotations

import pathlib
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Sequential, layers

COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")
PACKAGE = str(pathlib.Path(rnnx.__file__).parent)
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(32, 20, 8)).astype(np.float32), RANDOM.normal(size=(32, 1)).astype(np.float32)


def frames(call: Callable[[], Any]) -> Counter[str]:
    """How often each function of the package is entered.

    A generator counts once, not each time it goes on; comprehensions are no functions from Python 3.12 on, and do not
    count before.
    """
    seen: list[FrameType] = []  # kept, so that no other frame gets their ids
    known: set[int] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        counts = event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name not in COMPREHENSIONS
        if counts and id(frame) not in known:
            known.add(id(frame))
            seen.append(frame)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return Counter(f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}: {frame.f_code.co_name}" for frame in seen)


def model() -> Sequential:
    made = Sequential([rnnx.Input((None, 8)), layers.GRU(32), layers.Dense(1)])
    made.compile("adam", "mse")
    made.fit(X, Y, verbose=0)
    return made


def warm(made: Sequential) -> Sequential:
    """After a call, which has packed the weights."""
    made(X)
    return made


def a_batch_of_fit(folder: pathlib.Path) -> Counter[str]:
    """What an epoch of two batches has more than one of one batch."""
    trained, both = model(), (np.concatenate([X, X]), np.concatenate([Y, Y]))
    one = frames(lambda: trained.fit(X, Y, shuffle=False, verbose=0))
    two = frames(lambda: trained.fit(*both, shuffle=False, verbose=0))
    return two - one


def a_call_of_a_model(folder: pathlib.Path) -> Counter[str]:
    called = warm(model())
    return frames(lambda: called(X))


def predict(folder: pathlib.Path) -> Counter[str]:
    called = warm(model())
    return frames(lambda: called.predict(X))


def a_training_call_with_dropout(folder: pathlib.Path) -> Counter[str]:
    layer = layers.LSTM(8, dropout=0.2, recurrent_dropout=0.2, seed=1)
    layer(X, training=True)
    return frames(lambda: layer(X, training=True))


def a_call_of_a_layer(folder: pathlib.Path) -> Counter[str]:
    layer = layers.LSTM(8, dropout=0.2, recurrent_dropout=0.2, seed=1)
    layer(X)
    return frames(lambda: layer(X))


def a_call_of_both_directions(folder: pathlib.Path) -> Counter[str]:
    layer = layers.Bidirectional(layers.LSTM(8, return_sequences=True))
    layer(X)
    return frames(lambda: layer(X))


def load_model(folder: pathlib.Path) -> Counter[str]:
    return load_as_compiled(folder, include_optimizer=False)


def load_a_compiled_model(folder: pathlib.Path) -> Counter[str]:
    return load_as_compiled(folder, include_optimizer=True)


def load_as_compiled(folder: pathlib.Path, include_optimizer: bool) -> Counter[str]:
    model().save(folder / "model.safetensors", include_optimizer=include_optimizer)
    rnnx.load_model(folder / "model.safetensors")  # imports what it needs
    return frames(lambda: rnnx.load_model(folder / "model.safetensors"))


def a_masked_step_of_a_stream(folder: pathlib.Path) -> Counter[str]:
    stream = Sequential([rnnx.Input((None, 8)), layers.Masking(), layers.GRU(32), layers.Dense(1)]).stream(32)
    stream.step(X[:, 0])
    return frames(lambda: stream.step(X[:, 1]))


MOST: dict[Callable[[pathlib.Path], Counter[str]], int] = {
    a_batch_of_fit: 150,
    a_call_of_a_model: 20,
    predict: 22,
    a_call_of_a_layer: 12,
    a_call_of_both_directions: 36,
    a_training_call_with_dropout: 60,
    load_model: 150,
    load_a_compiled_model: 200,
    a_masked_step_of_a_stream: 17,
}


@pytest.mark.parametrize("call", MOST, ids=lambda call: call.__name__)
def test_frames(call: Callable[[pathlib.Path], Counter[str]], tmp_path: pathlib.Path) -> None:
    found = call(tmp_path)
    shown = "\n".join(f"{number:4} {name}" for name, number in found.most_common())
    assert found.total() <= MOST[call], f"{found.total()} frames, the most is {MOST[call]}:\n{shown}"
