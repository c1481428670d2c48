"""Noise that stands for the rounding of weights: how far apart narrow numbers are, and deviates of half a step."""

from __future__ import annotations

import numpy as np

from rnnx._kernels import LARGEST
from rnnx._typing import Array
from rnnx.dropout.checks import check_choice

WEIGHT_NOISE = ("int8",)


def rounding_steps(kernel: Array, mode: str = "int8") -> Array:
    """The distance between two neighbours among the numbers that quantization rounds a kernel to.

    Parameters
    ----------
    kernel : array of shape (inputs, outputs)
    mode : {"int8", "int8x16", "int16"}

    Returns
    -------
    array of shape (outputs,)
        One for each column: what makes its largest weight the largest integer; 0 for a column of zeros, which is not
        rounded.

    Raises
    ------
    ValueError
        If `mode` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> rounding_steps(np.array([[1.27, 0.0], [-0.3, 0.0]])).round(6)
    array([0.01, 0.  ])
    """
    check_choice("rounding_steps", "mode", mode, LARGEST)
    steps: Array = np.abs(kernel).max(axis=0, initial=0) / kernel.dtype.type(LARGEST[mode])
    return steps


def as_rounding(uniform: Array, steps: Array) -> Array:
    """Deviates in [0, 1) as noise of up to half a step to either side, in place if they are of the steps' dtype."""
    noise = uniform.astype(steps.dtype, copy=False)
    noise -= steps.dtype.type(0.5)
    noise *= steps
    return noise
