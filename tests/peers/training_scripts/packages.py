"""What stands in for other packages that scripts use for their data, and words of older versions of packages."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd

import rnnx

from . import data

RANDOM = np.random.default_rng(1)


def _module(modules: dict[str, Any], name: str, **names: Any) -> Any:
    """A module of these names, in the modules above it too."""
    made = types.ModuleType(name)
    vars(made).update(names, __path__=[])
    modules[name] = made
    above, _, last = name.rpartition(".")
    if above in modules:
        setattr(modules[above], last, made)
    return made


# ---- Texts ---------------------------------------------------------------------------------------------------------


class Text(list[Any]):
    """The words of a text as of spaCy."""

    @property
    def sents(self) -> list[Any]:
        return [self[place : place + 9] for place in range(0, len(self), 9)]


class Word(str):
    """A word as of spaCy."""

    lower_ = property(str.lower)
    text = property(str)
    has_vector = True
    vector = property(lambda self: RANDOM.normal(size=300).astype("float32"))


def _read(text: Any) -> Text:
    return Text(map(Word, str(text).split()))


def _texts(modules: dict[str, Any]) -> None:
    def tagger(*args: Any, **options: Any) -> Any:
        return types.SimpleNamespace(morphs=str.split, nouns=str.split)

    _module(modules, "spacy", load=lambda *args, **options: _read)
    _module(modules, "konlpy")
    _module(modules, "konlpy.tag", Mecab=tagger, Okt=tagger, Twitter=tagger, Kkma=tagger)


class Rows:
    """A data set as of the package datasets: columns, and functions over them."""

    def __init__(self, frame: Any):
        self.frame = frame

    @classmethod
    def from_pandas(cls, frame: Any) -> Rows:
        return cls(pd.DataFrame(frame))

    def __getitem__(self, name: str) -> Any:
        return self.frame[name].tolist()

    def map(self, function: Callable[[Any], Any], batched: bool = False) -> Rows:
        return Rows(pd.DataFrame(function({name: self[name] for name in self.frame.columns})))

    def train_test_split(self, test_size: float, seed: Any = None) -> dict[str, Rows]:
        count = int(len(self.frame) * test_size)
        return {"train": Rows(self.frame[count:]), "test": Rows(self.frame[:count])}

    def to_pandas(self) -> Any:
        return self.frame.reset_index(drop=True)


def _sets(modules: dict[str, Any], source: str) -> None:
    def load_dataset(*args: Any, **options: Any) -> dict[str, Rows]:
        texts = data.english(1000).splitlines()
        frame = pd.DataFrame({"text": texts * 25, "label": np.arange(25 * len(texts)) % 2})
        return {"train": Rows(frame), "test": Rows(frame[:1000])}

    if "load_dataset" in source or "from_pandas" in source:  # others call modules of their own so
        _module(modules, "datasets", Dataset=Rows, load_dataset=load_dataset)
    days = pd.date_range("2015-08-01", periods=248, freq="3h")
    bikes = pd.Series(RANDOM.integers(0, 40, len(days)), index=days)
    _module(modules, "mglearn")
    _module(modules, "mglearn.datasets", load_citibike=lambda: bikes)


# ---- Sound and pictures ----------------------------------------------------------------------------------------------


class Note:
    """A note of a song that is made of random ones."""

    def __init__(self, place: int):
        self.pitch = "CDEFGAB"[RANDOM.integers(7)] + str(RANDOM.integers(3, 6))
        self.offset = place / 2
        self.duration = types.SimpleNamespace(quarterLength=RANDOM.integers(1, 4) / 2)


def _sounds(modules: dict[str, Any]) -> None:
    def parse(path: Any) -> Any:
        return types.SimpleNamespace(flat=types.SimpleNamespace(notes=[Note(place) for place in range(250)]))

    def mfcc(wave: Any, sr: int = 22050, n_mfcc: int = 20, **options: Any) -> Any:
        return RANDOM.normal(size=(n_mfcc, 1 + len(wave) // 512))

    chords, songs, players = types.SimpleNamespace(Chord=NotANote), types.SimpleNamespace(parse=parse), MagicMock()
    players.partitionByInstrument.side_effect = ValueError("one voice")
    notes = types.SimpleNamespace(Note=Note)
    _module(modules, "music21", converter=songs, instrument=players, note=notes, chord=chords, stream=MagicMock())
    _module(modules, "librosa", load=lambda path, **options: (RANDOM.normal(size=16000).astype("float32"), 16000))
    _module(modules, "librosa.feature", mfcc=mfcc)


class NotANote:
    """A chord, of which there are none."""


class Film:
    """A film of random pictures."""

    def __init__(self, path: Any):
        self.path = path

    def read(self) -> tuple[bool, Any]:
        return True, RANDOM.integers(0, 256, (24, 32, 3)).astype("uint8")


def _pictures(modules: dict[str, Any]) -> None:
    def resize(picture: Any, size: tuple[int, int], **options: Any) -> Any:
        rows, columns = (np.arange(size[1 - axis]) * picture.shape[axis] // size[1 - axis] for axis in (0, 1))
        return picture[rows][:, columns]

    _module(modules, "cv2", VideoCapture=Film, resize=resize, INTER_AREA=3)


# ---- Words of older versions -----------------------------------------------------------------------------------------


def _old_gensim() -> None:
    try:
        import gensim.models
    except ImportError:
        return

    class Word2Vec(gensim.models.Word2Vec):  # type: ignore[misc]
        def __init__(self, sentences: Any = None, **options: Any):
            for old, new in (("size", "vector_size"), ("iter", "epochs")):
                if old in options:
                    options[new] = options.pop(old)
            options["epochs"] = min(2, options.get("epochs", 2))
            super().__init__(sentences, **options)

        def save(self, path: Any, *args: Any, **options: Any) -> None:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)

    kind = gensim.models.KeyedVectors

    def loaded(path: Any, *args: Any, **options: Any) -> Any:
        made = kind(300)
        made.add_vectors(data.VOCABULARY, RANDOM.normal(size=(len(data.VOCABULARY), 300)).astype("float32"))
        return made

    kind.vocab = property(lambda self: self.key_to_index)
    kind.word_vec = kind.get_vector
    kind.load = kind.load_word2vec_format = staticmethod(loaded)
    gensim.models.Word2Vec = Word2Vec


def _old_statsmodels() -> None:
    try:
        import statsmodels.api as sm
    except ImportError:
        return
    given = sm.tsa.seasonal_decompose
    sm.tsa.seasonal_decompose = lambda x, *args, freq=None, **options: given(
        x, *args, **{**options, **({} if freq is None else {"period": freq})}
    )


def _old_matplotlib() -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    given = plt.hist
    plt.hist = lambda *args, normed=False, **options: given(*args, **{**options, "density": bool(normed)})


def _databases() -> None:
    import sqlalchemy

    from .stand_ins import column

    sqlalchemy.create_engine = lambda *args, **options: MagicMock()
    pd.read_sql_query = lambda query, *args, **options: pd.DataFrame({"numbers": column("numbers", 400)})


# ---- TensorFlow's data sets ------------------------------------------------------------------------------------------


class Dataset:
    """``tf.data.Dataset``: an iterable over rows, and over batches of them."""

    def __init__(self, make: Callable[[], Iterable[Any]], count: int | None = None):
        self._make, self._count = make, count

    @classmethod
    def from_tensor_slices(cls, given: Any) -> Dataset:
        parts = given if isinstance(given, tuple) else (given,)
        count = len(parts[0])
        return cls(lambda: (row if isinstance(given, tuple) else row[0] for row in zip(*parts, strict=True)), count)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    as_numpy_iterator = __iter__

    def map(self, function: Callable[..., Any], **options: Any) -> Dataset:
        def rows() -> Iterator[Any]:
            for row in self:
                yield function(*row) if isinstance(row, tuple) else function(row)

        return Dataset(rows, self._count)

    def batch(self, size: int, drop_remainder: bool = False, **options: Any) -> Dataset:
        def batches() -> Iterator[Any]:
            rows: list[Any] = []
            for row in self:
                rows.append(row)
                if len(rows) == size:
                    yield _stacked(rows)
                    rows = []
            if rows and not drop_remainder:
                yield _stacked(rows)

        return Dataset(batches)

    def shuffle(self, *args: Any, **options: Any) -> Dataset:
        return self

    prefetch = cache = shuffle

    def take(self, count: int) -> Dataset:
        return Dataset(lambda: (row for row, _ in zip(self, range(count), strict=False)))


THEIR_MODELS = ("tyge318/Keras-LSTM-Exercise",)  # which load what they have just described


def _stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], tuple):
        return tuple(_stacked([row[place] for row in rows]) for place in range(len(rows[0])))
    return list(rows) if isinstance(rows[0], str) else np.stack(rows)


class Flags:
    """``tf.flags``: every flag has the value that its definition gives."""

    def __init__(self) -> None:
        self.FLAGS = types.SimpleNamespace()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("DEFINE_"):
            raise AttributeError(name)
        return lambda flag, value, *args: setattr(self.FLAGS, flag, value)


def _regex_replace(text: Any, pattern: str, rewrite: str) -> Any:
    import re

    return re.sub(pattern, rewrite, text)


TENSORFLOW = {  # of TensorFlow beside Keras
    "data": types.SimpleNamespace(Dataset=Dataset, AUTOTUNE=None, experimental=types.SimpleNamespace(AUTOTUNE=None)),
    "strings": types.SimpleNamespace(lower=str.lower, regex_replace=_regex_replace),
    "flags": Flags(),
}


def install(modules: dict[str, Any], source: str) -> None:
    """Put all of these in the places of the packages; those that the source of a script names are imported for it."""
    _sets(modules, source)
    for make in (_texts, _sounds, _pictures):
        make(modules)
    patches = {
        "gensim": _old_gensim,
        "statsmodels": _old_statsmodels,
        "normed": _old_matplotlib,
        "sqlalchemy": _databases,
    }
    for word, patch in patches.items():
        if word in source:
            patch()


def files_of_models(repository: str) -> None:
    """Weights that another script would have saved: a model keeps its own, and loading one gives the last made."""
    load_weights, load_model, begin = rnnx.Model.load_weights, rnnx.saving.load_model, rnnx.Model.__init__
    last: list[Any] = []

    @wraps(begin)
    def remembered(self: Any, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        last[:] = [self]

    @wraps(load_weights)
    def weights(self: Any, path: Any = None, *args: Any, **options: Any) -> Any:
        path = options.pop("filepath", path)
        return load_weights(self, path, *args, **options) if os.path.exists(path) else None

    @wraps(load_model)
    def model(path: Any, *args: Any, **options: Any) -> Any:
        if os.path.exists(path) or not last or repository not in THEIR_MODELS:
            return load_model(path, *args, **options)
        return last[0]

    rnnx.Model.__init__, rnnx.Model.load_weights = remembered, weights  # type: ignore[method-assign]
    rnnx.saving.load_model = model
