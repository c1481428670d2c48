"""Make ``keras_files/spectral.tar.xz``: models of Keras 3 with SpectralNormalization and ReversibleEmbedding.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_spectral``.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .keras_archive import pack
from .keras_torch import keras
from .store import DATA, random_like


def models() -> dict[str, Any]:
    """The models, by their names."""
    layers = keras.layers
    x = keras.Input((5, 3))
    y = layers.SpectralNormalization(layers.Conv1D(4, 2, padding="causal", name="inside"), 2, name="outside")(x)
    y = layers.SpectralNormalization(layers.Dense(2, activation="tanh"))(layers.GRU(3)(y))
    found = {"spectral": keras.Model(x, y)}
    ids = keras.Input((4,), dtype="int32")
    whole = keras.Input((4,))  # of numbers: Keras 3.15 casts what comes out to the dtype of the ids
    found["spectral_words"] = keras.Model(
        whole, layers.LSTM(2)(layers.SpectralNormalization(layers.Embedding(9, 3))(whole))
    )
    for name, options in {"tied": {"logit_soft_cap": 3.0, "mask_zero": True}, "apart": {"tie_weights": False}}.items():
        embedding = layers.ReversibleEmbedding(9, 3, name="words", **options)
        y = layers.GRU(3, return_sequences=True)(embedding(ids))
        found[f"reversible_{name}"] = keras.Model(ids, embedding(y, reverse=True))
    return found


def main() -> None:
    """Write the files."""
    rng = np.random.default_rng(31020)
    keras.config.set_floatx("float32")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        for key, model in models().items():
            model.set_weights(random_like(rng, [tuple(weight.shape) for weight in model.weights], scale=0.6))
            (x,) = model.inputs
            given = random_like(rng, [(3, *x.shape[1:])], scale=1.0)[0]
            if len(x.shape) == 2:
                given = rng.integers(0, 9, (3, *x.shape[1:])).astype(x.dtype)
            y = model.predict(given, verbose=0)
            for own, suffix in ((key, ".keras"), (f"{key}_h5", ".h5")):
                np.savez(folder / f"{own}.npz", x0=given, y0=y)
                model.save(folder / f"{own}{suffix}")
        pack(folder, DATA / "keras_files" / "spectral.tar.xz")


if __name__ == "__main__":
    main()
