"""Small helpers, under Keras' names."""

from __future__ import annotations

import math
import random
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.names import clear_names

__all__ = [
    "PyDataset", "Sequence", "TextVectorization", "clear_session", "normalize", "pad_sequences", "set_random_seed",
    "timeseries_dataset_from_array", "timeseries_windows", "to_categorical",
]  # fmt: skip

_shuffling: list[np.random.Generator] = []


def set_random_seed(seed: int) -> None:
    """Make everything that has no seed of its own repeatable: initial weights, dropout, shuffling.

    Parameters
    ----------
    seed : int
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"set_random_seed: an integer is needed, got {type(seed).__name__}")
    random.seed(int(seed))
    np.random.seed(int(seed) % 2**32)
    _shuffling[:] = [np.random.default_rng(int(seed))]


def shuffling_generator() -> np.random.Generator:
    """The generator of orders in ``fit``."""
    if not _shuffling:
        _shuffling.append(np.random.default_rng(random.randint(1, 10**9)))
    return _shuffling[0]


def clear_session() -> None:
    """Start the automatic layer names again."""
    clear_names()


def pad_sequences(
    sequences: Iterable[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> Array:
    """Sequences side by side in one array, as ``keras.utils.pad_sequences``.

    Parameters
    ----------
    sequences : list of sequences
    maxlen : int, optional
    padding, truncating : {"pre", "post"}
    value : number

    Returns
    -------
    array of shape (len(sequences), maxlen, ...)

    Examples
    --------
    >>> from rnnx.utils import pad_sequences
    >>> pad_sequences([[1], [2, 3]]).tolist()
    [[0, 1], [2, 3]]
    """
    for name, word in (("padding", padding), ("truncating", truncating)):
        if word not in ("pre", "post"):
            raise ValueError(f"pad_sequences: `{name}` must be 'pre' or 'post', got {word!r}")
    if not hasattr(sequences, "__iter__"):
        raise ValueError(f"pad_sequences: a list of sequences is needed, got {type(sequences).__name__}")
    if maxlen is not None and maxlen < 0:
        raise ValueError(f"pad_sequences: `maxlen` must be at least 0, got {maxlen}")
    arrays = [np.asarray(s) for s in sequences]
    if any(a.ndim == 0 for a in arrays):
        raise ValueError("pad_sequences: every element must be a sequence")
    longest = max((len(a) for a in arrays), default=0) if maxlen is None else int(maxlen)
    rest = next((a.shape[1:] for a in arrays if len(a)), ())
    out = np.full((len(arrays), longest, *rest), value, dtype=dtype)
    for row, array in zip(out, arrays, strict=True):
        if not len(array) or not longest:
            continue
        if array.shape[1:] != rest:
            raise ValueError(
                f"pad_sequences: sequences of step shapes {rest} and {array.shape[1:]} do not fit together"
            )
        kept = array[-longest:] if truncating == "pre" else array[:longest]
        if padding == "pre":
            row[longest - len(kept) :] = kept
        else:
            row[: len(kept)] = kept
    return out


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """Integer classes as one-hot rows.

    Examples
    --------
    >>> from rnnx.utils import to_categorical
    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    classes = np.asarray(x).astype(np.int64)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    count = int(classes.max(initial=-1)) + 1 if num_classes is None else int(num_classes)
    if classes.size and (classes.min() < 0 or classes.max() >= count):
        raise ValueError(f"to_categorical: classes must lie in 0..{count - 1}, got {classes.min()}..{classes.max()}")
    return np.eye(count, dtype=np.float32)[classes]


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """Vectors along an axis, divided by their norm."""
    array = np.asarray(x)
    with np.errstate(invalid="ignore"):  # see `rnnx.functional._products`
        norms = np.linalg.norm(array, ord=order, axis=axis, keepdims=True)
    return array / np.where(norms == 0, 1, norms)


def timeseries_windows(data: Any, sequence_length: int, sequence_stride: int = 1, sampling_rate: int = 1) -> Array:
    """Overlapping windows of a series, without copying it.

    Parameters
    ----------
    data : array of shape (steps,) or (steps, features)
    sequence_length, sequence_stride, sampling_rate : int

    Returns
    -------
    array of shape (windows, sequence_length, ...)
    """
    array = np.asarray(data)
    span = (sequence_length - 1) * sampling_rate + 1
    if len(array) < span:
        raise ValueError(f"timeseries_windows: {len(array)} steps are too few for a window of {span}")
    windows = np.lib.stride_tricks.sliding_window_view(array, span, axis=0)
    return np.moveaxis(windows, -1, 1)[::sequence_stride, ::sampling_rate]


class TimeseriesDataset:
    """Batches of windows of a series; see `timeseries_dataset_from_array`.

    Parameters
    ----------
    windows : array of shape (windows, timesteps, ...)
    targets : array of shape (windows, ...) or None
    batch_size : int
    generator : numpy Generator or None
        Source of a new order for every pass.
    """

    def __init__(self, windows: Array, targets: Array | None, batch_size: int, generator: np.random.Generator | None):
        self.windows, self.targets, self.batch_size, self.generator = windows, targets, batch_size, generator

    def __len__(self) -> int:
        return math.ceil(len(self.windows) / self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        count = len(self.windows)
        order = np.arange(count) if self.generator is None else self.generator.permutation(count)
        for k in range(0, count, self.batch_size):
            rows = order[k : k + self.batch_size]
            yield self.windows[rows] if self.targets is None else (self.windows[rows], self.targets[rows])


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> TimeseriesDataset:
    """Batches of windows of a series with their targets, for ``fit``; only the batch at hand is copied.

    Parameters
    ----------
    data : array of shape (steps,) or (steps, features)
    targets : array of shape (steps, ...) or None
        ``targets[i]`` belongs to the window that starts at step i. Windows without a target are left out.
    sequence_length, sequence_stride, sampling_rate : int
        Steps of a window, between the starts of windows, and between the steps of a window.
    batch_size : int or None
        None gives one batch with all windows.
    shuffle : bool
        A new order for every pass, repeatable from ``seed``.
    start_index, end_index : int, optional
        The part of the series to use; the last index is left out.

    Returns
    -------
    iterable of (x, y), or of x without targets
        x of shape (batch, sequence_length, ...).

    Raises
    ------
    ValueError
        If a number is out of its range or the series is too short for one window.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.utils import timeseries_dataset_from_array
    >>> x, y = next(iter(timeseries_dataset_from_array(np.arange(9), np.arange(9)[3:], 3, batch_size=2)))
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [3, 4])
    """
    who = "timeseries_dataset_from_array"
    numbers = {
        "sequence_length": sequence_length, "sequence_stride": sequence_stride, "sampling_rate": sampling_rate,
        "batch_size": 1 if batch_size is None else batch_size,
    }  # fmt: skip
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(f"{who}: `{name}` must be a positive integer, got {number!r}")
    series = np.asarray(data)
    start, end = start_index or 0, len(series) if end_index is None else end_index
    if not 0 <= start < end <= len(series):
        raise ValueError(
            f"{who}: `start_index` and `end_index` must be two places in 0..{len(series)}, the first before the "
            f"second, got {start} and {end}"
        )
    span = (sequence_length - 1) * sampling_rate + 1
    if end - start < span:
        raise ValueError(f"{who}: {end - start} steps are too few for a window of {span}")
    windows = timeseries_windows(series[start:end], sequence_length, 1, sampling_rate)
    wanted = None if targets is None else np.asarray(targets)[start:end]
    count = len(windows) if wanted is None else min(len(windows), len(wanted))
    if not count:
        raise ValueError(f"{who}: `targets` has no entry for the window that starts at step {start}")
    windows = windows[:count:sequence_stride]
    generator = None
    if shuffle:
        generator = shuffling_generator() if seed is None else np.random.default_rng(seed)
    own = None if wanted is None else wanted[:count:sequence_stride]
    return TimeseriesDataset(windows, own, len(windows) if batch_size is None else batch_size, generator)


class PyDataset:
    """Base of batches that are made when they are asked for: implement ``__len__`` (or ``num_batches``) and
    ``__getitem__``.

    ``__getitem__(k)`` gives batch k as ``(x, y)`` or ``(x, y, sample_weight)``; ``on_epoch_begin`` and ``on_epoch_end``
    are called before and after each pass. ``fit`` asks in a new order in every epoch unless ``shuffle=False``.

    Parameters
    ----------
    workers, use_multiprocessing, max_queue_size
        Accepted as in Keras; batches are made one after the other.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __len__(self) -> int:
        if type(self).num_batches is not PyDataset.num_batches:
            return int(self.num_batches)
        raise NotImplementedError(f"{type(self).__name__}: implement `__len__`, the number of batches")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: implement `__getitem__`, which gives a batch")

    @property
    def num_batches(self) -> int:
        """Batches of a pass."""
        return len(self)

    def __iter__(self) -> Iterator[Any]:
        """All batches in their order."""
        return (self[k] for k in range(len(self)))

    def on_epoch_begin(self) -> None:
        """Before every pass."""

    def on_epoch_end(self) -> None:
        """After every pass."""


Sequence = PyDataset


class TextVectorization:
    """Texts as integer ids of their words: 0 is padding, 1 an unknown word, then the words by how often they come.

    Parameters
    ----------
    max_tokens : int, optional
        Most ids, those of padding and unknown words included.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation", None} or callable
    split : {"whitespace", "character"} or callable
    output_sequence_length : int, optional
        Ids of every text, cut or padded at the end; by default those of the longest.
    ragged : bool
        Give a list with an array for each text, without padding, as ``fit`` takes it.
    vocabulary : list of str, optional
        The words, instead of `adapt`.

    Examples
    --------
    >>> from rnnx.utils import TextVectorization
    >>> ids = TextVectorization()
    >>> ids.adapt(["the cat sat", "The cat!"])
    >>> ids(["the dog sat", "cat"]).tolist()
    [[3, 1, 4], [2, 0, 0]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[str], str] | None = "lower_and_strip_punctuation",
        split: str | Callable[[str], Iterable[str]] = "whitespace",
        output_sequence_length: int | None = None,
        ragged: bool = False,
        vocabulary: Iterable[str] | None = None,
    ):
        known = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
        if not callable(standardize) and standardize not in known:
            raise ValueError(
                f"TextVectorization: `standardize` must be one of {known} or callable, got {standardize!r}"
            )
        if not callable(split) and split not in ("whitespace", "character"):
            raise ValueError(f"TextVectorization: `split` must be 'whitespace', 'character' or callable, got {split!r}")
        limits = (("max_tokens", max_tokens, 3), ("output_sequence_length", output_sequence_length, 1))
        for name, number, least in limits:
            if number is not None and number < least:
                raise ValueError(f"TextVectorization: `{name}` must be at least {least}, got {number}")
        self.max_tokens, self.standardize, self.split = max_tokens, standardize, split
        self.output_sequence_length, self.ragged = output_sequence_length, bool(ragged)
        self._ids: dict[str, int] = {}
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    def tokens(self, text: str) -> list[str]:
        """The words of a text."""
        if not isinstance(text, str):
            raise TypeError(f"TextVectorization: texts must be strings, got {type(text).__name__}")
        how = self.standardize
        if callable(how):
            text = how(text)
        elif how is not None:
            text = text.lower() if "lower" in how else text
            text = text.translate(str.maketrans("", "", string.punctuation)) if "strip" in how else text
        if callable(self.split):
            return list(self.split(text))
        return text.split() if self.split == "whitespace" else list(text)

    def adapt(self, texts: Iterable[str]) -> None:
        """Learn the words of these texts; of words that come equally often, the alphabet decides."""
        if isinstance(texts, str):
            raise TypeError("TextVectorization: a list of texts is needed, got one string")
        counts = Counter(token for text in texts for token in self.tokens(text))
        self.set_vocabulary(sorted(counts, key=lambda token: (-counts[token], token)))

    def set_vocabulary(self, vocabulary: Iterable[str]) -> None:
        """Take these words; the first gets id 2, after ``""`` and ``"[UNK]"``, which may stand in front."""
        words = list(vocabulary)
        words = words[2:] if words[:2] == ["", "[UNK]"] else words
        if len(set(words)) < len(words):
            raise ValueError("TextVectorization: the vocabulary has a word twice")
        kept = words if self.max_tokens is None else words[: self.max_tokens - 2]
        self._ids = {word: k + 2 for k, word in enumerate(kept)}

    def get_vocabulary(self) -> list[str]:
        """The words in the order of their ids."""
        return ["", "[UNK]", *self._ids]

    def vocabulary_size(self) -> int:
        """Number of ids, the ``input_dim`` of an Embedding."""
        return len(self._ids) + 2

    def __call__(self, texts: Iterable[str]) -> Any:
        """Ids of texts: an array of shape (texts, longest), or a list of arrays with ``ragged``."""
        if isinstance(texts, str):
            raise TypeError("TextVectorization: a list of texts is needed, got one string")
        if not self._ids:
            raise RuntimeError("TextVectorization: call adapt(texts) first")
        length = self.output_sequence_length
        rows = [np.array([self._ids.get(token, 1) for token in self.tokens(t)][:length], np.int64) for t in texts]
        return rows if self.ragged else pad_sequences(rows, length, "int64", "post", "post")
