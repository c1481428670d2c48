"""Convolution and pooling over one axis and two, by ONNX' own reference, and what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError
from tests.formats.onnx.notation import feeds, parsed, wanted


def convolution(shape: tuple[int, ...], inputs: str, bias: bool, **attributes: Any) -> Any:
    """A Conv with constant weights."""
    words = ", ".join(f"{k}='{v}'" if isinstance(v, str) else f"{k}={v}" for k, v in attributes.items())
    proto = parsed(f"y = Conv {f'<{words}>' if words else ''} (x, w{', b' if bias else ''})", inputs)
    random = np.random.default_rng(4)
    arrays = {"w": random.normal(size=shape), "b": random.normal(size=shape[:1])}
    for name in ("w", "b")[: 1 + bias]:
        proto.graph.initializer.append(numpy_helper.from_array(arrays[name].astype(np.float32), name))
    return proto


LINE, PLANE = "float[N, 4, T] x", "float[N, 4, 7, 6] x"
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], str, bool, dict[str, Any]]] = {
    "a short sequence": ((3, 4, 2), LINE, True, {}),
    "without a bias": ((3, 4, 2), LINE, False, {"dilations": [2]}),
    "every second step": ((3, 4, 3), LINE, True, {"strides": [2], "pads": [1, 2]}),
    "one step": ((5, 4, 1), LINE, True, {}),
    "one step in groups": ((6, 2, 1), LINE, True, {"group": 2}),
    "groups": ((6, 2, 3), LINE, False, {"group": 2, "pads": [2, 0]}),
    "as long as before": ((3, 4, 4), LINE, True, {"auto_pad": "SAME_UPPER"}),
    "as long, more in front": ((3, 4, 4), LINE, True, {"auto_pad": "SAME_LOWER", "strides": [2]}),
    "planes": ((3, 4, 2, 3), PLANE, True, {"strides": [2, 1], "pads": [1, 0, 0, 2]}),
    "planes in groups": ((4, 2, 3, 2), PLANE, False, {"group": 2, "dilations": [2, 1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    shape, inputs, bias, attributes = CONVOLUTIONS[name]
    proto = convolution(shape, inputs, bias, **attributes)
    session = Session(proto)
    for rows in (3, 1, 1):  # a short sequence alone goes another way, twice with the same places
        given = feeds(proto, rows)
        np.testing.assert_allclose(session.run(given)["y"], wanted(proto, given), rtol=1e-5, atol=1e-6)


def test_sequences_of_many_lengths_share_one_session() -> None:
    proto = convolution((3, 4, 3), LINE, True)
    session = Session(proto)
    for length in [*range(3, 25), 4]:
        x = np.random.default_rng(length).normal(size=(1, 4, length)).astype(np.float32)
        np.testing.assert_allclose(session.run({"x": x})["y"], wanted(proto, {"x": x}), rtol=1e-5, atol=1e-6)


POOLS = {
    "maximum": ("MaxPool", LINE, "kernel_shape=[3], strides=[2], pads=[1, 1]"),
    "maximum of every second": ("MaxPool", LINE, "kernel_shape=[2], dilations=[2]"),
    "mean": ("AveragePool", LINE, "kernel_shape=[3], pads=[2, 1]"),
    "mean of the padding too": ("AveragePool", LINE, "kernel_shape=[3], pads=[2, 1], count_include_pad=1"),
    "as long as before": ("MaxPool", LINE, "kernel_shape=[2], strides=[2], auto_pad='SAME_UPPER'"),
    "planes": ("MaxPool", PLANE, "kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 1, 1]"),
    "planes, a part at the end": ("MaxPool", PLANE, "kernel_shape=[2, 2], strides=[3, 4], ceil_mode=1"),
    "mean of planes": ("AveragePool", PLANE, "kernel_shape=[3, 2], pads=[1, 1, 0, 0]"),
    "mean of planes with padding": (
        "AveragePool",
        PLANE,
        "kernel_shape=[3, 2], pads=[1, 1, 0, 0], count_include_pad=1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pools(name: str) -> None:
    operator, inputs, attributes = POOLS[name]
    proto = parsed(f"y = {operator} <{attributes}> (x)", inputs, 19)
    given = feeds(proto)
    np.testing.assert_allclose(Session(proto).run(given)["y"], wanted(proto, given), rtol=1e-6, atol=1e-6)


NARROW = {"x": np.zeros((2, 4, 1), np.float32)}
FLAT = {"x": np.zeros((2, 4, 7, 1), np.float32)}


@pytest.mark.parametrize(
    "proto, given, words",
    [
        (convolution((3, 4, 2), LINE, False), NARROW, "1 steps are fewer than the window of 2"),
        (convolution((3, 2, 2), "float[N, C, T] x", False), NARROW, r"shape \(batch, 2, steps\), got \(2, 4, 1\)"),
        (convolution((3, 4, 2, 2), "float[N, 4, R, C] x", False), FLAT, r"smaller than the window of \[2, 2\]"),
        (convolution((3, 2, 2, 2), "float[N, K, R, C] x", False), FLAT, r"\(batch, 2, rows, columns\)"),
        (parsed("y = MaxPool <kernel_shape=[2]> (x)", LINE), NARROW, "1 steps are fewer than the window of 2"),
        (parsed("y = MaxPool <kernel_shape=[2]> (x)", "float[N, 4, R, C] x"), FLAT, "kernel_shape must have 2 entries"),
        (parsed("y = MaxPool <kernel_shape=[2, 2]> (x)", "float[N, 4, R, C] x"), FLAT, "smaller than the window"),
        (parsed("y = MaxPool <kernel_shape=[2, 2]> (x)", LINE), NARROW, "kernel_shape must have 1 entries"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(proto: Any, given: Any, words: str) -> None:
    with pytest.raises(FormatError, match=f"node 'y': .*{words}"):
        Session(proto).run(given)
