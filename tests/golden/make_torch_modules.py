"""Make ``torch_modules``, a folder of whole modules that PyTorch pickled, and ``torch_modules.npz``, their outputs.

Environment: ``pip install torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_torch_modules``.

Inputs and outputs have their features last, whatever the module takes. ``refused.pt`` holds what no layer computes.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from . import store
from .make_torch_files import randomised
from .store import Case, random_like

STEPS, FEATURES, IDS = 13, 3, 9
SHAPES = {"flat": (2, FEATURES), "image": (2, 9, 5, FEATURES), "volume": (2, 3, 6, 5, 2)}


class Refused(nn.Module):
    """Modules with parameters that look like those of others."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Linear(3, 2)
        self.group = nn.GroupNorm(2, 4)
        self.instance = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
        self.rms = nn.RMSNorm(4)
        self.each_batch = nn.BatchNorm1d(4, track_running_stats=False)
        self.transposed = nn.ConvTranspose1d(3, 4, 3)
        self.padded = nn.Conv1d(3, 4, 5, padding=1)
        self.strided = nn.Conv1d(3, 4, 3, stride=2, padding=1)
        self.mirrored = nn.Conv1d(3, 4, 3, padding=1, padding_mode="reflect")
        self.shortened = nn.Embedding(5, 4, max_norm=0.1)
        self.bag = nn.EmbeddingBag(5, 4)
        self.slopes = nn.PReLU(4)
        self.steep = nn.Sequential(nn.Linear(3, 3), nn.ELU(0.5), nn.Softmax(dim=0), nn.LogSoftmax(dim=-1))


CHAINS: dict[str, tuple[Any, str]] = {  # module, and where its input and output have their features
    "conv": (
        lambda: nn.Sequential(
            nn.Conv1d(FEATURES, 6, 3, stride=2, dilation=2, groups=3), nn.LeakyReLU(0.2),
            nn.BatchNorm1d(6, eps=0.01, momentum=0.3), nn.MaxPool1d(2, stride=1), nn.Flatten(),
            nn.Linear(24, 4), nn.Softmax(dim=1),
        ), "first flat",
    ),
    "same": (
        lambda: nn.Sequential(OrderedDict(
            z=nn.Conv1d(FEATURES, 4, 5, padding=2, bias=False), a=nn.Softmax(dim=1), m=nn.Dropout1d(0.3),
            d=nn.AvgPool1d(3, stride=2), c=nn.Conv1d(4, 5, 2), x=nn.AdaptiveMaxPool1d(1), b=nn.Flatten(),
            e=nn.Linear(5, 2),
        )), "first flat",
    ),
    "dilated": (
        lambda: nn.Sequential(
            nn.Conv1d(FEATURES, 4, 4, padding="same", dilation=2), nn.GELU(), nn.Identity(), nn.Softmax(dim=-1),
        ), "first first",
    ),
    "dense": (
        lambda: nn.Sequential(
            nn.Linear(FEATURES, 6), nn.BatchNorm1d(6, affine=False), nn.ReLU6(),
            nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5, eps=0.1), nn.SiLU(), nn.Dropout(0.4)),
            nn.Hardtanh(0.0, 0.5), nn.Linear(5, 4), nn.Hardsigmoid(), nn.Softmax(dim=1),
        ), "flat flat",
    ),
    "words": (
        lambda: nn.Sequential(
            nn.Embedding(IDS, 4, padding_idx=0, max_norm=100.0), nn.LayerNorm(4, eps=0.01, bias=False),
            nn.Linear(4, 3), nn.ELU(), nn.Softplus(), nn.RNN(3, 4, nonlinearity="relu", bidirectional=True,
                                                              batch_first=True),
        ), "ids last",
    ),
}  # fmt: skip
LATER: dict[str, tuple[Any, str]] = {  # so that the numbers of the others stay as they are
    "padded": (
        lambda: nn.Sequential(
            nn.Conv1d(FEATURES, 4, 5, padding=1), nn.ReLU(), nn.Conv1d(4, 6, 3, stride=2, padding=1),
            nn.Conv1d(6, 4, 3, padding=(4,), dilation=2, groups=2), nn.Conv1d(4, 3, 3, padding=1), nn.Flatten(),
            nn.Linear(30, 2),
        ), "first flat",
    ),
    "image": (
        lambda: nn.Sequential(
            nn.Conv2d(FEATURES, 4, (3, 2), stride=(2, 1), padding=(2, 1), bias=False), nn.BatchNorm2d(4, eps=0.01),
            nn.ReLU(), nn.MaxPool2d((2, 1)), nn.Dropout2d(0.2), nn.Conv2d(4, 6, 3, padding=1, groups=2),
            nn.GroupNorm(3, 6), nn.AvgPool2d(2, stride=1), nn.Softmax(dim=1), nn.Flatten(), nn.Linear(60, 5),
            nn.BatchNorm1d(5),
        ), "image flat",
    ),
    "pooled": (
        lambda: nn.Sequential(
            nn.Conv2d(FEATURES, 4, (3, 5), dilation=(2, 1), padding=(2, 2)), nn.Softmax(dim=3), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 2),
        ), "image flat",
    ),
    "volume": (
        lambda: nn.Sequential(nn.Conv3d(2, 3, 2, stride=(1, 2, 1)), nn.SiLU(), nn.MaxPool3d((1, 2, 2)), nn.Flatten()),
        "volume flat",
    ),
}  # fmt: skip


def main() -> None:
    """Write the files."""
    rng = np.random.default_rng(20268)
    folder = store.DATA / "torch_modules"
    folder.mkdir(exist_ok=True)
    cases = made(CHAINS, rng, folder)
    torch.save(randomised(Refused(), rng), folder / "refused.pt")
    store.save("torch_modules", {**cases, **made(LATER, rng, folder)})
    torch.manual_seed(0)
    grouped = nn.Sequential(nn.Conv1d(2, 4, 2), nn.GroupNorm(2, 4, eps=0.01), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2))
    nn.init.normal_(grouped[1].weight)
    nn.init.normal_(grouped[1].bias)
    torch.save(grouped, folder / "grouped.pt")
    print(grouped(torch.linspace(-1, 1, 12).reshape(2, 2, 3) ** 2).tolist())  # stands in the test


def made(chains: dict[str, tuple[Any, str]], rng: np.random.Generator, folder: Path) -> dict[str, Case]:
    """Write these chains; inputs and outputs of each."""
    cases = {}
    for name, (make, places) in chains.items():
        module = randomised(make(), rng)
        torch.save(module, folder / f"{name}.pt")
        before, after = places.split()
        shape = SHAPES.get(before, (2, STEPS, FEATURES))
        x = rng.integers(0, IDS, (2, STEPS)) if before == "ids" else random_like(rng, [shape])[0]
        given = torch.tensor(x, dtype=torch.long if before == "ids" else torch.float64)
        with torch.no_grad():
            y = module.double()(given if before in ("flat", "ids", "last") else given.movedim(-1, 1))
        y = y[0] if isinstance(y, tuple) else y
        case = Case({})
        case.put("x", x)
        case.put("y", (y.transpose(1, 2) if after == "first" else y).numpy())
        cases[name] = case
    return cases


if __name__ == "__main__":
    main()
