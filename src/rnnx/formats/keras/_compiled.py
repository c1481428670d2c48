"""How a model was compiled, in the words of Keras 3: of ``.keras`` files, and of the older ``.h5``."""

from __future__ import annotations

from typing import Any

from rnnx import losses, metrics, optimizers
from rnnx.formats import _compiled
from rnnx.formats._compiled import BY_NAME

NOT_IN_KERAS = ("FunctionMetric", "LossMetric", "Perplexity")


def compile_config(model: Any) -> dict[str, Any] | None:
    """The ``compile_config`` of a ``.keras`` file; None if there is none that a reader takes."""
    found: dict[str, Any] | None = _compiled.description(model, _optimizer, _loss, _metric)
    return found


def training_config(config: dict[str, Any]) -> dict[str, Any]:
    """The ``training_config`` of a ``.h5`` file, from a `compile_config`: no modules, functions by their names."""
    old: dict[str, Any] = _older(config)
    return {"optimizer_config": old.pop("optimizer"), **old}


def _older(value: Any) -> Any:
    if isinstance(value, list):
        return [_older(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == BY_NAME:
        return value["config"]
    if "class_name" in value:  # what is inside of its configuration has its module here too
        return {"class_name": value["class_name"], "config": value["config"]}
    return {name: _older(part) for name, part in value.items()}


def _entry(thing: Any, module: Any, where: str) -> dict[str, Any]:
    """The description of a thing of a module, which is there in Keras as well, or of one of the user."""
    found = _compiled.described(thing)
    name = found["class_name"]
    if name == BY_NAME:
        return {"module": "builtins", **found, "registered_name": found["config"]}
    kind = thing if isinstance(thing, type) else type(thing)
    if name not in NOT_IN_KERAS and getattr(module, name, None) is kind:
        return {"module": where, **found, "registered_name": None}
    return {"module": None, **found, "registered_name": name}


def _optimizer(optimizer: Any) -> dict[str, Any]:
    found = _entry(optimizer, optimizers, "keras.optimizers")
    rate = getattr(optimizer, "_rate", None)
    if found["class_name"] == BY_NAME and callable(rate):
        found = {**_compiled.described_optimizer(optimizer), "module": "keras.optimizers", "registered_name": None}
    config = found["config"]
    if not isinstance(config, dict) or found["registered_name"] is not None:
        return found
    config = dict(config)
    if found["class_name"] == "Nadam":
        config.pop("amsgrad", None)
    of_rate = config["learning_rate"]
    if not isinstance(of_rate, dict):
        config["learning_rate"] = float(of_rate)
    elif of_rate["class_name"] == BY_NAME:
        config["learning_rate"] = {"module": "builtins", **of_rate, "registered_name": of_rate["config"]}
    else:
        config["learning_rate"] = _entry(rate, optimizers.schedules, "keras.optimizers.schedules")
    return {**found, "config": config}


def _loss(loss: Any) -> dict[str, Any]:
    found = _entry(loss, losses, "keras.losses")
    name = getattr(loss, "name", None)
    return (
        {**found, "config": {**found["config"], "name": name}} if name and isinstance(found["config"], dict) else found
    )


def _metric(metric: Any) -> dict[str, Any]:
    if isinstance(metric, losses.Loss):
        return _loss(metric)
    if type(metric) is metrics.LossMetric:
        found = _loss(metric.loss)
        return {**found, "config": {**found["config"], "name": metric.name}}
    return _entry(metric, metrics, "keras.metrics")
