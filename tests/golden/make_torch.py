"""Make ``torch.npz``: ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` of PyTorch, full and packed, with gradients.

Environment: ``pip install torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_torch``.

Weights and their gradients are stored in PyTorch's own layout; `golden.test_torch` converts them. Results are
float64, from inputs and weights that float32 holds exactly.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .store import Case, random_like, save

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 5, 4, 3
LENGTHS = [3, 5, 1, 4]
LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("GRU", {}),
    ("RNN", {"nonlinearity": "tanh"}),
    ("RNN", {"nonlinearity": "relu"}),
]


def wanting_gradient(array: np.ndarray) -> torch.Tensor:
    """Return a float64 tensor that collects its gradient."""
    return torch.tensor(array.astype(np.float64), requires_grad=True)


def record(
    name: str,
    kwargs: dict[str, Any],
    rng: np.random.Generator,
    *,
    lengths: list[int] | None,
    given: bool,
    bias: bool,
) -> Case:
    """Run one layer forward and backward, with a gradient for the outputs and one for the last states."""
    both = kwargs.get("bidirectional", False)
    module = getattr(torch.nn, name)(FEATURES, UNITS, batch_first=True, bias=bias, dtype=torch.float64, **kwargs)
    parameters = dict(module.named_parameters())
    weights = dict(zip(parameters, random_like(rng, [tuple(p.shape) for p in parameters.values()]), strict=True))
    with torch.no_grad():
        for key, value in weights.items():
            parameters[key].copy_(torch.tensor(value))

    x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
    states = random_like(rng, [(1 + both, BATCH, UNITS)] * (2 if name == "LSTM" else 1)) if given else []
    x_tensor, state_tensors = wanting_gradient(x), [wanting_gradient(state) for state in states]
    source: Any = x_tensor
    if lengths is not None:
        source = pack_padded_sequence(x_tensor, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    hx = None if not states else tuple(state_tensors) if name == "LSTM" else state_tensors[0]
    outputs, last = module(source, hx)
    if lengths is not None:
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=TIMESTEPS)
    ys = [outputs, *(last if name == "LSTM" else [last])]
    dys = random_like(rng, [tuple(y.shape) for y in ys], scale=1.0)
    torch.autograd.backward(ys, [torch.tensor(dy.astype(np.float64)) for dy in dys])

    case = Case({"class": name, "kwargs": kwargs, "lengths": lengths, "given": given, "bias": bias})
    case.put("x", x)
    case.put("states", states)
    case.put("y", [y.detach().numpy() for y in ys])
    case.put("dy", dys)
    case.put("dx", x_tensor.grad.numpy())
    case.put("dstates", [state.grad.numpy() for state in state_tensors])
    for key, parameter in parameters.items():
        case.put(f"weights/{key}", weights[key])
        case.put(f"dweights/{key}", parameter.grad.numpy())
    return case


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(20265)
    cases = {}
    for (name, kwargs), lengths, given, both in itertools.product(
        LAYERS, [None, LENGTHS], [False, True], [False, True]
    ):
        for bias in (True, False) if given and not both else (True,):
            arguments = dict(kwargs, bidirectional=True) if both else kwargs
            label = "-".join([name, *map(str, kwargs.values())])
            label += f"-lengths={lengths is not None}-h0={given}-both={both}-bias={bias}"
            cases[label] = record(name, arguments, rng, lengths=lengths, given=given, bias=bias)
    save("torch", cases)


if __name__ == "__main__":
    main()
