"""SavedModel folders and checkpoints of tf.keras, read without TensorFlow."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats import _crc32c, info
from rnnx.formats.convert import convert
from rnnx.saving import FormatError
from tests.fuzz import checkpoints
from tests.golden import keras_archive
from tests.golden.store import DATA

NAMES = ("compiled", "words", "graph", "cells", "stateful", "frozen")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    keras_archive.unpack_all(DATA / "keras_files" / "saved_model.tar.xz", folder)
    return folder


def case(files: Path, name: str) -> tuple[Any, list[Any]]:
    """Input(s) and outputs of a golden model."""
    with np.load(files / "outputs.npz") as found:
        x, y = ([found[key] for key in sorted(found) if key.startswith(f"{name}/{part}")] for part in "xy")
    return (x if len(x) > 1 else x[0]), y


def outputs(model: Any, x: Any) -> list[Any]:
    y = model(x)
    return y if isinstance(y, list) else [y]


@pytest.mark.parametrize("name", NAMES)
def test_folders_give_what_tensorflow_gave(name: str, files: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = rnnx.load_model(files / name)
    x, wanted = case(files, name)
    for y, want in zip(outputs(model, x), wanted, strict=True):
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["weights/{}", "weights/{}.index", "{}", "{}/variables/variables"])
def test_weights_of_checkpoints(name: str, form: str, files: Path) -> None:
    model = rnnx.load_model(files / name, compile=False)
    wanted = model.get_weights()
    model.set_weights([np.zeros_like(value) for value in wanted])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hard_sigmoid, which the words of rnnx do not mean
        model.load_weights(files / form.format(name))
    for value, want in zip(model.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(value, want)


def test_compiled_as_it_was(files: Path) -> None:
    model = rnnx.load_model(files / "compiled")
    assert type(model.optimizer).__name__ == "Adam" and abs(model.optimizer.learning_rate - 0.01) < 1e-9
    x, _ = case(files, "compiled")
    logs = model.evaluate(x, np.zeros(len(x), int), verbose=0, return_dict=True)
    assert set(logs) == {"loss", "accuracy"}
    assert rnnx.load_model(files / "compiled", compile=False).optimizer is None


def test_description_and_conversion(files: Path, tmp_path: Path) -> None:
    told = info.lines(files / "graph")
    assert told[0] == f"{files / 'graph'}: SavedModel of Keras" and "version: 2.12.0" in told
    assert any("gru (GRU) units=2" in line and "compat=tf_keras2" in line for line in told)
    told = info.lines(files / "weights" / "compiled")
    assert "  layer_with_weights-1/cell/recurrent_kernel  float32 (3, 9)" in told
    done = convert(files / "graph", tmp_path / "graph.keras")
    assert done.largest_difference < 1e-6


# ---- What is refused -------------------------------------------------------------------------------------------------


def test_a_class_of_ones_own(files: Path) -> None:
    with pytest.raises(FormatError, match="own: the model is of the class 'Own'; only .* export it to ONNX"):
        rnnx.load_model(files / "own")


def test_functions_alone(files: Path, tmp_path: Path) -> None:
    """What ``model.export`` of Keras 3 writes."""
    folder = tmp_path / "exported"
    folder.mkdir()
    with pytest.raises(FormatError, match="exported: a folder, not a regular file"):
        rnnx.load_model(folder)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    line = "python -m tf2onnx.convert --saved-model exported --output model.onnx"
    for act in (rnnx.load_model, info.lines):
        with pytest.raises(FormatError, match=line):
            act(folder)
    with pytest.raises(FormatError, match="a part of a SavedModel; give its folder, .*exported"):
        rnnx.load_model(folder / "saved_model.pb")


def test_a_checkpoint_is_no_model(files: Path) -> None:
    with pytest.raises(FormatError, match="holds weights, not a model; use model.load_weights"):
        rnnx.load_model(files / "weights" / "compiled")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([layers.LSTM(4), layers.Dense(2)], "the file has 3 layers with weights for 'sequential.*', the model has 2"),
        (
            [layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(2, use_bias=False)],
            "'dense.*' has the weights kernel, the file has kernel, bias for it",
        ),
        (
            [layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(3)],
            r"weight 'kernel' of 'dense.*' has shape \(3, 3\), the file has an array of shape \(3, 2\)",
        ),
    ],
)
def test_weights_that_do_not_fit(parts: list[Any], reason: str, files: Path) -> None:
    model = rnnx.Sequential([rnnx.Input((7, 3)), *parts])
    before = model.get_weights()
    with pytest.raises(FormatError, match=reason):
        model.load_weights(files / "weights" / "compiled")
    for value, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, want)


@pytest.mark.parametrize("where", [20, -60])
@pytest.mark.parametrize("name", [checkpoints.INDEX, checkpoints.ARRAYS])
def test_one_bit_is_noticed(name: str, where: int, files: Path, tmp_path: Path) -> None:
    """By the checksums that TensorFlow keeps of arrays and of the index."""
    folder = Path(shutil.copytree(files / "frozen", tmp_path / "frozen"))
    data = bytearray((folder / name).read_bytes())
    data[where] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(FormatError, match="frozen"):
        rnnx.load_model(folder)


@pytest.mark.parametrize("name", [checkpoints.INDEX, checkpoints.ARRAYS, checkpoints.METADATA])
def test_cut_off_or_missing(name: str, files: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(files / "frozen", tmp_path / "frozen"))
    data = (folder / name).read_bytes()
    for length in (0, 7, len(data) // 2, len(data) - 1):
        (folder / name).write_bytes(data[:length])
        with pytest.raises(FormatError, match="frozen"):
            rnnx.load_model(folder)
    (folder / name).unlink()
    with pytest.raises((FormatError, FileNotFoundError), match="frozen"):
        rnnx.load_model(folder)


def test_a_checkpoint_of_tensorflow_1(tmp_path: Path) -> None:
    (tmp_path / "cp.index").write_bytes(checkpoints.table({b"": checkpoints.message([(1, 1)]), b"dense/kernel": b""}))
    (tmp_path / "cp.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(FormatError, match="cp: a checkpoint without objects, of TensorFlow 1"):
        rnnx.Sequential([rnnx.Input((3,)), layers.Dense(2)]).load_weights(tmp_path / "cp")


# ---- The checksum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wanted"),  # of RFC 3720, B.4
    [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_known_checksums(data: bytes, wanted: int) -> None:
    assert _crc32c.crc32c(data) == wanted


@pytest.mark.parametrize("size", [_crc32c.SMALL, _crc32c.SMALL + 1, 3 * _crc32c.LANES + 5, 100_003])
def test_pieces_give_the_checksum_of_the_whole(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    found = _crc32c.crc32c(data)
    monkeypatch.setattr(_crc32c, "SMALL", size)
    assert _crc32c.crc32c(data) == found
