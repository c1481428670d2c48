"""Pooling with margins, transposed convolutions, more places and empty parts as layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx import layers
from rnnx.formats.onnx import load_model
from rnnx.saving import FormatError
from tests.formats.onnx.notation import feeds, parsed, wanted

LINE, PLANE = "float[N, 3, T] x", "float[N, 3, R, C] x"
CASES: dict[str, tuple[str, str, int]] = {
    "margins": ("y = MaxPool <kernel_shape=[3], strides=[2], pads=[1, 1]> (x)", LINE, 18),
    "margins of planes": ("y = MaxPool <kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]> (x)", PLANE, 18),
    "a part at the end": ("y = MaxPool <kernel_shape=[3], strides=[2], ceil_mode=1> (x)", LINE, 18),
    "parts and margins": (
        "y = MaxPool <kernel_shape=[4, 3], strides=[3, 2], pads=[2, 1, 1, 1], ceil_mode=1> (x)", PLANE, 18,
    ),
    "counted margins": (
        "y = AveragePool <kernel_shape=[3], strides=[2], pads=[1, 1], count_include_pad=1> (x)", LINE, 18,
    ),
    "twice the places": (
        "y = Resize <coordinate_transformation_mode='asymmetric', nearest_mode='floor'> (x, , along)", LINE, 18,
    ),
    "places in planes": ("y = Resize (x, , across)", PLANE, 18),
    "between the places": ("y = Resize <mode='linear'> (x, , across)", PLANE, 18),
    "joined with nothing": (
        "n = Shape (x) rows = Gather <axis=0> (n, [0]) s = Concat <axis=0> (rows, [3], [0]) c = ConstantOfShape (s) "
        "m = Mul (c, {-5.0}) y = Concat <axis=2> (x, m)", LINE, 18,
    ),
}  # fmt: skip


def graph(nodes: str, inputs: str, opset: int = 18, scales: Any = (1, 1, 2, 3)) -> Any:
    """A graph with constants for the scales of its axes, and ones in place of zeros."""
    proto = parsed(nodes, inputs, opset)
    for name, count in (("along", 3), ("across", 4)):
        proto.graph.initializer.append(numpy_helper.from_array(np.array(scales[:count], "f"), name))
    for node in proto.graph.node:
        if node.op_type == "ConstantOfShape":
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.ones(1, "f"))))
    return proto


@pytest.mark.parametrize("name", CASES)
def test_a_graph_is_a_model(name: str, tmp_path: Path) -> None:
    proto = graph(*CASES[name])
    model = load_model(proto)
    for steps in (6, 7):
        shape = (2, 3, steps, steps + 1)[: 4 if CASES[name][1] == PLANE else 3]
        x = np.random.default_rng(steps).normal(size=shape).astype("f") - 5  # margins of zeros would be the highest
        expected = wanted(proto, {"x": x})
        np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(rnnx.load_model(tmp_path / "m.keras")(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "nodes, opset", [("y = Resize <mode='nearest'> (x, across)", 10), ("y = Upsample (x, across)", 9)]
)
def test_more_places_in_old_words(nodes: str, opset: int) -> None:
    x = np.arange(12, dtype="f").reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(load_model(graph(nodes, PLANE, opset))(x), x.repeat(2, 2).repeat(3, 3))


TRANSPOSED: dict[str, tuple[int, dict[str, Any]]] = {
    "plain": (1, {}), "strides": (1, {"strides": [2]}), "beyond the window": (1, {"strides": [5]}),
    "cut": (1, {"strides": [2], "pads": [1, 0]}), "one more": (1, {"strides": [3], "output_padding": [2]}),
    "cut and one more": (2, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "dilated": (2, {"dilations": [2, 1], "strides": [1, 2]}),
}  # fmt: skip


def transposed(name: str, **more: Any) -> tuple[Any, Any]:
    count, options = TRANSPOSED[name]
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 4, *[3] * count)).astype("f")
    bias = random.normal(size=4).astype("f")
    options = {"kernel_shape": [3] * count, **options, **more}
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("ConvTranspose", ["x", "k", "b"], ["c"], **options),
             helper.make_node("Relu", ["c"], ["y"])], "g",
            [helper.make_tensor_value_info("x", 1, ["N", 3, *["T", "U"][:count]])],
            [helper.make_tensor_value_info("y", 1, None)],
            [numpy_helper.from_array(kernel, "k"), numpy_helper.from_array(bias, "b")],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    return proto, random.normal(size=(2, 3, *[5, 6][:count])).astype("f")


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name: str, tmp_path: Path) -> None:
    proto, x = transposed(name)
    model = load_model(proto)
    assert any(isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose)) for layer in model.layers)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "m.onnx")
    np.testing.assert_allclose(rnnx.load_model(tmp_path / "m.onnx")(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("nodes, scales, why", [
    ("y = MaxPool <kernel_shape=[2], strides=[3], ceil_mode=1, pads=[0, 1]> (x)", (), "the padding alone"),
    ("y = MaxPool <kernel_shape=[2], dilations=[2]> (x)", (), "MaxPool node"),
    ("y = AveragePool <kernel_shape=[2], ceil_mode=1> (x)", (), "AveragePool node"),
    ("y = Resize (x, , along)", (1, 1, 1.5), "to None times the places"),
    ("y = Resize (x, , along)", (1, 2, 1), "times the places"),
    ("y = Resize <mode='cubic'> (x, , along)", (1, 1, 2), "of mode cubic"),
    ("y = Resize (x, , along)", (1, 1, 9e7), "repeated more than"),
])  # fmt: skip
def test_what_no_layer_does_is_refused(nodes: str, scales: Any, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        load_model(graph(nodes, LINE, scales=scales))


@pytest.mark.parametrize("more", [{"group": 3}, {"output_shape": [9]}, {"auto_pad": "SAME_UPPER"}, {"pads": [-1, 0]}])
def test_transposed_convolutions_of_other_shapes_are_refused(more: Any) -> None:
    proto, _ = transposed("plain", **more)
    with pytest.raises(FormatError, match="ConvTranspose node"):
        load_model(proto)


def test_the_gradient_passes_by_margins() -> None:
    proto = graph(*CASES["margins"])
    model = load_model(proto)
    x = feeds(proto)["x"]
    y, pullback = model.vjp(x)
    dx = pullback(np.ones_like(y)).dx
    step = 1e-2 * np.random.default_rng(1).normal(size=x.shape).astype("f")
    assert np.isfinite(dx).all()
    np.testing.assert_allclose((model(x + step) - y).sum(), (dx * step).sum(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_a_softmax_behind_a_convolution_is_along_its_own_axis(operator: str, kind: str, axis: int) -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2)).astype("f")
    nodes = [helper.make_node(operator, ["x", "k"], ["c"]), helper.make_node(kind, ["c"], ["y"], axis=axis)]
    ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["N", 3, 6]), ("y", None))]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(kernel, "k")])
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype("f")
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(load_model(proto)(x), expected, rtol=1e-5, atol=1e-6)
