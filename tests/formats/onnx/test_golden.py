"""Files that PyTorch exported, and what ONNX Runtime makes of recurrent operators; see `tests.golden.make_onnx`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from rnnx.formats.onnx import Session, describe, load_model
from tests.formats.onnx.nodes import GOLDEN_OPTIONS, golden_arrays, one_node
from tests.golden.store import load

GOLDEN = load("onnx")


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("torch")])
def test_files_of_torch(name: str) -> None:
    case = GOLDEN[name]
    data, x, expected = case["file"].tobytes(), case["x"], case["y"]
    (found,) = Session(data).run({"x": x}).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = load_model(data)
    first = name == "torch time_first"
    assert ["timesteps first" in str(w.message) for w in caught] == [True] * first
    y = model(x.swapaxes(0, 1) if first else x)
    np.testing.assert_allclose(y.swapaxes(0, 1) if first else y, expected, rtol=0, atol=1e-6)
    assert describe(data)["producer"].startswith("pytorch 2.13")


@pytest.mark.parametrize("name", GOLDEN_OPTIONS)
def test_recurrent_operators_of_onnx_runtime(name: str) -> None:
    kind, options = GOLDEN_OPTIONS[name]
    arrays = golden_arrays(kind, options)
    session = Session(one_node(kind, options, arrays, True, opset=14))
    found = session.run({port.name: arrays[port.name] for port in session.inputs})
    for array, expected in zip(found.values(), GOLDEN[name].listed("outputs"), strict=True):
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-6)
