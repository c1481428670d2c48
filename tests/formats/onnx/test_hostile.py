"""Damaged and hostile ONNX files: one FormatError each, little memory and time, nothing outside the folder read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rnnx
from rnnx.formats.onnx import Session, describe, load_model
from rnnx.formats.onnx._file import DEEPEST
from rnnx.saving import FormatError
from tests.formats.onnx.models import made
from tests.formats.onnx.nodes import arrays_for, one_node

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def graph_of(nodes: list[Any], arrays: dict[str, Any] | None = None, opset: int = 17, **more: Any) -> Any:
    """A model with the float input x, the output y, and these nodes and constants."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [None])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (arrays or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def node(operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, outputs or ["y"], name="n", **attributes)


def refused(source: Any, *words: str, memory: int = 2**32) -> None:
    """Loading, describing and making a model of it end in one FormatError; a file that loads does not run."""
    started = time.perf_counter()
    with pytest.raises(FormatError) as caught:
        session = Session(source, memory=memory)
        session.run({port.name: np.ones(2, np.float32) for port in session.inputs})
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(FormatError):
        load_model(source)
    assert time.perf_counter() - started < 5


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "model.onnx"
    made("bidirectional-lstm-concat-masking-True").save(path)
    return path.read_bytes()


# ---- Bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\0", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(99), bytes(1000), b"\xff" * 1000])
def test_foreign_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    refused(path, "not an ONNX file")
    refused(data, "not an ONNX file")
    with pytest.raises(FormatError, match="model.onnx"):
        describe(path)
    with pytest.raises(FormatError, match="model.onnx"):
        rnnx.load_model(path)


def any_outcome(data: bytes) -> None:
    """Whatever the bytes say: a session or model that works, or a FormatError; nothing else."""
    try:
        session = Session(data, memory=2**28)
        shapes = [[2 if not isinstance(n, int) else min(n, 9) for n in port.shape or ()] for port in session.inputs]
        session.run({p.name: np.ones(s, p.dtype) for p, s in zip(session.inputs, shapes, strict=True)})
    except (FormatError, TypeError, ValueError):
        pass
    for read in (describe, load_model):
        try:
            read(data)
        except FormatError:
            pass


@pytest.mark.parametrize("share", range(12))
def test_cut_off(share: int, good: bytes) -> None:
    any_outcome(good[: len(good) * share // 12])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_flipped_bits(good: bytes) -> None:
    random = np.random.default_rng(5)
    for _ in range(150):
        data = bytearray(good)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] ^= 1 << int(random.integers(8))
        any_outcome(bytes(data))


def test_missing_files(tmp_path: Path) -> None:
    for call in (Session, describe, load_model, rnnx.load_model):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "none.onnx")


# ---- Tensors ---------------------------------------------------------------------------------------------------------


def tensor(dims: Any, data: bytes, kind: int = FLOAT) -> Any:
    made = TensorProto(name="w", data_type=kind, raw_data=data)
    made.dims.extend(dims)
    return made


@pytest.mark.parametrize(
    "bad, words",
    [
        (tensor([2, 3], b"1234"), "needs 24 bytes"),
        (tensor([2**40, 2**40], b"1234"), "bytes, there are 4"),
        (tensor([-1], b"1234"), "(-1,)"),
        (tensor([1], b"1234", 99), "unknown type 99"),
        (tensor([1], b"1234", 0), "unknown type 0"),
        (tensor([2**62], b""), "bytes, there are 0"),
        (TensorProto(name="w", data_type=FLOAT, dims=[9], float_data=[1.0]), "needs 9 numbers, there are 1"),
        (TensorProto(name="w", data_type=8, dims=[9], string_data=[b"a"]), "1 strings"),
    ],
)
def test_tensors_that_are_not_what_they_say(bad: Any, words: str) -> None:
    proto = graph_of([node("Add", ["x", "w"])])
    proto.graph.initializer.append(bad)
    refused(proto, "'w'", words)
    refused(graph_of([node("Constant", [], ["c"], value=bad), node("Add", ["x", "c"])]), "'w'", words)


def test_sparse_tensors() -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros((1, 2), np.int64)), [2**40, 2**40])
    refused(graph_of([node("Constant", [], ["c"], sparse_value=sparse), node("Add", ["x", "c"])]), "sparse")
    proto = graph_of([node("Add", ["x", "w"])])
    proto.graph.sparse_initializer.append(sparse)
    refused(proto, "sparse")


def external(location: str, **entries: Any) -> Any:
    made = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        made.external_data.add(key=key, value=str(value))
    return made


def test_data_in_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(np.array([7, 7], np.float32).tobytes())
    (folder / "data").write_bytes(np.array([9, 1, 2], np.float32).tobytes())
    (folder / "deep" / "data").write_bytes(np.array([3, 4], np.float32).tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "way").symlink_to(tmp_path)
    path = folder / "model.onnx"

    def write(bad: Any) -> Path:
        proto = graph_of([node("Add", ["x", "w"])])
        proto.graph.initializer.append(bad)
        path.write_bytes(proto.SerializeToString())
        return path

    x = {"x": np.zeros(2, np.float32)}
    assert Session(write(external("data", offset=4))).run(x)["y"].tolist() == [1, 2]
    assert Session(write(external("deep/data", offset=0, length=8))).run(x)["y"].tolist() == [3, 4]
    for location in ("../secret", str(tmp_path / "secret"), "link", "way/secret", "deep/../../secret", "deep/../data",
                     "", ".", "a\0b", "..\\secret", "none", "deep", "/dev/zero", "~/secret"):  # fmt: skip
        refused(write(external(location)), "'w'")
    for entries in (
        {"offset": 8},
        {"offset": -4},
        {"length": 4},
        {"length": 2**40},
        {"offset": "x"},
        {"offset": 2**70},
    ):
        refused(write(external("data", **entries)), "'w'")
    refused(write(external("data")).read_bytes(), "no folder")


# ---- Graphs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proto, words",
    [
        (graph_of([node("NoSuch", ["x"])]), "NoSuch node 'n'"),
        (graph_of([node("Relu", ["x"], domain="evil.example")]), "evil.example"),
        (graph_of([node("Relu", ["nothing"])]), "'nothing'"),
        (graph_of([node("Relu", ["y"])]), "'y'"),
        (graph_of([node("Relu", ["x"], ["x"])]), "twice"),
        (graph_of([node("Relu", ["x"]), node("Relu", ["x"])]), "twice"),
        (graph_of([]), "'y'"),
        (graph_of([node("Relu", ["x"])], opset=6), "opset 6"),
        (graph_of([node("If", ["x"])]), "If node"),
        (graph_of([node("Loop", ["x", ""])]), "Loop node"),
        (graph_of([node("Scan", ["x"], num_scan_inputs=1)]), "Scan node"),
        (graph_of([node("Reshape", ["x", "s"])], {"s": np.array([7, 9])}), "Reshape node"),
        (graph_of([node("Transpose", ["x"], perm=[4, 2])]), "Transpose node"),
        (graph_of([node("Conv", ["x", "w"])], {"w": np.ones((1, 1, 3), "f")}), "Conv node"),
        (graph_of([node("Conv", ["x", "w"], strides=[0])], {"w": np.ones((1, 1, 3), "f")}), "Conv node"),
        (graph_of([node("Concat", ["x"])]), "Concat node"),
        (graph_of([node("Cast", ["x"], to=99)]), "Cast node"),
        (graph_of([node("LSTM", ["x"])]), "LSTM node"),
        (graph_of([node("Constant", [])]), "Constant node"),
    ],
)
def test_graphs_that_make_no_sense(proto: Any, words: str) -> None:
    refused(proto, words)


ONE, HUGE = np.ones(1, np.float32), np.array([2**36])
BOMBS = {
    "ConstantOfShape": (["s"], {"s": HUGE}, {}),
    "Expand": (["x", "s"], {"s": np.array([2**36, 1])}, {}),
    "Tile": (["x", "s"], {"s": HUGE}, {}),
    "Pad": (["x", "s"], {"s": np.array([0, 2**36])}, {}),
    "Range": (["a", "b", "c"], {"a": np.array(0), "b": np.array(2**36), "c": np.array(1)}, {}),
    "OneHot": (["i", "d", "v"], {"i": np.zeros(4, int), "d": HUGE, "v": np.zeros(2, "f")}, {}),
    "RandomNormal": ([], {}, {"shape": [2**36]}),
    "HannWindow": (["s"], {"s": np.array(2**36)}, {}),
    "MaxPool": (["w"], {"w": np.ones((1, 1, 4), "f")}, {"kernel_shape": [2**36], "pads": [2**36 - 1, 0]}),
    "Resize": (["w", "", "c"], {"w": np.ones((1, 1, 4), "f"), "c": np.array([1, 1, 2**36], "f")}, {}),
    "Gather": (["t", "i"], {"t": np.ones((1, 2**15), "f"), "i": np.zeros(2**20, np.int8).astype(int)}, {}),
}


@pytest.mark.parametrize("operator", BOMBS)
def test_bombs(operator: str) -> None:
    inputs, arrays, attributes = BOMBS[operator]
    refused(graph_of([node(operator, inputs, **attributes)], arrays), operator, "bytes")


def test_bombs_of_many_steps() -> None:
    """Every step doubles an array, or multiplies two; no step alone is large."""
    doubling = [node("Concat", [f"v{k}" if k else "x"] * 2, [f"v{k + 1}"], axis=0) for k in range(60)]
    refused(graph_of([*doubling, node("Relu", ["v60"])]), "bytes", memory=2**27)
    wide = [node("Reshape", ["x", "a"], ["p0"]), node("Reshape", ["x", "b"], ["q0"])]
    for k in range(30):
        wide.append(node("Concat", [f"p{k}"] * 2, [f"p{k + 1}"], axis=0))
        wide.append(node("Concat", [f"q{k}"] * 2, [f"q{k + 1}"], axis=1))
    for operator in ("Add", "MatMul"):
        arrays = {"a": np.array([2, 1]), "b": np.array([1, 2])}
        refused(graph_of([*wide[:36], node(operator, ["p17", "q17"])], arrays), operator, "bytes")
    many = [node("ConstantOfShape", ["s"], [f"v{k}"]) for k in range(99)]
    refused(
        graph_of([*many, node("Sum", [f"v{k}" for k in range(99)])], {"s": np.array([2**22])}), "bytes", memory=2**28
    )


@pytest.mark.parametrize("operator", ["Squeeze", "Unsqueeze", "ReduceSum"])
@pytest.mark.parametrize("known", [True, False])
def test_axes_by_the_million(operator: str, known: bool) -> None:
    """NumPy looks for each axis among all of them, which would take for ever."""
    nodes = [node("Range", ["a", "b", "d"], ["axes"])] if known else [node("Range", ["a", "n", "d"], ["axes"])]
    if not known:
        nodes = [node("Shape", ["x"], ["n1"]), node("Mul", ["n1", "m"], ["n2"]), node("Squeeze", ["n2"], ["n"]), *nodes]
    numbers = {"a": np.array(0), "b": np.array(90_000), "d": np.array(1), "m": np.array([45_000])}
    proto = graph_of([*nodes, node(operator, ["x", "axes"])], numbers)
    started = time.process_time()
    with pytest.raises(FormatError):
        Session(proto).run({"x": np.ones(2, np.float32)})
    assert time.process_time() - started < 2


def test_memory_is_the_callers_choice() -> None:
    proto = graph_of([node("Tile", ["x", "s"])], {"s": np.array([2**23])})
    assert Session(proto).run({"x": np.ones(2, np.float32)})["y"].size == 2**24
    with pytest.raises(FormatError, match="memory=..."):
        Session(proto, memory=2**25).run({"x": np.ones(2, np.float32)})


def test_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnx.formats.onnx import _control

    monkeypatch.setattr(_control, "MOST_ROUNDS", 100)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["v"], ["after"])],
        "body",
        [helper.make_tensor_value_info("k", INT, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", FLOAT, None)],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("after", FLOAT, None)],
    )  # fmt: skip
    proto = graph_of([node("Loop", ["m", "", "x"], body=body)], {"m": np.array(2**62)})
    refused(proto, "rounds")


def test_depth() -> None:
    def nested(depth: int) -> Any:
        output = [helper.make_tensor_value_info(f"o{depth}", FLOAT, None)]
        if depth == 0:
            return helper.make_graph([helper.make_node("Relu", ["x"], ["o0"])], "g", [], output)
        inner = nested(depth - 1)
        return helper.make_graph(
            [helper.make_node("If", ["c"], [f"o{depth}"], then_branch=inner, else_branch=inner)], "g", [], output
        )

    def model(depth: int) -> Any:
        inner = nested(depth)
        return graph_of([node("If", ["c"], then_branch=inner, else_branch=inner)], {"c": np.array(True)})

    assert Session(model(3)).run({"x": np.ones(2, np.float32)})["y"].tolist() == [1, 1]

    def chain(depth: int) -> Any:  # one branch only: 2**depth graphs would be too many to make
        graph = nested(0)
        for k in range(1, depth):
            graph = helper.make_graph(
                [helper.make_node("If", ["c"], [f"o{k}"], then_branch=graph, else_branch=nested(0))],
                "g", [], [helper.make_tensor_value_info(f"o{k}", FLOAT, None)],
            )  # fmt: skip
        return graph_of([node("If", ["c"], then_branch=graph, else_branch=nested(0))], {"c": np.array(True)})

    refused(chain(DEEPEST + 2), "graphs inside each other")


def functions(count: int, calls: int) -> Any:
    """Functions each of which calls the one before several times."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made_of = []
    for k in range(count):
        body = [helper.make_node(f"f{k - 1}" if k else "Relu", ["a"], [f"b{i}"], domain="own" if k else "")
                for i in range(calls)]  # fmt: skip
        made_of.append(helper.make_function("own", f"f{k}", ["a"], [f"b{calls - 1}"], body, opsets))
    proto = graph_of([node(f"f{count - 1}", ["x"], domain="own")], functions=made_of)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return proto


def test_functions() -> None:
    assert Session(functions(3, 2)).run({"x": -np.ones(2, np.float32)})["y"].tolist() == [0, 0]
    refused(functions(12, 10), "grow to more than")
    refused(functions(18, 2), "grow to more than 20,000 nodes")
    own = functions(1, 1)
    own.functions[0].node[0].op_type, own.functions[0].node[0].domain = "f0", "own"
    refused(own, "calls itself")
    twice = functions(1, 1)
    twice.functions.append(twice.functions[0])
    refused(twice, "same name")


def test_hidden_size_bomb() -> None:
    arrays = arrays_for("LSTM", 1, np.float32)
    with pytest.raises(FormatError, match="hidden_size is 1099511627776"):
        Session(one_node("LSTM", {"hidden_size": 2**40}, arrays, True))


def test_wrong_inputs_of_a_run() -> None:
    session = Session(one_node("GRU", {}, arrays_for("GRU", 1, np.float32), True))
    x = np.zeros((5, 4, 3), np.float32)
    for feeds, words, kind in (
        ({}, "'X' is missing", ValueError),
        ({"X": x, "Z": x}, "unknown input.* Z", ValueError),
        ({"X": x.astype(np.float64)}, "must be float32, got float64", TypeError),
        ({"X": x[0]}, "shape", ValueError),
        ({"X": x[..., :2]}, r"'X' must have shape \(batch, any, 3\), got", FormatError),
    ):
        with pytest.raises(kind, match=words):
            session.run(feeds)


def test_a_parsed_model_is_not_changed() -> None:
    proto = functions(2, 2)
    before = proto.SerializeToString()
    Session(proto)
    assert proto.SerializeToString() == before
    assert isinstance(proto, onnx.ModelProto)
