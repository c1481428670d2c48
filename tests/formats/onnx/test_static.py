"""Operators of ONNX Runtime's static quantization; the wanted bytes were computed by its version 1.32.0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402

A = np.array([[0, 3, 200], [255, 90, 17]], "u1")
B = np.array([[12, 250, 77]], "u1")
NAMES = ["a", "sa", "za", "b", "sb", "zb", "sc", "zc"]
SCALES: dict[str, Any] = {
    "sa": np.float32(0.02), "za": np.uint8(90), "sb": np.float32(0.013), "zb": np.uint8(200), "sc": np.float32(0.03),
    "zc": np.uint8(31),
}  # fmt: skip
WEIGHTS: dict[str, Any] = {
    "sa": np.float32(0.02), "za": np.uint8(90), "w": np.array([[33, -57, -95], [-55, -30, -117]], "i1"),
    "sw": np.array([0.01, 0.03], "f4"), "zw": np.zeros(2, "i1"), "c": np.array([100, -2000], "i4"),
}  # fmt: skip


def session_of(
    operator: str, names: list[str], constants: dict[str, Any], of_bytes: int = 2, result: int = 0, **attributes: Any
) -> Any:
    """One node; ``of_bytes`` is the type of a, b and, unless it has its own, of the result."""
    kinds = {"a": of_bytes, "b": of_bytes, "za": of_bytes, "sa": 1, "w": 3}
    given = [name for name in names if name and name not in constants]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain="com.microsoft", **attributes)], "g",
        [helper.make_tensor_value_info(name, kinds[name], None) for name in given],
        [helper.make_tensor_value_info("y", result or of_bytes, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items() if name in names],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return Session(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def test_sums_products_and_sigmoids() -> None:
    y = session_of("QLinearAdd", NAMES, SCALES).run({"a": A, "b": B})["y"]
    assert y.dtype == np.uint8
    np.testing.assert_array_equal(y, [[0, 0, 51], [60, 53, 0]])
    y = session_of("QLinearMul", NAMES, {**SCALES, "sc": np.float32(0.004)}).run({"a": A, "b": B})["y"]
    np.testing.assert_array_equal(y, [[255, 0, 0], [0, 31, 255]])
    constants = {"sa": np.float32(0.05), "za": np.uint8(90), "sc": np.float32(1 / 256)}
    y = session_of("QLinearSigmoid", ["a", "sa", "za", "sc"], constants).run({"a": A})["y"]
    np.testing.assert_array_equal(y, [[3, 3, 255], [255, 128, 6]])


def test_a_product_halfway_between_two_bytes() -> None:
    """It is rounded to even with the zero point in it, as in ONNX Runtime: 1.5, 2.5, 3.5 and 4.5 here."""
    scales = {"sa": np.float32(0.5), "sb": np.float32(1), "sc": np.float32(1)}
    zeros = {"za": np.uint8(0), "zb": np.uint8(0), "zc": np.uint8(1)}
    a, b = np.array([[1, 3, 5, 7]], "u1"), np.ones((1, 4), "u1")
    y = session_of("QLinearMul", NAMES, {**scales, **zeros}).run({"a": a, "b": b})["y"]
    np.testing.assert_array_equal(y, [[2, 2, 4, 4]])


@pytest.mark.parametrize("constant", [True, False])
def test_a_product_with_bias(constant: bool) -> None:
    names = ["a", "sa", "za", "w", "sw", "zw", "c"]
    free = () if constant else ("sa", "za", "w")
    fixed = {name: array for name, array in WEIGHTS.items() if name not in free}
    given = {"a": A, **{name: np.asarray(WEIGHTS[name]) for name in free}}
    y = session_of("QGemm", names, fixed, result=1, transB=1).run(given)["y"]
    assert y.dtype == np.float32
    wanted = np.array([[-1.6721999645233154, -4.38599967956543], [2.496000051498413, -1.5203999280929565]], "f4")
    np.testing.assert_array_equal(y, wanted)
    fixed = {**fixed, "sy": np.float32(1.5), "zy": np.uint8(120)}
    y = session_of("QGemm", [*names, "sy", "zy"], fixed, transB=1, alpha=0.5).run(given)["y"]
    np.testing.assert_array_equal(y, [[119, 119], [121, 119]])


def test_bytes_with_a_sign() -> None:
    """The same numbers 128 lower, with zero points that are, too."""
    shifted = {name: np.int8(int(array) - 128) if name[0] == "z" else array for name, array in SCALES.items()}
    for operator in ("QLinearAdd", "QLinearMul"):
        y = session_of(operator, NAMES, SCALES).run({"a": A, "b": B})["y"]
        session = session_of(operator, NAMES, shifted, of_bytes=3)
        low = session.run({name: (array.astype(int) - 128).astype("i1") for name, array in (("a", A), ("b", B))})["y"]
        assert low.dtype == np.int8
        np.testing.assert_array_equal(low.astype(int) + 128, y)


def test_what_would_take_too_much_is_refused_before_it_runs() -> None:
    row, column = np.ones((1, 2**17), "u1"), np.ones((2**17, 1), "u1")
    with pytest.raises(FormatError, match="bytes|work"):
        session_of("QLinearAdd", NAMES, SCALES).run({"a": row, "b": column})
    weights = {**WEIGHTS, "w": np.ones((1, 2**17), "i1"), "sw": np.float32(1), "zw": np.int8(0)}
    with pytest.raises(FormatError, match="bytes|work"):
        session_of("QGemm", ["a", "sa", "za", "w", "sw", "zw"], weights, result=1).run({"a": column})
    with pytest.raises(FormatError, match="b_scale one or 2, got 1 and 3"):
        three = {**WEIGHTS, "sw": np.ones(3, "f4")}
        session_of("QGemm", ["a", "sa", "za", "w", "sw", "zw"], three, result=1, transB=1).run({"a": A})


@pytest.mark.parametrize("name", ["sa", "zb"])
def test_scales_and_zero_points_are_single_numbers(name: str) -> None:
    constants = {**SCALES, name: np.array([SCALES[name], SCALES[name]])}
    with pytest.raises(FormatError, match=r"must be one number of type (float32|uint8), got .* of shape \(2,\)"):
        session_of("QLinearAdd", NAMES, constants).run({"a": A, "b": B})
