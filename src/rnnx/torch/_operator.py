"""One recurrent layer as a function of PyTorch's tensors, with its gradient: eager, and as a registered operator.

A layer has one or two directions, which read the same input and fill the same output. Tensors and the engine share
memory, both ways; only weights are laid out anew, once for each of their versions.

What the backward pass needs stays in the engine, held by a tensor without contents that PyTorch saves, or passes on, as
the workspace of the call. Where PyTorch drops it, the memory is free; where it was copied or stored (by hooks on saved
tensors, by activation checkpoints), the forward pass is run again.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.weak import WeakTensorKeyDictionary

from rnnx._typing import Array
from rnnx.dropout import DropoutMasks, SeedGenerator, sample_masks
from rnnx.functional import GRUParams, LSTMParams, RNNParams, gru, lstm, simple_rnn
from rnnx.runtime.parallel import get_num_threads
from rnnx.torch import _threads
from rnnx.torch._form import Call, Form, Memos, form_of, noise_of
from rnnx.torch._memo import remembered

_threads.share()

CORES: dict[str, Any] = {"LSTM": lstm, "GRU": gru, "RNN_TANH": simple_rnn, "RNN_RELU": simple_rnn}
PLAIN = Tensor, torch.nn.Parameter
KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "simple_rnn", "RNN_RELU": "simple_rnn"}


# ---- Weights ---------------------------------------------------------------------------------------------------------


def params_of(mode: str, weights: Sequence[Tensor]) -> Any:
    """The weights of one direction as the functional core takes them: the kernels are PyTorch's own memory."""
    kernel, recurrent = (weight.t().numpy() for weight in weights[:2])
    bias: Array | None = None
    if len(weights) == 4:
        bias = (torch.stack(list(weights[2:])) if mode == "GRU" else weights[2] + weights[3]).numpy()
    if mode == "LSTM":
        return LSTMParams(kernel, recurrent, bias)
    if mode == "GRU":
        return GRUParams(kernel, recurrent, bias, gate_order="rzh")
    return RNNParams(kernel, recurrent, bias, activation=mode[4:].lower())


def packed_of(mode: str, weights: Sequence[Tensor]) -> tuple[Any, Any]:
    """Parameters and packed weights of a direction."""
    params = params_of(mode, weights)
    return params, CORES[mode].pack(params)


def gradients_of(form: Form, dparams: Any) -> list[Tensor]:
    """Gradients of one direction's weights in PyTorch's layout, each with memory of its own, which PyTorch keeps.

    Biases that are added have one gradient, and a copy of it: one tensor for both is what PyTorch would copy twice.
    """
    found = [dparams.kernel.T, dparams.recurrent_kernel.T]
    if form.biased:
        bias = dparams.bias
        found += [bias[0], bias[1]] if form.mode == "GRU" else [bias, bias.copy()]
    return [torch.from_numpy(part) for part in found]


# ---- One call --------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Kept:
    """What a call keeps for its gradient: the cache of the functional core for each direction."""

    caches: list[Any]


class Workspace(np.ndarray):
    """An array without meaning that holds what a call keeps as long as PyTorch holds it."""

    kept: Kept


_kept: weakref.WeakValueDictionary[int, Kept] = weakref.WeakValueDictionary()


def masks_for(form: Form, x: Array, steps: Array | None, units: int, seed: int, direction: int) -> DropoutMasks | None:
    """The dropout masks of a direction; x has shape (batch, timesteps, features), or (rows, features)."""
    noise = noise_of(form.noise)
    if not noise.is_noisy:
        return None
    batch, timesteps = x.shape[:2] if steps is None else (int(steps[0]), len(steps))
    return sample_masks(
        KINDS[form.mode],
        batch,
        timesteps,
        x.shape[-1],
        units,
        **asdict(noise),
        training=form.training,
        seed_generator=SeedGenerator((seed + direction) % (1 << 32)),
        dtype=x.dtype,
    )


def run(
    call: Call, x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor], keep: bool
) -> tuple[Tensor, Tensor, Tensor | None, Kept | None]:
    """Run a layer.

    Parameters
    ----------
    call : Call
    x : tensor of shape (batch, timesteps, features), or of packed data (rows, features); any strides
        If the form says so, its first axis is that of the steps; so is that of ``call.reset`` and of ``y``.
    h0, c0 : tensors of shape (directions, batch, units), optional
        ``c0`` is for an LSTM only.
    weights : list of tensors
        ``weight_ih``, ``weight_hh`` and, if there are, ``bias_ih``, ``bias_hh`` of each direction.
    keep : bool
        Whether to keep what `run_backward` needs.

    Returns
    -------
    y : tensor of shape (batch, timesteps, directions * units), or (rows, directions * units); contiguous
    h, c : tensors of shape (directions, batch, units)
        ``c`` is None but for an LSTM.
    kept : Kept or None
    """
    form, sizes, reset, seed, memos = call
    count = form.tensors
    ends = form.directions
    core, values = CORES[form.mode], numbers_of(x)
    steps = None if sizes is None else sizes.numpy()
    begins = None if reset is None else numbers_of(reset)
    threads = torch.get_num_threads()
    if threads > 1:
        threads = min(threads, get_num_threads())
    y: Array | None = None
    units = weights[1].size(1)
    swapped = form.time_first and steps is None
    if swapped or ends == 2:
        y = np.empty((*values.shape[:-1], ends * units), values.dtype)
    outputs = y
    if swapped and y is not None:
        values, outputs = values.swapaxes(0, 1), y.swapaxes(0, 1)
        begins = None if begins is None else begins.T
    h: list[Array] = []
    c: list[Array] = []
    caches: list[Any] = []
    for k in range(ends):
        own = weights if ends == 1 else weights[k * count : (k + 1) * count]
        memo = memos[k] = remembered(form.mode, own, memos.get(k), packed_of)
        state: Any = None
        if h0 is not None:
            state = numbers_of(h0[k])
            state = state if c0 is None else (state, numbers_of(c0[k]))
        out = outputs
        if out is not None and ends == 2:
            out = out[..., k * units : (k + 1) * units]
            if k == 1 and steps is None:
                out = out[:, ::-1]  # the engine writes in the order in which it reads
        found = core.forward(
            memo.params,
            values,
            initial_state=state,
            masks=None if form.noise == "{}" else masks_for(form, values, steps, units, seed, k),
            go_backwards=k == 1,
            training=keep,
            threads=threads,
            out=out,
            packed=memo.packed,
            reset=begins,
            batch_sizes=steps,
        )
        if form.mode == "LSTM":
            h.append(found.state[0])
            c.append(found.state[1])
        else:
            h.append(found.state)
        caches.append(found.cache)
    hn = torch.from_numpy(np.stack(h) if ends == 2 else h[0][None])
    cn = torch.from_numpy(np.stack(c) if ends == 2 else c[0][None]) if c else None
    return torch.from_numpy(found.outputs if y is None else y), hn, cn, Kept(caches) if keep else None


def numbers_of(tensor: Tensor) -> Array:
    """The array on a tensor's memory; of a view whose sign PyTorch has yet to turn (``z.conj().imag``), a copy."""
    try:
        array: Array = tensor.numpy()
    except RuntimeError:  # of those that have a gradient too
        array = tensor.detach().resolve_neg().numpy()
    return array


def run_backward(
    form: Form, kept: Kept, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, need_dx: bool, need_dstate: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None, list[Tensor]]:
    """Gradients of x, h0, c0 and the weights, None where not needed; those of y, h and c may be None."""
    dx: Tensor | None = None
    dh0: list[Tensor] = []
    dc0: list[Tensor] = []
    dweights = []
    swapped = form.time_first and kept.caches[0].rows is None
    for k, cache in enumerate(kept.caches):
        units = cache.shape[2]
        doutputs: Any = None
        if dy is not None:
            doutputs = numbers_of(dy)
            if swapped:
                doutputs = doutputs.swapaxes(0, 1)
            if form.directions == 2:
                doutputs = doutputs[..., k * units : (k + 1) * units]
            if k == 1 and cache.rows is None:
                doutputs = doutputs[:, ::-1]
        dstate: Any = None if dh is None else numbers_of(dh[k])
        if form.mode == "LSTM" and (dh is not None or dc is not None):
            dstate = (dstate, None if dc is None else numbers_of(dc[k]))
        grads = CORES[form.mode].backward(cache, doutputs, dstate, need_dx=need_dx)
        if need_dx:
            own = torch.from_numpy(grads.dx.swapaxes(0, 1) if swapped else grads.dx)
            dx = own if dx is None else dx.add_(own)
        if need_dstate:
            first = grads.dinitial_state if isinstance(grads.dinitial_state, tuple) else (grads.dinitial_state,)
            dh0.append(torch.from_numpy(first[0]))
            dc0 += [torch.from_numpy(part) for part in first[1:]]
        dweights += gradients_of(form, grads.dparams)
    return dx, torch.stack(dh0) if dh0 else None, torch.stack(dc0) if dc0 else None, dweights


# ---- Eager -----------------------------------------------------------------------------------------------------------


class Layer(torch.autograd.Function):
    """A layer in eager PyTorch; to compilers the operator below says the same."""

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, h0: Any, c0: Any, *weights: Tensor) -> Any:
        y, h, c, kept = run(call, x, h0, c0, weights, True)
        workspace: Any = None
        ctx.call, ctx.kept = call, kept
        if are_saved_tensors_hooked():
            workspace, ctx.kept = torch.empty(0), None
            workspace.kept = kept  # PyTorch keeps the object with the tensor that it saves
        ctx.save_for_backward(workspace, x, h0, c0, *weights)
        ctx.set_materialize_grads(False)
        return (y, h, c) if call.form.mode == "LSTM" else (y, h)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None = None) -> Any:
        workspace, x, h0, c0, *weights = ctx.saved_tensors
        kept = ctx.kept
        if kept is not None and not torch._C._autograd._get_current_graph_task_keep_graph():
            ctx.kept = None  # as PyTorch lets go of what it has saved
        given = ctx.call, kept, ctx.needs_input_grad[1], dy, dh, dc, workspace, x, h0, c0, *weights
        wrapped = torch.is_grad_enabled() or inside_a_transform()
        found = Gradient.apply(gradients, *given) if wrapped else gradients(*given)
        return None, *found


class TransformedLayer(torch.autograd.Function):
    """A layer under ``torch.func``, which wants the function and its context apart; eager, that costs 50 us a call."""

    @staticmethod
    def forward(call: Call, x: Tensor, h0: Any, c0: Any, *weights: Tensor) -> Any:
        y, h, c, kept = run(call, x, h0, c0, weights, True)
        assert kept is not None
        return y, h, x.new_empty(0) if c is None else c, workspace_of(kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.call, ctx.kept = inputs[0], None
        ctx.mark_non_differentiable(output[3])
        ctx.save_for_backward(output[3], *inputs[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, _: Any) -> Any:
        return Layer.backward(ctx, dy, dh, dc if ctx.call.form.mode == "LSTM" else None)


class Gradient(torch.autograd.Function):
    """The gradient of a layer where PyTorch may want to differentiate it again, to say that it cannot be."""

    @staticmethod
    def forward(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            "rnnx has no second derivatives of recurrent layers: run this module on PyTorch's own code"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, function: Any, *arguments: Any) -> Any:
        """Gradients of one call for many gradients of its results, as of ``torch.func.jacrev``: one after the other."""
        found = [
            Gradient.apply(
                function,
                *(
                    given.select(axis, k) if isinstance(axis, int) else given
                    for given, axis in zip(arguments, in_dims[1:], strict=True)
                ),
            )
            for k in range(info.batch_size)
        ]
        together = tuple(None if parts[0] is None else torch.stack(parts) for parts in zip(*found, strict=True))
        return together, tuple(None if part is None else 0 for part in together)


def gradients(
    call: Call, kept: Kept | None, need_dx: bool, dy: Any, dh: Any, dc: Any, workspace: Any, x: Tensor, h0: Any,
    c0: Any, *weights: Tensor,
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of x, h0, c0 and every weight; None where there is no such argument."""
    if kept is None:
        kept = kept_of(workspace, call, x, h0, c0, weights)
    dx, dh0, dc0, dweights = run_backward(call.form, kept, dy, dh, dc, need_dx, h0 is not None)
    return dx, dh0, dc0, *dweights


def are_saved_tensors_hooked() -> bool:
    """Whether hooks store elsewhere what PyTorch saves, or make it again; of a PyTorch that does not say: yes."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(False) is not None


def workspace_of(kept: Kept) -> Tensor:
    """A tensor that holds what a call keeps."""
    array = np.zeros(1, np.uint8).view(Workspace)
    array.kept = kept
    tensor = torch.from_numpy(array)
    _kept[tensor.data_ptr()] = kept
    return tensor


def kept_of(workspace: Tensor, call: Call, x: Tensor, h0: Any, c0: Any, weights: Sequence[Tensor]) -> Kept:
    """What a call kept, or made again if PyTorch has copied the workspace or stored it somewhere."""
    kept: Kept | None = getattr(workspace, "kept", None)
    if kept is None and workspace.numel():  # that of an operator
        kept = _kept.get(workspace.data_ptr())
    if kept is None:
        *_, kept = run(call, x, h0, c0, weights, True)
    assert kept is not None
    return kept


# ---- As an operator --------------------------------------------------------------------------------------------------


_memos: Any = WeakTensorKeyDictionary()


def memos_of(weights: Sequence[Tensor]) -> Memos:
    """The packed weights of an operator, which is not told by whom it is called."""
    found: Memos = _memos.setdefault(weights[1], {})
    return found


@torch.library.custom_op("rnnx::layer", mutates_args=(), device_types="cpu")
def layer_op(
    x: Tensor, h0: Tensor, c0: Tensor | None, sizes: Tensor | None, reset: Tensor | None, seed: Tensor,
    weights: list[Tensor], form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """A layer; the fourth result is the workspace of its gradient."""
    call = Call(form_of(form), sizes, reset, int(seed), memos_of(weights))
    y, h, c, kept = run(call, x, h0, c0, weights, True)
    assert kept is not None
    return y, h, x.new_empty(0) if c is None else c, workspace_of(kept)


@layer_op.register_fake
def _(
    x: Tensor, h0: Tensor, c0: Tensor | None, sizes: Tensor | None, reset: Tensor | None, seed: Tensor,
    weights: list[Tensor], form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    said = form_of(form)
    y = x.new_empty((*x.shape[:-1], said.directions * weights[1].shape[1]))
    h = torch.empty_like(h0, memory_format=torch.contiguous_format)
    c = torch.empty_like(h) if said.mode == "LSTM" else x.new_empty(0)
    return y, h, c, x.new_empty(1, dtype=torch.uint8)


@torch.library.custom_op("rnnx::layer_backward", mutates_args=(), device_types="cpu")
def layer_backward_op(
    dy: Tensor, dh: Tensor, dc: Tensor | None, workspace: Tensor, x: Tensor, h0: Tensor, c0: Tensor | None,
    sizes: Tensor | None, reset: Tensor | None, seed: Tensor, weights: list[Tensor], form: str,
) -> list[Tensor]:  # fmt: skip
    """Gradients of x, h0, c0 (of an LSTM) and the weights."""
    said = form_of(form)
    call = Call(said, sizes, reset, int(seed), memos_of(weights))
    kept = kept_of(workspace, call, x, h0, c0, weights)
    dx, dh0, dc0, dweights = run_backward(said, kept, dy, dh, dc, True, True)
    return [d.contiguous() for d in (dx, dh0, dc0, *dweights) if d is not None]


@layer_backward_op.register_fake
def _(
    dy: Tensor, dh: Tensor, dc: Tensor | None, workspace: Tensor, x: Tensor, h0: Tensor, c0: Tensor | None,
    sizes: Tensor | None, reset: Tensor | None, seed: Tensor, weights: list[Tensor], form: str,
) -> list[Tensor]:  # fmt: skip
    like = [x, h0, *([] if c0 is None else [c0]), *weights]
    return [torch.empty_like(part, memory_format=torch.contiguous_format) for part in like]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, h0, c0, sizes, reset, seed, weights, form = inputs
    ctx.form, ctx.has_cell = form, c0 is not None
    ctx.count = len(weights)
    ctx.save_for_backward(output[3], x, h0, c0, sizes, reset, seed, *weights)


def _backward(ctx: Any, dy: Tensor, dh: Tensor, dc: Tensor, _: Any) -> Any:
    workspace, x, h0, c0, sizes, reset, seed, *weights = ctx.saved_tensors
    found = layer_backward_op(
        dy, dh, dc if ctx.has_cell else None, workspace, x, h0, c0, sizes, reset, seed, weights, ctx.form
    )
    dx, dh0, *rest = found
    dc0 = rest.pop(0) if ctx.has_cell else None
    return dx, dh0, dc0, None, None, None, rest, None


layer_op.register_autograd(_backward, setup_context=_setup)


def layer(
    form: Form,
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    sizes: Tensor | None,
    reset: Tensor | None,
    weights: Sequence[Tensor],
    seed: Any,
    memos: Memos,
    compiling: bool = False,
) -> tuple[Tensor, ...]:
    """One layer, in whatever PyTorch is doing: eager with or without a gradient, traced, exported, transformed.

    Returns
    -------
    y, h, and the c of an LSTM; of another mode an empty tensor may stand in its place
    """
    if compiling or type(x) not in PLAIN or torch._C._len_torch_dispatch_stack():  # operators are recorded, or heard
        batch = x.shape[1 if form.time_first else 0] if sizes is None else int(sizes[0])
        units = weights[1].shape[1]
        h0 = x.new_zeros((form.directions, batch, units)) if h0 is None else h0
        if form.mode == "LSTM":
            c0 = torch.zeros_like(h0) if c0 is None else c0
        drawn = torch.zeros((), dtype=torch.int64) if seed is None else seed
        return layer_op(x, h0, c0, sizes, reset, drawn, list(weights), form.as_text())[:3]
    call = Call(form, sizes, reset, 0 if seed is None else int(seed), memos)
    transformed = inside_a_transform()
    given = x, h0, c0, *weights
    wanted = torch.is_grad_enabled() and (
        weights[0].requires_grad or any([part is not None and part.requires_grad for part in given])
    )
    if wanted or transformed or forward_ad._current_level >= 0:
        # `apply` of the class above `Function`, whose own looks for transforms, as is done here; looked up in the call,
        # because a documentation build has no PyTorch to look it up in.
        apply: Any = TransformedLayer.apply if transformed else super(torch.autograd.Function, Layer).apply
        found: tuple[Tensor, ...] = apply(call, *given)
        return found[:3]
    y, h, c, _ = run(call, x, h0, c0, weights, False)
    return (y, h) if c is None else (y, h, c)


def inside_a_transform() -> bool:
    """Whether ``torch.func`` is at work: tensors are wrapped, and have no memory of their own."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def leave_to_python(*functions: Any) -> None:
    """Have ``torch.compile`` run these functions, and what they call, as they are.

    It does not read recurrent modules unless it is told to, but tries each function that such a module then calls, and
    these work on arrays. What it reads together with its caller goes on to be the operator.
    """
    try:
        from torch._C._dynamo import eval_frame

        skip = eval_frame._FrameAction.SKIP
    except (ImportError, AttributeError):  # of a PyTorch that names them otherwise
        return
    for function in functions:
        eval_frame.set_code_exec_strategy(function.__code__, eval_frame._FrameExecStrategy(skip, skip))


leave_to_python(
    layer, *(part for kind in (Layer, TransformedLayer, Gradient) for part in (kind.forward, kind.backward))
)
