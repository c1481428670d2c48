"""Resize, Upsample, GridSample and QLinearConv: the numbers of ONNX Runtime, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError
from tests.golden import store

CASES = store.load("onnx_images")
COUNTS = {"Resize": 75, "GridSample": 36, "QLinearConv": 16, "Upsample": 3}


def graph_of(operator: str, opset: int, options: dict[str, Any], given: dict[str, Any], names: list[str]) -> Any:
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    node = helper.make_node(operator, names, ["y"], **options)
    graph = helper.make_graph([node], "g", ports, [helper.make_empty_tensor_value_info("y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("name", CASES)
def test_as_onnx_runtime(name: str) -> None:
    case = CASES[name]
    given = {key: array for key, array in case.arrays.items() if key != "y"}
    config = case.config
    proto = graph_of(config["operator"], config["opset"], config["options"], given, config["names"])
    session = Session(proto)
    assert session.evaluated == ()
    y = session.run(given)["y"]
    assert y.shape == case["y"].shape and y.dtype == case["y"].dtype
    if y.dtype.kind == "f":
        np.testing.assert_allclose(y, case["y"], rtol=2e-6, atol=2e-6)
    else:
        np.testing.assert_array_equal(y, case["y"])


def test_there_are_enough_of_them() -> None:
    kinds = [case.config["operator"] for case in CASES.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == COUNTS


@pytest.mark.parametrize("axes", [3, 4])
def test_convolution_over_more_axes(axes: int) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 4, 5, 4, 6, 3)[: axes + 2]).astype("f")
    w, b = random.normal(size=(6, 2, 2, 3, 1, 2)[: axes + 2]).astype("f"), random.normal(size=6).astype("f")
    options = {"group": 2, "strides": [2, 1, 2, 1][:axes], "dilations": [1, 1, 2, 1][:axes],
               "pads": [1, 0, 2, 0, 0, 1, 1, 0][: 2 * axes]}  # fmt: skip
    proto = graph_of("Conv", 17, options, {"x": x}, ["x", "w", "b"])
    proto.graph.initializer.extend([_tensor("w", w), _tensor("b", b)])
    session = Session(proto)
    assert session.evaluated == ()
    if axes == 3:
        (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    else:  # the sum as it is written
        pads = [(0, 0), (0, 0), *zip(options["pads"][:axes], options["pads"][axes:], strict=True)]
        expected = _convolved(np.pad(x, pads), w, options) + b.reshape(-1, *[1] * axes)
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-5, atol=1e-5)


def _tensor(name: str, array: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def _convolved(x: Any, w: Any, options: dict[str, Any]) -> Any:
    axes, inner, each = w.ndim - 2, w.shape[1], len(w) // options["group"]
    steps, wide = options["strides"], options["dilations"]
    places = [(x.shape[2 + k] - (w.shape[2 + k] - 1) * wide[k] - 1) // steps[k] + 1 for k in range(axes)]
    y = np.zeros((len(x), len(w), *places))
    for place in np.ndindex(*places):
        key = tuple(slice(p * s, p * s + (n - 1) * d + 1, d)
                    for p, s, n, d in zip(place, steps, w.shape[2:], wide, strict=True))  # fmt: skip
        for k in range(len(w)):
            group = k // each * inner
            y[(slice(None), k, *place)] = (
                (x[(slice(None), slice(group, group + inner), *key)] * w[k]).reshape(len(x), -1).sum(1)
            )
    return y


IMAGE = np.ones((1, 1, 3, 4), np.float32)


@pytest.mark.parametrize("operator, opset, options, given, why", [
    ("Resize", 18, {"mode": "cubic"}, {"x": IMAGE.astype(np.uint8), "s": [1, 1, 2, 2]}, "of numbers of type uint8"),
    ("Resize", 18, {"mode": "lanczos"}, {"x": IMAGE, "s": [1, 1, 2, 2]}, "mode 'lanczos' is not known"),
    ("Resize", 18, {"antialias": 1}, {"x": IMAGE, "s": [1, 1, 2, 2]}, "mode 'nearest' with antialias is not known"),
    ("Resize", 18, {"coordinate_transformation_mode": "a"}, {"x": IMAGE, "s": [1, 1, 2, 2]}, "mode 'a' is not known"),
    ("Resize", 18, {}, {"x": IMAGE, "s": [1, 2]}, "2 scales for 4 axes"),
    ("Resize", 18, {}, {"x": IMAGE, "s": [1, 1, -2, 2]}, "cannot have the sizes"),
    ("Resize", 18, {}, {"x": IMAGE, "s": []}, "neither scales nor sizes"),
    ("Resize", 18, {"coordinate_transformation_mode": "tf_crop_and_resize"}, {"x": IMAGE, "s": [1, 1, 2, 2]},
     "roi must have 8 numbers"),
    ("GridSample", 20, {"mode": "cubic"}, {"x": IMAGE[None], "g": np.zeros((1, 1, 1, 1, 3))}, "along 3 axes is not"),
    ("GridSample", 20, {}, {"x": IMAGE, "g": np.zeros((2, 1, 1, 2))}, "do not fit"),
    ("GridSample", 20, {"padding_mode": "wrap"}, {"x": IMAGE, "g": np.zeros((1, 1, 1, 2))}, "'wrap' is not known"),
])  # fmt: skip
def test_what_is_not_computed_is_refused(operator: str, opset: int, options: Any, given: Any, why: str) -> None:
    arrays = {name: np.asarray(value, None if name == "x" else np.float32) for name, value in given.items()}
    names = ["x", "", "s"] if operator == "Resize" else ["x", "g"]
    with pytest.raises(FormatError, match=why):
        Session(graph_of(operator, opset, options, arrays, names)).run(arrays)


def test_a_grid_without_numbers_samples_the_padding() -> None:
    """What is no number, or beyond all numbers, lies outside."""
    grid = np.array([np.nan, np.inf, -np.inf, 0], np.float32).reshape(1, 1, 4, 1).repeat(2, 3)
    proto = graph_of("GridSample", 20, {}, {"x": IMAGE, "g": grid}, ["x", "g"])
    np.testing.assert_array_equal(Session(proto).run({"x": IMAGE, "g": grid})["y"].ravel(), [0, 0, 0, 1])
