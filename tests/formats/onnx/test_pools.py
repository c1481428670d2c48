"""Pools over any number of axes, LRN and ConvTranspose, window by window, and values of ONNX Runtime 1.32.

ONNX' own reference is no judge here: it goes wrong for maxima over three axes, parts at the end and groups.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError
from tests.formats.onnx.notation import parsed

SIX = np.array([3, 1, 4, 1, 5, 9], np.float32).reshape(1, 1, 6)


@pytest.mark.parametrize(
    ("operator", "attributes", "wanted"),
    [
        ("MaxPool", "kernel_shape=[3], strides=[2], ceil_mode=1", [4, 5, 9]),
        ("MaxPool", "kernel_shape=[3], pads=[2, 1], ceil_mode=1", [3, 3, 4, 4, 5, 9, 9]),
        ("AveragePool", "kernel_shape=[4], strides=[3], ceil_mode=1", [2.25, 5]),
        ("AveragePool", "kernel_shape=[4], strides=[3], pads=[0, 1], ceil_mode=1, count_include_pad=1", [2.25, 3.75]),
        ("AveragePool", "kernel_shape=[4], strides=[3], pads=[2, 0], ceil_mode=1", [2, 2.75, 7]),
        ("AveragePool", "kernel_shape=[4], strides=[3], pads=[2, 0], ceil_mode=1, count_include_pad=1", [1, 2.75, 7]),
    ],
)
def test_parts_at_the_end_are_those_of_onnx_runtime(operator: str, attributes: str, wanted: list[float]) -> None:
    proto = parsed(f"y = {operator} <{attributes}> (x)", "float[N, 1, T] x", 19)
    np.testing.assert_array_equal(Session(proto).run({"x": SIX})["y"][0, 0], wanted)


def pooled(x: Any, best: bool, size: Any, strides: Any, dilations: Any, pads: Any, ceil: bool, counted: bool) -> Any:
    """A pool by its definition, one window after the other."""
    axes, places = len(size), []
    for k, n in enumerate(x.shape[2:]):
        rest = n + pads[k] + pads[axes + k] - (size[k] - 1) * dilations[k] - 1
        count = (math.ceil if ceil else math.floor)(rest / strides[k]) + 1
        places.append(count - (ceil and (count - 1) * strides[k] >= n + pads[k]))
    y = np.empty((*x.shape[:2], *places))
    for place in np.ndindex(*places):
        inside, many = [], 0
        for element in itertools.product(*map(range, size)):
            where = [
                p * s + e * d - pads[k]
                for k, (p, s, e, d) in enumerate(zip(place, strides, element, dilations, strict=False))
            ]
            many += all(-pads[k] <= w < x.shape[2 + k] + pads[axes + k] for k, w in enumerate(where))
            if all(0 <= w < n for w, n in zip(where, x.shape[2:], strict=False)):
                inside.append(x[(slice(None), slice(None), *where)])
        y[(..., *place)] = (
            np.max(inside, axis=0) if best else np.sum(inside, axis=0) / (many if counted else len(inside))
        )
    return y


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("counted", [0, 1, None])
@pytest.mark.parametrize(
    ("shape", "size", "strides", "dilations", "pads"),
    [
        ((7,), [3], [2], [1], [2, 1]),
        ((9, 5), [3, 2], [2, 2], [2, 1], [1, 1, 0, 0]),
        ((5, 4, 9), [2, 1, 3], [1, 1, 2], [1, 1, 1], [0, 0, 0, 1, 0, 2]),
        ((6, 5, 4), [2, 2, 2], [3, 2, 1], [1, 2, 1], [1, 0, 1, 0, 1, 1]),
    ],
)
def test_pools_by_their_definition(
    shape: Any, size: Any, strides: Any, dilations: Any, pads: Any, counted: int | None, ceil: int
) -> None:
    operator, more = ("MaxPool", "") if counted is None else ("AveragePool", f", count_include_pad={counted}")
    words = f"kernel_shape={size}, strides={strides}, dilations={dilations}, pads={pads}, ceil_mode={ceil}{more}"
    axes = ", ".join("ABC"[: len(shape)])
    x = np.random.default_rng(2).normal(size=(2, 3, *shape)).astype(np.float32) - 3
    y = Session(parsed(f"y = {operator} <{words}> (x)", f"float[N, 3, {axes}] x", 19)).run({"x": x})["y"]
    wanted = pooled(x, counted is None, size, strides, dilations, pads, bool(ceil), bool(counted))
    assert y.shape == wanted.shape and y.dtype == np.float32
    np.testing.assert_allclose(y, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "values", "places"),
    [
        ("kernel_shape=[2, 2]", [[5, 4, 7], [8, 8, 2]], [[4, 5, 3], [9, 9, 7]]),
        ("kernel_shape=[2, 2], storage_order=1", [[5, 4, 7], [8, 8, 2]], [[1, 4, 9], [5, 5, 10]]),
        ("kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 1, 0], ceil_mode=1", [[5, 7], [8, 8]], [[4, 3], [9, 9]]),
    ],
)
def test_where_the_maxima_lie(attributes: str, values: Any, places: Any) -> None:
    x = np.array([[1, 2, 3, 7], [5, 4, 0, 2], [6, 8, 1, -1]], np.float32)[None, None].repeat(2, axis=1)
    x[0, 1] = -x[0, 1, ::-1, ::-1]
    proto = parsed(f"y, i = MaxPool <{attributes}> (x)", "float[N, 2, R, C] x", 12)
    proto.graph.output.append(helper.make_tensor_value_info("i", TensorProto.INT64, None))
    found = Session(proto).run({"x": x})
    assert found["y"][0, 0].tolist() == values and found["i"][0, 0].tolist() == places
    by_columns = "storage" in attributes  # the numbers of the second channel go on
    flat = (x.swapaxes(2, 3) if by_columns else x).reshape(-1)
    np.testing.assert_array_equal(flat[found["i"]], found["y"])
    if "storage" not in attributes:  # of equal ones the first
        first = Session(proto).run({"x": np.ones_like(x)})["i"]
        assert first[0, 0].tolist() == [[0, 1, 2], [4, 5, 6]] or first[0, 0].tolist() == [[0, 1], [8, 9]]


@pytest.mark.parametrize("p", [1, 3])
def test_norms_of_windows_and_of_channels(p: int) -> None:
    words = f"kernel_shape=[3], strides=[3], pads=[1, 0], ceil_mode=1, p={p}"
    y = Session(parsed(f"y = LpPool <{words}> (x)", "float[N, 1, T] x", 18)).run({"x": -SIX})["y"]
    np.testing.assert_allclose(y[0, 0] ** p, [3**p + 1, 4**p + 1 + 5**p, 9**p], rtol=1e-5)
    x = np.arange(1, 11, dtype=np.float32).reshape(1, 5, 2) - 4
    words = "size=3, alpha=0.6, beta=2.0, bias=1.5"
    y = Session(parsed(f"y = LRN <{words}> (x)", "float[N, 5, T] x")).run({"x": x})["y"]
    for channel in range(5):
        near = (x[:, max(0, channel - 1) : channel + 2] ** 2).sum(axis=1)
        np.testing.assert_allclose(y[:, channel], x[:, channel] / (1.5 + 0.2 * near) ** 2, rtol=1e-6)
    y = Session(parsed("y = LRN <size=4> (x)", "float[N, 5, T] x")).run({"x": x})["y"]
    near = (x[:, 1:5] ** 2).sum(axis=1)  # of an even size one more behind
    np.testing.assert_allclose(y[:, 2], x[:, 2] / (1 + 1e-4 / 4 * near) ** 0.75, rtol=1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_vectors_of_norm_one(p: int) -> None:
    x = np.array([[[1, -2, 0], [3, 2, 0]]], np.float32)
    y = Session(parsed(f"y = LpNormalization <p={p}, axis=1> (x)", "float[N, 2, T] x", 18)).run({"x": x})["y"]
    norms = [4, 4, 1] if p == 1 else [10**0.5, 8**0.5, 1]  # zeros stay zeros
    np.testing.assert_allclose(y, x / np.array(norms), rtol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("places", "kernel", "options"),
    [
        ((4,), (2, 3, 3), {"strides": [2], "pads": [1, 0], "output_padding": [1]}),
        ((3, 2), (6, 2, 3, 4), {"strides": [2, 3], "dilations": [2, 1], "pads": [1, 0, 2, 1], "group": 3}),
        ((2, 2), (3, 1, 2, 2), {"group": 3}),
        ((2, 3, 1), (4, 1, 2, 1, 3), {"strides": [1, 2, 2], "output_padding": [0, 1, 0], "group": 2}),
    ],
)
def test_transposed_convolutions_by_their_definition(places: Any, kernel: Any, options: Any, bias: bool) -> None:
    words = ", ".join(f"{name}={value}" for name, value in options.items())
    axes = ", ".join("ABC"[: len(places)])
    proto = parsed(f"y = ConvTranspose <{words}> (x, w{', b' * bias})", f"float[N, {kernel[0]}, {axes}] x")
    rng, many, groups = np.random.default_rng(3), len(places), options.get("group", 1)
    strides, dilations = (options.get(name, [1] * many) for name in ("strides", "dilations"))
    pads, more = options.get("pads", [0] * 2 * many), options.get("output_padding", [0] * many)
    x, w, b = (rng.normal(size=n).astype(np.float32) for n in ((2, kernel[0], *places), kernel, kernel[1] * groups))
    for name, array in (("w", w), ("b", b))[: 1 + bias]:
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    ends = [
        (p - 1) * s + (n - 1) * d + 1 + o
        for p, s, n, d, o in zip(places, strides, kernel[2:], dilations, more, strict=False)
    ]
    whole = np.zeros((2, len(b), *ends))
    for channel, out in itertools.product(range(kernel[0]), range(kernel[1])):
        filter_ = channel // (kernel[0] // groups) * kernel[1] + out
        for place, tap in itertools.product(np.ndindex(*places), np.ndindex(*kernel[2:])):
            where = [p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=False)]
            whole[(slice(None), filter_, *where)] += x[(slice(None), channel, *place)] * w[(channel, out, *tap)]
    wanted = whole[(..., *[slice(pads[k], ends[k] - pads[many + k]) for k in range(many)])]
    wanted = wanted + b.reshape(-1, *[1] * many) if bias else wanted
    np.testing.assert_allclose(Session(proto).run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_of_which_nothing_is_left() -> None:
    proto = parsed("y = ConvTranspose <pads=[1, 0]> (x, w)", "float[N, 2, T] x")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((2, 1, 1), np.float32), "w"))
    session = Session(proto)
    assert session.run({"x": np.ones((1, 2, 2), np.float32)})["y"].tolist() == [[[2.0]]]
    with pytest.raises(FormatError, match=r"nothing is left of an input of shape \(1, 2, 1\)"):
        session.run({"x": np.ones((1, 2, 1), np.float32)})
