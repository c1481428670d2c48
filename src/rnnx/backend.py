"""What scripts take from ``keras.backend``; functions of arrays and tensors are those of `rnnx.ops`."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from rnnx.layers.graph import SymbolicTensor
from rnnx.models import Model
from rnnx.random import normal as random_normal
from rnnx.random import truncated_normal
from rnnx.random import uniform as random_uniform
from rnnx.utils import clear_session

__all__ = [
    "backend", "clear_session", "count_params", "epsilon", "eval", "floatx", "function", "get_uid", "get_value",
    "image_data_format", "int_shape", "is_keras_tensor", "ndim", "random_normal", "random_uniform", "set_epsilon",
    "set_floatx", "set_image_data_format", "set_value", "truncated_normal",
]  # fmt: skip

_uids: Counter[str] = Counter()

RENAMED = {  # words of Keras 2 and the names of these functions in `rnnx.ops`
    "permute_dimensions": "transpose", "pow": "power", "reverse": "flip", "variable": "array",
    "constant": "array", "gather": "take", "repeat_elements": "repeat",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Functions of `rnnx.ops`, loaded when they are first used."""
    if not name.startswith("_"):
        try:
            return getattr(importlib.import_module("rnnx.ops"), RENAMED.get(name, name))
        except (AttributeError, ModuleNotFoundError):
            pass
    raise AttributeError(f"module 'rnnx.backend' has no attribute {name!r}; rnnx.ops has the functions of arrays")


def function(inputs: Any, outputs: Any) -> Callable[[Any], list[Array]]:
    """A function from values of symbolic inputs to a list of the values of the outputs.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor or list of SymbolicTensor
    """
    model = Model(inputs, outputs)

    def call(values: Any) -> list[Array]:
        found = model(values)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    return call


def get_value(x: Any) -> Any:
    """The value of a weight, or an array or number as it is."""
    value = getattr(x, "value", x)
    return float(value) if np.ndim(value) == 0 else np.asarray(value)


eval = get_value


def set_value(x: Any, value: Any) -> None:
    """Assign a weight.

    Raises
    ------
    TypeError
        If it cannot be assigned.
    """
    if not hasattr(x, "assign"):
        raise TypeError(
            f"set_value: a weight is needed, got {type(x).__name__}; write model.optimizer.learning_rate = value"
        )
    x.assign(value)


def count_params(x: Any) -> int:
    """Numbers in a weight."""
    return int(np.size(get_value(x)))


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The shape; unknown sizes are None."""
    return tuple(x.shape)


def ndim(x: Any) -> int:
    """The number of axes."""
    return len(x.shape)


def is_keras_tensor(x: Any) -> bool:
    """Whether this is a symbolic tensor."""
    return isinstance(x, SymbolicTensor)


def get_uid(prefix: str = "") -> int:
    """A number that goes up with every call of this prefix, from 1."""
    _uids[prefix] += 1
    return _uids[prefix]
