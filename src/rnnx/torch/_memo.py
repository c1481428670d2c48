"""Packed weights of PyTorch's tensors, kept until the weights change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnx import _kernels
from rnnx._typing import Array


class Memo(NamedTuple):
    """Weights for the engine, and what they were made of."""

    key: tuple[Any, ...]
    arrays: list[Array]  # on the memory of PyTorch, whose addresses are in the key
    fingerprint: int | None  # of the numbers; None: not taken
    params: Any
    packed: Any


def remembered(what: Any, weights: Sequence[Tensor], memo: Memo | None, make: Callable[..., Any]) -> Memo:
    """Weights for the engine: those of the memo, or ``make(what, weights)`` if a weight has changed.

    What is written through ``.data`` is no change to PyTorch, so the numbers are looked at as well: in the first call
    and wherever PyTorch has counted no change. In training it counts one at every step, and reading the numbers once
    more would tell nothing; the first call that finds the same count then packs once more.
    """
    key = (
        what,
        [weight.data_ptr() for weight in weights],
        [weight.shape for weight in weights],  # parts of them, as of a layer that was made smaller, begin there too
        [weight.stride() for weight in weights],
        versions_of(weights),
    )
    fingerprint = None
    if memo is not None and memo.key == key:
        fingerprint = _kernels.fingerprint(memo.arrays)
        if fingerprint == memo.fingerprint:
            return memo
    plain = [weight.detach().resolve_neg() for weight in weights]
    arrays = [weight.numpy() for weight in plain]
    if any([weight.is_neg() for weight in weights]):  # which PyTorch has yet to turn: the arrays are copies
        fingerprint = None
    elif memo is None:
        fingerprint = _kernels.fingerprint(arrays)
    with torch.no_grad():
        params, packed = make(what, plain)
    return Memo(key, arrays, fingerprint, params, packed)


def versions_of(weights: Sequence[Tensor]) -> list[int]:
    """How often PyTorch has seen the weights change; it does not count for tensors made in inference mode."""
    try:
        return [weight._version for weight in weights]
    except RuntimeError:
        return []
