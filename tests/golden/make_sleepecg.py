"""Two trained networks of sleepecg (BSD-3) with what Keras 3 computes from random features.

Command, in an environment with ``keras==3.15.1`` and a backend, which fetches the wheel of sleepecg 0.6.0 with pip:
``KERAS_BACKEND=jax python -m tests.golden.make_sleepecg``. It also writes ``LICENSE-sleepecg.txt``.
"""

import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tests.golden.store import DATA
from tests.peers.public import unpacked

from .keras_archive import pack

NAMES = ("wrn-gru-mesa", "ws-gru-mesa")


def main():
    import keras

    x = np.random.default_rng(0).normal(size=(4, 90, 36)).astype("float32")
    x[0, 60:] = x[1, :30] = x[2, 20:50] = -1  # masked at the end, at the start and in the middle
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name) / "wheel", Path(name) / "files"
        files.mkdir()
        place = unpacked("sleepecg==0.6.0", folder)
        for network in NAMES:
            with zipfile.ZipFile(place / f"sleepecg/classifiers/{network}.zip") as archive:
                (files / f"{network}.keras").write_bytes(archive.read("classifier.keras"))
            y = keras.models.load_model(files / f"{network}.keras", compile=False).predict(x, verbose=0)
            np.savez(files / f"{network}.npz", x0=x, y0=y)
        pack(files, DATA / "keras_files" / "sleepecg.tar.xz")
        (licence,) = place.glob("*.dist-info/licenses/LICENSE*")
        (DATA / "LICENSE-sleepecg.txt").write_bytes(licence.read_bytes())


if __name__ == "__main__":
    main()
