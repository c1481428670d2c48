"""Objects that are known by name: rebuilt from a configuration, or loaded from an upper floor when first wanted."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from rnnx._assigned import Assigned


class Configurable(Assigned):
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


def did_you_mean(names: Iterable[str], known: Iterable[str]) -> str:
    """The end of an error about unknown names: those that they may stand for, if any is like them."""
    words = sorted(known)
    close = [found[0] for name in names if (found := difflib.get_close_matches(name, words, 1))]
    return f"; did you mean {', '.join(map(repr, close))}?" if close else ""


def given_path(who: str, path: Any, filepath: Any) -> Any:
    """The path of a file by its name here or by that of Keras."""
    if (path is None) == (filepath is None):
        raise TypeError(f"{who}: give the path of a file, as `path` or as `filepath`")
    return filepath if path is None else path


def path_of(who: str, path: Any, word: str = "path") -> Any:
    """A path as it is; what is none is refused, a model in its place with what to do.

    Raises
    ------
    TypeError
    """
    if isinstance(path, (str, bytes, os.PathLike)):
        return path
    what = " (a model or layer: save it, and give the path of that file)" if hasattr(path, "weights") else ""
    raise TypeError(f"{who}: `{word}` must be a path, got {what_is(path)}{what}")


def what_is(thing: Any) -> str:
    """What stands in the place of an object, in an error: its class, or that it is a class itself."""
    if isinstance(thing, type):
        return f"type: {thing.__name__} is a class, call it: {thing.__name__}(...)"
    return type(thing).__name__


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
    """What JSON can hold of an object with ``get_config``; None stays None. ``deserialize`` makes the object again.

    Parameters
    ----------
    thing : object or None

    Returns
    -------
    dict or None
        ``class_name``, and ``config`` in Python's numbers, strings, lists and dicts.

    Raises
    ------
    TypeError
        If the object cannot say what would make it again.

    Examples
    --------
    >>> from rnnx import regularizers
    >>> regularizers.serialize(regularizers.L2(0.5))
    {'class_name': 'L2', 'config': {'l2': 0.5}}
    """
    if thing is None:
        return None
    if not hasattr(thing, "get_config"):
        raise TypeError(f"{thing!r} has no configuration: give it `get_config`, or use a class that has it")
    return {"class_name": type(thing).__name__, "config": to_builtin(thing.get_config())}


def lookup(kind: str, table: dict[str, Any], identifier: Any, custom: bool = False) -> Any:
    """The object of a name, a configuration, a class, or an object of one's own; None stays None.

    Parameters
    ----------
    kind : str
        What is looked for, for error messages.
    table : dict
        Classes by their names; snake-case aliases are accepted by the caller's table.
    identifier : str, dict, class, object or None
    custom : bool
        Names of users' classes and functions too: before the table what the `custom_object_scope` at hand has, after it
        what is registered.

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
        if custom:
            given = (in_scope() or {}).get(name)
            if given is None and name not in table:
                given = find_custom(name)
            if given is not None:
                return made_of_custom(given, config if isinstance(identifier, dict) else None)
        if name not in table:
            raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(sorted(table))}{did_you_mean([name], table)}")
        found: Any = table[name]
        return found(**config)
    if isinstance(name, type):
        return name()
    if callable(name) or hasattr(name, "get_config"):
        return name
    raise ValueError(f"{kind}: expected a name, a configuration or an object, got {type(identifier).__name__}")


CUSTOM: dict[str, Any] = {}  # classes and functions of users that were registered, by "package>name"
_scope: ContextVar[dict[str, Any] | None] = ContextVar("custom_objects", default=None)
in_scope = _scope.get  # what the `custom_object_scope` at hand has, by name; None outside of one


def custom_objects() -> dict[str, Any]:
    """What users have registered, and what the `custom_object_scope` at hand has, by their names."""
    return {**CUSTOM, **(_scope.get() or {})}


def named_objects() -> dict[str, Any]:
    """What is known by a name without a package: in the scope at hand, or put into `get_custom_objects`."""
    return {name: thing for name, thing in custom_objects().items() if ">" not in name}


def lookup_custom(name: str) -> Any:
    """The class or function of a user of this name, with or without its package.

    Raises
    ------
    ValueError
        If none is known.
    """
    known = custom_objects()
    short = {each.split(">")[-1]: thing for each, thing in known.items()}
    if name not in known and name.split(">")[-1] not in short:
        raise ValueError(f"unknown function or class {name[:200]!r}; give custom_objects={{{name[:200]!r}: ...}}")
    return known[name] if name in known else short[name.split(">")[-1]]


def find_custom(*names: Any) -> Any:
    """The class or function of a user of the first of these names that is known; None if none is."""
    for name in names:
        if isinstance(name, str) and (found := get_registered_object(name)) is not None:
            return found
    return None


def made_of_custom(thing: Any, config: Any) -> Any:
    """A function of a user, or an object of a class of theirs, of a configuration or of the name alone."""
    if not isinstance(thing, type):
        return thing
    if not isinstance(config, dict):
        return thing()
    return thing.from_config(dict(config)) if hasattr(thing, "from_config") else thing(**config)


def name_of_custom(thing: Any) -> str | None:
    """The name under which a user has registered a class or function; None if it was not."""
    return next((name for name, known in custom_objects().items() if known is thing), None)


@contextmanager
def custom_object_scope(*objects: dict[str, Any]) -> Iterator[None]:
    """Classes and functions of one's own by the names that files have for them, inside a ``with`` block.

    Parameters
    ----------
    *objects : dict

    Examples
    --------
    >>> import rnnx
    >>> def half(x):
    ...     return x / 2
    >>> with rnnx.utils.custom_object_scope({"half": half}):
    ...     rnnx.utils.get_registered_object("half") is half
    True
    """
    token = _scope.set({**(_scope.get() or {}), **{name: thing for part in objects for name, thing in part.items()}})
    try:
        yield
    finally:
        _scope.reset(token)


CustomObjectScope = custom_object_scope


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """A decorator that makes a class or function of one's own known by its name in files.

    Parameters
    ----------
    package : str
    name : str, optional
        That of the class or function if it is not given.

    Examples
    --------
    >>> import rnnx
    >>> @rnnx.utils.register_keras_serializable("mine")
    ... class Half(rnnx.layers.Layer):
    ...     def call(self, x):
    ...         return x / 2
    >>> rnnx.utils.get_registered_name(Half)
    'mine>Half'
    """

    def register(thing: Any) -> Any:
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(f"class {thing.__name__}: a class that is registered needs `get_config`")
        CUSTOM[f"{package}>{name or thing.__name__}"] = thing
        return thing

    return register


def get_registered_name(thing: Any) -> str:
    """The name under which a class or function is registered; its own name if it is not."""
    return name_of_custom(thing) or str(thing.__name__)


def get_registered_object(
    name: str, custom_objects: dict[str, Any] | None = None, module_objects: dict[str, Any] | None = None
) -> Any:
    """The class or function of a name; None if none is known."""
    with custom_object_scope(module_objects or {}, custom_objects or {}):
        try:
            return lookup_custom(name)
        except ValueError:
            return None


def get_custom_objects() -> dict[str, Any]:
    """All that is registered, by its names; what is put there is registered."""
    return CUSTOM


def refuse_overrides(cls: type, names: dict[str, str]) -> None:
    """Refuse a class that defines what nobody calls, and say what to do instead.

    Parameters
    ----------
    cls : type
    names : dict
        What to do, by the names of methods.

    Raises
    ------
    TypeError
        If it defines one of them.
    """
    for name in names.keys() & vars(cls).keys() if cls.__module__.split(".")[0] != "rnnx" else ():
        raise TypeError(f"class {cls.__name__}: `{name}` would never be called; {names[name]}")


ON_DEMAND = {  # what is asked for on one floor and lives on another, or is seldom used
    "Activation": "rnnx.layers.activation",
    "declare_call": "rnnx.layers.call_signature",
    "TracedCall": "rnnx.layers.traced_call",
    "TracedLoss": "rnnx.losses.traced_loss",
    "reduced_symbols": "rnnx.losses.traced_loss",
    "remember_arguments": "rnnx.layers.constructor",
    "penalty_gradient": "rnnx.layers.penalty",
    "quantization_report": "rnnx.quantization",
    "quantize": "rnnx.quantization",
    "Stream": "rnnx.streaming",
    "MonteCarloStream": "rnnx.streaming",
    "with_mask": "rnnx.layers.given_mask",
    "load_model": "rnnx.saving",
    "Model": "rnnx.models",
    "Sequential": "rnnx.models",
}


def on_demand(name: str) -> Any:
    """Something of an upper floor that a layer offers; its module is loaded when it is first wanted."""
    return getattr(importlib.import_module(ON_DEMAND[name]), name)
