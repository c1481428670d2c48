"""What the three cells share: weights gate by gate, the masks of one step, and the walk over time and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx import activations
from rnnx._typing import Array
from rnnx.activations import Activation
from rnnx.dropout import DropoutMasks
from rnnx.functional import _validate as validate
from rnnx.functional._blocks import dense_kernel, kernel_of_blocks
from rnnx.functional._types import Grads, Params, Run, State

Float = NDArray[np.float64]
States = tuple[Float, ...]
Step = Callable[["Weights", Float, States, "StepMasks"], tuple[States, Any]]
StepBack = Callable[["Weights", "Weights", Any, States, "StepMasks"], tuple[Float, States]]


@dataclass(eq=False)
class Weights:
    """The weights of a cell, or their gradients, in float64; the lists hold views of the arrays, gate by gate.

    Attributes
    ----------
    W, R, b, br : lists of arrays of shape (features, units), (units, units), (units,) and (units,)
        Input kernel, recurrent kernel, bias, and the second bias of a GRU with ``reset_after``.
    peepholes : list of arrays of shape (units,)
        Those of the gates i, f and o of an LSTM; zeros where there are none.
    act, rec : Activation
    reset_after, coupled : bool
    clip : float
        Infinity if nothing is clipped.
    columns : tuple of int
        Of a GRU: where the gates z, r and h stand in the arrays.
    """

    kernel: Float
    recurrent_kernel: Float
    bias: Float  # (2, gates*units): of the input product, of the recurrent product
    gates: int
    act: Activation
    rec: Activation
    reset_after: bool
    peepholes: list[Float]
    clip: float = np.inf
    coupled: bool = False
    columns: tuple[int, int, int] = (0, 1, 2)
    W: list[Float] = field(init=False)
    R: list[Float] = field(init=False)
    b: list[Float] = field(init=False)
    br: list[Float] = field(init=False)

    def __post_init__(self) -> None:
        def by_gate(array: Float) -> list[Float]:
            blocks = np.split(array, self.gates, axis=-1)
            return [blocks[column] for column in self.columns] if self.gates == 3 else blocks

        arrays = (self.kernel, self.recurrent_kernel, *self.bias)
        self.W, self.R, self.b, self.br = map(by_gate, arrays)

    @classmethod
    def of(cls, params: Any, gates: int) -> Weights:
        """Copies of the weights of ``params``."""
        bias = np.zeros((2, params.kernel.shape[1]))
        if params.bias is not None:
            bias[: params.bias.ndim] = params.bias  # one row, or both of reset_after
        peepholes = getattr(params, "peepholes", None)
        if peepholes is None:
            peepholes = np.zeros(3 * len(params.recurrent_kernel) * params.recurrent_blocks)
        return cls(
            params.kernel.astype(np.float64),
            dense_kernel(params.recurrent_kernel.astype(np.float64), params.recurrent_blocks),
            bias,
            gates,
            activations.get(params.activation),
            activations.get(getattr(params, "recurrent_activation", None)),
            getattr(params, "reset_after", False),
            np.split(peepholes.astype(np.float64), 3),
            np.inf if params.clip is None else params.clip,
            getattr(params, "coupled", False),
            validate.GATE_ORDERS[getattr(params, "gate_order", "zrh")],
        )

    def zeros(self) -> Weights:
        """Zero gradients."""
        kernel, recurrent_kernel, bias = map(np.zeros_like, (self.kernel, self.recurrent_kernel, self.bias))
        peepholes = [np.zeros_like(part) for part in self.peepholes]
        return replace(self, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias, peepholes=peepholes)

    def clipped(self, a: Float) -> Float:
        """What an activation takes."""
        return np.clip(a, -self.clip, self.clip)

    def vjp(self, activation: Activation, a: Float, y: Float, dy: Float) -> Float:
        """Gradient of ``a``, where ``y`` is the activation of `clipped` ``a``."""
        return np.where(np.abs(a) <= self.clip, activation.vjp(self.clipped(a), y, dy), 0.0)


@dataclass(frozen=True, eq=False)
class StepMasks:
    """The masks of one time step; each broadcasts over (batch, width)."""

    x: list[Any]  # by gate
    h: list[Any]  # by gate
    update: Any
    cell: Any
    blend: Any
    zone_h: Any
    zone_c: Any

    @classmethod
    def at(cls, masks: DropoutMasks, t: int, gates: int) -> StepMasks:
        """The masks of time ``t`` of the input; axes of size 1 are shared."""

        def of_step(mask: Array) -> Float:
            return mask[..., min(t, mask.shape[-2] - 1), :].astype(np.float64)

        def of_gates(mask: Array | None) -> list[Any]:
            if mask is None:
                return [1.0] * gates
            return [of_step(mask[min(g, len(mask) - 1)]) for g in range(gates)]

        def share(zoneout: Array | None) -> Any:
            return 0.0 if zoneout is None else of_step(zoneout)

        state, update, cell = (
            of_gates(masks.recurrent if masks.recurrent_mode == mode else None) for mode in ("state", "update", "cell")
        )
        blend = state[0] if masks.masked_blend else 1.0
        zone_h, zone_c = share(masks.zoneout_hidden), share(masks.zoneout_cell)
        return cls(of_gates(masks.inputs), state, update[0], cell[0], blend, zone_h, zone_c)


@dataclass(frozen=True, eq=False)
class Cache:
    """What a forward call keeps for backward."""

    params: Any
    weights: Weights
    weight_mask: Any
    valid: NDArray[np.bool_]
    begins: NDArray[np.bool_]  # by position in processing order: whether the state before it is zero
    steps: list[tuple[int, StepMasks, Any]]  # in processing order: time, masks, saved by the step
    shape: tuple[int, int, int]
    return_sequences: bool
    zero_output: bool
    places: tuple[Any, Any, Any] | None = None  # of packed data: row, time and position of each of its rows


@dataclass(frozen=True, eq=False)
class Recurrence:
    """A cell run over sequences: the public ``forward`` and ``backward`` of each module."""

    step: Step
    step_back: StepBack
    gates: int
    states: int

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
        reset: Array | None = None,
        batch_sizes: Array | None = None,
    ) -> Run:
        """As ``forward`` of the same module of ``rnnx.functional``, in float64; ``threads`` has no effect.

        The arguments, checks and results are the same, but that the dtype of the results is float64.

        Examples
        --------
        >>> import numpy as np
        >>> from rnnx import reference
        >>> from rnnx.functional import RNNParams
        >>> params = RNNParams(np.full((1, 1), 0.5), np.full((1, 1), 1.0), activation="linear")
        >>> x = np.array([[[2.0], [4.0], [np.nan]]])
        >>> reference.simple_rnn.forward(params, x, lengths=np.array([2])).outputs.ravel()
        array([1., 3., 3.])
        """
        who, features, units = validate.check_params(params)
        dtype = params.kernel.dtype
        places = None
        if batch_sizes is not None:
            validate.check_array(who, "x", x, (None, features), "(rows, features)", dtype)
            if mask is not None or lengths is not None:
                raise ValueError(f"{who}: `batch_sizes` goes without `mask` and `lengths`")
            sizes = validate.check_batch_sizes(who, len(x), batch_sizes)
            mask = np.arange(sizes.max(initial=0))[:, None] < sizes
            time, row = np.nonzero(mask.T)
            places = row, time, len(sizes) - 1 - time if go_backwards else time
            rows, x = x, np.zeros((*mask.shape, features))
            x[row, time] = rows
            if reset is not None:
                starts, reset = validate.check_reset(who, (len(rows),), reset), np.zeros(mask.shape, bool)
                reset[row, time] = starts
            zero_output_for_mask = False
        else:
            validate.check_array(who, "x", x, (None, None, features), "(batch, timesteps, features)", dtype)
        batch, timesteps, _ = x.shape
        given = validate.check_validity(who, batch, timesteps, mask, lengths)
        valid = np.ones((batch, timesteps), bool) if given is None else given
        begins = np.zeros((batch, timesteps), bool)
        if reset is not None:
            reset = validate.check_reset(who, (batch, timesteps), reset)
            if go_backwards:  # the same parts: what leaves the first step of one does not reach the step before it
                begins[:, 1:] = reset[:, :0:-1]
            else:
                begins[...] = reset
        validate.check_dropout_masks(who, masks, self.gates, batch, timesteps, features, units, dtype,
                                     params.recurrent_blocks)  # fmt: skip
        state = self._parts(who, "initial_state", initial_state, (batch, units), dtype)
        masks = DropoutMasks() if masks is None else masks
        weights, weight_mask = Weights.of(params, self.gates), np.ones(())
        if masks.kernel_noise is not None:
            weights.kernel += masks.kernel_noise
        if masks.recurrent_kernel_noise is not None:
            noise = masks.recurrent_kernel_noise.astype(np.float64)
            weights.recurrent_kernel += dense_kernel(noise, params.recurrent_blocks)
        if masks.recurrent_mode == "weights" and masks.recurrent is not None:
            weight_mask = masks.recurrent.astype(np.float64)
            weights.recurrent_kernel *= dense_kernel(weight_mask, params.recurrent_blocks)

        x = np.where(valid[:, :, None], x, 0.0)  # padding may hold anything, also NaN
        output, outputs, steps = np.zeros((batch, units)), np.zeros((batch, timesteps, units)), []
        for position in range(timesteps):
            t = timesteps - 1 - position if go_backwards else position
            m = StepMasks.at(masks, t, self.gates)
            fresh = begins[:, position, None]
            output, state = np.where(fresh, 0.0, output), tuple(np.where(fresh, 0.0, part) for part in state)
            new, saved = self.step(weights, x[:, t], state, m)
            use = valid[:, t, None]
            output = np.where(use, new[0], 0.0 if zero_output_for_mask else output)
            state = tuple(np.where(use, n, old) for n, old in zip(new, state, strict=True))
            outputs[:, position] = output
            steps.append((t, m, saved))

        result = output if not return_sequences else outputs if places is None else outputs[places[0], places[2]]
        if out is not None:
            validate.check_array(who, "out", out, result.shape, "that of the outputs")
            out[...] = result
            result = out
        shape = (batch, timesteps, units)
        kept = (
            params,
            weights,
            weight_mask,
            valid,
            begins,
            steps,
            shape,
            return_sequences,
            zero_output_for_mask,
            places,
        )
        final = (state if self.states > 1 else state[0]) if return_state else None
        return Run(result, final, Cache(*kept) if training else None)

    def backward(
        self,
        cache: Any,
        doutputs: Array | None,
        dstate: Any = None,
        *,
        need_dx: bool = True,
        need_dparams: bool = True,
    ) -> Grads:
        """As ``backward`` of the same module of ``rnnx.functional``, in float64."""
        if not isinstance(cache, Cache):
            raise TypeError(
                "backward: `cache` must be the `cache` of a forward call with training=True, "
                f"got {type(cache).__name__}"
            )
        who, features, units = validate.check_params(cache.params)
        batch, timesteps, _ = cache.shape
        d = self._parts(who, "dstate", dstate, (batch, units))
        dy = np.zeros(cache.shape)  # gradient of the output at every position
        if doutputs is not None:
            whole = cache.shape if cache.places is None else (len(cache.places[0]), units)
            shape = whole if cache.return_sequences else (batch, units)
            validate.check_array(who, "doutputs", doutputs, shape, "that of the outputs")
            if cache.return_sequences:
                dy[... if cache.places is None else (cache.places[0], cache.places[2])] = doutputs
            elif timesteps:
                dy[:, -1] = doutputs

        dweights, dx = cache.weights.zeros(), np.zeros((batch, timesteps, features))
        repeated = np.zeros((batch, units))  # gradient of an output through the masked steps that repeat it
        for position in reversed(range(timesteps)):
            t, m, saved = cache.steps[position]
            use = cache.valid[:, t, None]
            doutput = dy[:, position] + repeated
            repeated = np.where(use | cache.zero_output, 0.0, doutput)
            dnew = tuple(np.where(use, part, 0.0) for part in (d[0] + doutput, *d[1:]))
            dx[:, t], dold = self.step_back(cache.weights, dweights, saved, dnew, m)
            d = tuple(np.where(use, old, part) for old, part in zip(dold, d, strict=True))
            fresh = cache.begins[:, position, None]
            repeated, d = np.where(fresh, 0.0, repeated), tuple(np.where(fresh, 0.0, part) for part in d)

        dparams = None
        if need_dparams:
            bias = cache.params.bias
            has_peepholes = getattr(cache.params, "peepholes", None) is not None
            dparams = replace(
                cache.params,
                kernel=dweights.kernel,
                recurrent_kernel=kernel_of_blocks(dweights.recurrent_kernel, cache.params.recurrent_blocks)
                * cache.weight_mask,
                bias=None if bias is None else dweights.bias[: bias.ndim].reshape(bias.shape),
                **({"peepholes": np.concatenate(dweights.peepholes)} if has_peepholes else {}),
            )
        if cache.places is not None:
            dx = dx[cache.places[:2]]
        return Grads(dx if need_dx else None, d if self.states > 1 else d[0], dparams)

    def _parts(self, who: str, name: str, value: Any, shape: tuple[int, int], dtype: Any = None) -> States:
        """The parts of a state (or of its gradient) in float64; zeros for what is not given."""
        parts = value if isinstance(value, (tuple, list)) else (value,) * (self.states if value is None else 1)
        if len(parts) != self.states:
            wanted = "a pair (h, c)" if self.states > 1 else "one array"
            raise ValueError(f"{who}: `{name}` must be {wanted}, got {len(parts)} part(s)")
        for part in parts:
            if part is not None:
                validate.check_array(who, name, part, shape, "(batch, units)", dtype)
        return tuple(np.zeros(shape) if part is None else part.astype(np.float64) for part in parts)
