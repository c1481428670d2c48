"""Objects as plain data and back, in the words of ``keras.saving``: for the configurations of one's own classes."""

from __future__ import annotations

import importlib
from types import FunctionType
from typing import Any

import numpy as np

from rnnx._config import custom_object_scope, custom_objects, lookup_custom, name_of_custom
from rnnx.layers.checks import dtype_of
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.registry import LAYER_CLASSES
from rnnx.layers.weight import Weight

HOMES = (
    "layers", "models", "losses", "metrics", "optimizers", "optimizers.schedules", "initializers", "regularizers",
    "constraints",
)  # fmt: skip
OF_FUNCTIONS = ("activations", "losses", "metrics", "ops")
DEEPEST = 100  # objects inside each other


def serialize_keras_object(obj: Any) -> Any:
    """Plain data that say what would make an object again.

    Parameters
    ----------
    obj : object
        Something with ``get_config``, a function that is known by its name, numbers, strings, arrays, or lists, tuples
        and dicts of these.

    Raises
    ------
    ValueError
        If it is a lambda: nothing but its code would make it again.
    TypeError
        If nothing says what would make it again.

    Examples
    --------
    >>> import rnnx
    >>> data = rnnx.saving.serialize_keras_object(rnnx.layers.Dense(3, activation="relu"))
    >>> data["class_name"], data["config"]["units"]
    ('Dense', 3)
    >>> rnnx.saving.deserialize_keras_object(data).units
    3
    """
    if obj is None or isinstance(obj, (str, bool, int, float)):
        return obj.item() if isinstance(obj, np.generic) else obj
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode("latin-1")}}
    if isinstance(obj, Weight):
        obj = obj.value
    if isinstance(obj, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    if isinstance(obj, (list, tuple)):
        return type(obj)([serialize_keras_object(part) for part in obj])
    if isinstance(obj, dict):
        return {key: serialize_keras_object(part) for key, part in obj.items()}
    if isinstance(obj, np.dtype):
        return obj.name
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, slice):
        ends = {name: serialize_keras_object(getattr(obj, name)) for name in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": ends}
    if isinstance(obj, (type, FunctionType)):
        return _named(obj)
    if isinstance(obj, SymbolicTensor):
        raise TypeError(f"serialize_keras_object: a symbolic tensor is a part of a graph, got {obj!r}; give its model")
    if hasattr(obj, "get_config"):
        cls = type(obj)
        return {
            "module": _module(cls),
            "class_name": cls.__name__,
            "config": serialize_keras_object(obj.get_config()),
            "registered_name": None if _is_ours(cls) else name_of_custom(cls) or cls.__name__,
        }
    if callable(obj) and getattr(obj, "name", None):  # an activation of this package
        return {"module": "builtins", "class_name": "function", "config": obj.name, "registered_name": "function"}
    raise TypeError(f"serialize_keras_object: {type(obj).__name__} has no configuration: give it `get_config`")


def _named(obj: Any) -> dict[str, Any]:
    """A function or class by its name."""
    name = name_of_custom(obj) or obj.__name__
    if obj.__name__ == "<lambda>":
        raise ValueError(
            "serialize_keras_object: a lambda is nothing but code, which no configuration holds (arbitrary code "
            "execution); write a function with a name and register it: rnnx.utils.register_keras_serializable()"
        )
    kind = "function" if isinstance(obj, FunctionType) else "class"
    return {"module": "builtins", "class_name": kind, "config": name, "registered_name": kind}


def _is_ours(cls: Any) -> bool:
    return bool(cls.__module__.split(".")[0] == "rnnx")


def _module(cls: Any) -> str:
    """The public module of a class."""
    for home in HOMES if _is_ours(cls) else ():
        if getattr(importlib.import_module(f"rnnx.{home}"), cls.__name__, None) is cls:
            return f"rnnx.{home}"
    return str(cls.__module__)


def deserialize_keras_object(config: Any, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True) -> Any:
    """The object of what `serialize_keras_object` made, or of what Keras 3 made of an object that is here too.

    Parameters
    ----------
    config : plain data
    custom_objects : dict, optional
        Classes and functions of one's own by their names.
    safe_mode : bool
        Accepted for Keras: no configuration holds code here.

    Raises
    ------
    TypeError
        If a part is not of the type that it needs.
    ValueError
        If a class or function is not known, or it would be code.
    """
    with custom_object_scope(custom_objects or {}):
        return _deserialized(config, 0)


def _deserialized(config: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"deserialize_keras_object: more than {DEEPEST} objects inside each other")
    if isinstance(config, (list, tuple)):
        return type(config)([_deserialized(part, depth + 1) for part in config])
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: _deserialized(part, depth + 1) for key, part in config.items()}
    name, inner = config["class_name"], config["config"]
    if name in ("function", "class"):
        if not isinstance(inner, str):
            raise TypeError(f"deserialize_keras_object: the name of a {name} must be a string, got {repr(inner)[:100]}")
        return _function(inner) if name == "function" else _class({**config, "class_name": inner.split(">")[-1]}, inner)
    if name == "__lambda__":
        raise ValueError(
            "deserialize_keras_object: a lambda is nothing but code, which is never run (arbitrary code execution); "
            "give the function in `custom_objects`"
        )
    if not isinstance(inner, dict):
        raise TypeError(f"deserialize_keras_object: `config` of {name!r} must be a dict, got {type(inner).__name__}")
    if isinstance(name, str) and name.startswith("__"):
        return _builtin(name, inner, depth)
    cls = _class(config, config.get("registered_name"))
    if not hasattr(cls, "from_config"):
        raise TypeError(f"deserialize_keras_object: class {name!r} has no `from_config`")
    return cls.from_config(inner)


def _builtin(name: str, inner: dict[str, Any], depth: int) -> Any:
    """What Python or NumPy has."""
    if name == "__ellipsis__":
        return Ellipsis
    if name == "__slice__":
        return slice(*(_deserialized(inner.get(end), depth + 1) for end in ("start", "stop", "step")))
    value = inner.get("value")
    if name == "__bytes__" and isinstance(value, str):
        return value.encode("latin-1")
    if name == "__tuple__" and isinstance(value, list):
        return tuple(_deserialized(part, depth + 1) for part in value)
    if name in ("__numpy__", "__tensor__"):
        dtype = dtype_of(inner.get("dtype"))
        if dtype is None or dtype.kind not in "fiub":
            raise TypeError(f"deserialize_keras_object: an array of numbers is needed, got {repr(inner)[:100]}")
        return np.asarray(value, dtype)
    raise TypeError(f"deserialize_keras_object: unknown class {name[:100]!r} of config {repr(inner)[:100]}")


def _function(name: str) -> Any:
    try:
        return lookup_custom(name)
    except ValueError:
        for home in OF_FUNCTIONS:
            found = getattr(importlib.import_module(f"rnnx.{home}"), name, None)
            if callable(found) and not isinstance(found, type):
                return found
    raise ValueError(f"deserialize_keras_object: unknown function {name[:100]!r}; give it in `custom_objects`")


def _class(config: dict[str, Any], registered: Any) -> Any:
    """The class that a configuration names."""
    name = config["class_name"]
    if not isinstance(name, str):
        raise TypeError(f"deserialize_keras_object: `class_name` must be a string, got {repr(name)[:100]}")
    known = custom_objects()
    for given in (registered, name):
        if isinstance(given, str) and given in known:
            return known[given]
    said = str(config.get("module") or "")
    homes = sorted(HOMES, key=lambda home: home not in said)  # the one that the module names comes first
    for home in homes if not said or said.split(".")[0] in ("keras", "rnnx", "builtins") else ():
        module = importlib.import_module(f"rnnx.{home}")
        if name in getattr(module, "__all__", ()) and isinstance(getattr(module, name), type):
            return getattr(module, name)
    if name in LAYER_CLASSES:
        return LAYER_CLASSES[name]
    raise ValueError(f"deserialize_keras_object: unknown class {name[:100]!r}; give it in `custom_objects`")
