"""Dropout of single numbers, and noise on them: each forward function above its backward."""

from __future__ import annotations

import math

import numpy as np

from rnnx._typing import Array
from rnnx.dropout.checks import NoiseShape, check_rate, shape_to_draw
from rnnx.dropout.noise import Draws


def _check(who: str, x: Array, rate: float, *, one_allowed: bool = False) -> float:
    if x.dtype.kind != "f":
        raise TypeError(f"{who}: the input must be an array of floats, got {x.dtype}; use x.astype(np.float32)")
    return check_rate(who, "rate", rate, one_allowed=one_allowed)


def dropout(
    x: Array, rate: float, draws: Draws, noise_shape: NoiseShape = None, who: str = "Dropout"
) -> tuple[Array, Array]:
    """``x / (1 - rate)`` where kept, else 0.

    Parameters
    ----------
    x : array of floats
    rate : float
        In [0, 1]; with 1 everything is dropped.
    draws : Draws
    noise_shape : iterable of int and None, optional
        Shape of the mask, broadcast to ``x``; None entries take the size of ``x``. For ``x`` of shape (batch,
        timesteps, features) and ``(None, 1, None)`` this is the spatial dropout of sequences.

    Returns
    -------
    y : array like ``x``
    keep : bool array of the noise shape, with as many axes as ``x``

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """
    rate = _check(who, x, rate, one_allowed=True)
    shape, shared = shape_to_draw(who, noise_shape, x.shape)
    keep = draws.keep(shape, rate, shared) if rate < 1 else np.zeros(shape, bool)
    return dropout_backward(x, keep, rate), keep


def dropout_backward(dy: Array, keep: Array, rate: float) -> Array:
    """Gradient of `dropout` with respect to ``x``: the same function, as the mask is a constant."""
    if rate == 1:
        return np.zeros_like(dy)
    return np.where(keep, dy / np.asarray(1 - rate, dy.dtype), np.zeros((), dy.dtype))


def gaussian_dropout(x: Array, rate: float, draws: Draws) -> tuple[Array, Array]:
    """``x`` times normal noise of mean 1 and variance ``rate / (1 - rate)``; returns the product and the noise.

    References
    ----------
    .. [1] N. Srivastava et al., as in `dropout`, section 10.
    """
    rate = _check("GaussianDropout", x, rate)
    noise = draws.normal(x.shape, 1.0, math.sqrt(rate / (1 - rate))).astype(x.dtype)
    return x * noise, noise


def gaussian_dropout_backward(dy: Array, noise: Array) -> Array:
    """Gradient of `gaussian_dropout` with respect to ``x``."""
    return dy * noise


def gaussian_noise(x: Array, stddev: float, draws: Draws) -> Array:
    """``x`` plus normal noise of mean 0; the gradient of ``x`` is that of the sum."""
    return x + draws.normal(x.shape, 0.0, stddev).astype(x.dtype)


ALPHA_PRIME = -1.7580993408473766  # the value SELU saturates to: -scale * alpha


def alpha_dropout(x: Array, rate: float, draws: Draws, noise_shape: NoiseShape = None) -> tuple[Array, Array]:
    """Dropout for SELU networks: dropped values become SELU's negative limit, mean and variance are kept.

    Returns
    -------
    y : array like ``x``
    slope : array of the noise shape, with as many axes as ``x``
        dy/dx: 0 where dropped.

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
    """
    rate = _check("AlphaDropout", x, rate)
    keep = draws.uniform(*shape_to_draw("AlphaDropout", noise_shape, x.shape)) >= rate
    scale = ((1 - rate) * (1 + rate * ALPHA_PRIME**2)) ** -0.5
    slope, shift = np.asarray(scale, x.dtype), np.asarray(-scale * ALPHA_PRIME * rate, x.dtype)
    return np.where(keep, x, np.asarray(ALPHA_PRIME, x.dtype)) * slope + shift, keep * slope


def alpha_dropout_backward(dy: Array, slope: Array) -> Array:
    """Gradient of `alpha_dropout` with respect to ``x``."""
    return dy * slope
