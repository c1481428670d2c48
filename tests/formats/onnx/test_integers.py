"""Products and rounding in bytes: exact integers, and the very bytes of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

RNG = np.random.default_rng(7)
KINDS = {"u1": 2, "i1": 3, "f4": 1, "i4": 6, "u2": 4}


def model(
    operator: str,
    names: list[str],
    constants: dict[str, Any],
    kinds: dict[str, str],
    opset: int = 17,
    **attributes: Any,
) -> Any:
    """One node; ``kinds`` are the types of its inputs that are none of the constants, and of its output ``y``."""
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)], "g",
        [helper.make_tensor_value_info(name, KINDS[kinds[name]], None) for name in names if name not in constants],
        [helper.make_tensor_value_info("y", KINDS[kinds["y"]], None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def some_bytes(kind: str, *shape: int) -> Any:
    return RNG.integers(0, 256, shape).astype("u1").view(kind)


def exact(a: Any, of_a: Any, b: Any, of_b: Any) -> Any:
    return (a.astype(np.int64) - np.asarray(of_a, np.int64)) @ (b.astype(np.int64) - np.asarray(of_b, np.int64))


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize(("of_left", "of_right"), [("u1", "i1"), ("u1", "u1"), ("i1", "i1"), ("i1", "u1")])
def test_products_with_constant_weights(of_left: str, of_right: str, by_column: bool) -> None:
    for terms in (3, 512, 700):
        a, b = some_bytes(of_left, 2, 3, terms), some_bytes(of_right, terms, 19)
        zeros = {"of_a": some_bytes(of_left, *()), "of_b": some_bytes(of_right, *((19,) if by_column else ()))}
        kinds = {"a": of_left, "y": "i4"}
        session = Session(model("MatMulInteger", ["a", "b", "of_a", "of_b"], {"b": b, **zeros}, kinds))
        y = session.run({"a": a})["y"]
        assert session.evaluated == () and y.dtype == np.int32
        np.testing.assert_array_equal(y, exact(a, zeros["of_a"], b, zeros["of_b"]))
        vector = Session(model("MatMulInteger", ["a", "b"], {"b": b}, kinds)).run({"a": a[0, 0]})["y"]
        np.testing.assert_array_equal(vector, exact(a[0, 0], 0, b, 0))


def test_a_zero_point_for_each_row() -> None:
    a, b = some_bytes("u1", 2, 3, 9), some_bytes("i1", 9, 5)
    kinds = {"a": "u1", "y": "i4"}
    for of_a in (some_bytes("u1", 3), some_bytes("u1", 2, 3, 1)):
        session = Session(model("MatMulInteger", ["a", "b", "of_a"], {"b": b, "of_a": of_a}, kinds))
        column = of_a.reshape(-1, 1) if of_a.ndim == 1 else of_a
        np.testing.assert_array_equal(session.run({"a": a})["y"], exact(a, column, b, 0))


def test_what_does_not_fit_is_refused_with_numbers() -> None:
    b = some_bytes("i1", 9, 5)
    session = Session(model("MatMulInteger", ["a", "b", "of_a"], {"b": b}, {"a": "u1", "of_a": "u1", "y": "i4"}))
    with pytest.raises(FormatError, match=r"A of shape \(2, 8\) does not fit B of \(9, 5\)"):
        session.run({"a": some_bytes("u1", 2, 8), "of_a": np.array(1, "u1")})
    with pytest.raises(FormatError):
        session.run({"a": some_bytes("u1", 2, 9), "of_a": some_bytes("u1", 4)})


def test_bytes_of_onnx_runtime() -> None:
    """Computed by version 1.32.0."""
    constants = {
        "sa": np.float32(0.02), "za": np.uint8(117),
        "b": np.array([[33, -55, 122, -115], [-57, -30, 18, -24], [-95, -117, -128, -116]], "i1"),
        "sb": np.array([0.01, 0.02, 0.005, 0.03], "f4"), "zb": np.array([3, -8, 0, 11], "i1"),
        "sy": np.float32(1.25), "zy": np.uint8(101),
    }  # fmt: skip
    names = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    session = Session(model("QLinearMatMul", names, constants, {"a": "u1", "y": "u1"}))
    y = session.run({"a": np.array([[171, 206, 5], [206, 120, 131]], "u1")})["y"]
    assert session.evaluated == () and y.dtype == np.uint8
    np.testing.assert_array_equal(y, [[102, 103, 103, 103], [101, 99, 102, 95]])

    constants = {"s": np.array([0.5, 0.1], "f4"), "z": np.array([-7, 5], "i1")}
    session = Session(model("QuantizeLinear", ["x", "s", "z"], constants, {"x": "f4", "y": "i1"}, axis=0))
    x = np.array([[-3.1, 0.25, 0.75, 1.25, 100], [np.inf, -np.inf, -0.25, 2.49, 0]], "f4")
    y = session.run({"x": x})["y"]
    assert session.evaluated == () and y.dtype == np.int8
    np.testing.assert_array_equal(y, [[-13, -7, -5, -5, 127], [127, -128, 3, 30, 5]])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_products_that_become_bytes_again(kind: str, constant: bool) -> None:
    a, b = some_bytes(kind, 4, 2, 33), some_bytes("i1", 33, 6)
    scales = {"sa": np.float32(0.03), "sb": RNG.random(6).astype("f4") / 40, "sy": np.float32(0.7)}
    zeros = {"za": some_bytes(kind), "zb": some_bytes("i1", 6), "zy": some_bytes(kind)}
    names = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    given, constants = ({}, {"b": b}) if constant else ({"b": b}, {})
    proto = model("QLinearMatMul", names, {**scales, **zeros, **constants}, {"a": kind, "b": "i1", "y": kind})
    session = Session(proto)
    y = session.run({"a": a, **given})["y"]
    assert session.evaluated == ()
    sums = exact(a, zeros["za"], b, zeros["zb"]).astype("f4") * (scales["sa"] * scales["sb"] / scales["sy"])
    bounds = np.iinfo(kind)
    np.testing.assert_array_equal(y, np.clip(np.rint(sums) + int(zeros["zy"]), bounds.min, bounds.max))
    scales["sa"] = RNG.random(2).astype("f4") / 40  # one for each row, which ONNX Runtime does not have
    proto = model("QLinearMatMul", names, {**scales, **zeros, **constants}, {"a": kind, "b": "i1", "y": kind})
    sums = exact(a, zeros["za"], b, zeros["zb"]).astype("f4") * (scales["sa"][:, None] * scales["sb"] / scales["sy"])
    wanted = np.clip(np.rint(sums) + int(zeros["zy"]), bounds.min, bounds.max)
    np.testing.assert_array_equal(Session(proto).run({"a": a, **given})["y"], wanted)


@pytest.mark.parametrize(("rows", "terms", "columns"), [(0, 3, 2), (2, 3, 0), (2, 0, 3)])
def test_products_without_elements(rows: int, terms: int, columns: int) -> None:
    a, b = some_bytes("u1", rows, terms), some_bytes("i1", terms, columns)
    session = Session(model("MatMulInteger", ["a", "b"], {"b": b}, {"a": "u1", "y": "i4"}))
    np.testing.assert_array_equal(session.run({"a": a})["y"], exact(a, 0, b, 0))
    numbers = {"sa": np.float32(1), "za": np.uint8(0), "sb": np.float32(1), "zb": np.int8(0), "sy": np.float32(1)}
    names = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    session = Session(model("QLinearMatMul", names, {**numbers, "b": b, "zy": np.uint8(9)}, {"a": "u1", "y": "u1"}))
    y = session.run({"a": a})["y"]
    assert y.shape == (rows, columns) and (y == 9).all() and y.dtype == np.uint8


@pytest.mark.parametrize(("name", "shape"), [("sa", (1000, 1, 1, 1)), ("sa", (1, 6)), ("sb", (7,))])
def test_scales_make_no_result_larger(name: str, shape: tuple[int, ...]) -> None:
    scales = {"sa": np.float32(0.03), "sb": np.float32(0.02), "sy": np.float32(0.7), name: np.ones(shape, "f4")}
    constants = {**scales, "za": np.uint8(3), "zb": np.int8(0), "zy": np.uint8(3), "b": some_bytes("i1", 33, 6)}
    names = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    session = Session(model("QLinearMatMul", names, constants, {"a": "u1", "y": "u1"}))
    with pytest.raises(FormatError, match=f"{name[1]}_scale must have one number, or one for each"):
        session.run({"a": some_bytes("u1", 4, 2, 33)})


@pytest.mark.parametrize(("kind", "axis"), [("u1", 1), ("i1", -1), ("u2", 0), ("u1", None)])
def test_numbers_become_bytes(kind: str, axis: int | None) -> None:
    x = RNG.normal(size=(3, 4, 5), scale=20).astype("f4")
    shape = () if axis is None else (x.shape[axis],)
    constants = {"s": RNG.random(shape).astype("f4") + 0.1, "z": RNG.integers(0, 128, shape).astype(kind)}
    attributes = {} if axis is None else {"axis": axis}
    proto = model("QuantizeLinear", ["x", "s", "z"], constants, {"x": "f4", "y": kind}, opset=21, **attributes)
    session = Session(proto)
    y = session.run({"x": x})["y"]
    assert session.evaluated == () and y.dtype == np.dtype(kind)
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_array_equal(y, wanted)


def test_what_is_not_constant_is_left_to_the_evaluator() -> None:
    x, s = RNG.normal(size=(3, 4)).astype("f4"), np.float32(0.1)
    session = Session(model("QuantizeLinear", ["x", "s"], {}, {"x": "f4", "s": "f4", "y": "u1"}))
    assert session.evaluated == ("QuantizeLinear",)
    np.testing.assert_array_equal(session.run({"x": x, "s": s})["y"], np.clip(np.rint(x / s), 0, 255))
