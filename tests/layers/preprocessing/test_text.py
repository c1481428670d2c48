"""Texts as ids: what `TextVectorization` takes and gives, alone and in models."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers, utils
from rnnx.layers import TextVectorization

TEXTS = ["The cat sat, the cat!", "a dog sat", "the end"]


def test_text_vectorization():
    ids = TextVectorization()
    ids.adapt(TEXTS)
    assert ids.get_vocabulary() == ["", "[UNK]", "the", "sat", "cat", "end", "dog", "a"]  # of equals the last, as Keras
    assert ids.vocabulary_size() == 8
    assert ids(["the bird sat", "", "A dog?"]).tolist() == [[2, 1, 3], [0, 0, 0], [7, 6, 0]]
    assert ids("the cat").tolist() == [2, 4]
    assert ids(np.array([["a"], ["dog"]])).tolist() == [[7], [6]]
    assert ids([b"the", "sat"]).tolist() == [[2], [3]]
    assert ids([]).shape == (0, 0)
    again = TextVectorization(vocabulary=ids.get_vocabulary())
    assert again(TEXTS).tolist() == ids(TEXTS).tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_tokens": 4}, [[2, 1, 3, 2, 1], [1, 1, 3, 0, 0], [2, 1, 0, 0, 0]]),
        ({"output_sequence_length": 2}, [[2, 4], [7, 6], [2, 5]]),
        ({"output_sequence_length": 6}, [[2, 4, 3, 2, 4, 0], [7, 6, 3, 0, 0, 0], [2, 5, 0, 0, 0, 0]]),
        ({"ragged": True}, [[2, 4, 3, 2, 4], [7, 6, 3], [2, 5]]),
    ],
)
def test_forms_of_text_vectorization(options, expected):
    ids = TextVectorization(**options)
    ids.adapt(TEXTS)
    assert [row.tolist() for row in ids(TEXTS)] == expected


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, ["ab", "cd"]),
        ({"standardize": None}, ["Ab,", "cD"]),
        ({"standardize": "lower"}, ["ab,", "cd"]),
        ({"standardize": "strip_punctuation"}, ["Ab", "cD"]),
        ({"standardize": str.upper}, ["AB,", "CD"]),
        ({"split": "character"}, ["a", "b", " ", "c", "d"]),
        ({"split": None}, ["ab cd"]),
        ({"ngrams": 2}, ["ab", "cd", "ab cd"]),
        ({"split": lambda text: text.split("b")}, ["a", " cd"]),
    ],
)
def test_tokens(options, tokens):
    assert TextVectorization(**options).tokens("Ab, cD") == tokens


def test_bad_texts():
    ids = TextVectorization()
    with pytest.raises(RuntimeError, match="adapt"):
        ids(TEXTS)
    with pytest.raises(TypeError, match="one string"):
        ids.adapt("text")
    with pytest.raises(TypeError, match="must be strings, got int"):
        ids.adapt([3])
    with pytest.raises(ValueError, match="twice"):
        ids.set_vocabulary(["a", "b", "a"])
    for options in (
        {"max_tokens": 2}, {"output_sequence_length": 0}, {"standardize": "upper"}, {"split": "word"}, {"ngrams": 0},
        {"output_mode": "ids"}, {"ragged": True, "output_mode": "count"}, {"pad_to_max_tokens": True}, {"sparse": True},
        {"output_sequence_length": 3, "output_mode": "count"}, {"idf_weights": [0.5]}, {"ngrams": (1, "2")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(options))):
            TextVectorization(**options)
    with pytest.raises(ValueError, match="split=None"):
        TextVectorization(vocabulary=["a"])([["a", "b"]])
    with pytest.raises(ValueError, match="the most is max_tokens = 3"):
        TextVectorization(max_tokens=3).set_vocabulary(["a", "b"])
    with pytest.raises(ValueError, match="nothing to adapt"):
        TextVectorization(vocabulary=["a"]).adapt(["b"])
    with pytest.raises(ValueError, match="empty"):
        TextVectorization().set_vocabulary([])


def test_batches_of_texts_are_learned() -> None:
    whole, parts, rows = TextVectorization(), TextVectorization(), TextVectorization()
    whole.adapt(TEXTS)
    parts.adapt(batch for batch in (np.array(TEXTS[:2]), TEXTS[2:], ["zoo"]) if len(batch))
    rows.adapt(np.array(TEXTS)[:, None])
    assert whole.get_vocabulary() == rows.get_vocabulary()
    assert parts.get_vocabulary() == ["", "[UNK]", "the", "sat", "cat", "zoo", "end", "dog", "a"]
    parts.adapt(iter([TEXTS[:1], TEXTS[1:]]), steps=1)
    assert parts.get_vocabulary() == ["", "[UNK]", "the", "cat", "sat"]
    assert parts.get_vocabulary(include_special_tokens=False) == ["the", "cat", "sat"]


def test_a_vocabulary_from_a_file(tmp_path: Any) -> None:
    ids = TextVectorization()
    ids.adapt(TEXTS)
    for words in (ids.get_vocabulary(), ids.get_vocabulary(include_special_tokens=False)):
        path = tmp_path / "words.txt"
        path.write_text("\n".join(words))
        for where in (path, str(path)):
            assert TextVectorization(vocabulary=where).get_vocabulary() == ids.get_vocabulary()
    path.write_text("12\n-3\n")
    assert layers.IntegerLookup(vocabulary=path)([-3, 5, 12]).tolist() == [2, 0, 1]
    with pytest.raises(FileNotFoundError):
        TextVectorization(vocabulary=tmp_path / "none.txt")
    with pytest.raises(ValueError, match="idf_weights"):
        TextVectorization(vocabulary=path, output_mode="tf_idf")


def test_a_file_of_a_model_reads_no_other_file(tmp_path: Any) -> None:
    (tmp_path / "words.txt").write_text("secret")
    ids = TextVectorization(vocabulary=["a"])
    get_config = ids.get_config
    model = rnnx.Sequential([rnnx.Input((1,), dtype="string"), ids])
    for suffix in ("safetensors", "keras"):
        ids.get_config = lambda: {**get_config(), "vocabulary": str(tmp_path / "words.txt")}  # type: ignore[method-assign]
        model.save(tmp_path / f"m.{suffix}")
        with pytest.raises(ValueError, match="which is not read"):
            rnnx.load_model(tmp_path / f"m.{suffix}")


READERS = np.array(["the cat sat", "a dog", "end of the dog", "cat"] * 6)
LABELS = np.tile([1.0, 0.0, 0.0, 1.0], 6)


@pytest.mark.parametrize("entry", [(1,), (), None])
def test_models_of_texts(entry: Any, tmp_path: Any) -> None:
    utils.set_random_seed(1)
    ids = TextVectorization(output_sequence_length=4)
    ids.adapt(READERS)
    model = rnnx.Sequential([] if entry is None else [rnnx.Input(entry, dtype="string")])
    for layer in (
        ids, layers.Embedding(ids.vocabulary_size(), 6, mask_zero=True), layers.GRU(6), layers.Dense(1, "sigmoid"),
    ):  # fmt: skip
        model.add(layer)
    model.compile(rnnx.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(READERS, LABELS, epochs=12, verbose=0, validation_split=0.25).history
    assert history["val_accuracy"][-1] == 1.0
    expected = model.predict(READERS[:3])
    for x in (READERS[:3, None], READERS[:3].tolist(), [[text] for text in READERS[:3]], READERS[:3].astype(object)):
        np.testing.assert_array_equal(model.predict(x), expected)
        np.testing.assert_array_equal(model(x), expected)
    for again in (pickle.loads(pickle.dumps(model)), rnnx.models.clone_model(model)):
        assert again.layers[0].get_vocabulary() == ids.get_vocabulary()
    for suffix in ("safetensors", "keras", "h5"):
        model.save(tmp_path / f"m.{suffix}")
        again = rnnx.load_model(tmp_path / f"m.{suffix}")
        np.testing.assert_array_equal(again.predict(READERS[:3]), expected)
        again.layers[0].adapt(["other words"])  # it was learned, and may be again


def test_texts_beside_numbers(tmp_path: Any) -> None:
    bags = TextVectorization(output_mode="tf_idf")
    bags.adapt(READERS)
    text, numbers = rnnx.Input((1,), dtype="string", name="text"), rnnx.Input((2,), name="numbers")
    model = rnnx.Model([text, numbers], layers.Dense(1)(layers.Concatenate()([bags(text), numbers])))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(24, 2))
    model.fit({"text": READERS, "numbers": x}, LABELS, verbose=0)
    expected = model.predict([READERS, x])
    for suffix in ("safetensors", "keras", "h5"):
        model.save(tmp_path / f"m.{suffix}")
        np.testing.assert_array_equal(rnnx.load_model(tmp_path / f"m.{suffix}").predict([READERS, x]), expected)
    with pytest.raises(RuntimeError, match="as many, got 4"):
        bags.adapt(["other words there"])


def test_what_models_refuse() -> None:
    text = rnnx.Input((1,), dtype="string")
    with pytest.raises(RuntimeError, match="call adapt"):
        TextVectorization(output_mode="count")(text)
    with pytest.raises(ValueError, match="ragged"):
        TextVectorization(ragged=True)(text)
    model = rnnx.Model(text, TextVectorization(vocabulary=["a"])(text))
    with pytest.raises(TypeError, match="must be strings, got int"):
        model.predict(np.array([[1]]))
    with pytest.raises(TypeError, match="must be strings, got float"):
        model(np.array(["a", 1.5], object))
    own = rnnx.Sequential(
        [rnnx.Input((1,), dtype="string"), TextVectorization(standardize=str.upper, vocabulary=["A"])]
    )
    assert own.predict(np.array(["a b"])).tolist() == [[2, 1]]
    with pytest.raises(ValueError, match=r"`standardize` is a function \(upper\), and no code is saved"):
        own.save("m.safetensors")


def test_pickles_of_0_1_0() -> None:
    old = TextVectorization.__new__(TextVectorization)
    state = {"max_tokens": 9, "standardize": "lower", "split": "character", "output_sequence_length": 3,
             "ragged": False, "_ids": {"a": 2, "b": 3}}  # fmt: skip
    old.__setstate__(state)
    assert old(["BaX", "a"]).tolist() == [[3, 2, 1], [2, 0, 0]]
    assert utils.TextVectorization is TextVectorization
    assert pickle.loads(pickle.dumps(old))(["b"]).tolist() == [[3, 0, 0]]
