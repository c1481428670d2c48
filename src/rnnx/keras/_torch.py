"""The loop on the PyTorch backend."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnx.keras._loop import Form, noise_of
from rnnx.torch._memo import Memo, remembered
from rnnx.torch._operator import Gradient, numbers_of

_memos: weakref.WeakKeyDictionary[Any, Memo] = weakref.WeakKeyDictionary()


FEWEST_PRODUCTS: dict[str, int] = {}  # Keras' loop takes more time for a single step than a call of the engine


def runs(x: Any, states: list[Any]) -> bool:
    """Whether tensors have numbers that the engine can read now: Keras also asks for shapes, and PyTorch compiles."""
    on_cpu = all(part.is_cpu for part in (x, *states))
    return on_cpu and x.dim() == 3 and x.numel() > 0 and not torch.compiler.is_compiling()


def loop(
    layer: Any, form: Form, x: Tensor, states: list[Tensor], weights: Sequence[Tensor], mask: Tensor | None,
    masks: tuple[list[Tensor], list[Tensor]],
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    """The last output, all outputs and the final states, as Keras' own loop gives them."""
    wanted = torch.is_grad_enabled() and any(part.requires_grad for part in (x, *states, *weights))
    valid = None if mask is None else mask.detach().to(torch.bool).reshape(x.shape[:2]).numpy()
    drawn = [[numbers_of(part) for part in parts] for parts in masks]
    noise = noise_of(form, numbers_of(x), weights[1].shape[0], *drawn)

    def packed() -> tuple[Any, Any]:
        memo = remembered(form, weights, _memos.get(layer), _packed_of)
        _memos[layer] = memo
        return memo.params, memo.packed

    call = form, packed, valid, noise
    tensors = (x, *states, *weights)
    y, *final = Loop.apply(call, len(states), *tensors) if wanted else forward(call, len(states), False, *tensors)[0]
    if form.return_sequences:
        return y[:, -1], y, final
    return y, y[:, None], final


def _packed_of(form: Form, weights: Sequence[Tensor]) -> tuple[Any, Any]:
    params = form.params(*(weight.contiguous().numpy().copy() for weight in weights))
    return params, form.core.pack(params)


def forward(call: Any, count: int, keep: bool, x: Tensor, *others: Tensor) -> tuple[list[Tensor], Any]:
    """Outputs and final states, and what the gradient needs."""
    form, packed, valid, noise = call
    states = [numbers_of(state) for state in others[:count]]
    run = form.forward(*packed(), numbers_of(x), states, valid, noise, keep)
    final = run.state if isinstance(run.state, tuple) else (run.state,)
    return [torch.from_numpy(part) for part in (run.outputs, *final)], run.cache


class Loop(torch.autograd.Function):
    """The loop with its gradient."""

    @staticmethod
    def forward(ctx: Any, call: Any, count: int, *tensors: Tensor) -> Any:
        results, ctx.cache = forward(call, count, True, *tensors)
        ctx.form, ctx.count, ctx.biased = call[0], count, len(tensors) == count + 4
        ctx.save_for_backward(*tensors)  # so that PyTorch sees what is changed before the gradient is asked for
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *dfinal: Tensor | None) -> Any:
        given = (ctx, ctx.saved_tensors and dy, *dfinal)
        return None, None, *(Gradient.apply(_gradients, *given) if torch.is_grad_enabled() else _gradients(*given))


def _gradients(ctx: Any, dy: Tensor | None, *dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
    doutputs, *dstate = (None if part is None else numbers_of(part) for part in (dy, *dfinal))
    state: Any = tuple(dstate) if ctx.form.cell == "lstm" else dstate[0]
    if all(part is None for part in dstate):
        state = None
    grads = ctx.form.core.backward(ctx.cache, doutputs, state, need_dx=ctx.needs_input_grad[2])
    first = grads.dinitial_state if isinstance(grads.dinitial_state, tuple) else (grads.dinitial_state,)
    params = grads.dparams
    found = [grads.dx, *first, params.kernel, params.recurrent_kernel, *([params.bias] if ctx.biased else [])]
    return tuple(None if part is None else torch.from_numpy(part) for part in found)
