"""How a model of Keras was compiled, in the words of rnnx."""

from __future__ import annotations

import inspect
import json
from typing import Any

from rnnx import losses, metrics, optimizers
from rnnx.formats._limits import LONGEST_TRAINING
from rnnx.formats.keras._values import name_of

OLD_WORDS = {"lr": "learning_rate", "beta_1": "beta_1", "beta_2": "beta_2"}


def compile_like(model: Any, training: dict[str, Any]) -> list[str]:
    """Compile a model as its file says.

    The state of the optimizer is not taken over.

    Returns
    -------
    list of str
        What could not be honoured; the model is not compiled if the optimizer or the loss is among it.
    """
    notes: list[str] = []
    if (length := len(json.dumps(training))) > LONGEST_TRAINING:
        return [f"not compiled: how it was has {length:,} characters, the most is {LONGEST_TRAINING:,}"]
    try:
        optimizer = _optimizer(training.get("optimizer_config") or training.get("optimizer"), notes)
        loss = _each(training.get("loss"), losses.get)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"not compiled: {error}"]
    chosen: list[Any] = []
    for metric in _flat(training.get("metrics")):
        try:
            chosen.append(_metric(metric))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            notes.append(f"a metric is left out: {error}")
    weights = training.get("loss_weights")
    try:
        model.compile(optimizer, loss, metrics=chosen or None, loss_weights=weights or None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [*notes, f"not compiled: {error}"]
    return notes


def _optimizer(value: Any, notes: list[str]) -> Any:
    name, arguments = name_of(value)
    if name is None:
        return "rmsprop"
    kind = type(optimizers.get(str(name).split(">")[-1]))
    known = inspect.signature(kind).parameters
    kept = {}
    for word, own in arguments.items():
        word = OLD_WORDS.get(word, word)
        if isinstance(own, dict) and word == "learning_rate":
            notes.append(f"the schedule {str(own.get('class_name'))[:100]!r} of the learning rate is left out")
        elif word in known and not isinstance(own, dict):
            kept[word] = own
        elif word == "decay" and own:
            notes.append(f"the optimizer's decay={own!s:.30} is left out")
    return kind(**kept)


def _each(value: Any, look_up: Any) -> Any:
    """Losses by output."""
    if isinstance(value, list):
        return [_each(part, look_up) for part in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _each(part, look_up) for key, part in value.items()}
    if value is None:
        return None
    name, arguments = name_of(value)
    return look_up(_known(name, arguments)) if not isinstance(name, str) or arguments else look_up(name)


def _known(name: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what only Keras 3 writes."""
    left_out = ("fn", "dtype", "reduction") if arguments.get("reduction") in (None, "auto") else ("fn", "dtype")
    return {"class_name": name, "config": {k: v for k, v in arguments.items() if k not in left_out}}


def _metric(value: Any) -> Any:
    name, arguments = name_of(value)
    if name in ("accuracy", "acc"):  # which one, the shapes say
        return name
    if name == "MeanMetricWrapper" and isinstance(arguments.get("fn"), str):
        return metrics.get(arguments["fn"])
    kept = {k: v for k, v in arguments.items() if k not in ("fn", "dtype", "name") and not isinstance(v, dict)}
    return metrics.get({"class_name": name, "config": kept} if kept else name)


def _flat(value: Any) -> list[Any]:
    """Metrics in a list of them, or of lists for each output."""
    if isinstance(value, list):
        return [inner for part in value for inner in _flat(part)]
    if isinstance(value, dict) and "class_name" not in value:
        return [inner for part in value.values() for inner in _flat(part)]
    return [] if value is None else [value]
