"""PyTorch's own samples of its recurrent modules (``torch.testing``, which the package has), with the classes swapped.

They need the package ``expecttest``. Each sample is a constructor, an input and, for
most, a function of PyTorch that says what the result must be.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

import rnnx.torch
from rnnx.torch import _policy

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
SWAPPED = {nn.RNN: rnnx.torch.RNN, nn.GRU: rnnx.torch.GRU, nn.LSTM: rnnx.torch.LSTM}


def leaves(value: Any) -> Iterator[torch.Tensor]:
    """The tensors inside a result or an argument."""
    if isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves(part)


def called(module: nn.Module, call: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The results, and the gradients of a sum with fixed weights for inputs and parameters."""
    args, kwargs = copy.deepcopy((call.args, call.kwargs))
    inputs = [part for part in leaves((args, list(kwargs.values()))) if part.is_leaf and part.requires_grad]
    results = list(leaves(module(*args, **kwargs)))
    torch.manual_seed(2)
    sum((part * torch.randn_like(part)).sum() for part in results).backward()
    return results, [part.grad for part in (*inputs, *module.parameters())]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cls", SWAPPED, ids=lambda cls: cls.__name__)
def test_samples(cls, dtype, training):
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_modules import module_db

    (info,) = [info for info in module_db if info.module_cls is cls]
    torch.manual_seed(0)
    samples = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
    assert len(samples) > 10
    for sample in samples:
        made = sample.constructor_input
        kwargs = {**made.kwargs, "dtype": dtype}
        plain, ours = cls(*made.args, **kwargs), SWAPPED[cls](*made.args, **kwargs)
        ours.load_state_dict(plain.state_dict())
        ours = pickle.loads(pickle.dumps(ours))
        for module in (plain, ours):
            module.train(training)
        with _policy.everything_on_rnnx():
            torch.manual_seed(1)
            results, gradients = called(plain, sample.forward_input)
            torch.manual_seed(1)
            own_results, own_gradients = called(ours, sample.forward_input)
            torch.testing.assert_close(own_results, results, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(own_gradients, gradients, atol=1e-5, rtol=1e-4)
            if sample.reference_fn is not None:
                given = sample.forward_input
                wanted = sample.reference_fn(ours, *given.args, **given.kwargs)
                torch.testing.assert_close(list(leaves(ours(*given.args, **given.kwargs))), list(leaves(wanted)))
