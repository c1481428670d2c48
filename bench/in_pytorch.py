"""What rnnx gains inside PyTorch: modules on rnnx against PyTorch's own, side by side in one run.

    python bench/in_pytorch.py                  # the tables of docs/in-pytorch.md: full, packed, with dropout
    python bench/in_pytorch.py --boundary       # what the way through PyTorch costs a call of the engine
    python bench/in_pytorch.py --policy         # sizes at which PyTorch's own code wins: rnnx/torch/_policy.py
    python bench/in_pytorch.py --threads 2      # with as many threads on both sides

Needs PyTorch. Both take turns call by call, results are compared before, and ratios are of medians: time of PyTorch
over time of rnnx, more than 1 means that rnnx is faster (``--quantile 0``: of the shortest times, for a busy machine).
A training step is forward, backward and an SGD step, so weights change, as they do in training.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnnx
import rnnx.torch
from rnnx.functional import GRUParams, LSTMParams, gru, lstm
from rnnx.torch import _policy

CLASSES: dict[str, tuple[type[nn.RNNBase], type[nn.RNNBase]]] = {
    "LSTM": (nn.LSTM, rnnx.torch.LSTM),
    "GRU": (nn.GRU, rnnx.torch.GRU),
    "RNN_TANH": (nn.RNN, rnnx.torch.RNN),
}
CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
RATE = 0.3


def medians(calls: list[Callable[[], Any]], seconds: float, share: float = 0.5) -> list[float]:
    """Median seconds of each call, or another quantile; they take turns for about so long, at least five times."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end and len(times[0]) < 2000:
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return [float(np.quantile(found, share)) for found in times]


class Loop(nn.Module):
    """What recurrent dropout takes in PyTorch: a loop over the cell, with one mask for all steps."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        units = self.cell.hidden_size
        h = c = x.new_zeros(x.shape[0], units)
        mask = torch.empty(x.shape[0], units).bernoulli_(1 - RATE).div_(1 - RATE)
        outputs = []
        for step in x.unbind(1):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(step, (h * mask, c))
            else:
                h = self.cell(step, h * mask)
            outputs.append(h)
        return torch.stack(outputs, 1), h


def pair(name: str, features: int, units: int) -> tuple[nn.RNNBase, nn.RNNBase]:
    """A module of PyTorch and the same on rnnx."""
    plain, ours = (cls(features, units, batch_first=True) for cls in CLASSES[name])
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def numbers(y: Any) -> Tensor:
    return y.data if isinstance(y, PackedSequence) else y


def checked(plain: nn.Module, ours: nn.Module, x: Any) -> None:
    """Both give the same."""
    with torch.no_grad():
        torch.testing.assert_close(numbers(ours(x)[0]), numbers(plain(x)[0]), atol=1e-5, rtol=1e-4)


def call_of(module: nn.Module, x: Any, training: bool) -> Callable[[], Any]:
    """Inference, or a training step."""
    if not training:

        def infer() -> None:
            with torch.no_grad():
                module(x)

        return infer
    optimizer = torch.optim.SGD(module.parameters(), 1e-6)

    def train() -> None:
        optimizer.zero_grad()
        numbers(module(x)[0]).sum().backward()
        optimizer.step()

    return train


def ratio(name: str, kind: str, batch: int, timesteps: int, units: int, seconds: float, share: float = 0.5) -> float:
    """PyTorch's time over that of rnnx."""
    torch.manual_seed(0)
    training = "training" in kind
    plain: nn.Module
    plain, ours = pair(name, units, units)
    x: Any = torch.randn(batch, timesteps, units)
    if "packed" in kind:
        lengths = torch.randint(max(1, timesteps // 10), timesteps + 1, (batch,))
        lengths[0] = timesteps
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    if "dropout" in kind:
        ours = CLASSES[name][1](
            units,
            units,
            batch_first=True,
            recurrent_dropout=RATE,
            dropout_gates="shared",  # type: ignore[call-arg]
        )
        plain = Loop(CELLS[name](units, units))
    else:
        checked(plain, ours, x)
    theirs, own = medians([call_of(plain, x, training), call_of(ours, x, training)], seconds, share)
    return theirs / own


def mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def tables(profile: str, seconds: float, share: float) -> None:
    """Full, packed and with dropout."""
    sizes = {
        "tiny": [(2, 5, 8)],
        "quick": [(8, 100, 64), (32, 100, 128)],
        "full": [
            (1, 100, 64),
            (8, 100, 64),
            (8, 100, 128),
            (32, 100, 64),
            (32, 100, 128),
            (32, 100, 256),
            (128, 50, 256),
        ],
    }[profile]
    kinds = ("inference", "training", "packed inference", "packed training", "training with dropout")
    print("| PyTorch's time / rnnx's | " + " | ".join(kinds) + " |")
    print("|---" * (1 + len(kinds)) + "|")
    for name in ("LSTM", "GRU"):
        all_of: dict[str, list[float]] = {kind: [] for kind in kinds}
        for batch, timesteps, units in sizes:
            for kind in kinds:
                all_of[kind].append(ratio(name, kind, batch, timesteps, units, seconds, share))
            last = " | ".join(f"{found[-1]:.2f}" for found in all_of.values())
            print(f"| {name} B={batch} T={timesteps} H={units} | {last} |", flush=True)
        print(f"| {name}, geometric mean | " + " | ".join(f"{mean(found):.2f}" for found in all_of.values()) + " |")


class Bare(torch.autograd.Function):
    """The least that PyTorch asks of a layer in Python: the engine on weights that are packed, and its gradients."""

    @staticmethod
    def forward(ctx: Any, core: Any, params: Any, packed: Any, x: Tensor, *weights: Tensor) -> Any:
        run = core.forward(params, x.numpy(), packed=packed, training=True)
        ctx.core, ctx.cache = core, run.cache
        ctx.save_for_backward(x, *weights)
        ctx.set_materialize_grads(False)
        return torch.from_numpy(run.outputs)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        _ = ctx.saved_tensors
        d = ctx.core.backward(ctx.cache, dy.numpy(), need_dx=False).dparams
        biases = d.bias if d.bias.ndim == 2 else (d.bias, d.bias)
        return (*[None] * 4, *map(torch.from_numpy, (d.kernel.T, d.recurrent_kernel.T, *biases)))


def boundary(profile: str, seconds: float, share: float) -> None:
    """The module against the engine called directly, in inference and in a forward and backward pass.

    With a gradient, a bare `torch.autograd.Function` around the engine says what is PyTorch's part of the way.
    """
    sizes = [(2, 4, 8)] if profile == "tiny" else [(1, 16, 16), (8, 100, 128), (32, 50, 64), (32, 100, 256)]
    print(
        "| | engine, µs | bare Function, µs | module, µs | way, µs | share of the engine's speed | of the bare one's |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (batch, timesteps, units) in ((name, size) for size in sizes for name in ("LSTM", "GRU")):
        module = CLASSES[name][1](units, units, batch_first=True)
        x = torch.randn(batch, timesteps, units)
        core: Any = {"LSTM": lstm, "GRU": gru}[name]
        w, r, b, br = (weight.detach().numpy() for weight in module.parameters())
        if name == "LSTM":
            params: Any = LSTMParams(w.T, r.T, b + br)
        else:
            params = GRUParams(w.T, r.T, np.stack((b, br)), gate_order="rzh")
        packed, array, ones = core.pack(params), x.numpy(), np.ones((batch, timesteps, units), np.float32)
        gradient = torch.from_numpy(ones)

        def inference(core: Any = core, params: Any = params, array: Any = array, packed: Any = packed) -> None:
            core.forward(params, array, packed=packed)

        def both(
            core: Any = core, params: Any = params, array: Any = array, packed: Any = packed, ones: Any = ones
        ) -> None:
            core.backward(core.forward(params, array, packed=packed, training=True).cache, ones, need_dx=False)

        def bare(core: Any = core, params: Any = params, packed: Any = packed, x: Tensor = x) -> Tensor:
            return torch.from_numpy(core.forward(params, x.numpy(), packed=packed).outputs)

        def bare_both(
            core: Any = core, params: Any = params, packed: Any = packed, module: Any = module, x: Tensor = x,
            gradient: Tensor = gradient,
        ) -> None:  # fmt: skip
            module.zero_grad()
            Bare.apply(core, params, packed, x, *module._flat_weights).backward(gradient)

        def module_both(module: Any = module, x: Tensor = x, gradient: Tensor = gradient) -> None:
            module.zero_grad()
            module(x)[0].backward(gradient)

        def module_alone(module: Any = module, x: Tensor = x) -> None:
            module(x)

        with _policy.everything_on_rnnx():
            for kind, calls in (
                ("inference", [inference, bare, module_alone]),
                ("training", [both, bare_both, module_both]),
            ):
                with torch.set_grad_enabled(kind == "training"):
                    engine, least, whole = (1e6 * found for found in medians(calls, seconds, share))
                print(
                    f"| {name} B={batch} T={timesteps} H={units}, {kind} | {engine:.0f} | {least:.0f} | {whole:.0f} | "
                    f"{whole - engine:.0f} | {engine / whole:.3f} | {least / whole:.3f} |",
                    flush=True,
                )


def policy(profile: str, seconds: float, share: float) -> None:
    """Small calls: where PyTorch's own code wins, and whether the rule leaves them there."""
    batches, steps = ((1, 4), (1, 2)) if profile == "tiny" else ((1, 8, 32), (1, 2, 4, 8, 16, 50))
    widths = (8,) if profile == "tiny" else (16, 64, 128, 256, 512, 1024)
    print("B x T: PyTorch's time over rnnx's; in brackets where the rule leaves the call to PyTorch, ! where it should")
    for kind, name, units in itertools.product(("inference", "training"), CLASSES, widths):
        row = []
        for batch, timesteps in itertools.product(batches, steps):
            if batch * timesteps * units * units > 12_000_000:
                continue
            with _policy.everything_on_rnnx():
                found = ratio(name, kind, batch, timesteps, units, seconds, share)
            rule = _policy.reason(name, kind == "training", timesteps, units, units)
            row.append(f"{batch}x{timesteps} " + (f"({found:.2f})" if rule else f"{found:.2f}" + "!" * (found < 0.97)))
        print(f"{name} {kind} H={units}: " + ", ".join(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--boundary", action="store_true", help="what the way through PyTorch costs")
    what.add_argument("--policy", action="store_true", help="where PyTorch's own code wins")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", choices=("tiny", "quick", "full"), default="full")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each pair of medians")
    parser.add_argument("--quantile", type=float, default=0.5, help="of the times; on a busy machine 0 says more")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rnnx.set_num_threads(args.threads)
    cpu = platform.processor() or platform.machine()
    print(f"torch {torch.__version__}, rnnx {rnnx.__version__}, {args.threads} thread(s), {cpu}\n")
    run = boundary if args.boundary else policy if args.policy else tables
    run(args.profile, args.seconds, args.quantile)


if __name__ == "__main__":
    main()
