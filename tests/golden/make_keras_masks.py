"""Make ``keras_masks.npz``: masks inside wrappers and merges, those on arrays, and channels first, from Keras 3.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_masks``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .keras_torch import gradient_of, keras, record, tensor, torch
from .store import Case, build_layer, random_like, save

WORDS = np.array(
    [
        [[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]],
        [[0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]],
    ],
    dtype=bool,
)
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 1, 1, 0, 1]], dtype=bool)
OTHER = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], dtype=bool)
GRU = {"class": "GRU", "kwargs": {"units": 3}}
SEQUENCES = {"class": "LSTM", "kwargs": {"units": 2, "return_sequences": True}}


def step_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Layers inside `TimeDistributed`, which see the part of the mask that is of their step."""
    empty = WORDS.copy()
    empty[1, 1] = False
    inner: dict[str, Any] = {
        "gru": GRU,
        "lstm": SEQUENCES,
        "rnn": {"class": "SimpleRNN", "kwargs": {"units": 2, "go_backwards": True, "return_sequences": True}},
        "both": {"class": "Bidirectional", "layer": SEQUENCES},
        "both_last": {"class": "Bidirectional", "layer": GRU, "kwargs": {"merge_mode": "mul"}},
        "stack": {
            "class": "RNN",
            "cells": [{"class": "LSTMCell", "kwargs": {"units": 2}}, {"class": "GRUCell", "kwargs": {"units": 3}}],
        },
    }
    cases = {}
    x = random_like(rng, [(2, 3, 4, 2)])[0]
    for name, spec in inner.items():
        cases[f"steps-{name}"] = record({"class": "TimeDistributed", "layer": spec}, rng, x, mask=empty)
    average = {"class": "TimeDistributed", "layer": {"class": "GlobalAveragePooling1D"}}
    cases["steps-average"] = record(average, rng, x, mask=WORDS)
    deep = random_like(rng, [(2, 2, 3, 4, 2)])[0]
    twice = {"class": "TimeDistributed", "layer": {"class": "TimeDistributed", "layer": GRU}}
    cases["steps-twice"] = record(twice, rng, deep, mask=np.stack([empty, WORDS], axis=1))
    softmax = {"class": "TimeDistributed", "layer": {"class": "Softmax"}}
    cases["steps-softmax"] = record(softmax, rng, random_like(rng, [(2, 3, 4)])[0], mask=WORDS)
    return cases


def channel_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Layers of inputs whose features come before the steps."""
    x = random_like(rng, [(2, 3, 6)], scale=1.0)[0]
    first = {"data_format": "channels_first"}
    entries: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray | None]] = []
    for name in ("MaxPooling1D", "AveragePooling1D"):
        for kwargs in (
            {"pool_size": 2},
            {"pool_size": 3, "strides": 1},
            {"pool_size": 2, "strides": 3, "padding": "same"},
        ):
            entries.append((name, kwargs, x, None))
    used = np.array([[1, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]], dtype=bool)
    for kwargs in ({}, {"keepdims": True}):
        entries.append(("GlobalMaxPooling1D", kwargs, x, None))
        entries += [("GlobalAveragePooling1D", kwargs, x, mask) for mask in (None, used)]
    entries.append(("Flatten", {}, x, None))
    entries.append(("Flatten", {}, x[:, 0], None))
    entries.append(("Flatten", {}, random_like(rng, [(2, 3, 4, 2)])[0], None))
    return {
        f"channels-{number}-{name}": record({"class": name, "kwargs": {**kwargs, **first}}, rng, given, mask=mask)
        for number, (name, kwargs, given, mask) in enumerate(entries)
    }


def softmax_cases(rng: np.random.Generator) -> dict[str, Case]:
    """`Softmax` over what a mask leaves."""
    x = random_like(rng, [(2, 3, 4)], scale=2.0)[0]
    full = WORDS & (rng.random(WORDS.shape) < 0.9)
    full[0, 2] = False
    masks = {"all": full, "last": full[0, 0], "row": full[:, :1], "one": full[:, :, :1], "whole": full.astype(np.int32)}
    cases = {}
    for axis in (-1, 1):
        for name, mask in masks.items():
            spec = {"class": "Softmax", "kwargs": {"axis": axis}}
            cases[f"softmax-{name}-{axis}"] = record(spec, rng, x, mask=mask)
    return cases


def merge_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Inputs that carry masks, some of them or all, joined."""
    x = random_like(rng, [(3, 5, 2)] * 3, scale=1.0)
    given = {
        "first": [MASK, None],
        "second": [None, OTHER],
        "both": [MASK, OTHER],
        "three": [MASK, None, OTHER],
        "all": [MASK, OTHER, MASK[::-1].copy()],
    }
    cases = {}
    for name in ("Multiply", "Add", "Average", "Concatenate"):
        for label, masks in given.items():
            layer = build_layer(keras.layers, {"class": name}, dtype="float64")
            values = [tensor(part) for part in x[: len(masks)]]
            for value, mask in zip(values, masks, strict=True):
                if mask is not None:
                    keras.src.backend.set_keras_mask(value, torch.tensor(mask))
            y = layer(values)
            case = Case({"spec": {"class": name}, "training": False})
            case.put("x", x[: len(masks)])
            case.put("masks", masks)
            case.put("y", [y.detach().numpy()])
            carried = keras.src.backend.get_keras_mask(y)
            case.put("mask_out", None if carried is None else carried.numpy())
            dy = random_like(rng, [tuple(y.shape)], scale=1.0)[0]
            y.backward(tensor(dy, gradient=False))
            case.put("dy", [dy])
            case.put("dx", [gradient_of(value) for value in values])
            cases[f"merge-{name}-{label}"] = case
    return cases


def carried_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Chains of layers on arrays, outside of a model."""
    embedding = {"class": "Embedding", "kwargs": {"input_dim": 6, "output_dim": 3, "mask_zero": True}}
    masking = {"class": "Masking"}
    last = {"class": "GRU", "kwargs": {"units": 2}}
    between: dict[str, list[dict[str, Any]]] = {
        "nothing": [],
        "dropout": [{"class": "Dropout", "kwargs": {"rate": 0.5}}],
        "dense": [{"class": "Dense", "kwargs": {"units": 2}}],
        "every_step": [{"class": "TimeDistributed", "layer": {"class": "Dense", "kwargs": {"units": 2}}}],
        "lstm": [SEQUENCES],
        "both": [{"class": "Bidirectional", "layer": SEQUENCES}],
        "normal": [{"class": "LayerNormalization"}, {"class": "Activation", "kwargs": {"activation": "tanh"}}],
        "conv": [{"class": "Conv1D", "kwargs": {"filters": 2, "kernel_size": 1}}],
        "permuted": [{"class": "Permute", "kwargs": {"dims": [1, 2]}}],
        "pooled": [{"class": "AveragePooling1D", "kwargs": {"pool_size": 1}}],
    }
    cases = {}
    for entry, first in (("embedding", embedding), ("masking", masking)):
        for name, layers in between.items():
            x: Any = rng.integers(1, 6, MASK.shape).astype(np.int32) * MASK
            if entry == "masking":
                x = random_like(rng, [(*MASK.shape, 3)], scale=1.0)[0] * MASK[..., None]
            specs = [first, *layers, last]
            case = Case({"specs": specs})
            case.put("x", x)
            y = tensor(x, gradient=False)
            for number, spec in enumerate(specs):
                layer = build_layer(keras.layers, spec, dtype="float64")
                layer.build(tuple(y.shape))
                weights = random_like(rng, [tuple(weight.shape) for weight in layer.weights])
                layer.set_weights([weight.astype(np.float64) for weight in weights])
                case.put(f"weights/{number}", weights)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Keras warns where a mask ends
                    y = layer(y)
                carried = keras.src.backend.get_keras_mask(y)
                case.put(f"carried/{number}", None if carried is None else carried.numpy())
            case.put("y", y.detach().numpy())
            cases[f"carried-{entry}-{name}"] = case
    return cases


def main() -> None:
    """Write the file."""
    made = (step_cases, channel_cases, softmax_cases, merge_cases, carried_cases)
    cases: dict[str, Case] = {}
    for number, make in enumerate(made):
        cases |= make(np.random.default_rng(4100 + number))
    save("keras_masks", cases)


if __name__ == "__main__":
    main()
