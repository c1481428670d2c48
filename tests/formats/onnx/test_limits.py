"""What an ONNX file may take: every operator says it before it runs, and is held to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import rnnx
from rnnx.formats import info
from rnnx.formats.onnx import (
    Session,
    _convolutions,
    _evaluated,
    _images,
    _integers,
    _operators,
    _quantized,
    _read,
    _recurrent,
    _shapes,
    _static,
    load_model,
)
from rnnx.formats.onnx._registry import OPERATORS
from rnnx.formats.onnx._sizes import measure
from rnnx.formats.onnx._wire import count
from rnnx.saving import FormatError
from tests.formats.onnx.nodes import arrays_for, one_node
from tests.formats.onnx.test_hostile import functions, graph_of, node, refused
from tests.formats.onnx.test_nodes import ALL_CASES, EVALUATED_CASES

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
MODULES = (_operators, _shapes, _convolutions, _images, _integers, _recurrent, _quantized, _static, _evaluated)


def value(name: str, kind: int, shape: Any = None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def test_every_operator_of_the_evaluator_has_a_record() -> None:
    """An operator cannot run without saying what it takes; no name stands twice."""
    records = [record for module in MODULES for record in module.OPERATORS]
    assert len({record.name for record in records}) == len(records) == len(OPERATORS)
    inside = {"If", "Loop", "Scan", "SequenceMap", "Identity", "Constant"}  # programs, aliases and constants
    unknown = {"Gradient"}  # the evaluator lacks it
    for schema in onnx.defs.get_all_schemas():
        name = f"{schema.domain}.{schema.name}" if schema.domain else schema.name
        assert name in OPERATORS or schema.name in inside | unknown, name


def test_an_operator_without_a_record_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(OPERATORS, "Celu")
    refused(graph_of([node("Celu", ["x"])]), "Celu node", "not known")


def test_guards_never_say_too_little() -> None:
    """Results of ONNX' own tests of operators are no larger than was said before they ran."""
    asked = 0
    for case in (ALL_CASES | EVALUATED_CASES).values():
        try:
            session = Session(case.model)
        except FormatError:
            continue
        steps = session._program.steps
        if len(steps) != 1 or steps[0].guard is None or "3d_default" in case.name:
            continue
        for inputs, _ in case.data_sets:
            if not all(isinstance(array, np.ndarray) for array in inputs):
                continue
            values = dict(enumerate([None, *inputs]))
            arguments = [values.get(place, session._program.start[place]) for place in steps[0].inputs]
            size, time = steps[0].guard(*arguments)
            with np.errstate(all="ignore"):
                found = steps[0].function(*arguments)
            assert sum(map(measure, found if isinstance(found, tuple) else (found,))) <= size, case.name
            assert time >= 0
            asked += 1
    assert asked > 750


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_guards_of_recurrent_operators(kind: str) -> None:
    arrays = arrays_for(kind, 2, np.float32, batch=8, steps=300, hidden=16, optional=True)
    session = Session(one_node(kind, {"direction": "bidirectional"}, arrays, False))
    (step,) = session._program.steps
    given = [arrays[port.name] for port in session.inputs]
    arguments = [None if place == 0 else given[place - 1] for place in step.inputs]
    found = sum(map(measure, step.function(*arguments)))
    assert found <= step.guard(*arguments)[0] <= 30 * found


@pytest.mark.parametrize("size, found", [((3, 4), 48), ((0, 5), 20), ((), 4)])
def test_an_empty_axis_counts_as_one(size: tuple[int, ...], found: int) -> None:
    assert measure(np.zeros(size, np.float32)) == found


def test_what_a_run_holds() -> None:
    """Values of the graphs around count, and are given back."""
    body = helper.make_graph(
        [
            node("Expand", ["v", "s"], ["wide"]),
            node("ReduceMax", ["wide"], ["after"]),
            node("Identity", ["go"], ["on"]),
        ],
        "body",
        [value("k", INT, []), value("go", BOOL, []), value("v", FLOAT)],
        [value("on", BOOL, []), value("after", FLOAT)],
    )
    arrays = {"m": np.array(10), "s": np.array([2**22])}
    nodes = [node("ReduceMax", ["x"], ["one"]), node("Loop", ["m", "", "one"], body=body)]
    session = Session(graph_of(nodes, arrays), memory=2**26)  # a round takes 48 MiB
    for _ in range(2):
        assert session.run({"x": np.ones(2, np.float32)})["y"].tolist() == [1]
    wide = [node("Expand", ["one", "s"], ["held"]), node("Loop", ["m", "", "one"], ["r"], body=body)]
    ends = [node("ReduceMax", ["held"], ["h"]), node("Add", ["r", "h"])]
    session = Session(graph_of([nodes[0], *wide, *ends], arrays), memory=2**26)
    with pytest.raises(FormatError, match="bytes"):
        session.run({"x": np.ones(2, np.float32)})
    assert Session(graph_of([nodes[0], *wide, *ends], arrays)).run({"x": np.ones(2, np.float32)})["y"].tolist() == [2]


def test_work_is_the_callers_choice() -> None:
    proto = graph_of([node("MatMul", ["x", "w"])], {"w": np.ones((2, 100), np.float32)})
    x = {"x": np.ones(2, np.float32)}
    assert Session(proto).run(x)["y"].shape == (100,)
    with pytest.raises(FormatError, match=r"at most 1,000 are allowed; give Session\(..., work=...\)"):
        Session(proto, work=1000).run(x)


def test_limits_grow_with_the_inputs() -> None:
    proto = graph_of([node("Tile", ["x", "s"])], {"s": np.array([40])})
    x = np.ones(2**21, np.float32)
    assert Session(proto).run({"x": x})["y"].size == 40 * x.size  # 320 MiB, and as much on the way
    small = graph_of([node("Tile", ["x", "s"])], {"s": np.array([2**27])})
    with pytest.raises(FormatError, match="at most 402,6"):
        Session(small).run({"x": x[:2]})


def test_equal_nodes_share_their_evaluator() -> None:
    nodes = [node("Celu", [f"v{k}" if k else "x"], [f"v{k + 1}"], alpha=float(1 + k % 3)) for k in range(30)]
    session = Session(graph_of([*nodes, node("Relu", ["v30"])]))
    assert len({step.function for step in session._program.steps}) == 4
    assert session.run({"x": np.ones(2, np.float32)})["y"].tolist() == [1, 1]


def test_programs_for_shapes_share_packed_weights() -> None:
    arrays: Any = {"w": np.ones((1, 512, 64), "f"), "r": np.ones((1, 512, 128), "f")}
    arrays |= {"a": np.array([0, 1]), "s": np.array([3, 1, 64])}
    nodes = [node("Unsqueeze", ["x", "a"], ["u"]), node("Expand", ["u", "s"], ["v"]), node("LSTM", ["v", "w", "r"])]
    session = Session(graph_of(nodes, arrays))
    x = {"x": np.ones(64, np.float32)}
    first = [session.run(x)["y"] for _ in range(5)]
    (short,) = session._program.shortcuts.programs.values()
    assert short[0].steps[-1].function is session._program.steps[-1].function
    assert all((y == first[0]).all() for y in first)


def test_a_list_of_floats_is_read_by_its_bytes() -> None:
    for kind, dtype in ((FLOAT, np.float32), (TensorProto.DOUBLE, np.float64)):
        values = np.random.default_rng(3).normal(size=(3, 4)).astype(dtype)
        bad = helper.make_tensor("w", kind, [3, 4], values.reshape(-1).tolist())
        empty = helper.make_tensor("e", kind, [0, 4], [])
        proto = graph_of([node("Concat", ["w", "e"], axis=0)])
        proto.graph.initializer.extend([bad, empty])
        assert (Session(proto).run({"x": np.ones(1, np.float32)})["y"] == values).all()


def test_wire() -> None:
    """The look at the bytes counts what the parser makes of them."""
    proto = functions(3, 2)
    proto.graph.initializer.add(name="i", data_type=INT, dims=[300]).int64_data.extend(range(300))
    proto.graph.node[0].attribute.add(name="a", ints=range(50), type=onnx.AttributeProto.INTS)
    fields, numbers = count(proto.SerializeToString(), 10**6)
    assert numbers == 1 + (128 + 2 * 172) + 50  # the dimension; numbers below 128 have one byte; the attribute's
    assert 100 < fields < 300
    assert count(proto.SerializeToString(), 50)[0] == 51
    for data in (b"", b"\xff" * 30, b"\x3a\xff\xff\xff\xff\x7f", b"\x3b", bytes(20)):
        assert count(data, 10)[0] <= 11


def test_names_reach_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    proto = graph_of([helper.make_node("Relu", ["x"], ["y"], name="\x1b[2J")], producer_name="a\x1b[2J\nb")
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "in\x1b]0;\x07"
    path.write_bytes(proto.SerializeToString())
    assert all(line.isprintable() for line in info.lines(path))
    with pytest.raises(ValueError, match="is missing") as caught:
        Session(path).run({})
    assert str(caught.value).isprintable()


def described_elsewhere(path: Path, units: int, places: int) -> None:
    """A model of rnnx whose description asks for more units; its weights lie in a small file, again and again."""
    model = rnnx.Sequential([rnnx.layers.LSTM(4, input_shape=(None, 3), name="lstm")])
    model.save(path)
    proto = onnx.load(path)
    (entry,) = (e for e in proto.metadata_props if e.key == "rnnx")
    assert '"units": 4' in entry.value
    entry.value = entry.value.replace('"units": 4', f'"units": {units}')
    path.with_suffix(".bin").write_bytes(bytes(400))
    for k in range(places):
        far = proto.graph.initializer.add(name=f"far{k}", data_type=FLOAT, dims=[units // places])
        far.data_location = TensorProto.EXTERNAL
        far.external_data.add(key="location", value=path.with_suffix(".bin").name)
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("units, places", [(300_000_000, 1), (8_000, 80)])
def test_a_description_asks_for_no_more_than_is_there(
    units: int, places: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights 'in another file' count if they are there, and once: the model is not made, the graph is read."""
    path, made = tmp_path / "m.onnx", []
    described_elsewhere(path, units, places)
    real = _read.exported
    monkeypatch.setattr(_read, "exported", lambda model: made.append(model) or real(model))
    try:
        assert load_model(path).count_params() < 1_000  # its graph is a small layer
    except FormatError as error:
        assert "m.onnx" in str(error)
    assert not made


def test_bytes_of_another_file_are_read_once(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(values.tobytes())
    proto = graph_of([node("Add", ["w0", "w1"])])
    for k, (start, number) in enumerate(((0, 6), (0, 6), (8, 3))):
        far = proto.graph.initializer.add(name=f"w{k}", data_type=FLOAT, dims=[number])
        far.data_location = TensorProto.EXTERNAL
        for key, text in (("location", "w.bin"), ("offset", start), ("length", 4 * number)):
            far.external_data.add(key=key, value=str(text))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match="'w2' and others use the same bytes of 'w.bin'"):
        Session(path)
    del proto.graph.initializer[2]
    path.write_bytes(proto.SerializeToString())
    assert (Session(path).run({"x": np.ones(1, np.float32)})["y"] == 2 * values).all()
