"""Make ``torch_files``, a folder of files that PyTorch wrote in all forms, and ``torch_files.npz``, their outputs.

Environment: ``pip install torch==2.13.0 safetensors==0.8.0``.
Command, from the root of the repository: ``python -m tests.golden.make_torch_files``.

Inputs are numbers that float32 holds exactly; outputs are computed in float64 from the weights in the file. The bytes
of legacy files hold addresses of memory and differ from run to run.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from . import store
from .store import Case, random_like

FEATURES, UNITS, IDS = 3, 4, 7


class Network(torch.nn.Module):
    """One of each kind of module."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(IDS, FEATURES)
        self.encoder = torch.nn.Sequential(torch.nn.LSTM(FEATURES, UNITS, 2, batch_first=True, bidirectional=True))
        self.conv = torch.nn.Conv1d(2 * UNITS, 5, 3)
        self.batch_norm = torch.nn.BatchNorm1d(5)
        self.layer_norm = torch.nn.LayerNorm(5)
        self.decoder = torch.nn.GRUCell(5, UNITS)
        self.head = torch.nn.Linear(UNITS, 2)


def call(module: torch.nn.Module, x: Any) -> Any:
    """Run a module on input whose last axis is that of the features."""
    if isinstance(module, torch.nn.RNNBase):
        return module(x)[0]
    if isinstance(module, (torch.nn.Conv1d, torch.nn.BatchNorm1d)):
        return module(x.transpose(1, 2)).transpose(1, 2)
    return module(x)


def randomised(module: Any, rng: np.random.Generator) -> Any:
    """Give a module weights of its own, none of them at its start value."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.tensor(random_like(rng, [tuple(tensor.shape)])[0])
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return module.eval()


def record(module: Any, names: list[str], rng: np.random.Generator, **config: Any) -> Case:
    """Run parts of a module by name."""
    case = Case({"modules": names, **config})
    for name in names:
        part = module.get_submodule(name)
        if isinstance(part, torch.nn.Embedding):
            x = rng.integers(0, IDS, (2, 5))
        else:
            width = next(iter(part.parameters())).shape[-1]
            if isinstance(part, torch.nn.Conv1d):
                width = part.in_channels
            x = random_like(rng, [(2, width) if isinstance(part, torch.nn.RNNCellBase) else (2, 5, width)])[0]
        with torch.no_grad():
            given = torch.tensor(x) if x.dtype.kind == "i" else torch.tensor(x, dtype=torch.float64)
            case.put(f"y/{name}", call(part.double(), given).numpy())
        case.put(f"x/{name}", x)
    return case


def big_endian(data: bytes) -> bytes:
    """The archive as a machine of the other byte order would write it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("/byteorder"):
                content = b"big"
            elif "/data/" in name:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def shared(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors as views of one storage, every second one stored transposed."""
    flat = torch.cat([tensor.T.reshape(-1) if k % 2 else tensor.reshape(-1) for k, tensor in enumerate(state.values())])
    made, start = {}, 0
    for k, (name, tensor) in enumerate(state.items()):
        part = flat[start : start + tensor.numel()]
        made[name] = part.reshape(tuple(tensor.shape)[::-1]).T if k % 2 and tensor.ndim == 2 else part.view_as(tensor)
        start += tensor.numel()
    return made


def recurrent(kind: str, **options: Any) -> Any:
    return getattr(torch.nn, kind)(FEATURES, UNITS, batch_first=True, **options)


Write = Callable[[Any, Any], None]


def as_state(**options: Any) -> Write:
    return lambda module, path: torch.save(module.state_dict(), path, **options)


def checkpoint(module: Any, path: Any, **options: Any) -> None:
    """As people save training: wrapped by DataParallel, with an optimizer that has made a step."""
    optimizer = torch.optim.Adam(module.parameters())
    sum(p.sum() for p in module.parameters()).backward()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    optimizer.step()
    module.load_state_dict(before)
    state = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    whole = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(), "loss": 0.25}
    torch.save(whole, path, **options)


def scripted(module: Any, path: Any) -> None:
    torch.jit.script(module).save(str(path))


def write_big_endian(module: Any, path: Any) -> None:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    path.write_bytes(big_endian(buffer.getvalue()))


def write_safetensors(module: Any, path: Any) -> None:
    save_file(module.state_dict(), path, {"format": "pt"})


LEGACY = {"_use_new_zipfile_serialization": False}
FILES: dict[str, tuple[Callable[[], Any], list[str], Write]] = {
    "lstm.pt": (lambda: recurrent("LSTM"), [""], as_state()),
    "lstm.safetensors": (lambda: recurrent("LSTM"), [""], write_safetensors),
    "lstm_legacy.pt": (lambda: recurrent("LSTM"), [""], as_state(**LEGACY)),
    "lstm_protocol4.pt": (lambda: recurrent("LSTM"), [""], as_state(pickle_protocol=4)),
    "lstm_big_endian.pt": (lambda: recurrent("LSTM"), [""], write_big_endian),
    "lstm_projected.pt": (lambda: recurrent("LSTM", num_layers=2, bidirectional=True, proj_size=2), [""], as_state()),
    "lstm_half.pt": (lambda: recurrent("LSTM").half(), [""], as_state()),
    "lstm_bfloat16.pt": (lambda: recurrent("LSTM").bfloat16(), [""], as_state()),
    "gru_double.pt": (lambda: recurrent("GRU").double(), [""], as_state()),
    "gru_stack.pth": (lambda: recurrent("GRU", num_layers=3, bidirectional=True), [""], as_state()),
    "gru_no_bias.pt": (lambda: recurrent("GRU", bias=False), [""], as_state()),
    "gru_shared.pt": (lambda: recurrent("GRU"), [""], lambda m, path: torch.save(shared(m.state_dict()), path)),
    "gru_shared_legacy.pt": (
        lambda: recurrent("GRU"), [""], lambda m, path: torch.save(shared(m.state_dict()), path, **LEGACY),
    ),
    "rnn_relu.pt": (lambda: recurrent("RNN", nonlinearity="relu", bidirectional=True), [""], as_state()),
    "network.pt": (
        Network, ["embedding", "encoder.0", "conv", "batch_norm", "layer_norm", "decoder", "head"], as_state(),
    ),
    "checkpoint.pt": (Network, ["encoder.0", "head"], checkpoint),
    "checkpoint_legacy.pt": (Network, ["encoder.0", "head"], lambda m, path: checkpoint(m, path, **LEGACY)),
    "whole_module.pt": (lambda: recurrent("GRU", num_layers=2), [""], lambda m, path: torch.save(m, path)),
    "whole_network.pt": (Network, ["encoder.0", "head"], lambda m, path: torch.save(m, path)),
    "script.pt": (lambda: recurrent("GRU", num_layers=2), [""], scripted),
}  # fmt: skip


def main() -> None:
    """Write the files."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(20267)
    folder = store.DATA / "torch_files"
    folder.mkdir(exist_ok=True)
    cases = {}
    for name, (make, modules, write) in FILES.items():
        module = randomised(make(), rng)
        write(module, folder / name)
        cases[name] = record(module, modules, rng, nonlinearity=getattr(module, "nonlinearity", "tanh"))
    store.save("torch_files", cases)


if __name__ == "__main__":
    main()
