"""All dropout noise: drawn here, once per call, as plain arrays that anybody can look at.

A recurrent layer has one `DropoutMasks` per call. Its arrays are drawn on small broadcastable shapes, from the
seed and the call number only, so that they depend neither on threads nor on what else the process draws.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnx._cells import CELLS
from rnnx._changes import change, seen
from rnnx._typing import Array

NoiseShape = Iterable[Any] | None

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
        What ``recurrent_mode`` says, of shape (gates, batch, timesteps, units) with axes that may be 1 (one gate
        only for ``"update"`` and ``"cell"``); for ``"weights"`` of shape (units, gates*units).
    recurrent_mode : {"state", "update", "cell", "weights"}
    zoneout_hidden, zoneout_cell : array of shape (batch, timesteps, units) or None
        Share of the old state that is kept: 0 or 1 in training, the rate itself at inference. Axes may be 1.
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

    def map(self, function: Callable[[Array], Array]) -> DropoutMasks:
        """The set with ``function`` applied to each of its arrays; this very set if that changes none."""
        arrays = {
            name: array
            for name in ("inputs", "recurrent", "zoneout_hidden", "zoneout_cell")
            if (array := getattr(self, name)) is not None
        }
        made: dict[str, Any] = {name: function(array) for name, array in arrays.items()}
        return self if all(made[name] is array for name, array in arrays.items()) else replace(self, **made)


class SeedGenerator:
    """A seed and a counter: the source of all noise of a layer.

    Parameters
    ----------
    seed : int or None
        0 to 2**32 - 1. None takes one from Python's ``random``, as Keras does, so that ``utils.set_random_seed``
        fixes it.
    stream : {"rnnx", "keras"}
        ``"rnnx"`` makes one NumPy generator per call from ``(seed, call)``. ``"keras"`` reproduces the masks of
        Keras 3 on its NumPy backend bit for bit: every drawn array has a generator of its own from
        ``(seed, counter)``.

    Raises
    ------
    TypeError, ValueError
        If the seed is not an integer or out of range, or the stream is unknown.

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
            seed = random.randint(1, 10**9)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"SeedGenerator: `seed` must be an integer or None, got {type(seed).__name__}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"SeedGenerator: `seed` must lie in 0..2**32-1, got {seed}")
        self.seed = int(seed)
        self.stream = stream
        self._counter = self._reserved = 0
        self._calls = 0  # that have reserved values and not ended
        self._lock = threading.Lock()

    @classmethod
    def of(cls, seed: int | SeedGenerator | None) -> SeedGenerator:
        """A seed generator as it is, or a new one from a seed."""
        return seed if isinstance(seed, SeedGenerator) else cls(seed)

    @property
    def state(self) -> tuple[int, int]:
        """The pair (seed, counter); assign it to continue where another generator stood."""
        with self._lock:
            return self.seed, self._counter

    @state.setter
    def state(self, value: Sequence[int]) -> None:
        seed, counter = (int(number) for number in value)
        if not 0 <= seed < 2**32 or counter < 0:
            raise ValueError(f"SeedGenerator: `state` must be (seed, counter), neither negative, got {tuple(value)}")
        with self._lock:
            self.seed, self._counter, self._reserved = seed, counter, counter

    def advance(self, count: int) -> int:
        """Use up ``count`` values of the counter; the first of them is returned.

        In a call of a layer they are reserved, and used up when it has succeeded; calls of other threads get others.
        """
        mine = seen(self, None)
        with self._lock:
            first = self._reserved
            self._reserved += count
            if mine is None:
                self._calls += 1
        change(self, first + count, self._use, self._release)
        return first

    def _use(self, end: int) -> None:
        """The call that reserved values up to ``end`` has succeeded."""
        with self._lock:
            self._counter = max(self._counter, end)
        self._release()

    def _release(self) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                self._reserved = self._counter

    def begin(self, draws: int = 1) -> Draws:
        """The noise of one call, in which at most ``draws`` arrays will be drawn."""
        if self.stream == "rnnx":
            return Draws(self.seed, self.advance(1), shared=True)
        return Draws(self.seed, self.advance(draws), shared=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"seed": self.seed, "stream": self.stream, "_counter": self._counter}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reserved=state["_counter"], _calls=0, _lock=threading.Lock())


class Draws:
    """The noise of one call; made by `SeedGenerator.begin`.

    One generator is shared by the whole call, or every array has its own, from the next counter.
    """

    def __init__(self, seed: int, counter: int, shared: bool):
        self._seed, self._counter = seed, counter
        self._shared = np.random.default_rng([seed, counter]) if shared else None

    def _next(self) -> np.random.Generator:
        if self._shared is not None:
            return self._shared
        self._counter += 1
        return np.random.default_rng([self._seed, self._counter - 1])

    def keep(self, shape: Sequence[int], rate: float) -> NDArray[np.bool_]:
        """True with probability ``1 - rate``."""
        if self._shared is not None:
            return self._shared.random(shape, np.float32) >= rate
        return self._next().uniform(size=shape) < 1 - rate

    def uniform(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Uniform deviates in [0, 1)."""
        if self._shared is not None:
            return self._shared.random(shape, np.float32)
        return self._next().uniform(size=shape).astype(np.float32)

    def normal(self, shape: Sequence[int], mean: float, deviation: float) -> NDArray[np.float64]:
        """Normal deviates."""
        return self._next().normal(mean, deviation, shape)

    def masks(self, gates: int, shape: Sequence[int], rate: float, dtype: Any) -> Array:
        """Masks of 0 and ``1 / (1 - rate)``, of this shape for each gate, drawn gate after gate."""
        if self._shared is not None:
            keep = self.keep((gates, *shape), rate)
        else:
            keep = np.stack([self.keep(shape, rate) for _ in range(gates)])
        return keep * (np.asarray(1, dtype) / np.asarray(1 - rate, dtype))


# ---- Checks ----------------------------------------------------------------------------------------------------


def check_rate(who: str, name: str, rate: Any, *, one_allowed: bool = False) -> float:
    """A rate as a float in [0, 1), or [0, 1]."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
        raise TypeError(f"{who}: `{name}` must be a number, got {type(rate).__name__}")
    if not 0 <= rate <= 1 or (rate == 1 and not one_allowed):
        raise ValueError(f"{who}: `{name}` must lie in [0, 1{']' if one_allowed else ')'}, got {rate}")
    return float(rate)


def check_zoneout(who: str, zoneout: Any, *, has_cell: bool) -> tuple[float, float]:
    """A pair of rates (cell, hidden) from a rate or a pair; without a cell the first is 0."""
    if not isinstance(zoneout, (tuple, list)):
        rate = check_rate(who, "zoneout", zoneout)
        return (rate if has_cell else 0.0), rate
    if len(zoneout) != 2:
        raise ValueError(f"{who}: `zoneout` must be a rate or a pair (cell, hidden), got {len(zoneout)} values")
    cell, hidden = (check_rate(who, "zoneout", rate) for rate in zoneout)
    if cell and not has_cell:
        raise ValueError(
            f"{who}: `zoneout` = (cell, hidden) must have 0 for the cell, this layer has none; got {zoneout}"
        )
    return cell, hidden


def check_noise_shape(who: str, noise_shape: NoiseShape, name: str = "noise_shape") -> tuple[int | None, ...] | None:
    """Keras' rules: an iterable, not a string, whose entries are None or Python integers greater than 0."""
    if noise_shape is None:
        return None
    if isinstance(noise_shape, str) or not isinstance(noise_shape, Iterable):
        raise ValueError(f"{who}: `{name}` must be a tuple of integers and None, got {noise_shape!r}")
    entries = tuple(noise_shape)
    for entry in entries:
        if entry is not None and (not isinstance(entry, int) or entry < 1):
            raise ValueError(
                f"{who}: every entry of `{name}` must be None or a Python int greater than 0, "
                f"got {entry!r} in {entries}"
            )
    return tuple([entry if entry is None else int(entry) for entry in entries])


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
        raise ValueError(
            f"{who}: `{name}` must have at most {len(shape)} entries for an input of shape {tuple(shape)}, "
            f"got {entries}"
        )
    sizes = tuple(shape)[len(shape) - len(entries) :]
    drawn = tuple([size if entry is None else entry for entry, size in zip(entries, sizes, strict=True)])
    if any([got not in (1, size) for got, size in zip(drawn, sizes, strict=True)]):
        raise ValueError(
            f"{who}: every entry of `{name}` must be None, 1 or the size of the input there, got {entries} for an "
            f"input of shape {tuple(shape)}; None fits any size, also a smaller last batch"
        )
    return drawn


# ---- What a generation of Keras drops --------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """Dropout of one Keras generation."""

    inputs_alone: bool  # a mask per gate: of the input without recurrent dropout,
    inputs_with_recurrent: bool  # of the input with it,
    recurrent: bool  # of the state
    fresh_steps: bool = False  # tf.keras on its fast path, so without recurrent dropout: a new input mask at every step
    masked_blend: bool = False  # see DropoutMasks


PROFILES: dict[str, Profile] = {
    "keras3": Profile(False, True, True),
    "keras3.2": Profile(False, False, False, masked_blend=True),
    "tf_keras2": Profile(False, True, True, fresh_steps=True),
    "tf_keras2.0": Profile(False, False, False, fresh_steps=True, masked_blend=True),
    "keras2.3": Profile(False, False, False, masked_blend=True),
    "keras2.2": Profile(True, True, True),
    "keras1": Profile(True, True, True),
}


def check_choice(who: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse a word that is not among the choices."""
    if value not in (known := tuple(choices)):
        raise ValueError(f"{who}: `{name}` must be one of {', '.join(map(repr, known))}, got {value!r}")


# ---- Masks of a recurrent layer --------------------------------------------------------------------------------


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
    noise_shape, recurrent_noise_shape : iterable of int and None, optional
        Over (batch, timesteps, features) and (batch, timesteps, units); default ``(None, 1, None)``.
    dropout_gates : {"keras", "shared", "per_gate"}
        One mask for all gates or one per gate; ``"keras"`` does what ``compat`` does.
    recurrent_dropout_mode : {"state", "update", "cell", "weights"}
        ``"cell"`` scales what it keeps by ``1 / (1 - rate)`` at every step: choose it for short memories only.
    zoneout : float or pair (cell, hidden) of float
    compat : str
        A name of `PROFILES`.
    training : bool
        Without it nothing is drawn, and only the expectation of zoneout is applied.
    seed_generator : SeedGenerator
    dtype : dtype
    cudnn_able : bool
        Whether tf.keras 2 would run the layer on its fast path: an LSTM or GRU with tanh, sigmoid, bias and
        ``reset_after``, not unrolled. Only the ``tf_keras2`` profiles look at it.

    Returns
    -------
    DropoutMasks or None
        None when there is nothing to apply.

    Raises
    ------
    TypeError, ValueError
        If a rate, a shape or a word is not among those above.

    References
    ----------
    .. [1] Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
       NeurIPS 2016 (``"state"``).
    .. [2] S. Semeniuta, A. Severyn, E. Barth, "Recurrent dropout without memory loss", COLING 2016
       (``"update"``).
    .. [3] T. Moon et al., "rnnDrop: a novel dropout for RNNs in ASR", ASRU 2015 (``"cell"``).
    .. [4] S. Merity, N. Keskar, R. Socher, "Regularizing and optimizing LSTM language models", ICLR 2018
       (``"weights"``).
    .. [5] D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017.

    Examples
    --------
    >>> from rnnx.dropout import SeedGenerator, sample_masks
    >>> masks = sample_masks("gru", 8, 20, 3, 16, dropout=0.5, seed_generator=SeedGenerator(1))
    >>> masks.inputs.shape, masks.recurrent
    ((1, 8, 1, 3), None)
    """
    check_choice("sample_masks", "cell", cell, CELLS)
    who, gates = CELLS[cell].name, CELLS[cell].gates
    check_choice(who, "compat", compat, PROFILES)
    check_choice(who, "dropout_gates", dropout_gates, DROPOUT_GATES)
    check_choice(who, "recurrent_dropout_mode", recurrent_dropout_mode, MODES)
    dropout = check_rate(who, "dropout", dropout)
    recurrent_dropout = check_rate(who, "recurrent_dropout", recurrent_dropout)
    zone_cell, zone_hidden = check_zoneout(who, zoneout, has_cell=cell == "lstm")
    profile, mode = PROFILES[compat], recurrent_dropout_mode

    def gates_of(per_gate: bool) -> int:
        return gates if dropout_gates == "per_gate" or (dropout_gates == "keras" and per_gate) else 1

    input_gates = gates_of(profile.inputs_with_recurrent if recurrent_dropout else profile.inputs_alone)
    recurrent_gates = gates_of(profile.recurrent) if mode == "state" else 1
    drawn = input_gates * bool(dropout) + recurrent_gates * bool(recurrent_dropout)
    if not training:
        if seed_generator.stream == "keras":  # Keras draws in predict too, and throws the masks away
            seed_generator.advance(drawn)
        if not (zone_hidden or zone_cell):
            return None
        hidden, kept_cell = (np.full((1, 1, 1), rate, dtype) if rate else None for rate in (zone_hidden, zone_cell))
        return DropoutMasks(zoneout_hidden=hidden, zoneout_cell=kept_cell)
    drawn += bool(zone_hidden) + bool(zone_cell)
    if not drawn:
        return None
    draws = seed_generator.begin(drawn)

    inputs = recurrent = None
    if dropout:
        fresh = profile.fresh_steps and cudnn_able and cell != "simple_rnn" and not recurrent_dropout
        wish = (None, None if fresh else 1, None) if noise_shape is None else noise_shape
        shape = resolve_noise_shape(who, wish, (batch, timesteps, features))
        inputs = draws.masks(input_gates, _three(shape), dropout, dtype)
    if recurrent_dropout and mode == "weights":
        recurrent = draws.masks(1, (units, gates * units), recurrent_dropout, dtype)[0]
    elif recurrent_dropout:
        wish = (None, 1, None) if recurrent_noise_shape is None else recurrent_noise_shape
        shape = resolve_noise_shape(who, wish, (batch, timesteps, units), "recurrent_noise_shape")
        recurrent = draws.masks(recurrent_gates, _three(shape), recurrent_dropout, dtype)
    full = (batch, timesteps, units)
    return DropoutMasks(
        inputs=inputs,
        recurrent=recurrent,
        recurrent_mode=mode,
        zoneout_hidden=(~draws.keep(full, zone_hidden)).astype(dtype) if zone_hidden else None,
        zoneout_cell=(~draws.keep(full, zone_cell)).astype(dtype) if zone_cell else None,
        masked_blend=profile.masked_blend and cell == "gru" and mode == "state" and recurrent is not None,
    )


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A (possibly shorter, right-aligned) noise shape with all three axes."""
    return (1,) * (3 - len(shape)) + shape


# ---- Element-wise dropout: forward above its backward ------------------------------------------------------------


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
    keep : bool array of the noise shape

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """
    rate = _check(who, x, rate, one_allowed=True)
    shape = resolve_noise_shape(who, noise_shape, x.shape)
    keep = draws.keep(shape, rate) if rate < 1 else np.zeros(shape, bool)
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
    slope : array of the noise shape
        dy/dx: 0 where dropped.

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
    """
    rate = _check("AlphaDropout", x, rate)
    keep = draws.uniform(resolve_noise_shape("AlphaDropout", noise_shape, x.shape)) >= rate
    scale = ((1 - rate) * (1 + rate * ALPHA_PRIME**2)) ** -0.5
    slope, shift = np.asarray(scale, x.dtype), np.asarray(-scale * ALPHA_PRIME * rate, x.dtype)
    return np.where(keep, x, np.asarray(ALPHA_PRIME, x.dtype)) * slope + shift, keep * slope


def alpha_dropout_backward(dy: Array, slope: Array) -> Array:
    """Gradient of `alpha_dropout` with respect to ``x``."""
    return dy * slope
