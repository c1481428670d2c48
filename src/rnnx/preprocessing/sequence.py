"""Sequences of numbers: padded, as windows with targets, as pairs of words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rnnx._seeds import source
from rnnx._typing import Array
from rnnx.utils.arrays import pad_sequences
from rnnx.utils.dataset import PyDataset

__all__ = ["TimeseriesGenerator", "make_sampling_table", "pad_sequences", "skipgrams"]

EULER = 0.577  # the constant of Euler and Mascheroni, as Keras rounds it


class TimeseriesGenerator(PyDataset):
    """Batches of windows of a series, each with the target that follows it; for ``fit``.

    Parameters
    ----------
    data : array or list of shape (steps, ...)
    targets : array or list of shape (steps, ...)
        ``targets[i]`` belongs to the window of the steps before i.
    length : int
        Steps of the series that a window spans.
    sampling_rate, stride : int
        Steps between the steps of a window, and between two windows.
    start_index, end_index : int
        The part of the series to use; the last index is used too.
    shuffle : bool
        Windows at random places.
    reverse : bool
        The last step of a window first.
    batch_size : int

    Raises
    ------
    ValueError
        If the lengths differ, or no window fits.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.preprocessing.sequence import TimeseriesGenerator
    >>> x, y = TimeseriesGenerator(np.arange(6), np.arange(6), length=2, batch_size=3)[0]
    >>> x.tolist(), y.tolist()
    ([[0, 1], [1, 2], [2, 3]], [2, 3, 4])
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        numbers = {"length": length, "sampling_rate": sampling_rate, "stride": stride, "batch_size": batch_size}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
                raise ValueError(f"TimeseriesGenerator: `{name}` must be a positive integer, got {number!r}")
        if len(data) != len(targets):
            raise ValueError(
                f"TimeseriesGenerator: `data` and `targets` need as many steps, got {len(data)} and {len(targets)}"
            )
        self.data, self.targets, self.length = data, targets, length
        self.sampling_rate, self.stride, self.batch_size = sampling_rate, stride, batch_size
        self.shuffle, self.reverse = shuffle, reverse
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        if self.start_index > self.end_index:
            raise ValueError(
                f"TimeseriesGenerator: no window of {length} steps from {start_index} ends before step {self.end_index}"
            )

    def __len__(self) -> int:
        together = self.batch_size * self.stride
        return (self.end_index - self.start_index + together) // together

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        if self.shuffle:
            rows = source().legacy.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            rows = np.arange(first, min(first + self.batch_size * self.stride, self.end_index + 1), self.stride)
        x = np.array([self.data[row - self.length : row : self.sampling_rate] for row in rows])
        y = np.array([self.targets[row] for row in rows])
        return x[:, ::-1] if self.reverse else x, y

    def get_config(self) -> dict[str, Any]:
        """Arguments that make it again, the data as JSON."""
        return {
            "data": json.dumps(np.asarray(self.data).tolist()),
            "targets": json.dumps(np.asarray(self.targets).tolist()),
            "length": self.length,
            "sampling_rate": self.sampling_rate,
            "stride": self.stride,
            "start_index": self.start_index,
            "end_index": self.end_index,
            "shuffle": self.shuffle,
            "reverse": self.reverse,
            "batch_size": self.batch_size,
        }

    def to_json(self, **kwargs: Any) -> str:
        """The configuration as JSON."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> Array:
    """Probability that a word is kept, by its rank (words that come often are kept less often), for `skipgrams`.

    Parameters
    ----------
    size : int
        Number of words.
    sampling_factor : float

    Returns
    -------
    array of shape (size,)
    """
    rank = np.arange(size)
    rank[:1] = 1
    inverse_frequency = rank * (np.log(rank) + EULER) + 0.5 - 1.0 / (12.0 * rank)
    f = sampling_factor * inverse_frequency
    return np.minimum(1.0, f / np.sqrt(f))


def skipgrams(
    sequence: Any,
    vocabulary_size: int,
    window_size: int = 4,
    negative_samples: float = 1.0,
    shuffle: bool = True,
    categorical: bool = False,
    sampling_table: Any = None,
    seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Pairs of words that stand near each other (label 1), and of words with random ones (label 0).

    Parameters
    ----------
    sequence : list of int
        Ids of words; 0 is skipped.
    vocabulary_size : int
    window_size : int
        Words to each side.
    negative_samples : float
        Pairs with random words, as a share of the others.
    shuffle : bool
    categorical : bool
        Labels as ``[1, 0]`` and ``[0, 1]``.
    sampling_table : array, optional
        See `make_sampling_table`.
    seed : int, optional
        Of the order. The words are drawn from Python's ``random``; see `rnnx.utils.set_random_seed`.

    Returns
    -------
    couples, labels : lists
    """
    positive, negative = ([0, 1], [1, 0]) if categorical else (1, 0)
    numbers = source().random
    couples: list[list[int]] = []
    for i, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < numbers.random()):
            continue
        for j in range(max(0, i - window_size), min(len(sequence), i + window_size + 1)):
            if j != i and sequence[j]:
                couples.append([word, sequence[j]])
    labels: list[Any] = [positive] * len(couples)
    if negative_samples > 0 and couples:
        count = int(len(labels) * negative_samples)
        words = [couple[0] for couple in couples]
        numbers.shuffle(words)
        couples += [[words[k % len(words)], numbers.randint(1, vocabulary_size - 1)] for k in range(count)]
        labels += [negative] * count
    if shuffle:
        if seed is None:
            seed = numbers.randint(0, 10**7)
        for values in (couples, labels):
            numbers.seed(seed)
            numbers.shuffle(values)
    return couples, labels
