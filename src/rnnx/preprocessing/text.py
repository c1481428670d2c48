"""Texts as numbers, in the words of Keras 2; `rnnx.layers.TextVectorization` is the newer way."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from rnnx._typing import Array

__all__ = ["Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
MODES = ("binary", "count", "freq", "tfidf")
Analyzer = Callable[[str], list[str]] | None


def _takes_text(function: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A function whose first argument was called ``text`` before Keras 2.4."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> list[Any]:
        if not args and "text" in options:
            args = (options.pop("text"),)
        return function(*args, **options)

    return called


@_takes_text
def text_to_word_sequence(input_text: str, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """The words of a text.

    Parameters
    ----------
    input_text : str
    filters : str
        Characters that stand between words.
    lower : bool
    split : str

    Examples
    --------
    >>> from rnnx.preprocessing.text import text_to_word_sequence
    >>> text_to_word_sequence("The cat, the mat!")
    ['the', 'cat', 'the', 'mat']
    """
    text = input_text.lower() if lower else input_text
    text = text.translate({ord(letter): split for letter in filters})
    return [word for word in text.split(split) if word]


@_takes_text
def one_hot(
    input_text: str,
    n: int,
    filters: str = FILTERS,
    lower: bool = True,
    split: str = " ",
    analyzer: Analyzer = None,
) -> list[int]:
    """Ids 1 to ``n - 1`` of the words of a text from Python's ``hash``, which differs from process to process.

    Use `hashing_trick` with ``hash_function="md5"`` for ids that stay.
    """
    return hashing_trick(input_text, n, hash, filters, lower, split, analyzer)


def hashing_trick(
    text: str,
    n: int,
    hash_function: Any = None,
    filters: str = FILTERS,
    lower: bool = True,
    split: str = " ",
    analyzer: Analyzer = None,
) -> list[int]:
    """Ids 1 to ``n - 1`` of the words of a text from a hash; different words may share one.

    Parameters
    ----------
    text : str
    n : int
    hash_function : callable, "md5" or None
        None is Python's ``hash``, which differs from process to process.
    filters, lower, split
        See `text_to_word_sequence`.
    analyzer : callable, optional
        Makes the words of a text.

    Examples
    --------
    >>> from rnnx.preprocessing.text import hashing_trick
    >>> hashing_trick("the cat the mat", 100, "md5")
    [51, 3, 51, 26]
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
        raise ValueError(f"hashing_trick: `n` must be an integer of at least 2, got {n!r}")
    number = _md5 if hash_function == "md5" else hash_function or hash
    words = text_to_word_sequence(text, filters, lower, split) if analyzer is None else analyzer(text)
    return [number(word) % (n - 1) + 1 for word in words]


def _md5(word: str) -> int:
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)


class Tokenizer:
    """Texts as lists of ids, or as rows of a matrix; the ids by how often words come, from 1 on.

    Parameters
    ----------
    num_words : int, optional
        Only ids below this are used.
    filters : str
        Characters that stand between words.
    lower : bool
    split : str
    char_level : bool
        Every character is a word.
    oov_token : str, optional
        Stands for unknown words, with id 1; without it they are left out.
    analyzer : callable, optional
        Makes the words of a text.

    Attributes
    ----------
    word_index, index_word : dict
        Id by word, word by id.
    word_counts, word_docs : dict
        How often a word comes, and in how many texts.
    index_docs : dict
        In how many texts an id comes.
    document_count : int

    Examples
    --------
    >>> from rnnx.preprocessing.text import Tokenizer
    >>> tokenizer = Tokenizer()
    >>> tokenizer.fit_on_texts(["the cat", "the dog"])
    >>> tokenizer.texts_to_sequences(["the bird and the dog"])
    [[1, 1, 3]]
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Analyzer = None,
        **kwargs: Any,
    ):
        if "nb_words" in kwargs:
            warnings.warn("Tokenizer: `nb_words` is called `num_words` now", UserWarning, stacklevel=2)
            num_words = kwargs.pop("nb_words")
        self.document_count: int = kwargs.pop("document_count", 0)
        if kwargs:
            raise TypeError(f"Tokenizer: unknown argument(s) {', '.join(sorted(kwargs))}")
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.word_counts: dict[str, int] = {}
        self.word_docs: dict[str, int] = {}
        self.index_docs: dict[int, int] = {}
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _words(self, text: Any) -> Any:
        """The words of a text, or of a list of them."""
        if self.char_level or isinstance(text, (list, tuple)):
            if not self.lower:
                return text
            return text.lower() if isinstance(text, str) else [word.lower() for word in text]
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Learn the words of these texts, in addition to those before.

        Parameters
        ----------
        texts : iterable of str, or of lists of words
        """
        if isinstance(texts, str):
            raise TypeError("Tokenizer: a list of texts is needed, got one string")
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in dict.fromkeys(words):
                self.word_docs[word] = self.word_docs.get(word, 0) + 1
        often = sorted(self.word_counts, key=lambda word: -self.word_counts[word])
        known = often if self.oov_token is None else [self.oov_token, *often]
        self.word_index = {word: k for k, word in enumerate(known, 1)}
        self.index_word = {k: word for word, k in self.word_index.items()}
        self.index_docs.update((self.word_index[word], count) for word, count in self.word_docs.items())

    def fit_on_sequences(self, sequences: Iterable[Any]) -> None:
        """Count in how many sequences each id comes, for `sequences_to_matrix`; needs no `fit_on_texts`."""
        for sequence in sequences:
            self.document_count += 1
            for number in set(sequence):
                self.index_docs[number] = self.index_docs.get(number, 0) + 1

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """Ids of the words of every text; those that are unknown or too rare are left out, or are the OOV token's."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """`texts_to_sequences`, text by text."""
        if isinstance(texts, str):
            raise TypeError("Tokenizer: a list of texts is needed, got one string")
        unknown = None if self.oov_token is None else self.word_index.get(self.oov_token)
        for text in texts:
            found = (self.word_index.get(word) for word in self._words(text))
            ids = (unknown if k is None or (self.num_words and k >= self.num_words) else k for k in found)
            yield [k for k in ids if k is not None]

    def sequences_to_texts(self, sequences: Iterable[Any]) -> list[str]:
        """The words of every sequence of ids, with spaces between them."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Any]) -> Iterator[str]:
        """`sequences_to_texts`, text by text."""
        unknown = self.oov_token if self.oov_token in self.word_index else None
        for sequence in sequences:
            found = ((number, self.index_word.get(number)) for number in sequence)
            words = (unknown if w is None or (self.num_words and k >= self.num_words) else w for k, w in found)
            yield " ".join(word for word in words if word is not None)

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> Array:
        """A row for each text; see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Any, mode: str = "binary") -> Array:
        """A row for each sequence of ids, with a column for each id.

        Parameters
        ----------
        sequences : list of lists of int
        mode : {"binary", "count", "freq", "tfidf"}
            Whether an id comes, how often, its share of the sequence, or ``(1 + log(count)) * log(1 + documents /
            (1 + documents with it))``.

        Returns
        -------
        array of shape (sequences, num_words)

        Raises
        ------
        ValueError
            If the mode is none of these, or nothing says how many columns there are.
        """
        if mode not in MODES:
            raise ValueError(f"Tokenizer: `mode` must be one of {MODES}, got {mode!r}")
        if not self.num_words and not self.word_index:
            raise ValueError("Tokenizer: give `num_words`, or call fit_on_texts(texts) first")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Tokenizer: mode='tfidf' needs fit_on_texts(texts) or fit_on_sequences(sequences) first")
        columns = self.num_words or len(self.word_index) + 1
        x = np.zeros((len(sequences), columns))
        for row, sequence in zip(x, sequences, strict=True):
            for k, count in Counter(k for k in sequence if k < columns).items():
                if mode == "tfidf":
                    row[k] = (1 + np.log(count)) * np.log(1 + self.document_count / (1 + self.index_docs.get(k, 0)))
                else:
                    row[k] = {"binary": 1, "count": count, "freq": count / len(sequence)}[mode]
        return x

    def get_config(self) -> dict[str, Any]:
        """Arguments and what was learned, the dictionaries as JSON; an ``analyzer`` is not in it."""
        return {
            "num_words": self.num_words,
            "filters": self.filters,
            "lower": self.lower,
            "split": self.split,
            "char_level": self.char_level,
            "oov_token": self.oov_token,
            "document_count": self.document_count,
            "word_counts": json.dumps(self.word_counts),
            "word_docs": json.dumps(self.word_docs),
            "index_docs": json.dumps(self.index_docs),
            "index_word": json.dumps(self.index_word),
            "word_index": json.dumps(self.word_index),
        }

    def to_json(self, **kwargs: Any) -> str:
        """What `tokenizer_from_json` reads."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """The tokenizer of ``tokenizer.to_json()``, of rnnx or Keras."""
    config = dict(json.loads(json_string)["config"])
    names = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
    learned = {name: json.loads(config.pop(name)) for name in names}
    tokenizer = Tokenizer(**config)
    for name, values in learned.items():
        by_id = name.startswith("index_")
        setattr(tokenizer, name, {int(k): value for k, value in values.items()} if by_id else values)
    return tokenizer
