"""How a model of Keras was compiled, in the words of rnnx."""

from __future__ import annotations

import inspect
import json
from typing import Any

from rnnx import losses, metrics, optimizers
from rnnx._nested import leaves
from rnnx.formats._compiled import BY_NAME, Custom, each_of
from rnnx.formats._limits import LONGEST_TRAINING
from rnnx.formats.keras._values import name_of
from rnnx.losses.loss import DTYPES

OLD_WORDS = {"lr": "learning_rate", "beta_1": "beta_1", "beta_2": "beta_2"}
OF_SCALE = ("initial_scale", "dynamic_growth_steps")  # of a LossScaleOptimizer
LEFT_OUT = ("decay",)  # of an optimizer, with a note
NO_CHANGE: dict[str, Any] = {  # arguments that only Keras writes, and the values with which they change nothing
    "class_id": None, "top_k": None, "thresholds": None, "curve": "ROC", "multi_label": False, "num_labels": None,
    "label_weights": None, "from_logits": False, "axis": -1, "label_smoothing": 0, "ignore_class": None,
    "summation_method": "interpolation", "reduction": "sum_over_batch_size",
}  # fmt: skip
NEVER_A_CHANGE = ("fn", "dtype")
FAULTS = (AttributeError, KeyError, TypeError, ValueError)


def compile_like(model: Any, training: dict[str, Any], custom: Custom) -> list[str]:
    """Compile a model as its file says.

    The state of the optimizer is not taken over.

    Returns
    -------
    list of str
        What could not be honoured; the model is not compiled if the optimizer or the loss is among it.
    """
    notes = custom.notes
    if (length := len(json.dumps(training))) > LONGEST_TRAINING:
        return [f"not compiled: how it was has {length:,} characters, the most is {LONGEST_TRAINING:,}"]
    try:
        value = training.get("optimizer_config") or training.get("optimizer")
        optimizer = custom.get(value, lambda value: _optimizer(value, custom))
        loss = each_of(training.get("loss"), lambda value: custom.get(value, _loss))
    except FAULTS as error:
        return [f"not compiled: {error}"]
    chosen = {}
    for word in ("metrics", "weighted_metrics"):
        found = custom.metrics(training.get(word), _metric, FAULTS)
        chosen[word] = (
            found if _by_output(found, model) else [one for one in leaves(found) if one is not None]
        ) or None
    weights = training.get("loss_weights")
    try:
        model.compile(optimizer, loss, **chosen, loss_weights=weights or None)
    except FAULTS as error:
        return [*notes, f"not compiled: {error}"]
    return notes


def _by_output(metrics: Any, model: Any) -> bool:
    """Whether there are metrics for each of several outputs."""
    if not model.built or not model.several_outputs:
        return False
    return isinstance(metrics, dict) or (isinstance(metrics, list) and len(metrics) == len(model.outputs))


def _optimizer(value: Any, custom: Custom) -> Any:
    name, arguments = name_of(value)
    if name is None:
        return "rmsprop"
    if str(name).split(">")[-1] == "LossScaleOptimizer":
        inner = arguments.get("inner_optimizer")
        if isinstance(inner, dict) and str(inner.get("class_name")).split(">")[-1] != "LossScaleOptimizer":
            own: dict[str, Any] = {word: arguments[word] for word in OF_SCALE if word in arguments}
            return optimizers.LossScaleOptimizer(_optimizer(inner, custom), **own)
    kind = type(optimizers.get(str(name).split(">")[-1]))
    of_base = inspect.signature(optimizers.Optimizer).parameters  # which come as **kwargs
    known = {**of_base, **inspect.signature(kind).parameters}
    kept = {}
    for word, own in arguments.items():
        word = OLD_WORDS.get(word, word)
        if isinstance(own, dict) and word == "learning_rate":
            try:
                kept[word] = custom.get(own, _schedule)
            except FAULTS:
                name = own.get("config") if own.get("class_name") == BY_NAME else own.get("class_name")
                custom.notes.append(f"the schedule {str(name)[:100]!r} of the learning rate is left out")
        elif word in LEFT_OUT and word not in known and own:
            custom.notes.append(f"the optimizer's {word}={own!s:.30} is left out")
        elif word in known and not isinstance(own, dict):
            kept[word] = own
    return kind(**kept)


def _schedule(value: Any) -> Any:
    name, arguments = name_of(value)
    return optimizers.schedules.deserialize({"class_name": name, "config": arguments})


def _loss(value: Any) -> Any:
    name, arguments = name_of(value)
    return losses.loss_of(_known(name, arguments) if not isinstance(name, str) or arguments else name)


def _known(name: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what only Keras 3 writes."""
    left_out = ("fn", "reduction") if arguments.get("reduction") in (None, "auto") else ("fn",)
    kept = {k: _dtype(v) if k == "dtype" else v for k, v in arguments.items() if k not in left_out}
    return {"class_name": name, "config": kept}


def _dtype(value: Any) -> Any:
    """The name of a dtype, from a policy too; None for one that NumPy does not have."""
    if isinstance(value, dict):
        value = value.get("config", {}).get("name")
    return value if value in DTYPES else None


def _metric(value: Any) -> Any:
    name, arguments = name_of(value)
    if name == "MeanMetricWrapper" and isinstance(arguments.get("fn"), str):
        made = metrics.get(arguments["fn"])
        made.name = str(arguments.get("name") or made.name)[:100]
        return made
    if not isinstance(name, str) or not arguments:
        return metrics.get(name)
    if isinstance(value, dict) and value.get("module") == "keras.losses" or not hasattr(metrics, name):
        return metrics.LossMetric(_loss(value), name=arguments.get("name"))
    known = inspect.signature(getattr(metrics, name)).parameters
    kept = {}
    for word, own in arguments.items():
        own = _dtype(own) if word == "dtype" and isinstance(own, dict) else own
        neutral = word in NEVER_A_CHANGE or (word in NO_CHANGE and own == NO_CHANGE[word])
        if word in known or not (neutral or isinstance(own, dict)):
            kept[word] = own
    return metrics.get({"class_name": name, "config": kept})
