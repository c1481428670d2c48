"""All dropout noise: drawn here, once per call, as plain arrays that anybody can look at.

A recurrent layer has one `DropoutMasks` per call. Its arrays are drawn on small broadcastable shapes, from the seed and
the call number only, so that they depend neither on threads nor on what else the process draws.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NoiseShape = Iterable[Any] | None

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
MODES = ("state", "update", "cell", "weights")
DROPOUT_GATES = ("keras", "shared", "per_gate")


@dataclass(frozen=True, eq=False)
class DropoutMasks:
    """The noise of one recurrent call.

    Attributes
    ----------
    inputs : array of shape (gates, batch, timesteps, features) or None
        Multiplies the input of each gate; any axis may be 1 (shared). Values 0 or ``1 / (1 - rate)``.
    recurrent : array or None
        What ``recurrent_mode`` says, of shape (gates, batch, timesteps, units) with axes that may be 1; for
        ``"weights"`` of shape (units, gates*units).
    recurrent_mode : {"state", "update", "cell", "weights"}
    zoneout_hidden, zoneout_cell : array of shape (batch, timesteps, units) or None
        Share of the old state that is kept: 0 or 1 in training, the rate itself at inference.
    masked_blend : bool
        GRU of Keras 2.1-2.3 and 3.0-3.7: the blend ``z * h`` uses the masked state.

    Notes
    -----
    The time axis counts the steps of the input, also for layers that read it backwards.
    """

    inputs: Array | None = None
    recurrent: Array | None = None
    recurrent_mode: str = "state"
    zoneout_hidden: Array | None = None
    zoneout_cell: Array | None = None
    masked_blend: bool = False


class SeedGenerator:
    """A seed and a counter: the source of all noise of a layer.

    Parameters
    ----------
    seed : int or None
        None takes one from Python's ``random``, as Keras does, so that ``utils.set_random_seed`` fixes it.
    stream : {"rnnx", "keras"}
        ``"rnnx"`` makes one NumPy generator per call from ``(seed, call)``. ``"keras"`` reproduces the masks of Keras 3
        on its NumPy backend bit for bit: every single draw has a generator of its own from ``[seed, counter]``.

    Raises
    ------
    ValueError, TypeError
        If the seed is negative or not an integer, or the stream is unknown.

    Examples
    --------
    >>> from rnnx.dropout import SeedGenerator
    >>> a, b = SeedGenerator(3), SeedGenerator(3)
    >>> bool((a.begin().keep((4,), 0.5) == b.begin().keep((4,), 0.5)).all())
    True
    """

    def __init__(self, seed: int | None = None, stream: Literal["rnnx", "keras"] = "rnnx"):
        if stream not in ("rnnx", "keras"):
            raise ValueError(f"SeedGenerator: `stream` must be 'rnnx' or 'keras', got {stream!r}")
        if seed is None:
            import random

            seed = random.randint(1, 10**9)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"SeedGenerator: `seed` must be an integer or None, got {type(seed).__name__}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"SeedGenerator: `seed` must lie in 0..2**32-1, got {seed}")
        self.seed = int(seed)
        self.stream = stream
        self._counter = 0
        self._lock = threading.Lock()

    @property
    def state(self) -> tuple[int, int]:
        """The pair (seed, counter); assign it to continue where another generator stood."""
        return self.seed, self._counter

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        seed, counter = value
        with self._lock:
            self.seed, self._counter = int(seed), int(counter)

    def advance(self, count: int) -> int:
        """Use up ``count`` values of the counter; the first of them is returned."""
        with self._lock:
            first = self._counter
            self._counter += count
        return first

    def begin(self) -> Draws:
        """The noise of one call."""
        return Draws(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"seed": self.seed, "stream": self.stream, "counter": self._counter}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.seed, self.stream, self._counter = state["seed"], state["stream"], state["counter"]
        self._lock = threading.Lock()


class Draws:
    """The noise of one call of one layer; see `SeedGenerator.begin`."""

    def __init__(self, source: SeedGenerator):
        self._source = source
        self._generator = None if source.stream == "keras" else np.random.default_rng([source.seed, source.advance(1)])

    def _next(self) -> np.random.Generator:
        if self._generator is not None:
            return self._generator
        return np.random.default_rng([self._source.seed, self._source.advance(1)])

    def keep(self, shape: Sequence[int], rate: float) -> NDArray[np.bool_]:
        """True with probability ``1 - rate``."""
        if self._generator is None:
            return self._next().uniform(size=shape) < 1 - rate
        return self._generator.random(shape, dtype=np.float32) >= np.float32(rate)

    def normal(self, shape: Sequence[int], mean: float, deviation: float) -> NDArray[np.float64]:
        """Normal deviates."""
        return self._next().normal(mean, deviation, size=shape)

    def uniform(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Uniform deviates in [0, 1)."""
        return self._next().uniform(size=shape)


# ---- Checks ---------------------------------------------------------------------------------------------------------


def check_rate(who: str, name: str, rate: Any, *, one_allowed: bool = False) -> float:
    """A rate as a float in [0, 1), or [0, 1]."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
        raise TypeError(f"{who}: `{name}` must be a number, got {type(rate).__name__}")
    if not 0 <= rate <= 1 or (rate == 1 and not one_allowed):
        raise ValueError(f"{who}: `{name}` must lie in [0, 1{']' if one_allowed else ')'}, got {rate}")
    return float(rate)


def check_zoneout(who: str, zoneout: Any, *, has_cell: bool) -> tuple[float, float]:
    """A pair of rates (cell, hidden) from a rate or a pair."""
    if isinstance(zoneout, (tuple, list)):
        if len(zoneout) != 2:
            raise ValueError(f"{who}: `zoneout` must be a rate or a pair (cell, hidden), got {len(zoneout)} values")
        cell, hidden = (
            check_rate(who, f"zoneout {name}", z) for name, z in zip(("cell", "hidden"), zoneout, strict=True)
        )
        if cell and not has_cell:
            raise ValueError(f"{who}: `zoneout` of the cell must be 0, this layer has no separate cell; got {cell}")
        return cell, hidden
    rate = check_rate(who, "zoneout", zoneout)
    return (rate if has_cell else 0.0), rate


def check_noise_shape(who: str, noise_shape: Any, name: str = "noise_shape") -> tuple[int | None, ...] | None:
    """Keras' rules: an iterable, not a string, whose entries are None or Python integers greater than 0."""
    if noise_shape is None:
        return None
    if isinstance(noise_shape, str) or not isinstance(noise_shape, Iterable):
        raise ValueError(f"{who}: `{name}` must be a tuple of integers and None, got {noise_shape!r}")
    entries = tuple(noise_shape)
    for entry in entries:
        if entry is not None and (not isinstance(entry, int) or entry < 1):
            raise ValueError(f"{who}: every entry of `{name}` must be None or an integer greater than 0, got {entries}")
    return entries


def resolve_noise_shape(
    who: str, noise_shape: NoiseShape, shape: Sequence[int], name: str = "noise_shape"
) -> tuple[int, ...]:
    """The shape to draw: None entries take the size of the input; a shorter one is aligned to the right.

    Raises
    ------
    ValueError
        If an entry is neither 1 nor the size of the input there, or there are more entries than axes.
    """
    entries = check_noise_shape(who, noise_shape, name)
    if entries is None:
        return tuple(shape)
    if len(entries) > len(shape):
        raise ValueError(f"{who}: `{name}` {entries} has more axes than the input {tuple(shape)}")
    tail = tuple(shape)[len(shape) - len(entries) :]
    drawn = tuple(size if entry is None else int(entry) for entry, size in zip(entries, tail, strict=True))
    if any(got not in (1, size) for got, size in zip(drawn, tail, strict=True)):
        raise ValueError(
            f"{who}: every entry of `{name}` must be None, 1 or the size of the input there, got {entries} for an input "
            f"of shape {tuple(shape)}; None fits any size, also a smaller last batch"
        )
    return drawn


# ---- What a generation of Keras drops ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """Dropout masks of one Keras generation: ``"shared"``, ``"per_gate"``, or ``"per_step"`` (fresh at every step)."""

    inputs_alone: str  # input masks without recurrent dropout
    inputs_with_recurrent: str
    recurrent: str
    masked_blend: bool = False
    recurrent_rate_from_inputs: bool = False


PROFILES: dict[str, Profile] = {
    "keras3": Profile("shared", "per_gate", "per_gate"),
    "keras3.2": Profile("shared", "shared", "shared", masked_blend=True),
    "keras3.0": Profile("shared", "shared", "shared", masked_blend=True, recurrent_rate_from_inputs=True),
    "tf_keras2": Profile("per_step", "per_gate", "per_gate"),
    "tf_keras2.0": Profile("per_step", "shared", "shared", masked_blend=True),
    "keras2.3": Profile("shared", "shared", "shared", masked_blend=True),
    "keras2.2": Profile("per_gate", "per_gate", "per_gate"),
    "keras1": Profile("per_gate", "per_gate", "per_gate"),
}


def check_profile(who: str, compat: str) -> Profile:
    """The profile of a name."""
    if compat not in PROFILES:
        raise ValueError(f"{who}: `compat` must be one of {', '.join(PROFILES)}, got {compat!r}")
    return PROFILES[compat]


# ---- Masks of a recurrent layer -----------------------------------------------------------------------------------------


def sample_masks(
    cell: str,
    batch: int,
    timesteps: int,
    features: int,
    units: int,
    *,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    noise_shape: NoiseShape = None,
    recurrent_noise_shape: NoiseShape = None,
    dropout_gates: str = "keras",
    recurrent_dropout_mode: str = "state",
    zoneout: Any = 0.0,
    compat: str = "keras3",
    training: bool = True,
    seed_generator: SeedGenerator,
    dtype: Any = np.float32,
    cudnn_able: bool = True,
) -> DropoutMasks | None:
    """Draw the masks of one call.

    Parameters
    ----------
    cell : {"lstm", "gru", "simple_rnn"}
    batch, timesteps, features, units : int
    dropout, recurrent_dropout : float
        Rates in [0, 1).
    noise_shape, recurrent_noise_shape : tuple, optional
        Over (batch, timesteps, features) and (batch, timesteps, units); default ``(None, 1, None)``.
    dropout_gates : {"keras", "shared", "per_gate"}
    recurrent_dropout_mode : {"state", "update", "cell", "weights"}
    zoneout : float or pair (cell, hidden)
    compat : str
        A name of `PROFILES`.
    training : bool
        Without it only the expectation of zoneout is applied.
    seed_generator : SeedGenerator
    dtype : dtype
    cudnn_able : bool
        Whether tf.keras would run the layer on its fast path (tanh, sigmoid, bias, reset_after, not unrolled); only
        the ``tf_keras2`` profiles look at it.

    Returns
    -------
    DropoutMasks or None
        None when there is nothing to apply.

    References
    ----------
    .. [1] Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
       NeurIPS 2016 (``"state"``).
    .. [2] S. Semeniuta, A. Severyn, E. Barth, "Recurrent dropout without memory loss", COLING 2016 (``"update"``).
    .. [3] T. Moon et al., "rnnDrop: a novel dropout for RNNs in ASR", ASRU 2015 (``"cell"``).
    """Draw the masks of one call.
    .. [5] D. Krueger et al., "Zoneout", ICLR 2017.
    """
    gates = GATES[cell]
    profile = check_profile(cell, compat)
    if dropout_gates not in DROPOUT_GATES:
        raise ValueError(f"{cell}: `dropout_gates` must be one of {DROPOUT_GATES}, got {dropout_gates!r}")
    if recurrent_dropout_mode not in MODES:
        raise ValueError(f"{cell}: `recurrent_dropout_mode` must be one of {MODES}, got {recurrent_dropout_mode!r}")
    zone_cell, zone_hidden = check_zoneout(cell, zoneout, has_cell=cell == "lstm")
    if profile.recurrent_rate_from_inputs:
        recurrent_dropout = dropout
    input_kind = _input_kind(profile, recurrent_dropout, dropout_gates, cudnn_able, gates, cell)
    recurrent_gates = gates if _per_gate(profile.recurrent, dropout_gates, gates) else 1
    input_gates = gates if input_kind == "per_gate" else 1
    if not training:
        if seed_generator.stream == "keras":  # Keras draws in predict too, and throws the masks away
            seed_generator.advance((input_gates if dropout else 0) + (recurrent_gates if recurrent_dropout else 0))
        return _expected_zoneout(zone_cell, zone_hidden, dtype)
    if not (dropout or recurrent_dropout or zone_cell or zone_hidden):
        return None
    draws = seed_generator.begin()
    inputs = recurrent = None
    if dropout:
        default = (None, None, None) if input_kind == "per_step" else (None, 1, None)
        shape = resolve_noise_shape(cell, noise_shape or default, (batch, timesteps, features))
        inputs = _scaled(draws, input_gates, _three(shape), dropout, dtype)
    if recurrent_dropout and recurrent_dropout_mode == "weights":
        recurrent = _scaled(draws, 1, (1, units, gates * units), recurrent_dropout, dtype)[0, 0]
    elif recurrent_dropout:
        shape = resolve_noise_shape(
            cell, recurrent_noise_shape or (None, 1, None), (batch, timesteps, units), "recurrent_noise_shape"
        )
        count = recurrent_gates if recurrent_dropout_mode == "state" else 1
        recurrent = _scaled(draws, count, _three(shape), recurrent_dropout, dtype)
    full = (batch, timesteps, units)
    return DropoutMasks(
        inputs=inputs,
        recurrent=recurrent,
        recurrent_mode=recurrent_dropout_mode,
        zoneout_hidden=(~draws.keep(full, zone_hidden)).astype(dtype) if zone_hidden else None,
        zoneout_cell=(~draws.keep(full, zone_cell)).astype(dtype) if zone_cell else None,
        masked_blend=profile.masked_blend
        and cell == "gru"
        and recurrent_dropout_mode == "state"
        and recurrent is not None,
    )


def _per_gate(kind: str, dropout_gates: str, gates: int) -> bool:
    return gates > 1 and (dropout_gates == "per_gate" or (dropout_gates == "keras" and kind == "per_gate"))


def _input_kind(
    profile: Profile, recurrent_dropout: float, dropout_gates: str, cudnn_able: bool, gates: int, cell: str
) -> str:
    """``"shared"``, ``"per_gate"`` or ``"per_step"``."""
    if dropout_gates != "keras":
        return "per_gate" if dropout_gates == "per_gate" and gates > 1 else "shared"
    kind = profile.inputs_with_recurrent if recurrent_dropout else profile.inputs_alone
    if kind == "per_step" and not (cudnn_able and cell != "simple_rnn"):
        kind = "shared"
    return "shared" if gates == 1 and kind == "per_gate" else kind


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A (possibly shorter, right-aligned) noise shape with all three axes."""
    batch, timesteps, width = (1,) * (3 - len(shape)) + shape
    return batch, timesteps, width


def _scaled(draws: Draws, gates: int, shape: tuple[int, int, int], rate: float, dtype: Any) -> Array:
    """Masks of 0 and 1/(1-rate), drawn gate after gate."""
    kept = np.asarray(1, dtype) / np.asarray(1 - rate, dtype)
    return np.stack([draws.keep(shape, rate) for _ in range(gates)]).astype(dtype) * kept


def _expected_zoneout(cell: float, hidden: float, dtype: Any) -> DropoutMasks | None:
    if not (cell or hidden):
        return None
    return DropoutMasks(
        zoneout_hidden=np.full((1, 1, 1), hidden, dtype) if hidden else None,
        zoneout_cell=np.full((1, 1, 1), cell, dtype) if cell else None,
    )


# ---- Element-wise dropout: forward above its backward --------------------------------------------------------------------


def dropout(
    x: Array, rate: float, draws: Draws, noise_shape: NoiseShape = None, who: str = "Dropout"
) -> tuple[Array, Array]:
    """``x / (1 - rate)`` where kept, else 0.

    Parameters
    ----------
    x : array
    rate : float
        In [0, 1]; with 1 everything is dropped.
    draws : Draws
    noise_shape : tuple, optional
        Shape of the mask, broadcast to ``x``; None entries take the size of ``x``.

    Returns
    -------
    y : array like ``x``
    keep : bool array of the noise shape
    """
    shape = resolve_noise_shape(who, noise_shape, x.shape)
    if rate >= 1:
        return np.zeros_like(x), np.zeros(shape, bool)
    keep = draws.keep(shape, rate)
    return np.where(keep, x / np.asarray(1 - rate, x.dtype), np.zeros((), x.dtype)), keep


def dropout_backward(dy: Array, keep: Array, rate: float) -> Array:
    """Gradient of `dropout` with respect to ``x``."""
    if rate >= 1:
        return np.zeros_like(dy)
    return np.where(keep, dy / np.asarray(1 - rate, dy.dtype), np.zeros((), dy.dtype))


def gaussian_dropout(x: Array, rate: float, draws: Draws) -> tuple[Array, Array]:
    """``x`` times normal noise of mean 1 and standard deviation ``sqrt(rate / (1 - rate))``; returns it and the noise.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """
    noise = draws.normal(x.shape, 1.0, float(np.sqrt(rate / (1 - rate)))).astype(x.dtype)
    return x * noise, noise


def gaussian_dropout_backward(dy: Array, noise: Array) -> Array:
    """Gradient of `gaussian_dropout` with respect to ``x``."""
    return dy * noise


ALPHA_PRIME = -1.7580993408473766  # the value SELU saturates to: -scale * alpha


def alpha_dropout(x: Array, rate: float, draws: Draws, noise_shape: NoiseShape = None) -> tuple[Array, Array]:
    """Dropout for SELU networks: dropped values become SELU's negative limit, mean and variance are kept.

    Returns
    -------
    y : array like ``x``
    slope : array of the noise shape
        dy/dx: 0 where dropped.

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
    """
    shape = resolve_noise_shape("AlphaDropout", noise_shape, x.shape)
    keep = draws.uniform(shape) >= rate
    a = ((1 - rate) * (1 + rate * ALPHA_PRIME**2)) ** -0.5
    b = -a * ALPHA_PRIME * rate
    y = np.where(keep, x, np.asarray(ALPHA_PRIME, x.dtype)) * np.asarray(a, x.dtype) + np.asarray(b, x.dtype)
    return y, keep.astype(x.dtype) * np.asarray(a, x.dtype)


def alpha_dropout_backward(dy: Array, slope: Array) -> Array:
    """Gradient of `alpha_dropout` with respect to ``x``."""
    return dy * slope
