"""Products of matrices and of stacks of them, and what can be said as such: all go through BLAS."""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np

from rnnx._typing import Array, Shape
from rnnx.functional._broadcasting import fold, meet
from rnnx.functional._products import product, products
from rnnx.layers.ops import shapes, steps
from rnnx.layers.ops.arguments import Sketch
from rnnx.layers.ops.arrangement import ndim, reshape
from rnnx.layers.ops.elementwise import multiply
from rnnx.layers.ops.operation import as_operand, gradient_of, operation


def stacked(left: Array, right: Array) -> Array:
    """The product of stacks of matrices; with a single one on the right it is one product of all rows."""
    if right.ndim > 2:
        return products(left, right)
    return product(left.reshape(-1, left.shape[-1]), right).reshape(*left.shape[:-1], right.shape[-1])


# ---- Matrices --------------------------------------------------------------------------------------------------------


def _matmul_steps(x1: Any, x2: Any) -> str:
    if not isinstance(x2, Sketch) and isinstance(x1, Sketch) and x1.ndim > 2 and (x2.ndim < 3 or x1.ndim > 3):
        return steps.EACH if x2.ndim <= max(2, x1.ndim - 2) else steps.JOINED
    both = isinstance(x1, Sketch) and isinstance(x2, Sketch)
    return steps.EACH if both and x1.ndim == x2.ndim > 3 else steps.JOINED


@operation("x1", "x2", shape=lambda x1, x2: shapes.product(tuple(x1.shape), tuple(x2.shape)), steps=_matmul_steps)
def matmul(x1: Any, x2: Any) -> Any:
    """The product of matrices, in their last two axes; those before are broadcast, a vector is a row or a column.

    Parameters
    ----------
    x1 : array of shape (..., rows, n) or (n,)
    x2 : array of shape (..., n, columns) or (n,)

    Returns
    -------
    array of shape (..., rows, columns), without an axis for a vector

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.matmul([[1.0, 2.0]], [[3.0], [4.0]]))
    [[11.]]
    """
    left, right = x1[None] if x1.ndim == 1 else x1, x2[:, None] if x2.ndim == 1 else x2
    y = stacked(left, right)
    y = y[..., 0] if x2.ndim == 1 else y
    return y[..., 0] if x1.ndim == 1 and x2.ndim == 1 else y[..., 0, :] if x1.ndim == 1 else y


@gradient_of(matmul)
def _matmul_gradient(k: int, dy: Array, y: Array, x1: Array, x2: Array) -> Array:
    left, right = x1[None] if x1.ndim == 1 else x1, x2[:, None] if x2.ndim == 1 else x2
    dy = np.expand_dims(dy, -1) if x2.ndim == 1 else dy
    dy = np.expand_dims(dy, -2) if x1.ndim == 1 else dy
    if k == 0:
        return fold(stacked(dy, right.swapaxes(-1, -2)), left.shape).reshape(x1.shape)
    if right.ndim == 2:  # one product, and no gradient for each matrix of the stack
        rows = dy.reshape(-1, dy.shape[-1])
        return stacked(left.reshape(-1, left.shape[-1]).T, rows).reshape(x2.shape)
    return fold(stacked(left.swapaxes(-1, -2), dy), right.shape).reshape(x2.shape)


# ---- Sums over named axes --------------------------------------------------------------------------------------------


def _parsed(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    """A letter for each axis of the operands and of the result; ``...`` gets letters of its own.

    Raises
    ------
    ValueError
        If the subscripts do not fit the operands.
    """
    if not isinstance(subscripts, str):
        raise ValueError(f"`subscripts` must be a string such as 'ij,jk->ik', got {subscripts!r}")
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    inputs = given.split(",")
    if len(inputs) != len(ranks):
        raise ValueError(f"{subscripts!r} is of {len(inputs)} operand(s), got {len(ranks)}")
    free = [letter for letter in string.ascii_letters if letter not in given + result]
    named = [len(part.replace("...", "")) for part in inputs]
    most = max([rank - n for part, rank, n in zip(inputs, ranks, named, strict=True) if "..." in part], default=0)
    if most < 0 or most > len(free):
        raise ValueError(f"{subscripts!r} does not fit operands of {ranks} axes")
    dots = "".join(free[:most])
    full = []
    for part, rank, n in zip(inputs, ranks, named, strict=True):
        letters = part.replace("...", dots[most - (rank - n) :] if rank > n else "", 1) if "..." in part else part
        if len(letters) != rank or not letters.isalpha() and letters or len(set(letters)) < len(letters):
            raise ValueError(f"{subscripts!r}: {part!r} must name {rank} different axes with a letter each")
        full.append(letters)
    if not arrow:
        joined = "".join(inputs).replace(".", "")
        result = "..." * ("..." in given) + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    result = result.replace("...", dots, 1)
    if len(set(result)) < len(result) or not set(result) <= set("".join(full)):
        raise ValueError(f"{subscripts!r}: the result must name axes of the operands, each once")
    return full, result


def _sizes(letters: list[str], operands: Any) -> dict[str, int | None]:
    """The size of each named axis; as everywhere 1 is broadcast."""
    found: dict[str, list[int | None]] = {}
    for part, operand in zip(letters, operands, strict=True):
        for letter, n in zip(part, operand.shape, strict=True):
            found.setdefault(letter, []).append(n)
    return {letter: meet(sizes) for letter, sizes in found.items()}


def _einsum_shape(operands: Any, subscripts: str) -> Shape:
    letters, result = _parsed(subscripts, [operand.ndim for operand in operands])
    sizes = _sizes(letters, operands)
    return tuple([sizes[letter] for letter in result])


def _einsum_steps(operands: Any, subscripts: str) -> str:
    letters, result = _parsed(subscripts, [operand.ndim for operand in operands])
    if len(result) < 2:
        return "it joins all steps"
    for part, operand in zip(letters, operands, strict=True):
        first_two = part[:2] == result[:2]
        if not first_two if isinstance(operand, Sketch) else result[1] in part:
            return "it joins or moves the steps" if isinstance(operand, Sketch) else "it has a constant for each step"
        if any(letter in part[2:] for letter in result[:2]):
            return steps.JOINED
    return steps.EACH


def contracted(letters: list[str], operands: list[Array], result: str) -> Array:
    """The sum of products over all axes that are not in the result, two operands at a time."""
    (first, *others), (array, *rest) = letters, operands
    for k, (second, operand) in enumerate(zip(others, rest, strict=True)):
        later = set(result).union(*others[k + 1 :])
        kept = "".join(c for c in dict.fromkeys(first + second) if c in later)
        array, first = _pair(first, array, second, operand, kept), kept
    array = array.sum(axis=tuple([k for k, c in enumerate(first) if c not in result]))
    first = "".join(c for c in first if c in result)
    return array.transpose([first.index(c) for c in result])


def _pair(a: str, x: Array, b: str, y: Array, kept: str) -> Array:
    """Of two operands: axes that only one has and nobody wants are summed first, the rest is a product of matrices."""
    x, a = _summed(x, a, b + kept)
    y, b = _summed(y, b, a + kept)
    for letter in set(a) & set(b):  # an axis of size 1 beside a longer one
        long, own = x.shape[a.index(letter)], y.shape[b.index(letter)]
        if long != own and letter not in kept:
            x, y = _stretched(x, a, letter, max(long, own)), _stretched(y, b, letter, max(long, own))
    both = [c for c in a if c in b]
    stack, inner = [c for c in both if c in kept], [c for c in both if c not in kept]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]

    def arranged(array: Array, own: str, groups: list[list[str]]) -> tuple[Array, list[tuple[int, ...]]]:
        ordered = array.transpose([own.index(c) for group in groups for c in group])
        sizes = [tuple([array.shape[own.index(c)] for c in group]) for group in groups]
        return ordered.reshape(*sizes[0], *[math.prod(size) for size in sizes[1:]]), sizes

    left, left_sizes = arranged(x, a, [stack, rows, inner])
    right, right_sizes = arranged(y, b, [stack, inner, columns])
    found = stacked(left, right)
    shape = (*found.shape[: len(stack)], *left_sizes[1], *right_sizes[2])
    order = [*stack, *rows, *columns]
    return found.reshape(shape).transpose([order.index(c) for c in kept])


def _summed(x: Array, letters: str, wanted: str) -> tuple[Array, str]:
    axes = tuple([k for k, c in enumerate(letters) if c not in wanted])
    return (x.sum(axis=axes), "".join(c for c in letters if c in wanted)) if axes else (x, letters)


def _stretched(x: Array, letters: str, letter: str, size: int) -> Array:
    return np.broadcast_to(x, shapes.replaced_axis(x.shape, letters.index(letter), size))


@operation("*operands", shape=_einsum_shape, steps=_einsum_steps)
def _einsum(operands: Any, subscripts: str) -> Any:
    letters, result = _parsed(subscripts, [operand.ndim for operand in operands])
    return contracted(letters, list(operands), result)


@gradient_of(_einsum)
def _einsum_gradient(k: int, dy: Array, y: Array, operands: Any, subscripts: str) -> Array:
    letters, result = _parsed(subscripts, [operand.ndim for operand in operands])
    own, sizes = letters[k], _sizes(letters, operands)
    others = [result, *letters[:k], *letters[k + 1 :]]
    known = "".join(c for c in own if any(c in part for part in others))
    d = contracted(others, [dy, *operands[:k], *operands[k + 1 :]], known)
    d = d.reshape([d.shape[known.index(c)] if c in known else 1 for c in own])
    return np.broadcast_to(d, [max(n, sizes[c] or 0) for c, n in zip(own, d.shape, strict=True)])


def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Any:
    """The sum of products over named axes: ``einsum("btf,fu->btu", x, kernel)``.

    Parameters
    ----------
    subscripts : str
        A letter for each axis; those that are not behind the arrow are summed. ``...`` stands for any others.
    *operands : arrays

    Returns
    -------
    array with the axes behind the arrow

    Raises
    ------
    ValueError
        If the subscripts do not fit the operands, or name an axis of one operand twice.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.einsum("ij,jk->ik", [[1.0, 2.0]], [[3.0], [4.0]]))
    [[11.]]
    """
    if unknown := kwargs.keys() - {"optimize"}:
        raise TypeError(f"ops.einsum: unknown argument(s) {', '.join(sorted(unknown))}")
    return _einsum(list(operands), subscripts)


def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """The sum of products over some axes of both: the last of ``x1`` and first of ``x2``, or two lists.

    Parameters
    ----------
    x1, x2 : array
    axes : int or pair of lists of int

    Returns
    -------
    array with the axes that are left, those of ``x1`` first

    Raises
    ------
    ValueError
        If the axes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> ops.tensordot(np.ones((2, 3, 4)), np.ones((4, 3, 5)), axes=[[1, 2], [1, 0]]).shape
    (2, 5)
    """
    one, two = ndim(x1), ndim(x2)
    if isinstance(axes, int):
        first, second = list(range(one - axes, one)), list(range(axes))
    else:
        first, second = ([shapes.axis_in(k, n) for k in (part if isinstance(part, (list, tuple)) else [part])]
                         for part, n in zip(axes, (one, two), strict=True))  # fmt: skip
    if len(first) != len(second) or not 0 <= len(first) <= min(one, two):
        raise ValueError(f"ops.tensordot: `axes` must name as many axes of both operands, got {axes!r}")
    a = string.ascii_letters[:one]
    b = list(string.ascii_letters[one : one + two])
    for i, j in zip(first, second, strict=True):
        b[j] = a[i]
    rest = "".join(c for k, c in enumerate(a) if k not in first) + "".join(c for c in b if c not in a)
    return einsum(f"{a},{''.join(b)}->{rest}", x1, x2)


def dot(x1: Any, x2: Any) -> Any:
    """The sum of products over the last axis of ``x1`` and the second to last, or only, one of ``x2``.

    Parameters
    ----------
    x1, x2 : array

    Returns
    -------
    array with the axes that are left, those of ``x1`` first

    Raises
    ------
    ValueError
        If the axes do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.dot([[1.0, 2.0]], [3.0, 4.0]))
    [11.]
    """
    x1, x2 = (part if hasattr(part, "shape") else as_operand(part) for part in (x1, x2))
    if not ndim(x1) or not ndim(x2):
        return multiply(x1, x2)
    if ndim(x2) <= 2:
        return matmul(x1, x2)
    return tensordot(x1, x2, axes=([-1], [-2]))


def inner(x1: Any, x2: Any) -> Any:
    """The sum of products over the last axes.

    Parameters
    ----------
    x1, x2 : array

    Returns
    -------
    array with the axes that are left, those of ``x1`` first

    Raises
    ------
    ValueError
        If the axes do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.inner([1.0, 2.0], [[3.0, 4.0], [5.0, 6.0]]))
    [11. 17.]
    """
    return tensordot(x1, x2, axes=([-1], [-1])) if ndim(x1) and ndim(x2) else multiply(x1, x2)


def outer(x1: Any, x2: Any) -> Any:
    """The product of every number of one with every number of the other.

    Parameters
    ----------
    x1, x2 : array of any shape

    Returns
    -------
    matrix with a row for each number of ``x1``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.outer([1, 2], [3, 4, 5]))
    [[ 3  4  5]
     [ 6  8 10]]
    """
    return multiply(reshape(x1, (-1, 1)), reshape(x2, (1, -1)))
