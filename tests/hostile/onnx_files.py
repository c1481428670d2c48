"""Hostile files of the onnx format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .kinds import Kind

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Arrays = dict[str, Any]


def node(operator: str, inputs: list[str], output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, [output], **attributes)


def value(name: str, shape: Any = None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[Any], arrays: Arrays | None = None, opset: int = 20, **more: Any) -> Any:
    """A model with the input x of one axis and the output y."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (arrays or {}).items()]
    graph = helper.make_graph(nodes, "graph", [value("x", [None])], [value("y")], tensors)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def save(path: Path, proto: Any) -> None:
    path.write_bytes(proto.SerializeToString())


KINDS: list[Kind] = []


def kind(name: str, size: int, large: int, refused: str | None = None) -> Callable[[Any], Any]:
    """Add a kind of files: a function of a path and a size."""

    def add(make: Callable[[Path, int], None]) -> Callable[[Path, int], None]:
        KINDS.append(Kind(f"onnx: {name}", ".onnx", make, size, large, refused))
        return make

    return add


# ---- Files -----------------------------------------------------------------------------------------------------------


@kind("a pipe", 1, 1, "a pipe")
def pipe(path: Path, size: int) -> None:
    os.mkfifo(path)


@kind("empty nodes", 10**6, 4 * 10**7, "nodes|messages")
def empty_nodes(path: Path, size: int) -> None:
    """Two bytes each, for which the parser makes a hundred."""
    graph = b"\x0a\x00" * size
    length, left = b"", len(graph)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    path.write_bytes(b"\x08\x08\x42\x02\x10\x11\x3a" + length + bytes([left]) + graph)


@kind("messages inside messages", 5_000, 20_000, "not an ONNX file")
def deep_messages(path: Path, size: int) -> None:
    """Sequences of sequences, in the type of a value of a second part of the graph."""
    data = b""
    for k in range(size):
        data = (b"\x0a", b"\x22")[k % 2] + _length(len(data)) + data
    data = b"\x12" + _length(len(data)) + data
    data = b"\x6a" + _length(len(data)) + data
    path.write_bytes(model([node("Relu", ["x"])]).SerializeToString() + b"\x3a" + _length(len(data)) + data)


def _length(n: int) -> bytes:
    return bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14])


@kind("integers of one byte in a list", 9 * 10**6, 9 * 10**7, "integers stand in lists")
def packed_integers(path: Path, size: int) -> None:
    proto = model([node("Add", ["x", "w"])])
    proto.graph.initializer.add(name="w", data_type=INT, dims=[size]).int64_data.extend(np.zeros(size, np.int64))
    save(path, proto)


@kind("a tensor of many axes", 200_000, 5 * 10**6, "axes|integers|messages")
def many_axes(path: Path, size: int) -> None:
    proto = model([node("Add", ["x", "w"])])
    proto.graph.initializer.add(name="w", data_type=FLOAT, dims=[2**62] * size)
    save(path, proto)


@kind("a tensor without data", 2**40, 2**62, "needs")
def no_data(path: Path, size: int) -> None:
    proto = model([node("Add", ["x", "w"])])
    proto.graph.initializer.add(name="w", data_type=FLOAT, dims=[size, size], raw_data=b"1234")
    save(path, proto)


@kind("an empty tensor with a long axis", 2**36, 2**40, "bytes")
def long_empty_axis(path: Path, size: int) -> None:
    proto = model([node("ReduceSum", ["w", "a"], "s", keepdims=0), node("Add", ["s", "x"])], {"a": np.array([0])})
    proto.graph.initializer.add(name="w", data_type=FLOAT, dims=[0, size], raw_data=b"")
    save(path, proto)


@kind("the same bytes of another file again and again", 200, 20_000, "the same bytes")
def shared_bytes(path: Path, size: int) -> None:
    data = path.with_suffix(".bin")
    data.write_bytes(bytes(2**22))
    proto = model([node("Relu", ["x"])])
    for k in range(size):
        tensor = proto.graph.initializer.add(name=f"w{k}", data_type=FLOAT, dims=[2**20 - k % 1000])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=data.name)
    save(path, proto)


@kind("a description of more weights than there are", 3 * 10**8, 3 * 10**9)
def described(path: Path, size: int) -> None:
    layer = {"class_name": "LSTM", "config": {"units": size, "name": "lstm"}}
    config = {
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [layer], "build_input_shape": [None, None, 3]},
    }
    proto = model([node("Relu", ["x"])])
    for name, dims in (("w", [1, 4 * size, 3]), ("r", [1, 4 * size, size])):
        tensor = proto.graph.initializer.add(name=name, data_type=FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="none.bin")
    proto.metadata_props.add(key="rnnx", value=json.dumps({"format": 1, "model": config}))
    save(path, proto)


@kind("a description of many tables", 300_000, 10**7)
def described_tables(path: Path, size: int) -> None:
    proto = model([node("Relu", ["x"])])
    proto.metadata_props.add(key="rnnx", value='{"format": 1, "model": [' + "[]," * size + "0]}")
    save(path, proto)


@kind("names that are commands of a terminal", 1, 1000, "node")
def names_for_terminals(path: Path, size: int) -> None:
    save(path, model([helper.make_node("No\x1b[2J\nSuch", ["x"], ["y"], name="\x1b]0;\x07" * size)]))


# ---- Graphs ----------------------------------------------------------------------------------------------------------


@kind("functions that call each other twice", 18, 24, "grow")
def doubling_functions(path: Path, size: int) -> None:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    made = []
    for k in range(size):
        called, domain = (f"f{k - 1}", "own") if k else ("Relu", "")
        body = [helper.make_node(called, ["a"], ["m"], domain=domain),
                helper.make_node(called, ["m"], ["b"], domain=domain)]  # fmt: skip
        made.append(helper.make_function("own", f"f{k}", ["a"], ["b"], body, opsets))
    save(path, model([node(f"f{size - 1}", ["x"], domain="own")], functions=made))


@kind("a function with a large constant, called often", 100, 10_000, "grow")
def heavy_function(path: Path, size: int) -> None:
    constant = numpy_helper.from_array(np.zeros(2**18, np.float32))
    body = [helper.make_node("Constant", [], ["c"], value=constant), helper.make_node("Add", ["a", "c"], ["b"])]
    made = helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    calls = [node("f", [f"v{k}" if k else "x"], f"v{k + 1}", domain="own") for k in range(size)]
    save(path, model([*calls, node("Relu", [f"v{size}"])], functions=[made]))


@kind("If in both branches of If", 10, 14)
def nested_ifs(path: Path, size: int) -> None:
    def nested(depth: int) -> Any:
        inner = [node("Relu", ["x"], "o0")]
        if depth:
            graph = nested(depth - 1)
            inner = [node("If", ["c"], f"o{depth}", then_branch=graph, else_branch=graph)]
        return helper.make_graph(inner, "g", [], [value(f"o{depth}")])

    choice = node("If", ["c"], then_branch=nested(size), else_branch=nested(0))
    save(path, model([node("ReduceMax", ["x"], "m", keepdims=0), node("Cast", ["m"], "c", to=BOOL), choice]))


@kind("a chain", 4_000, 10**6)
def chain(path: Path, size: int) -> None:
    nodes = [node("Relu", [f"v{k}" if k else "x"], f"v{k + 1}") for k in range(size)]
    save(path, model([*nodes, node("Relu", [f"v{size}"])]))


@kind("a chain from its end to its start", 8_000, 20_000, "which nothing before it makes|nodes")
def turned_chain(path: Path, size: int) -> None:
    nodes = [node("Relu", [f"v{k}" if k else "x"], f"v{k + 1}") for k in range(size)]
    save(path, model([*nodes, node("Relu", [f"v{size}"])][::-1]))


@kind("nodes for the package onnx", 3_000, 19_000)
def evaluated_nodes(path: Path, size: int) -> None:
    nodes = [node("Celu", [f"v{k}" if k else "x"], f"v{k + 1}") for k in range(size)]
    save(path, model([*nodes, node("Relu", [f"v{size}"])]))


@kind("different nodes for the package onnx", 2_000, 19_000, "different nodes")
def different_nodes(path: Path, size: int) -> None:
    nodes = [node("Celu", [f"v{k}" if k else "x"], f"v{k + 1}", alpha=1.0 + k) for k in range(size)]
    save(path, model([*nodes, node("Relu", [f"v{size}"])]))


@kind("recurrent nodes", 1_000, 10_000)
def recurrent_nodes(path: Path, size: int) -> None:
    arrays = {"w": np.ones((1, 1, 1), "f"), "r": np.ones((1, 1, 1), "f"), "s": np.array([-1, 1, 1])}
    nodes = [node("Reshape", ["x", "s"], "v0")]
    for k in range(size):
        nodes += [node("RNN", [f"v{k}", "w", "r"], f"u{k}"), node("Reshape", [f"u{k}", "s"], f"v{k + 1}")]
    save(path, model([*nodes, node("Relu", [f"v{size}"])], arrays))


@kind("a chain of recurrent layers", 600, 5_000)
def recurrent_layers(path: Path, size: int) -> None:
    arrays = {"w": np.ones((1, 1, 1), "f"), "r": np.ones((1, 1, 1), "f"), "a": np.array([1])}
    nodes = []
    for k in range(size):
        nodes += [node("RNN", [f"v{k}" if k else "x", "w", "r"], f"u{k}"), node("Squeeze", [f"u{k}", "a"], f"v{k + 1}")]
    proto = model([*nodes, node("Relu", [f"v{size}"])], arrays)
    proto.graph.input[0].CopyFrom(value("x", [None, None, 1]))
    save(path, proto)


@kind("a shape of many axes", 200_000, 5 * 10**6, "axes")
def shape_of_many_axes(path: Path, size: int) -> None:
    shape = np.full(size, 2**62, np.int64)
    nodes = [node("Add", ["k", "s"], "later"), node("ReduceMax", ["x"], "m"), node("Cast", ["m"], "k", to=INT)]
    save(path, model([*nodes[1:], nodes[0], node("ConstantOfShape", ["later"])], {"s": shape}))


@kind("constants", 10_000, 400_000)
def constants(path: Path, size: int) -> None:
    save(path, model([node("Relu", ["x"])], {f"w{k}": np.zeros(1, "f") for k in range(size)}))


@kind("inputs and outputs", 20_000, 400_000)
def ports(path: Path, size: int) -> None:
    proto = model([node("Relu", ["x"])])
    proto.graph.input.extend([value(f"i{k}", [2]) for k in range(size)])
    proto.graph.output.extend([value("x") for _ in range(size)])
    save(path, proto)


@kind("inputs of a node", 20_000, 10**6)
def many_inputs(path: Path, size: int) -> None:
    save(path, model([node("Sum", ["x"] * size)]))


@kind("opsets and metadata", 20_000, 500_000)
def many_entries(path: Path, size: int) -> None:
    proto = model([node("Relu", ["x"])])
    proto.opset_import.extend([helper.make_opsetid(f"d{k}", 1) for k in range(size)])
    for k in range(size):
        proto.metadata_props.add(key=f"k{k}", value="v")
    save(path, proto)


# ---- Operators that make much of little ------------------------------------------------------------------------------


def loop(rounds: str, body: list[Any], result: str, *collected: str) -> Any:
    """A Loop of the value v, from x, until the end of its rounds."""
    graph = helper.make_graph(
        [*body, node("Identity", ["go"], "go_on")],
        "body",
        [value("k", [], INT), value("go", [], BOOL), value("v")],
        [value("go_on", [], BOOL), value(result), *map(value, collected)],
    )
    return helper.make_node("Loop", [rounds, "", "x"], ["y", *(f"all {name}" for name in collected)], body=graph)


@kind("a loop without end", 2**62, 2**62, "work")
def endless_loop(path: Path, size: int) -> None:
    save(path, model([loop("n", [node("Relu", ["v"], "after")], "after")], {"n": np.array(size)}))


@kind("a loop without end in a loop without end", 2**62, 2**62, "work")
def loop_in_loop(path: Path, size: int) -> None:
    inner = helper.make_graph(
        [node("Relu", ["w"], "w after"), node("Identity", ["go"], "go_on")],
        "inner",
        [value("k", [], INT), value("go", [], BOOL), value("w")],
        [value("go_on", [], BOOL), value("w after")],
    )
    body = [node("Loop", ["few", "", "v"], "after", body=inner)]
    save(path, model([loop("n", body, "after")], {"n": np.array(size), "few": np.array(1000)}))


@kind("a loop that doubles a value", 60, 2**62, "bytes")
def doubling_loop(path: Path, size: int) -> None:
    body = [node("Concat", ["v", "v"], "after", axis=0)]
    save(path, model([loop("n", body, "after")], {"n": np.array(size)}))


@kind("a loop that collects", 10_000, 2**62, "bytes|work")
def collecting_loop(path: Path, size: int) -> None:
    body = [node("Relu", ["v"], "after"), node("Expand", ["v", "s"], "wide")]
    save(path, model([loop("n", body, "after", "wide")], {"n": np.array(size), "s": np.array([2**16, 2])}))


@kind("a loop of small products", 2**62, 2**62, "work")
def loop_of_products(path: Path, size: int) -> None:
    body = [
        node("MatMul", ["w", "w"], "p"),
        node("ReduceMax", ["p"], "m", keepdims=0),
        node("Add", ["v", "m"], "after"),
    ]
    save(path, model([loop("n", body, "after")], {"n": np.array(size), "w": np.ones((300, 300), "f")}))


@kind("a scan over a long axis", 10**7, 10**9, "bytes|work")
def long_scan(path: Path, size: int) -> None:
    body = helper.make_graph([node("Relu", ["a"], "b")], "body", [value("a")], [value("b")])
    nodes = [node("ConstantOfShape", ["s"], "long"), node("Scan", ["long"], body=body, num_scan_inputs=1)]
    save(path, model(nodes, {"s": np.array([size])}))


@kind("graphs with many values around each other", 40, 1_000, "bytes")
def values_around(path: Path, size: int) -> None:
    """Every graph holds as much as is allowed, and runs the next."""
    graph, depth = helper.make_graph([node("Relu", ["x"], "o0")], "g", [], [value("o0")]), 6
    for k in range(1, depth):
        inner = [
            node("ConstantOfShape", ["s"], f"big{k}"),
            node("Mul", [f"big{k}", "m"], f"held{k}"),
            node("If", ["c"], f"i{k}", then_branch=graph, else_branch=graph),
            node("ReduceMax", [f"held{k}"], f"r{k}", keepdims=0),
            node("Add", [f"i{k}", f"r{k}"], f"o{k}"),
        ]
        graph = helper.make_graph(inner, "g", [], [value(f"o{k}")])
    start = [node("ReduceMax", ["x"], "m", keepdims=0), node("Cast", ["m"], "c", to=BOOL)]
    choice = node("If", ["c"], then_branch=graph, else_branch=graph)
    save(path, model([*start, choice], {"s": np.array([size * 10**6])}))


@kind("texts that double", 40, 60, "bytes")
def doubling_texts(path: Path, size: int) -> None:
    proto = model([node("StringConcat", [f"t{k}"] * 2, f"t{k + 1}") for k in range(size)])
    proto.graph.initializer.add(name="t0", data_type=TensorProto.STRING, dims=[1], string_data=[b"text" * 100])
    proto.graph.output[0].name = f"t{size}"
    save(path, proto)


@kind("sequences in sequences", 40, 60, "sequences")
def doubling_sequences(path: Path, size: int) -> None:
    nodes = [node("SequenceConstruct", [f"v{k}" if k else "x"] * 2, f"v{k + 1}") for k in range(size)]
    save(path, model([*nodes, node("ConcatFromSequence", [f"v{size}"], axis=0)]))


@kind("an expression that takes for ever", 40, 40, "not supported")
def slow_expression(path: Path, size: int) -> None:
    proto = model([node("RegexFullMatch", ["t"], "m", pattern="(a+)+b"), node("Cast", ["m"], to=FLOAT)])
    text = b"a" * size
    proto.graph.initializer.add(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[text])
    save(path, proto)


F, INTS = np.float32, np.int64
ROW, COLUMN = np.ones((1, 2**17), F), np.ones((2**17, 1), F)
IMAGE, SOUND = np.ones((1, 1, 4, 4), F), np.ones((1, 1, 8), F)
SPECTRUM = (np.ones((1, 64, 1), F), np.array(1), np.ones(64, F))
MATRIX = np.ones((3000, 3000), F)
Bomb = tuple[list[Any], dict[str, Any]]
# Inputs and attributes, with a number in them, by the operator; a list of inputs may hold None for missing ones.
BOMBS: dict[str, Callable[[int], Bomb]] = {
    "AffineGrid": lambda n: ([np.ones((1, 2, 3), F), np.array([1, 1, n, 4])], {}),
    "And": lambda n: ([ROW > 0, COLUMN > 0], {}),
    "Attention": lambda n: ([np.ones((1, 1, 50_000, 1), F)] * 3, {}),
    "AveragePool": lambda n: ([SOUND], {"kernel_shape": [n], "pads": [n - 1, n - 1]}),
    "BatchNormalization": lambda n: ([np.ones((2**17, 1, 1), F), *[np.ones(2**17, F)] * 4], {}),
    "BitShift": lambda n: ([ROW.astype(np.uint8), COLUMN.astype(np.uint8)], {"direction": "LEFT"}),
    "CenterCropPad": lambda n: ([np.ones(4, F), np.array([n])], {}),
    "Clip": lambda n: ([ROW, COLUMN, COLUMN], {}),
    "Col2Im": lambda n: ([np.ones((1, 4, 4), F), np.array([n, 2]), np.array([2, 2])], {}),
    "ConstantOfShape": lambda n: ([np.array([n])], {}),
    "Conv": lambda n: ([np.ones((1, 1, 400, 400), F), np.ones((1, 1, 200, 200), F)], {}),
    "Conv with wide windows": lambda n: ([IMAGE, np.ones((1, 1, 2, 2), F)], {"dilations": [n, n], "pads": [n] * 4}),
    "ConvInteger": lambda n: ([np.ones((1, 1, 400, 400), np.uint8), np.ones((1, 1, 200, 200), np.uint8)], {}),
    "ConvTranspose": lambda n: ([SOUND, np.ones((1, 1, 2), F)], {"strides": [n]}),
    "DFT": lambda n: ([np.ones((1, 8, 1), F), np.array(n)], {}),
    "DeformConv": lambda n: ([np.ones((1, 1, 300, 300), F), np.ones((1, 1, 100, 100), F), np.zeros((1, 2), F)], {}),
    "Div": lambda n: ([ROW.astype(INTS), COLUMN.astype(INTS)], {}),
    "Einsum": lambda n: ([np.ones(5000, F)] * 3, {"equation": "i,j,k->ijk"}),
    "Einsum that sums": lambda n: ([np.ones(2**17, F)] * 2, {"equation": "i,j->"}),
    "Equal": lambda n: ([ROW, COLUMN], {}),
    "Expand": lambda n: ([np.ones(1, F), np.array([n, 1])], {}),
    "Gather": lambda n: ([np.ones((1, 2**15), F), np.zeros(2**20, INTS)], {}),
    "GatherND": lambda n: ([np.ones((1, 2**15), F), np.zeros((2**20, 1), INTS)], {}),
    "Gemm": lambda n: ([np.ones((1, 1), F), np.ones((1, 2**17), F), COLUMN], {}),
    "Gemm of long factors": lambda n: ([MATRIX, MATRIX], {"transB": 1}),
    "GridSample": lambda n: ([np.ones((1, 2**16, 1, 1), F), np.zeros((1, 2**8, 2**8, 2), F)], {}),
    "HannWindow": lambda n: ([np.array(n)], {}),
    "LRN": lambda n: ([np.ones((1, 20_000, 10), F)], {"size": 20_001}),
    "LayerNormalization": lambda n: ([np.ones((2**17, 1), F), np.ones(2**17, F)], {}),
    "LpPool": lambda n: ([IMAGE], {"kernel_shape": [n, n], "pads": [n - 1] * 4}),
    "LSTM": lambda n: ([np.ones((2**20, 1, 1), F), np.ones((1, 256, 1), F), np.ones((1, 256, 64), F)], {}),
    "MatMul": lambda n: ([COLUMN, ROW], {}),
    "MatMul of batches": lambda n: ([np.ones((2**17, 1, 1, 1), F), np.ones((2**17, 1, 1), F)], {}),
    "MatMul of integers": lambda n: ([np.ones((1500, 1500), np.int32)] * 2, {}),
    "MatMulInteger": lambda n: ([np.ones((2**17, 1), np.uint8), np.ones((1, 2**17), np.uint8)], {}),
    "MaxPool": lambda n: ([SOUND], {"kernel_shape": [n], "pads": [n - 1, 0]}),
    "MaxPool of two axes": lambda n: ([np.ones((1, 1, 700, 700), F)], {"kernel_shape": [300, 300]}),
    "MaxUnpool": lambda n: ([IMAGE, np.zeros((1, 1, 4, 4), INTS)], {"kernel_shape": [2, 2], "strides": [n, n]}),
    "MelWeightMatrix": lambda n: ([np.array(n), np.array(64), np.array(16000), F(0), F(8000)], {}),
    "Mod": lambda n: ([ROW.astype(INTS), COLUMN.astype(INTS)], {}),
    "NonMaxSuppression": lambda n: ([np.ones((1, 4000, 4), F), np.ones((1, 20, 4000), F), np.array([n])], {}),
    "OneHot": lambda n: ([np.zeros(4, INTS), np.array([n]), np.zeros(2, F)], {}),
    "PRelu": lambda n: ([ROW, COLUMN], {}),
    "Pad": lambda n: ([np.ones(2, F), np.array([0, n])], {}),
    "Pad that reflects": lambda n: ([np.ones(2, F), np.array([0, n])], {"mode": "reflect"}),
    "Pow": lambda n: ([ROW, COLUMN], {}),
    "QLinearConv": lambda n: (
        [np.ones((1, 1, 400, 400), np.uint8), F(1), np.uint8(0), np.ones((1, 1, 200, 200), np.uint8), F(1), np.uint8(0),
         F(1), np.uint8(0)], {},
    ),
    "QLinearMatMul": lambda n: (
        [np.ones((2**17, 1), np.uint8), F(1), np.uint8(0), np.ones((1, 2**17), np.uint8), F(1), np.uint8(0), F(1),
         np.uint8(0)], {},
    ),
    "QuantizeLinear": lambda n: ([np.ones((2**17, 1, 1), F), np.ones(2**17, F), np.zeros(2**17, np.uint8)], {}),
    "RandomNormal": lambda n: ([], {"shape": [n]}),
    "RandomUniform": lambda n: ([], {"shape": [n]}),
    "Range": lambda n: ([np.array(0), np.array(n), np.array(1)], {}),
    "Resize": lambda n: ([SOUND, None, np.array([1, 1, n], F)], {}),
    "Resize to sizes": lambda n: ([IMAGE, None, None, np.array([1, 1, 2**20, 2**20])], {"mode": "linear"}),
    "RoiAlign": lambda n: ([IMAGE, np.ones((1, 4), F), np.zeros(1, INTS)], {"output_height": n, "output_width": 9}),
    "RoiAlign of many samples": lambda n: ([IMAGE, np.ones((1, 4), F), np.zeros(1, INTS)], {"sampling_ratio": 2**15}),
    "STFT": lambda n: ([SPECTRUM[0], SPECTRUM[1], None, np.array(n)], {}),
    "ScatterElements": lambda n: ([np.ones(2**20, F), np.zeros(2**20, INTS), np.ones(2**20, F)], {}),
    "Tile": lambda n: ([np.ones(1, F), np.array([n])], {}),
    "Upsample": lambda n: ([SOUND, np.array([1, 1, n], F)], {}),
    "Where": lambda n: ([ROW > 0, COLUMN, np.ones(1, F)], {}),
    "Xor": lambda n: ([ROW > 0, COLUMN > 0], {}),
}  # fmt: skip


def bomb(name: str) -> Callable[[Path, int], None]:
    """A maker of files with one operator, first with constant inputs, then with the same ones made at run time."""
    operator = name.split()[0]

    def make(path: Path, size: int) -> None:
        inputs, attributes = BOMBS[name](size)
        given = [None if array is None else np.asarray(array) for array in inputs]
        arrays = {f"c{k}": array for k, array in enumerate(given) if array is not None}
        nodes = [node("ReduceMax", ["x"], "one", keepdims=0)]
        names = ["" if array is None else f"c{k}" for k, array in enumerate(given)]
        opset = 9 if operator == "Upsample" else 23 if operator == "Attention" else 20
        constant = node(operator, names, "unused", **attributes)
        for k, array in enumerate(given):
            if array is not None and array.size > 4:
                nodes += [node("Cast", ["one"], f"o{k}", to=helper.np_dtype_to_tensor_dtype(array.dtype)),
                          node("And" if array.dtype == bool else "Mul" if array.dtype != np.uint8 else "Max",
                               [f"c{k}", f"o{k}"], f"r{k}")]  # fmt: skip
                names[k] = f"r{k}"
        save(path, model([*nodes, constant, node(operator, names, "y", **attributes)], arrays, opset))

    return make


KINDS += [Kind(f"onnx: {name}", ".onnx", bomb(name), 2**31, 2**36, "bytes|work") for name in sorted(BOMBS)]


def long_names(path: Path, characters: int) -> None:
    """Names that are as long as the file, each used twice."""
    names = ["x", *[letter * characters for letter in "abc"], "y"]
    save(path, model([node("Identity", [a], b) for a, b in zip(names, names[1:], strict=False)]))


KINDS.append(Kind("ONNX long names", ".onnx", long_names, 500_000, 10_000_000, "characters"))


def many_recurrent(path: Path, count: int) -> None:
    """Recurrent nodes one after the other, whose weights are converted for each."""
    arrays = {"w": np.ones((1, 4, 1), np.float32), "r": np.ones((1, 4, 1), np.float32)}
    names = ["x", *[f"v{k}" for k in range(count - 1)], "y"]
    links = zip(names, names[1:], strict=False)
    nodes = [helper.make_node("LSTM", [a, "w", "r"], ["", b], hidden_size=1) for a, b in links]
    save(path, model(nodes, arrays))


KINDS.append(Kind("ONNX many recurrent nodes", ".onnx", many_recurrent, 2_100, 19_000, "recurrent nodes"))


def doubled_shape(path: Path, count: int) -> None:
    """The shape of the input, joined with itself again and again."""
    names = ["s", *[f"v{k}" for k in range(count - 1)], "y"]
    joins = [node("Concat", [a, a], b, axis=0) for a, b in zip(names, names[1:], strict=False)]
    save(path, model([node("Shape", ["x"], "s"), *joins]))


KINDS.append(Kind("ONNX doubled shape", ".onnx", doubled_shape, 28, 300))


def tiled_nothing(path: Path, count: int) -> None:
    """An input that is left out, repeated many times."""
    save(path, model([node("Tile", ["", "repeats"])], {"repeats": np.array([count])}))


KINDS.append(Kind("ONNX nothing, repeated", ".onnx", tiled_nothing, 2**31, 2**40, "must be given"))


def squared_size(path: Path, count: int) -> None:
    """Initial states of zeros whose batch is that of the input, times itself again and again."""
    names = ["b", *[f"v{k}" for k in range(count)]]
    nodes = [node("Shape", ["x"], "s"), node("Gather", ["s", "second"], "b")]
    nodes += [node("Mul", [a, a], b) for a, b in zip(names, names[1:], strict=False)]
    nodes += [node("Concat", ["one", names[-1], "one"], "shape", axis=0), node("ConstantOfShape", ["shape"], "h0")]
    nodes.append(helper.make_node("LSTM", ["x", "w", "r", "", "", "h0", "h0"], ["y"], hidden_size=1))
    weights = {"w": np.ones((1, 4, 1), np.float32), "r": np.ones((1, 4, 1), np.float32)}
    proto = model(nodes, {**weights, "second": np.array([1]), "one": np.array([1])})
    proto.graph.input[0].CopyFrom(value("x", ["steps", "batch", 1]))
    save(path, proto)


KINDS.append(Kind("ONNX squared size", ".onnx", squared_size, 28, 300))


def widened(path: Path, count: int) -> None:
    """Two lines of steps that are repeated as new axes, and joined with themselves, again and again."""
    nodes, name = [], "x"
    for k in range(count):
        nodes += [node("Unsqueeze", [name, "last"], f"a{k}"), node("Expand", [f"a{k}", "many"], f"b{k}"),
                  node("Concat", [f"b{k}", f"b{k}"], f"c{k}", axis=-1), node("Pad", [f"c{k}", "pads"], f"d{k}"),
                  node("ReduceSum", [f"d{k}", "last"], f"e{k}", keepdims=0)]  # fmt: skip
        name = f"e{k}"
    save(path, model([*nodes, node("Erf", [name])], {
        "last": np.array([-1]), "many": np.array([1, 1000]), "pads": np.array([0, 1000, 0, 1000])}))  # fmt: skip


KINDS.append(Kind("ONNX widened", ".onnx", widened, 3, 390))


def chosen(path: Path, count: int) -> None:
    """One step taken a thousand times, cut apart, and again."""
    nodes, name = [node("Unsqueeze", ["x", "last"], "s"), node("Concat", ["s", "s"], "t", axis=1)], "t"
    for k in range(count):
        nodes += [node("Gather", [name, "places"], f"a{k}", axis=1), node("Unsqueeze", [f"a{k}", "last"], f"b{k}"),
                  node("Concat", [f"b{k}", f"b{k}"], f"c{k}", axis=2),
                  node("Transpose", [f"c{k}"], f"d{k}", perm=[0, *range(2, k + 3), 1])]  # fmt: skip
        name = f"d{k}"
    save(path, model([*nodes, node("Erf", [name])], {"last": np.array([-1]), "places": np.zeros(1000, int)}))


KINDS.append(Kind("ONNX chosen", ".onnx", chosen, 3, 25))


def spelled_steps(path: Path, count: int) -> None:
    """Steps of a GRU one behind the other, each of which takes what the one before it made."""
    from tests.formats.onnx.graphs import Graph
    from tests.formats.onnx.spelled import FEATURES, UNITS, Cells

    g = Graph({"x": ("batch", FEATURES), "h": ("batch", UNITS)})
    cells, h = Cells(g), "h"
    for _ in range(count):
        h = cells.gru_after("x", h)
    save(path, g.model((h, 2)))


KINDS.append(Kind("ONNX steps of a recurrent layer", ".onnx", spelled_steps, 250, 10_000))


def spelled_weights(path: Path, count: int) -> None:
    """Steps with one large kernel between them, each with its own bias."""
    from tests.formats.onnx.graphs import Graph
    from tests.formats.onnx.spelled import Cells

    g = Graph({"x": ("batch", 400), "h": ("batch", 400)})
    first, h = Cells(g, 400, 400), "h"
    for _ in range(count):
        cells = Cells(g, 400, 400)
        h = first.gru_after("x", h)
        cells.names = {**first.names}
        cells.names.pop("b")
        first = cells
    save(path, g.model((h, 2)))


KINDS.append(Kind("ONNX steps with large weights", ".onnx", spelled_weights, 16, 300))


def spelled_sums(path: Path, count: int) -> None:
    """Products with one matrix, added again and again: sums of matrices."""
    nodes = [node("MatMul", ["x", "w"], "v0")]
    nodes += [node("Add", [f"v{k}", f"v{k}"], f"v{k + 1}") for k in range(count)]
    save(path, model([*nodes, node("Tanh", [f"v{count}"])], {"w": np.ones((2000, 2000), np.float32)}))


KINDS.append(Kind("ONNX sums of products", ".onnx", spelled_sums, 60, 19_000))


def spelled_polynomials(path: Path, count: int) -> None:
    """Sums times sums, again and again."""
    nodes = [node("MatMul", ["x", "w"], "m"), node("Tanh", ["m"], "v0"), node("Sigmoid", ["m"], "s")]
    for k in range(count):
        nodes += [node("Sub", [f"v{k}", "s"], f"a{k}"), node("Mul", [f"a{k}", f"a{k}"], f"v{k + 1}")]
    save(path, model([*nodes, node("Tanh", [f"v{count}"])], {"w": np.ones((1, 1), np.float32)}))


KINDS.append(Kind("ONNX products of sums", ".onnx", spelled_polynomials, 1_200, 9_000))
