"""Graphs with branches, states, several inputs and outputs as rnnx models."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import checker
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import rnnx
from rnnx import layers
from rnnx.formats.onnx import Session, load_model
from rnnx.formats.onnx._file import Source
from rnnx.formats.onnx._limits import MOST_LAYERS
from rnnx.formats.onnx._model_run import run_as_model
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._read_graph import read_graph
from rnnx.formats.onnx._write import exported
from rnnx.saving import FormatError
from tests.formats.onnx.graphs import FEATURES, GRAPHS, HIDDEN, Graph, feeds_of
from tests.formats.onnx.models import made


def read(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return load_model(GRAPHS[name]())


def as_rnnx(array: Any, view: Any) -> Any:
    """An array of the graph with the axes of the model."""
    kept = [k for k, entry in enumerate(view.axes) if entry]
    flat = array.reshape([array.shape[k] for k in kept])
    return flat.transpose(np.argsort([view.axes[k][0] for k in kept]))


class GlobalMaxPool(OpRun):
    """In place of the package's, which takes two axes however many there are."""

    op_domain = ""

    def _run(self, x: Any) -> Any:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_of_layers_is_a_model(name: str) -> None:
    proto = GRAPHS[name]()
    checker.check_model(proto, full_check=True)
    feeds, found = feeds_of(proto), read_graph(Source(proto))
    arrays = [as_rnnx(array, view) for array, view in zip(feeds.values(), found.inputs, strict=True)]
    own = found.model(arrays if found.model.several_inputs else arrays[0])
    own = own if isinstance(own, list) else [own]
    session = Session(proto).run(feeds)
    by_package = ReferenceEvaluator(proto, new_ops=[GlobalMaxPool]).run(None, feeds)
    for expected, by_onnx, view, y in zip(session.values(), by_package, found.outputs, own, strict=True):
        np.testing.assert_allclose(expected, by_onnx, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(y, as_rnnx(expected, view), rtol=2e-6, atol=2e-6)


def test_which_layers_they_are() -> None:
    def kinds(name: str) -> list[str]:
        return [type(layer).__name__ for layer in read(name).layers if not isinstance(layer, layers.InputLayer)]

    assert kinds("skip") == ["GRU", "Dense", "Add"]
    assert kinds("all_outputs") == ["LSTM"] and kinds("states") == ["LSTM"]
    assert kinds("both_joined") == ["Bidirectional"]
    assert kinds("both_apart") == ["Bidirectional", "Activation", "Activation"]
    assert kinds("both_joined_and_apart")[:2] == ["Bidirectional", "Concatenate"]
    assert kinds("convolutions") == [
        "Permute", "Conv1D", "BatchNormalization", "Activation", "MaxPooling1D", "GlobalAveragePooling1D", "GRU",
    ]  # fmt: skip
    assert kinds("log_softmax") == ["GRU", "Dense"] and kinds("pooled_and_squeezed")[2:] == ["Dense"]
    shared = read("shared")
    assert kinds("shared") == ["LSTM"] and len(shared.plan.steps) == 2 and len(shared.weights) == 3


def test_other_axes_are_said() -> None:
    with pytest.warns(UserWarning, match="inputs and outputs have the timesteps first"):
        load_model(GRAPHS["skip"]())
    with pytest.warns(UserWarning, match="h0, c0, .* have no axis of directions"):
        load_model(GRAPHS["states"]())


def test_it_streams_trains_quantizes_and_converts(tmp_path: Path) -> None:
    x, random = rnnx.Input((None, FEATURES), name="x"), np.random.default_rng(0)
    gate = layers.Dense(HIDDEN, activation="sigmoid")(x)
    y = layers.Multiply()([layers.GRU(HIDDEN, return_sequences=True)(x), gate])
    rnnx.Model(x, layers.Dense(2)(layers.Concatenate()([y, x]))).save(tmp_path / "model.onnx")
    proto = Source(tmp_path / "model.onnx").proto
    del proto.metadata_props[:]
    model, data = load_model(proto), random.normal(size=(2, 5, FEATURES)).astype(np.float32)
    before = model(data)
    stream = model.stream(batch_size=2)
    np.testing.assert_allclose(np.stack([stream.step(data[:, t]) for t in range(5)], 1), before, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "model.safetensors")(data), before)
    model.save(tmp_path / "again.onnx")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "again.onnx")(data), before)
    model.compile("adam", "mse")
    model.fit(data, np.zeros((2, 5, 2), "f"), verbose=0)
    assert abs(model(data) - before).max() > 1e-4
    model.quantize("bf16")
    assert model(data).shape == before.shape


def test_names_of_inputs_are_not_those_of_layers() -> None:
    rnnx.utils.clear_session()
    g = Graph({"gru": ("time", "batch", FEATURES)})
    y = g.squeezed(g.recurrent("GRU", "gru", FEATURES)[0], 1)
    with pytest.warns(UserWarning, match="first"):
        model = load_model(g.model((y, 3)))
    assert model.inputs[0].name == "gru" and model.layers[0].name == "gru_layer"


def test_weights_in_many_places_are_refused() -> None:
    """A kernel that many layers would copy."""
    g = Graph({"x": ("batch", 100)})
    kernel, y = g.weight(100, 100), "x"
    for _ in range(50):
        y = g.add("Add", g.add("MatMul", y, kernel), g.weight(100))
    with pytest.raises(FormatError, match="no numbers for the weight"):
        load_model(g.model((y, 2)))


def test_equal_weights_that_are_written_once() -> None:
    """As PyTorch exports a BatchNorm1d that was not trained yet."""
    g = Graph({"x": ("batch", 3)})
    ones, zeros = g.const(np.ones(3), np.float32), g.const(np.zeros(3), np.float32)
    scale = [ones, zeros, g.add("Identity", zeros), g.add("Identity", ones)]
    y = g.add("BatchNormalization", "x", *scale)
    model = load_model(g.model((g.add("Gemm", y, g.weight(3, 2), g.weight(2)), 2)))
    assert [type(layer).__name__ for layer in model.layers] == ["BatchNormalization", "Dense"]


def test_steps_side_by_side_are_as_many_as_the_file_says() -> None:
    g = Graph({"x": ("batch", 5, FEATURES)})
    y = g.squeezed(g.recurrent("GRU", g.add("Transpose", "x", perm=[1, 0, 2]), FEATURES)[0], 1)
    flat = g.add("Flatten", g.add("Transpose", y, perm=[1, 0, 2]), axis=1)
    fixed = g.add("Gemm", flat, g.weight(5 * HIDDEN, 2), g.weight(2))
    proto = g.model((fixed, 2))
    model, x = load_model(proto), np.random.default_rng(0).normal(size=(2, 5, FEATURES)).astype(np.float32)
    assert model.input_shape == (None, 5, FEATURES)
    np.testing.assert_allclose(model(x), Session(proto).run({"x": x})[fixed], rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="timesteps first"):
        assert load_model(g.model((y, 3))).input_shape == (None, None, FEATURES)


def test_layers_and_inputs_are_counted() -> None:
    g, y = Graph({"x": ("batch", 2)}), "x"
    for _ in range(MOST_LAYERS + 1):
        y = g.add("Tanh", y)
    with pytest.raises(FormatError, match="more than 2,000 layers"):
        load_model(g.model((y, 2)))
    g = Graph({f"x{k}": ("batch", 2) for k in range(MOST_LAYERS + 1)})
    with pytest.raises(FormatError, match="2,001 inputs"):
        load_model(g.model((g.add("Tanh", "x0"), 2)))


def test_what_nobody_needs_is_not_read() -> None:
    g = Graph({"x": ("batch", 2)})
    g.add("Sin", "x")
    assert len(load_model(g.model((g.add("Tanh", "x"), 2))).layers) == 1


@pytest.mark.parametrize("axis, opset", [(1, 17), (2, 17), (-1, 11), (1, 11)])
def test_softmax(axis: int, opset: int) -> None:
    g = Graph({"x": ("batch", 5, FEATURES)}, opset)
    proto = g.model((g.add("Softmax", "x", axis=axis), 3))
    if axis == 1 and opset < 13:
        with pytest.raises(FormatError, match="more than one axis"):
            load_model(proto)
        return
    x = np.random.default_rng(0).normal(size=(2, 5, FEATURES)).astype(np.float32)
    np.testing.assert_allclose(load_model(proto)(x), Session(proto).run({"x": x})["v0_0"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "shape, target",
    [((4, 6), [0, -1]), ((4, 6), [0, 8, 3]), ((4, 6), [0, 0, 2, -1]), ((4, 6), [-1, 24]), ((4, 6), [0, 1, 24])],
)
def test_reshapes(shape: Any, target: Any) -> None:
    g = Graph({"x": ("batch", *shape)})
    proto = g.model((g.add("Reshape", g.add("Tanh", "x"), g.const(target)), len(target)))
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    np.testing.assert_allclose(load_model(proto)(x), Session(proto).run({"x": x})["v1_0"], rtol=1e-6)


@pytest.mark.parametrize("target", [[-1, 3], [2, -1], [-1]])
def test_reshapes_of_the_batch_are_refused(target: Any) -> None:
    g = Graph({"x": ("batch", 4, 6)})
    with pytest.raises(FormatError, match="batch"):
        load_model(g.model((g.add("Reshape", "x", g.const(target)), len(target))))


# ---- Sessions --------------------------------------------------------------------------------------------------------


def both(proto: Any) -> tuple[Session, Program]:
    """A session, and the program of the same graph."""
    source = Source(proto)
    return Session(proto), Program(source, source.proto.graph)


def of_layers() -> dict[str, Any]:
    """Graphs that run as their models."""
    found = {name: make() for name, make in GRAPHS.items()}
    written = ("lstm-plain", "both_states", "nested", "time-gru", "float64")
    found.update({name: exported(made(name))[0] for name in written})
    return {name: proto for name, proto in found.items() if Session(proto).model is not None}


def test_a_session_is_that_model() -> None:
    protos = of_layers()
    some = {"all_outputs", "states", "both_joined", "shared", "lstm-plain", "both_states", "time-gru"}
    assert some <= set(protos)
    assert not {"arithmetic", "convolutions", "frame"} & set(protos)
    for name, proto in protos.items():
        session, program = both(proto)
        feeds = feeds_of(proto)
        with np.errstate(all="ignore"):
            expected = program.run(*feeds.values())
        for port, array in zip(session.outputs, expected, strict=True):
            y = session.run(feeds)[port.name]
            assert y.shape == array.shape and y.dtype == array.dtype
            np.testing.assert_allclose(y, array, rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("batch, timesteps", [(0, 4), (2, 0), (1, 1)])
def test_empty_inputs(batch: int, timesteps: int) -> None:
    session, program = both(GRAPHS["states"]())
    shapes = {"x": (batch, timesteps, FEATURES), "h0": (1, batch, HIDDEN), "c0": (1, batch, HIDDEN)}
    feeds = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    assert session.model is not None
    for y, expected in zip(session.run(feeds).values(), program.run(*feeds.values()), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_limits_of_a_session_that_is_a_model() -> None:
    proto = GRAPHS["all_outputs"]()
    x = np.zeros((50, 2, FEATURES), np.float32)
    for limit, words in (({"memory": 1_000}, "bytes, at most 1,000"), ({"work": 1_000}, "ns of work, at most 1,000")):
        session = Session(proto, **limit)
        assert session.model is not None
        with pytest.raises(FormatError, match=words):
            session.run({"x": x})
    g = Graph({"x": ("time", "batch", "features")})
    session = Session(g.model((g.squeezed(g.recurrent("GRU", "x", FEATURES)[0], 1), 3)))
    assert session.model is not None
    with pytest.raises(FormatError, match="run: ValueError.*shape"):
        session.run({"x": np.zeros((5, 2, 7), np.float32)})


def test_what_is_refused_as_a_model_does_not_count_as_loading() -> None:
    """Constants are computed again for the program."""
    g = Graph({"x": ("time", "batch", FEATURES)})
    constant = g.add("Add", g.const(np.ones(2**20), np.float32), g.const(1, np.float32))
    y = g.add("Sin", g.squeezed(g.recurrent("GRU", "x", FEATURES)[0], 1))
    source = Source(g.model((y, 3), (constant, 1)))
    assert run_as_model(source) is None and source.computed == 0
