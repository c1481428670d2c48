"""Trained networks inside public packages give what the engines of these packages give.

Command, in an environment with the ``golden`` extra (35 MB are fetched with pip, nothing is installed):
``pytest -m peers -s tests/peers/test_public_keras.py``.

sleepecg (BSD-3) stages sleep by two bidirectional GRUs behind a Masking layer, in ``.keras`` files of Keras 3; rnnmorph
(Apache-2.0) tags words in sentences by LSTMs with ``dropout=0.3, recurrent_dropout=0.3``, as JSON and weights of
tf.keras; medaka (MPL-2.0) reads genomes by bidirectional GRUs, as a checkpoint of PyTorch.
"""

from __future__ import annotations

import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import keras, torch

from .public import unpacked

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
TOLERANCE = 1e-5
SLEEP = ("wrn-gru-mesa", "wrn-gru-mesa-weighted", "ws-gru-mesa")


@pytest.fixture(scope="module")
def folder(public_folder: Path) -> Path:
    return public_folder


def report(name: str, difference: float, ours: float, theirs: float) -> None:
    print(f"\n{name}: largest difference {difference:.1e}, {ours * 1e3:.1f} ms against {theirs * 1e3:.1f} ms")


def timed(call: Any, x: Any) -> tuple[Any, float]:
    """The result, and the shortest of three times."""
    call(x)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        y = call(x)
        times.append(time.perf_counter() - start)
    return np.asarray(y), min(times)


@pytest.mark.parametrize("name", SLEEP)
def test_sleepecg(name: str, folder: Path, tmp_path: Path) -> None:
    import keras as framework

    with zipfile.ZipFile(unpacked("sleepecg==0.6.0", folder) / f"sleepecg/classifiers/{name}.zip") as archive:
        path = archive.extract("classifier.keras", tmp_path)
    model, theirs = rnnx.load_model(path), framework.models.load_model(path, compile=False)
    x = np.random.default_rng(0).normal(size=(4, 90, 36)).astype("float32")
    x[0, 60:] = x[1, :30] = x[2, 20:50] = -1  # masked at the end, at the start and in the middle
    y, ours = timed(lambda x: model.predict(x, verbose=0), x)
    wanted, other = timed(lambda x: theirs.predict(x, verbose=0), x)
    difference = float(np.abs(y - wanted).max())
    report(f"sleepecg {name}", difference, ours, other)
    assert difference <= TOLERANCE


@pytest.mark.parametrize("name", SLEEP)
def test_sleepecg_in_8_bits(name: str, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(unpacked("sleepecg==0.6.0", folder) / f"sleepecg/classifiers/{name}.zip") as archive:
        model = rnnx.load_model(archive.extract("classifier.keras", tmp_path))
    x = np.random.default_rng(3).normal(size=(48, 90, 36)).astype("float32")
    x[::2, 60:] = -1
    for data in (None, x[8:]):
        (report,) = rnnx.layers.quantization_report(model, x[:8], ["int8x16"], calibration_data=data)
        print(f"\nsleepecg {name}, {'nearest' if data is None else 'calibrated'}: {report}")
    assert report.largest <= 5e-3


class ReversedLSTM(rnnx.layers.LSTM):
    """rnnmorph's own layer: an LSTM that reads backwards and gives its outputs forwards."""

    def __init__(self, units: int, **options: Any):
        super().__init__(units, **{**options, "go_backwards": True})

    def forward(self, x: Any, **call: Any) -> Any:
        y, back = super().forward(x, **call)
        return y[:, ::-1], back and (lambda dy, **options: back(dy[:, ::-1], **options))


def morphology(language: str, folder: Path) -> tuple[Any, str, Path]:
    """rnnmorph's model, its configuration and the file of its weights."""
    place = unpacked("rnnmorph==0.4.1", folder) / f"rnnmorph-0.4.1/rnnmorph/models/{language}"
    text, weights = (place / "eval_model.json").read_text(), place / "eval_model.h5"
    return keras.from_json(text, weights=weights, custom_objects={"ReversedLSTM": ReversedLSTM}), text, weights


def sentences(model: Any, count: int, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, high, (count, 12, inputs.shape[-1])).astype("float32")
        for high, inputs in zip((2, 60), model.inputs, strict=True)
    ]


def moves_within(name: str, model: Any, data: Any, x: Any, tolerance: float = 5e-3) -> None:
    """How far 8-bit weights move outputs for ``x``, and those with which none moves too far for other data."""
    for allowed in (None, tolerance):
        (report,) = rnnx.layers.quantization_report(model, x, ["int8"], data, allowed)
        print(f"\n{name}, tolerance {allowed}: {report}")
    assert report.largest <= tolerance and report.bytes_after < 0.6 * report.bytes_before


@pytest.mark.parametrize("language", ["ru", "en"])
def test_rnnmorph_in_8_bits(language: str, folder: Path) -> None:
    model, _, _ = morphology(language, folder)
    moves_within(f"rnnmorph {language}", model, sentences(model, 200, 1), sentences(model, 20, 2))


@pytest.mark.parametrize("language", ["ru", "en"])
def test_rnnmorph(language: str, folder: Path) -> None:
    import tf_keras

    class Reversed(tf_keras.layers.LSTM):
        def __init__(self, units: int, **options: Any):
            super().__init__(units, **{**options, "go_backwards": True})

        def call(self, inputs: Any, **call: Any) -> Any:
            return tf_keras.backend.reverse(super().call(inputs, **call), 1)

    model, text, weights = morphology(language, folder)
    theirs = tf_keras.models.model_from_json(text, custom_objects={"ReversedLSTM": Reversed})
    theirs.load_weights(weights)
    noisy = [layer for layer in model.layers if isinstance(layer, rnnx.layers.LSTM)]
    assert [(layer.dropout, layer.recurrent_dropout) for layer in noisy] == [(0.3, 0.3)] * 2
    assert all(layer.recurrent_activation.name == "hard_sigmoid_keras2" for layer in noisy)
    x = sentences(model, 3, 0)
    y, ours = timed(lambda x: model.predict(x, verbose=0), x)
    wanted, other = timed(lambda x: theirs.predict(x, verbose=0), x)
    difference = float(np.abs(y - wanted).max())
    report(f"rnnmorph {language}", difference, ours, other)
    assert difference <= TOLERANCE
    masks = noisy[0].sample_masks(3, 12, training=True)
    assert masks.recurrent is not None and masks.inputs is not None


def genomes(folder: Path, tmp_path: Path) -> Any:
    """medaka's model, read from its archive; the file inside is left in ``tmp_path`` for PyTorch."""
    name = "medaka/data/r1041_e82_400bps_sup_v5.2.0_model_pt.tar.gz"
    path = unpacked("medaka==2.2.2", folder) / name
    with tarfile.open(path) as archive:
        archive.extract("model/weights.pt", tmp_path, filter="data")
    model = torch.load_model(path, modules=["gru", "linear"])
    model.add(rnnx.layers.Softmax())
    return model


def test_medaka_in_8_bits(folder: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).dirichlet(np.full(10, 0.3), size=(24, 1000)).astype("float32")
    moves_within("medaka r1041 sup", genomes(folder, tmp_path), x[4:], x[:4])


def test_medaka(folder: Path, tmp_path: Path) -> None:
    """Its float32 outputs are some 2e-5 from those in float64; ours must not be further off than it is."""
    import torch as framework

    model = genomes(folder, tmp_path)
    state = framework.load(tmp_path / "model/weights.pt", map_location="cpu", weights_only=True)

    def engine(dtype: Any) -> Any:
        gru = framework.nn.GRU(10, 128, num_layers=2, bidirectional=True, batch_first=True)  # as its GRUModel has them
        linear = framework.nn.Linear(256, 5)
        for part, prefix in ((gru, "gru."), (linear, "linear.")):
            part.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
            part.to(dtype)
        return lambda x: linear(gru(framework.from_numpy(x).to(dtype))[0]).softmax(dim=-1)

    x = np.random.default_rng(1).dirichlet(np.full(10, 0.3), size=(8, 1000)).astype("float32")
    with framework.inference_mode():
        exact = engine(framework.float64)(x).numpy()
        theirs, other = timed(engine(framework.float32), x)
    y, ours = timed(lambda x: model.predict(x, verbose=0), x)
    difference, own = float(np.abs(y - exact).max()), float(np.abs(theirs - exact).max())
    report(f"medaka r1041 sup (PyTorch itself: {own:.1e})", difference, ours, other)
    assert difference <= max(TOLERANCE, own)
