"""The one path from validated arrays to the compiled engine and back, shared by the three cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.activations import Activation
from rnnx.activations import get as get_activation
from rnnx.dropout import DropoutMasks
from rnnx.functional import _validate as validate
from rnnx.functional._fallback import Cache, cast_grads, forward_reference, reference_of
from rnnx.functional._types import Grads, GRUParams, LSTMParams, Params, RNNParams, Run, State
from rnnx.runtime.parallel import get_num_threads

_PRODUCTS_WORTH_A_THREAD = 12_000_000  # multiplications; a microsecond has about 50,000, and waking a thread costs 50
_FEWEST_ROWS_FOR_THREADS = 2 * _kernels.MIN_ROWS_OF_PART


def engine_activation(activation: Any) -> str | None:
    """The engine's name of an activation, or None when only the reference can run it."""
    if not isinstance(activation, str):
        activation = get_activation(activation)
        if not isinstance(activation, Activation):
            return None
        activation = activation.name
    return activation if activation in _kernels.ACTIVATIONS else None


def _pack(params: Params, weights: str = "full", scales: tuple[Array, Array] | None = None) -> _kernels.Packed | None:
    """See `Core.pack`."""
    params = validate.native_params(params)
    validate.check_params(params)
    activation = engine_activation(params.activation)
    recurrent = "sigmoid" if isinstance(params, RNNParams) else engine_activation(params.recurrent_activation)
    if activation is None or recurrent is None:
        return None
    options: dict[str, Any] = {}
    if isinstance(params, LSTMParams):
        cell = "lstm"
    elif isinstance(params, GRUParams):
        cell = "gru_after" if params.reset_after else "gru_before"
        options["columns"] = validate.GATE_ORDERS[params.gate_order]
    else:
        cell = "simple_rnn"
    if weights not in _kernels.WEIGHTS or (weights != "full" and params.kernel.dtype != np.float32):
        narrow = ", ".join(repr(name) for name in _kernels.WEIGHTS if name != "full")
        raise ValueError(f"pack: `weights` must be 'full', or of float32 one of {narrow}, got {weights!r}")
    if scales is not None:
        if weights not in _kernels.LARGEST:
            raise ValueError(f"pack: `scales` are those of integers, not of `weights` {weights!r}")
        options["scales"] = validate.check_scales(params, scales, _kernels.LARGEST[weights])
    if params.clip is not None:
        options["clip"] = params.clip
    if isinstance(params, LSTMParams):
        options.update(peepholes=params.peepholes, coupled=params.coupled)
    if params.recurrent_blocks > 1:
        options["blocks"] = int(params.recurrent_blocks)
    return _kernels.Packed(
        cell, params.kernel, params.recurrent_kernel, params.bias, activation, recurrent, weights, **options
    )


@dataclass(frozen=True)
class Core:
    """A cell on the engine: the public ``forward``, ``backward`` and ``pack`` of each module."""

    name: str
    params_class: type

    def pack(
        self, params: Params, weights: str = "full", *, scales: tuple[Array, Array] | None = None
    ) -> _kernels.Packed | None:
        """Lay the weights out for the engine.

        Kernels may lie in C's order or in Fortran's, as the transposes of PyTorch's do: neither is copied, and the
        gradients come in the same order.

        Parameters
        ----------
        params : LSTMParams, GRUParams or RNNParams
            Those of the module.
        weights : {"full", "bf16", "int8", "int8x16", "int16"}
            What is read at every step: the kernels as they are, or for inference rounded to bfloat16, or to integers of
            8 or 16 bits with a scale for each output channel, multiplied by operands of 8 bits (``"int8"``) or 16 bits
            (see `Layer.quantize`). Biases and states stay float32.
        scales : pair of arrays of shape (gates*units,), optional
            Of integers: the scale of each column of ``kernel`` and of ``recurrent_kernel``, which are whole multiples
            of it, as in files of other engines; nothing is rounded then. If not given, the scale is the one that makes
            the largest weight of a column the largest integer.

        Returns
        -------
        Packed or None
            To be given to ``forward`` as ``packed=`` as long as the weights stay the same. None when an activation is
            not among those of the engine: such a network runs on ``rnnx.reference``.

        Raises
        ------
        TypeError, ValueError
            If the weights do not fit together.
        """
        self._check_class(params)
        return _pack(params, weights, scales)

    def _check_class(self, params: Any) -> None:
        if not isinstance(params, self.params_class):
            raise TypeError(f"{self.name}: `params` must be {self.params_class.__name__}, got {type(params).__name__}")

    def forward(
        self,
        params: Params,
        x: Array,
        *,
        initial_state: State | None = None,
        mask: Array | None = None,
        lengths: Array | None = None,
        masks: DropoutMasks | None = None,
        go_backwards: bool = False,
        training: bool = False,
        threads: int | None = None,
        out: Array | None = None,
        return_sequences: bool = True,
        return_state: bool = True,
        zero_output_for_mask: bool = False,
        packed: _kernels.Packed | None = None,
        recompute: bool = False,
        reset: Array | None = None,
        batch_sizes: Array | None = None,
        table: Array | None = None,
    ) -> Run:
        """Run the cell over a batch of sequences; the module's text has its equations.

        Activations outside the engine's set (for example gelu, softmax or a callable) run on ``rnnx.reference``, and so
        do clipped, peephole and coupled cells with ``training=True``: same results, NumPy speed.

        Parameters
        ----------
        params : LSTMParams, GRUParams or RNNParams
            Those of the module.
        x : array of shape (batch, timesteps, features)
            float32 or float64 as the weights; any strides of whole elements, no copy is made of the whole. Unaligned
            arrays and those of another byte order are copied.
        initial_state : array of shape (batch, units), for an LSTM a pair ``(h, c)`` of them, optional
            Zeros if not given.
        mask : bool array of shape (batch, timesteps), optional
            True = use the step. A masked step keeps the state and repeats the output before it.
        lengths : int array of shape (batch,), optional
            Valid leading steps of each row, instead of ``mask``.
        masks : DropoutMasks, optional
            Dropout masks to apply; nothing is drawn here.
        go_backwards : bool
            Read the steps from the last to the first; outputs come in that order.
        training : bool
            Keep what ``backward`` needs.
        threads : int, optional
            Threads that this call and its ``backward`` may use; ``rnnx.get_num_threads()`` if not given. The result
            does not depend on it. Batches of fewer than 16 rows run on one.
        out : array, optional
            Where to put the outputs; it may share memory with the other arguments, but not with the weights.
        return_sequences : bool
            All outputs, or only the last one.
        return_state : bool
            Without it ``run.state`` is None.
        zero_output_for_mask : bool
            Masked steps give 0 instead of repeating the output before them.
        packed : Packed, optional
            ``pack(params)``, to save its time when the weights stay the same.
        recompute : bool
            With ``training=True``: keep references to the arguments only, and let ``backward`` repeat the forward pass.
            Saves 24 bytes per batch x step x unit of an LSTM in float32, 20 of a GRU and 8 of a simple RNN, until
            ``backward`` is called; the gradients have the same bits.
        reset : bool array of shape (batch, timesteps), optional
            True where a new sequence begins: the state is zero before this step, and no gradient passes. The results
            are those of the parts run one by one, of masked steps too. With ``go_backwards`` the parts are the same,
            each read from its last step to its first. Of packed data it has shape (rows,), as they stand in ``x``.
        batch_sizes : int array of shape (timesteps,), optional
            Rows at each step of packed data, as PyTorch's ``PackedSequence`` has it: ``x`` and the outputs have shapes
            (rows, features) and (rows, units), the steps one after the other, sequences by falling length. Outputs
            stand where their input stands, also with ``go_backwards``, which reads each sequence from its own last
            step. There is no padding, so ``mask`` and ``lengths`` are not taken.
        table : array, optional
            ``packed.table(rows)``: ``x`` is an integer array of shape (batch, timesteps) then, and stands for
            ``rows[x]``. For inference, with ``packed`` and without masks of the input; the results have the same bits.

        Returns
        -------
        Run

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape; nothing has been computed then.

        Examples
        --------
        >>> import numpy as np
        >>> from rnnx.functional import RNNParams, simple_rnn
        >>> params = RNNParams(np.full((1, 1), 0.5), np.full((1, 1), 1.0), activation="linear")
        >>> simple_rnn.forward(params, np.array([[[2.0], [4.0]]])).outputs.ravel()
        array([1., 3.])
        """
        who = self.name
        if packed is None:
            self._check_class(params)
            params = validate.native_params(params)
            _, features, units = validate.check_params(params)
            dtype = params.recurrent_kernel.dtype
        else:
            features, units, dtype = packed.features, packed.units, packed.dtype
        sizes = rows = None
        if table is not None:
            if (
                training
                or packed is None
                or batch_sizes is not None
                or (masks is not None and masks.inputs is not None)
            ):
                raise ValueError(
                    f"{who}: `table` is for inference with `packed`, without `batch_sizes` and masks of the input"
                )
            x = validate.check_ids(who, x, len(table))
            width = packed.table_bytes // dtype.itemsize
            table = validate.check_array(who, "table", table, (None, width), "that of packed.table", dtype)
            table = np.ascontiguousarray(table)  # the engine copies rows of bytes
            batch, timesteps = x.shape
        elif batch_sizes is not None:
            x = validate.check_array(who, "x", x, (None, features), "(rows, features)", dtype)
            rows = x.shape[0]
            sizes = validate.check_batch_sizes(who, rows, batch_sizes)
            batch, timesteps = int(sizes[0]) if len(sizes) else 0, len(sizes)
            if mask is not None or lengths is not None:
                raise ValueError(f"{who}: `batch_sizes` goes without `mask` and `lengths`")
        else:
            shape: tuple[int, ...] = x.shape if type(x) is np.ndarray and x.dtype is dtype else ()
            if len(shape) != 3 or shape[2] != features:
                x = validate.check_array(who, "x", x, (None, None, features), "(batch, timesteps, features)", dtype)
                shape = x.shape
            batch, timesteps, _ = shape
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"{who}: `threads` must be a positive integer or None, got {threads!r}")
        h0 = c0 = valid = weight_mask = None
        if initial_state is not None:
            h0, c0 = _initial(who, params, initial_state, batch, units, dtype)
        if mask is not None or lengths is not None:
            valid = validate.check_validity(who, batch, timesteps, mask, lengths)
        if reset is not None:
            reset = validate.check_reset(who, (batch, timesteps) if rows is None else (rows,), reset)
        if masks is not None:
            gates = validate.GATES[type(params)]
            masks = validate.check_dropout_masks(who, masks, gates, batch, timesteps, features, units, dtype,
                                                 int(params.recurrent_blocks))  # fmt: skip
        if out is not None:
            shape = (batch, timesteps, units) if return_sequences else (batch, units)
            meaning = "(batch, timesteps, units)" if return_sequences else "(batch, units)"
            if rows is not None and return_sequences:
                shape, meaning = (rows, units), "(rows, units)"
            validate.check_out(who, out, shape, meaning, dtype)
            share = _kernels.may_share
            if share(out, params.kernel) or share(out, params.recurrent_kernel) or share(out, params.bias):
                raise ValueError(f"{who}: `out` shares memory with the weights; give an array of its own")
            x = _apart(x, out)
            valid = valid if valid is None else _apart(valid, out)
            reset = reset if reset is None else _apart(reset, out)
            h0, c0 = h0 if h0 is None else _apart(h0, out), c0 if c0 is None else _apart(c0, out)
            masks = masks if masks is None else masks.map(lambda array: _apart(array, out))
        if masks is not None and masks.on_weights:
            params, weight_mask, masks = _with_noise(params, masks)
            packed = None
        if packed is None:
            packed = _pack(params)
        elif training and packed.narrow:
            raise ValueError(f"{who}: `packed` has narrow weights, which are for inference only")
        if packed is None or (training and packed.forward_only):
            return forward_reference(
                params,
                x,
                out,
                dtype,
                weight_mask,
                initial_state=initial_state,
                mask=valid,
                masks=masks,
                go_backwards=go_backwards,
                training=training,
                return_sequences=return_sequences,
                return_state=return_state,
                zero_output_for_mask=zero_output_for_mask,
                reset=reset,
                batch_sizes=sizes,
            )
        plan = None
        if valid is not None or reset is not None or sizes is not None:
            plan = _kernels.Plan(batch, timesteps, valid, go_backwards, reset, sizes)
        if batch < _FEWEST_ROWS_FOR_THREADS:
            threads = 1
        else:
            threads = _threads(threads, batch * timesteps if plan is None else plan.total, packed)
        direct = out is not None and return_sequences and _writable_by_the_engine(out)
        outputs: Any
        outputs, h, c, kept = _kernels.forward(
            packed, x, plan, go_backwards, h0, c0, masks, out if direct else None, return_sequences, return_state,
            training, zero_output_for_mask, threads, recompute, table,
        )  # fmt: skip
        last = None
        if outputs is None:
            outputs = np.array(h) if return_state else h
            if valid is not None or timesteps == 0:
                last = _rows_with_last_output(batch, timesteps, plan, zero_output_for_mask)
                if last is not None:
                    outputs[~last] = 0
        if out is not None and not direct:
            out[...] = outputs
            outputs = out
        state = None if not return_state else h if c is None else (h, c)
        if not training:
            return Run(outputs, state)
        whole = (batch, timesteps, units)
        return Run(outputs, state, Cache(params, kept, weight_mask, whole, return_sequences, last, rows, threads))

    def backward(
        self, cache: Any, doutputs: Array | None, dstate: Any = None, *, need_dx: bool = True, need_dparams: bool = True
    ) -> Grads:
        """Gradients of a ``forward`` call that had ``training=True``.

        Parameters
        ----------
        cache : object
            ``run.cache``.
        doutputs : array of the shape of the outputs, or None for zero
        dstate : array of shape (batch, units), for an LSTM a pair of them (entries may be None), optional
            Gradient of the final state.
        need_dx, need_dparams : bool
            Whether these gradients are wanted; what is not is not computed.

        Returns
        -------
        Grads

        Raises
        ------
        TypeError, ValueError
            If ``cache`` or a gradient does not fit.
        """
        if not isinstance(cache, Cache):
            raise TypeError(
                f"backward: `cache` must be that of a forward call with training=True, got {type(cache).__name__}"
            )
        params = cache.params
        who = validate.CELL_NAMES[type(params)]
        batch, timesteps, units = cache.shape
        dtype = params.recurrent_kernel.dtype.newbyteorder("=")
        if doutputs is not None:
            whole = cache.shape if cache.rows is None else (cache.rows, units)
            shape = whole if cache.return_sequences else (batch, units)
            doutputs = validate.check_array(who, "doutputs", doutputs, shape, "that of the outputs", dtype)
        is_lstm = isinstance(params, LSTMParams)
        parts = (dstate if isinstance(dstate, (tuple, list)) else (dstate,)) if dstate is not None else (None, None)
        if len(parts) != (2 if is_lstm else 1) and dstate is not None:
            raise ValueError(
                f"{who}: `dstate` must be {'a pair (dh, dc)' if is_lstm else 'one array'}, got {len(parts)} parts"
            )
        parts = tuple(
            None
            if part is None
            else validate.check_array(who, f"dstate {name}", part, (batch, units), "(batch, units)", dtype)
            for name, part in zip(("dh", "dc"), parts, strict=False)
        )
        if not isinstance(cache.kept, _kernels.Call):
            grads = reference_of(params).backward(
                cache.kept, doutputs, dstate, need_dx=need_dx, need_dparams=need_dparams
            )
            return cast_grads(grads, dtype, cache.weight_mask)
        dh, dc = parts if is_lstm else (parts[0], None)
        if not cache.return_sequences and doutputs is not None:
            through = (
                doutputs
                if cache.last_is_output is None
                else np.where(cache.last_is_output[:, None], doutputs, np.zeros((), dtype))
            )
            dh = through if dh is None else dh + through
            doutputs = None
        if doutputs is not None and doutputs.strides[-1] != doutputs.itemsize:
            doutputs = np.ascontiguousarray(doutputs)
        with cache.lock:
            dx, dh0, dc0, dkernel, drecurrent, dbias = _kernels.backward(
                cache.kept, doutputs, dh, dc, need_dx, need_dparams, cache.threads
            )
        dparams = None
        if dkernel is not None and drecurrent is not None:
            if cache.weight_mask is not None:
                drecurrent = drecurrent * cache.weight_mask
            bias = None if params.bias is None else dbias
            dparams = object.__new__(type(params))  # `dataclasses.replace` would take ten times as long
            vars(dparams).update(vars(params), kernel=dkernel, recurrent_kernel=drecurrent, bias=bias)
        return Grads(dx, dh0 if dc0 is None else (dh0, dc0), dparams)


def _with_noise(params: Params, masks: DropoutMasks) -> tuple[Params, Array | None, DropoutMasks]:
    """The weights of one call, the mask that they were multiplied by, and the noise that is not on weights."""
    kernel, recurrent, weight_mask = params.kernel, params.recurrent_kernel, None
    if masks.kernel_noise is not None:
        kernel = kernel + masks.kernel_noise
    if masks.recurrent_kernel_noise is not None:
        recurrent = recurrent + masks.recurrent_kernel_noise
    rest = replace(masks, kernel_noise=None, recurrent_kernel_noise=None)
    if masks.recurrent_mode == "weights" and masks.recurrent is not None:
        weight_mask = masks.recurrent
        recurrent = recurrent * weight_mask
        rest = replace(rest, recurrent=None, recurrent_mode="state")
    return replace(params, kernel=kernel, recurrent_kernel=recurrent), weight_mask, rest


def _apart(array: Array, out: Array) -> Array:
    """An argument that writing to ``out`` does not change: the array, or a copy."""
    return array.copy() if _kernels.may_share(out, array) else array


def _threads(wanted: int | None, rows: int, packed: _kernels.Packed) -> int:
    """Threads for a call on so many packed rows: one where waking others would cost more than it saves."""
    if rows * packed.products < _PRODUCTS_WORTH_A_THREAD:
        return 1
    return min(get_num_threads() if wanted is None else wanted, _kernels.MAX_THREADS)


def _initial(
    who: str, params: Params, state: Any, batch: int, units: int, dtype: Any
) -> tuple[Array | None, Array | None]:
    if state is None:
        return None, None
    if not isinstance(params, LSTMParams):
        if isinstance(state, (tuple, list)) and len(state) == 1:
            state = state[0]
        return validate.check_array(who, "initial_state", state, (batch, units), "(batch, units)", dtype), None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ValueError(f"{who}: `initial_state` must be a pair (h, c), got {type(state).__name__}")
    h, c = state
    if type(h) is type(c) is np.ndarray and h.dtype is c.dtype is dtype and h.shape == c.shape == (batch, units):
        return h, c
    h, c = (
        validate.check_array(who, f"initial_state {name}", part, (batch, units), "(batch, units)", dtype)
        for name, part in zip("hc", state, strict=True)
    )
    return h, c


def _writable_by_the_engine(out: Array) -> bool:
    return bool(out.strides[-1] == out.itemsize and out.flags.aligned and out.dtype.isnative)


def _rows_with_last_output(
    batch: int, timesteps: int, plan: _kernels.Plan | None, zero_output_for_mask: bool
) -> Array | None:
    """Rows whose last output is their final state (the others give 0); None if all are."""
    if plan is None or plan.valid is None or plan.row_counts is None:
        return np.zeros(batch, bool) if timesteps == 0 else None
    return np.asarray(plan.valid[:, -1] == 1 if zero_output_for_mask else plan.row_counts, bool)
