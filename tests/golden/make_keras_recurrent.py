"""Make ``keras_recurrent.npz`` and ``keras_padding.npz``: recurrent layers of Keras 3, values and gradients.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_recurrent``.

The backend is PyTorch because its generic loop emits 0 before the first valid step of a row, as TensorFlow,
the unrolled loop and rnnx do. The JAX and numpy backends emit the initial state there.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .keras_torch import record
from .store import Case, random_like, save

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 3
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
ACTIVATIONS = [
    ("relu", "hard_sigmoid"),
    ("elu", "sigmoid"),
    ("softsign", "softsign"),
    ("linear", "hard_sigmoid"),
    ("gelu", "sigmoid"),
    ("selu", "relu6"),
    ("silu", "softplus"),
    ("softplus", "softmax"),
    ("softmax", "linear"),
    ("leaky_relu", "tanh"),
]


def cell_variants() -> list[tuple[str, dict[str, Any]]]:
    """Return the recurrent layers, with the GRU in both of its forms."""
    return [("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("SimpleRNN", {})]


def label(name: str, kwargs: dict[str, Any]) -> str:
    """Name a case after its layer and those arguments that differ from case to case."""
    short = {"recurrent_activation": "gate", "return_sequences": "sequences", "go_backwards": "backwards"}
    short |= {"recurrent_dropout": "recurrent", "reset_after": "after"}
    constant = ("units", "return_state", "use_bias", "zero_output_for_mask")
    parts = [f"{short.get(key, key)}={value}" for key, value in kwargs.items() if key not in constant]
    return "-".join([name, *parts])


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Draw an inverted dropout mask."""
    return ((rng.uniform(size=shape) < 1 - rate) / (1 - rate)).astype(np.float32)


def plain_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run without dropout: directions, states, last or all outputs, activations, no bias."""
    cases = {}
    for name, variant in cell_variants():
        for backwards, sequences, given in itertools.product([False, True], repeat=3):
            kwargs = dict(variant, units=UNITS, go_backwards=backwards, return_sequences=sequences, return_state=True)
            x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
            h0 = random_like(rng, [(BATCH, UNITS)] * STATES[name]) if given else None
            case = record({"class": name, "kwargs": kwargs}, rng, x, initial_state=h0)
            cases[f"plain/{label(name, kwargs)}-h0={given}"] = case
        for activation, gate in ACTIVATIONS:
            kwargs = dict(variant, units=UNITS, activation=activation, return_sequences=True, use_bias=False)
            if name != "SimpleRNN":
                kwargs["recurrent_activation"] = gate
            x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
            cases[f"activation/{label(name, kwargs)}"] = record({"class": name, "kwargs": kwargs}, rng, x)
    return cases


def dropout_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run with injected dropout masks: shared, per gate, constant, per step, with and without padding."""
    cases = {}
    rates = [(0.5, 0.0), (0.0, 0.25), (0.5, 0.25)]
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 1, 0, 0]], dtype=bool)
    for (name, variant), (rate, recurrent_rate), backwards in itertools.product(cell_variants(), rates, [False, True]):
        kwargs = dict(variant, units=UNITS, dropout=rate, recurrent_dropout=recurrent_rate, return_sequences=True)
        kwargs.update(go_backwards=backwards, return_state=True)
        for kind in ("keras", "tied", "step") if recurrent_rate else ("keras",):
            gates = GATES[name] if recurrent_rate and kind != "tied" else 1
            steps = TIMESTEPS if kind == "step" else 1
            masks = {}
            if rate:
                masks["inputs"] = dropout_mask(rng, (gates, BATCH, 1, FEATURES), rate)
            if recurrent_rate:
                masks["recurrent"] = dropout_mask(rng, (gates, BATCH, steps, UNITS), recurrent_rate)
            x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
            h0 = random_like(rng, [(BATCH, UNITS)] * STATES[name])
            for masked in (False, True):
                case = record(
                    {"class": name, "kwargs": kwargs},
                    rng,
                    x,
                    initial_state=h0,
                    mask=mask if masked else None,
                    masks=masks,
                    training=True,
                )
                cases[f"dropout/{label(name, kwargs)}-{kind}-mask={masked}"] = case
    return cases


def wrapper_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run stacks of cells, two directions with layers of their own, and TimeDistributed."""
    cases = {}
    x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 1, 0, 0]], dtype=bool)
    cells = [
        {"class": "LSTMCell", "kwargs": {"units": 3}},
        {"class": "GRUCell", "kwargs": {"units": 2}},
        {"class": "GRUCell", "kwargs": {"units": 2, "reset_after": False}},
        {"class": "SimpleRNNCell", "kwargs": {"units": 4}},
    ]
    for sequences, masked in itertools.product([False, True], repeat=2):
        kwargs = {"return_sequences": sequences, "return_state": True}
        flags = {"mask": mask if masked else None}
        cases[f"cells/sequences={sequences}-mask={masked}"] = record(
            {"class": "RNN", "cells": cells, "kwargs": kwargs}, rng, x, **flags
        )
        for cell in cells:
            spec = {"class": "RNN", "layer": cell, "kwargs": kwargs}
            cases[f"{label(cell['class'], cell['kwargs'])}-{sequences}-{masked}"] = record(spec, rng, x, **flags)
    dense = {"class": "Dense", "kwargs": {"units": 2, "activation": "tanh"}}
    cases["time_distributed/dense"] = record({"class": "TimeDistributed", "layer": dense}, rng, x)
    return cases


def padding_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run the padding matrix: one batch whose rows are full, right, left, gapped, both-sided and empty.

    The rows are crossed with the direction (forward, backward, both with each way to merge), the zeroing of
    masked outputs, a given initial state, and last or all outputs. To keep the file small, the ways to merge other
    than concatenation have gradients in one of these combinations only.
    """
    mask = np.array(
        [
            [1, 1, 1, 1, 1],
            [1, 1, 1, 0, 0],
            [0, 0, 1, 1, 1],
            [1, 0, 1, 0, 1],
            [0, 1, 1, 0, 0],
            [0, 0, 0, 0, 0],
        ],
        dtype=bool,
    )
    rows = len(mask)
    directions = ["forward", "backward", "concat", "sum", "mul", "ave", None]
    cases = {}
    for name, variant in cell_variants():
        x = random_like(rng, [(rows, TIMESTEPS, FEATURES)])[0]
        widths = {"LSTM": 4 * UNITS, "GRU": 3 * UNITS, "SimpleRNN": UNITS}[name]
        bias = (2, widths) if name == "GRU" and variant.get("reset_after", True) else (widths,)
        weights = random_like(rng, [(FEATURES, widths), (UNITS, widths), bias] * 2)
        states = random_like(rng, [(rows, UNITS)] * (2 * STATES[name]))
        for direction, zero, given, sequences in itertools.product(directions, *[[False, True]] * 3):
            kwargs = dict(variant, units=UNITS, zero_output_for_mask=zero, return_sequences=sequences)
            kwargs["return_state"] = True
            spec: dict[str, Any] = {"class": name, "kwargs": kwargs}
            both = direction not in ("forward", "backward")
            if both:
                spec = {"class": "Bidirectional", "layer": spec, "kwargs": {"merge_mode": direction}}
            else:
                kwargs["go_backwards"] = direction == "backward"
            case = record(
                spec,
                rng,
                x,
                weights=weights if both else weights[:3],
                initial_state=(states if both else states[: STATES[name]]) if given else None,
                mask=mask,
                gradients=direction in ("forward", "backward", "concat") or (given and not zero),
            )
            cases[f"{label(name, variant)}-{direction}-zero={zero}-h0={given}-sequences={sequences}"] = case
    return cases


def main() -> None:
    """Write both files."""
    rng = np.random.default_rng(20261)
    save("keras_recurrent", plain_cases(rng) | dropout_cases(rng) | wrapper_cases(rng))
    save("keras_padding", padding_cases(np.random.default_rng(20262)))


if __name__ == "__main__":
    main()
