"""Convolution over two axes in a session, and what it says that it takes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {}, "padded": {"pads": [1, 0, 2, 1]}, "strides": {"strides": [2, 3], "pads": [1, 1, 1, 1]},
    "dilated": {"dilations": [2, 1], "pads": [2, 1, 2, 1]}, "groups": {"group": 2}, "depthwise": {"group": 4},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 1]}, "same lower": {"auto_pad": "SAME_LOWER"},
    "valid": {"auto_pad": "VALID", "strides": [1, 2]}, "one by one": {"kernel": (1, 1)},
    "one by one, strides": {"kernel": (1, 1), "strides": [2, 2]}, "all rows": {"kernel": (9, 3)},
}  # fmt: skip


def convolution(options: dict[str, Any], *, bias: bool = True, filters: int = 8, channels: int = 4) -> Any:
    random, kernel = np.random.default_rng(0), options.get("kernel", (3, 2))
    more = {key: value for key, value in options.items() if key != "kernel"}
    w = random.normal(size=(filters, channels // more.get("group", 1), *kernel)).astype("f")
    arrays = {"w": w, **({"b": random.normal(size=filters).astype("f")} if bias else {})}
    shape = [None, channels, None, None]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", *arrays], ["y"], **more)], "g",
        [helper.make_tensor_value_info("x", 1, shape)], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_as_the_package_onnx(name: str, bias: bool) -> None:
    proto = convolution(OPTIONS[name], bias=bias)
    session = Session(proto)
    assert session.evaluated == ()
    for shape in ((1, 4, 9, 7), (3, 4, 9, 8)):
        x = np.random.default_rng(1).normal(size=shape).astype("f")
        (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
        np.testing.assert_allclose(session.run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-5)


def test_a_window_as_high_as_the_image_takes_little() -> None:
    """As networks of spectra have it: there is one row of windows, not as many as the image has rows."""
    proto = convolution({"kernel": (96, 3), "pads": [0, 1, 0, 1]}, filters=50, channels=20)
    x = np.random.default_rng(0).normal(size=(1, 20, 96, 500)).astype("f")
    assert Session(proto).run({"x": x})["y"].shape == (1, 50, 1, 500)


@pytest.mark.parametrize("name", ["plain", "padded", "strides", "depthwise", "one by one"])
def test_it_takes_no_more_than_it_says(name: str) -> None:
    session = Session(convolution(OPTIONS[name]))
    (step,) = session._program.steps  # type: ignore[union-attr]
    x = np.zeros((4, 4, 60, 70), "f")
    arguments = [x, *(session._program.start[k] for k in step.inputs[1:])]  # type: ignore[union-attr]
    assert step.guard is not None
    size, _ = step.guard(*arguments)
    tracemalloc.start()
    step.function(*arguments)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= size + 4096 < 8 * peak


def test_what_does_not_fit() -> None:
    session = Session(convolution({}))
    with pytest.raises(FormatError, match="smaller than the window"):
        session.run({"x": np.zeros((1, 4, 2, 7), "f")})
    with pytest.raises(ValueError, match="must have the shape"):
        session.run({"x": np.zeros((1, 3, 9, 7), "f")})


POOLS: dict[str, dict[str, Any]] = {
    "plain": {}, "strides": {"strides": [2, 2]}, "padded": {"pads": [1, 0, 1, 1], "strides": [2, 1]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "same lower": {"auto_pad": "SAME_LOWER"},
    "dilated": {"dilations": [2, 1]}, "ceiling": {"ceil_mode": 1, "strides": [2, 3]},
}  # fmt: skip


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("name", POOLS)
def test_pools_as_the_package_onnx(name: str, operator: str) -> None:
    options = {"kernel_shape": [3, 2], **POOLS[name]}
    for more in [{}, {"count_include_pad": 1}] if operator == "AveragePool" else [{}]:
        graph = helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"], **options, **more)], "g",
            [helper.make_tensor_value_info("x", 1, [None, 3, None, None])],
            [helper.make_tensor_value_info("y", 1, None)],
        )  # fmt: skip
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
        session = Session(proto)
        assert session.evaluated == ()
        for shape in ((2, 3, 9, 7), (1, 3, 8, 10)):
            x = np.random.default_rng(1).normal(size=shape).astype("f") - 5
            (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
            np.testing.assert_allclose(session.run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("x", [
    np.linspace(-3, 2, 77), np.linspace(1, 2, 5), -np.linspace(1, 2, 5), np.zeros(4), np.array([[0.5, 1.5, 2.5, 255]]),
])  # fmt: skip
def test_bytes_with_a_scale(x: Any) -> None:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, None)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in (("y", 2), ("scale", 1), ("zero", 2))],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session, given = Session(proto), {"x": x.astype("f")}
    assert session.evaluated == ()
    for found, wanted in zip(session.run(given).values(), ReferenceEvaluator(proto).run(None, given), strict=True):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("terms", [5, 300, 1000])
@pytest.mark.parametrize("constant", [True, False])
def test_products_of_bytes(constant: bool, terms: int) -> None:
    """Exact, also where float32 would round."""
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (2, 3, terms)).astype("u1")
    b = random.integers(-128, 128, (terms, 4)).astype("i1")
    b[:, 0], a[0, 0] = -128, 255
    zeros = {"of_a": np.array(7, "u1"), "of_b": np.array([1, -3, 0, 127], "i1")}
    arrays = {**({"b": b} if constant else {}), **zeros}
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b", "of_a", "of_b"], ["y"])], "g",
        [helper.make_tensor_value_info("a", 2, None)] + [helper.make_tensor_value_info("b", 3, None)] * (not constant),
        [helper.make_tensor_value_info("y", 6, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = Session(proto)
    assert session.evaluated == ()
    y = session.run({"a": a} if constant else {"a": a, "b": b})["y"]
    wanted = (a.astype(np.int64) - 7) @ (b.astype(np.int64) - zeros["of_b"].astype(np.int64))
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("kernel", [(3,), (3, 2)])
def test_convolutions_of_bytes(kernel: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (2, 3, *([9, 8][: len(kernel)]))).astype("u1")
    w = random.integers(0, 256, (4, 3, *kernel)).astype("u1")
    arrays = {"w": w, "of_x": np.array(9, "u1"), "of_w": np.array(3, "u1")}
    graph = helper.make_graph(
        [helper.make_node("ConvInteger", ["x", *arrays], ["y"], pads=[1] * (2 * len(kernel)))], "g",
        [helper.make_tensor_value_info("x", 2, None)], [helper.make_tensor_value_info("y", 6, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = Session(proto)
    assert session.evaluated == ()
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_array_equal(session.run({"x": x})["y"], wanted)
