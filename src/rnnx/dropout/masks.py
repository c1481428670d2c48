"""The dropout masks of a recurrent layer: what one call draws, by the rules of a generation of Keras.

Its arrays are drawn on small broadcastable shapes, from the seed and the call number only, so that they depend neither
on threads nor on what else the process draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from rnnx._cells import CELLS
from rnnx._typing import Array
from rnnx.dropout.checks import NoiseShape, check_choice, check_rate, check_zoneout, shape_to_draw
from rnnx.dropout.noise import SeedGenerator

MODES = ("state", "update", "cell", "weights")
DROPOUT_GATES = ("keras", "shared", "per_gate")
ARRAYS = ("inputs", "recurrent", "zoneout_hidden", "zoneout_cell", "kernel_noise", "recurrent_kernel_noise")


@dataclass(frozen=True, eq=False)
class DropoutMasks:
    """The noise of one recurrent call.

    Attributes
    ----------
    inputs : array of shape (gates, batch, timesteps, features) or None
        Multiplies the input of each gate; any axis may be 1 (shared). Values 0 or ``1 / (1 - rate)``.
    recurrent : array or None
        What ``recurrent_mode`` says, of shape (gates, batch, timesteps, units) with axes that may be 1 (one gate
        only for ``"update"`` and ``"cell"``); for ``"weights"`` of the shape of the recurrent kernel.
    recurrent_mode : {"state", "update", "cell", "weights"}
    zoneout_hidden, zoneout_cell : array of shape (batch, timesteps, units) or None
        Share of the old state that is kept: 0 or 1 in training, the rate itself at inference. Axes may be 1.
    masked_blend : bool
        GRU of Keras 2.1-2.3 and 3.0-3.7: the blend ``z * h`` uses the masked state.
    kernel_noise, recurrent_kernel_noise : array of the shape of the kernel, or of the recurrent kernel, or None
        Added to it for this call, before a mask of ``"weights"``. Gradients are those of the weights without it.

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
    kernel_noise: Array | None = None
    recurrent_kernel_noise: Array | None = None

    @cached_property
    def on_weights(self) -> bool:
        """Whether a call runs on other weights than those that it is given, and packs them for itself."""
        dropped = self.recurrent_mode == "weights" and self.recurrent is not None
        return dropped or self.kernel_noise is not None or self.recurrent_kernel_noise is not None

    def map(self, function: Callable[[Array], Array]) -> DropoutMasks:
        """The set with ``function`` applied to each of its arrays; this very set if that changes none."""
        arrays = {name: array for name in ARRAYS if (array := getattr(self, name)) is not None}
        made: dict[str, Any] = {name: function(array) for name, array in arrays.items()}
        return self if all(made[name] is array for name, array in arrays.items()) else replace(self, **made)


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
    recurrent_blocks: int = 1,
    weight_steps: tuple[Array, Array] | None = None,
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
    recurrent_blocks : int
        Of a block-diagonal recurrent kernel; the masks of ``"weights"`` have its shape.
    weight_steps : pair of arrays of shape (gates*units,), optional
        How far apart the numbers are that the columns of kernel and recurrent kernel will be rounded to, see
        `rounding_steps`: noise of one such step is drawn for the weights, behind all masks, which stay what they are
        without it. Arrays of the dtype.

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
    .. [6] C. Baskin et al., "UNIQ: uniform noise injection for non-uniform quantization of neural networks", ACM
       Trans. Computer Systems 37, 2019; A. Fan et al., "Training with quantization noise for extreme model
       compression", ICLR 2021 (``weight_steps``).

    Examples
    --------
    >>> from rnnx.dropout import SeedGenerator, sample_masks
    >>> masks = sample_masks("gru", 8, 20, 3, 16, dropout=0.5, seed_generator=SeedGenerator(1))
    >>> masks.inputs.shape, masks.recurrent
    ((1, 8, 1, 3), None)
    """
    arguments = (cell, dropout, recurrent_dropout, dropout_gates, recurrent_dropout_mode, compat, zoneout)
    try:
        sites = _sites(*arguments)
    except TypeError:  # also of an argument that is no key; its own check says what is wrong
        sites = _sites.__wrapped__(*arguments)
    who, gates, dropout, recurrent_dropout, input_gates, recurrent_gates, profile, zone_cell, zone_hidden = sites
    mode = recurrent_dropout_mode
    drawn = input_gates * bool(dropout) + recurrent_gates * bool(recurrent_dropout)
    if not training:
        if seed_generator.stream == "keras":  # Keras draws in predict too, and throws the masks away
            seed_generator.advance(drawn)
        if not (zone_hidden or zone_cell):
            return None
        hidden, kept_cell = (np.full((1, 1, 1), rate, dtype) if rate else None for rate in (zone_hidden, zone_cell))
        return DropoutMasks(zoneout_hidden=hidden, zoneout_cell=kept_cell)
    drawn += bool(zone_hidden) + bool(zone_cell) + (0 if weight_steps is None else 2)
    if not drawn:
        return None
    draws = seed_generator.begin(drawn)

    inputs = recurrent = None
    if dropout:
        fresh = profile.fresh_steps and cudnn_able and cell != "simple_rnn" and not recurrent_dropout
        shape: tuple[int, ...]
        if noise_shape is None:
            shape, shared = (batch, timesteps if fresh else 1, features), False
        else:
            shape, shared = shape_to_draw(who, noise_shape, (batch, timesteps, features))
        inputs = draws.masks(input_gates, shape, dropout, dtype, shared)
    if recurrent_dropout and mode == "weights":
        recurrent = draws.of_weights((units // recurrent_blocks, gates * units), recurrent_dropout, dtype)
    elif recurrent_dropout:
        if recurrent_noise_shape is None:
            shape, shared = (batch, 1, units), False
        else:
            full = (batch, timesteps, units)
            shape, shared = shape_to_draw(who, recurrent_noise_shape, full, "recurrent_noise_shape")
        recurrent = draws.masks(recurrent_gates, shape, recurrent_dropout, dtype, shared)
    full = (batch, timesteps, units)
    hidden_mask, cell_mask = (
        (~draws.keep(full, rate)).astype(dtype) if rate else None for rate in (zone_hidden, zone_cell)
    )
    kernel_noise = recurrent_kernel_noise = None
    if weight_steps is not None:
        kernel_noise = draws.rounding(features, weight_steps[0])
        recurrent_kernel_noise = draws.rounding(units // recurrent_blocks, weight_steps[1])
    masks: DropoutMasks = object.__new__(DropoutMasks)  # its `__init__` would take as long as a small mask
    vars(masks).update(
        inputs=inputs,
        recurrent=recurrent,
        recurrent_mode=mode,
        zoneout_hidden=hidden_mask,
        zoneout_cell=cell_mask,
        masked_blend=profile.masked_blend and cell == "gru" and mode == "state" and recurrent is not None,
        kernel_noise=kernel_noise,
        recurrent_kernel_noise=recurrent_kernel_noise,
    )
    return masks


@lru_cache(maxsize=256, typed=True)
def _sites(
    cell: str,
    dropout: float,
    recurrent_dropout: float,
    dropout_gates: str,
    mode: str,
    compat: str,
    zoneout: Any,
) -> tuple[str, int, float, float, int, int, Profile, float, float]:
    """The rates and words, checked once for all calls that have them; how many masks each site needs."""
    check_choice("sample_masks", "cell", cell, CELLS)
    who, gates = CELLS[cell].name, CELLS[cell].gates
    check_choice(who, "compat", compat, PROFILES)
    check_choice(who, "dropout_gates", dropout_gates, DROPOUT_GATES)
    check_choice(who, "recurrent_dropout_mode", mode, MODES)
    dropout = check_rate(who, "dropout", dropout)
    recurrent_dropout = check_rate(who, "recurrent_dropout", recurrent_dropout)
    profile = PROFILES[compat]
    zone_cell, zone_hidden = check_zoneout(who, zoneout, has_cell=cell == "lstm")

    def gates_of(per_gate: bool) -> int:
        return gates if dropout_gates == "per_gate" or (dropout_gates == "keras" and per_gate) else 1

    input_gates = gates_of(profile.inputs_with_recurrent if recurrent_dropout else profile.inputs_alone)
    recurrent_gates = gates_of(profile.recurrent) if mode == "state" else 1
    return who, gates, dropout, recurrent_dropout, input_gates, recurrent_gates, profile, zone_cell, zone_hidden
