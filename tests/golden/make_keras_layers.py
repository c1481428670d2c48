"""Make ``keras_layers.npz``: layers without a time loop, activations, and where masks go, from Keras 3.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_layers``.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np

from .keras_torch import keras, record, tensor
from .store import Case, build_layer, random_like, save

BATCH, TIMESTEPS, FEATURES = 3, 6, 4
SEQUENCE, ROW = (BATCH, TIMESTEPS, FEATURES), (BATCH, FEATURES)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 1]], dtype=bool)
ACTIVATIONS = (
    "tanh sigmoid relu linear elu selu softplus softsign softmax exponential gelu silu swish leaky_relu "
    "relu6 hard_sigmoid"
).split()

Entry = tuple[str, dict[str, Any], list[tuple[int, ...]]]


def entries() -> list[Entry]:
    """Return class, arguments and input shapes of the layers with floating-point inputs and no mask."""
    found: list[Entry] = []
    for shape in (ROW, SEQUENCE):
        found += [
            ("Dense", {"units": 5, "activation": "relu"}, [shape]),
            ("Dense", {"units": 2, "activation": "softmax", "use_bias": False}, [shape]),
            ("LayerNormalization", {"epsilon": 0.01}, [shape]),
            ("LayerNormalization", {"center": False}, [shape]),
            ("LayerNormalization", {"scale": False}, [shape]),
            ("Flatten", {}, [shape]),
            ("Softmax", {}, [shape]),
            ("ReLU", {"max_value": 0.8, "negative_slope": 0.1, "threshold": 0.2}, [shape]),
        ]
        found += [(name, {}, [shape] * 3) for name in ("Add", "Multiply", "Average", "Concatenate")]
    for padding, strides, dilation in [
        ("valid", 1, 1),
        ("same", 1, 1),
        ("causal", 1, 1),
        ("valid", 2, 1),
        ("same", 2, 1),
        ("same", 1, 2),
        ("causal", 1, 2),
    ]:
        for size in (2, 3):
            kwargs = {"filters": 5, "kernel_size": size, "padding": padding, "strides": strides}
            found.append(("Conv1D", dict(kwargs, dilation_rate=dilation, activation="tanh"), [SEQUENCE]))
    found += [
        ("Conv1D", {"filters": 6, "kernel_size": 3, "groups": 2, "use_bias": False}, [SEQUENCE]),
        ("GlobalMaxPooling1D", {}, [SEQUENCE]),
        ("GlobalMaxPooling1D", {"keepdims": True}, [SEQUENCE]),
        ("GlobalAveragePooling1D", {}, [SEQUENCE]),
        ("GlobalAveragePooling1D", {"keepdims": True}, [SEQUENCE]),
        ("Reshape", {"target_shape": [2, 12]}, [SEQUENCE]),
        ("Reshape", {"target_shape": [-1, 3]}, [SEQUENCE]),
        ("Permute", {"dims": [2, 1]}, [SEQUENCE]),
        ("RepeatVector", {"n": 3}, [ROW]),
        ("Concatenate", {"axis": 1}, [SEQUENCE, (BATCH, 2, FEATURES)]),
        ("Masking", {"mask_value": 0.0}, [SEQUENCE]),
    ]
    for name, padding in itertools.product(["MaxPooling1D", "AveragePooling1D"], ["valid", "same"]):
        for size, strides in [(2, None), (3, 1), (4, 3)]:
            if (name, padding, size) == ("AveragePooling1D", "same", 4):
                continue  # uneven padding, which this backend counts: see make_keras_numpy
            kwargs = {"pool_size": size, "strides": strides, "padding": padding}
            found.append((name, kwargs, [SEQUENCE]))
    return found


def layer_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run every layer of `entries`, and those that need special inputs or weights."""
    cases = {}
    for name, kwargs, shapes in entries():
        inputs = random_like(rng, shapes, scale=1.0)
        spec = {"class": name, "kwargs": kwargs}
        several = name in ("Add", "Multiply", "Average", "Concatenate")
        label = "-".join([name, *(f"{key}={value}" for key, value in kwargs.items()), str(shapes[0])])
        cases[label] = record(spec, rng, inputs if several else inputs[0])

    gapped = random_like(rng, [SEQUENCE])[0]
    gapped[~MASK] = -1.0
    cases["Masking-value"] = record({"class": "Masking", "kwargs": {"mask_value": -1.0}}, rng, gapped)
    ids = rng.integers(0, 7, size=(BATCH, TIMESTEPS)).astype(np.int32)
    spec = {"class": "Embedding", "kwargs": {"input_dim": 7, "output_dim": 3}}
    cases["Embedding"] = record(spec, rng, ids)
    pooled = {"class": "GlobalAveragePooling1D", "kwargs": {}}
    cases["GlobalAveragePooling1D-mask"] = record(pooled, rng, random_like(rng, [SEQUENCE])[0], mask=MASK)

    for kwargs in ({}, {"momentum": 0.8, "epsilon": 0.1}, {"scale": False}, {"center": False}):
        parts = random_like(rng, [(FEATURES,)] * 4)
        parts[3] = np.abs(parts[3]) + np.float32(0.5)
        weights = [
            part
            for part, used in zip(
                parts, [kwargs.get("scale", True), kwargs.get("center", True), True, True], strict=True
            )
            if used
        ]
        spec = {"class": "BatchNormalization", "kwargs": kwargs}
        for training, masked, shape in [
            (False, False, ROW),
            (True, False, ROW),
            (True, False, SEQUENCE),
            (True, True, SEQUENCE),
        ]:
            case = record(
                spec,
                rng,
                random_like(rng, [shape], scale=1.0)[0],
                weights=weights,
                mask=MASK if masked else None,
                training=training,
            )
            if masked:  # Keras adds 1e-7 to the number of valid steps
                case.config["precision"] = "float32"
            cases[f"BatchNormalization-{kwargs}-{training}-{masked}-{len(shape)}"] = case
    return cases


def activation_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run every activation on values near zero, far from it, and between."""
    x = np.concatenate([rng.normal(size=27) * 2, [-30.0, 30.0, -7.0, 7.0, 1e-3, -1e-3, 2.5, -2.5, 5.9]])
    x = x.reshape(3, 12).astype(np.float32)
    return {
        f"activation-{name}": record({"class": "Activation", "kwargs": {"activation": name}}, rng, x)
        for name in ACTIVATIONS
    }


def mask_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Give each layer an input with a mask and record the mask of its output (none means: it stops there)."""
    rnn = {"units": 2, "return_sequences": True}
    inner = {"class": "LSTM", "kwargs": rnn}
    dense = {"class": "Dense", "kwargs": {"units": 2}}
    specs: list[dict[str, Any]] = [
        dense,
        inner,
        {"class": "GRU", "kwargs": rnn},
        {"class": "SimpleRNN", "kwargs": rnn},
        {"class": "LSTM", "kwargs": {"units": 2}},
        {"class": "LSTM", "kwargs": dict(rnn, go_backwards=True)},
        {"class": "Bidirectional", "layer": inner},
        {"class": "Bidirectional", "layer": {"class": "GRU", "kwargs": {"units": 2}}},
        {"class": "TimeDistributed", "layer": dense},
        {
            "class": "RNN",
            "cells": [{"class": "LSTMCell", "kwargs": {"units": 2}}] * 2,
            "kwargs": {"return_sequences": True},
        },
        {"class": "Masking"},
        {"class": "Activation", "kwargs": {"activation": "tanh"}},
        {"class": "ReLU"},
        {"class": "Dropout", "kwargs": {"rate": 0.5}},
        {"class": "SpatialDropout1D", "kwargs": {"rate": 0.5}},
        {"class": "GaussianDropout", "kwargs": {"rate": 0.5}},
        {"class": "AlphaDropout", "kwargs": {"rate": 0.5}},
        {"class": "BatchNormalization"},
        {"class": "LayerNormalization"},
        {"class": "Conv1D", "kwargs": {"filters": 2, "kernel_size": 1}},
        {"class": "MaxPooling1D", "kwargs": {"pool_size": 1}},
        {"class": "AveragePooling1D", "kwargs": {"pool_size": 1}},
        {"class": "GlobalMaxPooling1D"},
        {"class": "GlobalAveragePooling1D"},
        {"class": "Flatten"},
        {"class": "Reshape", "kwargs": {"target_shape": [TIMESTEPS, FEATURES]}},
        {"class": "Permute", "kwargs": {"dims": [1, 2]}},
    ]
    several = [
        {"class": "Add"},
        {"class": "Multiply"},
        {"class": "Average"},
        {"class": "Concatenate"},
        {"class": "Concatenate", "kwargs": {"axis": 1}},
    ]
    cases = {}
    x = random_like(rng, [SEQUENCE])[0]
    merged = [(spec, [MASK, second]) for spec in several for second in (MASK[::-1].copy(), None)]
    for number, (spec, masks) in enumerate([(spec, [MASK]) for spec in specs] + merged):
        layer = build_layer(keras.layers, spec, dtype="float64")
        inputs = [tensor(x, gradient=False) for _ in masks]
        for value, mask in zip(inputs, masks, strict=True):
            if mask is not None:
                keras.src.backend.set_keras_mask(value, tensor(mask))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns where a mask ends
            y = layer(inputs if len(inputs) > 1 else inputs[0])
        case = Case({"spec": spec})
        case.put("x", [x] * len(masks))
        case.put("masks", masks)
        mask = keras.src.backend.get_keras_mask(y)
        case.put("mask_out", None if mask is None else mask.numpy())
        cases[f"mask-{number}-{spec['class']}"] = case
    return cases


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(20266)
    save("keras_layers", layer_cases(rng) | activation_cases(rng) | mask_cases(rng))


if __name__ == "__main__":
    main()
