"""`Progbar`, `plot_model` and `model_to_dot`."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

import rnnx
from rnnx import layers, utils


def test_progbar(capsys: Any) -> None:
    bar = utils.Progbar(3, stateful_metrics=["rate"])
    for step, loss in enumerate((3.0, 1.0)):
        bar.update(step + 1, [("loss", loss), ("rate", loss)])
    assert bar.figures() == {"loss": 2.0, "rate": 1.0}
    assert capsys.readouterr().out == ""
    bar.add(1, [("loss", 5.0)])
    assert bar.figures() == {"loss": 5.0, "rate": 1.0}  # at the end the last value, as Keras
    assert "3/3 [====================]" in (line := capsys.readouterr().out) and line.endswith("loss: 5 - rate: 1\n")
    with pytest.raises(ValueError, match="not both"):
        utils.Progbar(3, stateful_metrics=[], stateless_metrics=[])


def test_progbar_of_unknown_length(capsys: Any) -> None:
    bar = utils.Progbar(None, stateless_metrics=["loss"], verbose=2)
    bar.update(1, [("loss", 1.0), ("rate", 4.0)])
    bar.update(2, [("loss", 2.0), ("rate", 5.0)])
    assert bar.figures() == {"loss": 1.5, "rate": 5.0}
    bar.update(3, finalize=True)
    assert capsys.readouterr().out.startswith("3/unknown")


def test_plot_model(tmp_path: Any) -> None:
    a, b = rnnx.Input((None, 3), name="first"), rnnx.Input((2,), name="<second>")
    h, state = layers.GRU(2, return_state=True, name="gru")(a)
    model = rnnx.Model([a, b], layers.Dense(1, "relu", name="out")(layers.Add()([state, b])))
    path = tmp_path / "model.svg"
    utils.plot_model(
        model, path, show_shapes=True, show_dtype=True, show_layer_names=True, show_layer_activations=True,
        show_trainable=True,
    )  # fmt: skip
    tree = ElementTree.parse(path)
    tag = "{http://www.w3.org/2000/svg}"
    texts = [node.text for node in tree.iter(f"{tag}text")]
    assert len(list(tree.iter(f"{tag}rect"))) == 5 and len(list(tree.iter(f"{tag}path"))) == 4
    assert {"gru (GRU)", "<second> (InputLayer)", "output: (None, 1)", "activation: relu", "trained"} <= set(texts)
    with pytest.warns(UserWarning, match=r"model.png is written as model.svg"):
        utils.plot_model(model, tmp_path / "model.png")
    assert [file.name for file in tmp_path.iterdir()] == ["model.svg"]
    with pytest.raises(ValueError, match="not built"):
        utils.plot_model(rnnx.Sequential([layers.Dense(1)]))
    with pytest.raises(ValueError, match="rankdir"):
        utils.plot_model(model, path, rankdir="LR")
    with pytest.raises(TypeError, match="colour"):
        utils.plot_model(model, path, colour=1)


def test_model_to_dot(tmp_path: Any) -> None:
    a, b = rnnx.Input((3,), name="a|b"), rnnx.Input((3,), name="b")
    model = rnnx.Model([a, b], layers.Dense(2, name="out")(layers.Add(name="sum")([a, b])))
    graph = utils.model_to_dot(model, show_shapes=True)
    lines = graph.to_string().splitlines()
    assert r'  0 [label="a\|b (InputLayer)\noutput: (None, 3)"];' in lines and "  2 -> 3;" in lines
    assert sum("->" in line for line in lines) == 3
    utils.plot_model(model, tmp_path / "m.svg", show_shapes=True, show_layer_names=True)
    assert graph.create(prog="dot", format="svg") == (tmp_path / "m.svg").read_bytes() == graph.create_svg()
    assert graph.write(tmp_path / "m.dot") and (tmp_path / "m.dot").read_text() == graph.to_string()
    assert "rankdir=LR" in utils.model_to_dot(model, rankdir="LR").to_string()
    with pytest.raises(ValueError, match="`format` must be 'svg' or 'dot', got 'png'"):
        graph.create(format="png")
    with pytest.raises(ValueError, match="`rankdir` must be 'TB' or 'LR', got 'BT'"):
        utils.model_to_dot(model, rankdir="BT")
    with pytest.warns(UserWarning, match="one box"):
        utils.model_to_dot(model, expand_nested=True)
