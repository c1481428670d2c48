"""Real PyTorch and rnnx read each other's files.

Command, in an environment with the extra ``golden``: ``pytest -m peers tests/peers/test_torch_files.py``.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import torch as files
from rnnx.formats.torch._state import read_state

from .public import unpacked

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
FEATURES, UNITS = 5, 6
LENGTHS = [9, 3, 1, 7]
OPTIONS = [
    (name, dict(num_layers=layers, bidirectional=both, bias=bias), dtype)
    for name, layers, both, bias, dtype in itertools.product(
        ["LSTM", "GRU", "RNN"], [1, 2, 3], [False, True], [True, False], ["float32", "float64"]
    )
]
OPTIONS += [("RNN", dict(options, nonlinearity="relu"), dtype) for name, options, dtype in OPTIONS if name == "RNN"]
OPTIONS += [("LSTM", dict(options, proj_size=3), dtype) for name, options, dtype in OPTIONS if name == "LSTM"]


@pytest.fixture(scope="module")
def torch() -> Any:
    import torch

    return torch


@pytest.mark.parametrize("name, options, dtype", OPTIONS, ids=str)
def test_there_and_back(name: str, options: dict[str, Any], dtype: str, torch: Any, tmp_path: Any) -> None:
    """Outputs, packed outputs and final states agree; what rnnx writes loads with ``strict=True`` to the same."""
    torch.manual_seed(1)

    def make() -> Any:
        return getattr(torch.nn, name)(FEATURES, UNITS, batch_first=True, dtype=getattr(torch, dtype), **options)

    module = make()
    x = torch.randn(4, 9, FEATURES, dtype=getattr(torch, dtype))
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        wish, last = module(x)
        padded = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True)[0]
    torch.save(module.state_dict(), tmp_path / "zip.pt")
    torch.save(module.state_dict(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": module.state_dict(), "epoch": 1}, tmp_path / "protocol5.pt", pickle_protocol=5)
    said = {"nonlinearity": options.get("nonlinearity", "tanh")}
    for path in tmp_path.iterdir():
        layer = files.load(path, **said)[""]
        np.testing.assert_allclose(layer(x.numpy()), wish, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(layer(x.numpy(), lengths=LENGTHS), padded, rtol=1e-6, atol=1e-6)
    y, *states = files.load(tmp_path / "zip.pt", return_state=True, **said)[""](x.numpy())
    if "proj_size" not in options:
        rows = last if name == "LSTM" else [last]
        ordered = [row[k].numpy() for k in range(len(rows[0])) for row in rows]
        for state, row in zip(states, ordered, strict=True):
            np.testing.assert_allclose(state, row, rtol=1e-6, atol=1e-6)

    copy = make()
    copy.load_state_dict({k: torch.from_numpy(v) for k, v in files.state_dict(layer).items()}, strict=True)
    agree(torch, copy, x, wish)
    files.save(layer, tmp_path / "back.pt")
    for mapped in (False, True):
        copy = make()
        copy.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True, mmap=mapped), strict=True)
        agree(torch, copy, x, wish)
    files.save(layer, tmp_path / "back.safetensors")
    from safetensors.torch import load_file

    copy = make()
    copy.load_state_dict(load_file(tmp_path / "back.safetensors"), strict=True)
    agree(torch, copy, x, wish)


def agree(torch: Any, module: Any, x: Any, wish: Any) -> None:
    with torch.no_grad():
        np.testing.assert_allclose(module(x)[0], wish, rtol=1e-6, atol=1e-6)


def test_a_model_of_rnnx_in_a_module_of_torch(torch: Any, tmp_path: Any) -> None:
    """Every kind of layer that can be written, loaded with ``strict=True`` into a module of the same names."""
    layers = rnnx.layers
    model = rnnx.Sequential([
        rnnx.Input((None,), dtype="int64"),
        layers.Embedding(11, 4, name="table"),
        layers.Conv1D(5, 3, name="conv"),
        layers.BatchNormalization(epsilon=1e-5, name="batch"),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both"),
        layers.LayerNormalization(epsilon=1e-5, name="norm"),
        layers.GRU(4, return_sequences=True, name="gru"),
        layers.Dense(2, name="head"),
    ])  # fmt: skip
    random = np.random.default_rng(2)
    model.set_weights([np.abs(random.normal(size=w.shape)) + 0.1 for w in model.weights])

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = torch.nn.Embedding(11, 4), torch.nn.Conv1d(4, 5, 3)
            self.batch, self.norm = torch.nn.BatchNorm1d(5), torch.nn.LayerNorm(6)
            self.both = torch.nn.LSTM(5, 3, batch_first=True, bidirectional=True)
            self.gru, self.head = torch.nn.GRU(6, 4, batch_first=True), torch.nn.Linear(4, 2)

        def forward(self, ids: Any) -> Any:
            x = self.batch(self.conv(self.table(ids).transpose(1, 2))).transpose(1, 2)
            return self.head(self.gru(self.norm(self.both(x)[0]))[0])

    files.save(model, tmp_path / "m.pt")
    net = Net().eval()
    net.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True), strict=True)
    ids = random.integers(0, 11, (3, 8))
    with torch.no_grad():
        np.testing.assert_allclose(net(torch.from_numpy(ids)), model(ids), rtol=1e-6, atol=1e-6)


def test_a_public_script_is_read_as_torch_reads_it(torch: Any, tmp_path: Any) -> None:
    """All parameters of silero-vad (MIT), which holds two networks in one TorchScript archive, bit for bit."""
    path = unpacked("silero-vad==6.2.3", tmp_path) / "silero_vad/data/silero_vad.jit"
    wish = {name: tensor for name, tensor in torch.jit.load(str(path)).state_dict().items() if tensor.numel()}
    found = read_state(path).arrays
    assert found.keys() == wish.keys() and len(found) == 30
    for name, tensor in wish.items():
        np.testing.assert_array_equal(found[name], tensor.cpu(), strict=True)
