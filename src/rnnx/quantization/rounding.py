"""Narrow forms of kernels: bfloat16, and integers with a scale for each output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnx._typing import Array
from rnnx.dropout import rounding_steps


def round_weights(kernel: Array, mode: str) -> Array:
    """The values that a quantized kernel stands for.

    Parameters
    ----------
    kernel : float32 array of shape (inputs, outputs)
    mode : {"bf16", "int8", "int8x16", "int16"}
        bfloat16, or integers, from -127 to 127 or from -32258 to 32258, times a scale for each output channel; rounded
        to nearest, ties to even.

    Returns
    -------
    float32 array of shape (inputs, outputs)

    Examples
    --------
    >>> import numpy as np
    >>> round_weights(np.array([[1.27, 0.5], [0.014, -1.0]], np.float32), "int8").round(3)
    array([[ 1.27 ,  0.504],
           [ 0.01 , -1.   ]], dtype=float32)
    """
    if mode == "bf16":
        bits = np.ascontiguousarray(kernel).view(np.uint32)
        nearest: Array = ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
        return nearest
    scale = scales_of(kernel, mode)
    whole: Array = np.rint(kernel / scale) * scale
    return whole


def scales_of(kernel: Array, mode: str) -> Array:
    """What makes the largest weight of each column the largest integer."""
    scale = rounding_steps(kernel, mode)
    scale[scale == 0] = 1
    return scale


def narrow_form(kernel: Array, mode: str) -> tuple[Array, Array | None] | None:
    """The numbers of 16 or 8 bits that a quantized kernel is made of.

    Parameters
    ----------
    kernel : float32 array of shape (inputs, outputs)
    mode : {"bf16", "int8", "int8x16", "int16"}

    Returns
    -------
    numbers : uint16 array (the bits of bfloat16), int8 or int16 array of the kernel's shape
    scales : float32 array of shape (outputs,), or None for bfloat16
        `wide_form` makes the same kernel of them, bit for bit.

    None if it is not made of such numbers: its values were changed after it was quantized.
    """
    if mode == "bf16":
        bits = np.ascontiguousarray(kernel).view(np.uint32)
        return None if (bits & 0xFFFF).any() else ((bits >> 16).astype(np.uint16), None)
    near = scales_of(kernel, mode)
    numbers, found = np.rint(kernel / near), np.zeros(near.shape, bool)
    scales = near.copy()
    for ulps in (0, 1, -1, 2, -2):  # the scale that it was made with is one of these
        scale = (near.view(np.int32) + np.int32(ulps)).view(np.float32)
        fits = (numbers * scale == kernel).all(axis=0) & ~found
        scales[fits] = scale[fits]
        found |= fits
    return (numbers.astype("int16" if mode == "int16" else "int8"), scales) if found.all() else None


def wide_form(numbers: Array, scales: Array | None) -> Array:
    """The float32 kernel that the two results of `narrow_form` stand for."""
    if scales is None:
        return from_bfloat16(numbers)
    wide: Array = numbers.astype(np.float32) * scales
    return wide


def from_bfloat16(bits: NDArray[np.uint16]) -> Array:
    """The float32 numbers of bfloat16: these are their upper halves."""
    wide = bits.astype(np.uint32)
    wide <<= 16  # in place: an array of a large file once, not twice
    return wide.view(np.float32)
