"""A place of its own for each row of the batch, as PyTorch exports it: values, gradients, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import rnnx
from rnnx.formats.onnx import load_model
from rnnx.saving import FormatError
from tests.formats.onnx.notation import feeds, parsed, wanted

X, ANY, LENGTHS = "float[N, 5, 4] x", "float[N, T, 4] x", "int64[N] n"
ONES = "b = Shape <start=0, end=1> (x) o = ConstantOfShape (b) z = NonZero (o) w = Transpose (z) r = Squeeze (w, [1]) "
COUNT = "b = Shape <start=0, end=1> (x) e = Squeeze (b) r = Range ({0}, e, {1}) "
LAST = (
    "s = ReduceSum <keepdims=0> (x, [2]) f = Slice (s, [-1], [-9223372036854775807], [1], [-1]) "
    "a = ArgMax <axis=1, keepdims=0> (f) m = Neg (a) t = Shape <start=1, end=2> (x) u = Squeeze (t) v = Sub (u, {1}) "
    "i = Add (m, v) "
)
BELOW = "k = Mul (r, t) j = Add (i, k) g = Flatten <axis=2> (x) y = Gather <axis=0> (g, j)"
PAIR = "p = Unsqueeze (r, [1]) q = Unsqueeze (i, [1]) j = Concat <axis=1> (p, q) y = GatherND (x, j)"
CASES = {
    "the last of padded reads": (ANY, f"{ONES}{LAST}{BELOW}"),
    "of five": (X, f"{ONES}{LAST}{BELOW}"),
    "in the shape of its places": (
        ANY, f"{ONES}{LAST}" + BELOW.replace("y =", "h =") + " l = Shape (j) d = Concat <axis=0> (l, [4]) "
        "c = Reshape (h, [-1, 4]) y = Reshape (c, d)",
    ),
    "by pairs": (ANY, f"{COUNT}{LAST}{PAIR}"),
    "by the place alone": (
        ANY, f"{LAST} j = Unsqueeze (i, [1]) y = GatherND <batch_dims=1> (x, j)",
    ),
    "the last by lengths": (f"{ANY}, {LENGTHS}", f"{COUNT} i = Sub (n, {{1}}) {PAIR}"),
    "along an axis": (f"{X}, int64[N, 3, 4] n", "y = GatherElements <axis=1> (x, n)"),
    "along the features, turned": (
        f"{X}, int64[N, 2, 5] n", "t = Transpose <perm=[0, 2, 1]> (x) y = GatherElements <axis=1> (t, n)",
    ),
    "a place more than there are": (ANY, "t = Shape <start=1, end=2> (x) u = Squeeze (t) c = ArgMax <axis=1, "
        "keepdims=0> (x) d = Add (c, u) m = Mul (d, u) f = Cast <to=1> (m) y = Tanh (f)"),
}  # fmt: skip


def made(name: str) -> tuple[Any, dict[str, Any]]:
    inputs, nodes = CASES[name]
    proto = parsed(nodes, inputs)
    for one in proto.graph.node:
        if one.op_type == "ConstantOfShape":
            one.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.ones(1, np.int64))))
    given = feeds(proto)
    random = np.random.default_rng(4)
    if "n" in given:
        most = 4 if "features" in name else 5
        given["n"] = random.integers(0, most, given["n"].shape) + (name == "the last by lengths")
    return proto, given


@pytest.mark.parametrize("name", CASES)
def test_a_model_takes_what_the_nodes_take(name: str, tmp_path: Path) -> None:
    proto, given = made(name)
    model = load_model(proto)
    expected = wanted(proto, given)
    arrays = list(given.values()) if len(given) > 1 else given["x"]
    model.save(tmp_path / "m.safetensors")
    for one in (model, rnnx.load_model(tmp_path / "m.safetensors")):
        y = one(arrays)
        assert np.shape(y) == expected.shape
        np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["the last by lengths", "along an axis"])
def test_the_gradient_goes_to_the_places(name: str) -> None:
    proto, given = made(name)
    y, pullback = load_model(proto).vjp(list(given.values()))
    dy = np.random.default_rng(5).normal(size=y.shape).astype("f")
    dx, x = pullback(dy).dx[0], given["x"]
    moved = np.random.default_rng(6).normal(size=x.shape).astype("f")
    change = wanted(proto, {**given, "x": x + moved}) - wanted(proto, given)  # it is linear
    np.testing.assert_allclose(np.vdot(dx, moved), np.vdot(dy, change), rtol=1e-4)


@pytest.mark.parametrize("inputs, nodes, why", [
    (f"{X}, int64[N, 2] n", "y = GatherND (x, n)", "other places than one for each row"),
    (f"{X}, int64[N] n", "g = Flatten <axis=2> (x) y = Gather <axis=0> (g, n)", "places in all rows of the batch"),
    (f"{X}, int64[N, 3, 1] n", "y = GatherElements <axis=1> (x, n)", "from axes of .* by .* places"),
    (f"{X}, int64[N, 5, 4] n", "y = GatherElements <axis=0> (x, n)", "GatherElements node 'y' from axes"),
    (f"{X}, float[N, 5, 4] n", "y = GatherElements <axis=1> (x, n)", "GatherElements node 'y' of float32 by float32"),
    (ANY, f"{COUNT}{LAST} k = Mul (r, {{3}}) j = Add (i, k) g = Flatten <axis=2> (x) y = Gather <axis=0> (g, j)",
     "places in all rows of the batch"),
])  # fmt: skip
def test_other_places_are_refused(inputs: str, nodes: str, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        load_model(parsed(nodes, inputs))
