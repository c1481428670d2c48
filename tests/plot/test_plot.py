"""The pictures show what the layers do: their numbers are compared with those of calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest

import rnnx
from rnnx import layers, plot

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def picture(ax: Any) -> np.ndarray:
    (image,) = ax.images
    return np.asarray(image.get_array(), float)


def titles(figure: Any) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


@pytest.mark.parametrize("row", [0, 2])
def test_masks_of_a_layer_are_those_of_its_next_call(row: int) -> None:
    layer = layers.LSTM(5, dropout=0.5, recurrent_dropout=0.4, zoneout=(0.3, 0.2), seed=3, name="memory")
    x = np.ones((3, 7, 4), np.float32)
    layer(x, training=True)
    figure = plot.masks(layer, x, row=row)
    again = plot.masks(layer, x, row=row)
    _, masks = layer(x, training=True, return_masks=True)
    wanted = {
        "memory: input": np.broadcast_to(masks.inputs[:, row], (4, 7, 4)) > 0,
        "memory: state, before its product": np.broadcast_to(masks.recurrent[:, row], (4, 7, 5)) > 0,
        "memory: zoneout of the state": masks.zoneout_hidden[None, row] == 0,
        "memory: zoneout of the memory cell": masks.zoneout_cell[None, row] == 0,
    }
    assert titles(figure) == list(wanted)
    for ax, other, mask in zip(figure.axes, again.axes, wanted.values(), strict=True):
        np.testing.assert_array_equal(picture(ax), np.concatenate([band.T for band in mask]))
        np.testing.assert_array_equal(picture(ax), picture(other))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["i", "f", "c", "o"]


@pytest.mark.parametrize(
    "mode, place", [("update", "update of the state"), ("cell", "memory cell"), ("weights", "recurrent kernel")]
)
def test_masks_of_the_other_modes(mode: str, place: str) -> None:
    layer = layers.LSTM(4, recurrent_dropout=0.5, recurrent_dropout_mode=mode, seed=1, name="lstm")
    x = np.ones((2, 6, 3), np.float32)
    figure = plot.masks(layer, x)
    mask = layer.sample_masks(2, 6).recurrent
    assert titles(figure) == [f"lstm: {place}"]
    wanted = mask if mode == "weights" else np.broadcast_to(mask[0, 0], (6, 4)).T
    np.testing.assert_array_equal(picture(figure.axes[0]), wanted > 0)


def test_masks_of_noise_layers() -> None:
    x = np.ones((2, 6, 4), np.float32)
    for layer in (layers.Dropout(0.5, seed=1), layers.SpatialDropout1D(0.5, seed=1), layers.AlphaDropout(0.5, seed=1)):
        figure = plot.masks(layer, x)
        y = layer(x, training=True)[0].T
        np.testing.assert_array_equal(picture(figure.axes[0]), y == y.max())
    assert not picture(plot.masks(layers.Dropout(1.0), x).axes[0]).any()
    layer = layers.GaussianNoise(0.5, seed=2)
    figure = plot.masks(layer, x)
    np.testing.assert_allclose(picture(figure.axes[0]), layer(x, training=True)[0].T, rtol=1e-6)


def test_masks_of_a_model() -> None:
    model = rnnx.Sequential(
        [
            layers.Input((None, 3)),
            layers.Conv1D(5, 2, name="conv"),
            layers.Dropout(0.5, seed=1, name="drop"),
            layers.Bidirectional(layers.GRU(4, dropout=0.5, seed=2, return_sequences=True), name="both"),
            layers.RNN([layers.LSTMCell(2, dropout=0.5, seed=5), layers.GRUCell(6, dropout=0.5, seed=6)], name="stack"),
            layers.Dense(2),
        ]
    )
    x = np.ones((2, 6, 3), np.float32)
    figure = plot.masks(model, x)
    widths = [len(picture(ax)) for ax in figure.axes]
    shown = [title.rsplit(" ", 1)[1] for title in titles(figure)]
    assert (widths, shown) == ([5, 5, 5, 8, 2], ["output", "input", "input", "input", "input"])
    assert {picture(ax).shape[1] for ax in figure.axes} == {5}  # steps behind the convolution
    assert model.seed_generators()[0].state[1] == 0


def test_masks_that_cannot_be_drawn() -> None:
    x = np.ones((2, 6, 3), np.float32)
    with pytest.raises(ValueError, match="nothing is dropped in 'calm'"):
        plot.masks(layers.GRU(4, name="calm"), x)
    with pytest.raises(ValueError, match="`row` must be below the batch size 2, got 2"):
        plot.masks(layers.GRU(4, dropout=0.5), x, row=2)
    with pytest.raises(ValueError, match="'td' .TimeDistributed. drops cannot be drawn"):
        plot.masks(layers.TimeDistributed(layers.Dropout(0.5), name="td"), x)
    built = layers.GRU(4, dropout=0.5)
    built(x)
    with pytest.raises(ValueError, match=r"`x` must have shape \(batch, timesteps, features\), got \(6, 3\)"):
        plot.masks(built, x[0])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("backwards", [False, True])
def test_gates_end_in_the_outputs_of_the_layer(kind: str, backwards: bool) -> None:
    layer = getattr(layers, kind)(5, return_sequences=True, go_backwards=backwards, seed=1)
    x = np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32)
    figure = plot.gates(layer, x, row=1)
    shown = dict(zip(titles(figure), (ax for ax in figure.axes if ax.get_title()), strict=True))
    np.testing.assert_allclose(picture(shown["output h"]), layer(x)[1].T, atol=1e-6)
    if kind == "LSTM":
        o, c = picture(shown["output gate o"]), picture(shown["memory cell c"])
        np.testing.assert_allclose(o * np.tanh(c), layer(x)[1].T, atol=1e-6)


def test_gates_of_a_model() -> None:
    model = rnnx.Sequential([layers.Input((None, 3)), layers.Dense(4), layers.GRU(5, name="a", return_sequences=True),
                             layers.LSTM(2, name="b")])  # fmt: skip
    x = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    inner = model.get_layer("a")(model.layers[-3](x))
    np.testing.assert_allclose(
        picture([a for a in plot.gates(model, x).axes if a.get_title()][-1]), inner[0].T, atol=1e-6
    )
    assert "memory cell c" in titles(plot.gates(model, x, layer_name="b", row=-1))
    with pytest.raises(ValueError, match="expected an LSTM, GRU, SimpleRNN or a model, got Dense"):
        plot.gates(layers.Dense(3), x)
    with pytest.raises(ValueError, match="has no LSTM, GRU or SimpleRNN at its top level"):
        plot.gates(rnnx.Sequential([layers.Input((3,)), layers.Dense(1)]), np.ones((1, 3), np.float32))


def test_history() -> None:
    logs = {"loss": [3.0, 2.0, 1.0], "mae": [1.0, 1.0, 0.5], "val_loss": [3.0, 1.0, 2.0], "val_mae": [1.0, 0.9, 0.8]}
    figure = plot.history(logs)
    assert titles(figure) == ["loss", "mae"]
    assert [list(line.get_ydata()) for line in figure.axes[1].lines] == [logs["mae"], logs["val_mae"], [0.9]]
    assert titles(plot.history(logs, ["mae"])) == ["mae"]
    for bad, words in (({}, "no epochs"), ({"loss": []}, "no epochs")):
        with pytest.raises(ValueError, match=words):
            plot.history(bad)
    with pytest.raises(ValueError, match="there is no 'auc'; there are loss, mae"):
        plot.history(logs, ["auc"])
    for other in (None, [1.0], rnnx.Sequential([layers.GRU(4)])):
        with pytest.raises(TypeError, match="`history` must be what `fit` returned or its dict, got"):
            plot.history(other)


def test_uncertainty_bands() -> None:
    ax = plot.uncertainty(np.zeros((3, 1)), np.ones((3, 1)), truth=[1, 2, 3])
    outer, inner = (band.get_paths()[0].vertices[:, 1] for band in ax.collections)
    assert (outer.min(), outer.max(), inner.min(), inner.max()) == (-2, 2, -1, 1)
    samples = np.arange(101.0)[:, None] * np.ones(3)
    ax = plot.uncertainty(np.full(3, 50.0), samples=samples)
    outer, inner = (band.get_paths()[0].vertices[:, 1] for band in ax.collections)
    assert (outer.min(), outer.max(), inner.min(), inner.max()) == (5, 95, 25, 75)
    for given, words in (
        ({}, "one of `deviation` and `samples`"),
        ({"deviation": np.ones(4)}, r"`deviation` must have shape \(timesteps,\) with 3 steps, got \(4,\)"),
        ({"samples": np.ones((5, 2))}, "`samples` must have shape"),
    ):
        with pytest.raises(ValueError, match=words):
            plot.uncertainty(np.zeros(3), **given)


def test_reliability() -> None:
    truth = np.repeat([0, 1], [60, 40])
    ax = plot.reliability(truth, np.full((100, 2), [0.9, 0.1]), label="sure")  # right 60 times in 100
    plot.reliability(truth, np.full(100, 0.4), label="fair", ax=ax)  # of class 1; says 0 with 0.6
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "calibrated", "sure: error 0.300", "fair: error 0.000",
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    ax = plot.reliability(rng.normal(size=20000), np.zeros(20000), np.ones(20000))
    said, seen = ax.lines[-1].get_data()
    np.testing.assert_allclose(seen, said, atol=0.01)
    for given, words in (
        ((truth, np.full(100, 1.5)), r"must lie in \[0, 1\]"),
        ((truth, np.full((99, 2), 0.5)), "expected class numbers"),
        ((truth, np.zeros(100), np.zeros(100)), "`deviation` must be positive"),
        ((truth, np.zeros(100), np.ones(99)), "must have one shape"),
    ):
        with pytest.raises(ValueError, match=words):
            plot.reliability(*given)
    with pytest.raises(ValueError, match="`bins` must be a positive integer, got 0"):
        plot.reliability(truth, np.full(100, 0.4), bins=0)


def test_background_follows_the_style() -> None:
    with plt.style.context("dark_background"):
        figure = plot.masks(layers.Dropout(0.5, seed=1), np.ones((1, 4, 3), np.float32))
        assert figure.axes[0].images[0].cmap(0)[:3] == (0, 0, 0)


@pytest.mark.parametrize(
    ("door", "library"), [("plot", "matplotlib"), ("torch", "torch"), ("keras", "keras"), ("sklearn", "sklearn")]
)
def test_without_its_library_a_door_says_what_to_install(door: str, library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import rnnx.{door}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode and f"pip install 'rnnx[{door}]'" in run.stderr
