"""A layer that makes ids of texts."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.checks import as_strings
from rnnx.layers.preprocessing.lookup import Lookup

STANDARDIZATIONS = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
SPLITS = ("whitespace", "character", None)
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # others are left, as in Keras
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
WORDS = re.compile(r"[^ \t\n\v\f\r]+")  # other white space parts no words, as in Keras
OLD_WORDS = ("max_tokens", "standardize", "split", "output_sequence_length", "ragged")  # in pickles of rnnx 0.1.0


class TextVectorization(Lookup):
    """Texts as integer ids of their words: 0 is padding, 1 an unknown word, then the words by how often they come.

    Parameters
    ----------
    max_tokens : int, optional
        Most ids, those of padding and unknown words included.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation", None} or callable
        What becomes of a text first; only the letters A to Z get lower. A function is given one text after the other.
    split : {"whitespace", "character", None} or callable
        None takes the input as words. A function gives the words of a text.
    ngrams : int or tuple of int, optional
        Words are so many neighbours each; of an integer, all numbers up to it.
    output_mode : {"int", "multi_hot", "count", "tf_idf"}
        Ids, or a row with a column for each word: which are there, how often, or how often times
        ``log(1 + texts / (1 + texts with it))``.
    output_sequence_length : int, optional
        Ids of every text, cut or padded at the end; by default those of the longest.
    pad_to_max_tokens : bool
        Rows have ``max_tokens`` columns.
    vocabulary : list of str or path, optional
        The words, instead of `adapt`; or a text file with one on each line.
    idf_weights : list of float, optional
        One for each word, for ``"tf_idf"``.
    ragged : bool
        Give a list with an array for each text, without padding, as ``fit`` takes it; not inside of models.
    encoding : str
        Of texts that are bytes.

    Examples
    --------
    >>> from rnnx.layers import TextVectorization
    >>> ids = TextVectorization()
    >>> ids.adapt(["the cat sat", "The cat!"])
    >>> ids(["the dog sat", "cat"]).tolist()
    [[2, 1, 4], [3, 0, 0]]
    """

    least_tokens = 3

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[str], str] | None = "lower_and_strip_punctuation",
        split: str | Callable[[str], Iterable[str]] | None = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ):
        choices: Any = (("standardize", standardize, STANDARDIZATIONS), ("split", split, SPLITS))
        for word, choice, known in choices:
            if not callable(choice) and choice not in known:
                raise ValueError(
                    f"TextVectorization: `{word}` must be one of {known} or callable, got {repr(choice)[:100]}"
                )
        sizes = () if ngrams is None else ngrams if isinstance(ngrams, (tuple, list)) else (ngrams,)
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes):
            raise ValueError(
                f"TextVectorization: `ngrams` must be a positive integer, a tuple of them or None, got {ngrams!r}"
            )
        widths = range(1, ngrams + 1) if isinstance(ngrams, int) else sizes
        length = output_sequence_length
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise ValueError(f"TextVectorization: `output_sequence_length` must be at least 1, got {length!r}")
        for word, value in (("output_sequence_length", length), ("ragged", ragged)):
            if value and output_mode != "int":
                raise ValueError(f"TextVectorization: `{word}` needs output_mode='int', got {output_mode!r}")
        self.standardize, self.split, self.ngrams = standardize, split, ngrams
        self._widths = tuple(widths)
        self.output_sequence_length, self.ragged, self.bytes_encoding = length, bool(ragged), encoding
        super().__init__(
            max_tokens, 1, "", "[UNK]", vocabulary, idf_weights, False, output_mode, sparse, pad_to_max_tokens,
            name=name, **kwargs,
        )  # fmt: skip

    def arguments_now(self) -> dict[str, Any]:
        of_lookup = ("num_oov_indices", "mask_token", "oov_token", "invert")
        found = {name: value for name, value in super().arguments_now().items() if name not in of_lookup}
        return {**found, "encoding": self.bytes_encoding}

    # ---- Words -------------------------------------------------------------------------------------------------------

    def tokens(self, text: str) -> list[str]:
        """The words of a text."""
        if not isinstance(text, str):
            raise TypeError(f"TextVectorization: texts must be strings, got {type(text).__name__}")
        text = self._standard(text)
        if callable(self.split):
            words = [str(word) for word in self.split(text)]
        elif self.split is None:
            words = [text]
        else:
            words = WORDS.findall(text) if self.split == "whitespace" else list(text)
        return self._grams(words)

    def _standard(self, text: str) -> str:
        how = self.standardize
        if callable(how):
            return str(how(text))
        if how is not None:
            text = text.translate(LOWER) if "lower" in how else text
            text = text.translate(NO_PUNCTUATION) if "strip" in how else text
        return text

    def _grams(self, words: list[str]) -> list[str]:
        if not self._widths:
            return words
        return [" ".join(words[k : k + n]) for n in self._widths for k in range(len(words) - n + 1)]

    def cast_words(self, x: Any) -> Array:
        return as_strings(self.name, x, self.bytes_encoding)

    def _split_rows(self, x: Array) -> tuple[tuple[int, ...], list[list[str]]]:
        """The words of every text, and the shape that the texts have."""
        if self.split is None:
            if x.ndim < 2:
                return x.shape[:0], [self._grams([self._standard(text) for text in x.reshape(-1).tolist()])]
            rows = x.reshape(-1, x.shape[-1]).tolist()
            return x.shape[:-1], [self._grams([self._standard(text) for text in row]) for row in rows]
        if x.ndim > 1:
            if x.shape[-1] != 1:
                raise ValueError(
                    f"{self.name}: texts must have shape (batch,) or (batch, 1), got {x.shape}; words that are parted "
                    "already need split=None"
                )
            x = x[..., 0]
        return x.shape, [self.tokens(text) for text in x.reshape(-1).tolist()]

    # ---- Learning and looking up -------------------------------------------------------------------------------------

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learn the words of some texts, the most frequent first; see `Lookup.adapt`.

        Parameters
        ----------
        data : list or array of str, of shape (texts,) or (texts, 1), or iterable of texts or batches of them
        batch_size : int, optional
            Accepted as in Keras 2.
        steps : int, optional
            Batches to look at.
        """
        if isinstance(data, str):
            raise TypeError("TextVectorization: a list of texts is needed, got one string")
        super().adapt(data, batch_size, steps)

    def update_state(self, data: Any) -> None:
        if self._given:
            raise ValueError(f"{self.name}: it was given its vocabulary, there is nothing to adapt")
        self._count(self._split_rows(self.cast_words(data))[1])

    def encoding(self, x: Any, **call: Any) -> Any:
        self._check_adapted()
        shape, rows = self._split_rows(x)
        flat = self.ids_of([word for row in rows for word in row])
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)[:-1]
        parts = np.split(np.array(flat, np.int64), ends) if rows else []
        if self.output_mode != "int":
            made = [self.rows(part) for part in parts]
            return np.array(made, self.dtype).reshape(*shape, self.columns() or 0)
        length = self.output_sequence_length
        if self.ragged:
            return [part[:length] for part in parts]
        longest = max(map(len, parts), default=0) if length is None else length
        y = np.zeros((len(parts), longest), np.int64)
        for row, part in zip(y, parts, strict=True):
            row[: len(part)] = part[:longest]
        return y.reshape(*shape, longest)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.ragged:
            raise ValueError(f"{self.name}: `ragged` gives a list of arrays, which models do not take; leave it out")
        shape = tuple(input_shape)
        lead = shape[:-1] if len(shape) > 1 or self.split is None else shape
        if self.output_mode == "int":
            return (*lead, self.output_sequence_length)
        return super().compute_output_shape((*lead, None))

    # ---- Configuration -----------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        for word in ("standardize", "split"):
            if callable(value := getattr(self, word)):
                raise ValueError(
                    f"{self.name}: `{word}` is a function ({getattr(value, '__name__', value)}), and no code is "
                    "saved; vectorize the texts before the model, or use one of Keras' names for it"
                )
        config = super().get_config()
        for word in ("num_oov_indices", "mask_token", "oov_token", "invert"):
            del config[word]
        return {
            **config,
            "standardize": self.standardize,
            "split": self.split,
            "ngrams": self.ngrams,
            "output_sequence_length": self.output_sequence_length,
            "ragged": self.ragged,
            "encoding": self.bytes_encoding,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if isinstance(config.get("ngrams"), list):
            config = {**config, "ngrams": tuple(config["ngrams"])}
        return cls(**config)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_build_lock" not in state and "name" not in state:  # of rnnx 0.1.0, which had no layer for it
            TextVectorization.__init__(self, **{word: state[word] for word in OLD_WORDS})
            if state["_ids"]:
                self.set_vocabulary(list(state["_ids"]))
        else:
            super().__setstate__(state)
