"""Products of matrices in NumPy, whose complaints are about the numbers and not about the processor's registers.

NumPy reports the floating-point flags that are raised after a product. Kernels of OpenBLAS for AVX-512 compute whole
registers also where a product has fewer numbers, and what happens to be in the rest can raise a flag: a signalling NaN
that was left there makes "invalid value encountered in matmul" of finite numbers with a finite result.
"""

from __future__ import annotations

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array

_multiply = np.dot  # a third of the time of `matmul` for small arrays, which pays for `errstate`


def product(left: Array, right: Array) -> Array:
    """``left @ right``, with a complaint only where finite numbers give a result that is not finite.

    NaN and infinity in the operands come out as they do in the engine, without a word.

    Parameters
    ----------
    left : array of shape (n, depth) or (depth,)
    right : array of shape (depth, m) or (depth,)

    Returns
    -------
    array of shape (n, m), (n,), (m,) or ()

    Examples
    --------
    >>> import numpy as np
    >>> product(np.array([[1.0, np.inf], [2.0, 3.0]]), np.array([[0.0], [0.0]])).ravel()
    array([nan,  0.])
    """
    small = _kernels.small_dense(left, right) if type(left) is type(right) is np.ndarray else None
    if small is not None and _kernels.all_finite(small):
        return small
    flags: list[str] = []
    with np.errstate(invalid="call", over="call", call=lambda flag, _: flags.append(flag)):
        result: Array = _multiply(left, right)
    if flags and _overflows(left, right, result):
        result = _multiply(left, right)  # again, to complain as NumPy was told to
    return result if small is None else small


def sums_along(x: Array, axis: int, shares: Array) -> Array:
    """Weighted sums of the values along an axis; what has no share in a sum is not looked at.

    Parameters
    ----------
    x : array
    axis : int
    shares : array of shape (sums, x.shape[axis])

    Returns
    -------
    array
        Of the shape of ``x`` with the sums along the axis.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.functional._products import sums_along
    >>> sums_along(np.array([np.nan, 2.0, 4.0]), 0, np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]))
    array([nan,  3.])
    """
    rows = np.moveaxis(x, axis, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    found = product(flat, shares.T)
    if not np.isfinite(found).all():  # zero times NaN or infinity is NaN
        for sums, own in zip(found.T, shares, strict=True):
            used = own.nonzero()[0]
            sums[:] = product(flat[:, used], own[used, None])[:, 0]
    return np.moveaxis(found.reshape(*rows.shape[:-1], len(shares)), -1, axis)


def products(left: Array, right: Array) -> Array:
    """`product` of every pair of matrices in two stacks of them.

    Parameters
    ----------
    left : array of shape (..., n, depth)
    right : array of shape (..., depth, m)
        The leading axes broadcast.

    Returns
    -------
    array of shape (..., n, m)

    Examples
    --------
    >>> import numpy as np
    >>> products(np.ones((2, 1, 3)), np.ones((2, 3, 1))).ravel()
    array([3., 3.])
    """
    flags: list[str] = []
    with np.errstate(invalid="call", over="call", call=lambda flag, _: flags.append(flag)):
        result: Array = np.matmul(left, right)
    if flags and _overflows(left, right, result):
        result = np.matmul(left, right)
    return result


def product_into(left: Array, right: Array, out: Array) -> None:
    """`product` of two matrices of one dtype into a contiguous array."""
    flags: list[str] = []
    with np.errstate(invalid="call", over="call", call=lambda flag, _: flags.append(flag)):
        _multiply(left, right, out)
    if flags and _overflows(left, right, out):
        _multiply(left, right, out)


def _overflows(left: Array, right: Array, result: Array) -> bool:
    """Whether a row and a column of finite numbers give something else."""
    rows = np.asarray(np.isfinite(left).all(axis=-1))
    columns = np.asarray(np.isfinite(right).all(axis=-2 if right.ndim > 1 else 0))
    if right.ndim > 1:
        rows = rows[..., None]
    if right.ndim > 2:
        columns = columns[..., None, :]
    return bool((rows & columns & ~np.isfinite(result)).any())
