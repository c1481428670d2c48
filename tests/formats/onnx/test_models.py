"""rnnx models written to ONNX: valid files, equal outputs, the same model again; what ONNX lacks refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers
from rnnx.formats.onnx import Session, describe, load_model, save_model
from rnnx.formats.onnx._write import exported
from rnnx.saving import FormatError
from tests.formats.onnx.models import MODELS, inputs_of, made


def outputs_of(model: Any, arrays: list[Any]) -> list[Any]:
    y = model(arrays if model.several_inputs else arrays[0])
    return y if isinstance(y, list) else [y]


def equal(own: list[Any], others: list[Any], tolerance: float = 1e-6) -> None:
    for a, b in zip(own, others, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    model, path = made(name), tmp_path / "model.onnx"
    model.save(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session, again = Session(path), rnnx.load_model(path)
    assert session.evaluated == ()
    assert type(again) is type(model) and again.get_config() == model.get_config()
    for batch, timesteps in ((3, 7), (1, 5)):
        arrays = inputs_of(model, batch, timesteps)
        own = outputs_of(model, arrays)
        feeds = dict(zip([port.name for port in session.inputs], arrays, strict=True))
        equal(own, list(session.run(feeds).values()))
        equal(own, outputs_of(again, arrays), 1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_without_the_description(name: str) -> None:
    """The nodes of a file are layers again, also where nothing but the graph says which."""
    model = made(name)
    proto, _ = exported(model)
    if any(isinstance(layer, layers.Masking) or getattr(layer, "mask_zero", False) for layer in model.layers):
        with pytest.raises(FormatError, match=r"(node|value) '.*Session"):  # a mask is written out in full
            load_model(proto)
        return
    again = load_model(proto)
    assert [tensor.name for tensor in again.inputs] == [tensor.name for tensor in model.inputs]
    assert again.count_params() >= model.count_params()  # a scale of ones is written where there is none
    for batch, timesteps in ((3, 7), (1, 5)):
        arrays = inputs_of(model, batch, timesteps)
        equal(outputs_of(model, arrays), outputs_of(again, arrays), 2e-6)


def test_a_model_read_again_is_trained_on(tmp_path: Path) -> None:
    model = made("embedding")
    model.save(tmp_path / "model.onnx")
    again = rnnx.load_model(tmp_path / "model.onnx")
    assert again.layers[1].dropout == 0.3 and again.layers[1].recurrent_dropout == 0.2
    again.compile("adam", "sparse_categorical_crossentropy")
    before = [w.copy() for w in again.get_weights()]
    again.fit(np.ones((4, 5), int), np.ones(4), verbose=0)
    assert not all(np.array_equal(a, b) for a, b in zip(before, again.get_weights(), strict=True))
    fresh = rnnx.models.clone_model(again)
    assert all(w.value.std() > 0 for w in fresh.weights if "kernel" in w.name)  # the initializers came back, too


def test_changed_weights_are_read(tmp_path: Path) -> None:
    """A file whose weights another program changed, also those that rnnx writes as zeros."""
    model, path = made("lstm-plain"), tmp_path / "model.onnx"
    model.save(path)
    proto = onnx.load(path)
    (bias,) = (t for t in proto.graph.initializer if t.name == "rnn/B")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0, 16:] += 0.25
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "rnn/B"))
    onnx.save(proto, path)
    again = load_model(path)
    np.testing.assert_allclose(again.layers[0].bias, model.layers[0].bias + 0.25, rtol=1e-6)


def test_a_changed_graph_is_not_taken_for_the_one_written(tmp_path: Path) -> None:
    model, path = made("dense-tanh"), tmp_path / "model.onnx"
    model.save(path)
    proto = onnx.load(path)
    (node,) = (n for n in proto.graph.node if n.op_type == "Tanh")
    node.op_type = "Sigmoid"
    onnx.save(proto, path)
    again, arrays = load_model(path), inputs_of(model)
    found = Session(path).run({"x": arrays[0]})["dense_output"]
    assert again.layers[0].activation.name == "sigmoid" and abs(found - model(arrays[0])).max() > 0.01
    equal([again(arrays[0])], [found])


def test_the_description_is_not_believed_about_sizes(tmp_path: Path) -> None:
    model, path = made("gru_after-plain"), tmp_path / "model.onnx"
    model.save(path)
    proto = onnx.load(path)
    (entry,) = (e for e in proto.metadata_props if e.key == "rnnx")
    for units in (5, 10**5, 10**9, 10**15, -1, "four", None, [4]):
        entry.value = entry.value.replace('"units": 4', f'"units": {units!r}'.replace("'", '"').replace("None", "null"))
        onnx.save(proto, path)
        try:
            again = load_model(path)  # by its graph
        except FormatError:
            continue
        equal([model(np.ones((2, 3, 3), "f"))], [again(np.ones((2, 3, 3), "f"))])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: layers.GRU(4, stateful=True, name="g"), "'g'.*stateful"),
        (lambda: layers.LSTM(4, zoneout=0.1, name="l"), "'l'.*zoneout"),
        (lambda: layers.LSTM(4, activation="gelu", name="l"), "'l'.*gelu"),
        (lambda: layers.GRU(4, recurrent_activation="softmax", name="g"), "'g'.*softmax"),
        (lambda: layers.SimpleRNN(4, activation=np.tanh, name="s"), "'s'.*tanh"),
        (lambda: layers.Dense(4, activation=np.tanh, name="d"), "'d'.*tanh"),
        (lambda: layers.Bidirectional(layers.LSTM(4, stateful=True, name="l"), name="b"), "stateful"),
        (lambda: Own(name="own"), "'own' .Own."),
        (lambda: layers.RNN(OwnCell(), name="r"), "'r'.*OwnCell"),
        (lambda: layers.TimeDistributed(Own(name="inner"), name="td"), "'inner' .Own."),
    ],
)
def test_what_onnx_lacks_is_refused_by_name(make: Any, words: str, tmp_path: Path) -> None:
    model = Sequential([layers.InputLayer((None, 3), name="x", batch_size=2), make()])
    with pytest.raises(FormatError, match=words):
        model.save(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class Own(layers.Layer):
    """A layer of the user."""

    def forward(self, x: Any, **call: Any) -> Any:
        return x, None


class OwnCell:
    """A cell of the user."""

    state_size = 3

    def call(self, x: Any, states: Any) -> Any:
        return x, [x]


def test_calls_that_onnx_lacks_are_refused(tmp_path: Path) -> None:
    x = Input((None, 3), name="x")
    model = Model(x, layers.Dropout(0.5, name="noise")(layers.GRU(4, name="gru")(x), training=True))
    with pytest.raises(FormatError, match="'noise' is called with training=True"):
        model.save(tmp_path / "model.onnx")


def test_unbuilt_optimizer_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(FormatError, match="not built"):
        Sequential([layers.GRU(3)]).save(path)
    model = made("lstm-plain")
    with pytest.raises(FormatError, match="no place for an optimizer"):
        model.save(path, include_optimizer=True)
    with pytest.raises(FormatError, match="whole model"):
        model.save_weights(path)
    model.save(path)
    with pytest.raises(FormatError, match="whole model"):
        model.load_weights(path)
    with pytest.raises(FileExistsError):
        model.save(path, overwrite=False)
    with pytest.raises(FileNotFoundError):
        save_model(model, tmp_path / "none" / "model.onnx")


def test_files_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    model = made("merges")
    for name in ("a.onnx", "b.onnx"):
        model.save(tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_description(tmp_path: Path) -> None:
    model = made("bidirectional-lstm-concat-masking-True")
    model.save(tmp_path / "model.onnx")
    found = describe(tmp_path / "model.onnx")
    assert found["producer"] == f"rnnx {rnnx.__version__}" and found["opsets"] == {"ai.onnx": 22}
    assert found["inputs"] == [("x", "float32", ("batch", "x_axis1", 3))]
    assert found["recurrent"] == ["LSTM 'both/LSTM', hidden_size 4, bidirectional"]
    assert found["weights"]["both/W"] == ("float32", (2, 16, 3)) and found["warnings"] == []
    assert found["parameters"] >= model.count_params()


def test_without_the_package_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = made("lstm-plain")
    model.save(tmp_path / "model.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    for call in (lambda: model.save(tmp_path / "other.onnx"), lambda: load_model(tmp_path / "model.onnx"),
                 lambda: Session(tmp_path / "model.onnx"), lambda: describe(tmp_path / "model.onnx")):  # fmt: skip
        with pytest.raises(FormatError, match=r"pip install 'rnnx\[onnx\]'"):
            call()
