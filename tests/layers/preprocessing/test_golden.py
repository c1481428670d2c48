"""The values of Keras 3; see `tests.golden.make_keras_preprocessing`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, layers, load_model
from rnnx.layers.registry import layer_config, layer_from_config
from tests.golden.store import DATA

*CASES, OF_MODEL = json.loads((DATA / "keras_preprocessing.json").read_text(encoding="utf-8"))
NAMES = [f"{k}-{case[0]}-{'-'.join(map(str, case[1].values()))}" for k, case in enumerate(CASES)]


def same(found: Any, expected: Any) -> None:
    if isinstance(found, list):  # ragged
        assert [row.tolist() for row in found] == expected
    elif found.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
    else:
        assert found.tolist() == expected


@pytest.mark.parametrize(("kind", "options", "data", "x", "vocabulary", "y"), CASES, ids=NAMES)
def test_values(kind: str, options: Any, data: Any, x: Any, vocabulary: Any, y: Any) -> None:
    if isinstance(options.get("ngrams"), list):
        options["ngrams"] = tuple(options["ngrams"])
    layer = getattr(layers, kind)(**options)
    if data is not None:
        layer.adapt(np.array(data))
    if vocabulary is not None:
        assert layer.get_vocabulary() == vocabulary
        assert layer.vocabulary_size() == len(vocabulary)
    same(layer(np.array(x)), y)
    same(layer(x), y)
    if options.get("ragged"):
        return
    again = layer_from_config(json.loads(json.dumps(layer_config(layer))))
    if kind != "Normalization" or "mean" in options:
        same(again(np.array(x)), y)
    words = np.array(x).dtype.kind == "U"
    entry = Input(
        np.shape(x)[1:],
        dtype="string" if words else "int64" if kind.endswith(("Lookup", "Encoding", "Hashing")) else None,
    )
    output = layer(entry)
    assert all(want in (None, got) for want, got in zip(output.shape, np.shape(y), strict=True))
    same(Model(entry, output).predict(np.array(x)), y)


def test_the_words_of_a_file_of_keras(tmp_path: Path) -> None:
    x = [np.array(part) for part in OF_MODEL[3]]
    model = load_model(DATA / "keras_preprocessing.keras")
    same(model.predict(x), OF_MODEL[5])
    for suffix in ("keras", "h5", "safetensors"):
        model.save(tmp_path / f"m.{suffix}")
        same(load_model(tmp_path / f"m.{suffix}").predict(x), OF_MODEL[5])
    path = tmp_path / "damaged.keras"
    for old, new, match in (
        ("dog", "the", "has a word twice"),
        ("\n", " ", "do not fit"),
    ):
        with zipfile.ZipFile(DATA / "keras_preprocessing.keras") as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                target.writestr(name, data.replace(old.encode(), new.encode()) if name.endswith(".txt") else data)
        with pytest.raises(ValueError, match=match):
            load_model(path)
