"""Rows of different lengths: `sequence_lens` as a mask of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx.formats.onnx import Session, load_model
from rnnx.saving import FormatError
from tests.formats.onnx.graphs import FEATURES, HIDDEN, Graph

LENGTHS = np.array([5, 3, 1])
X = np.random.default_rng(0).normal(size=(3, 5, FEATURES)).astype(np.float32)


def graph() -> Graph:
    g = Graph({"x": ("batch", "time", FEATURES)})
    g.inputs.append(helper.make_tensor_value_info("n", TensorProto.INT64, ["batch"]))
    return g


def recurrent(g: Graph, kind: str, *, lengths: str = "", direction: str = "forward", states: Any = ()) -> Any:
    x = g.add("Transpose", "x", perm=[1, 0, 2])
    lengths = lengths or g.add("Cast", "n", to=TensorProto.INT32)
    found = g.recurrent(kind, x, FEATURES, *states, direction=direction)
    g.nodes[-1].input[4] = lengths
    return found


def outputs(kind: str, direction: str) -> Any:
    """All outputs and the final state, and what is made of the last row of the outputs."""
    g = graph()
    found = recurrent(g, kind, direction=direction)
    if direction == "bidirectional":
        y = g.add("Reshape", g.add("Transpose", found[0], perm=[0, 2, 1, 3]), g.const([0, 0, -1]))
        h = g.add("Reshape", g.add("Transpose", found[1], perm=[1, 0, 2]), g.const([0, -1]))
    else:
        y, h = g.squeezed(found[0], 1), g.squeezed(found[1], 0)
    last = g.add("Tanh", g.add("Gather", y, g.const(-1), axis=0))
    return g.model((g.add("Transpose", y, perm=[1, 0, 2]), 3), (h, 2), (last, 2))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_mask_of_the_valid_steps(kind: str, direction: str) -> None:
    proto = outputs(kind, direction)
    model, session = load_model(proto), Session(proto)
    assert [tuple(tensor.shape) for tensor in model.inputs] == [(None, None, FEATURES), (None,)]
    wanted = session.run({"x": X, "n": LENGTHS})
    for own, expected in zip(model([X, LENGTHS]), wanted.values(), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
    for k, count in enumerate(LENGTHS):  # and each row alone, without the steps behind its end
        row = session.run({"x": X[k : k + 1, :count], "n": LENGTHS[k : k + 1]})
        for together, alone in list(zip(wanted.values(), row.values(), strict=True))[:2]:
            part = together[k : k + 1, :count] if together.ndim == 3 else together[k : k + 1]
            np.testing.assert_allclose(part, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_final_state_alone(kind: str) -> None:
    g = graph()
    h = g.squeezed(recurrent(g, kind)[1], 0)
    proto = g.model((g.add("Gemm", h, g.weight(2, HIDDEN), transB=1), 2))
    model = load_model(proto)
    (wanted,) = Session(proto).run({"x": X, "n": LENGTHS}).values()
    np.testing.assert_allclose(model([X, LENGTHS]), wanted, rtol=1e-5, atol=1e-6)
    model.compile("adam", "mse")
    model.fit([X, LENGTHS], np.zeros((3, 2)), verbose=0)  # it trains like any other
    assert any(isinstance(layer, rnnx.layers.LSTM if kind == "LSTM" else rnnx.layers.GRU) for layer in model.layers)


def test_what_a_mask_does_not_say() -> None:
    g = graph()
    h = recurrent(g, "GRU", lengths=g.const([5, 3, 1], np.int32))[1]
    with pytest.raises(FormatError, match="constant sequence_lens"):
        load_model(g.model((g.squeezed(h, 0), 2)))
    g = graph()
    g.inputs.append(helper.make_tensor_value_info("h0", TensorProto.FLOAT, [1, "batch", HIDDEN]))
    h = recurrent(g, "GRU", states=["h0"])[1]
    with pytest.raises(FormatError, match="sequence_lens beside initial states"):
        load_model(g.model((g.squeezed(h, 0), 2)))
    with pytest.raises(FormatError, match="to int32"):  # other numbers are not narrowed
        g = graph()
        load_model(g.model((g.add("Cast", g.add("Cast", "n", to=TensorProto.INT32), to=TensorProto.FLOAT), 1)))


def test_as_the_package_onnx() -> None:
    """The evaluator of the package has no lengths; rows as long as all steps are the plain operator."""
    proto = outputs("RNN", "forward")
    whole = np.full(3, 5)
    for own, expected in zip(
        load_model(proto)([X, whole]), ReferenceEvaluator(proto).run(None, {"x": X, "n": whole}), strict=True
    ):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
