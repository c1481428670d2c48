"""Modules of other people, swapped in place."""

from __future__ import annotations

import copy
import doctest
import importlib
import io
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import rnnx.torch
from rnnx.torch.modules import OnEngine

pytestmark = pytest.mark.torch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.projected = nn.LSTM(3, 4, proj_size=2)
        self.gru = nn.GRU(3, 4)
        self.lstm = nn.LSTM(4, 4, 2, dropout=0.5, bidirectional=True)
        self.half = nn.GRU(3, 4).half()
        self.own = type("Own", (nn.GRU,), {})(3, 4)

    def forward(self, x):
        return self.lstm(self.gru(x)[0])[0]


def test_report():
    net = Net()
    report = rnnx.torch.accelerate(net)
    assert report.swapped == ["gru", "lstm"]
    assert set(report.left) == {"projected", "half", "own"}
    assert "proj_size" in report.left["projected"] and "float16" in report.left["half"]
    assert str(report).splitlines()[0] == "gru: on rnnx"
    assert rnnx.torch.accelerate(net).swapped == ["gru", "lstm"]
    assert str(rnnx.torch.accelerate(nn.Linear(2, 2))) == "no LSTM, GRU or RNN inside"


def test_parameters_and_optimizer_go_on():
    torch.manual_seed(0)
    plain = Net()
    del plain.own, plain.half
    fast = copy.deepcopy(plain)
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in (plain, fast)]
    before = list(fast.parameters())
    rnnx.torch.accelerate(fast)
    assert all(old is new for old, new in zip(before, fast.parameters(), strict=True))
    assert list(fast.state_dict()) == list(plain.state_dict())
    x = torch.randn(20, 4, 3)
    for _ in range(3):
        for net, optimizer in zip((plain, fast), optimizers, strict=True):
            torch.manual_seed(5)
            optimizer.zero_grad()
            net(x).pow(2).mean().backward()
            optimizer.step()
    torch.testing.assert_close(fast.state_dict(), plain.state_dict(), atol=1e-4, rtol=1e-4)


def test_copies_and_pickles():
    net = Net()
    rnnx.torch.accelerate(net)
    copied = copy.deepcopy(net.gru)
    assert isinstance(copied, OnEngine)
    assert copied._flat_weights[0] is copied.weight_ih_l0 is not net.gru.weight_ih_l0
    text = pickle.dumps(net.lstm)
    assert b"rnnx" not in text and type(pickle.loads(text)) is nn.LSTM
    file = io.BytesIO()
    torch.save(net.gru, file)
    assert b"rnnx" not in file.getvalue()
    x = torch.randn(6, 2, 3)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(x)[0], net.gru(x)[0])


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_hooks_and_parametrizations():
    seen = []
    net = nn.GRU(3, 4)
    net.register_forward_hook(lambda *_: seen.append(1))
    rnnx.torch.accelerate(net)
    x = torch.randn(20, 2, 3)
    net(x)
    assert seen == [1]
    plain = nn.GRU(3, 4)
    plain.load_state_dict(net.state_dict())
    for module in (net, plain):
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        module(x)[0].sum().backward()
    torch.testing.assert_close([w.grad for w in net.parameters()], [w.grad for w in plain.parameters()])


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="torch.nn.Module"):
        rnnx.torch.accelerate([nn.GRU(3, 4)])
    with pytest.raises(TypeError, match=r"got type: GRU is a class, call it: GRU\(...\)"):
        rnnx.torch.accelerate(nn.GRU)


@pytest.mark.filterwarnings("ignore")
def test_modules_of_torch_jit_are_refused():
    with pytest.raises(TypeError, match="torch.jit"):
        rnnx.torch.accelerate(torch.jit.script(nn.GRU(3, 4)))


def test_the_page():
    text = (Path(__file__).parents[2] / "docs/in-pytorch.md").read_text(encoding="utf-8")
    names = {"model": Net()}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert isinstance(names["model"].gru, OnEngine) and not names["lstm"].training


@pytest.mark.parametrize("name", ["modules", "accelerate", "_operator"])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"rnnx.torch.{name}")).failed == 0
