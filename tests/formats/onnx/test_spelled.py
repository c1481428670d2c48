"""Recurrent layers that a graph spells out run as the layers that they are; what only looks like one stays as it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from rnnx.formats.onnx import Session, load_model
from rnnx.formats.onnx._file import Source, walk
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._recurrences import written_as_layers
from rnnx.saving import FormatError
from tests.formats.onnx.graphs import Graph
from tests.formats.onnx.spelled import FEATURES, SPELLED, UNITS, WAYS, Cells, feeds_of, looped, one_step, unrolled
from tests.golden.store import load

GOLDEN = load("onnx_spelled")
RECURRENT, CONTROL = ("LSTM", "GRU", "RNN"), ("Loop", "Scan")


def operators(proto: Any) -> Counter[str]:
    """Operators of the graph that a session runs."""
    source = Source(proto)
    written_as_layers(source)
    return Counter(node.op_type for graph, _ in walk(source.proto.graph) for node in graph.node)


def agrees(proto: Any, batch: int = 2, steps: int = 5) -> None:
    """A session gives what the nodes give as they stand, one by one in NumPy."""
    feeds, source = feeds_of(proto, batch, steps), Source(proto)
    wanted = Program(source, source.proto.graph).run(*feeds.values())
    for own, expected in zip(Session(proto).run(feeds).values(), wanted, strict=True):
        assert own.shape == expected.shape
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SPELLED)
def test_it_runs_as_layers(name: str) -> None:
    proto = SPELLED[name]()
    found = operators(proto)
    assert sum(found[kind] for kind in RECURRENT) == (2 if name in ("stacked", "stacked GRU", "branches") else 1)
    assert not any(found[kind] for kind in (*CONTROL, "Sigmoid"))
    for own, expected in zip(Session(proto).run(feeds_of(proto)).values(), GOLDEN[name].listed("outputs"), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)  # of ONNX Runtime
    agrees(proto)
    if "loop" in name or "scan" in name:
        agrees(proto, 1, 1)
        agrees(proto, 3, 8)


@pytest.mark.parametrize("name", [name for name in SPELLED if name != "branches"])
def test_it_is_a_model(name: str, recwarn: Any) -> None:
    proto = SPELLED[name]()
    model = load_model(proto)
    feeds = feeds_of(proto)
    if name.startswith(("scan", "loop with a condition, time", "loop with a list, time", "unrolled, time")) or (
        ", scan" in name
    ):
        feeds["x"] = feeds["x"].swapaxes(0, 1)
    found = model(list(feeds.values()))
    found = found if isinstance(found, list) else [found]
    for own, other in zip(found, Session(proto).run(feeds_of(proto)).values(), strict=True):
        own = own if own.shape == other.shape else own.swapaxes(0, 1)
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}[
        WAYS.get(name.split(",")[0], (0, "GRU" if "GRU" in kinds else "LSTM"))[1]
    ] in kinds


def test_activations_come_along() -> None:
    model = load_model(SPELLED["lstm_apart, loop"]())
    (layer,) = [layer for layer in model.layers if type(layer).__name__ == "LSTM"]
    assert layer.recurrent_activation.name == "hard_sigmoid_keras2" and layer.activation.name == "tanh"
    g = Graph({"x": ("batch", FEATURES), "h0": ("batch", UNITS), "c0": ("batch", UNITS)})
    h, c = Cells(g).lstm_beside("x", "h0", "c0", "Softsign")
    agrees(proto := g.model((h, 2), (c, 2)))
    assert operators(proto)["LSTM"] == 1


# ---- What stays as it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-1, 1])
def test_loops_of_other_lengths_stay(off: int) -> None:
    proto = looped("lstm_gemm", off=off)
    assert operators(proto)["Loop"] == 1
    if off < 0:
        agrees(proto)


def test_the_first_or_last_steps_only() -> None:
    """A Loop over less than all steps is no layer of all; cells of some steps are one of those."""
    for steps in (1, 2, 4):
        g = Graph({"x": ("batch", 5, FEATURES), "h0": ("batch", UNITS)})
        cells, h = Cells(g), "h0"
        for t in range(1, steps + 1):
            h = cells.gru_after(g.add("Gather", "x", g.const(t), axis=1), h)
        proto = g.model((h, 2))
        assert operators(proto)["GRU"] == 1
        agrees(proto)


def test_steps_with_gaps_and_other_weights() -> None:
    """Each is a layer for itself."""
    g = Graph({"x": ("batch", 5, FEATURES), "h0": ("batch", UNITS)})
    h, cells = "h0", Cells(g)
    for k, t in enumerate((0, 2, 4, 3)):
        cells = Cells(g) if k == 2 else cells
        h = cells.gru_after(g.add("Gather", "x", g.const(t), axis=1), h)
    proto = g.model((h, 2))
    assert operators(proto)["GRU"] == 3  # 0, 2, and 4 and 3 backwards
    agrees(proto)


def test_states_that_others_read() -> None:
    g = Graph({"x": ("batch", 3, FEATURES), "h0": ("batch", UNITS), "c0": ("batch", UNITS)})
    cells, h, c, seen = Cells(g), "h0", "c0", []
    for t in range(3):
        h, c = cells.lstm_gemm(g.add("Gather", "x", g.const(t), axis=1), h, c)
        seen += [(h, 2), (g.add("Tanh", c), 2)]
    proto = g.model(*seen)
    agrees(proto)


def test_outputs_that_go_into_the_next_step() -> None:
    """A decoder that hears itself is no layer of a sequence, but its steps are."""
    g = Graph({"x": ("batch", FEATURES), "h0": ("batch", UNITS)})
    cells, h, x = Cells(g), "h0", "x"
    out = g.weight(UNITS, FEATURES)
    for _ in range(3):
        h = cells.gru_after(x, h)
        x = g.add("MatMul", h, out)
    proto = g.model((x, 2))
    assert operators(proto)["GRU"] == 3
    agrees(proto)


@pytest.mark.parametrize("change", ["f and i", "no tanh", "peepholes", "sum", "two inputs"])
def test_what_only_looks_like_a_step(change: str) -> None:
    g = Graph({"x": ("batch", FEATURES), "h": ("batch", UNITS), "c": ("batch", UNITS)})
    n = UNITS
    gates = g.add("Add", g.add("MatMul", "x", g.weight(FEATURES, 4 * n)), g.add("MatMul", "h", g.weight(n, 4 * n)))
    i, f, j, o = g.add("Split", gates, outputs=4, axis=1)
    if change == "peepholes":
        i = g.add("Add", i, g.add("Mul", "c", g.weight(n)))
    i, f, o = (g.add("Sigmoid", part) for part in (i, f, o))
    j = j if change == "no tanh" else g.add("Tanh", j)
    kept, new = g.add("Mul", i if change == "f and i" else f, "c"), g.add("Mul", i, j)
    c = g.add("Sub" if change == "sum" else "Add", kept, new)
    if change == "two inputs":
        c = g.add("Add", c, g.add("Mul", f, "h"))
    proto = g.model((g.add("Mul", o, g.add("Tanh", c)), 2), (c, 2))
    found = operators(proto)
    assert found["LSTM"] == (change == "f and i")  # a layer whose gates i and f are equal
    agrees(proto)


def test_a_dense_is_no_simple_layer() -> None:
    g = Graph({"x": ("batch", FEATURES), "h": ("batch", UNITS)})
    cells = Cells(g)
    proto = g.model((cells.simple("x", "h"), 2))
    assert not operators(proto)["RNN"]
    agrees(proto)


def test_initial_states_of_one_row() -> None:
    """A state for all rows of the batch, as a parameter that was trained."""
    g = Graph({"x": ("batch", FEATURES)})
    proto = g.model((Cells(g).gru_after("x", g.weight(1, UNITS)), 2))
    agrees(proto)
    zeros = Graph({"x": ("batch", FEATURES)})
    proto = zeros.model((Cells(zeros).gru_after("x", zeros.const(np.zeros((1, UNITS)), np.float32)), 2))
    assert operators(proto)["GRU"] == 1
    agrees(proto)


def test_rounds_that_end_early() -> None:
    """A condition on numbers ends a loop when it likes."""
    proto = looped("lstm_gemm", counted="condition")
    (loop,) = [node for node in proto.graph.node if node.op_type == "Loop"]
    body = loop.attribute[0].g
    (less,) = [node for node in body.node if node.op_type == "Less"]
    goes_on, place = less.output[0], list(body.node).index(less)
    less.output[0] = "count is less"
    body.node.insert(place + 1, helper.make_node("ReduceMax", ["h"], ["most"], keepdims=0))
    body.node.insert(place + 2, helper.make_node("Less", ["most", "bound"], ["most is less"]))
    body.node.insert(place + 3, helper.make_node("And", ["count is less", "most is less"], [goes_on]))
    body.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "bound"))
    assert operators(proto)["Loop"] == 1
    agrees(proto)


def test_both_numbers_and_spelling_are_kept_when_asked_twice() -> None:
    source = Source(unrolled("gru_after"))
    written_as_layers(source)
    once = source.proto.SerializeToString(deterministic=True)
    written_as_layers(source)
    assert source.proto.SerializeToString(deterministic=True) == once


def test_names_of_the_file_are_not_taken() -> None:
    proto = one_step("gru_after")
    proto.graph.node[0].name = "recurrence_1"
    agrees(proto)
    assert operators(proto)["GRU"] == 1


def test_a_state_that_the_body_makes_again() -> None:
    """A damaged file: there are two values of one name, and which of them is meant is not asked."""
    proto = SPELLED["loop with a list"]()
    (loop,) = [node for node in proto.graph.node if node.op_type == "Loop"]
    body = loop.attribute[0].g
    body.node.insert(0, helper.make_node("Identity", [body.input[3].name], [body.input[2].name]))
    with pytest.raises(FormatError, match="is made twice"):
        Session(proto)
