"""What stands in for data that a script downloads or keeps elsewhere: small, synthetic, of the same shape."""

from __future__ import annotations

import builtins
import io
import os
import re
import time
import types
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd

import rnnx

from . import data, packages

RANDOM = np.random.default_rng(0)
WORDS = {f"word{index}": index for index in range(1, 5000)}
USED: list[str] = []  # what was made, in order


def _texts(count: int, words: int, longest: int) -> Any:
    """Lists of ids, one of them as long as may be."""
    texts = np.empty(count, object)
    for index in range(count):
        length = longest if index == 0 else RANDOM.integers(min(20, longest), longest + 1)
        texts[index] = RANDOM.integers(1, words, length).tolist()
    return texts


def _of_texts(classes: int, sizes: tuple[int, int]) -> Callable[..., Any]:
    def load_data(*args: Any, num_words: Any = None, nb_words: Any = None, maxlen: Any = None, **options: Any) -> Any:
        words, longest = min(num_words or nb_words or 5000, 5000), min(maxlen - 1, 120) if maxlen else 120
        return tuple((_texts(count, words, longest), np.arange(count) % classes) for count in sizes)

    return load_data


def _of_images(shape: tuple[int, ...], column: bool) -> Callable[..., Any]:
    def load_data(*args: Any, **options: Any) -> Any:
        parts = []
        for count in (300, 100):
            labels = (np.arange(count) % 10).astype("uint8")
            images = RANDOM.integers(0, 256, (count, *shape)).astype("uint8")
            parts.append((images, labels[:, None] if column else labels))
        return tuple(parts)

    return load_data


def _of_numbers(*args: Any, **options: Any) -> Any:
    return tuple((RANDOM.random((count, 13)), RANDOM.random(count)) for count in (300, 100))


def _word_index(*args: Any, **options: Any) -> dict[str, int]:
    return dict(WORDS)


DATASETS = {
    "imdb": _of_texts(2, (300, 100)), "reuters": _of_texts(46, (1395, 599)), "mnist": _of_images((28, 28), False),
    "fashion_mnist": _of_images((28, 28), False), "cifar10": _of_images((32, 32, 3), True),
    "cifar100": _of_images((32, 32, 3), True), "boston_housing": _of_numbers,
}  # fmt: skip


def column(name: str, count: int) -> Any:
    """What a column of such a name holds: dates, texts, labels, or a walk of prices."""
    low = str(name).lower()
    if "date" in low or low in ("time", "timestamp", "ds"):
        return pd.date_range("2012-01-01", periods=count).astype(str)
    if re.search("text|docum|review|comment|sentence|tweet|content|phrase|quest|answer|headline|title|word", low):
        words = data.english().split()
        return [" ".join(words[index * 7 % 2000 : index * 7 % 2000 + 12]) for index in range(count)]
    if re.search("label|sentiment|class|target|is_", low):
        return np.arange(count) % 2
    return np.abs(np.cumsum(RANDOM.normal(size=count)) + 50)


class Table(pd.DataFrame):
    """A table that has the columns that it is asked for."""

    @property
    def _constructor(self) -> type:
        return Table

    def __getitem__(self, key: Any) -> Any:
        for name in key if isinstance(key, list) else [key]:
            if isinstance(name, str) and name not in self.columns:
                pd.DataFrame.__setitem__(self, name, column(name, len(self)))
        return super().__getitem__(key)


def table(options: dict[str, Any], count: int = 400) -> Any:
    """What `pandas.read_csv` would give for a file that is not there."""
    if options.get("names") is not None:
        names = list(options["names"])
    elif options.get("header", 0) is None:  # as of two columns: texts and labels
        return pd.DataFrame({0: column("text", count), 1: column("label", count)})
    else:
        names = data.PRICES
    index, use = options.get("index_col"), options.get("usecols")
    by_name = use is not None and not isinstance(use[0], int)
    names = list(dict.fromkeys([*names, *([index] if isinstance(index, str) else []), *(use if by_name else [])]))
    frame = Table({name: column(name, count) for name in names})
    if use is not None:
        frame = frame[list(use)] if by_name else frame.iloc[:, use]
    if index is not None and not isinstance(index, (list, bool)):
        frame = frame.set_index(frame.columns[index] if isinstance(index, int) else index)
        if options.get("parse_dates"):
            frame.index = pd.date_range("2012-01-01", periods=count)
    return frame


def _old_pandas(read_csv: Callable[..., Any]) -> Callable[..., Any]:
    """`pandas.read_csv` with arguments that pandas had once, and a table for a file that is not there."""

    def read(path: Any, *args: Any, squeeze: bool = False, **options: Any) -> Any:
        for name in ("date_parser", "infer_datetime_format", "error_bad_lines", "warn_bad_lines"):
            options.pop(name, None)
        if args:
            options.setdefault("sep", args[0])
        if options.get("delim_whitespace"):
            options.update(sep=r"\s+", delim_whitespace=None)
        options.pop("delim_whitespace", None)
        if isinstance(path, str) and os.path.exists(path.replace("\\", "/")):  # as on Windows
            path = path.replace("\\", "/")
        if isinstance(path, (str, os.PathLike)):
            made = data.path_of(str(path), of_all=False)
            if made is None and not os.path.exists(path):
                USED.append(f"table {path}")
                frame = table(options)
                return frame.iloc[:, -1] if squeeze else frame
            path = made or path
        frame = read_csv(path, **options)
        return frame.squeeze("columns") if squeeze else frame

    return read


def _pandas() -> None:
    pd.read_csv = read_csv = _old_pandas(pd.read_csv)
    pd.read_table = lambda path, *args, **options: read_csv(path, *args, **{"sep": "\t", **options})
    read_excel = pd.read_excel

    def excel(path: Any, *args: Any, index: Any = None, **options: Any) -> Any:
        if os.path.exists(path):
            return read_excel(path, *args, **options).dropna(how="all", axis=0)  # rows that older readers left out
        return read_csv(
            path, **{name: value for name, value in options.items() if name not in ("sheet_name", "engine")}
        )

    pd.read_excel = excel
    frame: Any = pd.DataFrame
    frame.as_matrix = lambda self, columns=None: (self if columns is None else self[columns]).values
    frame.append = lambda self, other, **options: pd.concat([self, other], **options)
    frame.ix = pd.DataFrame.loc
    series: Any = pd.Series
    series.as_matrix, series.ix = lambda self: self.values, pd.Series.loc
    pd.datetime = __import__("datetime").datetime


def _opened(opened: Callable[..., Any]) -> Callable[..., Any]:
    def open_(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        instead = data.path_of(path, of_all=False) if isinstance(path, str) and not set(mode) & set("wax+") else None
        if instead is not None:
            USED.append(f"file {path}")
            return opened(instead, mode, *args, **options)
        try:
            return opened(path, mode, *args, **options)
        except FileNotFoundError:
            folder = os.path.dirname(str(path))
            if set(mode) & set("wa") and folder and not os.path.isabs(folder):  # as a script's author had it
                os.makedirs(folder, exist_ok=True)
                return opened(path, mode, *args, **options)
            made = data.path_of(str(path))
            if made is None:
                raise
            USED.append(f"file {path}")
            return opened(made, mode, *args, **options)

    return open_


def _numpy() -> None:
    for name, kind in (("float", float), ("int", int), ("bool", bool), ("object", object), ("str", str)):
        if name not in vars(np):
            setattr(np, name, kind)
    old: Any = np
    old.fromstring = lambda text, dtype=float, sep="", **options: (
        np.frombuffer(text, dtype) if sep == "" else np.array(text.split(sep if sep.strip() else None), dtype)
    )


def _nltk() -> None:
    """Splitting at blanks, as the package's own data is fetched from a server."""
    try:
        import nltk
        import nltk.corpus
        import nltk.tokenize
    except ImportError:
        return
    nltk.download = lambda *args, **options: True
    for module in (nltk, nltk.tokenize):
        module.word_tokenize = lambda text, *args, **options: str(text).replace(".", " .").split()
        module.sent_tokenize = lambda text, *args, **options: [part for part in str(text).split(".") if part.strip()]
    tagged = [
        [(word, "NN" if len(word) > 3 else "DT") for word in line.split()] for line in data.english().splitlines()
    ]
    nltk.corpus.stopwords = types.SimpleNamespace(words=lambda *args: ["the", "a"])
    texts = data.english(600).splitlines()
    nltk.corpus.reuters = types.SimpleNamespace(
        fileids=lambda: [f"{part}/{number}" for part in ("training", "test") for number in range(150)],
        words=lambda name=None: " ".join(texts if name is None else [texts[int(name.split("/")[1])]] * 6).split(),
        categories=lambda name: ["earn"],
    )
    nltk.corpus.treebank = types.SimpleNamespace(tagged_sents=lambda *args: tagged, fileids=lambda *args: ["1"])
    nltk.FreqDist = __import__("collections").Counter


class Settings(types.SimpleNamespace):
    """``wandb.config``: settings that a script reads without having set them are 8."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return 8

    def update(self, *given: dict[str, Any], **named: Any) -> None:
        for settings in (*given, named):
            vars(self).update(settings)


def _wandb(modules: dict[str, Any]) -> None:
    class WandbCallback(rnnx.callbacks.Callback):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__()

    wandb, keras = (types.ModuleType(name) for name in ("wandb", "wandb.keras"))
    wandb.__path__ = []
    run = types.SimpleNamespace(config=Settings(), dir=".", summary={}, finish=lambda: None)

    def init(*args: Any, **options: Any) -> Any:
        run.config.update(options.get("config") or {})
        return run

    parts = {"config": run.config, "init": init, "run": run, "keras": keras, "log": lambda *a, **o: None}
    vars(wandb).update(parts, Image=MagicMock(), Table=MagicMock(), util=MagicMock(), save=MagicMock())
    vars(keras).update(WandbCallback=WandbCallback, WandbKerasCallback=WandbCallback)
    modules.update({"wandb": wandb, "wandb.keras": keras, "wandb.wandb_keras": keras})


DISPLAYED = {
    "IPython", "pydot", "graphviz", "plotly", "prettytable", "termcolor", "tensorboard", "google.colab",
    "ipywidgets", "progressbar", "keras_tqdm", "pyecharts", "wordcloud", "pdb", "seaborn", "numba", "hyperas",
}  # fmt: skip


def keras_names() -> dict[str, Any]:
    """What stands in under Keras' own names: data sets, ``get_file``."""
    sets = {name: types.SimpleNamespace(load_data=load, get_word_index=_word_index) for name, load in DATASETS.items()}

    def get_file(fname: Any = None, origin: str = "", *args: Any, **options: Any) -> str:
        name = os.path.basename(str(fname or origin))
        USED.append(f"get_file {name}")
        if any(
            word in f"{name} {origin}".lower() for word in ("aclimdb", "spa-eng")
        ):  # a folder that is beside the script
            return os.getcwd()
        made = data.path_of(name) or data.path_of("any.txt")
        return str(made)

    return {**sets, "datasets": types.SimpleNamespace(**sets), "get_file": get_file, "plot_model": MagicMock(),
            "load_img": MagicMock(), "img_to_array": MagicMock(),
            "preprocess_input": lambda x, *args, **options: x,
            "multi_gpu_model": lambda model, *args, **options: model}  # fmt: skip


def _downloads() -> None:
    """Commands that fetch or unpack do nothing: what they would fetch is there."""
    import subprocess

    for name in ("check_output", "check_call", "call", "run"):
        given = getattr(subprocess, name)

        def quiet(command: Any, *args: Any, given: Any = given, **options: Any) -> Any:
            text = command if isinstance(command, str) else " ".join(map(str, command))
            return b"" if re.search(r"\b(curl|wget|unzip)\b", text) else given(command, *args, **options)

        setattr(subprocess, name, quiet)

    def urlretrieve(url: str, path: Any = None, *args: Any) -> tuple[str, None]:
        target = str(path or os.path.basename(url))
        made = data.path_of(target) or data.path_of("any.txt")
        Path(target).write_bytes(Path(str(made)).read_bytes())
        return target, None

    urllib.request.urlretrieve = urlretrieve


def install(modules: dict[str, Any], source: str) -> None:
    """Patch what reads data, asks a person, waits or draws, in packages that the ``source`` of a script names."""
    _pandas()
    _numpy()
    if "nltk" in source:
        _nltk()
    _wandb(modules)
    _downloads()
    packages.install(modules, source)
    packages.files_of_models(data.repository())
    builtins.open = io.open = _opened(builtins.open)
    load = np.load

    def np_load(path: Any, *args: Any, **options: Any) -> Any:
        made = None if not isinstance(path, (str, Path)) or os.path.exists(path) else data.path_of(str(path))
        return load(made or path, *args, **options)

    np.load = np_load
    loadtxt = np.loadtxt
    np.loadtxt = lambda path, *args, **options: loadtxt(
        (isinstance(path, str) and data.path_of(path, of_all=False)) or path, *args, **options
    )
    here: Any = builtins
    here.input = here.raw_input = lambda *args: "1"
    here.unicode, here.xrange, here.reload = str, range, lambda module: module
    here.get_ipython, here.display = lambda: MagicMock(), lambda *args, **options: None
    clock: Any = time
    clock.sleep, clock.clock = lambda seconds: None, time.perf_counter
    if "matplotlib" in source or "pylab" in source:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot

        matplotlib.pyplot.show = lambda *args, **options: None
    if "tqdm" in source:
        import tqdm
        import tqdm.notebook

        for bars in (tqdm, tqdm.notebook):  # without widgets
            bars.tqdm = bars.tqdm_notebook = tqdm.tqdm
        modules["tqdm._tqdm_notebook"] = tqdm.notebook
    if "sklearn" in source:
        import sklearn.model_selection

        modules["sklearn.cross_validation"] = modules["sklearn.grid_search"] = sklearn.model_selection
