"""How a model was compiled, as plain data and back: what every format of models keeps of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

from rnnx import losses, metrics
from rnnx._config import get_registered_object, made_of_custom, to_builtin
from rnnx._nested import is_config, mapped
from rnnx.formats._limits import LONGEST_TRAINING, level_of_caller
from rnnx.saving import FormatError

BY_NAME = "function"  # the class of what a file has the name of only, as in Keras
CHOSEN_LATER = ("accuracy", "acc")  # which one, the shapes say
Describe = Callable[[Any], Any]


def described(thing: Any) -> Any:
    """Class and arguments of an optimizer, loss or metric; the name alone of what cannot say its arguments.

    What is wrong with a ``get_config`` of somebody's own must not cost them a training that has just ended.
    """
    if isinstance(thing, str):
        return thing
    if isinstance(thing, type):
        return {"class_name": thing.__name__, "config": {}}
    config = _config_of(thing)
    if config is not None:
        found = {"class_name": type(thing).__name__, "config": config}
        own = type(thing).__module__.split(".")[0] == "rnnx"
        return found if own else {**found, "registered_name": found["class_name"]}
    return by_name(getattr(thing, "function", thing))


def described_optimizer(optimizer: Any) -> Any:
    """`described`, with the name of a function that gives the learning rate."""
    found = described(optimizer)
    if found["class_name"] == BY_NAME and callable(rate := getattr(optimizer, "_rate", None)):
        config = _config_of(optimizer, learning_rate=by_name(rate))
        return found if config is None else {"class_name": type(optimizer).__name__, "config": config}
    return found


def _config_of(thing: Any, **instead: Any) -> Any:
    """The arguments of a thing as plain data, some of them replaced; None if it cannot say them."""
    if not hasattr(thing, "get_config"):
        return None
    try:
        config = to_builtin({**thing.get_config(), **instead})
        json.dumps(config)
        return config
    except Exception:  # noqa: BLE001
        return None


def described_metric(metric: Any) -> Any:
    """`described`; of a loss that is a metric, as one."""
    loss = metric if isinstance(metric, losses.Loss) else metric.loss if type(metric) is metrics.LossMetric else None
    if loss is None or "registered_name" in (found := described(loss)):
        return described(metric) if loss is None else found
    return described(metrics.LossMetric(loss, name=None if loss is metric else metric.name))


def by_name(thing: Any) -> dict[str, Any]:
    """The name of a function, or of the class of an object."""
    return {"class_name": BY_NAME, "config": getattr(thing, "__name__", None) or type(thing).__name__}


def each_of(value: Any, make: Callable[[Any], Any]) -> Any:
    """What is made of one thing, or of each of those in lists and dicts, by outputs; None stays None."""
    return mapped(lambda thing: None if thing is None else make(thing), value, is_config)


def _each(value: Any, describe: Describe) -> Any:
    return each_of(value, lambda thing: thing if isinstance(thing, dict) else describe(thing))


def says_compiled(model: Any, path: Any, include_optimizer: bool | None) -> bool:
    """Whether a file is to say how its model was compiled; if nobody asks, that of a compiled model does.

    Raises
    ------
    FormatError
        If it is asked for, and the model was not compiled.
    """
    compiled = getattr(model, "optimizer", None) is not None
    if include_optimizer and not compiled:
        raise FormatError(f"{path}: include_optimizer=True, but the model was not compiled")
    return compiled and include_optimizer is not False


def description(
    model: Any,
    optimizer: Describe = described_optimizer,
    loss: Describe = described,
    metric: Describe = described_metric,
) -> Any:
    """What ``compile`` was given, or None if that cannot be written, or would be more than a reader takes."""
    if model._more_losses:
        names = ", ".join(repr(part.name) for part in model._more_losses)
        warnings.warn(
            f"{model.name}: saved without how it was compiled, as a file has one loss for each output; {names} is "
            "beside them: call compile again after load_model",
            UserWarning,
            stacklevel=level_of_caller(),
        )
        return None
    found = {
        "optimizer": optimizer(model.optimizer),
        "loss": _each(model.loss, loss),
        "loss_weights": to_builtin(model.loss_weights),
        "metrics": _each(model._metric_choices, metric),
        "weighted_metrics": _each(model._weighted_choices, metric),
    }
    if (length := len(json.dumps(found))) <= LONGEST_TRAINING:
        return found
    warnings.warn(
        f"{model.name}: saved without how it was compiled, whose description has {length:,} characters; the most is "
        f"{LONGEST_TRAINING:,}",
        UserWarning,
        stacklevel=level_of_caller(),
    )
    return None


class Unknown(ValueError):
    """Something of the user that a file has the name of, and ``custom_objects`` has not."""

    def __init__(self, kind: str, name: str):
        super().__init__(f"unknown {kind} {name[:200]!r}; give custom_objects={{{name[:200]!r}: ...}}")


class Custom:
    """Things of the user by the names that a file has for them.

    Parameters
    ----------
    objects : dict, optional
    any_name : bool
        Whether any name that is not known may be one of the user: the file does not say whose they are.

    Attributes
    ----------
    notes : list of str
        What could not be honoured.

    Notes
    -----
    What is not among ``objects`` may be registered: see `rnnx.saving.register_keras_serializable`.
    """

    def __init__(self, objects: dict[str, Any] | None = None, any_name: bool = False):
        self.any_name = any_name
        self.objects = {name.split(">")[-1]: thing for name, thing in (objects or {}).items()}
        self.notes: list[str] = []

    def get(self, value: Any, known: Callable[[Any], Any]) -> Any:
        """The user's thing of this name, made with the arguments that the file has, else what ``known`` makes of it.

        Raises
        ------
        Unknown
            If it must be one of the user.
        """
        name, arguments = (value.get("class_name"), value.get("config")) if isinstance(value, dict) else (value, None)
        only_name = name == BY_NAME and isinstance(arguments, str)
        if only_name:
            name, value, arguments = arguments, arguments, None
        short = name.split(">")[-1] if isinstance(name, str) else ""
        found = self.objects.get(short)
        if found is None:
            if isinstance(value, dict) and value.get("registered_name") and not _is_of_keras(value):
                if (registered := get_registered_object(short)) is None:  # never one of rnnx that has the same name
                    raise Unknown("class", str(name))
                return made_of_custom(registered, arguments)
            try:
                return known(value)
            except ValueError as error:
                if only_name and (registered := get_registered_object(short)) is not None:
                    return registered
                if only_name or (self.any_name and str(error).startswith("unknown ")):
                    raise Unknown("function" if only_name else "class or function", str(name)) from error
                raise
        return made_of_custom(found, arguments)

    def metrics(self, value: Any, known: Callable[[Any], Any], errors: tuple[type[Exception], ...]) -> Any:
        """The metrics in lists and dicts, without those that are not known; these are noted. Names stay names."""
        if isinstance(value, (list, tuple)):
            found = [self.metrics(part, known, errors) for part in value]
            return [one for one, part in zip(found, value, strict=True) if one is not None or part is None]
        if isinstance(value, dict) and "class_name" not in value:
            return {name: self.metrics(part, known, errors) for name, part in value.items()}
        if value is None or (isinstance(value, str) and value in CHOSEN_LATER):
            return value
        try:
            found = self.get(value, known)
        except errors as error:
            self.notes.append(f"a metric is left out: {error}")
            return None
        return value if isinstance(value, str) and value not in self.objects else found


def _is_of_keras(value: dict[str, Any]) -> bool:
    return str(value.get("module") or "").split(".")[0] in ("keras", "builtins", "tf_keras", "tensorflow")
