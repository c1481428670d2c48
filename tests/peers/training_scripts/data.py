"""The files that scripts read and that their repositories do not hold, made when they are opened."""

from __future__ import annotations

import fnmatch
import os
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

PRICES = ["Date", "Open", "High", "Low", "Close", "Volume"]
VOCABULARY = "the cat sat on a mat and Alice rabbit said to her queen of hearts in time".split()
Maker = Callable[[random.Random], str | bytes]


@cache
def english(lines: int = 330) -> str:
    """Lines of nine words."""
    rng = random.Random(0)
    return "".join(" ".join(rng.choices(VOCABULARY, k=9)) + ".\n" for _ in range(lines))


def text(rng: random.Random) -> str:
    return english()


def pairs(rng: random.Random) -> str:
    """Sentences in two languages with a tab between them, as of manythings.org."""
    sentence = lambda: " ".join(rng.choices(VOCABULARY, k=rng.randint(2, 5)))  # noqa: E731
    return "".join(f"{sentence()}.\t{sentence()}!\n" for _ in range(800))


def attributed(rng: random.Random) -> str:
    """The same with a third column, as since 2018."""
    return "".join(f"{line}\tCC-BY 2.0 (France)\n" for line in pairs(rng).splitlines())


def labelled(*labels: str, separator: str = "\t", label_first: bool = True) -> Maker:
    """A label and a sentence on every line."""

    def make(rng: random.Random) -> str:
        lines = []
        for index in range(300):
            cells = [labels[index % len(labels)], " ".join(rng.choices(VOCABULARY, k=9))]
            lines.append(separator.join(cells if label_first else cells[::-1]))
        return "\n".join(lines) + "\n"

    return make


def vectors(size: int) -> Maker:
    """Word vectors as GloVe's: a word and its numbers on every line."""
    return lambda rng: "".join(
        word + "".join(f" {rng.gauss(0, 1):.3f}" for _ in range(size)) + "\n" for word in VOCABULARY
    )


def numbers(columns: int, *, header: str = "", rows: int = 500, separator: str = ",", dates: str = "") -> Maker:
    """Walks, one a column, after a date of the given format if there is one."""

    def make(rng: random.Random) -> str:
        from datetime import datetime, timedelta

        lines, values = [header] if header else [], [50.0] * columns
        for row in range(rows):
            values = [abs(value + rng.gauss(0, 1)) + 0.1 for value in values]
            day = [(datetime(2012, 1, 1) + timedelta(row)).strftime(dates)] if dates else []
            lines.append(separator.join([*day, *(f"{value:.4f}" for value in values)]))
        return "\n".join(lines) + "\n"

    return make


def climate(rng: random.Random) -> str:
    """Fourteen columns after a date, without a newline at the end, as of the Max Planck Institute in Jena."""
    names = ",".join(["Date Time", *(f"column {k}" for k in range(14))])
    block = numbers(14, rows=1000, dates="%d.%m.%Y 00:10:00")(rng)
    return f"{names}\n{block * 320}".rstrip("\n")


def walks(*shape: int) -> Maker:
    """A file of `numpy.save`: walks down the first axis."""

    def make(rng: random.Random) -> bytes:
        import io

        import numpy as np

        written = io.BytesIO()
        steps = np.random.default_rng(0).normal(size=shape)
        np.save(written, np.abs(np.cumsum(steps, axis=0)) + 1)
        return written.getvalue()

    return make


def stories(rng: random.Random) -> str:
    """Two sentences and a question about them, as of the bAbI tasks."""
    people, places = ["Mary", "John", "Daniel", "Sandra"], ["bathroom", "hallway", "garden", "office"]
    lines = []
    for _ in range(100):
        who, where = rng.choice(people), rng.choice(places)
        lines += [f"1 {who} moved to the {where}.", f"2 {rng.choice(people)} went to the kitchen."]
        lines.append(f"3 Where is {who}? \t{where}\t1")
    return "\n".join(lines) + "\n"


def reviews(folder: str) -> dict[str, Maker]:
    """The folders of Stanford's film reviews, a file for each."""
    places = [f"{folder}/{part}/{label}" for part in ("train", "test") for label in ("pos", "neg")]
    return {f"{place}/{number}_7.txt": one_review for place in places for number in range(40)}


def one_review(rng: random.Random) -> str:
    return " ".join(rng.choices(VOCABULARY, k=60)) + "."


def questions(rng: random.Random) -> str:
    """Pairs of questions and whether they are the same, as of Quora."""
    asked = lambda: " ".join(rng.choices(VOCABULARY, k=8)) + "?"  # noqa: E731
    rows = [f"{k},{2 * k},{2 * k + 1},{asked()},{asked()},{k % 2}" for k in range(300)]
    return "\n".join(["id,qid1,qid2,question1,question2,is_duplicate", *rows]) + "\n"


def integers(highest: int, rows: int = 100) -> Maker:
    """A number from 1 on every line."""
    return lambda rng: "".join(f"{row % highest + 1}\n" for row in range(rows))


def names(rng: random.Random) -> str:
    return "\n".join("".join(rng.choices("abcdefghiklmnorstu", k=rng.randint(4, 9))).title() for _ in range(60))


FILES: dict[str, dict[str, Maker]] = {  # of a repository: patterns of paths, and what is read instead of what is there
    "AtanuCSE/TF-Keras-RNN-LSTM": {"RSCCASN.csv": numbers(1, header="DATE,RSCCASN", dates="%Y-%m-%d")},
    "Jean-Christ1/Deep-Learning-with-Keras-and-Tensorflow": {
        "*synop-lys.csv": numbers(
            12, header="date;tend;cod_tend;dd;ff;td;u;ww;pres;rafper;rr1;rr3;tc", separator=";", dates="%Y-%m-%d",
            rows=2000,
        ),
    },
    "Melvynkoh94/LSTM_Keras": {"*glove*": vectors(300), "*crawl*": vectors(300)},
    "PacktPublishing/Deep-Learning-with-Keras": {
        "*LD_250.npy": walks(3000), "*text.tsv": labelled("1", "2"), "*qa1*": stories,
        "*sentiment-train.txt": labelled("1", "0"),
    },
    "oreilly-japan/deep-learning-with-keras-ja": {
        "*LD_250.npy": walks(3000), "*sentiment-train.txt": labelled("1", "0"),
    },
    "RuoAndo/LSTM-time-series": {"*sample.txt": numbers(1, rows=172_300), "2.csv": climate, "*jena_climate*": climate},
    "apelykh/seq2seq-keras": {"data.30.*": text},
    "bubbliiiing/seq2seq-keras": {"*.txt": attributed},
    "baoxperceptionio/predict-stocks-lstm-keras": {
        "*_stock_price.csv": numbers(4, header="date,open,high,low,close", dates="%Y-%m-%d"),
    },
    "khan-farhan/HAR-LSTM-keras": {
        "*_acc_?_*.txt": numbers(128, rows=100, separator=" "), "*/y_t*.txt": integers(6),
    },
    "lukas/ml-class": {"*hrv.txt": pairs, "*300d*": vectors(300), "*small_train.csv": questions, **reviews("aclImdb")},
    "fchollet/deep-learning-with-python-notebooks": reviews("aclImdb"),
    "lukysummer/Machine-Translation-Seq2Seq-Keras": {"*small_vocab_*": text},
    "pchanda/Char-LSTM-Keras-Pytorch": {
        f"data/names/{language}.txt": names for language in ("English", "French", "Greek", "Irish", "Polish")
    },
}  # fmt: skip
OF_ALL: dict[str, Maker] = {  # where the repository says nothing
    "*glove*": vectors(100), "*jena_climate*": climate, "*fra*.txt": pairs, "*deu*.txt": pairs, "*spa*.txt": pairs,
    "*cmn*.txt": pairs, "*.txt": text, "*.text": text,
}  # fmt: skip
ARGUMENTS: dict[str, list[str]] = {  # on the command lines of scripts
    "RuoAndo/LSTM-time-series/anomaly-detect/anomaly4.py": ["sample.txt"],
    "GINK03/keras-rnn-fizzbuzz/fizzbuzz.py": ["--train"],
}
VARIABLES: dict[str, str] = {"FIDLE_DATASETS_DIR": "."}  # of the environment
_state: dict[str, str] = {"repository": "", "folder": ""}


def choose(repository: str) -> None:
    """Whose files are made from now on."""
    _state.update(repository=repository, folder=tempfile.mkdtemp())


def path_of(path: str, of_all: bool = True) -> Path | None:
    """Where a file that stands in for the one at this path is, None if nothing does.

    With `of_all` something that fits by its name alone is made too.
    """
    name = path.replace("\\", "/")
    if "site-packages" in name:
        return None
    for patterns in (FILES.get(_state["repository"], {}), OF_ALL if of_all else {}):
        for pattern, make in patterns.items():
            if fnmatch.fnmatchcase(name.lower(), pattern.lower()):
                target = Path(_state["folder"], name.strip("/").replace("/", "+").replace("..", "up"))
                if not target.exists():
                    made = make(random.Random(0))
                    target.write_bytes(made if isinstance(made, bytes) else made.encode())
                return target
    return None


def write_beside(folder: str) -> None:
    """Make the files of paths without a wildcard in the script's folder, for scripts that list it or look first."""
    for pattern, make in FILES.get(_state["repository"], {}).items():
        target = Path(folder, pattern)
        if "*" not in pattern and not os.path.isabs(pattern) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            made = make(random.Random(0))
            target.write_bytes(made if isinstance(made, bytes) else made.encode())
