"""What scripts take from ``keras.backend``; functions of arrays and tensors are those of `rnnx.ops`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import ops
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
from rnnx.layers.shaping import RepeatVector
from rnnx.models import Model
from rnnx.random import dropout, truncated_normal
from rnnx.random import normal as random_normal
from rnnx.random import uniform as random_uniform
from rnnx.utils import clear_session

__all__ = [
    "argmax", "argmin", "backend", "clear_session", "concatenate", "count_params", "ctc_decode", "cumsum", "dropout",
    "epsilon", "eval", "expand_dims", "floatx", "function", "gather", "get_uid", "get_value", "image_data_format",
    "int_shape", "is_keras_tensor", "l2_normalize", "ndim", "random_normal", "random_uniform", "repeat", "set_epsilon",
    "set_floatx", "set_image_data_format", "set_value", "truncated_normal",
]  # fmt: skip

_uids: Counter[str] = Counter()
RENAMED = {  # words of Keras 2 and the names of these functions in `rnnx.ops`
    "permute_dimensions": "transpose", "pow": "power", "reverse": "flip", "repeat_elements": "repeat",
    "variable": "convert_to_tensor", "constant": "convert_to_tensor",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Functions of `rnnx.ops` under the names of Keras' backend."""
    found = None if name.startswith("_") else getattr(ops, RENAMED.get(name, name), None)
    if found is None:
        raise AttributeError(f"module 'rnnx.backend' has no attribute {name!r}; rnnx.ops has the functions of arrays")
    return found


# ---- Functions whose arguments are others than those of `rnnx.ops` ---------------------------------------------------


def concatenate(tensors: Any, axis: int = -1) -> Any:
    """Side by side, by default along the last axis."""
    return ops.concatenate(tensors, axis=axis)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """With one more axis, by default the last."""
    return ops.expand_dims(x, axis)


def argmax(x: Any, axis: int = -1) -> Any:
    """Where the largest is, by default along the last axis."""
    return ops.argmax(x, axis=axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """Where the smallest is, by default along the last axis."""
    return ops.argmin(x, axis=axis)


def cumsum(x: Any, axis: int = 0) -> Any:
    """Sums so far, by default along the first axis."""
    return ops.cumsum(x, axis=axis)


def gather(reference: Any, indices: Any) -> Any:
    """Rows by their numbers."""
    return ops.take(reference, indices, axis=0)


def repeat(x: Any, n: int) -> Any:
    """(batch, features) -> (batch, n, features)."""
    return RepeatVector(n)(x)


def ctc_decode(
    y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[Array], Array]:
    """Labels from probabilities of shape (batch, timesteps, classes), of which the last class is the blank.

    Returns
    -------
    labels : list of one int32 array of shape (batch, timesteps)
        With -1 behind the last label.
    scores : array of shape (batch, 1)
        Minus the logarithm of the probability.

    Raises
    ------
    ValueError
        If ``greedy`` is False: the search with beams is not here.
    """
    if not greedy:
        raise ValueError("ctc_decode: `greedy` must be True, the search with beams is not here")
    x = np.asarray(y_pred)
    labels, scores = ops.ctc_decode(np.log(x + epsilon()), input_length, mask_index=x.shape[-1] - 1)
    return [labels[0]], scores


def l2_normalize(x: Any, axis: int | None = None) -> Any:
    """Divided by the norm along an axis, or of all."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x / ops.sqrt(ops.maximum(squares, epsilon() ** 2))


# ---- Models and weights ----------------------------------------------------------------------------------------------


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
