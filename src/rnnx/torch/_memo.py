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

    what: Any
    pointers: list[int]
    versions: list[int]
    arrays: list[Array]  # on the memory of PyTorch
    fingerprints: list[int]
    params: Any
    packed: Any


def remembered(what: Any, weights: Sequence[Tensor], memo: Memo | None, make: Callable[..., Any]) -> Memo:
    """Weights for the engine: those of the memo, or ``make(what, weights)`` if PyTorch counts a change of a weight.

    What is written through ``.data`` is no change to PyTorch, so the numbers are looked at as well.
    """
    pointers, versions = [weight.data_ptr() for weight in weights], versions_of(weights)
    if memo is not None and memo.what == what and memo.pointers == pointers and memo.versions == versions:
        if memo.fingerprints == [_kernels.fingerprint(array) for array in memo.arrays]:
            return memo
    plain = [weight.detach().resolve_neg() for weight in weights]
    arrays = [weight.contiguous().numpy() for weight in plain]
    fingerprints = [_kernels.fingerprint(array) for array in arrays]
    with torch.no_grad():
        params, packed = make(what, plain)
    return Memo(what, pointers, versions, arrays, fingerprints, params, packed)


def versions_of(weights: Sequence[Tensor]) -> list[int]:
    """How often PyTorch has seen the weights change; it does not count for tensors made in inference mode."""
    try:
        return [weight._version for weight in weights]
    except RuntimeError:
        return []
