"""Initial values of weights, under Keras' names and with Keras' formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._config import Configurable, lookup, refuse_overrides, serialize
from rnnx._seeds import source
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "Initializer", "LecunNormal",
    "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling",
    "Zeros", "constant", "deserialize", "get", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity",
    "lecun_normal", "lecun_uniform", "ones", "orthogonal", "random_normal", "random_uniform", "serialize",
    "truncated_normal", "variance_scaling", "zeros",
]  # fmt: skip

NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut at two deviations


class Initializer(Configurable, family=True):
    """A callable ``initializer(shape, dtype) -> array``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls, {"call": "implement `__call__(shape, dtype)`"})

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not say how to make an array")


class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return np.zeros(shape, dtype)


class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return np.ones(shape, dtype)


class Constant(Initializer):
    """One value everywhere, or an array that broadcasts to the weight's shape."""

    def __init__(self, value: Any = 0.0):
        self.value = _array_of(value) if isinstance(value, dict) else value
        if np.asarray(self.value).dtype.kind not in "fiub":
            raise ValueError(f"Constant: `value` must be a number or an array of numbers, got {value!r:.100}")

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return np.full(shape, self.value, dtype)

    def get_config(self) -> dict[str, Any]:
        if not isinstance(self.value, np.ndarray):
            return {"value": self.value}
        written = {"value": self.value.tolist(), "dtype": self.value.dtype.name}  # as Keras 3 writes arrays
        return {"value": {"class_name": "__numpy__", "config": written}}


def _array_of(written: dict[str, Any]) -> Array:
    """The array that Keras 3 wrote into a configuration."""
    config = written.get("config", written)
    kind = config.get("dtype") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in NUMBERS:
        raise ValueError(f"Constant: `value` must be a number or an array of numbers, got {repr(written)[:100]}")
    return np.asarray(config["value"], kind)


class Identity(Initializer):
    """The identity matrix times ``gain``; two axes only."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Identity: a matrix has two axes, got shape {shape}")
        return (self.gain * np.eye(*shape)).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class Random(Initializer):
    """Base of the random initializers.

    With a seed every call gives the same values, as in Keras; without one, or with a `SeedGenerator`, every call gives
    new ones.
    """

    seed: int | SeedGenerator | None
    _stream: Any  # {"seed": int}, and the generator when it has drawn; itself in what older versions have pickled

    def __init__(self, seed: int | SeedGenerator | None = None):
        if isinstance(seed, dict):
            seed = SeedGenerator(**seed.get("config", seed))
        if not isinstance(seed, SeedGenerator):
            if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
                raise ValueError(
                    f"{type(self).__name__}: `seed` must be an integer of at least 0 or None, got {seed!r}"
                )
            seed = None if seed is None else int(seed)
        vars(self).update(seed=seed, _stream=None if seed is not None else {"seed": source().random.randint(1, 10**9)})

    def arguments_now(self) -> dict[str, Any]:
        found = super().arguments_now()
        return {**found, "seed": 0} if found["seed"] is None else found  # without one a generator would be drawn

    def note_change(self, name: str) -> None:
        if name == "seed":
            self._stream = type(self)()._stream if self.seed is None else None

    def _generator(self) -> np.random.Generator:
        if isinstance(self.seed, SeedGenerator):
            return np.random.default_rng([self.seed.seed, self.seed.advance(1)])
        if self._stream is None:
            return np.random.default_rng(self.seed)
        if not isinstance(self._stream, dict):
            return self._stream
        if "made" not in self._stream:  # not before: a model that is read from a file draws nothing
            self._stream.setdefault("made", np.random.default_rng(self._stream["seed"]))
        made: np.random.Generator = self._stream["made"]
        return made

    def _seed_config(self) -> Any:
        seed = self.seed
        if not isinstance(seed, SeedGenerator):
            return seed
        return {"class_name": "SeedGenerator", "config": {"seed": seed.seed, "stream": seed.stream}}

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._seed_config()}


class RandomNormal(Random):
    """Normal deviates."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return self._generator().normal(self.mean, self.stddev, shape).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self._seed_config()}


class TruncatedNormal(RandomNormal):
    """Normal deviates, drawn again beyond two standard deviations."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return (self.mean + self.stddev * _truncated(self._generator(), shape)).astype(dtype)


class RandomUniform(Random):
    """Uniform deviates in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return self._generator().uniform(self.minval, self.maxval, shape).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self._seed_config()}


class VarianceScaling(Random):
    """Deviates whose variance is ``scale / n``, n being the fan in, the fan out or their mean.

    Parameters
    ----------
    scale : float
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int or SeedGenerator, optional
    input_axes, output_axes : sequence of int, optional
        The axes of a weight that count for the fans, for weights that are not kernels with their inputs and outputs in
        the last two axes.

    References
    ----------
    .. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward networks", AISTATS 2010.
    .. [2] K. He et al., "Delving deep into rectifiers", ICCV 2015.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        if scale <= 0:
            raise ValueError(f"VarianceScaling: `scale` must be positive, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"VarianceScaling: `mode` must be fan_in, fan_out or fan_avg, got {mode!r}")
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                "VarianceScaling: `distribution` must be truncated_normal, untruncated_normal or uniform, "
                f"got {distribution!r}"
            )
        super().__init__(seed)
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return self.between(shape, dtype, self.input_axes, self.output_axes)

    def between(self, shape: tuple[int, ...], dtype: Any, input_axes: Any, output_axes: Any) -> Array:
        """A weight whose inputs and outputs lie in these axes, whatever those of the initializer are."""
        fan_in, fan_out = fans(shape, input_axes, output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return self._generator().uniform(-limit, limit, shape).astype(dtype)
        if self.distribution == "untruncated_normal":
            return self._generator().normal(0, math.sqrt(variance), shape).astype(dtype)
        return (math.sqrt(variance) / TRUNCATED_DEVIATION * _truncated(self._generator(), shape)).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        config = {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, **super().get_config()}
        for name in ("input_axes", "output_axes"):  # not known to older versions of Keras
            if getattr(self, name) is not None:
                config[name] = list(getattr(self, name))
        return config


def _scaled(name: str, scale: float, mode: str, distribution: str) -> type[VarianceScaling]:
    """A class for one usual choice of `VarianceScaling`, configured by its seed alone."""
    doc = f"`VarianceScaling` with scale {scale:g}, {mode} and a {distribution.replace('_', ' ')} distribution."
    return type(
        name,
        (VarianceScaling,),
        {
            "scale": scale,
            "mode": mode,
            "distribution": distribution,
            "input_axes": None,
            "output_axes": None,
            "__init__": Random.__init__,
            "get_config": Random.get_config,
            "__doc__": doc,
            "__module__": __name__,
        },
    )


GlorotUniform = _scaled("GlorotUniform", 1.0, "fan_avg", "uniform")
GlorotNormal = _scaled("GlorotNormal", 1.0, "fan_avg", "truncated_normal")
HeUniform = _scaled("HeUniform", 2.0, "fan_in", "uniform")
HeNormal = _scaled("HeNormal", 2.0, "fan_in", "truncated_normal")
LecunUniform = _scaled("LecunUniform", 1.0, "fan_in", "uniform")
LecunNormal = _scaled("LecunNormal", 1.0, "fan_in", "truncated_normal")


class Orthogonal(Random):
    """A random matrix with orthonormal rows or columns, times ``gain``.

    References
    ----------
    .. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
       neural networks", ICLR 2014.
    """

    gain: float

    def __init__(self, gain: float = 1.0, seed: Any = None):
        super().__init__(seed)
        vars(self)["gain"] = gain

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: needs at least two axes, got shape {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(self._generator().normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # makes the distribution uniform
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self._seed_config()}


def fans(shape: tuple[int, ...], input_axes: Any = None, output_axes: Any = None) -> tuple[float, float]:
    """Fan in and fan out of a weight of this shape, whose inputs and outputs lie in these axes."""
    if input_axes is not None and output_axes is not None:
        return float(math.prod(shape[k] for k in input_axes)), float(math.prod(shape[k] for k in output_axes))
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


def _truncated(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal deviates within two standard deviations."""
    values = generator.normal(size=shape)
    while (bad := np.abs(values) > 2).any():
        values[bad] = generator.normal(size=int(bad.sum()))
    return values


class _Given(Constant):
    """An array as the value of a weight of its very shape."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        if tuple(shape) != self.value.shape:
            raise ValueError(f"an array of shape {self.value.shape} is no initial value of shape {tuple(shape)}")
        return self.value.astype(dtype)


_CLASSES: list[Any] = [
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal, LecunUniform, Ones, Orthogonal,
    RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros,
]  # fmt: skip
_TABLE: dict[str, Any] = {cls.__name__: cls for cls in _CLASSES}
_TABLE.update(
    IdentityInitializer=Identity, OrthogonalInitializer=Orthogonal,
    constant=Constant, glorot_normal=GlorotNormal, glorot_uniform=GlorotUniform, he_normal=HeNormal,
    he_uniform=HeUniform, identity=Identity, lecun_normal=LecunNormal, lecun_uniform=LecunUniform, ones=Ones, one=Ones,
    orthogonal=Orthogonal, random_normal=RandomNormal, normal=RandomNormal, random_uniform=RandomUniform,
    uniform=RandomUniform, truncated_normal=TruncatedNormal, variance_scaling=VarianceScaling, zeros=Zeros, zero=Zeros,
)  # fmt: skip


constant, identity, ones, zeros = Constant, Identity, Ones, Zeros
glorot_normal, glorot_uniform, he_normal, he_uniform = GlorotNormal, GlorotUniform, HeNormal, HeUniform
lecun_normal, lecun_uniform, orthogonal, variance_scaling = LecunNormal, LecunUniform, Orthogonal, VarianceScaling
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal


def get(identifier: Any) -> Any:
    """The initializer of a name, a configuration, a callable, or an array that is to be the value itself.

    Parameters
    ----------
    identifier : str, dict, class, callable or array

    Returns
    -------
    callable
        ``(shape, dtype) -> array``: an `Initializer`, or what was given

    Raises
    ------
    ValueError
        If there is nothing of this name.

    Examples
    --------
    >>> from rnnx import initializers
    >>> initializers.get("orthogonal")((2, 3)).shape
    (2, 3)
    """
    if isinstance(identifier, np.ndarray):
        return _Given(identifier)
    return lookup("initializer", _TABLE, identifier, custom=True)


deserialize = get
