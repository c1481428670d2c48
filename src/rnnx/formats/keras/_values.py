"""Values in configurations of Keras: activations, initializers, penalties, types, in the words of rnnx."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from rnnx import activations, constraints, initializers, regularizers
from rnnx._config import find_custom, made_of_custom
from rnnx.formats.keras._dialect import Dialect
from rnnx.saving import FormatError

KERAS1_PENALTIES = ("WeightRegularizer", "L1L2Regularizer", "L1L2", "ActivityRegularizer")
KERAS1_CONSTRAINTS = {"maxnorm": "MaxNorm", "nonneg": "NonNeg", "unitnorm": "UnitNorm"}
HALF_TYPES = {"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}


def name_of(value: Any) -> tuple[Any, dict[str, Any]]:
    """Name and arguments of an object in a configuration."""
    if isinstance(value, dict):
        arguments = value.get("config")
        name = value.get("class_name")
        if name in ("function", "str") and isinstance(arguments, str):  # Keras 3 on a plain function
            return arguments, {}
        if name is None and isinstance(value.get("name"), str):  # Keras 1
            return value["name"], {k: v for k, v in value.items() if k != "name"}
        return name, dict(arguments) if isinstance(arguments, dict) else {}
    return value, {}


def activation(value: Any, dialect: Dialect, where: str) -> Any:
    """The name of an activation.

    Raises
    ------
    FormatError
        If it is none that rnnx has.
    """
    if value is None:
        return None
    name, arguments = name_of(value)
    if name in ("ReLU", "LeakyReLU", "ELU", "Softmax") and not arguments:
        name = {"LeakyReLU": "leaky_relu"}.get(name, name.lower())
    if name == "hard_sigmoid" and dialect.generation < 3:
        return "hard_sigmoid_keras2"
    try:
        if not isinstance(name, str) or arguments:
            raise ValueError
        activations.get(name)
    except ValueError as error:
        raise FormatError(f"{where}: the activation {str(name)[:200]!r} is not supported") from error
    return name


def initializer(value: Any) -> Any:
    """An initializer; a plain one for what is unknown, because the file has the values."""
    return _object(initializers, value) or "zeros"


def regularizer(value: Any) -> Any:
    """A regularizer; None if it is unknown."""
    name, arguments = name_of(value)
    if name in KERAS1_PENALTIES and not isinstance(arguments.get("l1", 0.0), dict):
        l1, l2 = (float(arguments.get(word) or 0.0) for word in ("l1", "l2"))
        return regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None
    return _object(regularizers, value)


def constraint(value: Any) -> Any:
    """A constraint; None if it is unknown."""
    name, arguments = name_of(value)
    if isinstance(name, str) and name.lower() in KERAS1_CONSTRAINTS:
        arguments = {{"m": "max_value"}.get(word, word): own for word, own in arguments.items()}
        value = {"class_name": KERAS1_CONSTRAINTS[name.lower()], "config": arguments}
    return _object(constraints, value)


def _object(module: Any, value: Any) -> Any:
    """An object of a module of rnnx, of which arguments that it does not know are left out, or of the user."""
    if value is None:
        return None
    name, arguments = name_of(value)
    if not isinstance(name, str):
        return None
    own = find_custom(value.get("registered_name") if isinstance(value, dict) else None, name)
    if own is not None:
        return module.get(made_of_custom(own, arguments))
    try:
        kind, known = _class_of(module, name)
        return kind(**{word: own for word, own in arguments.items() if word in known and not isinstance(own, dict)})
    except (TypeError, ValueError):
        return None


@functools.lru_cache(256)
def _class_of(module: Any, name: str) -> tuple[Any, frozenset[str]]:
    """The class of a name in a module of rnnx, and the names of its arguments."""
    kind = type(module.get(name))
    return kind, frozenset(inspect.signature(kind).parameters)


def dtype(value: Any, where: str) -> tuple[str, bool]:
    """The type that a layer computes in, and whether it is another one than the file says.

    Raises
    ------
    FormatError
        If it is no type of numbers.
    """
    if isinstance(value, dict):
        arguments = value.get("config")
        value = arguments.get("name") if isinstance(arguments, dict) else None
    if value in (None, "float32", "float64"):
        return value or "float32", False
    if value in HALF_TYPES:
        return "float32", True
    raise FormatError(f"{where}: the type {str(value)[:100]!r} is not supported")
