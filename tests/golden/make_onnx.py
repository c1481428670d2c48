"""Make ``onnx.npz``: ONNX files that PyTorch exports, and what ONNX Runtime makes of recurrent operators.

Environment: ``pip install torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0``, and rnnx, of which only the makers of the
nodes in `tests.formats.onnx.nodes` are used.
Command, from the root of the repository: ``python -m tests.golden.make_onnx``.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnxruntime
import torch

from ..formats.onnx.nodes import GOLDEN_OPTIONS, golden_arrays, one_node
from .store import Case, save

FEATURES, UNITS = 3, 4


class Network(torch.nn.Module):
    """A recurrent network as people write them: perhaps an embedding, recurrent layers, a Linear."""

    def __init__(self, kind: str, ids: bool, last: bool, **options: Any):
        super().__init__()
        self.table = torch.nn.Embedding(9, FEATURES) if ids else None
        self.rnn = getattr(torch.nn, kind)(FEATURES, UNITS, **options)
        self.linear = torch.nn.Linear(UNITS * (2 if options.get("bidirectional") else 1), 2)
        self.last = last

    def forward(self, x: Any) -> Any:
        y = self.rnn(x if self.table is None else self.table(x))[0]
        return torch.softmax(self.linear(y[:, -1] if self.last else y), -1)


NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {"kind": "LSTM", "ids": False, "last": False, "batch_first": True},
    "gru": {"kind": "GRU", "ids": False, "last": True, "batch_first": True},
    "rnn": {"kind": "RNN", "ids": False, "last": False, "nonlinearity": "relu", "batch_first": True, "bias": False},
    "ids": {"kind": "LSTM", "ids": True, "last": True, "batch_first": True},
    "both": {"kind": "GRU", "ids": False, "last": False, "batch_first": True, "bidirectional": True, "num_layers": 2},
    "time_first": {"kind": "LSTM", "ids": False, "last": False},
}


def exported(name: str, options: dict[str, Any]) -> Case:
    """A network as an ONNX file, an input and PyTorch's output."""
    torch.manual_seed(sum(map(ord, name)))
    network = Network(**options).eval()
    random = np.random.default_rng(4)
    x = random.integers(0, 9, (2, 5)) if options["ids"] else random.normal(size=(2, 5, FEATURES)).astype(np.float32)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.tensor(x),), file, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "first", 1: "second"}},
        )  # fmt: skip
    case = Case({"torch": torch.__version__, **options})
    case.put("file", np.frombuffer(file.getvalue(), np.uint8))
    case.put("x", x)
    with torch.no_grad():
        case.put("y", network(torch.tensor(x)).numpy())
    return case


def main() -> None:
    """Write the file."""
    cases = {f"torch {name}": exported(name, options) for name, options in NETWORKS.items()}
    for name, (kind, options) in GOLDEN_OPTIONS.items():
        arrays = golden_arrays(kind, options)
        data = one_node(kind, options, arrays, True, opset=14).SerializeToString()
        session = onnxruntime.InferenceSession(data)
        feeds = {value.name: arrays[value.name] for value in session.get_inputs()}
        cases[name] = Case({"kind": kind, "options": options})
        cases[name].put("outputs", session.run(None, feeds))
    save("onnx", cases)


if __name__ == "__main__":
    main()
