"""The service that people write around PyTorch: FastAPI, ``inference_mode``, one thread in each call."""

import os
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI
from models import KINDS
from pydantic import BaseModel

torch.set_num_threads(1)
app = FastAPI()


class Network(torch.nn.Module):
    """A network with the weights of rnnx's: those of Keras' order, transposed."""

    def __init__(self, name: str):
        super().__init__()
        stored = np.load(f"{os.environ['MODELS']}/{name}.npz")
        *weights, kernel, bias = (torch.from_numpy(stored[key]) for key in stored.files)
        self.cells = torch.nn.ModuleList()
        for k in range(0, len(weights), 3):
            wx, wh, b = weights[k : k + 3]
            features, units = len(wx), len(wh)
            kind = torch.nn.GRU if b.ndim == 2 else torch.nn.LSTM
            cell = kind(features, units, batch_first=True)
            order: Any = [1, 0, 2] if b.ndim == 2 else [0, 1, 2, 3]  # of the gates z r h and r z n; i f c o is i f g o
            b = b if b.ndim == 2 else torch.stack([b, torch.zeros_like(b)])
            parts = (wx.T, wh.T, b[0], b[1])
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            for own, part in zip(names, parts, strict=True):
                getattr(cell, own).data = torch.cat([part.split(units)[gate] for gate in order]).contiguous()
            cell.flatten_parameters()
            self.cells.append(cell)
        self.dense = torch.nn.Linear(*kernel.shape)
        self.dense.weight.data, self.dense.bias.data = kernel.T.contiguous(), bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for cell in self.cells:
            x, _ = cell(x)
        return self.dense(x[:, -1])


networks = {name: Network(name).eval() for name in KINDS}


class Sequences(BaseModel):
    x: list[list[list[float]]]


def answer(name: str, sequences: Sequences) -> dict[str, Any]:
    with torch.inference_mode():
        return {"y": networks[name](torch.tensor(sequences.x)).tolist()}


@app.get("/")
async def empty() -> dict[str, bool]:
    return {"live": True}


@app.post("/gru128")
async def gru128(sequences: Sequences) -> dict[str, Any]:  # cheap: in the event loop, which is faster
    return answer("gru128", sequences)


@app.post("/big")
def big(sequences: Sequences) -> dict[str, Any]:  # dear: in FastAPI's threads
    return answer("big", sequences)
