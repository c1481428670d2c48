"""LSTM, GRU and SimpleRNN over whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import regularizers
from rnnx.dropout import DropoutMasks
from rnnx.layers.arguments import check_sequence_shape
from rnnx.layers.base import Array, Gradients, Pullback
from rnnx.layers.recurrent_weights import GRUWeights, LSTMWeights, RecurrentWeights, SimpleRNNWeights

SHARED_ARGUMENTS = """
    Parameters
    ----------
    units : int
        Width of the state and of the output.
    activation, {recurrent}use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer,
    kernel_constraint, recurrent_constraint, bias_constraint
        As in Keras 3.
    dropout : float
        Rate in [0, 1) at which inputs are dropped.
    recurrent_dropout : float
        Rate in [0, 1) at which ``recurrent_dropout_mode`` drops.
    seed : int, SeedGenerator or None
        Source of the masks; they depend on it and on the call number only.
    noise_shape : tuple, optional
        Shape of the input mask over (batch, timesteps, features), None meaning that axis' size. The default
        ``(None, 1, None)`` keeps a mask for all steps; ``(None, None, None)`` is fresh at each step;
        ``(None, None, 1)`` drops whole steps; ``(1, 1, None)`` shares one mask over the batch.
    recurrent_noise_shape : tuple, optional
        The same over (batch, timesteps, units); default ``(None, 1, None)``.
    dropout_gates : {{"keras", "shared", "per_gate"}}
        One mask for all gates, or one per gate; ``"keras"``: per gate as soon as ``recurrent_dropout > 0``.
    recurrent_dropout_mode : {{"state", "update", "cell", "weights"}}
        What ``recurrent_dropout`` drops: the state before its product (Gal & Ghahramani, Keras), the new content
        (Semeniuta et al.), the cell itself (Moon et al.), or the recurrent kernel (Merity et al.).
    zoneout : float or pair (cell, hidden)
        Rate at which old values survive a step (Krueger et al.); its expectation is applied at inference.
    compat : str
        Dropout rules of an older Keras generation, see `rnnx.dropout.PROFILES`, and its ``hard_sigmoid``."""


class Recurrent(RecurrentWeights):
    """A recurrent layer over whole sequences; base of LSTM, GRU and SimpleRNN."""

    call_arguments = frozenset({"mask", "training", "initial_state", "lengths", "dropout_masks", "return_masks"})

    def __init__(
        self,
        units: int,
        *activation: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        use_cudnn: Any = "auto",
        time_major: bool = False,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ):
        if time_major:
            raise ValueError(
                f"{type(self).__name__}: time-major input is not supported; put the batch axis first: x.swapaxes(0, 1)"
            )
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.use_cudnn = use_cudnn
        self.states: Any = None
        super().__init__(units, *activation, **kwargs)
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def cudnn_able(self) -> bool:
        return super().cudnn_able() and not self.unroll

    def __call__(self, x: Any, mask: Any = None, training: bool = False, initial_state: Any = None, **call: Any) -> Any:
        """Run the layer.

        Parameters
        ----------
        x : array of shape (batch, timesteps, features), or symbolic tensor
        mask : bool array of shape (batch, timesteps), optional
            True = use the step.
        training : bool
            Whether noise is applied.
        initial_state : array or list of arrays of shape (batch, units), optional
        lengths : int array of shape (batch,), optional
            Valid steps of each row, instead of ``mask``; padded steps cost nothing.
        dropout_masks : DropoutMasks, optional
            Used in training instead of drawing.
        return_masks : bool
            Return ``(y, masks)``.

        Returns
        -------
        array of shape (batch, units), or (batch, timesteps, units) with ``return_sequences``
            With ``return_state`` a list of it and the final state(s) of shape (batch, units).
        """
        for name, value in (("mask", mask), ("training", training), ("initial_state", initial_state)):
            if value is not None and value is not False:
                call[name] = value
        return super().__call__(x, **call)

    def prepare(self, x: Any) -> Any:
        x = self.cast(x)
        if x.ndim != 3:
            raise ValueError(f"{self.name}: the input must have shape (batch, timesteps, features), got {x.shape}")
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x

    def forward(
        self,
        x: Array,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        initial_state: Any = None,
        lengths: Any = None,
        dropout_masks: DropoutMasks | None = None,
        return_masks: bool = False,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        """See `__call__`; the second result is the pullback, which takes the gradient of each output (or None)."""
        if initial_state is None and self.stateful:
            initial_state = self.states
        run, masks = self.run(
            x,
            mask=mask,
            lengths=lengths,
            initial_state=initial_state,
            training=training,
            keep=keep,
            go_backwards=self.go_backwards,
            return_sequences=self.return_sequences,
            zero_output_for_mask=self.zero_output_for_mask,
            dropout_masks=dropout_masks,
        )
        states = list(run.state) if isinstance(run.state, tuple) else [run.state]
        if self.stateful:
            self.states = [state.copy() for state in states]
        y: Any = [run.outputs, *states] if self.return_state else run.outputs
        if return_masks:
            y = (y, masks)
        return y, self._pullback(run.cache) if keep else None

    def _pullback(self, cache: Any) -> Pullback:
        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            doutputs, dstate = dy, None
            if self.return_state:
                if not isinstance(dy, (list, tuple)) or len(dy) != 1 + self.state_count:
                    raise ValueError(
                        f"{self.name}: the gradient must be a list of {1 + self.state_count}, one for each output "
                        f"(None for zero), got {type(dy).__name__}"
                        + (f" of {len(dy)}" if isinstance(dy, (list, tuple)) else "")
                    )
                doutputs, *parts = dy
                if any(part is not None for part in parts):
                    dstate = tuple(None if part is None else self.cast(part) for part in parts)
            if doutputs is not None:
                doutputs = self.cast(doutputs)
            grads = self.core.backward(cache, doutputs, dstate, need_dx=need_dx, need_dparams=self.trainable)
            return Gradients(grads.dx, self.weight_gradients(grads.dparams), grads.dinitial_state)

        return pullback

    def build(self, input_shape: Any) -> None:
        check_sequence_shape(self, input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        check_sequence_shape(self, input_shape, self._weights[0].shape[0] if self._weights else None)
        batch, timesteps = input_shape[0], input_shape[1]
        output = (batch, timesteps, self.units) if self.return_sequences else (batch, self.units)
        return [output] + [(batch, self.units)] * self.state_count if self.return_state else output

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        output = mask if self.return_sequences else None
        return [output] + [None] * self.state_count if self.return_state else output

    def reset_state(self) -> None:
        """Forget the state of a stateful layer: the next call starts from zeros."""
        self.states = None

    def reset_states(self, states: Any = None) -> None:
        """Forget the state of a stateful layer, or set it.

        Parameters
        ----------
        states : array or list of arrays of shape (batch, units), optional
        """
        if states is None:
            self.reset_state()
            return
        parts = states if isinstance(states, (list, tuple)) else [states]
        given = self.cast_states(list(parts), np.shape(parts[0])[0] if len(parts) and np.ndim(parts[0]) else 1)
        self.states = [part.copy() for part in (given if isinstance(given, tuple) else (given,))]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }


class LSTM(Recurrent, LSTMWeights):
    __doc__ = f"""Long short-term memory (Hochreiter & Schmidhuber 1997), in Keras' words.
{SHARED_ARGUMENTS.format(recurrent="recurrent_activation, unit_forget_bias, ")}
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask : bool
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2, return_sequences=True, seed=1)
    >>> layer(np.zeros((2, 7, 3)), training=True).shape
    (2, 7, 4)
    """


class GRU(Recurrent, GRUWeights):
    __doc__ = f"""Gated recurrent unit (Cho et al. 2014), in Keras' words.
{SHARED_ARGUMENTS.format(recurrent="recurrent_activation, reset_after, ")}
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask : bool
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.GRU(4, dropout=0.5, seed=1)
    >>> layer(np.zeros((2, 7, 3)), training=True).shape
    (2, 4)
    """


class SimpleRNN(Recurrent, SimpleRNNWeights):
    __doc__ = f"""Simple recurrent network (Elman 1990), in Keras' words.
{SHARED_ARGUMENTS.format(recurrent="")}
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask : bool
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.SimpleRNN(4)(np.zeros((2, 7, 3))).shape
    (2, 4)
    """
