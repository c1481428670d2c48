"""All that stands in the way of a file is named at once, and an error of somebody's own class stays what it is."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import rnnx
from rnnx import layers
from rnnx.formats import info, keras
from rnnx.formats.onnx import Session
from rnnx.saving import FormatError


def chain(*kinds: str) -> str:
    """What ``model.to_json()`` of tf.keras gives, of layers by their classes."""
    entries: list[Any] = [{"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 5, 3]}}]
    for k, kind in enumerate(kinds):
        config: dict[str, Any] = {"name": f"{kind.lower()}_{k}"}
        if kind == "LSTM":
            config["units"] = 2
        if kind == "Sequential":
            config["layers"] = [{"class_name": "Inner", "config": {"name": "inside"}}]
        entries.append({"class_name": kind, "config": config})
    config = {"name": "s", "layers": entries}
    return json.dumps({"class_name": "Sequential", "config": config, "keras_version": "2.12.0"})


def test_all_layers_of_a_file_of_keras(tmp_path: Path) -> None:
    text = chain("Lambda", "LSTM", "Mine", "Sequential", "Mine")
    with pytest.raises(FormatError) as caught:
        keras.from_json(text)
    said = str(caught.value)
    for word in (
        "'lambda_0' (Lambda)",
        "'mine_2' (Mine)",
        "'inside' (Inner)",
        "'mine_4' (Mine)",
        "custom_objects",
        "ONNX",
    ):
        assert word in said
    assert said.count("'lambda_0'") == 1 and "lstm" not in said
    (tmp_path / "m.json").write_text(text)
    assert all(word in "\n".join(info.lines(tmp_path / "m.json")) for word in ("'lambda_0'", "'mine_4'"))
    with pytest.raises(FormatError, match="'mine_11'.*and 18 more") as caught:
        keras.from_json(chain(*["Mine"] * 30))
    assert len(str(caught.value)) <= 1100


def test_all_operators_between_layers(tmp_path: Path) -> None:
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2, name="l")])
    x = model.inputs[0]
    functional = rnnx.Model(x, layers.Dense(2)(layers.Dense(3)(x) + 1.0) * 2.0, name="f")
    functional.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"Add"', b'"Sine"').replace(b'"Multiply"', b'"Fold"')
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(FormatError, match="'Sine' between layers is not supported.*'Fold' between") as caught:
        rnnx.load_model(tmp_path / "n.keras")
    assert str(caught.value).count("'Sine'") == 1


def graph(path: Path, *operators: str) -> Path:
    """A chain of nodes that take one value."""
    names = [f"v{k}" for k in range(len(operators) + 1)]
    nodes = [
        helper.make_node(operator, [a], [b], domain="" if operator[0].isupper() else "own")
        for operator, a, b in zip(operators, names[:-1], names[1:], strict=True)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in (names[0], names[-1])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("own", 1)], ir_version=9,
    )  # fmt: skip
    onnx.save(model, path)
    return path


def test_all_operators_of_a_graph_that_are_no_layers(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", "Relu", "Sinh", "Tanh", "Atan", "Acosh", "Atan")
    with pytest.raises(FormatError) as caught:
        rnnx.load_model(path)
    said = str(caught.value)
    assert all(word in said for word in ("Sinh", "Atan", "Acosh", "Session(path) runs any graph"))
    assert "Relu" not in said and said.count("Sinh node") == 1
    assert Session(path).run({"v0": np.full((2, 3), 0.1, np.float32)})["v6"].shape == (2, 3)


def test_all_operators_that_nobody_runs(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", "Relu", "mine", "ImageDecoder", "Tanh", "yours")
    with pytest.raises(FormatError, match="mine.*yours.*ImageDecoder"):
        Session(path)
    said = "\n".join(info.lines(path))
    assert all(word in said for word in ("mine", "ImageDecoder", "yours"))


class Broken(layers.Dense):
    """Whose author made a mistake."""

    fault = "build"

    def __init__(self, units: int, **kwargs: Any):
        if self.fault == "init":
            raise TypeError("a mistake in the class")
        super().__init__(units, **kwargs)

    def build(self, input_shape: Any) -> None:
        if self.fault == "build":
            raise TypeError("a mistake in the class")
        if self.fault == "numpy":
            np.ones(3) + np.ones(4)
        super().build(input_shape)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [("init", TypeError, "a mistake"), ("build", TypeError, "a mistake"), ("numpy", ValueError, "operands could not")],
)
def test_a_mistake_in_somebodys_own_class(
    fault: str, kind: Any, message: str, suffix: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Broken, "fault", "none")
    path = tmp_path / f"m{suffix}"
    if suffix == ".keras":
        rnnx.Sequential([rnnx.Input((3,)), layers.Dense(2)]).save(path)
        objects: Any = {"Dense": Broken}
    else:
        rnnx.Sequential([rnnx.Input((3,)), Broken(2)]).save(path)
        objects = None
    monkeypatch.setattr(Broken, "fault", fault)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(kind, match=message) as caught:
            rnnx.load_model(path, custom_objects=objects)
    assert not isinstance(caught.value, FormatError) and "damaged" not in str(caught.value)
