"""LSTM whose products are convolutions, over sequences of sequences, of images and of volumes."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations, dropout, regularizers
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator
from rnnx.functional._convolution import Windows, correlate, correlate_kernel, framed, spread, unframed
from rnnx.functional._validate import check_validity
from rnnx.layers.checks import check_data_format, generator_of, seed_config
from rnnx.layers.layer import Gradients, Pullback, weight_value
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.places import PADDINGS, OverWindows, check_padding, each, per_axis
from rnnx.layers.rnn.sequence import FLAGS, SequenceLayer, check_gradients
from rnnx.layers.weighted import Weighted

GATES = 4  # i f c o


class ConvLSTM(SequenceLayer, Weighted, OverWindows):
    """Base of the convolutional LSTMs."""

    fixed_when_built = Weighted.fixed_when_built | {"filters", "kernel_size", "use_bias"}
    call_arguments = frozenset({"mask", "training", "initial_state"})
    chosen = ("kernel", "recurrent", "bias")
    activation: Any
    recurrent_activation: Any
    kernel = weight_value(0)
    recurrent_kernel = weight_value(1)
    bias = weight_value(2)
    bias_initializer: Any

    @takes_old_words
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | SeedGenerator | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        who, rank = type(self).__name__, self.rank
        self.filters = per_axis(who, "filters", filters, 1)
        self.kernel_size = per_axis(who, "kernel_size", kernel_size, rank)
        self.strides = per_axis(who, "strides", strides, rank)
        self.dilation_rate = per_axis(who, "dilation_rate", dilation_rate, rank)
        self.padding = check_padding(who, padding, PADDINGS[:2])
        self.data_format = check_data_format(who, data_format)
        vars(self)["activation"] = activations.get(activation)
        vars(self)["recurrent_activation"] = activations.get(recurrent_activation)
        self.use_bias, self.unit_forget_bias = bool(use_bias), bool(unit_forget_bias)
        self._set_rates(dropout, recurrent_dropout, seed)
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.choose(locals())
        if activity_regularizer is not None:
            vars(self)["activity_regularizer"] = regularizers.get(activity_regularizer)

    def _set_rates(self, rate: float, recurrent: float, seed: Any) -> None:
        who = type(self).__name__
        self.dropout = dropout.check_rate(who, "dropout", rate)
        self.recurrent_dropout = dropout.check_rate(who, "recurrent_dropout", recurrent)
        self.seed_generator = generator_of(seed)
        self.seed = None if seed is None else self.seed_generator.seed

    # ---- Shapes ------------------------------------------------------------------------------------------------------

    def _step(self, shape: Any) -> tuple[Any, ...]:
        """The shape of a step of an input of this shape."""
        features = self._weights[0].shape[-2] if self._weights else "features"
        step = (shape[0], *shape[2:]) if len(shape) > 1 else ()
        fits = len(shape) == self.rank + 3
        if not fits or (features != "features" and self.apart(step)[2] not in (None, features)):
            places = ("places", "rows, columns", "depth, rows, columns")[self.rank - 1]
            rest = f"{features}, {places}" if self.channels_first else f"{places}, {features}"
            raise ValueError(f"{self.name}: the input must have shape (batch, timesteps, {rest}), got {tuple(shape)}")
        return step

    def state_widths(self) -> list[int]:
        return [self.filters, self.filters]

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, places, _ = self.apart(self._step(input_shape))
        state = self.full_shape(batch, self.counts(places), self.filters)
        output = (batch, input_shape[1], *state[1:]) if self.return_sequences else state
        return [output, state, state] if self.return_state else output

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        output = mask if self.return_sequences else None
        return [output, None, None] if self.return_state else output

    def build(self, input_shape: Any) -> None:
        features = self.apart(self._step(input_shape))[2]
        if features is None:
            raise ValueError(f"{self.name}: the number of features must be known, got {tuple(input_shape)}")
        sizes, width = each(self.kernel_size), GATES * self.filters
        self.add_weight("kernel", (*sizes, int(features), width), chosen="kernel")
        self.add_weight("recurrent_kernel", (*sizes, self.filters, width), chosen="recurrent")
        if self.use_bias:
            self.add_weight("bias", (width,), self._initial_bias, chosen="bias")

    def _initial_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        value = np.array(self.bias_initializer(shape, dtype=dtype))
        if self.unit_forget_bias:
            value[self.filters : 2 * self.filters] = 1
        return value

    def prepare(self, x: Any) -> Any:
        x = self.cast(x)
        self._step(x.shape)
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x

    def reset_states(self, states: Any = None) -> None:
        """Forget the state of a stateful layer, or set it.

        Parameters
        ----------
        states : list of two arrays of shape (batch, places..., filters), optional

        Raises
        ------
        ValueError
            If there are not two arrays of one shape.
        """
        if states is None:
            self.reset_state()
            return
        parts = [self.cast(part) for part in states]
        if len(parts) != 2 or parts[0].shape != parts[1].shape or parts[0].ndim != self.rank + 2:
            shown = ", ".join(str(part.shape) for part in parts)
            wanted = self.wanted(self.filters).replace("timesteps", "places")  # of a state there is one step
            raise ValueError(f"{self.name}: `states` must be two of shape {wanted}, got {shown}")
        self.states = [part.copy() for part in parts]

    # ---- Running -----------------------------------------------------------------------------------------------------

    def forward(
        self,
        x: Array,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        initial_state: Any = None,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        batch, steps = x.shape[:2]
        mask = check_validity(self.name, batch, steps, mask, None)
        flat = self.last(x.reshape(batch * steps, *x.shape[2:]))
        places = flat.shape[1:-1]
        if mask is not None:  # padding may hold anything
            used = mask.reshape(-1, *(1 for _ in range(flat.ndim - 1)))
            flat = np.where(used, flat, np.zeros((), x.dtype))
        counts = self.counts(places)
        state = (batch, *counts, self.filters)
        h, c = self._start(initial_state, batch, state)
        drawn = self._masks(batch, flat.shape[1:], state, x.dtype) if training else (None, None)
        inputs = _GatedConvolution(self._weights[0].array, self.windows(places), self.before(places), drawn[0], steps)
        recurrent = _GatedConvolution(
            self._weights[1].array,
            Windows(each(self.kernel_size), (1,) * self.rank, (1,) * self.rank, counts),
            [(size - 1) // 2 for size in each(self.kernel_size)],
            drawn[1],
            1,
        )
        bias = self._weights[2].array if self.use_bias else None
        a = inputs.forward(flat, bias).reshape(batch, steps, *counts, GATES * self.filters)
        order = range(steps - 1, -1, -1) if self.go_backwards else range(steps)
        emitted, zero = np.zeros(state, x.dtype), np.zeros((), x.dtype)
        outputs = np.zeros((batch, steps, *state[1:]), x.dtype) if self.return_sequences else None
        tape: list[Any] = []
        for position, t in enumerate(order):
            fresh, kept = self._advance(a[:, t] + recurrent.forward(h, None), c)
            before = h
            if mask is None:
                valid = None
                h, c = fresh
                emitted = h
            else:
                valid = mask[:, t].reshape(-1, *(1 for _ in state[1:]))
                h, c = np.where(valid, fresh[0], h), np.where(valid, fresh[1], c)
                emitted = np.where(valid, fresh[0], zero if self.zero_output_for_mask else emitted)
            if outputs is not None:
                outputs[:, position] = emitted
            if keep:
                tape.append((t, valid, before, kept))
        final = [self.given(h), self.given(c)]
        self.carry(final)
        y = emitted if outputs is None else outputs
        result = self._turned(y, back=True)

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            dstates: list[Any] = [None, None]
            if self.return_state:
                dy, *dstates = check_gradients(self.name, dy, 3)
            dys = None if dy is None else self._turned(self.cast(dy), back=False)
            dh, dc = (np.zeros(state, x.dtype) if d is None else self.last(self.cast(d)) for d in dstates)
            da, carried = np.zeros_like(a), np.zeros(state, x.dtype)
            for position in range(steps - 1, -1, -1):
                t, valid, before, kept = tape[position]
                de = carried
                if dys is not None and self.return_sequences:
                    de = de + dys[:, position]
                elif dys is not None and position == steps - 1:
                    de = de + dys
                if valid is None:
                    da[:, t], dc = self._advance_back(kept, de + dh, dc)
                    dh, carried = recurrent.backward(da[:, t], before.shape[1:-1]), np.zeros(state, x.dtype)
                else:
                    own, dcell = self._advance_back(kept, np.where(valid, de + dh, zero), np.where(valid, dc, zero))
                    da[:, t] = own
                    dh = np.where(valid, zero, dh) + recurrent.backward(own, before.shape[1:-1])
                    dc = np.where(valid, dcell, dc)
                    carried = np.where(valid, zero, zero if self.zero_output_for_mask else de)
            dflat = da.reshape(batch * steps, *da.shape[2:])
            dweights: list[Array | None] = [None] * len(self._weights)
            if self.trainable:
                dweights[0] = inputs.dkernel(flat, dflat)
                dweights[1] = np.zeros_like(self._weights[1].array)
                for t, _, before, _ in tape:
                    dweights[1] += recurrent.dkernel(before, da[:, t])
                if self.use_bias:
                    dweights[2] = dflat.sum(axis=tuple(range(dflat.ndim - 1)))
            dx = None
            if need_dx:
                back = inputs.backward(dflat, places)
                back = back if mask is None else np.where(used, back, zero)
                dx = self.given(back).reshape(x.shape)
            return Gradients(dx, dweights, (self.given(dh), self.given(dc)))

        return ([result, *final] if self.return_state else result), pullback if keep else None

    def _turned(self, y: Array, *, back: bool) -> Array:
        """An output or its gradient with the features where they are wanted."""
        if not self.channels_first:
            return y
        ends = (-1, 1 + self.return_sequences) if back else (1 + self.return_sequences, -1)
        return np.moveaxis(y, *ends)

    def _start(self, initial_state: Any, batch: int, shape: tuple[int, ...]) -> list[Array]:
        """Hidden and cell state before the first step, with the features at the end."""
        given = self.start(initial_state, batch)
        if given is None:
            return [np.zeros(shape, self.dtype) for _ in range(2)]
        parts = [self.last(self.cast(part)) for part in given] if isinstance(given, (list, tuple)) else []
        if [part.shape for part in parts] != [shape] * 2:
            wanted = self.full_shape(shape[0], shape[1:-1], shape[-1])
            raise ValueError(f"{self.name}: `initial_state` must be a list of two arrays of shape {wanted}")
        return parts

    def _masks(self, batch: int, x: tuple[int, ...], h: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
        """Dropout masks of the input and of the state for each gate, the same at all steps."""
        if not (self.dropout or self.recurrent_dropout):
            return None, None
        draws = self.seed_generator.begin(GATES * (bool(self.dropout) + bool(self.recurrent_dropout)))
        first = draws.masks(GATES, (batch, *x), self.dropout, dtype) if self.dropout else None
        return first, draws.masks(GATES, h, self.recurrent_dropout, dtype) if self.recurrent_dropout else None

    def _advance(self, a: Array, c: Array) -> tuple[tuple[Array, Array], Any]:
        """The states after a step from what the gates see, and what the way back needs."""
        parts = np.split(a, GATES, axis=-1)
        i, f, o = (self.recurrent_activation(parts[k]) for k in (0, 1, 3))
        g = self.activation(parts[2])
        after = f * c + i * g
        bent = self.activation(after)
        return (o * bent, after), (parts, i, f, g, o, c, after, bent)

    def _advance_back(self, kept: Any, dh: Array, dc: Array) -> tuple[Array, Array]:
        """Gradients of what the gates see and of the cell before."""
        parts, i, f, g, o, c, after, bent = kept
        gate = self.recurrent_activation.vjp
        dc = dc + self.activation.vjp(after, bent, dh * o)
        da = [
            gate(parts[0], i, dc * g),
            gate(parts[1], f, dc * c),
            self.activation.vjp(parts[2], g, dc * i),
            gate(parts[3], o, dh * bent),
        ]
        return np.concatenate(da, axis=-1), dc * f

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in (
            "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias",
            "unit_forget_bias", "dropout", "recurrent_dropout", *FLAGS,
        ):  # fmt: skip
            config[name] = getattr(self, name)
        config.update(
            activation=self.activation.serialize(),
            recurrent_activation=self.recurrent_activation.serialize(),
            activity_regularizer=regularizers.serialize(self.activity_regularizer),
            seed=seed_config(self.seed, self.seed_generator),
        )
        return config


class _GatedConvolution:
    """The convolution of all gates; with dropout each of them sees its own part of the input.

    Parameters
    ----------
    kernel : array of shape (sizes..., features, 4 * filters)
    windows : Windows
    before : list of int
        Padding before the first place of each axis.
    masks : array of shape (4, batch, places..., features) or None
    steps : int
        How many steps one mask serves, which are rows of the batch side by side.
    """

    def __init__(self, kernel: Array, windows: Windows, before: list[int], masks: Any, steps: int):
        self.kernel, self.windows, self.before = kernel, windows, before
        self.masks = None if masks is None else [np.repeat(mask, steps, axis=0) for mask in masks]

    def _gates(self) -> list[tuple[Any, slice]]:
        """The mask and the columns of each gate; all at once without masks."""
        if self.masks is None:
            return [(None, slice(None))]
        width = self.kernel.shape[-1] // GATES
        return [(mask, slice(k * width, (k + 1) * width)) for k, mask in enumerate(self.masks)]

    def _frame(self, x: Array, mask: Any) -> Array:
        return framed(x if mask is None else x * mask, self.before, self.windows.frame)

    def forward(self, x: Array, bias: Array | None) -> Array:
        """What the gates see."""
        parts = [
            correlate(self._frame(x, mask), self.kernel[..., own], self.windows, None if bias is None else bias[own])
            for mask, own in self._gates()
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def backward(self, da: Array, places: tuple[int, ...]) -> Array:
        """Gradient of the input."""
        total: Any = None
        for mask, own in self._gates():
            frame = np.zeros((len(da), *self.windows.frame, self.kernel.shape[-2]), da.dtype)
            spread(da[..., own], self.kernel[..., own], self.windows, frame)
            dx = unframed(frame, self.before, places)
            dx = dx if mask is None else dx * mask
            total = dx if total is None else total + dx
        return np.asarray(total)

    def dkernel(self, x: Array, da: Array) -> Array:
        """Gradient of the kernel."""
        parts = [correlate_kernel(self._frame(x, mask), da[..., own], self.windows) for mask, own in self._gates()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


class ConvLSTM1D(ConvLSTM):
    """LSTM over sequences whose steps are sequences: its products are convolutions along their places.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int
        Of the convolution of the input; that of the state has strides and dilation 1 and padding "same".
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, places, features), or (batch, timesteps, features, places).
    activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
    unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer,
    kernel_constraint, recurrent_constraint, bias_constraint, return_sequences, return_state, go_backwards, stateful,
    unroll, zero_output_for_mask
        As in `LSTM`.
    dropout, recurrent_dropout : float
        Rates in [0, 1) at which numbers of the input and of the state are dropped in training: one mask for each gate,
        the same at all steps.
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] X. Shi et al., "Convolutional LSTM network: a machine learning approach for precipitation nowcasting",
       NeurIPS 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ConvLSTM1D(4, 3, padding="same")(np.ones((2, 5, 7, 3))).shape
    (2, 7, 4)
    """


class ConvLSTM2D(ConvLSTM):
    """LSTM over sequences of images: its products are convolutions.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int)
        Of the convolution of the input; that of the state has strides and dilation 1 and padding "same".
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, rows, columns, features), or (batch, timesteps, features, rows, columns).
    activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
    unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer,
    kernel_constraint, recurrent_constraint, bias_constraint, return_sequences, return_state, go_backwards, stateful,
    unroll, zero_output_for_mask
        As in `LSTM`.
    dropout, recurrent_dropout : float
        Rates in [0, 1) at which numbers of the input and of the state are dropped in training: one mask for each gate,
        the same at all steps.
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] X. Shi et al., "Convolutional LSTM network: a machine learning approach for precipitation nowcasting",
       NeurIPS 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ConvLSTM2D(4, 3, return_sequences=True)(np.ones((2, 5, 7, 6, 3))).shape
    (2, 5, 5, 4, 4)
    """

    rank = 2


class ConvLSTM3D(ConvLSTM):
    """LSTM over sequences of volumes, which have three axes of places: its products are convolutions.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int, int)
        Of the convolution of the input; that of the state has strides and dilation 1 and padding "same".
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, timesteps, depth, rows, columns, features), or
        (batch, timesteps, features, depth, rows, columns).
    activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
    unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer,
    kernel_constraint, recurrent_constraint, bias_constraint, return_sequences, return_state, go_backwards, stateful,
    unroll, zero_output_for_mask
        As in `LSTM`.
    dropout, recurrent_dropout : float
        Rates in [0, 1) at which numbers of the input and of the state are dropped in training: one mask for each gate,
        the same at all steps.
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] X. Shi et al., "Convolutional LSTM network: a machine learning approach for precipitation nowcasting",
       NeurIPS 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ConvLSTM3D(4, 3, padding="same")(np.ones((2, 5, 3, 4, 5, 1))).shape
    (2, 3, 4, 5, 4)
    """

    rank = 3
