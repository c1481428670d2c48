"""Models that Keras 3 trained and saved come back compiled, and go on as they do in Keras."""

import json
import zipfile

import numpy as np
import pytest

import rnnx

from ...golden import keras_archive
from ...golden.make_keras_compiled import AFTER, BATCH
from ...golden.store import DATA

ARCHIVE = DATA / "keras_files" / "compiled.tar.xz"
NAMES = [name.removesuffix(".keras") for name in keras_archive.names(ARCHIVE)]


@pytest.fixture(params=NAMES)
def trained(request, tmp_path):
    """The path of a file, and what Keras found."""
    path = keras_archive.unpack(ARCHIVE, f"{request.param}.keras", tmp_path)
    with np.load(path.with_suffix(".npz")) as arrays:
        return path, dict(arrays)


def test_there_are_all_optimizers():
    assert NAMES == ["adagrad", "adam", "adamw", "amsgrad", "momentum", "muon", "nadam", "rmsprop", "sgd"]


def test_it_goes_on(trained):
    path, expected = trained
    model = rnnx.load_model(path)
    np.testing.assert_allclose(model.predict(expected["x"]), expected["output"], atol=1e-6)
    found = model.evaluate(expected["x"], expected["y"], return_dict=True)
    assert list(found) == ["loss", "accuracy", "top", "cross"]
    np.testing.assert_allclose(list(found.values()), [expected["loss"], *expected["figures"]], rtol=1e-5)
    assert model.optimizer.iterations == 6
    options = {"epochs": AFTER, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    losses = model.fit(expected["x"], expected["y"], **options).history["loss"]
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-5)


def test_what_rnnx_writes_is_laid_out_as_in_it(trained, tmp_path):
    import h5py

    path, _ = trained
    rnnx.load_model(path).save(tmp_path / "again.keras")
    shapes, configs = [], []
    for one in (path, tmp_path / "again.keras"):
        with zipfile.ZipFile(one) as archive, archive.open("model.weights.h5") as member, h5py.File(member) as file:
            found = {}
            file.visititems(lambda name, item, found=found: found.update({name: getattr(item, "shape", None)}))
            shapes.append({name: shape for name, shape in found.items() if shape is not None})
            for name in ("0", "1"):
                assert file["optimizer/vars"][name].dtype.itemsize == 4
            configs.append(json.loads(archive.read("config.json"))["compile_config"])
    assert shapes[0] == shapes[1]
    theirs, ours = configs
    for word in ("class_name", "config"):
        if word == "config":
            assert set(ours["optimizer"][word]) <= set(theirs["optimizer"][word])
        else:
            assert ours["optimizer"][word] == theirs["optimizer"][word]
    assert ours["loss"] == theirs["loss"] and ours["metrics"][0] == theirs["metrics"][0] == "accuracy"
    assert ours["metrics"][1]["module"] == theirs["metrics"][1]["module"] == "keras.metrics"
