"""Nodes between layers as operations of a model: what they compute by ONNX' own reference, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx.formats.onnx import Session, load_model
from rnnx.saving import FormatError
from tests.formats.onnx.notation import feeds, parsed, wanted

X, H = "float[N, 5, 4] x", "float[N, 5, 4] h"
ANY = "float[N, T, 4] x"  # of any number of steps


CASES: dict[str, tuple[str, str]] = {
    "power": (f"{X}, {H}", "a = Abs (x) b = Sigmoid (h) y = Pow (a, b)"),
    "largest": (f"{X}, {H}", "y = Max (x, h)"),
    "smallest": (f"{X}, {H}", "y = Min (x, h)"),
    "difference": (f"{X}, {H}", "y = Sub (x, h)"),
    "quotient": (f"{X}, {H}", "a = Exp (h) y = Div (x, a)"),
    "logic": (
        f"{X}, {H}",
        "a = Greater (x, h) z = Sub (h, h) b = LessOrEqual (x, z) c = Xor (a, b) d = Or (a, b) e = And (c, d) "
        "y = Where (e, x, h)",
    ),
    "wide beside narrow": (f"{X}, float[N, 1, 4] h", "y = Add (x, h)"),
    "backwards along the features": (X, "y = Slice (x, [-1], [-9223372036854775807], [2], [-1])"),
    "from the very first": (X, "y = Slice (x, [-9223372036854775807], [3], [1])"),
    "all of an axis of size 1": (X, "b = Unsqueeze (x, [1]) y = Slice (b, [0], [1], [1])"),
    "two at a time": (ANY, "y = Slice (x, [1], [9223372036854775807], [1], [2])"),
    "to the size itself": (ANY, "n = Shape <start=1, end=2> (x) y = Slice (x, [2], n, [1])"),
    "a few places": (X, "y = Gather <axis=1> (x, [3, 0, 3, -1])"),
    "a place of the features": (X, "y = Gather <axis=2> (x, {-2})"),
    "a place of an axis of size 1": (X, "b = Unsqueeze (x, [1]) y = Gather <axis=1> (b, {0})"),
    "uneven parts": (X, "a, b = Split <axis=2> (x, [1, 3]) c = Tanh (b) y = Mul (a, c)"),
    "parts of steps": (X, "a, b, c = Split <axis=-2> (x, [2, 1, 2]) d = Mul (a, c) y = Add (d, b)"),
    "one part": (X, "a = Split <axis=2> (x, [4]) y = Tanh (a)"),
    "equal parts": (X, "a, b = Split <axis=2, num_outputs=2> (x) y = Sub (a, b)"),
    "padding": (X, "y = Pad (x, [0, 1, 0, 0, 2, 3], {0.5})"),
    "padding of one axis": (X, "y = Pad (x, [1, 2], {0.0}, [1])"),
    "padding by its mirror": (ANY, "y = Pad <mode='reflect'> (x, [0, 2, 0, 0, 1, 0])"),
    "padding by its edge": (X, "y = Pad <mode='edge'> (x, [0, 0, 2, 0, 0, 1])"),
    "length of vectors": (X, "y = ReduceL2 <keepdims=0> (x, [2])"),
    "sum over two axes": (X, "y = ReduceSum <keepdims=1> (x, [1, -1])"),
    "sum over no axis": (X, "y = ReduceSum <noop_with_empty_axes=1> (x)"),
    "largest of an axis of size 1": (X, "b = Unsqueeze (x, [1]) y = ReduceMax <keepdims=0> (b, [1])"),
    "largest of an axis of size 1, kept": (X, "b = Unsqueeze (x, [1]) y = ReduceMax <keepdims=1> (b, [1])"),
    "length along an axis of size 1": (X, "b = Unsqueeze (x, [1]) y = ReduceL2 <keepdims=0> (b, [1])"),
    "length along an axis that is left of another": (X, "b = ReduceSum (x, [2]) y = ReduceL2 <keepdims=1> (b, [2])"),
    "softmax over steps": (ANY, "y = Softmax <axis=1> (x)"),
    "log softmax over steps": (X, "y = LogSoftmax <axis=-2> (x)"),
    "product of two values": (f"{X}, float[N, 4, 3] h", "y = MatMul (x, h)"),
    "product of stacks": ("float[N, 2, 5, 4] x, float[N, 2, 4, 3] h", "y = MatMul (x, h)"),
    "steps and features as one": (
        X,
        "n = Shape <start=1> (x) p = ReduceProd <keepdims=1> (n) t = Concat <axis=0> ([-1], p) y = Reshape (x, t)",
    ),
    "cut features": (X, "r = Reshape (x, [0, 0, 2, 2]) y = Transpose <perm=[0, 3, 1, 2]> (r)"),
    "numbers from one axis to another": (X, "y = Reshape (x, [0, 4, 5])"),
    "zeros turned": (
        X,
        "n = Shape <start=0, end=1> (x) t = Concat <axis=0> (n, [4, 5]) z = ConstantOfShape (t) "
        "r = Transpose <perm=[0, 2, 1]> (z) y = Concat <axis=2> (x, r)",
    ),
    "zeros in another shape": (
        X,
        "n = Shape <start=0, end=1> (x) t = Concat <axis=0> (n, [20]) z = ConstantOfShape (t) "
        "s = Concat <axis=0> (n, [5, 4]) r = Reshape (z, s) y = Concat <axis=2> (x, r)",
    ),
    "a place of zeros": (
        X,
        "n = Shape <start=0, end=1> (x) t = Concat <axis=0> (n, [2, 5, 4]) z = ConstantOfShape (t) "
        "r = Gather <axis=1> (z, {1}) y = Concat <axis=2> (x, r)",
    ),
    "the shape of zeros": (
        X,
        "n = Shape <start=0, end=1> (x) t = Concat <axis=0> (n, [5, 2]) z = ConstantOfShape (t) s = Shape (z) "
        "w = ConstantOfShape (s) y = Concat <axis=2> (x, w)",
    ),
    "a part of zeros": (
        X,
        "n = Shape <start=0, end=1> (x) t = Concat <axis=0> (n, [9, 4]) z = ConstantOfShape (t) "
        "r = Slice (z, [1], [6], [1]) y = Concat <axis=2> (x, r)",
    ),
    "zeros side by side": (
        X,
        "n = Shape <start=0, end=1> (x) t = Concat <axis=0> (n, [5, 1]) z = ConstantOfShape (t) "
        "w = Concat <axis=2> (z, z, z) y = Concat <axis=2> (x, w)",
    ),
    "sizes squeezed, cut and divided": (
        X,
        "n = Shape (x) b = Slice (n, [0], [1]) c = Squeeze (b) e = Unsqueeze (c, [0]) f = Mul (e, [6]) "
        "g = Div (f, [2]) o = Div (g, e) t = Concat <axis=0> (e, [5], o) z = ConstantOfShape (t) "
        "y = Concat <axis=2> (x, z)",
    ),
    "one value joined": (X, "a = Concat <axis=1> (x) y = Tanh (a)"),
    "repeated": (X, "b = Unsqueeze (x, [2]) y = Tile (b, [1, 1, 3, 1])"),
    "as wide as another": (f"{X}, float[N, 1, 4] h", "s = Shape (x) w = Expand (h, s) y = Mul (x, w)"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_computes_what_the_nodes_say(name: str) -> None:
    inputs, nodes = CASES[name]
    proto = parsed(nodes, inputs)
    model = load_model(proto)
    for rows in (3, 1):
        given = feeds(proto, rows)
        expected = wanted(proto, given)
        (found,) = Session(proto).run(given).values()
        own = model(list(given.values()) if len(given) > 1 else given["x"])
        for y in (found, own):
            assert np.shape(y) == expected.shape
            np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)


REFUSED: dict[str, tuple[str, str, str]] = {
    "a power of nothing": (X, "y = Pow (x)", "Pow node 'y' of 1 values"),
    "places that are computed": (
        X,
        "m = ReduceSum <keepdims=0, noop_with_empty_axes=0> (x) c = Cast <to=7> (m) r = Reshape (c, [1]) "
        "y = Slice (x, [0], r, [1])",
        "is not a constant",
    ),
    "a part of a shape by computed places": (
        X,
        "n = Shape (x) e = Slice (n, [0], [1]) p = Slice (n, [0], e) y = Cast <to=1> (p)",
        "of a shape by places that are not constant",
    ),
    "an end that is another size": (
        "float[N, T, 4] x",
        "n = Shape <start=0, end=1> (x) y = Slice (x, [0], n, [1])",
        "by places that are not constant",
    ),
    "places that are not there": (X, "y = Gather <axis=1> (x, [5])", "takes places that are not there"),
    "a table of places": (X, "q = Reshape ([1, 2], [1, 2]) y = Gather <axis=1> (x, q)", "not constant|of shape"),
    "one place several times": (
        X,
        "b = Unsqueeze (x, [1]) y = Gather <axis=1> (b, [0, 0])",
        "takes one place several times",
    ),
    "an empty part": (X, "y = Slice (x, [2], [2], [2])", "takes nothing"),
    "an empty part of an axis of size 1": (
        X,
        "b = Unsqueeze (x, [1]) y = Slice (b, [1], [1], [1])",
        "takes nothing of an axis of size 1",
    ),
    "parts of any number of steps": (
        ANY,
        "a, b = Split <axis=1, num_outputs=2> (x) y = Add (a, b)",
        "cuts an axis of any size",
    ),
    "parts of the batch": (X, "y = Gather <axis=0> (x, {0})", "is along the batch"),
    "a sum of all": (X, "y = ReduceSum (x)", "is along the batch"),
    "the last of equal ones": (
        X,
        "a = ArgMax <axis=1, select_last_index=1> (x) y = Cast <to=1> (a)",
        "takes the last of equal ones",
    ),
    "the largest along an axis of size 1": (
        X,
        "b = Unsqueeze (x, [1]) a = ArgMax <axis=1> (b) y = Cast <to=1> (a)",
        "is along an axis of size 1",
    ),
    "softmax along an axis of size 1": (
        X,
        "b = Unsqueeze (x, [1]) y = Softmax <axis=1> (b)",
        "is along an axis that no layer has",
    ),
    "softmax along an axis of size 1 behind the batch": (
        "float[N, 4] x",
        "b = ReduceMax (x, [1]) y = Softmax <axis=-1> (b)",
        "is along an axis that no layer has",
    ),
    "log softmax along an axis of size 1 behind the batch": (
        "float[N, 4] x",
        "b = ReduceMax (x, [1]) y = LogSoftmax <axis=1> (b)",
        "is along an axis that no layer has",
    ),
    "padding that wraps": (X, "y = Pad <mode='wrap'> (x, [0, 1, 0, 0, 1, 0])", "Pad node 'y' with"),
    "padding that cuts": (X, "y = Pad (x, [0, -1, 0, 0, 0, 0])", "with pads"),
    "padding of an axis of size 1": (
        X,
        "b = Unsqueeze (x, [1]) y = Pad (b, [0, 1, 0, 0, 0, 0, 0, 0])",
        "of an axis of size 1",
    ),
    "the batch in the features": (X, "y = Reshape (x, [5, -1, 4])", "does not keep the batch apart"),
    "no sizes": (X, "y = Reshape (x, [0, -1, -1])", "negative"),
    "a shape that is turned": (X, "n = Shape (x) r = Transpose (n) y = Cast <to=1> (r)", "of a shape"),
    "a wide axis dropped": (X, "y = Squeeze (x, [1])", "drops an axis that is not of size 1"),
    "as often as is computed": (
        X,
        "m = ReduceSum <keepdims=0> (x) c = Cast <to=7> (m) r = Expand (c, [3]) y = Tile (x, r)",
        "not known|not made",
    ),
    "sizes that are not known": (
        ANY,
        "n = Shape <start=1, end=2> (x) b = Shape <start=0, end=1> (x) s = Add (n, b) y = Cast <to=1> (s)",
        "of sizes that are not known",
    ),
    "sizes without a quotient": (
        ANY,
        "n = Shape <start=1, end=2> (x) b = Shape <start=0, end=1> (x) s = Div (n, b) y = Cast <to=1> (s)",
        "of sizes that are not known",
    ),
    "sizes and other values": (
        X,
        "n = Shape (x) m = ReduceSum <keepdims=0> (x) c = Cast <to=7> (m) s = Mul (n, c) y = Cast <to=1> (s)",
        "of sizes and other values",
    ),
    "sizes that do not fit": (X, "n = Shape (x) s = Add (n, [1, 2]) y = Cast <to=1> (s)", "of 3 and 2 sizes"),
    "vectors": (
        "float[N, 4] x, float[N, 4] h",
        "b = Gather <axis=1> (x, {0}) c = Gather <axis=1> (h, {0}) y = MatMul (b, c)",
        "of vectors",
    ),
    "whole numbers joined": (
        "int64[N, 5] x, int64[N, 5] h",
        "a = Concat <axis=1> (x, h) y = Cast <to=1> (a)",
        "of numbers of type int64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_does_is_named(name: str) -> None:
    inputs, nodes, words = REFUSED[name]
    with pytest.raises(FormatError, match=f"not a graph of layers.*({words})"):
        load_model(parsed(nodes, inputs))
