"""Convolution and pooling over windows of any number of axes, forward above backward.

Arrays are (batch, places..., features): a place is a step of a sequence, or a row and a column of an image. All that a
window can see stands in a *frame*, the input with its padding around it.

The windows of a frame become the rows of a matrix, and their product with the kernel is one of matrices. The rows are
made in blocks that stay in the processor's cache. Of one feature alone the rows would be a few numbers here and there;
there the matrix is made transposed, a place of the window after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product as combinations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from rnnx._typing import Array
from rnnx.functional._products import product, product_into

BLOCK = 1 << 19  # bytes of the rows that are made at once

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Where the windows of a frame stand.

    Attributes
    ----------
    sizes, strides, dilations : tuple of int
        Along each axis of places: numbers that a window has, from one window to the next, from one of its numbers to
        the next.
    counts : tuple of int
        How many windows there are along each axis.
    """

    sizes: Sizes
    strides: Sizes
    dilations: Sizes
    counts: Sizes

    @property
    def frame(self) -> Sizes:
        """Sizes that the windows need."""
        parts = zip(self.sizes, self.strides, self.dilations, self.counts, strict=True)
        return tuple((n - 1) * stride + (size - 1) * dilation + 1 for size, stride, dilation, n in parts)

    def taps(self) -> Iterator[tuple[slice, ...]]:
        """For each place in a window, which places of a frame all windows have there."""
        for place in combinations(*map(range, self.sizes)):
            yield tuple(
                slice(k * dilation, k * dilation + (n - 1) * stride + 1, stride)
                for k, stride, dilation, n in zip(place, self.strides, self.dilations, self.counts, strict=True)
            )

    def of(self, frame: Array) -> Array:
        """All windows as a view of shape (batch, counts..., sizes..., features)."""
        batch, *places, features = frame.strides
        return as_strided(
            frame,
            (len(frame), *self.counts, *self.sizes, frame.shape[-1]),
            (
                batch,
                *(step * n for step, n in zip(places, self.strides, strict=True)),
                *(step * n for step, n in zip(places, self.dilations, strict=True)),
                features,
            ),
            writeable=False,
        )


def framed(x: Array, before: Sequence[int], sizes: Sequence[int], value: float = 0.0) -> Array:
    """The input with padding, or the part of it that windows see.

    Parameters
    ----------
    x : array of shape (batch, places..., features)
    before : sequence of int
        Padding before the first place of each axis.
    sizes : sequence of int
        Of the places of the result.
    value : float
        Of the padding.

    Returns
    -------
    array of shape (batch, sizes..., features)
        Contiguous.
    """
    inside = tuple(slice(start, start + n) for start, n in zip(before, x.shape[1:-1], strict=True))
    if not any(before) and all(n >= size for n, size in zip(x.shape[1:-1], sizes, strict=True)):
        return np.ascontiguousarray(x[(slice(None), *(slice(0, size) for size in sizes))])
    frame = np.full((len(x), *sizes, x.shape[-1]), value, x.dtype)
    kept = tuple(slice(0, max(0, size - start)) for start, size in zip(before, sizes, strict=True))
    frame[(slice(None), *inside)] = x[(slice(None), *kept)]
    return frame


def unframed(frame: Array, before: Sequence[int], sizes: Sequence[int]) -> Array:
    """The gradient of the input of `framed` for that of its result: what fell out of the frame has none."""
    inside = tuple(slice(start, start + n) for start, n in zip(before, sizes, strict=True))
    part = frame[(slice(None), *inside)]
    if part.shape[1:-1] == tuple(sizes):
        return part
    dx = np.zeros((len(frame), *sizes, frame.shape[-1]), frame.dtype)
    dx[tuple(slice(0, n) for n in part.shape)] = part
    return dx


# ---- Windows times a kernel ------------------------------------------------------------------------------------------


def _blocks(windows: Windows, batch: int, bytes_each: int) -> Iterator[tuple[slice, slice]]:
    """Which samples, and which windows along the first axis, go together."""
    most = max(1, BLOCK // max(1, bytes_each))
    first, rest = windows.counts[0], math.prod(windows.counts[1:])
    if first * rest <= most:
        step = max(1, most // max(1, first * rest))
        for start in range(0, batch, step):
            yield slice(start, min(start + step, batch)), slice(0, first)
        return
    step = max(1, most // max(1, rest))
    for sample in range(batch):
        for start in range(0, first, step):
            yield slice(sample, sample + 1), slice(start, min(start + step, first))


def _rows(view: Array, windows: Windows, block: tuple[slice, slice]) -> Array:
    """The windows of a block as rows; transposed in memory where a window has one feature."""
    part = view[block]
    count, depth = math.prod(part.shape[: 1 + len(windows.counts)]), math.prod(windows.sizes) * view.shape[-1]
    if view.shape[-1] > 1:
        return part.reshape(count, depth)
    places = 1 + len(windows.counts)
    order = (*range(places, part.ndim), *range(places))
    return part.transpose(order).reshape(depth, count).T


def _block_of(values: Array, block: tuple[slice, slice]) -> Array:
    """The rows of a block in (batch, counts..., features)."""
    part = values[block]
    return part.reshape(-1, part.shape[-1])


def correlate(frame: Array, kernel: Array, windows: Windows, bias: Array | None = None) -> Array:
    """The product of every window with a kernel.

    Parameters
    ----------
    frame : array of shape (batch, windows.frame..., features)
    kernel : array of shape (windows.sizes..., features, filters)
    windows : Windows
    bias : array of shape (filters,), optional

    Returns
    -------
    array of shape (batch, windows.counts..., filters)
    """
    matrix = np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]))
    y = np.empty((len(frame), *windows.counts, kernel.shape[-1]), frame.dtype)
    view = windows.of(frame)
    for block in _blocks(windows, len(frame), matrix.shape[0] * frame.itemsize):
        out = _block_of(y, block)
        product_into(_rows(view, windows, block), matrix, out)
        if bias is not None:
            out += bias
    return y


def correlate_kernel(frame: Array, dy: Array, windows: Windows) -> Array:
    """Gradient of the kernel of `correlate`, of shape (windows.sizes..., features, filters)."""
    depth = math.prod(windows.sizes) * frame.shape[-1]
    dmatrix = np.zeros((depth, dy.shape[-1]), frame.dtype)
    view, dy = windows.of(frame), np.ascontiguousarray(dy)
    for block in _blocks(windows, len(frame), 4 * depth * frame.itemsize // 16):
        dmatrix += product(_rows(view, windows, block).T, _block_of(dy, block))
    return dmatrix.reshape(*windows.sizes, frame.shape[-1], dy.shape[-1])


def spread(dy: Array, kernel: Array, windows: Windows, frame: Array) -> None:
    """Add the gradient of the frame of `correlate`: every window gets the product of its output with the kernel."""
    features = frame.shape[-1]
    matrix = np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]).T)
    dy = np.ascontiguousarray(dy)
    taps = list(windows.taps())
    for block in _blocks(windows, len(frame), matrix.shape[1] * frame.itemsize):
        samples, firsts = block
        rows = _block_of(dy, block)
        shape = (samples.stop - samples.start, firsts.stop - firsts.start, *windows.counts[1:], features)
        if features > 1:
            parts = product(rows, matrix).reshape(len(rows), len(taps), features)
            each = [parts[:, k] for k in range(len(taps))]
        else:
            each = list(product(matrix.T, rows.T))
        for (first, *others), part in zip(taps, each, strict=True):
            start = first.start + firsts.start * windows.strides[0]
            stop = first.start + (firsts.stop - 1) * windows.strides[0] + 1
            where = (samples, slice(start, stop, windows.strides[0]), *others)
            frame[where] += part.reshape(shape)


# ---- A kernel for each feature ---------------------------------------------------------------------------------------


def correlate_each(frame: Array, kernel: Array, windows: Windows) -> Array:
    """The product of every window of a feature with the kernels of this feature.

    Parameters
    ----------
    frame : array of shape (batch, windows.frame..., features)
    kernel : array of shape (windows.sizes..., features, multiplier)
    windows : Windows

    Returns
    -------
    array of shape (batch, windows.counts..., features * multiplier)
    """
    features, multiplier = kernel.shape[-2:]
    y = np.zeros((len(frame), *windows.counts, features, multiplier), frame.dtype)
    for sample in range(len(frame)):
        for where, weights in zip(windows.taps(), kernel.reshape(-1, features, multiplier), strict=True):
            y[sample] += frame[sample][where][..., None] * weights
    return y.reshape(*y.shape[:-2], features * multiplier)


def correlate_each_backward(
    frame: Array, kernel: Array, windows: Windows, dy: Array, *, need_dframe: bool = True
) -> tuple[Array, Array | None]:
    """Gradients of the kernel and, if wanted, of the frame of `correlate_each`."""
    features, multiplier = kernel.shape[-2:]
    dy = dy.reshape(*dy.shape[:-1], features, multiplier)
    flat = kernel.reshape(-1, features, multiplier)
    dkernel = np.zeros_like(flat)
    dframe = np.zeros_like(frame) if need_dframe else None
    places = tuple(range(len(windows.sizes)))
    for sample in range(len(frame)):
        for k, where in enumerate(windows.taps()):
            dkernel[k] += (frame[sample][where][..., None] * dy[sample]).sum(axis=places)
            if dframe is not None:
                dframe[sample][where] += (dy[sample] * flat[k]).sum(axis=-1)
    return dkernel.reshape(kernel.shape), dframe


# ---- Pooling ---------------------------------------------------------------------------------------------------------


def largest(frame: Array, windows: Windows) -> Array:
    """The largest number of every window, feature by feature."""
    first, *others = windows.taps()
    y = frame[(slice(None), *first)].copy()
    for where in others:
        np.maximum(y, frame[(slice(None), *where)], out=y)
    return y


def largest_backward(frame: Array, windows: Windows, y: Array, dy: Array) -> Array:
    """Gradient of the frame of `largest`: that of each window to the first of its largest numbers."""
    dframe, left = np.zeros_like(frame), np.ones(y.shape, bool)
    for where in windows.taps():
        part = frame[(slice(None), *where)]
        taken = left & ((part == y) | np.isnan(part))
        dframe[(slice(None), *where)] += np.where(taken, dy, np.zeros((), dy.dtype))
        left &= ~taken
    return dframe


def total(frame: Array, windows: Windows) -> Array:
    """The sum of every window, feature by feature."""
    y = np.zeros((len(frame), *windows.counts, frame.shape[-1]), frame.dtype)
    for where in windows.taps():
        y += frame[(slice(None), *where)]
    return y


def total_backward(frame: Array, windows: Windows, dy: Array) -> Array:
    """Gradient of the frame of `total`."""
    dframe = np.zeros_like(frame)
    for where in windows.taps():
        dframe[(slice(None), *where)] += dy
    return dframe
