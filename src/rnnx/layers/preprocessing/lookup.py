"""Layers that make ids of words or integers from a vocabulary, and the other way round."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.checks import as_integers, as_strings
from rnnx.layers.limits import budget
from rnnx.layers.preprocessing.categories import ENCODINGS, Encoder, checked_mode, encode, encoded_shape
from rnnx.layers.preprocessing.hashes import bucket, checked_salt

MODES = ("int", *ENCODINGS, "tf_idf")
DROPPED = -1  # the id of a mask token in rows of classes, which have no column for it
Word = Any  # str or int


class Lookup(Encoder):
    """Ids of words by their place in a vocabulary; the base of `StringLookup`, `IntegerLookup`, `TextVectorization`.

    Ids begin with that of the mask token (if there is one, and ids are put out), then come those of unknown words.
    """

    vocabulary_dtype = "string"
    oov_method = "farmhash"
    salt: list[int] | None = None
    least_tokens = 2
    file_arguments = frozenset({"has_input_vocabulary", "vocabulary_size", "oov_method", "vocabulary_dtype"})

    not_attributes = Encoder.not_attributes | {"vocabulary", "encoding"}
    fixed_when_built = Encoder.fixed_when_built | {
        "max_tokens", "num_oov_indices", "mask_token", "oov_token", "invert", "output_mode", "pad_to_max_tokens",
    }  # fmt: skip

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Word | None,
        oov_token: Word | None,
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        **kwargs: Any,
    ):
        who = type(self).__name__
        learned = not kwargs.pop("has_input_vocabulary", vocabulary is not None)
        size = kwargs.pop("vocabulary_size", None)
        if size is not None and (not isinstance(size, int) or not 0 <= size < 1 << 31):
            raise ValueError(f"{who}: `vocabulary_size` must be an integer of at least 0, got {repr(size)[:100]}")
        self.expected_size: int | None = size or None
        super().__init__(**kwargs)
        for name, number, least in (
            ("max_tokens", max_tokens, self.least_tokens),
            ("num_oov_indices", num_oov_indices, 0),
        ):
            if number is None and name == "max_tokens":
                continue
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
                raise ValueError(f"{who}: `{name}` must be an integer of at least {least}, got {number!r}")
        self.output_mode = checked_mode(who, output_mode, MODES, sparse)
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{who}: `pad_to_max_tokens` needs `max_tokens`")
        if invert and self.output_mode != "int":
            raise ValueError(f"{who}: `invert` needs output_mode='int', got {output_mode!r}")
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ValueError(f"{who}: `idf_weights` are for output_mode='tf_idf', not {output_mode!r}")
        if self.output_mode == "tf_idf" and vocabulary is not None and idf_weights is None:
            raise ValueError(f"{who}: output_mode='tf_idf' needs `idf_weights` with `vocabulary`")
        self.max_tokens, self.num_oov_indices = max_tokens, int(num_oov_indices)
        self.mask_token, self.oov_token, self.invert = mask_token, oov_token, bool(invert)
        self.pad_to_max_tokens = bool(pad_to_max_tokens)
        self._tokens: list[Word] = []
        self._ids: dict[Word, int] = {}
        self.idf_weights: Array | None = None
        self._given = False
        self.reset_state()
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)
        self._given = vocabulary is not None and not learned

    # ---- The vocabulary ----------------------------------------------------------------------------------------------

    def _first_oov(self) -> int:
        return 1 if self.mask_token is not None and self.output_mode == "int" else 0

    def _first_token(self) -> int:
        return self._first_oov() + self.num_oov_indices

    def _special(self) -> list[Word | None]:
        """What stands in front of the words: the mask token, then the one for unknown words for each of their ids."""
        return [self.mask_token] * self._first_oov() + [self.oov_token] * self.num_oov_indices

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Word]:
        """The words in the order of their ids; without the special ones in front of them the first id is not 0."""
        return [*self._special(), *self._tokens] if include_special_tokens else list(self._tokens)

    def vocabulary_size(self) -> int:
        """Number of ids, the ``input_dim`` of an Embedding."""
        return len(self._tokens) + self._first_token()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take these words.

        Parameters
        ----------
        vocabulary : list or array, or path
            Words, with or without the special ones in front; or a text file with a word on each line.
        idf_weights : list or array of float, optional
            One for each, for ``output_mode="tf_idf"``.

        Raises
        ------
        ValueError
            If a word is there twice, there are too many, none, or a special one among them.
        """
        who = self.name
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            raise ValueError(f"{who}: `idf_weights` go with output_mode='tf_idf', which is {self.output_mode!r}")
        special = self._special()
        in_file = isinstance(vocabulary, (str, os.PathLike))
        if in_file:
            if budget() is not None:
                raise ValueError(f"{who}: the vocabulary is in a file that is not part of this one, which is not read")
            if self.output_mode == "tf_idf":
                raise ValueError(f"{who}: output_mode='tf_idf' needs the words in a list, with their `idf_weights`")
            with open(vocabulary, encoding="utf-8") as file:
                words = self.words_of_lines(file.read())
            with_special = "" in special and words[: len(special)] == special  # else Keras reads them as words
        else:
            words = self._words(vocabulary)
            with_special = words[: len(special)] == special
        tokens = words[len(special) :] if with_special else words
        if not words:
            raise ValueError(f"{who}: the vocabulary is empty")
        if twice := [word for word, count in Counter(tokens).items() if count > 1]:
            raise ValueError(f"{who}: the vocabulary has a word twice: {', '.join(map(repr, twice[:5]))}")
        reserved = [self.mask_token] + [self.oov_token] * self.invert
        if not in_file:
            for word in tokens:
                if word is not None and word in reserved:
                    raise ValueError(
                        f"{who}: {word!r} is a special word; leave all of them out, or put them in front: {special}"
                    )
        size = len(special) + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(f"{who}: the vocabulary has {size} words with the special ones, the most is max_tokens = "
                             f"{self.max_tokens}")  # fmt: skip
        self._check_size(size)
        weights = None
        if idf_weights is not None:
            weights = np.asarray(idf_weights, np.float64)
            if weights.shape != (len(words),):
                raise ValueError(f"{who}: `idf_weights` must have shape ({len(words)},), got {weights.shape}")
            if not with_special:
                weights = np.concatenate([np.full(len(special), weights.mean()), weights])
        self._take(tokens, weights)

    def _take(self, tokens: list[Word], idf_weights: Any) -> None:
        self._tokens, first = tokens, self._first_token()
        self._ids = {word: first + k for k, word in enumerate(tokens)}
        vars(self)["idf_weights"] = None if idf_weights is None else np.asarray(idf_weights, np.float32)
        self.expected_size = first + len(tokens)

    def _check_size(self, size: int) -> None:
        """Rows of classes keep their number of columns once a model was made."""
        if self.output_mode == "int" or self.pad_to_max_tokens or self._node is None:
            return
        if self.expected_size not in (None, size):
            raise RuntimeError(
                f"{self.name}: the vocabulary has {self.expected_size} words, and a model was made with so many "
                f"columns; another one must have as many, got {size}"
            )

    def words_of_lines(self, text: str) -> list[Word]:
        """The words of a text file."""
        lines = text.split("\n")
        return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]

    def _words(self, vocabulary: Any) -> list[Word]:
        """The words of a list or array."""
        found = vocabulary if isinstance(vocabulary, (list, tuple)) else np.asarray(vocabulary).tolist()
        return as_strings(self.name, list(found)).reshape(-1).tolist()

    # ---- Learning it -------------------------------------------------------------------------------------------------

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learn the words of some data, the most frequent first; of words that come equally often, the last in the
        order of the alphabet, as Keras has it.

        Parameters
        ----------
        data : array or list, or iterable of batches
        batch_size : int, optional
            Accepted as in Keras 2.
        steps : int, optional
            Batches to look at.

        Raises
        ------
        ValueError
            If the layer was given a vocabulary.
        """
        self.reset_state()
        if hasattr(data, "__array__") or isinstance(data, (list, tuple)):
            if np.ndim(data) == 1 if hasattr(data, "__array__") else not data or isinstance(data[0], (str, bytes, int)):
                self.update_state([[word] for word in data])
            else:
                self.update_state(data)
        else:
            for batch in itertools.islice(data, steps):
                self.update_state(batch)
        self.finalize_state()

    def reset_state(self) -> None:
        """Forget the data that were seen."""
        self._counts: Counter[Word] = Counter()
        self._rows_with: Counter[Word] = Counter()
        self._rows = 0

    def update_state(self, data: Any) -> None:
        """Look at more data: a row is a document."""
        if self._given:
            raise ValueError(f"{self.name}: it was given its vocabulary, there is nothing to adapt")
        words = self.cast_words(data)
        rows = words.reshape(1, -1) if words.ndim < 2 else words.reshape(-1, words.shape[-1])
        self._count(rows.tolist())

    def _count(self, rows: Iterable[Sequence[Word]]) -> None:
        for row in rows:
            self._counts.update(row)
            if self.output_mode == "tf_idf":
                self._rows_with.update(set(row))
                self._rows += 1

    def finalize_state(self) -> None:
        """Make the vocabulary of what was seen."""
        if self._given or not self._counts:
            return
        for special in (self.mask_token, self.oov_token):
            self._counts.pop(special, None)
        tokens = sorted(self._counts, key=lambda word: (self._counts[word], word), reverse=True)
        if self.max_tokens is not None:
            tokens = tokens[: self.max_tokens - self._first_token()]
        self._check_size(self._first_token() + len(tokens))
        weights = None
        if self.output_mode == "tf_idf":
            rows_with = np.array([self._rows_with[word] for word in tokens], np.float64)
            own = np.log(1 + self._rows / (1 + rows_with))
            weights = np.concatenate([np.full(self._first_token(), own.mean()), own])
        self._take(tokens, weights)
        self.reset_state()

    # ---- Looking up --------------------------------------------------------------------------------------------------

    def cast_words(self, x: Any) -> Array:
        """Words as an array."""
        return as_strings(self.name, x)

    @property
    def entry_dtype(self) -> Any:
        return "string" if self.vocabulary_dtype == "string" and not self.invert else np.dtype(np.int64)

    def cast(self, x: Any) -> Array:
        return as_integers(self.name, x) if self.invert else self.cast_words(x)

    def ids_of(self, words: list[Word]) -> list[int]:
        """The ids of words in a flat list."""
        known, unknown = self._ids, self._first_oov()
        if self.mask_token is not None:
            known = {**known, self.mask_token: 0 if self.output_mode == "int" else DROPPED}
        if self.num_oov_indices == 1:
            return [known.get(word, unknown) for word in words]
        found = []
        for word in words:
            k = known.get(word)
            if k is None:
                if not self.num_oov_indices:
                    missing = sorted({other for other in words if other not in known})[:5]
                    raise ValueError(
                        f"{self.name}: with num_oov_indices=0 all inputs must be in the vocabulary, "
                        f"{', '.join(map(repr, missing))} is not; num_oov_indices=1 gives an id to such words"
                    )
                k = unknown + self._bucket(word)
            found.append(k)
        return found

    def _bucket(self, word: Word) -> int:
        if self.oov_method == "floormod":
            return word % self.num_oov_indices
        return bucket(str(word), self.num_oov_indices, self.salt)

    def _check_adapted(self) -> None:
        if not self._tokens:
            raise RuntimeError(f"{self.name}: call adapt(data) first, or give it a `vocabulary`")

    def encoding(self, x: Any, **call: Any) -> Any:
        self._check_adapted()
        if self.invert:
            names = dict(enumerate(self.get_vocabulary()))
            found = [names.get(k, self.oov_token) for k in x.reshape(-1).tolist()]
            return np.array(found, object if self.vocabulary_dtype == "string" else self.vocabulary_dtype).reshape(
                x.shape
            )
        return self.rows(np.array(self.ids_of(x.reshape(-1).tolist()), np.int64).reshape(x.shape))

    def columns(self) -> int | None:
        """Columns of a row of classes."""
        return self.max_tokens if self.pad_to_max_tokens else self.expected_size

    def rows(self, ids: Array) -> Array:
        """Ids in the form that is put out."""
        if self.output_mode == "int":
            return ids
        columns = self.columns()
        assert columns is not None
        y = encode(ids, "count" if self.output_mode == "tf_idf" else self.output_mode, columns, self.dtype)
        if self.output_mode == "tf_idf":
            assert self.idf_weights is not None
            y[..., : len(self.idf_weights)] *= self.idf_weights.astype(self.dtype)
        return y

    @property
    def value_dtype(self) -> np.dtype[Any]:
        if not self.invert:
            return super().value_dtype
        return np.dtype(object if self.vocabulary_dtype == "string" else self.vocabulary_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.output_mode != "int" and self.columns() is None:
            raise RuntimeError(
                f"{self.name}: with output_mode={self.output_mode!r} a model needs the vocabulary before it is made; "
                "call adapt(data) first, or give it a `vocabulary`"
            )
        return encoded_shape(input_shape, "count" if self.output_mode == "tf_idf" else self.output_mode, self.columns())

    def get_config(self) -> dict[str, Any]:
        vocabulary: Any = None
        if self._tokens:
            vocabulary = self.get_vocabulary(include_special_tokens=self.output_mode == "tf_idf")
        weights = None if self.idf_weights is None else self.idf_weights.tolist()
        return {
            **super().get_config(),
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "mask_token": self.mask_token,
            "oov_token": self.oov_token,
            "vocabulary": vocabulary,
            "idf_weights": weights,
            "invert": self.invert,
            "output_mode": self.output_mode,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "has_input_vocabulary": self._given,
            "vocabulary_size": self.expected_size,
        }


class StringLookup(Lookup):
    """Strings as their places in a vocabulary.

    Parameters
    ----------
    max_tokens : int, optional
        Most ids, the special ones included.
    num_oov_indices : int
        Ids for unknown strings; by FarmHash if there are several, and an error for such strings if there are none.
    mask_token : str, optional
        Gets id 0.
    oov_token : str
        What an inverted layer puts out for unknown ids.
    vocabulary : list, array or path, optional
        The strings, instead of `adapt`; or a text file with one on each line.
    idf_weights : list or array of float, optional
        One for each string, for ``"tf_idf"``.
    invert : bool
        Strings of ids.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        Ids; a row of classes for each; or one for all along the last axis: which of them are there, how often, or how
        often times the weight of the string.
    pad_to_max_tokens : bool
        Rows have ``max_tokens`` columns.
    salt : int or pair of int, optional
        With several ids for unknown strings: SipHash instead.

    Examples
    --------
    >>> import rnnx
    >>> layer = rnnx.layers.StringLookup(vocabulary=["a", "b"])
    >>> layer([["a", "c"], ["b", "a"]]).tolist()
    [[1, 0], [2, 1]]
    >>> rnnx.layers.StringLookup(vocabulary=layer.get_vocabulary(), invert=True)([1, 2, 7]).tolist()
    ['a', 'b', '[UNK]']
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ):
        self.bytes_encoding, self.salt = encoding, checked_salt("StringLookup", salt)
        kwargs.pop("oov_method", None)  # in files of Keras, of no matter for strings
        if kwargs.pop("vocabulary_dtype", "string") != "string":
            raise ValueError("StringLookup: `vocabulary_dtype` is 'string'; use IntegerLookup for integers")
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse,
            pad_to_max_tokens, name=name, **kwargs,
        )  # fmt: skip

    def cast_words(self, x: Any) -> Array:
        return as_strings(self.name, x, self.bytes_encoding)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoding": self.bytes_encoding, "salt": self.salt}


class IntegerLookup(Lookup):
    """Integers as their places in a vocabulary; arguments as of `StringLookup`.

    Parameters
    ----------
    max_tokens, num_oov_indices, mask_token, vocabulary, idf_weights, invert, output_mode, pad_to_max_tokens, salt
        See `StringLookup`.
    vocabulary_dtype : {"int64", "int32"}
        The type of what an inverted layer puts out.
    oov_token : int
        What an inverted layer puts out for unknown ids.
    oov_method : {"floormod", "farmhash"}
        Which of several ids an unknown integer gets: by its rest, or by its hash.

    Examples
    --------
    >>> import rnnx
    >>> rnnx.layers.IntegerLookup(vocabulary=[12, 36])([[12, 7], [36, 12]]).tolist()
    [[1, 0], [2, 1]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ):
        if vocabulary_dtype not in ("int64", "int32"):
            raise ValueError(f"IntegerLookup: `vocabulary_dtype` must be 'int64' or 'int32', got {vocabulary_dtype!r}")
        if oov_method not in ("floormod", "farmhash"):
            raise ValueError(f"IntegerLookup: `oov_method` must be 'floormod' or 'farmhash', got {oov_method!r}")
        self.vocabulary_dtype, self.oov_method = vocabulary_dtype, oov_method
        self.salt = checked_salt("IntegerLookup", salt)
        if self.salt is not None and oov_method != "farmhash":
            raise ValueError(f"IntegerLookup: `salt` needs oov_method='farmhash', got {oov_method!r}")
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse,
            pad_to_max_tokens, name=name, **kwargs,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        own = {"vocabulary_dtype": self.vocabulary_dtype, "oov_method": self.oov_method, "salt": self.salt}
        return {**super().get_config(), **own}

    def cast_words(self, x: Any) -> Array:
        return as_integers(self.name, x)

    def words_of_lines(self, text: str) -> list[Word]:
        return [int(line) for line in super().words_of_lines(text)]

    def _words(self, vocabulary: Any) -> list[Word]:
        return [] if np.size(vocabulary) == 0 else as_integers(self.name, vocabulary).reshape(-1).tolist()
