"""What the version that wrote weights took for granted, held against the layers that the weights go to.

Weights alone do not say which function was behind them. Up to Keras 2.2 the gates of LSTM and GRU had the hard_sigmoid
clip(0.2 x + 0.5) unless told otherwise, and before Keras 3 that word meant this function everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rnnx import activations
from rnnx.formats.keras import _values
from rnnx.formats.keras._container import Contents
from rnnx.formats.keras._dialect import Dialect, dialect_of
from rnnx.formats.keras._weights import Filling
from rnnx.layers import Embedding, Masking
from rnnx.layers.layer import walk
from rnnx.layers.rnn.bidirectional import REPEATING, Bidirectional
from rnnx.layers.rnn.gru import GRUWeights
from rnnx.layers.rnn.lstm import LSTMWeights
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.models import Model
from rnnx.saving import FormatError

OLD = "hard_sigmoid_keras2"
GATED = re.compile(r"(CuDNN)?(LSTM|GRU)(V2)?(Cell)?(V2)?")
CERTAIN = ("reset_after", "activation")  # whichever TensorFlow it was
SHOWN = 5  # layers of a message


@dataclass
class Change:
    """One argument of a layer that means something else in the file.

    Attributes
    ----------
    layer : layer
    argument : str
    value : object
        What it has to be.
    silent : bool
        No output outside of training depends on it.
    words : str
        What is written in a program for it, if not the argument and its value.
    """

    layer: Any
    argument: str
    value: Any
    silent: bool = False
    words: str = ""

    def made(self) -> Any:
        """The value as the layer keeps it."""
        return activations.get(self.value) if self.argument.endswith("activation") else self.value

    def described(self) -> str:
        """The argument and the value as they are written in a program."""
        return self.words or f"{self.argument}={self.value!r}"


def changes_of(model: Any, fillings: list[Filling], found: Contents) -> list[Change]:
    """What would have to be different in a model for the weights to mean what they meant."""
    dialect = _dialect(found)
    if dialect is None:
        return []
    made: list[Change] = []
    said = _said(model, found, dialect)
    fused = {id(part.layer) for part in fillings if part.cudnn}
    biases = {id(part.layer): part.arrays[2].ndim for part in fillings if len(part.arrays) == 3}
    old = dialect.profile in ("keras1", "keras2.2")
    newer = "tf" in (dialect.version or "") and any(
        isinstance(part.layer, GRUWeights) and biases.get(id(part.layer)) == 2 and not part.cudnn for part in fillings
    )
    for layer in dict.fromkeys(part for part in walk(model) if not isinstance(part, Model)):
        if isinstance(layer, (LSTMWeights, GRUWeights)):
            have = layer.recurrent_activation.name
            wanted = "sigmoid" if id(layer) in fused else said.get(id(layer))
            if wanted is None and old and not newer and have in ("sigmoid", "hard_sigmoid"):
                wanted = OLD
            if wanted not in (None, have):
                made.append(Change(layer, "recurrent_activation", wanted))
        if isinstance(layer, GRUWeights) and layer.use_bias and biases.get(id(layer), 0) == 2 - layer.reset_after:
            made.append(Change(layer, "reset_after", not layer.reset_after))
        if dialect.generation < 3 and getattr(getattr(layer, "activation", None), "name", "") == "hard_sigmoid":
            made.append(Change(layer, "activation", OLD))
        if isinstance(layer, RecurrentWeights) and layer.compat == "keras3" and dialect.profile != "keras3":
            made.append(Change(layer, "compat", dialect.profile, silent=True))
    return made + _of_padding(model, dialect)


def _of_padding(model: Any, dialect: Dialect) -> list[Change]:
    """Outputs at padding of both directions, where the version repeated them."""
    parts = list(walk(model))
    if dialect.profile not in REPEATING or not any(
        isinstance(part, Masking) or (isinstance(part, Embedding) and part.mask_zero) for part in parts
    ):
        return []
    ends = [
        end for part in parts if isinstance(part, Bidirectional) for end in (part.forward_layer, part.backward_layer)
    ]
    return [
        Change(end, "zero_output_for_mask", False, words=f"compat={dialect.profile!r}")
        for end in dict.fromkeys(ends)
        if getattr(end, "zero_output_for_mask", False)
    ]


def _dialect(found: Contents) -> Dialect | None:
    """The generation of a file; None if it does not say it or its layers are today's."""
    if found.version is None and found.config is None:
        if not found.legacy:
            return None
        return Dialect(2, "Keras", None, "keras2.2", "no keras_version, so Keras 2.0 or before")
    dialect = dialect_of(found.version, found.config)
    return None if dialect.profile == "keras3" and found.config is None else dialect


def is_unsure(found: Contents) -> bool:
    """Whether TensorFlow 1 and 2.0, whose layers differ, would have written the same words."""
    return found.config is None and bool(re.match(r"2\.2\.\d+-tf", found.version or ""))


# ---- What a configuration in the file says ---------------------------------------------------------------------------


def _said(model: Any, found: Contents, dialect: Dialect) -> dict[int, str]:
    """The activation of the gates by the id of a layer, if the file has a configuration with the same layers."""
    if found.config is None:
        return {}
    told = [own for own in map(list, map(_gates, _entries(found.config))) if own]
    own = [[leaf for leaf in walk(top) if isinstance(leaf, (LSTMWeights, GRUWeights))] for top in _tops(model)]
    mine = [leaves for leaves in own if leaves]
    if len(told) != len(mine):
        return {}
    made: dict[int, str] = {}
    for configs, leaves in zip(told, mine, strict=True):
        if len(configs) == 1:
            configs = configs * len(leaves)  # those of the second direction are those of the first
        for (kind, config), leaf in zip(configs, leaves, strict=False):
            default = OLD if dialect.layer_profile(config) in ("keras1", "keras2.2") else "sigmoid"
            value = config.get("recurrent_activation", config.get("inner_activation", default))
            try:
                name = "sigmoid" if kind.startswith("CuDNN") else _values.activation(value, dialect, "")
            except FormatError:
                continue
            made[id(leaf)] = name or "linear"
    return made


def _tops(model: Any) -> Iterator[Any]:
    """The layers of a model and of models inside it."""
    for layer in model.layers:
        if isinstance(layer, Model):
            yield from _tops(layer)
        else:
            yield layer


def _entries(config: Any) -> Iterator[Any]:
    """The layers of a configuration, likewise."""
    own = config.get("config") if isinstance(config, dict) else None
    inner = own.get("layers") if isinstance(own, dict) else own
    if isinstance(inner, list):
        for entry in inner:
            yield from _entries(entry)
    else:
        yield config


def _gates(entry: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Class and configuration of each LSTM and GRU in a layer."""
    if isinstance(entry, list):
        for part in entry:
            yield from _gates(part)
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        return
    kind, own = str(entry.get("class_name")).split(">")[-1], entry["config"]
    if GATED.fullmatch(kind):
        yield kind, own
    else:
        for word in ("layer", "backward_layer", "cell", "cells"):
            yield from _gates(own.get(word))


# ---- Saying it, and doing it -----------------------------------------------------------------------------------------


def warning_of(changes: list[Change], found: Contents) -> str | None:
    """What somebody is told whose layers differ; None if no output does."""
    loud: dict[str, list[Change]] = {}
    for change in changes:
        if not change.silent and change.argument != "reset_after":  # whose shapes are refused
            loud.setdefault(change.described(), []).append(change)
    if not loud:
        return None
    written = f"Keras {found.version}" if found.version else "a Keras that did not write its version, so 2.0 or before,"
    doubt = (
        " if TensorFlow 1 wrote it (TensorFlow 2.0 says the same and is as the layers are)" if is_unsure(found) else ""
    )
    parts = []
    for words, own in loud.items():
        names = ", ".join(repr(change.layer.name) for change in own[:SHOWN])
        more = f" and {len(own) - SHOWN:,} more" if len(own) > SHOWN else ""
        parts.append(f"{words} for {names}{more}")
    way = "" if is_unsure(found) else "load_weights(..., compat='auto') sets it, "
    return (
        f"the weights were written by {written} and are for {'; '.join(parts)}{doubt}; outputs differ as the layers "
        f"are: make them so, {way}compat='keep' is silent"
    )


def apply(changes: list[Change], found: Contents) -> tuple[list[tuple[Any, str, Any]], list[Change]]:
    """Make the changes that are certain: what is needed to take them back, and those that were not made."""
    certain = [change for change in changes if not is_unsure(found) or change.argument in CERTAIN]
    before: list[tuple[Any, str, Any]] = []
    for change in certain:
        before.append((change.layer, change.argument, getattr(change.layer, change.argument)))
        _put(change.layer, change.argument, change.made())
        if change.argument == "reset_after":
            _reshape(change.layer)
    return before, [change for change in changes if change not in certain]


def _put(layer: Any, argument: str, value: Any) -> None:
    """Give an argument another value, also of a layer that has its weights: they are those of a file."""
    vars(layer)[argument] = value
    layer.note_change(argument)


def take_back(before: list[tuple[Any, str, Any]]) -> None:
    """Undo `apply`."""
    for layer, argument, value in reversed(before):
        _put(layer, argument, value)
        if argument == "reset_after":
            _reshape(layer)


def _reshape(layer: Any) -> None:
    """Give the bias of a GRU the shape that its equations need: both halves, or their sum."""
    bias = layer._weights[2]
    value = bias.array
    if layer.reset_after and value.ndim == 1:
        value = value[None] * ((1,), (0,))
    elif not layer.reset_after and value.ndim == 2:
        value = value.sum(axis=0)
    bias.replace(value.astype(bias.dtype))
