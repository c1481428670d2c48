"""The configuration of layers of one's own without ``get_config``: the arguments that their constructors were given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from rnnx import regularizers
from rnnx._assigned import engine_base
from rnnx._config import lookup_custom, name_of_custom, serialize
from rnnx._nested import CONSTANTS
from rnnx.layers.layer import Layer
from rnnx.layers.registry import LAYER_CLASSES, layer_config, layer_from_config

COMMON = ("name", "trainable", "dtype", "quantization_mode", "activity_regularizer")  # what every layer says


def remember_arguments(cls: Any) -> None:
    """Let a class remember what its constructor is given, if nothing else says its configuration."""
    of_user = cls.__mro__[: cls.__mro__.index(engine_base(cls))]
    if any("get_config" in vars(kind) and vars(kind)["get_config"] is not get_config for kind in of_user):
        return
    cls.__init__ = _recorded(vars(cls)["__init__"])
    cls.get_config = get_config
    if not any("from_config" in vars(kind) for kind in of_user):
        cls.from_config = classmethod(from_config)


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that remembers its arguments; the outermost one counts."""

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_init_arguments" not in vars(self):
            vars(self)["_init_arguments"] = (args, kwargs)
        init(self, *args, **kwargs)

    return recording


def _signature(cls: Any) -> inspect.Signature:
    return inspect.signature(cls.__init__)


def get_config(self: Any) -> dict[str, Any]:
    """Arguments that make the layer again: those that its constructor was given."""
    args, kwargs = vars(self).get("_init_arguments", ((), {}))
    signature = _signature(type(self))
    given = dict(signature.bind(self, *args, **kwargs).arguments)
    given.pop(next(iter(signature.parameters)))
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update(given.pop(parameter.name, {}))
        elif parameter.kind is parameter.VAR_POSITIONAL and given.pop(parameter.name, None):
            raise ValueError(f"layer {self.name!r} ({type(self).__name__}) takes *args: define `get_config`")
    config = {name: _plain(self, name, value) for name, value in given.items()}
    return {**config, **Layer.get_config(self)}


def _plain(self: Any, name: str, value: Any) -> Any:
    """An argument as plain data."""
    if isinstance(value, CONSTANTS):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(self, name, part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(self, name, part) for key, part in value.items()}
    if isinstance(value, Layer):
        return layer_config(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    registered = name_of_custom(value)
    if registered is not None and callable(value):
        return {"class_name": "function", "config": registered}
    if hasattr(value, "get_config"):
        return serialize(value)
    raise ValueError(
        f"layer {self.name!r} ({type(self).__name__}): its argument `{name}` ({type(value).__name__}) cannot be "
        "written down; define `get_config`, and `from_config` that undoes it"
    )


def from_config(cls: Any, config: dict[str, Any]) -> Any:
    """The layer of a configuration."""
    parameters = _signature(cls).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    config = {name: _made(value) for name, value in config.items()}
    common = {name: config.pop(name) for name in COMMON if name in config and name not in parameters and not anything}
    layer = cls(**config)
    if common.get("name"):
        layer.name = common["name"]
    if common.get("trainable") is False:
        layer.trainable = False
    if common.get("activity_regularizer") is not None:
        layer.activity_regularizer = regularizers.get(common["activity_regularizer"])
    if common.get("quantization_mode"):
        layer.quantization_mode = common["quantization_mode"]
    return layer


def _made(value: Any) -> Any:
    """An argument of plain data: layers and functions that it describes are made."""
    if isinstance(value, list):
        return [_made(part) for part in value]
    if not isinstance(value, dict):
        return value
    name = value.get("class_name")
    if name == "function":
        return lookup_custom(str(value.get("config")))
    if name in LAYER_CLASSES and isinstance(value.get("config"), dict):
        return layer_from_config(value)
    return value if "class_name" in value else {key: _made(part) for key, part in value.items()}
