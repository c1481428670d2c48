"""Keras' LSTM, GRU and SimpleRNN on the engine, with the dropout that Keras does not have."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from rnnx.dropout import DROPOUT_GATES, MODES, check_choice, check_noise_shape, check_rate, check_zoneout
from rnnx.keras.accelerate import inner_loop

PLAIN: dict[str, Any] = {
    "noise_shape": None, "recurrent_noise_shape": None, "dropout_gates": "keras", "recurrent_dropout_mode": "state",
    "zoneout": 0.0,
}  # fmt: skip
registered = keras.saving.register_keras_serializable("rnnx")


class Noisy(layers.RNN):
    """More words for the dropout of a recurrent layer; while they are not used it is the layer that Keras has."""

    words: tuple[tuple[str, Any], ...] = ()  # what `rnnx.dropout.sample_masks` is told, if Keras' own masks do not do

    def __init__(
        self,
        *args: Any,
        noise_shape: Any = None,
        recurrent_noise_shape: Any = None,
        dropout_gates: str = "keras",
        recurrent_dropout_mode: str = "state",
        zoneout: Any = 0.0,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        who = type(self).__name__
        check_choice(who, "recurrent_dropout_mode", recurrent_dropout_mode, MODES)
        check_choice(who, "dropout_gates", dropout_gates, DROPOUT_GATES)
        check_zoneout(who, zoneout, has_cell=isinstance(self, layers.LSTM))
        self.noise_shape = check_noise_shape(who, noise_shape)
        self.recurrent_noise_shape = check_noise_shape(who, recurrent_noise_shape, "recurrent_noise_shape")
        self.dropout_gates = dropout_gates
        self.recurrent_dropout_mode = recurrent_dropout_mode
        self.zoneout = tuple(zoneout) if isinstance(zoneout, (list, tuple)) else zoneout
        said = self._said()
        if said != PLAIN:
            rates = {name: check_rate(who, name, getattr(self.cell, name)) for name in ("dropout", "recurrent_dropout")}
            self.words = (*rates.items(), *said.items())

    def _said(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in PLAIN}

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        return inner_loop(super().inner_loop, self, sequences, initial_state, mask, training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._said()}


@registered
class LSTM(Noisy, layers.LSTM):
    """`keras.layers.LSTM` on rnnx, with more kinds of dropout.

    They run on rnnx alone; masks are drawn from the seed generator of the layer. With none of these arguments the masks
    are Keras' own, and what the engine does not run is left to Keras.

    Parameters
    ----------
    units, activation, ..., dropout, recurrent_dropout, seed, ...
        As in Keras.
    noise_shape, recurrent_noise_shape : tuple of int and None, optional
        Of the masks, over (batch, timesteps, features) and (batch, timesteps, units); default ``(None, 1, None)``.
    dropout_gates : {"keras", "shared", "per_gate"}
    recurrent_dropout_mode : {"state", "update", "cell", "weights"}
    zoneout : float or pair (cell, hidden) of float

    Raises
    ------
    TypeError, ValueError
        If an argument is not among those above.
    NotImplementedError
        When called with noise where the engine does not run: other devices and dtypes, ``torch.compile``, XLA.

    Examples
    --------
    >>> import numpy as np, rnnx.keras
    >>> layer = rnnx.keras.LSTM(4, recurrent_dropout=0.3, recurrent_dropout_mode="update", zoneout=0.1, seed=1)
    >>> tuple(layer(np.zeros((2, 5, 3), "float32"), training=True).shape)
    (2, 4)
    """


@registered
class GRU(Noisy, layers.GRU):
    """`keras.layers.GRU` on rnnx, with more kinds of dropout; arguments as for `LSTM`, ``zoneout`` is one rate."""


@registered
class SimpleRNN(Noisy, layers.SimpleRNN):
    """`keras.layers.SimpleRNN` on rnnx, with more kinds of dropout; arguments as for `GRU`."""
