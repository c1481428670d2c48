"""Models as in Keras' sequence examples, with Keras alone and with `rnnx.keras.accelerate`: losses and times.

    KERAS_BACKEND=torch python bench/in_keras.py [--steps 10] [--rounds 5] [EXAMPLE ...]

Networks and shapes are those of the examples, the data are random. Both models start from the same seed; the losses of
the first epoch must be equal, then epochs and predictions take turns. Figures are medians; a ratio above 1 says how
many times faster rnnx is. KERAS_BACKEND is torch, jax or tensorflow; threads are what each takes by itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

import rnnx
import rnnx.keras

EXAMPLES: dict[str, Callable[[int], tuple[Any, Any, Any, int]]] = {}  # steps to model, x, y and batch size
RNG = np.random.default_rng(1)


def example(function: Callable[[int], tuple[Any, Any, Any, int]]) -> Callable[[int], tuple[Any, Any, Any, int]]:
    EXAMPLES[function.__name__] = function
    return function


def words(rows: int, timesteps: int, most: int = 20000, padded: bool = False) -> np.ndarray:
    """Numbers of words; padded with zeros in front, as `pad_sequences` does."""
    x = RNG.integers(1, most, (rows, timesteps))
    if padded:
        x[np.arange(timesteps) < RNG.integers(0, timesteps * 3 // 4, (rows, 1))] = 0
    return x


def one_hot(rows: int, timesteps: int, most: int) -> np.ndarray:
    return np.eye(most, dtype="float32")[RNG.integers(0, most, (rows, timesteps))]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def bits(rows: int) -> np.ndarray:
    return RNG.integers(0, 2, (rows, 1)).astype("float32")


def compiled(model: Any, loss: str = "binary_crossentropy") -> Any:
    model.compile("adam", loss)
    return model


@example
def sentiment_lstm(steps: int) -> tuple[Any, Any, Any, int]:
    """Reviews of 80 words, an LSTM with dropout and recurrent dropout."""
    lstm = layers.LSTM(128, dropout=0.2, recurrent_dropout=0.2, seed=2)
    net = [layers.Input((80,)), layers.Embedding(20000, 128), lstm, layers.Dense(1, activation="sigmoid")]
    return compiled(keras.Sequential(net)), words(32 * steps, 80), bits(32 * steps), 32


@example
def sentiment_bidirectional(steps: int) -> tuple[Any, Any, Any, int]:
    """Reviews of 200 words, two bidirectional LSTMs."""
    net = [
        layers.Input((200,)),
        layers.Embedding(20000, 128),
        layers.Bidirectional(layers.LSTM(64, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(64)),
        layers.Dense(1, activation="sigmoid"),
    ]
    return compiled(keras.Sequential(net)), words(32 * steps, 200), bits(32 * steps), 32


@example
def sentiment_masked_gru(steps: int) -> tuple[Any, Any, Any, int]:
    """Padded reviews, masked, through a GRU with recurrent dropout."""
    gru = layers.GRU(64, recurrent_dropout=0.2, seed=2)
    net = [
        layers.Input((120,)),
        layers.Embedding(20000, 64, mask_zero=True),
        gru,
        layers.Dense(1, activation="sigmoid"),
    ]
    return compiled(keras.Sequential(net)), words(32 * steps, 120, padded=True), bits(32 * steps), 32


@example
def sentiment_convolution(steps: int) -> tuple[Any, Any, Any, int]:
    """A convolution and pooling below an LSTM."""
    net = [
        layers.Input((100,)),
        layers.Embedding(20000, 128),
        layers.Conv1D(64, 5, activation="relu"),
        layers.MaxPooling1D(4),
        layers.LSTM(70),
        layers.Dense(1, activation="sigmoid"),
    ]
    return compiled(keras.Sequential(net)), words(30 * steps, 100), bits(30 * steps), 30


@example
def weather(steps: int) -> tuple[Any, Any, Any, int]:
    """Five days of seven measured quantities, the temperature to come."""
    net = [layers.Input((120, 7)), layers.LSTM(32), layers.Dense(1)]
    return compiled(keras.Sequential(net), "mse"), normal(256 * steps, 120, 7), normal(256 * steps, 1), 256


@example
def addition(steps: int) -> tuple[Any, Any, Any, int]:
    """A sum written with digits, and its value: an LSTM reads, another writes."""
    net = [
        layers.Input((7, 12)),
        layers.LSTM(128),
        layers.RepeatVector(4),
        layers.LSTM(128, return_sequences=True),
        layers.Dense(12, activation="softmax"),
    ]
    rows = 32 * steps
    return compiled(keras.Sequential(net), "categorical_crossentropy"), one_hot(rows, 7, 12), one_hot(rows, 4, 12), 32


@example
def translation(steps: int) -> tuple[Any, Any, Any, int]:
    """Characters to characters: the states of an LSTM start another one."""
    source, target = layers.Input((16, 71)), layers.Input((59, 93))
    _, h, c = layers.LSTM(256, return_state=True)(source)
    y = layers.LSTM(256, return_sequences=True)(target, initial_state=[h, c])
    model = keras.Model([source, target], layers.Dense(93, activation="softmax")(y))
    rows = 64 * steps
    x = [one_hot(rows, 16, 71), one_hot(rows, 59, 93)]
    return compiled(model, "categorical_crossentropy"), x, one_hot(rows, 59, 93), 64


@example
def characters(steps: int) -> tuple[Any, Any, Any, int]:
    """The next of 56 characters after 40."""
    net = [layers.Input((40, 56)), layers.LSTM(128), layers.Dense(56, activation="softmax")]
    rows = 128 * steps
    return (
        compiled(keras.Sequential(net), "categorical_crossentropy"),
        one_hot(rows, 40, 56),
        one_hot(rows, 1, 56)[:, 0],
        128,
    )


@example
def video(steps: int) -> tuple[Any, Any, Any, int]:
    """Features of up to 20 frames, masked, through two GRUs."""
    frames, mask = layers.Input((20, 2048)), layers.Input((20,), dtype="bool")
    y = layers.GRU(16, return_sequences=True)(frames, mask=mask)
    y = layers.Dropout(0.4, seed=3)(layers.GRU(8)(y))
    y = layers.Dense(5, activation="softmax")(layers.Dense(8, activation="relu")(y))
    rows = 64 * steps
    x = [normal(rows, 20, 2048), np.arange(20) < RNG.integers(8, 21, (rows, 1))]
    return compiled(keras.Model([frames, mask], y), "categorical_crossentropy"), x, one_hot(rows, 1, 5)[:, 0], 64


@example
def pictures_of_text(steps: int) -> tuple[Any, Any, Any, int]:
    """Columns of a picture, read in both directions by LSTMs with dropout."""
    net = [
        layers.Input((50, 64)),
        layers.Bidirectional(layers.LSTM(128, return_sequences=True, dropout=0.25, seed=2)),
        layers.Bidirectional(layers.LSTM(64, return_sequences=True, dropout=0.25, seed=3)),
        layers.Dense(20, activation="softmax"),
    ]
    rows = 16 * steps
    return compiled(keras.Sequential(net), "categorical_crossentropy"), normal(rows, 50, 64), one_hot(rows, 50, 20), 16


@example
def pixels(steps: int) -> tuple[Any, Any, Any, int]:
    """A simple RNN of rectified units over the 784 pixels of a digit."""
    recurrent = keras.initializers.Identity()
    rnn = layers.SimpleRNN(100, activation="relu", recurrent_initializer=recurrent)
    net = [layers.Input((784, 1)), rnn, layers.Dense(10, activation="softmax")]
    rows = 32 * steps
    model = keras.Sequential(net)
    model.compile(keras.optimizers.RMSprop(1e-6), "categorical_crossentropy")
    return model, normal(rows, 784, 1), one_hot(rows, 1, 10)[:, 0], 32


def compared(name: str, steps: int, rounds: int) -> tuple[float, list[float], list[float]]:
    """Difference of the first epoch's losses; milliseconds a step of fit and of predict, Keras alone and with rnnx."""
    runs: list[tuple[Callable[[], Any], Callable[[], Any]]] = []
    losses = []
    for with_rnnx in (False, True):
        keras.utils.set_random_seed(7)
        global RNG
        RNG = np.random.default_rng(1)
        model, x, y, batch = EXAMPLES[name](steps)
        if with_rnnx:
            rnnx.keras.accelerate(model)

        def fit(model: Any = model, x: Any = x, y: Any = y, batch: int = batch) -> float:
            return model.fit(x, y, batch_size=batch, epochs=1, verbose=0, shuffle=False).history["loss"][0]

        def predict(model: Any = model, x: Any = x, batch: int = batch) -> Any:
            return model.predict(x, batch_size=batch, verbose=0)

        losses.append(fit())
        predict()
        runs.append((fit, predict))
    times: list[list[list[float]]] = [[[], []], [[], []]]
    for _ in range(rounds):
        for kind in (0, 1):
            for who in (0, 1):
                start = time.perf_counter()
                runs[who][kind]()
                times[kind][who].append((time.perf_counter() - start) / steps * 1e3)
    fits, predictions = ([statistics.median(own) for own in kind] for kind in times)
    return abs(losses[1] - losses[0]) / abs(losses[0]), fits, predictions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", nargs="*", metavar="EXAMPLE", help=", ".join(EXAMPLES))
    parser.add_argument("--steps", type=int, default=10, help="batches of an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := [name for name in options.examples if name not in EXAMPLES]:
        parser.error(f"unknown example(s) {', '.join(unknown)}; there are {', '.join(EXAMPLES)}")
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {rnnx.cpu_info()['isa']}\n")
    print("| example | fit, Keras alone | rnnx | ratio | predict, Keras alone | rnnx | ratio | losses differ by |")
    print("|---|---|---|---|---|---|---|---|")
    wrong = []
    for name in options.examples or EXAMPLES:
        difference, fits, predictions = compared(name, options.steps, options.rounds)
        columns = [f"{own[0]:.2f} ms | {own[1]:.2f} ms | {own[0] / own[1]:.2f}" for own in (fits, predictions)]
        print(f"| {name} | {' | '.join(columns)} | {difference:.0e} |", flush=True)
        if difference > 1e-4:
            wrong.append(name)
    if wrong:
        print(f"losses differ: {', '.join(wrong)}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
