"""Make ``keras_preprocessing.json``: what Keras 3's preprocessing layers give, as their configuration and plain lists.

And ``keras_preprocessing.keras``, a model whose words are in the archive, and what it gives as the last case.

Environment: ``pip install keras==3.15.1 tensorflow-cpu==2.21.0`` (several of these layers need TensorFlow).
Command, from the root of the repository: ``python -m tests.golden.make_keras_preprocessing``.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import zipfile
from typing import Any

import numpy as np

from .store import DATA

os.environ["KERAS_BACKEND"] = "tensorflow"
keras = importlib.import_module("keras")

TEXTS = [
    "The cat sat, the cat!", "a dog sat", "the end", "\u00c9coles\u00a0der  x\ty\x1cz \u0130I it's a-b", "",
    "dog [UNK] dog",
]  # fmt: skip
ASKED = ["the bird sat on the cat", "", "dog [UNK] zz zz", "\u00c9 \u00e9cole \u00e9coles\u00a0der"]
WORDS = [["a", "c", "d", "d"], ["d", "z", "b", "z"], ["", "a", "[UNK]", "q"]]
NUMBERS = [[12, 1138, 42, 42], [42, 1000, 36, 1000]]
MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")


def plain(value: Any) -> Any:
    """Nested lists of what Keras gives."""
    if type(value).__name__ == "RaggedTensor":
        return value.to_list()
    array = np.asarray(value)
    if array.dtype == object:
        return np.array([part.decode() for part in array.reshape(-1)]).reshape(array.shape).tolist()
    if array.dtype.kind == "f":
        return np.round(array.astype(float), 6).tolist()
    return array.tolist()


def cases() -> Any:
    """Class, arguments, data to adapt (or None) and inputs of every case."""
    for standardize in ("lower_and_strip_punctuation", "lower", "strip_punctuation", None):
        for split in ("whitespace", "character"):
            yield "TextVectorization", {"standardize": standardize, "split": split}, TEXTS, ASKED
    for mode, most in itertools.product(("int", "multi_hot", "count", "tf_idf"), (None, 6)):
        yield "TextVectorization", {"output_mode": mode, "max_tokens": most}, TEXTS, ASKED
    for options in (
        {"ngrams": 2}, {"ngrams": (2, 3), "output_mode": "count"}, {"output_sequence_length": 3}, {"ragged": True},
        {"output_sequence_length": 9}, {"max_tokens": 30, "pad_to_max_tokens": True, "output_mode": "tf_idf"},
    ):  # fmt: skip
        yield "TextVectorization", options, TEXTS, ASKED
    for options in (
        {"vocabulary": ["dog", "the"]}, {"vocabulary": ["", "[UNK]", "dog", "the"]},
        {"vocabulary": ["dog", "the"], "idf_weights": [0.5, 0.25], "output_mode": "tf_idf"},
        {"vocabulary": ["[UNK]", "dog", "the"], "idf_weights": [0.1, 0.5, 0.25], "output_mode": "tf_idf"},
    ):  # fmt: skip
        yield "TextVectorization", options, None, ASKED
    yield "TextVectorization", {"split": None, "output_sequence_length": 3}, WORDS, WORDS
    yield "TextVectorization", {"split": None, "ngrams": 2}, WORDS, WORDS
    for mode, oov, mask in itertools.product(MODES, (1, 3), (None, "")):
        yield "StringLookup", {"output_mode": mode, "num_oov_indices": oov, "mask_token": mask}, WORDS, WORDS
        mask = None if mask is None else 36
        for method in ("floormod", "farmhash"):
            options = {"output_mode": mode, "num_oov_indices": oov, "mask_token": mask, "oov_method": method}
            yield "IntegerLookup", options, NUMBERS, [*NUMBERS, [7, 8, 9, 36]]
    yield "StringLookup", {"vocabulary": ["a", "d"], "num_oov_indices": 5, "salt": [3, 4]}, None, WORDS
    yield "StringLookup", {"vocabulary": ["a", "d"], "invert": True}, None, [[0, 1, 2], [9, 2, 1]]
    yield "StringLookup", {"vocabulary": ["a", "d"], "invert": True, "mask_token": "m"}, None, [[0, 1, 2], [9, 2, 3]]
    yield "IntegerLookup", {"vocabulary": [12, 42], "invert": True, "mask_token": 0}, None, [[0, 1, 2], [9, 2, 3]]
    yield "StringLookup", {"max_tokens": 3}, WORDS, WORDS
    for mode in MODES[1:4]:
        for x in ([3, 2, 0, 1], [[0, 1], [0, 0], [1, 2], [3, 1]], [[1], [2]]):
            yield "CategoryEncoding", {"num_tokens": 4, "output_mode": mode}, None, x
    for options in ({}, {"salt": 5}, {"salt": [3, 4]}, {"mask_value": "a"}, {"output_mode": "count"}):
        yield "Hashing", {"num_bins": 7, **options}, None, WORDS
    long = [["x" * n] for n in (1, 3, 4, 7, 8, 12, 16, 17, 31, 32, 33, 50, 64, 65, 100, 128, 129, 300)]
    yield "Hashing", {"num_bins": 1_000_003}, None, long
    yield "Hashing", {"num_bins": 1_000_003, "salt": [11, 12]}, None, long
    yield "Hashing", {"num_bins": 7}, None, NUMBERS
    values = np.round(np.random.default_rng(3).normal(size=(60, 2)), 3).tolist()
    for mode in ("int", "one_hot", "multi_hot", "count"):
        yield "Discretization", {"bin_boundaries": [0.0, 1.0, 2.0], "output_mode": mode}, None, values[:5]
    for bins, epsilon in ((4, 0.01), (7, 0.1)):
        yield "Discretization", {"num_bins": bins, "epsilon": epsilon}, values, values[:9]
    block = np.round(np.random.default_rng(4).normal(2, 3, size=(4, 3, 2)), 3).tolist()
    for axis, invert in itertools.product((-1, None, 1, (1, 2)), (False, True)):
        yield "Normalization", {"axis": axis, "invert": invert}, block, block[:2]
    yield "Normalization", {"mean": 3.0, "variance": 2.0}, None, block
    yield "Normalization", {"axis": (1, 2), "mean": [1.0, 2.0], "variance": [1.0, 0.0]}, None, block[:1]
    yield "Rescaling", {"scale": 0.25, "offset": -1.0}, None, block[:1]


def model_of_texts() -> Any:
    """A model that Keras writes, what it reads, and what it gives."""
    layers = keras.layers
    text, name = keras.Input((), dtype="string"), keras.Input((1,), dtype="string")
    words = layers.TextVectorization(output_mode="tf_idf", max_tokens=9, pad_to_max_tokens=True)
    ids = layers.TextVectorization(output_sequence_length=4)
    names = layers.StringLookup(output_mode="one_hot", num_oov_indices=2)
    for layer, data in ((words, TEXTS), (ids, TEXTS), (names, np.array(WORDS)[:, :1])):
        layer.adapt(data)
    hidden = layers.GRU(2)(layers.Embedding(ids.vocabulary_size(), 2, mask_zero=True)(ids(text)))
    model = keras.Model([text, name], layers.Dense(2)(layers.Concatenate()([words(text), hidden, names(name)])))
    rng = np.random.default_rng(9)
    model.set_weights([w if w.dtype == object else rng.normal(size=w.shape) for w in model.get_weights()])
    x = [np.array(ASKED), np.array([["a"], ["d"], ["q"], [""]])]
    y = model([keras.ops.convert_to_tensor(part) for part in x])
    path = DATA / "keras_preprocessing.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # a small file
        for member, data in members.items():
            archive.writestr(member, data)
    return ["model", {}, None, [part.tolist() for part in x], None, plain(y)]


def main() -> None:
    made = []
    for kind, options, data, x in cases():
        layer = getattr(keras.layers, kind)(**options)
        if data is not None:
            layer.adapt(np.array(data) if kind != "TextVectorization" or options.get("split", "") is not None else data)
        vocabulary = None
        if hasattr(layer, "get_vocabulary"):
            whole = kind == "IntegerLookup"
            vocabulary = [v if v is None else int(v) if whole else str(v) for v in layer.get_vocabulary()]
        y = plain(layer(np.array(x)))
        made.append([kind, options, data, x, vocabulary, y])
    made.append(model_of_texts())
    text = ",\n".join(json.dumps(case) for case in made)
    (DATA / "keras_preprocessing.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    print(f"{len(made)} cases")


if __name__ == "__main__":
    main()
