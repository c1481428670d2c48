"""Data in files: folders of texts, and why nothing is downloaded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rnnx._seeds import shuffling_generator
from rnnx._typing import Array
from rnnx.utils.arrays import to_categorical

WHO = "text_dataset_from_directory"


def get_file(fname: Any = None, origin: Any = None, *given: Any, **options: Any) -> NoReturn:
    """Keras' word for a download, which rnnx does not do.

    Raises
    ------
    NotImplementedError
        Always; it says what to do.
    """
    raise NotImplementedError(
        f"get_file: rnnx downloads nothing; fetch {origin or 'the file'} by other means (urllib.request.urlretrieve) "
        "and give its path to what reads it"
    )


def HDF5Matrix(datapath: Any = None, dataset: Any = None, *given: Any, **options: Any) -> NoReturn:  # noqa: N802
    """Keras' old word for an array in an HDF5 file, which Keras 3 does not have either.

    Raises
    ------
    NotImplementedError
        Always; it says what to do.
    """
    raise NotImplementedError(
        f"HDF5Matrix: gone since Keras 3; read the array, `h5py.File({str(datapath)!r})[{str(dataset)!r}][start:end]`, "
        "or give fit a PyDataset that reads the rows of each batch"
    )


class TextDataset:
    """Batches of texts, read from their files when they are asked for; see `text_dataset_from_directory`.

    Parameters
    ----------
    paths : list of Path
    labels : array with a row for each path, or None
    batch_size : int or None
        None gives text by text.
    max_length : int or None
        Characters of a text.
    generator : numpy Generator or None
        Source of a new order for every pass.
    class_names : list of str

    Attributes
    ----------
    class_names : list of str
    """

    def __init__(
        self,
        paths: list[Path],
        labels: Array | None,
        batch_size: int | None,
        max_length: int | None,
        generator: np.random.Generator | None,
        class_names: list[str] | None,
    ):
        self.paths, self.labels, self.batch_size, self.max_length = paths, labels, batch_size, max_length
        self.generator, self.class_names = generator, class_names

    def __len__(self) -> int:
        """Batches of a pass."""
        return math.ceil(len(self.paths) / (self.batch_size or 1))

    def __iter__(self) -> Iterator[Any]:
        count, size = len(self.paths), self.batch_size or 1
        order = np.arange(count) if self.generator is None else self.generator.permutation(count)
        for k in range(len(self)):
            rows = order[k * size : (k + 1) * size]
            texts = np.array([self._text(int(row)) for row in rows], object)
            labels = None if self.labels is None else self.labels[rows]
            if not self.batch_size:
                texts, labels = texts[0], None if labels is None else labels[0]
            yield texts if labels is None else (texts, labels)

    def map(self, function: Any, num_parallel_calls: Any = None) -> MappedDataset:
        """What a function makes of every batch, which it is given as its arguments; for every pass anew.

        ``num_parallel_calls`` is a word of ``tf.data`` and of no effect.
        """
        return MappedDataset(self, function)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The batches of one pass, by the name that they have in ``tf.data``."""
        return iter(self)

    def _text(self, row: int) -> str:
        return self.paths[row].read_text(encoding="utf-8")[: self.max_length]


class MappedDataset:
    """What a function makes of the batches of a dataset; as many passes as are asked for.

    Parameters
    ----------
    batches : TextDataset or MappedDataset
    function : callable
        Of the parts of a batch.
    """

    def __init__(self, batches: Any, function: Any):
        self.batches, self.function = batches, function

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            yield self.function(*batch) if isinstance(batch, tuple) else self.function(batch)

    map = TextDataset.map

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The batches of one pass, by the name that they have in ``tf.data``."""
        return iter(self)


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Texts in ``.txt`` files, by default with the folder they are in as their class, as batches for ``fit``.

    Parameters
    ----------
    directory : path
    labels : "inferred", None, or list of int
        The folders; none, with all files below ``directory``; or one for each file in the order of their paths.
    label_mode : {"int", "categorical", "binary", None}
    class_names : list of str, optional
        The folders in the order of their classes; sorted by name if not given.
    batch_size : int or None
        None gives text by text.
    max_length : int, optional
        Characters of a text.
    shuffle : bool
        A new order for every pass.
    seed : int, optional
    validation_split : float, optional
        Share of the files that ``subset="validation"`` has.
    subset : {"training", "validation", "both"}, optional
    follow_links : bool
        Whether folders behind links are read.
    format : {"tf", "grain"}
        Accepted as in Keras; batches are NumPy arrays of texts.
    verbose : bool
        Whether to say how many files there are.

    Returns
    -------
    TextDataset, or a list of two with ``subset="both"``

    Raises
    ------
    ValueError
        If an argument is none of these, or there are no files.
    """
    choices = (
        ("label_mode", label_mode, ("int", "categorical", "binary", None)),
        ("subset", subset, ("training", "validation", "both", None)),
        ("format", format, ("tf", "grain")),
    )
    for name, value, known in choices:
        if value not in known:
            raise ValueError(f"{WHO}: `{name}` must be one of {known}, got {value!r}")
    if (validation_split is None) != (subset is None):
        raise ValueError(f"{WHO}: `validation_split` and `subset` go together, got {validation_split} and {subset!r}")
    if validation_split is not None and not 0 < validation_split < 1:
        raise ValueError(f"{WHO}: `validation_split` must lie between 0 and 1, got {validation_split}")
    if subset is not None and shuffle and seed is None:
        raise ValueError(f"{WHO}: give `seed` with `validation_split`, so that its two parts do not overlap")
    paths, classes, names = _files(Path(directory), labels, class_names, follow_links)
    if verbose:
        print(f"found {len(paths)} files" + (f" of {len(names)} classes" if names else ""))
    if label_mode == "binary" and names is not None and len(names) != 2:
        raise ValueError(f"{WHO}: label_mode='binary' needs 2 classes, got {len(names)}")
    wanted: Any = None
    if classes is not None and label_mode is not None:
        wanted = np.asarray(classes, np.int32)
        if label_mode == "categorical":
            wanted = to_categorical(wanted, len(names) if names else None)
        elif label_mode == "binary":
            wanted = wanted.astype(np.float32)[:, None]
    order = np.random.default_rng(seed).permutation(len(paths)) if shuffle else np.arange(len(paths))
    held = int((validation_split or 0) * len(paths))
    made = []
    for part, rows in (("training", order[: len(order) - held]), ("validation", order[len(order) - held :])):
        if subset not in (None, "both", part) or (subset is None and part == "validation"):
            continue
        if not len(rows):
            raise ValueError(f"{WHO}: there are no files for the {part} part in {directory}")
        generator = None
        if shuffle and (part == "training" or subset != "both"):
            generator = shuffling_generator() if seed is None else np.random.default_rng(seed)
        own = None if wanted is None else wanted[rows]
        made.append(TextDataset([paths[k] for k in rows], own, batch_size, max_length, generator, names))
    return made if subset == "both" else made[0]


def _files(
    directory: Path, labels: Any, class_names: Any, follow_links: bool
) -> tuple[list[Path], list[int] | None, list[str] | None]:
    """The text files in the order of their paths, their classes, and the names of the classes."""
    if not directory.is_dir():
        raise ValueError(f"{WHO}: there is no folder {directory}")

    def below(folder: Path) -> list[Path]:
        entries = sorted(entry for entry in folder.iterdir() if follow_links or not entry.is_symlink())
        inner = [path for entry in entries if entry.is_dir() for path in below(entry)]
        return [entry for entry in entries if entry.is_file() and entry.suffix.lower() == ".txt"] + inner

    if labels == "inferred":
        there = sorted(entry.name for entry in directory.iterdir() if entry.is_dir())
        names = there if class_names is None else [str(name) for name in class_names]
        if set(names) != set(there):
            raise ValueError(f"{WHO}: `class_names` must be the folders {there}, got {names}")
        found = [(path, k) for k, name in enumerate(names) for path in below(directory / name)]
        paths, classes = [path for path, _ in found], [k for _, k in found]
        if not paths:
            raise ValueError(f"{WHO}: there are no .txt files in folders of {directory}")
        return paths, classes, names
    if class_names is not None:
        raise ValueError(f"{WHO}: `class_names` are for labels='inferred'")
    paths = below(directory)
    if not paths:
        raise ValueError(f"{WHO}: there are no .txt files in {directory}")
    if labels is None:
        return paths, None, None
    if len(labels) != len(paths):
        raise ValueError(f"{WHO}: `labels` must have one for each of {len(paths)} files, got {len(labels)}")
    return paths, [int(label) for label in labels], [str(label) for label in sorted(set(labels))]
