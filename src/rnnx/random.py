"""Random numbers, under Keras' names: from a seed always the same ones, from a `SeedGenerator` the next ones.

Without a seed they come from NumPy's global generator, which `set_seed` sets, or from a block's own (`seeded`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._seeds import seeded, set_random_seed, source
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator, check_rate, shape_to_draw

__all__ = [
    "SeedGenerator", "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "seeded", "set_seed",
    "shuffle", "truncated_normal", "uniform",
]  # fmt: skip

set_seed = set_random_seed
Seed = int | SeedGenerator | None


def _generator(seed: Seed) -> np.random.Generator:
    if seed is None:
        return np.random.default_rng(source().legacy.randint(2**31))
    given = SeedGenerator.of(seed)
    return np.random.default_rng([given.seed, given.advance(1)])


def _float(who: str, dtype: Any) -> np.dtype[Any]:
    found = np.dtype("float32" if dtype is None else dtype)
    if found.kind != "f":
        raise ValueError(f"{who}: `dtype` must be a float type, got {found}")
    return found


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Seed = None) -> Array:
    """Normal deviates.

    Parameters
    ----------
    shape : tuple of int
    mean, stddev : float
    dtype : float dtype, optional
        float32 if not given.
    seed : int or SeedGenerator, optional

    Returns
    -------
    array of this shape

    Examples
    --------
    >>> from rnnx.random import SeedGenerator, normal
    >>> bool((normal((3,), seed=1) == normal((3,), seed=1)).all())
    True
    >>> source = SeedGenerator(1)
    >>> bool((normal((3,), seed=source) == normal((3,), seed=source)).any())
    False
    """
    return _generator(seed).normal(mean, stddev, shape).astype(_float("normal", dtype))


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Seed = None) -> Array:
    """Normal deviates within two standard deviations; those beyond are drawn again. Arguments as of `normal`."""
    generator, kind = _generator(seed), _float("truncated_normal", dtype)
    values = np.asarray(generator.standard_normal(shape))
    while (far := np.abs(values) > 2).any():
        values[far] = generator.standard_normal(np.count_nonzero(far))
    return (mean + stddev * values).astype(kind)


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Seed = None) -> Array:
    """Uniform deviates in [minval, maxval).

    Parameters
    ----------
    shape : tuple of int
    minval, maxval : float
    dtype : float or integer dtype, optional
        float32 if not given.
    seed : int or SeedGenerator, optional
    """
    kind = np.dtype("float32" if dtype is None else dtype)
    if kind.kind in "iu":
        return randint(shape, int(minval), int(maxval), kind, seed)
    return _generator(seed).uniform(minval, maxval, shape).astype(_float("uniform", kind))


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Seed = None) -> Array:
    """Integers in minval..maxval - 1."""
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        raise ValueError(f"randint: `dtype` must be an integer type, got {kind}")
    return _generator(seed).integers(minval, maxval, shape, dtype=kind.type)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Seed = None) -> Array:
    """Classes drawn from the logarithms of their probabilities.

    Parameters
    ----------
    logits : array of shape (batch, classes)
        Need not be normalised.
    num_samples : int
    dtype : integer dtype
    seed : int or SeedGenerator, optional

    Returns
    -------
    array of shape (batch, num_samples)
    """
    rows = np.asarray(logits, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"categorical: `logits` must have shape (batch, classes), got {rows.shape}")
    noise = _generator(seed).gumbel(size=(len(rows), num_samples, rows.shape[1]))
    return (rows[:, None] + noise).argmax(axis=-1).astype(dtype)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Seed = None) -> Array:
    """Zeros with probability ``rate``, the rest times ``1 / (1 - rate)``; in layers use `rnnx.layers.Dropout`.

    Parameters
    ----------
    inputs : array
    rate : float
    noise_shape : tuple, optional
        Shape of the mask; None entries have the size of the input.
    seed : int or SeedGenerator, optional
    """
    x = np.asarray(inputs)
    rate = check_rate("dropout", "rate", rate)
    shape, shared = shape_to_draw("dropout", noise_shape, x.shape)
    noise = SeedGenerator.of(source().legacy.randint(2**31) if seed is None else seed)
    return x * noise.begin().masks(1, shape, rate, x.dtype, shared)[0]


def shuffle(x: Any, axis: int = 0, seed: Seed = None) -> Array:
    """The parts of an array along an axis in another order."""
    return _generator(seed).permutation(np.asarray(x), axis=axis)


def gamma(shape: Any, alpha: float, dtype: Any = None, seed: Seed = None) -> Array:
    """Deviates of the gamma distribution of shape ``alpha`` and scale 1."""
    return _generator(seed).gamma(alpha, size=shape).astype(_float("gamma", dtype))


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Seed = None) -> Array:
    """Deviates of the beta distribution."""
    return _generator(seed).beta(alpha, beta, shape).astype(_float("beta", dtype))


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Seed = None) -> Array:
    """How many of ``counts`` trials succeed."""
    return _generator(seed).binomial(counts, probabilities, shape).astype(_float("binomial", dtype))
