"""No option is accepted and ignored: another value changes what a layer does, or is refused, or is documented so."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import constraints, layers, regularizers
from rnnx.layers import Layer
from rnnx.layers.attention import Attending
from rnnx.layers.merging import Merge
from rnnx.layers.rnn.cell import state_widths

PAGE = (Path(__file__).parents[2] / "docs" / "keras-differences.md").read_text()
RNG = np.random.default_rng(71)
X = RNG.normal(size=(3, 7, 4))
X[1, 2] = 0.25  # a step that can be masked by its value
IMAGE = RNG.normal(size=(3, 7, 5, 4))
FILM = RNG.normal(size=(3, 7, 4, 5, 4))
IDS = RNG.integers(0, 7, (3, 7))
TEXTS = np.array([text.encode() for text in ("b, \u00e9 c", "B d", "\u00e9", "b")])
MASK = np.arange(7) < np.array([7, 3, 5])[:, None]
WITHOUT_EFFECT = {"unroll", "use_cudnn", "implementation", "recompute", "synchronized"}  # on any number; on the page
NOT_THEIRS = {  # said on the page too; an input has nothing to train
    ("Bidirectional", "dtype"), ("TimeDistributed", "dtype"), ("SimpleRNN", "dropout_gates"),
    ("SimpleRNNCell", "dropout_gates"), ("InputLayer", "trainable"), ("SpectralNormalization", "dtype"),
}  # fmt: skip
OF_INNER = ("Bidirectional", "SpectralNormalization", "TimeDistributed", "RNN", "StackedRNNCells")  # whose dtype it is
RECURRENT: dict[str, Any] = {"units": 4, "dropout": 0.3, "recurrent_dropout": 0.3, "seed": 1, "return_sequences": True}
CELL: dict[str, Any] = {"units": 4, "dropout": 0.3, "recurrent_dropout": 0.3, "seed": 1}


def gru(**options: Any) -> Any:
    return layers.GRU(4, return_sequences=True, dtype="float64", **options)


@rnnx.utils.register_keras_serializable("tests")
def tripled(x: Any, scale: float = 3.0) -> Any:
    return scale * x


@rnnx.utils.register_keras_serializable("tests")
def squared(x: Any) -> Any:
    return x * x


BASES: dict[str, dict[str, Any]] = {
    "LSTM": RECURRENT,
    "GRU": RECURRENT,
    "SimpleRNN": RECURRENT,
    "LSTMCell": CELL,
    "GRUCell": CELL,
    "SimpleRNNCell": CELL,
    "RNN": {"cell": "cell", "return_sequences": True},
    "StackedRNNCells": {"cells": "cells"},
    "Bidirectional": {"layer": "layer"},
    "TimeDistributed": {"layer": "dense"},
    "SpectralNormalization": {"layer": "dense"},
    "Activation": {"activation": "tanh"},
    "CategoryEncoding": {"num_tokens": 7},
    "Discretization": {"num_bins": 4},
    **{f"Adaptive{kind}Pooling{rank}D": {"output_size": 3} for kind in ("Average", "Max") for rank in (1, 2, 3)},
    "HashedCrossing": {"num_bins": 5},
    "Hashing": {"num_bins": 5},
    "IntegerLookup": {"vocabulary": [3, 1, 4]},
    "Rescaling": {"scale": 2.0},
    "StringLookup": {"vocabulary": ["b", "\u00e9"]},
    "TextVectorization": {"vocabulary": ["b", "\u00e9"]},
    "AlphaDropout": {"rate": 0.4, "seed": 1},
    "Arithmetic": {"operator": "add"},
    "Concatenate": {"axis": -1},
    **{
        name: {"filters": 4, "kernel_size": 2}
        for name in (
            "Conv1D",
            "Conv2D",
            "SeparableConv1D",
            "SeparableConv2D",
            "Conv1DTranspose",
            "Conv2DTranspose",
            "Conv3D",
            "Conv3DTranspose",
        )  # fmt: skip
    },
    "DepthwiseConv1D": {"kernel_size": 2},
    **{
        name: {
            "filters": 2,
            "kernel_size": 2,
            "dropout": 0.3,
            "recurrent_dropout": 0.3,
            "seed": 1,
            "return_sequences": True,
        }
        for name in ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
    },
    "Attention": {"seed": 1, "dropout": 0.3},
    "AdditiveAttention": {"seed": 1, "dropout": 0.3},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 3, "seed": 1, "dropout": 0.3},
    "GroupedQueryAttention": {
        "head_dim": 3,
        "num_query_heads": 4,
        "num_key_value_heads": 2,
        "seed": 1,
        "dropout": 0.3,
    },
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (7, 4), "bias_axes": "d"},
    "DepthwiseConv2D": {"kernel_size": 2},
    "Dense": {"units": 4},
    "Dropout": {"rate": 0.4, "seed": 1},
    "Embedding": {"input_dim": 7, "output_dim": 4},
    "ReversibleEmbedding": {"input_dim": 7, "output_dim": 4},
    "GaussianDropout": {"rate": 0.4, "seed": 1},
    "Operation": {"function": "softmax", "arguments": {"axis": -1}},
    "Permute": {"dims": (2, 1)},
    "RepeatVector": {"n": 2},
    "Reshape": {"target_shape": (4, 7)},
    "SpatialDropout1D": {"rate": 0.4, "seed": 1},
    "InputLayer": {"shape": (7, 4)},
    "Lambda": {"function": tripled},
    "Dot": {"axes": 2},
    "GaussianNoise": {"stddev": 0.4, "seed": 1},
    "GroupNormalization": {"groups": 1},
    "SpatialDropout2D": {"rate": 0.4, "seed": 1},
    "SpatialDropout3D": {"rate": 0.4, "seed": 1},
}
OTHER: dict[str, Any] = {
     "mask": lambda: lambda x, mask: np.zeros(x.shape[:2], bool),
    "units": 5, "filters": 6, "output_dim": 3, "input_dim": 9, "n": 3, "activation": "relu",
    "recurrent_activation": "tanh",
    "use_bias": False, "unit_forget_bias": False, "dropout": 0.6, "recurrent_dropout": 0.6, "seed": 2, "rate": 0.2,
    "return_sequences": False, "return_state": True, "go_backwards": True, "stateful": True, "unroll": True,
    "zero_output_for_mask": True, "use_cudnn": False, "time_major": True, "recompute": True, "implementation": 1,
    "noise_shape": (1, 1, None), "recurrent_noise_shape": (1, 1, None), "dropout_gates": "shared",
    "recurrent_dropout_mode": "update", "zoneout": 0.5, "recurrent_blocks": 2, "compat": "keras2.3",
    "reset_after": False, "weight_noise": "int8",
    "kernel_size": 3, "strides": 2, "padding": "same", "data_format": "channels_first", "dilation_rate": 2, "groups": 2,
    "pool_size": 3, "output_size": 2, "keepdims": True, "axis": 1, "momentum": 0.5, "epsilon": 0.5, "center": False,
    "scale": False,
    "renorm": True, "synchronized": True, "mask_zero": True, "mask_value": 0.25, "max_value": 0.1,
    "negative_slope": 0.3, "threshold": 0.2, "operator": "subtract", "left": 2.0, "right": 2.0, "merge_mode": "sum",
    "dims": (1, 2), "target_shape": (7, 4, 1), "trainable": False, "name": "another", "dtype": "float32",
    "alpha": 0.4, "shared_axes": [1], "l1": 0.3, "l2": 0.3, "stddev": 0.2, "axes": 1, "normalize": True, "cropping": 2,
    "size": 3, "interpolation": "bilinear",
    "weights": None, "shape": (7, 3), "batch_size": 5, "function": "log_softmax", "arguments": {"axis": 1},
    "max_tokens": 2, "num_oov_indices": 3, "mask_token": "m", "oov_token": "?", "vocabulary": ["c", "b"],
    "idf_weights": [0.5, 0.2], "invert": True, "output_mode": "multi_hot", "pad_to_max_tokens": True, "sparse": True,
    "encoding": "latin-1", "salt": 5, "oov_method": "farmhash", "vocabulary_dtype": "int32", "standardize": None,
    "split": "character", "ngrams": 2, "output_sequence_length": 2, "ragged": True, "num_tokens": 9,
    "bin_boundaries": [0.0], "num_bins": 3, "mean": 0.5, "variance": 0.5, "offset": 0.5,
    "depth_multiplier": 2, "output_padding": 1, "use_scale": True, "score_mode": "concat", "num_heads": 3,
    "key_dim": 2, "value_dim": 2, "output_shape": 5, "attention_axes": 2, "sliding_window": 2, "use_gate": True,
    "head_dim": 2, "num_query_heads": 6, "num_key_value_heads": 4,
    "flash_attention": True, "equation": "abc,bcd->abd", "bias_axes": "bd",
    "power_iterations": 3, "tie_weights": False, "reverse_dtype": "float32", "logit_soft_cap": 0.5,
    "cell": lambda: layers.GRUCell(3, dtype="float64"), "cells": lambda: [layers.GRUCell(3, dtype="float64")],
    "layer": lambda: layers.GRU(3, dtype="float64"),
    "backward_layer": lambda: gru(go_backwards=True, activation="relu"),
}  # fmt: skip
SPECIAL: dict[tuple[str, str], Any] = {
    ("Lambda", "function"): lambda: squared,
    ("Lambda", "arguments"): {"scale": 2.0},
    ("Lambda", "output_shape"): (7, 9),
    ("CategoryEncoding", "output_mode"): "count",
    ("Hashing", "mask_value"): "b",
    ("IntegerLookup", "mask_token"): 9,
    ("IntegerLookup", "oov_token"): -7,
    ("IntegerLookup", "vocabulary"): [4, 9],
    ("Rescaling", "scale"): 3.0,
    ("InputLayer", "dtype"): "int32",
    **{(f"{kind}Pooling{rank}D", "strides"): 1 for kind in ("Max", "Average") for rank in (1, 2, 3)},
    ("SimpleRNN", "compat"): "keras1",
    ("SimpleRNNCell", "compat"): "keras1",
    ("LSTM", "compat"): "keras2.3",
    ("Embedding", "trainable"): False,
    ("ReversibleEmbedding", "reverse_dtype"): "float32",
    ("LeakyReLU", "negative_slope"): 0.1,
    ("AdditiveAttention", "use_scale"): False,
    ("EinsumDense", "output_shape"): (7, 5),
    ("ZeroPadding1D", "padding"): 3,
    ("ZeroPadding2D", "padding"): 3,
    ("ZeroPadding3D", "padding"): 3,
    ("TimeDistributed", "layer"): lambda: layers.Dense(3, dtype="float64"),
    ("SpectralNormalization", "layer"): lambda: layers.Dense(3, dtype="float64"),
}
BEHIND: dict[tuple[str, str], dict[str, Any]] = {  # what an option needs to have a meaning
    ("Cropping2D", "data_format"): {"cropping": (2, 1)},
    ("Conv1DTranspose", "output_padding"): {"strides": 2},
    ("Conv2DTranspose", "output_padding"): {"strides": 2},
    ("Conv3DTranspose", "output_padding"): {"strides": 2},
    ("StringLookup", "oov_token"): {"invert": True},
    ("IntegerLookup", "oov_token"): {"invert": True},
    ("IntegerLookup", "vocabulary_dtype"): {"invert": True},
    ("StringLookup", "salt"): {"num_oov_indices": 3},
    ("IntegerLookup", "salt"): {"num_oov_indices": 3, "oov_method": "farmhash"},
    ("IntegerLookup", "oov_method"): {"num_oov_indices": 3},
    ("ReLU", "threshold"): {"negative_slope": 0.1},
    ("SimpleRNN", "compat"): {"activation": "hard_sigmoid"},
    ("SimpleRNNCell", "compat"): {"activation": "hard_sigmoid"},
}
INNER: dict[str, Any] = {
    "cell": lambda: layers.LSTMCell(4, dtype="float64"),
    "cells": lambda: [layers.LSTMCell(4, dtype="float64")],
    "layer": gru,
    "dense": lambda: layers.Dense(4, dtype="float64"),
}


def other_value(kind: str, option: str) -> Any:
    if option.endswith("_initializer"):
        return "ones" if "gamma" not in option and "variance" not in option else "zeros"
    if option.endswith("_regularizer"):
        return regularizers.L2(0.3)
    if option.endswith("_constraint"):
        return constraints.MaxNorm(0.01)
    value = SPECIAL.get((kind, option), OTHER[option])
    return value() if callable(value) else value


def options_of(kind: type) -> list[str]:
    """The names that the constructors of a class and its bases have."""
    found: dict[str, None] = {}
    for base in kind.__mro__:
        if "__init__" in vars(base) and base is not object:
            parameters = inspect.signature(base.__init__).parameters.values()
            found |= dict.fromkeys(p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
    return [name for name in found if name != "self"]


def flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [part for inner in value for part in flat(inner)]
    return [] if value is None else [value]


def traces(kind: str, arguments: dict[str, Any], initial: bool) -> list[Any]:
    """All that can be seen of a layer with these arguments, but for its configuration."""
    arguments = {name: INNER[value]() if isinstance(value, str) and value in INNER else value
                 for name, value in arguments.items()}  # fmt: skip
    cls = getattr(layers, kind)
    if "dtype" not in arguments and kind not in OF_INNER:
        arguments["dtype"] = "float64"
    layer = cls(**arguments)
    x: Any = (
        IDS
        if kind in ("Embedding", "ReversibleEmbedding")
        else X[:, 0]
        if "Cell" in kind or kind == "RepeatVector"
        else X
    )
    x = IMAGE if "2D" in kind or kind == "ConvLSTM1D" else x
    x = FILM if kind == "ConvLSTM2D" or "3D" in kind else x
    x = FILM[..., None].repeat(3, axis=5) if kind == "ConvLSTM3D" else x
    if issubclass(cls, (Merge, Attending)):
        takes_one = kind == "Arithmetic" and (arguments.get("left") or arguments.get("right"))
        x = x if takes_one else [x, 2 * x[::-1]]
    if kind in ("StringLookup", "TextVectorization", "Hashing"):
        x = TEXTS if kind == "TextVectorization" else TEXTS[:, None]
    if kind == "HashedCrossing":
        x = [TEXTS[:, None], np.arange(len(TEXTS))[:, None]]
    if kind in ("CategoryEncoding", "IntegerLookup") or arguments.get("invert") is True and kind == "StringLookup":
        x = IDS
    if kind in ("Normalization", "Discretization"):
        layer.adapt(X**3)
    if "Cell" in kind:
        layer.build(x.shape)
    else:
        layer(x)
    rng = np.random.default_rng(5)
    if not initial:
        layer.set_weights([np.abs(rng.normal(size=w.shape)) * 0.3 + 0.2 for w in layer.weights])
    seen: list[Any] = [layer.weights and [w.value.copy() for w in layer.weights], layer.dtype.name]
    seen += [[w.constraint(w.value) for w in layer.weights if w.constraint is not None], layer.losses]
    seen += [None if layer.given_input_shape is None else list(layer.given_input_shape), layer.given_batch_size]
    seen += [layer.trainable, layer.weight_is_trained(), getattr(layer, "batch_shape", None)]
    if "name" in arguments:
        seen.append(layer.name)
    for call in ({}, {}, {"training": True}):
        if "Cell" in kind:
            start = [np.ones((3, width)) for width in state_widths(layer)]
            given: Any = [start] if kind == "StackedRNNCells" else start
            seen.append(layer(x, given, **call))
            continue
        y = layer(x, **call)
        seen += [y, [getattr(part, "mask", None) for part in flat(y)]]
        if not isinstance(x, list) and kind not in ("Softmax", "RepeatVector", "Permute"):
            masked = layer(x, mask=MASK[: len(x)], **call) if arguments.get("data_format") != "channels_first" else y
            seen.append(masked)
        if kind == "ReversibleEmbedding":
            seen.append(layer(y, reverse=True))
        if layer.activity_regularizer is not None:
            seen.append(layer.activity_regularizer(flat(y)[0]))
    if "Cell" not in kind:
        y, pullback = layer.vjp(x, training=True)
        slopes = [np.cos(np.arange(part.size)).reshape(part.shape).astype(part.dtype) for part in flat(y)]
        grads = pullback(slopes if isinstance(y, list) else slopes[0])
        seen += [grads.dx, grads.dweights, [w.value.copy() for w in layer.weights]]
    return seen


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


KINDS = [
    name
    for name in layers.__all__
    if isinstance(getattr(layers, name), type)
    and issubclass(getattr(layers, name), Layer)
    and name not in ("Layer", "Wrapper")
    and getattr(layers, name).__name__ == name  # not the same layer under another name
]


@pytest.mark.parametrize("kind", KINDS)
def test_no_option_is_ignored(kind: str) -> None:
    base = BASES.get(kind, {})
    silent: list[str] = []
    for option in options_of(getattr(layers, kind)):
        needed = {**base, **BEHIND.get((kind, option), {})}
        initial = option.endswith("_initializer") or option in ("unit_forget_bias", "weights")
        value = other_value(kind, option)
        plain = traces(kind, needed, initial)
        try:
            changed = traces(kind, {**needed, option: value}, initial)
        except (ValueError, TypeError) as error:
            word = option if option != "data_format" else "channels_last"
            assert word in str(error) or word.replace("_", "-") in str(error), f"{option}: {error}"
            continue
        if not initial:
            assert equal(plain, traces(kind, needed, initial)), f"{kind} is not the same twice"
        if equal(plain, changed) and option not in WITHOUT_EFFECT and (kind, option) not in NOT_THEIRS:
            silent.append(option)
    assert not silent, f"{kind} accepts and ignores {', '.join(silent)}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_is_in_the_configuration(kind: str) -> None:
    base = {name: INNER[value]() if isinstance(value, str) and value in INNER else value
            for name, value in BASES.get(kind, {}).items()}  # fmt: skip
    cls = getattr(layers, kind)
    for option in options_of(cls):
        if option in ("weights", "use_cudnn", "synchronized") or (kind, option) in NOT_THEIRS:
            continue  # given once, or of no matter
        value = other_value(kind, option)
        if option == "dtype" and kind not in ("InputLayer", "RNN", "StackedRNNCells"):
            value = "float64"  # these take the other one of what is inside
        needed = {**base, **BEHIND.get((kind, option), {})}
        try:
            before, after = cls(**needed).get_config(), cls(**{**needed, option: value}).get_config()
        except (ValueError, TypeError):
            continue
        names = {"name"} if option != "name" else set()
        differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - names
        assert differ, f"{kind}: `{option}` is not in the configuration"


def test_options_without_effect_are_documented() -> None:
    assert [word for word in sorted(WITHOUT_EFFECT) if f"`{word}`" not in PAGE] == []
