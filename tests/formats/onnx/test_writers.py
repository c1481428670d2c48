"""Files of PyTorch's two exporters, Keras 3 and tf2onnx as models: `tests.golden.make_onnx_torch`, `make_onnx_tf`."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats.onnx import Session
from rnnx.formats.onnx._file import Source
from rnnx.formats.onnx._model_run import _into, _out_of
from rnnx.formats.onnx._read_graph import read_graph
from tests.golden.store import Case, load

CASES = {f"{origin}: {name}": case for origin in ("torch", "tf") for name, case in load(f"onnx_{origin}").items()}


def opened(case: Case) -> tuple[Any, list[Any], Any]:
    """The model of a file, its inputs, and the outputs with the axes of the file."""
    read = read_graph(Source(case["file"].tobytes()))
    inputs = []
    for name, view in zip(case.config["inputs"], read.inputs, strict=True):
        index, perm = _into(view)
        array = case[f"in/{name}"] if index is None else case[f"in/{name}"][index]
        inputs.append(array if perm is None else array.transpose(perm))
    given = inputs if read.model.several_inputs else inputs[0]
    found = read.model(given)
    outputs = []
    for view, array in zip(read.outputs, found if read.model.several_outputs else [found], strict=True):
        perm, index = _out_of(view)
        array = array if perm is None else array.transpose(perm)
        outputs.append(array if index is None else array[index])
    return read.model, given, outputs


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_a_model(name: str) -> None:
    case = CASES[name]
    _, _, outputs = opened(case)
    for found, expected in zip(outputs, case.listed("outputs"), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("older") or name.startswith("tf")])
def test_a_session_gives_the_same(name: str) -> None:
    case = CASES[name]
    found = Session(case["file"].tobytes()).run({key: case[f"in/{key}"] for key in case.config["inputs"]})
    for array, expected in zip(found.values(), case.listed("outputs"), strict=True):
        np.testing.assert_allclose(array, expected, rtol=0, atol=2e-6)


TRAINED = (
    "torch: additive attention, older", "torch: GRU both ends, older", "tf: two both ways",
    "torch: trained state, older", "torch: residual, older",
)  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_such_a_model_trains_saves_and_copies(name: str, tmp_path: Path) -> None:
    model, x, (before,) = opened(CASES[name])
    np.testing.assert_array_equal(copy.deepcopy(model)(x), model(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(x), model(x))
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "m.safetensors")(x), model(x))
    direction = [np.random.default_rng(3).normal(size=w.shape).astype(np.float32) for w in model.weights]
    y, pullback = model.vjp(x)
    slope = sum(float((d * g).sum()) for d, g in zip(direction, pullback(np.ones_like(y)).dweights, strict=True)
                if g is not None)  # fmt: skip
    weights, ends = model.get_weights(), []
    for sign in (1, -1):
        model.set_weights([w + np.float32(sign * 1e-2) * (d if weight.trainable else 0 * d)
                           for w, d, weight in zip(weights, direction, model.weights, strict=True)])  # fmt: skip
        ends.append(float(model(x).astype(float).sum()))
    model.set_weights(weights)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=0.02, abs=2e-3)
    model.compile("adam", "mse")
    model.fit(x, np.zeros_like(y), epochs=2, verbose=0)
    assert abs(model(x) - y).max() > 1e-4


def test_it_streams_step_by_step() -> None:
    model, x, (expected,) = opened(CASES["torch: LSTM all, older"])
    stream = model.stream(batch_size=2)
    steps = np.stack([stream.step(x[:, t]).copy() for t in range(5)], 1)
    np.testing.assert_allclose(steps, expected, rtol=0, atol=2e-6)
