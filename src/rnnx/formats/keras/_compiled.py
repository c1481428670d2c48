"""How a model was compiled, in the words of Keras 3: of ``.keras`` files, and of the older ``.h5``."""

from __future__ import annotations

import inspect
from typing import Any

from rnnx import losses, metrics, optimizers
from rnnx.formats import _compiled
from rnnx.formats._compiled import BY_NAME

NAMES_NOT_IN_KERAS = (  # of metrics and losses that it has
    "BinaryFocalCrossentropy", "CTC", "CategoricalFocalCrossentropy", "CategoricalGeneralizedCrossEntropy", "Circle",
    "Dice", "Huber", "KLD", "LogCosh", "Tversky", "binary_focal_crossentropy", "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy", "circle", "ctc", "dice", "fbeta_score", "huber", "kld",
    "kullback_leibler_divergence", "log_cosh", "logcosh", "rmse", "sparse_top_kcategorical_accuracy",
    "top_kcategorical_accuracy", "tversky",
)  # fmt: skip
NOT_IN_KERAS = ("FunctionMetric", "LossMetric", "MeanMetricWrapper", "Perplexity")


def compile_config(model: Any) -> dict[str, Any] | None:
    """The ``compile_config`` of a ``.keras`` file; None if there is none that a reader takes."""
    found: dict[str, Any] | None = _compiled.description(model, _optimizer, _loss, _metric)
    return found


def training_config(config: dict[str, Any]) -> dict[str, Any]:
    """The ``training_config`` of a ``.h5`` file, from a `compile_config`.

    It keeps the modules, which Keras leaves out there: without them a loss among the metrics is a metric of its name.
    """
    return {
        "optimizer_config": config["optimizer"],
        **{word: own for word, own in config.items() if word != "optimizer"},
    }


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
    if isinstance(optimizer, optimizers.LossScaleOptimizer):
        return {**found, "config": {**config, "inner_optimizer": _optimizer(optimizer.inner_optimizer)}}
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


def _metric(metric: Any) -> Any:
    if isinstance(metric, str):
        if metric not in NAMES_NOT_IN_KERAS:
            return metric
        name, metric = metric, metrics.get(metric)
        metric.name = name
    of_loss = type(metric) is metrics.LossMetric
    loss = metric if isinstance(metric, losses.Loss) else metric.loss if of_loss else None
    if loss is None:
        return _entry(metric, metrics, "keras.metrics")
    found = _loss(loss)
    name = metric.name if of_loss else metrics.LossMetric(loss).name
    kind = getattr(metrics, found["class_name"], None)
    if found["registered_name"] is not None or kind is None:
        return {**found, "config": {**found["config"], "name": name}} if isinstance(found["config"], dict) else found
    known = inspect.signature(kind).parameters  # where .h5 files have a metric of this name, they mean that
    kept = {word: value for word, value in found["config"].items() if word in known}
    return {**found, "module": "keras.metrics", "config": {**kept, "name": name}}
