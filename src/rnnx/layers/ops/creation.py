"""Operations that make arrays of sizes, which may be symbolic, and what turns values into arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array, Shape
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.ops import dtypes
from rnnx.layers.ops.arguments import Sketch, as_sizes
from rnnx.layers.ops.elementwise import cast
from rnnx.layers.ops.operation import as_operand, gradient_of, operation


def _filled_shape(fill_value: Any, shape: Any, dtype: Any) -> Shape:
    sizes = as_sizes(shape)
    for n, own in zip(sizes, shape if isinstance(shape, (list, tuple)) else [shape], strict=True):
        if own is None or (n is not None and n < 0):
            raise ValueError(f"`shape` must hold sizes; for unknown ones give those of ops.shape(x), got {shape}")
    if fill_value.ndim:
        raise ValueError(f"`fill_value` must be one number, got shape {fill_value.shape}")
    return sizes


def _filled_type(own: Any, arguments: dict[str, Any]) -> Any:
    return own if arguments["dtype"] is None else dtypes.named(arguments["dtype"])


@operation("fill_value", shape=_filled_shape, result=_filled_type)
def _full(fill_value: Any, shape: Any, dtype: Any = None) -> Any:
    return np.full([n for n in as_sizes(shape) if n is not None], fill_value)


@gradient_of(_full)
def _full_gradient(k: int, dy: Array, y: Array, fill_value: Array, shape: Any, dtype: Any) -> Array:
    return dy.sum()


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one value.

    Parameters
    ----------
    shape : int or tuple of int
        Sizes, those of `shape` among them.
    fill_value : number or array of shape ()
    dtype : str, optional

    Returns
    -------
    array of this shape

    Raises
    ------
    ValueError
        If a size is not known, or there is more than one value.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.full((2, 3), 0.5))
    [[0.5 0.5 0.5]
     [0.5 0.5 0.5]]
    """
    return _full(fill_value, shape if isinstance(shape, (list, tuple)) else (shape,), dtype)


def zeros(shape: Any, dtype: Any = None) -> Any:
    """An array of zeros, float32 by default.

    Parameters
    ----------
    shape : int or tuple of int
        Sizes, those of `shape` among them.
    dtype : str, optional

    Returns
    -------
    array of this shape

    Raises
    ------
    ValueError
        If a size is not known.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.zeros((2, 3)))
    [[0. 0. 0.]
     [0. 0. 0.]]
    """
    return full(shape, 0, "float32" if dtype is None else dtype)


def ones(shape: Any, dtype: Any = None) -> Any:
    """An array of ones, float32 by default.

    Parameters
    ----------
    shape : int or tuple of int
        Sizes, those of `shape` among them.
    dtype : str, optional

    Returns
    -------
    array of this shape

    Raises
    ------
    ValueError
        If a size is not known.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.ones((2, 3), dtype="int32"))
    [[1 1 1]
     [1 1 1]]
    """
    return full(shape, 1, "float32" if dtype is None else dtype)


def _range_shape(start: Any, stop: Any, step: Any, dtype: Any) -> Shape:
    ends = [0, start, 1] if stop is None else [start, stop, 1 if step is None else step]
    ends = ends if stop is not None or step is None else [0, start, step]
    if any(isinstance(end, Sketch) for end in ends):
        return (None,)
    return np.arange(*[np.asarray(end).item() for end in ends]).shape


def _range_type(own: Any, arguments: dict[str, Any]) -> Any:
    if arguments["dtype"] is not None:
        return dtypes.named(arguments["dtype"])
    ends = [arguments[name] for name in ("start", "stop", "step") if arguments[name] is not None]
    return dtypes.common([end for end in ends if hasattr(end, "dtype")], [e for e in ends if not hasattr(e, "dtype")])


@operation(shape=_range_shape, result=_range_type)
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    """Numbers from ``start`` (or 0) up to and without ``stop`` in equal steps; int32 if all are integers.

    Parameters
    ----------
    start, stop, step : number or array of shape (), optional
    dtype : str, optional

    Returns
    -------
    vector

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.arange(3), ops.arange(1.0, 2.0, 0.25))
    [0 1 2] [1.   1.25 1.5  1.75]
    """
    ends = [0, start] if stop is None else [start, stop]
    return np.arange(*[np.asarray(end).item() for end in (*ends, 1 if step is None else step)])


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
             axis: int = 0) -> Any:  # fmt: skip
    """So many numbers in equal steps from ``start`` to ``stop``, of arrays only; float32 by default.

    Parameters
    ----------
    start, stop : number or array
    num : int
    endpoint : bool
        Whether ``stop`` is the last number.
    retstep : bool
        Whether to return the step, too.
    dtype : str, optional
    axis : int
        Where the new axis is, if the ends are arrays.

    Returns
    -------
    array, or a pair with the step

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.linspace(0, 1, 5))
    [0.   0.25 0.5  0.75 1.  ]
    """
    found, step = np.linspace(start, stop, num, endpoint, retstep=True, axis=axis)
    found = found.astype(dtypes.FLOAT if dtype is None else dtypes.named(dtype))
    return (found, step) if retstep else found


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """A matrix with ones on a diagonal, float32 by default.

    Parameters
    ----------
    N, M : int
        Rows and columns; as many columns as rows if only one is given.
    k : int
        Which diagonal, counted to the right from the main one.
    dtype : str, optional

    Returns
    -------
    array of shape (N, M)

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.eye(2, 3, k=1))
    [[0. 1. 0.]
     [0. 0. 1.]]
    """
    return np.eye(N, M, k, dtype=dtypes.FLOAT if dtype is None else dtypes.named(dtype))


def identity(n: int, dtype: Any = None) -> Any:
    """A square matrix with ones on the diagonal, float32 by default.

    Parameters
    ----------
    n : int
    dtype : str, optional

    Returns
    -------
    array of shape (n, n)

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.identity(2))
    [[1. 0.]
     [0. 1.]]
    """
    return eye(n, dtype=dtype)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    """An array of numbers: an array as it is, numbers and lists of them in float32 or int32; a symbolic tensor stays.

    Parameters
    ----------
    x : number, list or array
    dtype : str, optional
    sparse, ragged : bool, optional
        Accepted as in Keras, if not true.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If a sparse or ragged one is asked for.

    Examples
    --------
    >>> from rnnx import ops
    >>> ops.convert_to_tensor([1.5, 2])
    array([1.5, 2. ], dtype=float32)
    >>> ops.convert_to_tensor(3).dtype
    dtype('int32')
    """
    if sparse or ragged:
        raise ValueError("ops.convert_to_tensor: there are no sparse or ragged arrays")
    if not isinstance(x, SymbolicTensor) and not isinstance(x, np.ndarray):
        x = as_operand([x])[0] if isinstance(x, (bool, int, float)) else as_operand(x)
    if dtype is None or x.dtype == dtypes.named(dtype):
        return x if isinstance(x, SymbolicTensor) else np.asarray(x)
    return cast(x, dtype)


def convert_to_numpy(x: Any) -> Array:
    """A plain array.

    Parameters
    ----------
    x : anything that is an array or can be one

    Returns
    -------
    array

    Examples
    --------
    >>> from rnnx import ops
    >>> ops.convert_to_numpy([1, 2])
    array([1, 2])
    """
    return np.asarray(x)
