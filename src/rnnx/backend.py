"""What scripts take from ``keras.backend``; functions of arrays and tensors are those of `rnnx.ops`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
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
from rnnx.layers import (
    AveragePooling2D,
    Dot,
    Flatten,
    MaxPooling2D,
    ReLU,
    RepeatVector,
    ZeroPadding1D,
    ZeroPadding2D,
)
from rnnx.layers.graph import SymbolicTensor
from rnnx.models import Model
from rnnx.random import dropout, truncated_normal
from rnnx.random import normal as random_normal
from rnnx.random import uniform as random_uniform
from rnnx.utils import clear_session

__all__ = [
    "argmax", "argmin", "backend", "batch_dot", "batch_flatten", "batch_get_value", "batch_set_value", "bias_add",
    "cast_to_floatx", "clear_session", "concatenate", "constant", "count_params", "ctc_batch_cost", "ctc_decode",
    "cumsum", "dropout", "dtype", "epsilon", "eval", "expand_dims", "flatten", "floatx", "function", "gather",
    "get_uid", "get_value", "image_data_format", "int_shape", "is_keras_tensor", "l2_normalize", "name_scope", "ndim",
    "pool2d", "random_normal", "random_uniform", "relu", "repeat", "set_epsilon", "set_floatx",
    "set_image_data_format", "set_value", "spatial_2d_padding", "switch", "temporal_padding", "truncated_normal",
]  # fmt: skip

_uids: Counter[str] = Counter()
RENAMED = {  # words of Keras 2 and the names of these functions in `rnnx.ops`
    "permute_dimensions": "transpose", "pow": "power", "reverse": "flip", "repeat_elements": "repeat",
    "variable": "convert_to_tensor",
}  # fmt: skip
ARGUMENTS: dict[str, dict[str, str | None]] = {  # their words, and those of `rnnx.ops`; None for one of no effect
    "permute_dimensions": {"pattern": "axes"}, "pow": {"x": "x1", "a": "x2"}, "reverse": {"axes": "axis"},
    "repeat_elements": {"rep": "repeats"}, "variable": {"value": "x", "name": None, "constraint": None},
    "clip": {"min_value": "x_min", "max_value": "x_max"}, "tile": {"n": "repeats"}, "one_hot": {"indices": "x"},
    "zeros": {"name": None}, "ones": {"name": None}, "zeros_like": {"name": None}, "ones_like": {"name": None},
    "eye": {"size": "N", "name": None}, "dot": {"x": "x1", "y": "x2"}, "equal": {"x": "x1", "y": "x2"},
    "maximum": {"x": "x1", "y": "x2"}, "minimum": {"x": "x1", "y": "x2"}, "reshape": {"shape": "newshape"},
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Functions of `rnnx.ops` under the names of Keras' backend."""
    found = None if name.startswith("_") else getattr(ops, RENAMED.get(name, name), None)
    if found is None:
        raise AttributeError(f"module 'rnnx.backend' has no attribute {name!r}; rnnx.ops has the functions of arrays")
    words = ARGUMENTS.get(name)
    return found if words is None else _in_their_words(found, words)


def _in_their_words(function: Callable[..., Any], words: dict[str, str | None]) -> Callable[..., Any]:
    """A function that takes the words of Keras' backend for its arguments, too."""

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        renamed: dict[str, Any] = {}
        for word, value in named.items():
            own = words.get(word, word)
            if own in renamed:
                raise TypeError(f"{function.__name__}: `{word}` and `{own}` are one argument; give one of them")
            if own is not None:
                renamed[own] = value
        return function(*given, **renamed)

    return call


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


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Any:
    """An array of numbers, or of one number with a shape."""
    found = ops.convert_to_tensor(value, dtype)
    return found if shape is None else np.broadcast_to(found, shape).copy()


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """Rectified, with a slope below the threshold, and not above a value."""
    if not alpha and max_value is None and not threshold:
        return ops.relu(x)
    return ReLU(max_value, alpha, threshold)(x)


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

    Parameters
    ----------
    y_pred : array of shape (batch, timesteps, classes)
    input_length : int array of shape (batch,)
    greedy : bool
        Otherwise by a search that keeps ``beam_width`` label sequences.
    beam_width, top_paths : int
        Of the search; see `rnnx.ops.ctc_decode`.

    Returns
    -------
    labels : list of int32 arrays of shape (batch, timesteps)
        One for each path, with -1 behind the last label.
    scores : array of shape (batch, top_paths)
        Minus the logarithm of the probability; of the search the logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import backend as K
    >>> K.ctc_decode(np.array([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]]), [3])[0][0].tolist()
    [[0, 0, -1]]
    """
    x = np.asarray(y_pred)
    labels, scores = ops.ctc_decode(
        np.log(x + epsilon()), input_length, "greedy" if greedy else "beam_search", beam_width,
        1 if greedy else top_paths, mask_index=x.shape[-1] - 1,
    )  # fmt: skip
    return list(labels), scores


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Any:
    """What labels cost with probabilities of which the last class is the blank; see `rnnx.ops.ctc_loss`.

    Parameters
    ----------
    y_true : array of shape (batch, length)
        Labels; those behind ``label_length`` do not count.
    y_pred : array of shape (batch, timesteps, classes)
        Probabilities, as of softmax.
    input_length, label_length : int arrays of shape (batch, 1)
        How many steps and labels of each row count.

    Returns
    -------
    array of shape (batch, 1)

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import backend as K
    >>> K.ctc_batch_cost(np.array([[0]]), np.full((1, 2, 3), 1 / 3), np.array([[2]]), np.array([[1]])).round(4)
    array([[1.0986]])
    """
    steps, labels = (ops.squeeze(length, axis=-1) for length in (input_length, label_length))
    logits = ops.log(ops.convert_to_tensor(y_pred) + epsilon())
    return ops.expand_dims(ops.ctc_loss(y_true, logits, labels, steps, mask_index=-1), 1)


def l2_normalize(x: Any, axis: int | None = None) -> Any:
    """Divided by the norm along an axis, or of all."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x / ops.sqrt(ops.maximum(squares, epsilon() ** 2))


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """Products sample by sample: the sum over one axis of each; see `rnnx.layers.Dot`.

    Parameters
    ----------
    x, y : array or SymbolicTensor
        Samples come first.
    axes : int or (int, int), optional
        By default the last axis of ``x``, and the last but one of ``y`` or that of its vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import backend as K
    >>> K.batch_dot(np.ones((2, 3, 4)), np.ones((2, 4, 5))).shape
    (2, 3, 5)
    """
    if axes is None:
        axes = (ndim(x) - 1, max(1, ndim(y) - 2))
    kind = dtype(x)
    return Dot(axes, dtype=kind if kind in ("float32", "float64") else floatx())([x, y])


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """A vector added along the last axis, or the second with ``data_format="channels_first"``.

    Raises
    ------
    ValueError
        If the bias is no vector.
    """
    if ndim(bias) != 1:
        raise ValueError(f"bias_add: `bias` must be a vector, got {ndim(bias)} axes")
    if data_format == "channels_first" and ndim(x) > 2:
        return x + ops.reshape(bias, (1, -1, *[1] * (ndim(x) - 2)))
    return x + bias


def flatten(x: Any) -> Any:
    """All numbers in one row."""
    return ops.ravel(x)


def batch_flatten(x: Any) -> Any:
    """The numbers of each sample in one row."""
    return Flatten()(x)


def cast_to_floatx(x: Any) -> Any:
    """In float32."""
    return ops.cast(x, floatx())


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two values by a condition, for each number where it has several; functions are called, both of them."""
    then, other = (part() if callable(part) else part for part in (then_expression, else_expression))
    while 0 < ndim(condition) < ndim(then):
        condition = ops.expand_dims(condition, -1)
    return ops.where(condition, then, other)


def temporal_padding(x: Any, padding: Any = (1, 1)) -> Any:
    """Steps of zeros before and behind."""
    return ZeroPadding1D(tuple(padding))(x)


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Any:
    """Zeros around images."""
    return ZeroPadding2D(padding, data_format)(x)


def pool2d(
    x: Any, pool_size: Any, strides: Any = (1, 1), padding: str = "valid", data_format: str | None = None,
    pool_mode: str = "max",
) -> Any:  # fmt: skip
    """The largest number or ("avg") the mean of windows of images.

    Raises
    ------
    ValueError
        If ``pool_mode`` is another one.
    """
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"pool2d: `pool_mode` must be 'max' or 'avg', got {pool_mode!r}")
    return (MaxPooling2D if pool_mode == "max" else AveragePooling2D)(pool_size, strides, padding, data_format)(x)


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


def dtype(x: Any) -> str:
    """The name of the element type."""
    return np.dtype(x.dtype).name


def batch_get_value(tensors: Any) -> list[Any]:
    """The values of several weights; see `get_value`."""
    return [get_value(x) for x in tensors]


def batch_set_value(tuples: Any) -> None:
    """Assign several weights, given as pairs (weight, value); see `set_value`."""
    for x, value in tuples:
        set_value(x, value)


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Nothing: names of layers do not depend on where they are made."""
    yield
