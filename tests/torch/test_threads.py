"""The engine on PyTorch's threads."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import rnnx
import rnnx.torch
from rnnx import _kernels
from rnnx.torch import _threads

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not _threads.share(), reason="PyTorch's threads are not OpenMP's, or wait idly"),
]
X = torch.linspace(-1, 1, 64 * 20 * 64).reshape(64, 20, 64)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with rnnx.threads(2):
        yield
    torch.set_num_threads(before)
    _threads.share()


def gradients(module: torch.nn.Module) -> list[torch.Tensor]:
    module.zero_grad()
    module(X)[0].sum().backward()
    return [weight.grad for weight in module.parameters()]


@pytest.mark.parametrize("team", [1, 2, 3])
def test_the_bits_are_those_of_the_engines_own_threads(team):
    module = rnnx.torch.LSTM(64, 64, batch_first=True)
    _kernels.lend_threads(0)
    y, own = module(X)[0], gradients(module)
    assert _threads.share()
    torch.set_num_threads(team)
    assert torch.equal(module(X)[0], y) and all(map(torch.equal, gradients(module), own))
    assert _kernels.busy() == 0


def test_several_callers_at_once():
    module = rnnx.torch.GRU(64, 64, batch_first=True)
    with torch.no_grad():
        y = module(X)[0]

        def equal(_: int) -> bool:
            with torch.no_grad():
                return torch.equal(module(X)[0], y)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert all(pool.map(equal, range(40)))
    assert _kernels.busy() == 0


PROGRAM = """
import os, signal, sys, torch, rnnx, rnnx.torch
from rnnx import _kernels
torch.set_num_threads(2); rnnx.set_num_threads(2)
module, x = rnnx.torch.LSTM(64, 64, batch_first=True), torch.ones(64, 20, 64)
count = lambda: len(os.listdir("/proc/self/task"))
torch.ones(1_000_000).add_(1)
before = count()
y = module(x)[0].detach().numpy()
assert count() == before, "threads were started beside PyTorch's"
child = os.fork()
if child == 0:  # where OpenMP, and with it much of PyTorch, waits for ever
    signal.alarm(60)
    with torch.no_grad():
        os._exit(not (module(x)[0].numpy() == y).all())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child of a fork"
before = count()  # OpenBLAS ends its own before a fork
_kernels.lend_threads(0)
module(x)
assert count() == before + 1
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no list of threads")
@pytest.mark.parametrize("policy", [None, "PASSIVE"])
def test_no_thread_is_started_beside_pytorchs(policy):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy is None:
        subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], check=True, env=environment, timeout=300)
        return
    text = "from rnnx.torch import _threads; assert not _threads.share()"
    subprocess.run([sys.executable, "-c", text], check=True, env={**environment, "OMP_WAIT_POLICY": policy})
