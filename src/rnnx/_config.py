"""Objects that are known by name: rebuilt from a configuration, or loaded from an upper floor when first wanted."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np


class Configurable:
    """Something with ``get_config`` and ``from_config``; equal configurations make equal objects."""

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the object again."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The object of a configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def accepted(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    """What the constructor of a class takes of a configuration; a class of one's own sets the rest itself."""
    parameters = inspect.signature(kind).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return config
    known = {p.name for p in parameters}
    return {name: value for name, value in config.items() if name in known}


def to_builtin(value: Any) -> Any:
    """The same configuration with Python numbers and lists in place of NumPy's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: to_builtin(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_builtin(part) for part in value)
    return value


def serialize(thing: Any) -> Any:
    """A JSON-able description of a configurable object; None stays None.

    Raises
    ------
    TypeError
        If the object cannot say what would make it again.
    """
    if thing is None:
        return None
    if not hasattr(thing, "get_config"):
        raise TypeError(f"{thing!r} has no configuration: give it `get_config`, or use a class that has it")
    return {"class_name": type(thing).__name__, "config": to_builtin(thing.get_config())}


def lookup(kind: str, table: dict[str, Any], identifier: Any) -> Any:
    """The object of a name, a configuration, a class, or an object of one's own; None stays None.

    Parameters
    ----------
    kind : str
        What is looked for, for error messages.
    table : dict
        Classes by their names; snake-case aliases are accepted by the caller's table.
    identifier : str, dict, class, object or None

    Raises
    ------
    ValueError
        If there is nothing of this name.
    """
    if identifier is None:
        return None
    config: dict[str, Any] = {}
    name: Any = identifier
    if isinstance(identifier, dict):
        name, config = identifier.get("class_name"), identifier.get("config") or {}
    if isinstance(name, str):
        if name not in table:
            raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(sorted(table))}")
        found: Any = table[name]
        return found(**config)
    if isinstance(name, type):
        return name()
    if callable(name) or hasattr(name, "get_config"):
        return name
    raise ValueError(f"{kind}: expected a name, a configuration or an object, got {type(identifier).__name__}")


ON_DEMAND = {  # what is asked for on one floor and lives on another, or is seldom used
    "quantization_report": "rnnx.quantization",
    "quantize": "rnnx.quantization",
    "Stream": "rnnx.streaming",
    "load_model": "rnnx.saving",
}


def on_demand(name: str) -> Any:
    """Something of an upper floor that a layer offers; its module is loaded when it is first wanted."""
    return getattr(importlib.import_module(ON_DEMAND[name]), name)
