"""What layers over whole sequences share: their call, the states they carry, and the weights' layers among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import regularizers
from rnnx._changes import change, seen
from rnnx._typing import Array
from rnnx.dropout import DropoutMasks
from rnnx.layers.checks import check_sequence_shape, sequence_hint, starting_mask
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.rnn.weights import RecurrentWeights

FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")


def check_gradients(who: str, dy: Any, count: int) -> list[Any]:
    """The gradients of several outputs."""
    if not isinstance(dy, (list, tuple)) or len(dy) != count:
        got = type(dy).__name__ + (f" of {len(dy)}" if isinstance(dy, (list, tuple)) else "")
        raise ValueError(
            f"{who}: the gradient must be a list of {count}, one for each output (None for zero), got {got}"
        )
    return list(dy)


class SequenceLayer(Layer):
    """A layer over (batch, timesteps, features) that has initial and final states.

    Notes
    -----
    Arguments of a call:

    x : array of shape (batch, timesteps, features), or symbolic tensor
    initial_state : array or list of arrays of shape (batch, units), optional
        In Keras' order: ``h``, or ``[h, c]``; for several cells or directions one after the other. Symbolic
        tensors in a symbolic call. Zeros if not given.
    mask : bool array of shape (batch, timesteps), optional
        True = use the step. A masked step keeps the state and repeats the output before it (0 at the beginning,
        and always with ``zero_output_for_mask``).
    training : bool
        Whether noise is applied.
    lengths : int array of shape (batch,), optional
        Valid steps of each row, instead of ``mask``; padded steps cost nothing.
    dropout_masks : optional
        What `sample_masks` gave: used in training instead of drawing.
    return_masks : bool
        Return ``(y, masks)``: the masks that were applied can be given back as ``dropout_masks``.
    reset : bool array of shape (batch, timesteps), optional
        True where a new sequence begins: the state is zero before this step, and no gradient passes. Each part
        gives what it would give alone, in both directions of time; dropout masks are those of the row.

    A call gives an array of shape (batch, units), or (batch, timesteps, units) with ``return_sequences``; with
    ``return_state`` a list of it and the final state(s) of shape (batch, units). It raises a TypeError or ValueError if
    an argument does not fit; the layer is as before then.
    """

    call_arguments = frozenset(
        {"mask", "training", "initial_state", "lengths", "dropout_masks", "return_masks", "reset"}
    )
    given_axes = 2
    positional_arguments = ("initial_state", "mask", "training")
    records_inference = False
    stateful: Any = False
    states: list[Array] | None = None

    def prepare(self, x: Any) -> Any:
        if type(x) is not np.ndarray or x.dtype is not self.dtype:
            x = self.cast(x)
        if x.ndim != 3:
            wanted = "(batch, timesteps, features)"
            raise ValueError(
                f"{self.name}: the input must have shape {wanted}, got {x.shape}{sequence_hint(wanted, x.shape)}"
            )
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x

    def forward_masked(self, x: Any, *, mask: Any = None, keep: bool = False, **call: Any) -> tuple[Any, Any, Any]:
        y, pullback = self.forward(x, mask=mask, keep=keep, **call)
        return y, self.compute_mask(x, starting_mask(self.name, x, mask, call.get("lengths"))), pullback

    def start(self, initial_state: Any, batch: int) -> Any:
        """The initial state of a call: the one given, or the one that a stateful layer carries."""
        if initial_state is not None or not self.stateful:
            return initial_state
        states = seen(self, self.states)
        if states is None:
            return None
        rows, *width = states[0].shape
        if rows != batch:
            raise ValueError(
                f"{self.name}: this stateful layer carries states of shape {(rows, *width)}, but a batch of {batch} "
                f"needs {(batch, *width)}; keep the batch size or call reset_state() first"
            )
        return states

    def carry(self, states: list[Array]) -> None:
        """Keep the final states of a call for the next one if the layer is stateful."""
        if self.stateful:
            change(self, [state.copy() for state in states], self._carry)

    def _carry(self, states: list[Array]) -> None:
        self.states = states

    def reset_state(self) -> None:
        """Forget the state of a stateful layer: the next call starts from zeros."""
        self.states = None

    def reset_states(self, states: Any = None) -> None:
        """Forget the state of a stateful layer, or set it.

        Parameters
        ----------
        states : array or list of arrays of shape (batch, units), optional

        Raises
        ------
        ValueError
            If the number of arrays or a shape does not fit.
        """
        if states is None:
            self.reset_state()
            return
        parts = [self.cast(part) for part in (states if isinstance(states, (list, tuple)) else [states])]
        widths = self.state_widths()
        rows = len(parts[0]) if parts and parts[0].ndim else 1
        if [part.shape for part in parts] != [(rows, width) for width in widths]:
            wanted = ", ".join(f"(batch, {width})" for width in widths)
            raise ValueError(
                f"{self.name}: `states` must have shapes {wanted}, got {', '.join(str(part.shape) for part in parts)}"
            )
        self.states = [part.copy() for part in parts]

    def state_widths(self) -> list[int]:
        """Width of each part of the state."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its state is")


class Recurrent(SequenceLayer, RecurrentWeights):
    """A recurrent layer over whole sequences; base of LSTM, GRU and SimpleRNN."""

    takes_lookups = True
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    unroll: bool
    zero_output_for_mask: bool
    recompute: bool
    not_attributes = frozenset({"time_major"})

    def __init__(
        self,
        *,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        unroll: bool,
        zero_output_for_mask: bool,
        activity_regularizer: Any,
        recompute: bool,
        use_cudnn: Any = None,
        time_major: bool = False,
        **kwargs: Any,
    ):
        if time_major:
            raise ValueError(
                f"{type(self).__name__}: time-major input is not supported; put the batch axis first: x.swapaxes(0, 1)"
            )
        vars(self).update(
            return_sequences=bool(return_sequences),
            return_state=bool(return_state),
            go_backwards=bool(go_backwards),
            stateful=bool(stateful),
            unroll=bool(unroll),
            zero_output_for_mask=bool(zero_output_for_mask),
            recompute=bool(recompute),
            states=None,
        )
        if use_cudnn not in (None, "auto", True, False):
            who = type(self).__name__
            raise ValueError(f"{who}: `use_cudnn` must be 'auto', True or False (it has no effect), got {use_cudnn!r}")
        if use_cudnn is not None:
            self.use_cudnn = use_cudnn
        super().__init__(**kwargs)
        if activity_regularizer is not None:
            vars(self)["activity_regularizer"] = regularizers.get(activity_regularizer)

    def leaves_traces(self) -> bool:
        return self.stateful or self._samples_in_inference

    def cudnn_able(self) -> bool:
        return super().cudnn_able() and not self.unroll

    def state_widths(self) -> list[int]:
        return [self.units] * self.state_count

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
        reset: Any = None,
        out: Array | None = None,
        looked_up: tuple[Any, Array] | None = None,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        """Outputs, as `SequenceLayer` says, and the pullback, which takes the gradient of each output (or None).

        ``out`` is where to put the outputs. ``looked_up`` is an Embedding and the ids that it made ``x`` of.
        """
        if self.stateful:
            initial_state = self.start(initial_state, len(x))
        if initial_state is not None:
            initial_state = self.cast_states(initial_state, len(x))
        noisy = training or keep or self._samples_in_inference
        masks = self.masks_of(x, training, keep, dropout_masks) if noisy else None
        params, packed = self.packed() if masks is None or not masks.on_weights else self.unpacked()
        table = None
        if looked_up is not None and packed is not None and not keep and (masks is None or masks.inputs is None):
            table = self.table_of(looked_up[0], looked_up[1].size, packed)
            x = x if table is None else looked_up[1]
        with_state = self.return_state or self.stateful
        run = self.core.forward(
            params,
            x,
            initial_state=initial_state,
            mask=mask,
            lengths=lengths,
            masks=masks,
            go_backwards=self.go_backwards,
            training=keep,
            out=out,
            return_sequences=self.return_sequences,
            return_state=with_state,
            zero_output_for_mask=self.zero_output_for_mask,
            packed=packed,
            recompute=self.recompute,
            reset=reset,
            table=table,
        )
        y: Any = run.outputs
        if with_state:
            states = list(run.state) if isinstance(run.state, tuple) else [run.state]
            self.carry(states)
            y = [y, *states] if self.return_state else y
        if return_masks:
            y = (y, masks)
        return y, self._pullback(run.cache) if keep else None

    def _pullback(self, cache: Any) -> Pullback:
        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            doutputs, dstate = dy, None
            if self.return_state:
                doutputs, *parts = check_gradients(self.name, dy, 1 + self.state_count)
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

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in FLAGS},
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "recompute": self.recompute,
        }
