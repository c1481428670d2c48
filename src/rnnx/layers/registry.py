"""Layer classes by their names, and configurations of layers, which name them."""

from __future__ import annotations

from typing import Any

from rnnx._assigned import is_of_user
from rnnx._config import custom_objects, in_scope, name_of_custom, on_demand, to_builtin
from rnnx.layers.limits import DEEPEST, budget

CONSTRUCTING: set[Any] = set()  # functions of `from_config` that only call the class
MODELS = ("Model", "Sequential")  # of an upper floor, which may not have been loaded yet
LAYER_CLASSES: dict[str, Any] = {}  # every layer class by its `class_name`, those of users included


def register(cls: Any) -> None:
    """Put a class into `LAYER_CLASSES`; names of rnnx stay rnnx', and a user's class of such a name gets another."""
    name = cls.__name__
    known = LAYER_CLASSES.get(name)
    if known is not None and is_of_user(cls) != is_of_user(known):
        own = cls if is_of_user(cls) else known
        own.class_name = f"{own.__module__}>{name}"
        LAYER_CLASSES[own.class_name] = own
        if own is cls:
            return
    cls.class_name = name
    LAYER_CLASSES[name] = cls


def layer_config(layer: Any) -> dict[str, Any]:
    """Class name and configuration of a layer or model, in plain Python values."""
    entry = {"class_name": layer.class_name, "config": to_builtin(layer.get_config())}
    if is_of_user(type(layer)) and ">" in (registered := name_of_custom(type(layer)) or ""):
        entry["registered_name"] = registered  # two packages may have classes of one name
    if layer.built_by_call and (built_for := vars(layer).get("_built_for")) is not None:
        entry["built_for"] = to_builtin(built_for)  # of a model whose graph is not in its configuration
    return entry


def _registered(entry: dict[str, Any], name: str) -> Any:
    """The class that a user has registered under the name in an entry, with its package; None if there is none."""
    registered = entry.get("registered_name")
    cls = custom_objects().get(registered) if isinstance(registered, str) else None
    return cls if isinstance(cls, type) and vars(cls).get("class_name") == name else None


def layer_from_config(entry: dict[str, Any]) -> Any:
    """The layer or model of a `layer_config`.

    Raises
    ------
    ValueError
        If there is no class of this name, or a file asks for more than is read.
    """
    name = entry.get("class_name")
    cls: Any = None
    if isinstance(name, str):
        given = (in_scope() or {}).get(name)
        if isinstance(given, type):
            cls = given
        else:
            cls = (_registered(entry, name) if "registered_name" in entry else None) or LAYER_CLASSES.get(name)
        if cls is None and name in MODELS:
            cls = on_demand(name)
    if cls is None:
        raise ValueError(f"unknown layer class {name!r}; a class of one's own must be defined before it is loaded")
    left = budget()
    if left is not None:
        if left.depth >= DEEPEST:
            raise ValueError(f"more than {DEEPEST} layers inside each other")
        left.depth += 1
    try:
        if getattr(cls.from_config, "__func__", None) in CONSTRUCTING:
            layer = cls(**entry["config"])
        else:
            layer = cls.from_config(entry["config"])
    finally:
        if left is not None:
            left.depth -= 1
    if layer.built_by_call and (built_for := entry.get("built_for")) is not None:
        layer.build_again(built_for)
    return layer
