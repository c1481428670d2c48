"""The values are those of Keras 3.15 (its legacy preprocessing words)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rnnx.preprocessing import text

TEXTS = ["The cat sat on the mat.", "The dog sat; the dog!", "A bird"]


@pytest.mark.parametrize(
    ("options", "ids", "texts", "first"),
    [
        ({}, [[1, 3], [6, 4]], ["the dog", "mat cat"], ["the", "sat", "dog", "cat"]),
        ({"num_words": 4}, [[1, 3], []], ["the dog", ""], ["the", "sat", "dog", "cat"]),
        ({"oov_token": "<OOV>"}, [[2, 4, 1], [7, 5]], ["the dog <OOV>", "mat cat"], ["<OOV>", "the", "sat", "dog"]),
        ({"num_words": 4, "oov_token": "<OOV>"}, [[2, 1, 1], [1, 1]], ["the <OOV> <OOV>", "<OOV> <OOV>"],
         ["<OOV>", "the", "sat", "dog"]),
        ({"char_level": True, "num_words": 6}, [[2, 4, 5, 1, 1, 5], [3, 2, 1, 3, 2]], ["t h e     e", "a t   a t"],
         [" ", "t", "a", "h"]),
        ({"lower": False, "filters": ""}, [[2, 7], [3]], ["the dog", "cat"], ["The", "the", "cat", "sat"]),
    ],
)  # fmt: skip
def test_tokenizer(options: Any, ids: Any, texts: Any, first: Any) -> None:
    tokenizer = text.Tokenizer(**options)
    tokenizer.fit_on_texts(TEXTS)
    found = tokenizer.texts_to_sequences(["the dog flew", "mat cat"])
    assert found == ids
    assert tokenizer.sequences_to_texts(found) == texts
    assert [tokenizer.index_word[k] for k in range(1, 5)] == first == list(tokenizer.word_index)[:4]
    again = text.tokenizer_from_json(tokenizer.to_json())
    assert vars(again) == vars(tokenizer)


@pytest.mark.parametrize(
    ("mode", "row"),
    [
        ("binary", [0, 1, 1, 1, 0]),
        ("count", [0, 2, 1, 1, 0]),
        ("freq", [0, 0.5, 0.25, 0.25, 0]),
        ("tfidf", [0, 1.1736, 0.693147, 0.916291, 0]),
    ],
)
def test_matrices(mode: str, row: list[float]) -> None:
    tokenizer = text.Tokenizer(num_words=5)
    tokenizer.fit_on_texts(TEXTS)
    assert tokenizer.document_count == 3
    assert tokenizer.word_docs["the"] == 2 and tokenizer.word_counts["the"] == 4
    found = tokenizer.texts_to_matrix(["the the dog sat", "bird"], mode)
    np.testing.assert_allclose(found, [row, [0] * 5], atol=1e-6)


def test_lists_of_words_and_sequences() -> None:
    tokenizer = text.Tokenizer()
    tokenizer.fit_on_texts([["Big", "cat"], ["cat"]])
    assert tokenizer.texts_to_sequences([["CAT", "big"]]) == [[1, 2]]
    alone = text.Tokenizer(num_words=4)
    alone.fit_on_sequences([[1, 2], [2, 2, 3]])
    np.testing.assert_allclose(alone.sequences_to_matrix([[2]], "tfidf"), [[0, 0, np.log(1 + 2 / 3), 0]])
    words = text.Tokenizer(analyzer=lambda line: line.split("|"))
    words.fit_on_texts(["a|b c", "a"])
    assert words.word_index == {"a": 1, "b c": 2}


def test_words_and_hashes() -> None:
    assert text.text_to_word_sequence("A-b\tc\nd, E", lower=False) == ["A", "b", "c", "d", "E"]
    assert text.hashing_trick("the cat the mat", 100, "md5") == [51, 3, 51, 26]
    assert text.hashing_trick("a b", 9, len) == [2, 2]
    assert all(1 <= k < 5 for k in text.one_hot("some words of a text", 5))
    assert text.text_to_word_sequence(text="A b") == ["a", "b"]  # the name before Keras 2.4
    assert text.one_hot(text="a b", n=9) == text.one_hot(input_text="a b", n=9)


def test_mistakes_are_named() -> None:
    tokenizer = text.Tokenizer()
    for call in (tokenizer.fit_on_texts, tokenizer.texts_to_sequences):
        with pytest.raises(TypeError, match="got one string"):
            call("text")
    with pytest.raises(TypeError, match="unknown argument.*word"):
        text.Tokenizer(words=3)
    with pytest.warns(UserWarning, match="num_words"):
        assert text.Tokenizer(nb_words=3).num_words == 3
    with pytest.raises(ValueError, match="fit_on_texts"):
        tokenizer.texts_to_matrix(["a"])
    with pytest.raises(ValueError, match="'binary', 'count', 'freq', 'tfidf'"):
        tokenizer.texts_to_matrix(["a"], "idf")
    with pytest.raises(ValueError, match="tfidf"):
        text.Tokenizer(num_words=3).sequences_to_matrix([[1]], "tfidf")
    with pytest.raises(ValueError, match="at least 2, got 1"):
        text.hashing_trick("a", 1)
    assert json.loads(tokenizer.to_json(indent=1))["class_name"] == "Tokenizer"
