"""Make ``onnx_torch.npz``: networks as PyTorch and Keras 3 export them to ONNX, with what ONNX Runtime makes of them.

Each network is written by PyTorch's older exporter (TorchScript), some by its newer one (dynamo) too; a few are of
Keras 3, whose exporter writes recurrent layers step by step. What a file only says about its making is left out.

Environment: ``pip install torch==2.13.0 keras==3.15.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0``.
Command, from the root of the repository: ``python -m tests.golden.make_onnx_torch``.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from .store import Case, save

FEATURES, UNITS = 3, 4
LARGEST = 30_000  # bytes of a file: larger ones say the same at more length
Made = tuple[Any, dict[str, Any], list[str], dict[str, dict[int, str]]]  # network, inputs, outputs, axes of any size


class Network(nn.Module):
    """A recurrent layer, what is made of its outputs or states, and a Linear."""

    def __init__(self, kind: str, head: str = "all", ids: bool = False, end: str = "", **options: Any):
        super().__init__()
        options.setdefault("batch_first", True)
        self.table = nn.Embedding(9, FEATURES) if ids else None
        self.rnn = getattr(nn, kind)(FEATURES, UNITS, **options)
        self.linear = nn.Linear(UNITS * (2 if self.rnn.bidirectional else 1), 2)
        self.head, self.end = head, end

    def forward(self, x: Any, h: Any = None, c: Any = None) -> Any:
        state = None if h is None else h if c is None else (h, c)
        y, state = self.rnn(x if self.table is None else self.table(x), state)
        h, c = state if isinstance(state, tuple) else (state, None)
        y = HEADS[self.head](y, h, self.linear.in_features)
        y = ENDS[self.end](self.linear(y))
        return y if self.head != "states" else (y, h) if c is None else (y, h, c)


def _attention(y: Any, h: Any, width: int) -> Any:
    weights = torch.softmax(torch.tanh(y).sum(-1, keepdim=True), 1)
    return (weights * y).sum(1)


def _products(y: Any, h: Any, width: int) -> Any:
    weights = torch.softmax(torch.bmm(y, h[-1].unsqueeze(2)).squeeze(2), 1)
    return torch.bmm(y.transpose(1, 2), weights.unsqueeze(2)).squeeze(2)


def _both_ends(y: Any, h: Any, width: int) -> Any:
    return torch.cat([y[:, -1, :UNITS], y[:, 0, UNITS:]], -1)


def _sum_of_directions(y: Any, h: Any, width: int) -> Any:
    both = y[..., :UNITS] + y[..., UNITS:]
    return torch.cat([both, both], -1)


def _last_layer(y: Any, h: Any, width: int) -> Any:
    return h.view(-1, 2, h.shape[1], UNITS)[-1].transpose(0, 1).reshape(h.shape[1], -1)


HEADS: dict[str, Callable[[Any, Any, int], Any]] = {
    "all": lambda y, h, width: y,
    "states": lambda y, h, width: y,
    "last": lambda y, h, width: y[:, -1, :],
    "last two": lambda y, h, width: y[:, -2:],
    "first": lambda y, h, width: y[:, 0],
    "state": lambda y, h, width: h[-1],
    "squeezed state": lambda y, h, width: h.squeeze(0),
    "both states": lambda y, h, width: torch.cat([h[-2], h[-1]], 1),
    "states in a row": lambda y, h, width: h.permute(1, 0, 2).reshape(h.shape[1], -1)[:, -width:],
    "last layer": _last_layer,
    "mean": lambda y, h, width: y.mean(1),
    "maximum": lambda y, h, width: y.max(1)[0],
    "sum": lambda y, h, width: y.sum(1),
    "pooled": lambda y, h, width: nn.functional.adaptive_max_pool1d(y.transpose(1, 2), 1).squeeze(2),
    "both ends": _both_ends,
    "sum of directions": _sum_of_directions,
    "attention": _attention,
    "products": _products,
}
ENDS: dict[str, Callable[[Any], Any]] = {
    "": lambda y: y,
    "sigmoid": torch.sigmoid,
    "log_softmax": lambda y: torch.log_softmax(y, -1),
    "first": lambda y: y[..., 0],
    "scaled": lambda y: y * 3.5 + 1.25,
}
NETWORKS: dict[str, dict[str, Any]] = {
    **{f"{kind} {head}": {"kind": kind, "head": head}
       for kind in ("LSTM", "GRU", "RNN") for head in ("all", "last", "state", "states", "mean")},
    **{f"{kind} of two layers both ways": {"kind": kind, "head": "last", "num_layers": 2, "bidirectional": True}
       for kind in ("LSTM", "GRU", "RNN")},
    **{f"{kind} of three layers, time first": {"kind": kind, "num_layers": 3, "batch_first": False}
       for kind in ("LSTM", "GRU", "RNN")},
    **{f"{kind} both states": {"kind": kind, "head": "both states", "bidirectional": True}
       for kind in ("LSTM", "GRU", "RNN")},
    **{f"LSTM {head}": {"kind": "LSTM", "head": head}
       for head in ("last two", "first", "squeezed state", "maximum", "sum", "pooled")},
    **{f"GRU {head}": {"kind": "GRU", "head": head, "bidirectional": True}
       for head in ("both ends", "sum of directions", "attention")},
    **{f"LSTM of two layers, {head}": {"kind": "LSTM", "head": head, "num_layers": 2, "bidirectional": True}
       for head in ("states in a row", "last layer", "states")},
    "GRU products": {"kind": "GRU", "head": "products"},
    "GRU states, time first": {"kind": "GRU", "head": "states", "batch_first": False},
    "LSTM of ids": {"kind": "LSTM", "head": "last", "ids": True, "end": "sigmoid"},
    "GRU of ids": {"kind": "GRU", "head": "state", "ids": True, "end": "log_softmax"},
    "LSTM without bias": {"kind": "LSTM", "head": "last", "bias": False, "end": "scaled"},
    "RNN with relu": {"kind": "RNN", "nonlinearity": "relu", "end": "first"},
}  # fmt: skip


def of_network(name: str) -> Made:
    """A `Network`, with its states as inputs if they are outputs."""
    options = NETWORKS[name]
    network, random = Network(**options), np.random.default_rng(sum(map(ord, name)))
    first = options.get("batch_first", True)
    shape = (2, 5) if first else (5, 2)
    x = random.integers(0, 9, shape) if options.get("ids") else normal(random, *shape, FEATURES)
    inputs, axes = {"x": x}, {"x": {0: "batch", 1: "time"} if first else {0: "time", 1: "batch"}}
    outputs = ["y"]
    if options.get("head") == "states":
        layers = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
        for state in ("h", "c")[: 2 if options["kind"] == "LSTM" else 1]:
            inputs[state], axes[state] = normal(random, layers, 2, UNITS), {1: "batch"}
            outputs.append(f"{state}n")
    return network, inputs, outputs, axes


def normal(random: Any, *shape: int) -> Any:
    return random.normal(size=shape).astype(np.float32)


# ---- Networks of several parts ---------------------------------------------------------------------------------------


class Function(nn.Module):
    """Layers by their names, and a function of them and the inputs."""

    def __init__(self, layers: dict[str, Any], function: Callable[..., Any]):
        super().__init__()
        self.layers, self.function = nn.ModuleDict(layers), function

    def forward(self, *inputs: Any) -> Any:
        return self.function(self.layers, *inputs)


def gru(features: int = FEATURES, **options: Any) -> Any:
    return nn.GRU(features, UNITS, batch_first=True, **options)


def lstm(features: int = FEATURES, **options: Any) -> Any:
    return nn.LSTM(features, UNITS, batch_first=True, **options)


def _zeros(m: Any, x: Any) -> Any:
    h, c = torch.zeros(2, x.size(0), UNITS), x.new_zeros(2, x.shape[0], UNITS)
    return m["linear"](m["rnn"](x, (h, c))[0][:, -1, :])


def _trained_state(m: Any, x: Any) -> Any:
    h = m["start"].weight[None].expand(1, x.shape[0], UNITS)
    return m["linear"](m["rnn"](x, h.contiguous())[0])


def _autoencoder(m: Any, x: Any) -> Any:
    h = m["encoder"](x)[1][0][-1]
    return m["linear"](m["decoder"](h.unsqueeze(1).repeat(1, x.shape[1], 1))[0])


def _residual(m: Any, x: Any) -> Any:
    x = m["prelu"](m["in"](x))
    y = m["a"](x)[0] + x
    return m["out"](nn.functional.elu(m["b"](y)[0] * torch.sigmoid(y)))


def _normed(m: Any, x: Any) -> Any:
    y = m["norm"](m["rnn"](x)[0])
    y = m["batch"]((y + nn.functional.gelu(m["k"](y))).mean(1))
    return m["linear"](nn.functional.relu6(y))


def _additive_attention(m: Any, x: Any) -> Any:
    y = m["rnn"](x)[0]
    weights = torch.softmax(m["v"](torch.tanh(m["q"](y))).squeeze(-1), 1)
    return m["linear"](torch.bmm(weights.unsqueeze(1), y).squeeze(1))


def _speech(m: Any, x: Any, h: Any, c: Any) -> Any:
    y, (h, c) = m["rnn"](torch.relu(m["conv"](x)).transpose(1, 2), (h, c))
    return torch.sigmoid(m["linear"](y)).mean(1), h, c


def _stacked_state(m: Any, x: Any, state: Any) -> Any:
    y, (h, c) = m["rnn"](x, (state[0], state[1]))
    return m["linear"](y), torch.stack([h, c])


def _gated(m: Any, x: Any) -> Any:
    a, b = m["rnn"](x)[0].chunk(2, -1)
    return m["linear"](a * torch.sigmoid(b))


def _both_readings(m: Any, x: Any) -> Any:
    back = m["b"](torch.flip(x, [1]))[0]
    return m["linear"](torch.cat([m["a"](x)[0][:, -1], back[:, -1]], -1))


def _argmax(m: Any, x: Any) -> Any:
    y = m["linear"](m["rnn"](x)[0])
    return y, y.argmax(-1)


def _cell(m: Any, x: Any, h: Any, c: Any) -> Any:
    h, c = m["cell"](x, (h, c))
    return m["linear"](h), h, c


def _window(m: Any, x: Any) -> Any:
    return m["linear"](m["rnn"](x.unsqueeze(-1))[0][:, -1])


def _convolution(m: Any, x: Any) -> Any:
    y = torch.relu(m["batch"](m["a"](x)))
    y = torch.relu(m["b"](nn.functional.max_pool1d(y, 2)))
    return m["linear"](m["rnn"](y.permute(0, 2, 1))[0][:, -1])


def linear(features: int = UNITS, units: int = 2) -> Any:
    return nn.Linear(features, units)


SEQUENCE = {"x": {0: "batch", 1: "time"}}
PARTS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[..., Any], dict[str, Any], list[str], Any]] = {
    "zeros": (lambda: {"rnn": lstm(num_layers=2), "linear": linear()}, _zeros, {"x": (2, 5, 3)}, ["y"], SEQUENCE),
    "trained state": (
        lambda: {"rnn": gru(), "start": nn.Embedding(1, UNITS), "linear": linear()}, _trained_state, {"x": (2, 5, 3)},
        ["y"], SEQUENCE,
    ),
    "autoencoder": (
        lambda: {"encoder": lstm(), "decoder": lstm(UNITS), "linear": linear(UNITS, 3)}, _autoencoder,
        {"x": (2, 5, 3)}, ["y"], SEQUENCE,
    ),
    "residual": (
        lambda: {"in": linear(3, 4), "prelu": nn.PReLU(), "a": gru(UNITS), "b": gru(UNITS), "out": linear()},
        _residual, {"x": (2, 5, 3)}, ["y"], SEQUENCE,
    ),
    "normalized": (
        lambda: {"rnn": gru(), "norm": nn.LayerNorm(4), "k": linear(4, 4), "batch": nn.BatchNorm1d(4),
                 "linear": linear()},
        _normed, {"x": (2, 5, 3)}, ["y"], SEQUENCE,
    ),
    "additive attention": (
        lambda: {"rnn": lstm(bidirectional=True), "q": linear(8, 5), "v": linear(5, 1), "linear": linear(8)},
        _additive_attention, {"x": (2, 5, 3)}, ["y"], SEQUENCE,
    ),
    "two inputs and outputs": (
        lambda: {"a": lstm(), "b": gru(2), "y": linear(8), "z": linear(8, 1)},
        lambda m, x, z: [m[k](torch.cat([m["a"](x)[1][0][-1], m["b"](z)[1][-1]], 1)) for k in "yz"],
        {"x": (2, 5, 3), "z": (2, 7, 2)}, ["y", "p"], {**SEQUENCE, "z": {0: "batch", 1: "other time"}},
    ),
    "features beside": (
        lambda: {"rnn": lstm(), "linear": linear(6)},
        lambda m, x, z: m["linear"](torch.cat([m["rnn"](x)[0][:, -1], torch.relu(z)], 1)),
        {"x": (2, 5, 3), "z": (2, 2)}, ["y"], {**SEQUENCE, "z": {0: "batch"}},
    ),
    "encoder and decoder": (
        lambda: {"a": lstm(), "b": lstm(2), "linear": linear()},
        lambda m, x, z: m["linear"](m["b"](z, m["a"](x)[1])[0]),
        {"x": (2, 5, 3), "z": (2, 4, 2)}, ["y"], {**SEQUENCE, "z": {0: "batch", 1: "other time"}},
    ),
    "speech": (
        lambda: {"conv": nn.Conv1d(1, 4, 3, stride=2, padding=1), "rnn": lstm(4), "linear": linear(4, 1)}, _speech,
        {"x": (2, 1, 16), "h": (1, 2, 4), "c": (1, 2, 4)}, ["y", "hn", "cn"],
        {"x": {0: "batch", 2: "time"}, "h": {1: "batch"}, "c": {1: "batch"}},
    ),
    "stacked state": (
        lambda: {"rnn": lstm(), "linear": linear()}, _stacked_state, {"x": (2, 5, 3), "state": (2, 1, 2, 4)},
        ["y", "staten"], {**SEQUENCE, "state": {2: "batch"}},
    ),
    "gated halves": (
        lambda: {"rnn": gru(bidirectional=True), "linear": linear()}, _gated, {"x": (2, 5, 3)}, ["y"], SEQUENCE,
    ),
    "both readings": (
        lambda: {"a": lstm(), "b": lstm(), "linear": linear(8)}, _both_readings, {"x": (2, 5, 3)}, ["y"], SEQUENCE,
    ),
    "argmax": (lambda: {"rnn": lstm(), "linear": linear()}, _argmax, {"x": (2, 5, 3)}, ["y", "k"], SEQUENCE),
    "cell": (
        lambda: {"cell": nn.LSTMCell(3, 4), "linear": linear()}, _cell, {"x": (2, 3), "h": (2, 4), "c": (2, 4)},
        ["y", "hn", "cn"], {name: {0: "batch"} for name in "xhc"},
    ),
    "window": (lambda: {"rnn": lstm(1), "linear": linear()}, _window, {"x": (2, 5)}, ["y"], {"x": {0: "batch"}}),
    "convolution": (
        lambda: {"a": nn.Conv1d(3, 6, 3, padding=1), "batch": nn.BatchNorm1d(6), "b": nn.Conv1d(6, 5, 3),
                 "rnn": gru(5), "linear": linear()},
        _convolution, {"x": (2, 3, 12)}, ["y"], {"x": {0: "batch", 2: "time"}},
    ),
    "all steps in a row": (
        lambda: {"rnn": lstm(), "linear": linear(20)}, lambda m, x: m["linear"](m["rnn"](x)[0].flatten(1)),
        {"x": (2, 5, 3)}, ["y"], {"x": {0: "batch"}},
    ),
    "one row": (
        lambda: {"rnn": lstm(num_layers=2), "linear": linear()}, _zeros, {"x": (1, 5, 3)}, ["y"], {},
    ),
}  # fmt: skip


def of_parts(name: str) -> Made:
    layers, function, shapes, outputs, axes = PARTS[name]
    random = np.random.default_rng(sum(map(ord, name)))
    network = Function(layers(), function)
    with torch.no_grad():
        for values in network.buffers():
            if values.dtype == torch.float32:
                values += torch.rand(values.shape)
    return network, {key: normal(random, *shape) for key, shape in shapes.items()}, outputs, axes


NEWER = ("LSTM all", "GRU states", "RNN last", "GRU both ends", "LSTM both states", "stacked state", "one row")


# ---- Writing ---------------------------------------------------------------------------------------------------------


def older(made: Made, path: Path) -> None:
    """By TorchScript."""
    network, inputs, outputs, axes = made
    torch.onnx.export(
        network, tuple(map(torch.tensor, inputs.values())), str(path), dynamo=False, opset_version=17,
        input_names=list(inputs), output_names=outputs, dynamic_axes=axes,
    )  # fmt: skip


def newer(made: Made, path: Path) -> None:
    """By dynamo, with the axes of any size that it can leave so."""
    network, inputs, outputs, axes = made
    for kept in ({"batch", "time", "other time"}, {"batch"}, set()):
        free = tuple(
            {k: torch.export.Dim.DYNAMIC for k, name in axes.get(key, {}).items() if name in kept} or None
            for key in inputs
        )
        try:
            torch.onnx.export(
                network, tuple(map(torch.tensor, inputs.values())), str(path), dynamo=True, input_names=list(inputs),
                output_names=outputs, dynamic_shapes=(free,) if isinstance(network, Function) else free,
                external_data=False, verbose=False,
            )  # fmt: skip
            return
        except Exception as error:  # steps that it writes one by one are as many as there are here
            last = error
    raise last


def of_keras() -> Iterator[tuple[str, Any]]:
    layers = keras.layers
    for name, inside in {
        "LSTM": lambda: [layers.LSTM(4), layers.Dense(2)],
        "GRU": lambda: [layers.GRU(4, return_sequences=True), layers.Dense(2, activation="softmax")],
        "convolution": lambda: [
            layers.Conv1D(4, 3, padding="same", activation="relu"), layers.MaxPooling1D(2),
            layers.BatchNormalization(), layers.LSTM(3), layers.Dense(2),
        ],
    }.items():  # fmt: skip
        keras.utils.set_random_seed(sum(map(ord, name)))
        yield name, keras.Sequential([keras.Input((4, 3)), *inside()])


def bare(data: bytes) -> bytes:
    """A file without what it says about its making."""
    model = onnx.load_from_string(data)
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                 *model.graph.initializer):  # fmt: skip
        part.doc_string = ""
        del part.metadata_props[:]
    del model.graph.value_info[:], model.functions[:]
    return model.SerializeToString()


def case(writer: str, data: bytes, inputs: dict[str, Any]) -> Case:
    data = bare(data)
    found = Case({"writer": writer, "inputs": list(inputs)})
    found.put("file", np.frombuffer(data, np.uint8))
    for name, array in inputs.items():
        found.put(f"in/{name}", array)
    found.put("outputs", onnxruntime.InferenceSession(data).run(None, inputs))
    return found


def main() -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    cases: dict[str, Case] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        for name in (*NETWORKS, *PARTS):
            for writer, export in (("older", older), ("newer", newer))[: 1 + (name in NEWER)]:
                torch.manual_seed(sum(map(ord, name)))
                made = of_network(name) if name in NETWORKS else of_parts(name)
                made[0].eval()
                try:
                    export(made, path)
                except Exception as error:
                    print(f"{name}, {writer}: {type(error).__name__}")
                    continue
                if len(bare(path.read_bytes())) <= LARGEST:
                    cases[f"{name}, {writer}"] = case(f"torch {torch.__version__}", path.read_bytes(), made[1])
        for name, model in of_keras():
            x = normal(np.random.default_rng(1), 2, 4, 3)
            model(x)
            model.export(str(path), format="onnx", verbose=False)
            entry = onnx.load(path).graph.input[0].name
            cases[f"Keras {name}"] = case(f"Keras {keras.__version__}", path.read_bytes(), {entry: x})
    save("onnx_torch", cases)


if __name__ == "__main__":
    main()
