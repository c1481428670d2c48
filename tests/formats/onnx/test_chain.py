"""Graphs of other programs as rnnx models; the graphs are made by hand as torch, Keras and others export them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from rnnx import layers
from rnnx.formats.onnx import Session, load_model
from rnnx.formats.onnx._recurrent import GATES
from rnnx.saving import FormatError

FEATURES, HIDDEN = 3, 4


class Builder:
    """A graph with random weights."""

    def __init__(self, shape: Any = ("batch", "time", FEATURES), integer: bool = False, opset: int = 17):
        self.nodes: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self.random, self.opset = np.random.default_rng(3), opset
        self.entry = helper.make_tensor_value_info("input", 7 if integer else 1, list(shape))

    def const(self, value: Any, name: str | None = None) -> str:
        name = name or f"c{len(self.arrays)}"
        self.arrays[name] = np.asarray(value)
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self.random.normal(0, 0.5, shape).astype(np.float32))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def recurrent(
        self, kind: str, x: str, features: int, states: Any = (), bias: bool = True, **attributes: Any
    ) -> Any:
        many = 2 if attributes.get("direction") == "bidirectional" else 1
        rows = GATES[kind] * HIDDEN
        inputs = [x, self.weight(many, rows, features), self.weight(many, rows, HIDDEN)]
        inputs += [self.weight(many, 2 * rows) if bias else "", "", *states]
        return self.add(kind, *inputs, outputs=3 if kind == "LSTM" else 2, hidden_size=HIDDEN, **attributes)

    def model(self, output: str, rank: int = 3) -> Any:
        graph = helper.make_graph(
            self.nodes, "made/by hand", [self.entry], [helper.make_tensor_value_info(output, 1, [None] * rank)],
            [numpy_helper.from_array(a, n) for n, a in self.arrays.items()],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def same(proto: Any, x: Any, *, turned: bool = False, output_turned: bool = False) -> Any:
    """The model of a graph gives what a session gives."""
    model = load_model(proto)
    (found,) = Session(proto).run({"input": x}).values()
    own = model(x.swapaxes(0, 1) if turned else x)
    np.testing.assert_allclose(own.swapaxes(0, 1) if output_turned else own, found, rtol=2e-6, atol=2e-6)
    return model


def data(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kind, options", [("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {}), ("RNN", {})])
def test_batch_first_with_states_of_zeros(kind: str, options: dict[str, Any]) -> None:
    """As torch exports ``nn.LSTM(batch_first=True)`` with a Linear behind it."""
    b = Builder()
    size = b.add("Gather", b.add("Shape", "input"), b.const(np.array(0)), axis=0)
    shape = b.add("Concat", b.const(np.array([1])), b.add("Unsqueeze", size, b.const(np.array([0]))),
                  b.const(np.array([HIDDEN])), axis=0)  # fmt: skip
    zeros = b.add("Expand", b.const(np.zeros((1, 1, HIDDEN), "f")), shape)
    x = b.add("Transpose", "input", perm=[1, 0, 2])
    y = b.recurrent(kind, x, FEATURES, [zeros] * (2 if kind == "LSTM" else 1), **options)[0]
    y = b.add("Transpose", b.add("Squeeze", y, b.const(np.array([1]))), perm=[1, 0, 2])
    y = b.add("Add", b.add("MatMul", y, b.weight(HIDDEN, 2)), b.weight(2))
    model = same(b.model(b.add("Sigmoid", y)), data(2, 5, FEATURES))
    assert [type(layer).__name__ for layer in model.layers] == [{"RNN": "SimpleRNN"}.get(kind, kind), "Dense"]
    assert model.layers[1].activation.name == "sigmoid" and model.name == "made_by hand"


def test_two_layers_both_ways() -> None:
    b = Builder(("time", "batch", FEATURES))
    y = b.recurrent("LSTM", "input", FEATURES, direction="bidirectional")[0]
    y = b.add("Reshape", b.add("Transpose", y, perm=[0, 2, 1, 3]), b.const(np.array([0, 0, -1])))
    y = b.recurrent("GRU", y, 2 * HIDDEN, direction="bidirectional", bias=False)[0]
    y = b.add("Reshape", b.add("Transpose", y, perm=[0, 2, 1, 3]), b.const(np.array([0, 0, -1])))
    with pytest.warns(UserWarning, match="inputs and outputs have the timesteps first"):
        model = same(b.model(y), data(5, 2, FEATURES), turned=True, output_turned=True)
    assert [layer.merge_mode for layer in model.layers] == ["concat"] * 2


def test_ids_through_an_embedding_to_the_last_state() -> None:
    b = Builder(("batch", "time"), integer=True)
    x = b.add("Transpose", b.add("Gather", b.weight(9, FEATURES), "input"), perm=[1, 0, 2])
    h = b.add("Squeeze", b.recurrent("LSTM", x, FEATURES)[1], b.const(np.array([0])))
    y = b.add("Gemm", h, b.weight(6, HIDDEN), b.weight(6), transB=1)
    model = same(b.model(b.add("Softmax", y, axis=-1), 2), np.array([[1, 2, 3], [8, 0, 4]]))
    assert isinstance(model.layers[0], layers.Embedding) and not model.layers[1].return_sequences


def test_last_step_by_index_and_dense_before() -> None:
    b = Builder()
    x = b.add("Relu", b.add("Add", b.weight(5), b.add("MatMul", "input", b.weight(FEATURES, 5))))
    x = b.add("LayerNormalization", x, b.weight(5), b.weight(5), epsilon=1e-3)
    y = b.recurrent("GRU", b.add("Transpose", x, perm=[1, 0, 2]), 5)[0]
    y = b.add("Transpose", b.add("Squeeze", y, b.const(np.array([1]))), perm=[1, 0, 2])
    y = b.add("Gather", y, b.const(np.array(-1)), axis=1)
    y = b.add("Clip", b.add("LeakyRelu", b.add("Dropout", y, b.const(np.float32(0.25))), alpha=0.3),
              b.const(np.float32(0)), b.const(np.float32(0.2)))  # fmt: skip
    model = same(b.model(y, 2), data(2, 5, FEATURES))
    assert [type(layer).__name__ for layer in model.layers] == [
        "Dense", "LayerNormalization", "GRU", "Dropout", "ReLU", "ReLU"
    ]  # fmt: skip


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_last_states_of_other_directions(direction: str) -> None:
    b = Builder()
    h = b.recurrent("RNN", b.add("Transpose", "input", perm=[1, 0, 2]), FEATURES, direction=direction)[1]
    if direction == "reverse":
        y = b.add("Squeeze", h, b.const(np.array([0])))
    else:
        y = b.add("Reshape", b.add("Transpose", h, perm=[1, 0, 2]), b.const(np.array([0, -1])))
    same(b.model(y, 2), data(2, 5, FEATURES))


def _plain(**attributes: Any) -> Any:
    def make(b: Builder) -> str:
        y = b.recurrent("LSTM", "input", FEATURES, **attributes)[0]
        return str(b.add("Squeeze", y, b.const(np.array([1]))))

    return make


def _state(b: Builder) -> str:
    h = b.weight(1, 2, HIDDEN)
    return str(b.add("Squeeze", b.recurrent("GRU", "input", FEATURES, [h])[0], b.const(np.array([1]))))


def _lengths(b: Builder) -> str:
    y = b.add("GRU", "input", b.weight(1, 3 * HIDDEN, FEATURES), b.weight(1, 3 * HIDDEN, HIDDEN), "",
              b.const(np.array([5, 3], np.int32)), outputs=2, hidden_size=HIDDEN)[0]  # fmt: skip
    return str(b.add("Squeeze", y, b.const(np.array([1]))))


def _for_each_row(b: Builder) -> str:
    return str(b.add("Mul", _plain()(b), b.weight(2, HIDDEN)))


def _first_row(b: Builder) -> str:
    return str(b.add("Slice", _plain()(b), *(b.const(np.array([k])) for k in (0, 1, 1))))


@pytest.mark.parametrize(
    "make, words",
    [
        (_plain(clip=1.0), "clip"),
        (_plain(input_forget=1), "input_forget"),
        (_plain(activations=["Sigmoid", "Tanh", "Relu"]), "different activations"),
        (
            _plain(activations=["Sigmoid", "ScaledTanh", "Tanh"], activation_alpha=[1.0], activation_beta=[1.0]),
            "no layer",
        ),
        (_state, "not zeros"),
        (_lengths, "GRU node 'n0' has constant sequence_lens"),
        (_for_each_row, "Mul node 'n2' .*a number for each row"),
        (_first_row, "Slice node 'n2' is along the batch"),
        (lambda b: b.add("Acosh", "input"), "Acosh node"),
        (lambda b: b.add("Acosh", b.add("Relu", "input")), "Acosh node"),
        (lambda b: b.add("Dropout", "input", b.const(np.float32(0.5)), b.const(np.array(True))), "training mode"),
    ],
)
def test_other_graphs_are_refused_and_a_session_runs_them(make: Any, words: str) -> None:
    b = Builder(("time", "batch", FEATURES))
    proto = b.model(make(b))
    with pytest.raises(FormatError, match=f"{words}.*Session"):
        load_model(proto)
    assert Session(proto).run({"input": data(5, 2, FEATURES)})
