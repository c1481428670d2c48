"""Files of every generation of Keras open and give the outputs of the framework that wrote them."""

import warnings

import numpy as np
import pytest

import rnnx
from rnnx.formats import keras

from ...golden import keras_archive
from ...golden.store import DATA

FOLDER = DATA / "keras_files"
FILES = [
    (archive, name)
    for archive in ("keras", "blocks", "spectral", "tf_keras", "old", "sleepecg")
    for name in keras_archive.names(FOLDER / f"{archive}.tar.xz")
]
TOLERANCE = 1e-6
PROFILES = {
    "keras": "keras3", "blocks": "keras3", "spectral": "keras3", "tf_keras": "tf_keras2",
    "k1": "keras1", "k2": "keras2.2", "k2_lstm_2_3_1": "keras2.3",
    "k2_cudnn_gru_tf": "keras2.2", "tf20_gru": "tf_keras2.0", "tf1_lstm": "keras2.2",
}  # fmt: skip


def opened(archive, name, folder):
    """The model of a file, its inputs and outputs."""
    path = keras_archive.unpack(FOLDER / f"{archive}.tar.xz", name, folder)
    stem = name.split(".")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.endswith((".weights.h5", ".list.h5")):
            model = keras.from_json((folder / f"{stem}.json").read_text(), weights=path)
        else:
            model = rnnx.load_model(path)
    with np.load(folder / f"{stem}.npz") as arrays:
        kept = dict(arrays)
    x = [kept[word] for word in sorted(kept) if word[0] == "x"]
    return model, x, [kept[word] for word in sorted(kept) if word[0] == "y"]


def outputs(model, x):
    y = model.predict(x if model.several_inputs else x[0], verbose=0)
    return y if isinstance(y, list) else [y]


def test_there_are_enough_files():
    assert len(FILES) >= 220


@pytest.mark.parametrize(("archive", "name"), [f for f in FILES if not f[1].startswith("noisy")])
def test_outputs(archive, name, tmp_path):
    model, x, expected = opened(archive, name, tmp_path)
    found = outputs(model, x)
    assert len(found) == len(expected)
    for y, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    if name.endswith((".keras", ".h5")):
        model.save(tmp_path / "again.safetensors")
        again = rnnx.load_model(tmp_path / "again.safetensors")
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()
        for y, same in zip(outputs(model, x), outputs(again, x), strict=True):
            np.testing.assert_array_equal(y, same)


@pytest.mark.parametrize(("archive", "name"), [f for f in FILES if f[1].startswith("noisy")])
def test_masks_of_layers_called_with_training(archive, name, tmp_path):
    """Mean and deviation of outputs over 4,000 rows, and how far the steps of a row differ."""
    model, _, (mean, deviation, spread) = opened(archive, name, tmp_path)
    y = model.predict(np.ones((4000, 5, 3), "float32"), verbose=0, batch_size=4000)
    margin = 6 * deviation / np.sqrt(2000) + 1e-3
    assert (np.abs(y.mean(axis=0) - mean) < margin).all()
    np.testing.assert_allclose(y.std(axis=0), deviation, rtol=0.12, atol=2e-3)
    np.testing.assert_allclose(np.ptp(y, axis=1).mean(), spread, rtol=0.06, atol=1e-3)


@pytest.mark.parametrize(("archive", "name"), [f for f in FILES if f[1].endswith(".h5") and f[1].count(".") == 1])
def test_profile(archive, name, tmp_path):
    path = keras_archive.unpack(FOLDER / f"{archive}.tar.xz", name, tmp_path)
    found = keras.describe(path)
    stem = name.split(".")[0]
    wanted = PROFILES.get(stem) or PROFILES.get(archive) or PROFILES[stem.split("_")[0]]
    assert found["profile"] == wanted, found["reason"]
    assert found["layers"] and found["reason"]
