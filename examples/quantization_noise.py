"""
Fine-tuning for 8 bits
======================

``model.quantize("int8")`` rounds every kernel to 255 steps a column. With ``weight_noise="int8"`` a recurrent layer
trains under uniform noise of one such step, drawn anew for every batch: a trained network gets used to the rounding in
a few more epochs, before it is rounded. Two data sets, LSTM and GRU: the metric in float32, with 8 bits straight away,
and with 8 bits after fine-tuning, without noise (what the epochs alone do) and with it.

``python examples/quantization_noise.py [--tiny] [--chorales JSB_Chorales.mat]``: speakers of Japanese vowels, and
Bach's chorales if there is their file (see ``examples/dropout_study/sets.py``), or else the text of Python's
documentation.
"""

import copy
import sys
from pydoc_data import topics

import numpy as np
import scipy.io

from rnnx import Sequential
from rnnx.datasets import load_japanese_vowels
from rnnx.layers import GRU, LSTM, Dense, Embedding, quantization_report
from rnnx.losses import SparseCategoricalCrossentropy
from rnnx.optimizers import Adam
from rnnx.utils import set_random_seed

tiny = "--tiny" in sys.argv
seeds = 1 if tiny else 3

# %%
# The data
# --------
# A set is training data, test data, the layers around the recurrent one, a loss, a metric and its name, and how long.


def vowels():
    (x, y), (x_test, y_test) = load_japanese_vowels()
    if tiny:
        x, y, x_test, y_test = x[::9], y[::9], x_test[::9], y_test[::9]

    def right(model):
        return 100 * np.mean(np.argmax(model.predict(x_test, verbose=0), axis=-1) == y_test)

    loss = SparseCategoricalCrossentropy()
    return (x, y), x_test, [], 16 if tiny else 64, Dense(9, "softmax"), loss, right, "vowels, % right", 25


def chorales(path):
    file = scipy.io.loadmat(path)
    pieces = {part: [piece.astype("float32") for piece in file[part][0]] for part in ("traindata", "testdata")}
    x, y = ([piece[cut] for piece in pieces["traindata"]] for cut in (slice(-1), slice(1, None)))
    x_test, y_test = ([piece[cut] for piece in pieces["testdata"]] for cut in (slice(-1), slice(1, None)))

    def nats(model):
        p = np.clip(np.concatenate(model.predict(x_test, verbose=0)).astype("float64"), 1e-7, 1 - 1e-7)
        keys = np.concatenate(y_test)
        return -(keys * np.log(p) + (1 - keys) * np.log(1 - p)).sum(axis=1).mean()

    return (x, y), x_test, [], 96, Dense(88, "sigmoid"), "binary_crossentropy", nats, "chorales, nats a step", 25


def text():
    letters = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    letters = "".join(c for c in letters if c == "\n" or " " <= c <= "~")[: 5_000 if tiny else 120_000]
    alphabet = sorted(set(letters))
    ids = np.array([alphabet.index(c) for c in letters])
    rows = ids[: len(ids) // 64 * 64].reshape(-1, 64)
    cut = len(rows) * 9 // 10
    x, y, x_test, y_test = rows[:cut, :-1], rows[:cut, 1:], rows[cut:, :-1], rows[cut:, 1:]

    def bits(model):
        return model.evaluate(x_test, y_test, verbose=0) / np.log(2)

    loss, head = SparseCategoricalCrossentropy(from_logits=True), Dense(len(alphabet))
    return (
        (x, y),
        x_test,
        [Embedding(len(alphabet), 32)],
        16 if tiny else 96,
        head,
        loss,
        bits,
        "text, bits a character",
        8,
    )


# %%
# Train, quantize, fine-tune, quantize
# ------------------------------------
# ``weight_noise`` may be given to a new layer or set on one that has learned. `quantization_report` says how far the
# outputs move by the 8 bits, as a share of their size, whatever that does to the metric.


def moved(model, x):
    return quantization_report(model, x, ["int8"])[0].relative


def narrow(model):
    rounded = copy.deepcopy(model)
    rounded.quantize("int8")
    return rounded


path = sys.argv[sys.argv.index("--chorales") + 1] if "--chorales" in sys.argv else None
print(f"{'':28} float32      int8    change     worst  outputs move")
for data, x_test, front, units, head, loss, metric, name, epochs in (vowels(), chorales(path) if path else text()):
    for cell in (LSTM, GRU):
        lines = {"as trained": [], "fine-tuned": [], "fine-tuned under noise": []}
        for seed in range(seeds):
            set_random_seed(seed)
            inner = cell(units, return_sequences=not name.startswith("vowels"), seed=seed)
            model = Sequential([type(part).from_config(part.get_config()) for part in (*front, inner, head)])
            model.compile(Adam(5e-3, clipnorm=1.0), loss)
            model.fit(*data, batch_size=16, epochs=1 if tiny else epochs, verbose=0)
            for how, line in lines.items():
                tuned = copy.deepcopy(model)
                if how != "as trained":
                    tuned.layers[-2].weight_noise = "int8" if "noise" in how else None
                    tuned.compile(Adam(5e-4, clipnorm=1.0), loss)
                    tuned.fit(*data, batch_size=16, epochs=1 if tiny else 5, verbose=0)
                line.append((metric(tuned), metric(narrow(tuned)), moved(tuned, x_test)))
        print(f"{name}, {cell.__name__}({units}), mean of {seeds}")
        for how, line in lines.items():
            wide, rounded, share = np.mean(line, axis=0)
            worst = max((b / a - 1 for a, b, _ in line), key=abs)
            print(f"  {how:24} {wide:9.4f} {rounded:9.4f} {rounded / wide - 1:+9.3%} {worst:+9.3%} {share:9.3%}")
