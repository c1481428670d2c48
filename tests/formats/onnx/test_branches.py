"""What a file leaves open: graphs of `If`, inputs, sizes and outputs that somebody chooses, a batch that it has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx.formats.onnx import Session, load_model
from rnnx.saving import FormatError
from tests.formats.onnx.graphs import Graph
from tests.formats.onnx.spelled import SPELLED

BOOL, REAL, WHOLE = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64


def info(name: str, shape: Any = None, kind: int = REAL) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(name: str, nodes: Any, output: str, constants: Any = None) -> Any:
    tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in (constants or {}).items()]
    return helper.make_graph(nodes, name, [], [info(output)], tensors)


def model_of(nodes: Any, inputs: Any, constants: Any = None, outputs: Any = ("y",)) -> Any:
    tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in (constants or {}).items()]
    made = helper.make_graph(nodes, "made", inputs, [info(name) for name in outputs], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


node = helper.make_node


def by_rank(extra: int) -> Any:
    """What PyTorch writes for a squeeze, and for a call of a recurrent layer with or without a batch."""
    squeeze = graph("then", [node("Squeeze", ["c", "last"], ["inside"])], "inside")
    keep = graph("else", [node("Identity", ["c"], ["inside"])], "inside")
    flat = graph("flat", [node("Tanh", ["s"], ["t"]), node("Mul", ["t", "k"], ["u"])], "u", {"k": np.float32(2)})
    deep = graph("deep", [node("Neg", ["s"], ["t"])], "t")
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Shape", ["c"], ["n"]), node("Gather", ["n", "two"], ["size"]), node("Equal", ["size", "one"], ["is"]),
        node("If", ["is"], ["s"], then_branch=squeeze, else_branch=keep),
        node("Shape", ["s"], ["n2"]), node("Size", ["n2"], ["rank"]), node("Equal", ["rank", "two"], ["two?"]),
        node("Not", ["two?"], ["not"]), node("Cast", ["not"], ["not2"], to=BOOL),
        node("If", ["not2"], ["t"], then_branch=deep, else_branch=flat),  # named like a value inside of both
        node("Sigmoid", ["t"], ["y"]),
    ]  # fmt: skip
    weights = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("f")
    constants = {"w": weights, "two": np.array(2), "one": np.array(1), "last": np.array([-1])}
    return model_of(nodes, [info("x", ["N", 2, 3 + extra])], constants)


@pytest.mark.parametrize("extra", [0, 2])
def test_sizes_choose_graphs(extra: int, tmp_path: Path) -> None:
    proto = by_rank(extra)
    names = {"t": "inside t", "u": "inside u"}
    for one in (names, {}):  # as the standard wants it, and with names that are there twice
        for made in [a.g for n in proto.graph.node if n.output[0] == "t" for a in n.attribute]:
            for inner in made.node:
                for field in (inner.input, inner.output):
                    found = [{v: k for k, v in names.items()}.get(n, n) if not one else one.get(n, n) for n in field]
                    del field[:]
                    field.extend(found)
            made.output[0].name = made.node[-1].output[0]
        model = load_model(proto)
        if one:
            x = np.random.default_rng(1).normal(size=(3, 2, 3 + extra)).astype("f")
            (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
        np.testing.assert_allclose(model(x), expected, rtol=1e-6, atol=1e-6)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_allclose(rnnx.load_model(tmp_path / "m.safetensors")(x), expected, rtol=1e-6, atol=1e-6)


def rates(kind: int = WHOLE) -> Any:
    nodes = [
        node("Equal", ["sr", "rate"], ["is"]),
        node("If", ["is"], ["h"], then_branch=graph("then", [node("MatMul", ["x", "a"], ["p"])], "p"),
             else_branch=graph("else", [node("MatMul", ["x", "b"], ["q"])], "q")),
        node("Tanh", ["h"], ["y"]), node("Neg", ["x"], ["z"]),
    ]  # fmt: skip
    random = np.random.default_rng(2)
    constants = {"a": random.normal(size=(3, 4)).astype("f"), "b": random.normal(size=(3, 5)).astype("f"),
                 "rate": np.array(16_000)}  # fmt: skip
    return model_of(nodes, [info("x", ["N", "T", 3]), info("sr", [], kind)], constants, ("y", "z"))


def test_an_input_is_given() -> None:
    proto, x = rates(), np.random.default_rng(3).normal(size=(2, 5, 3)).astype("f")
    for rate, width in ((16_000, 4), (8_000, 5)):
        model = load_model(proto, inputs={"sr": rate})
        assert [tensor.name for tensor in model.inputs] == ["x"] and model.output_shape[0] == (None, None, width)
        expected = ReferenceEvaluator(proto).run(None, {"x": x, "sr": np.array(rate)})
        for own, theirs in zip(model(x), expected, strict=True):
            np.testing.assert_allclose(own, theirs, rtol=1e-6, atol=1e-6)
        one = load_model(proto, inputs={"sr": rate}, outputs=["y"])
        np.testing.assert_allclose(one(x), expected[0], rtol=1e-6, atol=1e-6)
        assert isinstance(one, rnnx.Sequential)
        stream = one.stream(batch_size=2)
        steps = [np.array(stream.step(x[:, t])) for t in range(5)]
        np.testing.assert_allclose(np.stack(steps, 1), expected[0], rtol=1e-6, atol=1e-6)
    both = load_model(proto, inputs={"sr": 8000}, outputs=["z", "y"])
    assert both.output_shape[0] == (None, None, 3)


@pytest.mark.parametrize("options, why", [
    ({}, r"its input 'sr' is a single number.*inputs=\{'sr': \.\.\.\}"),
    ({"inputs": {"rate": 1}}, "there is no input 'rate'; its inputs are 'x', 'sr'"),
    ({"inputs": {"sr": [1, 2]}}, r"input 'sr' must be int64 of shape \(\), got int64 of \(2,\)"),
    ({"inputs": {"sr": 0.5}}, "input 'sr' must be int64"),
    ({"inputs": {"sr": "fast"}}, "input 'sr' cannot be 'fast'"),
    ({"sizes": {"U": 4}}, "no input has a size 'U'; named are 'N', 'T'"),
    ({"sizes": {"T": 0}}, "whole numbers above 0, got 0 for 'T'"),
    ({"sizes": {"x": (None, 4)}}, "input 'x' has 3 axes, `sizes` has 2 for it"),
    ({"sizes": {"x": (None, 4, 5)}}, "the size 3 of input 'x' cannot be 5"),
    ({"outputs": ["w"]}, "`outputs` must be some of 'y', 'z', each once, got 'w'"),
    ({"outputs": []}, "`outputs` must be some of"),
])  # fmt: skip
def test_what_is_given_must_fit(options: Any, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        load_model(rates(), **options)


def test_numbers_choose_nothing() -> None:
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0), node("Greater", ["sum", "zero"], ["is"]),
        node("If", ["is"], ["y"], then_branch=graph("then", [node("Tanh", ["x"], ["a"])], "a"),
             else_branch=graph("else", [node("Neg", ["x"], ["b"])], "b")),
    ]  # fmt: skip
    proto = model_of(nodes, [info("x", ["N", 3])], {"zero": np.float32(0)})
    with pytest.raises(FormatError, match=r"which of its graphs If node 'y' runs is not known: .*Session\(path\)"):
        load_model(proto)
    assert Session(proto).run({"x": -np.ones((1, 3), "f")})["y"][0, 0] == 1


def test_a_size_that_is_open_chooses_when_it_is_given() -> None:
    nodes = [
        node("Shape", ["x"], ["n"]), node("Gather", ["n", "axis"], ["size"]), node("Equal", ["size", "one"], ["is"]),
        node("If", ["is"], ["h"], then_branch=graph("then", [node("Squeeze", ["x", "axis1"], ["a"])], "a"),
             else_branch=graph("else", [node("ReduceMax", ["x"], ["b"], axes=[1], keepdims=0)], "b")),
        node("Tanh", ["h"], ["y"]),
    ]  # fmt: skip
    constants = {"axis": np.array(1), "one": np.array(1), "axis1": np.array([1])}
    proto = model_of(nodes, [info("x", ["N", "T", 3])], constants)
    with pytest.raises(
        FormatError, match=r"of sizes that are not known; sizes=\{\.\.\.\} of rnnx.formats.onnx.load_model"
    ):
        load_model(proto)
    for steps, how in ((1, {"T": 1}), (4, {"T": 4}), (4, {"x": (None, 4, None)})):
        model = load_model(proto, sizes=how)
        assert model.input_shape == (None, steps, 3)
        x = np.random.default_rng(steps).normal(size=(2, steps, 3)).astype("f")
        np.testing.assert_allclose(model(x), np.tanh(x.max(axis=1)), rtol=1e-6)


def test_what_a_size_of_the_file_chooses_holds_for_that_size() -> None:
    """The graph without the squeeze would need other steps than those of the file: the model keeps to these."""
    g = Graph({"x": ("N", 4, 3)})
    g.nodes = [node("Shape", ["x"], ["n"]), node("Gather", ["n", g.const(1)], ["size"]),
               node("Equal", ["size", g.const(4)], ["is"]),
               node("If", ["is"], ["h"], then_branch=graph("then", [node("Tanh", ["x"], ["a"])], "a"),
                    else_branch=graph("else", [node("Neg", ["x"], ["b"])], "b"))]  # fmt: skip
    y = g.squeezed(g.recurrent("GRU", g.add("Transpose", "h", perm=[1, 0, 2]), 3)[0], 1)
    proto = g.model((y, 3))
    with pytest.warns(UserWarning, match="timesteps first"):
        model = load_model(proto)
    assert model.input_shape == (None, 4, 3)
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f")
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(model(x).swapaxes(0, 1), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_spelled_out_in_a_chosen_graph_is_that_layer() -> None:
    inner = SPELLED["lstm_gemm, unrolled"]()
    ports = list(inner.graph.input)
    body = helper.make_graph(inner.graph.node, "body", [], list(inner.graph.output), list(inner.graph.initializer))
    other = helper.make_graph(
        [node("Constant", [], [f"none {k}"], value_float=0.0) for k in range(len(inner.graph.output))], "none", [],
        [info(f"none {k}", []) for k in range(len(inner.graph.output))],
    )  # fmt: skip
    ends = [f"end {k}" for k in range(len(inner.graph.output))]
    made = helper.make_graph(
        [node("If", ["yes"], ends, then_branch=body, else_branch=other)], "made", ports,
        [info(end) for end in ends], [numpy_helper.from_array(np.array(True), "yes")],
    )  # fmt: skip
    proto = helper.make_model(made, opset_imports=list(inner.opset_import), ir_version=inner.ir_version)
    model, plain = load_model(proto), load_model(inner)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert "LSTM" in kinds and kinds == [type(layer).__name__ for layer in plain.layers]


def test_many_choices_end() -> None:
    """Each graph holds the next one: they are followed as deep as files may be."""
    end = graph("end", [node("Tanh", ["x"], ["t"])], "t")
    for k in range(20):
        chosen = node(
            "If", ["yes"], [f"v{k}"], then_branch=end, else_branch=graph("no", [node("Neg", ["x"], ["n"])], "n")
        )
        end = graph(f"g{k}", [chosen], f"v{k}")
    proto = model_of([node("If", ["yes"], ["y"], then_branch=end, else_branch=end)], [info("x", ["N", 3])],
                     {"yes": np.array(True)})  # fmt: skip
    x = np.ones((2, 3), "f")
    np.testing.assert_allclose(load_model(proto)(x), np.tanh(x), rtol=1e-6)


# ---- A batch that the file has not -----------------------------------------------------------------------------------


def one_row(states: bool, fixed: int | None = None) -> Any:
    """Frames of one recording below each other, through convolutions and an LSTM, as silero writes it."""
    shape: dict[str, Any] = {"x": ("T" if fixed is None else fixed, 8)}
    if states:
        shape.update(h=(1, 1, 4), c=(1, 1, 4))
    g = Graph(shape)
    padded = g.add("Pad", "x", g.const([0, 1, 0, 2]), mode="reflect")
    rows = g.add("Unsqueeze", padded, g.const([1]))
    c = g.add("Conv", rows, g.weight(6, 1, 5), strides=[3])
    one, two = (g.add("Slice", c, g.const([k]), g.const([k + 3]), g.const([1])) for k in (0, 3))
    c = g.add("Sqrt", g.add("Add", g.add("Mul", one, one), g.add("Pow", two, g.const(2.0, np.float32))))
    c = g.add("MaxPool", g.add("Conv", c, g.weight(3, 3, 3), pads=[1, 1]), kernel_shape=[3])
    start = ["h", "c"] if states else [g.const(np.zeros((1, 1, 4)), np.float32)] * 2
    y, h, cell = g.recurrent("LSTM", g.add("Transpose", c, perm=[0, 2, 1]), 3, *start)
    y = g.add("Transpose", g.add("Relu", g.squeezed(y, 1)), perm=[1, 2, 0])
    y = g.add("Reshape", g.add("Sigmoid", g.add("Conv", y, g.weight(1, 4, 1))), g.const([-1]))
    return g.model((y, 1), *([(h, 3), (cell, 3)] if states else []))


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("fixed", [None, 5])
def test_a_file_of_one_row_is_a_model_of_any_batch(states: bool, fixed: int | None, tmp_path: Path) -> None:
    proto = one_row(states, fixed)
    with pytest.warns(UserWarning, match=r"no axis for a batch beside the timesteps.*x\[None\]"):
        model = load_model(proto)
    random = np.random.default_rng(5)
    x = random.normal(size=(3, 5, 8)).astype("f")
    given = [random.normal(size=(3, 4)).astype("f") for _ in range(2)] if states else []
    model.save(tmp_path / "m.safetensors")
    for one in (model, rnnx.load_model(tmp_path / "m.safetensors")):
        results = one([x, *given] if states else x)
        results = results if states else [results]
        for k in range(3):
            feeds = {"x": x[k], **{name: part[k][None, None] for name, part in zip("hc", given, strict=False)}}
            expected = ReferenceEvaluator(proto).run(None, feeds)
            found = Session(proto).run(feeds).values()
            for own, theirs, run in zip(results, expected, found, strict=True):
                np.testing.assert_allclose(own[k].reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(run, theirs, rtol=1e-5, atol=1e-5)
    if not states:
        stream = model.stream(batch_size=3)
        steps = np.stack([np.array(stream.step(x[:, t])) for t in range(5)], 1)
        np.testing.assert_allclose(steps, model(x), rtol=1e-5, atol=1e-6)


def test_a_file_of_one_row_trains() -> None:
    with pytest.warns(UserWarning, match="no axis for a batch"):
        model = load_model(one_row(False))
    x = np.random.default_rng(6).normal(size=(4, 5, 8)).astype("f")
    y, pullback = model.vjp(x)
    dx = pullback(np.ones_like(y)).dx
    size = float(np.linalg.norm(dx))
    step = np.float32(2e-3) * dx / size
    slope = (model(x + step).sum(dtype="d") - model(x - step).sum(dtype="d")) / 4e-3
    np.testing.assert_allclose(size, slope, rtol=5e-2)
