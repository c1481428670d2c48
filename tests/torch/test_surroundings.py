"""Modules on rnnx where programs use them: data loaders, several processes, training loops, memory."""

from __future__ import annotations

import copy
import gc
import resource
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import rnnx.torch
from rnnx.torch import _policy
from rnnx.torch.modules import OnEngine

pytestmark = pytest.mark.torch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def net(on_rnnx: bool = True) -> Net:
    torch.manual_seed(0)
    made = Net()
    if on_rnnx:
        rnnx.torch.accelerate(made)
    return made


def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 10, 3, generator=generator), torch.randint(2, (rows,), generator=generator)


def trained(model: nn.Module, batches: Any) -> dict[str, torch.Tensor]:
    """The weights after a step for each batch."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return {name.removeprefix("module."): value.detach().clone() for name, value in model.state_dict().items()}


# ---- Several processes -----------------------------------------------------------------------------------------------


def one_of_two(rank: int, port: int, path: str) -> None:
    """A process of `test_two_processes`: every other row of each batch."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(net())
    x, y = data(16)
    weights = trained(model, [(x[k + rank : k + 8 : 2], y[k + rank : k + 8 : 2]) for k in (0, 8)])
    if rank == 0:
        torch.save(weights, path)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_are_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "weights.pt"
    torch.multiprocessing.spawn(one_of_two, (port, str(path)), nprocs=2)
    x, y = data(16)
    wanted = trained(net(on_rnnx=False), [(x[:8], y[:8]), (x[8:], y[8:])])
    torch.testing.assert_close(torch.load(path), wanted, atol=1e-6, rtol=1e-5)


class Encoded(torch.utils.data.Dataset[torch.Tensor]):
    """Rows that a module on rnnx has read, in whatever process asks for them."""

    def __init__(self, model: nn.Module):
        self.model, self.x = model, data(8)[0]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, k: int) -> torch.Tensor:
        with torch.no_grad():
            return self.model(self.x[k : k + 1])[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_of_a_data_loader():
    model = net()
    wanted = model(data(8)[0]).detach()  # the engine has run before the fork
    loader = torch.utils.data.DataLoader(Encoded(model), 4, num_workers=2, multiprocessing_context="fork")
    torch.testing.assert_close(torch.cat(list(loader)), wanted)


# ---- Training loops --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Task(lightning.LightningModule):
        def __init__(self, on_rnnx: bool):
            super().__init__()
            self.net = net(on_rnnx)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 0.01)

    found = []
    for on_rnnx in (True, False):
        task = Task(on_rnnx)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data(24)), 8)
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path,
            enable_checkpointing=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(task, loader)
        assert isinstance(task.net.lstm, OnEngine) == on_rnnx
        trainer.save_checkpoint(tmp_path / f"{on_rnnx}.ckpt")
        found.append(torch.load(tmp_path / f"{on_rnnx}.ckpt", weights_only=True)["state_dict"])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_a_copy_has_a_life_of_its_own():
    model = net()
    x, y = data(8)
    before = model(x)
    copied = copy.deepcopy(model)
    assert isinstance(copied.lstm, OnEngine)
    trained(copied, [(x, y)] * 2)
    torch.testing.assert_close(model(x), before, atol=0, rtol=0)
    assert not torch.equal(copied(x), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_and_autocast_are_pytorchs_own(dtype):
    plain, ours = net(on_rnnx=False), net()
    x, _ = data(8)
    with torch.autocast("cpu", torch.bfloat16):
        wanted, found = plain(x), ours(x)
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    plain, ours, x = plain.to(dtype), ours.to(dtype), x.to(dtype)
    torch.testing.assert_close(ours(x), plain(x), atol=0, rtol=0)
    torch.testing.assert_close(ours.float()(x.float()), plain.float()(x.float()))  # and back


@pytest.mark.filterwarnings("ignore")
def test_traced_modules_run_pytorchs_own_code():
    model = net()
    x, _ = data(8)
    traced = torch.jit.trace(model, x)
    assert "rnnx::" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), model(x))
    with pytest.raises(TypeError, match="torch.jit is fixed; accelerate the module it was made of"):
        rnnx.torch.accelerate(traced)


# ---- Sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "training", "sizes", "left"),
    [
        ("LSTM", True, (15, 16, 16), True),
        ("LSTM", True, (16, 16, 16), False),
        ("GRU", True, (8, 16, 16), False),
        ("LSTM", False, (1, 512, 512), False),
        ("GRU", False, (2, 256, 256), True),
        ("GRU", False, (3, 256, 256), False),
        ("GRU", False, (1, 32, 32), False),
        ("RNN_RELU", False, (1, 512, 512), True),
    ],
)
def test_small_calls_stay_with_pytorch(mode, training, sizes, left):
    assert (_policy.reason(mode, training, *sizes) is not None) == left
    with _policy.everything_on_rnnx():
        assert _policy.reason(mode, training, *sizes) is None


@pytest.mark.parametrize("what", ["", "--boundary", "--policy"])
def test_the_bench(what):
    """Its results are checked inside; here that it runs."""
    path = Path(__file__).parents[2] / "bench/in_pytorch.py"
    command = [sys.executable, str(path), "--profile", "tiny", "--seconds", "0", *what.split()]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "LSTM" in found and "GRU" in found


@pytest.mark.parametrize("form", ["batch first", "time first", "alone", "packed"])
def test_steps_are_counted_in_every_form(form, monkeypatch):
    seen = []
    monkeypatch.setattr(_policy, "reason", lambda mode, training, steps, features, units: seen.append(steps))
    module = rnnx.torch.GRU(3, 4, batch_first=form == "batch first")
    x: Any = {"batch first": torch.zeros(2, 5, 3), "time first": torch.zeros(5, 2, 3), "alone": torch.zeros(5, 3)}
    module(x[form] if form in x else pack_sequence([torch.zeros(5, 3), torch.zeros(2, 3)]))
    assert seen == [5]


# ---- Memory ----------------------------------------------------------------------------------------------------------


def test_weights_are_copied_by_no_call():
    """What a call allocates does not grow with the weights; those are PyTorch's memory, and packed once."""
    module = rnnx.torch.LSTM(256, 256)  # 2 MB of weights
    x = torch.zeros(8, 1, 256)
    with torch.no_grad(), _policy.everything_on_rnnx():
        module(x)
        tracemalloc.start()
        for _ in range(5):
            module(x)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100_000
    (memos,) = rnnx.torch.modules.memos_of(module)
    arrays = [memos[0].params.kernel, memos[0].params.recurrent_kernel]
    pointers = [module.weight_ih_l0.data_ptr(), module.weight_hh_l0.data_ptr()]
    assert [array.ctypes.data for array in arrays] == pointers


def turned(*shape: int) -> torch.Tensor:
    """A view whose sign PyTorch has yet to turn."""
    view = torch.randn(*shape, dtype=torch.cfloat).conj().imag
    assert view.is_neg()
    return view


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_views_whose_sign_is_yet_to_turn(kind):
    torch.manual_seed(5)
    plain, ours = getattr(nn, kind)(3, 4, bidirectional=True), getattr(rnnx.torch, kind)(3, 4, bidirectional=True)
    weight = turned(*plain.weight_hh_l0.shape)
    ours.load_state_dict(plain.state_dict())
    plain.weight_hh_l0, ours.weight_hh_l0 = nn.Parameter(weight), nn.Parameter(weight)
    x, h, dy, dh = turned(20, 2, 3).requires_grad_(), turned(2, 2, 4), turned(20, 2, 8), turned(2, 2, 4)
    found = []
    for module in (plain, ours):
        y, state = module(x, (h, h) if kind == "LSTM" else h)
        parts = (y, *state) if kind == "LSTM" else (y, state)
        gradients = torch.autograd.grad(parts, [x, *module.parameters()], [dy, dh, dh][: len(parts)])
        found.append([*parts, *gradients])
    for got, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_training_keeps_nothing():
    module = rnnx.torch.LSTM(16, 32)
    optimizer = torch.optim.SGD(module.parameters(), 1e-3)
    x = torch.randn(20, 8, 16)
    before = 0
    for k in range(1500):
        optimizer.zero_grad()
        module(x)[0].sum().backward()
        optimizer.step()
        if k == 300:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.collect()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000
    assert not rnnx.torch._operator._kept


def test_loaders_feed_models_of_rnnx() -> None:
    """Batches of tensors, with targets and without, and lists of sequences of any lengths."""
    model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4), rnnx.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = torch.randn(22, 7, 3), torch.randn(22, 1)
    rows = [x[k, : 1 + k % 7] for k in range(22)]
    loader, alone = (torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*parts), 8) for parts in ((x, y), (x,)))
    tensors = torch.utils.data.DataLoader(x, 8)  # type: ignore[arg-type]
    for source in (loader, alone, tensors):
        np.testing.assert_allclose(model.predict(source), model.predict(x.numpy()), atol=1e-6)
    for size in (2, 8):
        ragged = torch.utils.data.DataLoader(rows, size, collate_fn=list)  # type: ignore[arg-type, var-annotated]
        found = model.predict(ragged)
        np.testing.assert_allclose(found, model.predict([row.numpy() for row in rows]), atol=1e-6)
    assert model.evaluate(loader) == pytest.approx(model.evaluate(x.numpy(), y.numpy()), rel=1e-5)
    history = model.fit(loader, epochs=3, validation_data=loader, verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0]
