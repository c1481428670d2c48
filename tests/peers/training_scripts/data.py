"""The files that scripts read and that their repositories do not hold, made when they are opened."""

from __future__ import annotations

import fnmatch
import os
import random
import string
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
    files = [f"{place}/{number}_7.txt" for place in places for number in range(40)]
    return {file: review(600 * number) for number, file in enumerate(files)}


def review(first: int) -> Maker:
    """Common words, and 600 that no other review has: all of them are more than any vocabulary takes."""
    rare = " ".join(f"w{word}" for word in range(first, first + 600))
    return lambda rng: f"{' '.join(rng.choices(VOCABULARY, k=60))} {rare}."


def questions(rng: random.Random) -> str:
    """Pairs of questions and whether they are the same, as of Quora."""
    asked = lambda: " ".join(rng.choices(VOCABULARY, k=8)) + "?"  # noqa: E731
    rows = [f"{k},{2 * k},{2 * k + 1},{asked()},{asked()},{k % 2}" for k in range(300)]
    return "\n".join(["id,qid1,qid2,question1,question2,is_duplicate", *rows]) + "\n"


def pickled(make: Callable[[], object]) -> Maker:
    """What a script before this one would have pickled."""

    def made(rng: random.Random) -> bytes:
        import pickle

        return pickle.dumps(make())

    return made


def word_vectors(size: int) -> dict[str, object]:
    import numpy as np

    return {word: np.ones(size) for word in VOCABULARY}


def digits() -> tuple[object, object]:
    """Numbers of ten digits, one-hot, and by what they can be divided."""
    import numpy as np

    drawn = np.random.default_rng(0)
    return np.eye(11)[drawn.integers(0, 11, (40, 10))], drawn.integers(0, 2, (40, 3)).astype(float)


def picture(rng: random.Random) -> bytes:
    """A picture of 96 by 96."""
    import io

    from PIL import Image

    written = io.BytesIO()
    Image.effect_noise((96, 96), rng.uniform(10, 60)).convert("RGB").save(written, "JPEG")
    return written.getvalue()


def cats() -> dict[str, Maker]:
    """Folders of six pictures."""
    names = [*(f"cat_{number}" for number in range(5)), "cat_result"]
    folders = [f"catz/{part}/{cat}" for part in ("train", "test") for cat in range(130)]
    return {f"{folder}/{name}.jpg": picture for folder in folders for name in names}


def many_words(rng: random.Random) -> str:
    """Comments with a hundred thousand words, and six labels each."""
    labels = "toxic,severe_toxic,obscene,threat,insult,identity_hate"
    words = [" ".join(f"w{word}" for word in range(260 * row, 260 * row + 260)) for row in range(400)]
    rows = [f"{row},{own}," + ",".join(rng.choices("01", k=6)) for row, own in enumerate(words)]
    return "\n".join([f"id,comment_text,{labels}", *rows]) + "\n"


def draws(rng: random.Random) -> str:
    """Six numbers out of 45 and one more, after the number of the draw."""
    return "".join(",".join(map(str, [row, *rng.sample(range(1, 46), 7)])) + "\n" for row in range(968))


def poems(rng: random.Random) -> str:
    return "".join(f"{rng.choice(VOCABULARY)}:{' '.join(rng.choices(VOCABULARY, k=9))}\n" for _ in range(300))


def compared(rng: random.Random) -> str:
    """A number, two sentences and whether they mean the same."""
    sentence = lambda: " ".join(rng.choices(VOCABULARY, k=6))  # noqa: E731
    return "".join(f"{row}\t{sentence()}\t{sentence()}\t{row % 2}\n" for row in range(120)).lower()


def captions(rng: random.Random) -> str:
    return "".join(f"picture{row} {' '.join(rng.choices(VOCABULARY, k=6))}\n" for row in range(20))


def features() -> dict[str, object]:
    import numpy as np

    return {f"picture{row}": np.ones((1, 4096), "float32") for row in range(20)}


def nothing(rng: random.Random) -> bytes:
    """A file that is only listed."""
    return b"x"


def songs(folder: str) -> dict[str, Maker]:
    return {f"{folder}/{number}.mid": nothing for number in range(3)}


def integers(highest: int, rows: int = 100) -> Maker:
    """A number from 1 on every line."""
    return lambda rng: "".join(f"{row % highest + 1}\n" for row in range(rows))


def names(rng: random.Random) -> str:
    return "\n".join("".join(rng.choices("abcdefghiklmnorstu", k=rng.randint(4, 9))).title() for _ in range(60))


# Of a repository, or one script of it: patterns of paths, and what is read instead of what is there.
FILES: dict[str, dict[str, Maker]] = {
    "AtanuCSE/TF-Keras-RNN-LSTM": {"RSCCASN.csv": numbers(1, header="DATE,RSCCASN", dates="%Y-%m-%d")},
    "Jean-Christ1/Deep-Learning-with-Keras-and-Tensorflow": {
        "*synop-lys.csv": numbers(
            12, header="date;tend;cod_tend;dd;ff;td;u;ww;pres;rafper;rr1;rr3;tc", separator=";", dates="%Y-%m-%d",
            rows=2000,
        ),
    },
    "Melvynkoh94/LSTM_Keras": {"*glove*": vectors(300), "*crawl*": vectors(300), "*.csv": many_words},
    "PacktPublishing/Deep-Learning-with-Keras": {
        "*LD_250.npy": walks(3000), "*text.tsv": labelled("1", "2"), "*qa1*": stories,
        "*sentiment-train.txt": labelled("1", "0"),
    },
    "oreilly-japan/deep-learning-with-keras-ja/ch07/composite_qa_net.py": {
        f"data/tasks_1-20_v1-2/en-10k/qa1_single-supporting-fact_{part}.txt": stories for part in ("train", "test")
    },
    "oreilly-japan/deep-learning-with-keras-ja/ch07/lstm_autoencoder.py": {"embed/glove.6B.100d.txt": vectors(100)},
    "lukas/ml-class/videos/cnn-audio/audio.ipynb": {
        f"data/{label}/{number}.wav": nothing for label in ("bed", "cat", "happy") for number in range(60)
    },
    "lukas/ml-class/examples/keras-audio/gru-composer.py": songs("midi_songs"),
    "lukas/ml-class/videos/video-predict/video.ipynb": cats(),
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
    "fchollet/deep-learning-with-python-notebooks": {
        **reviews("aclImdb"), "aclImdb/train/pos/4077_10.txt": review(0), "spa-eng/spa.txt": pairs,
    },
    "lukysummer/Machine-Translation-Seq2Seq-Keras": {"*small_vocab_*": text},
    "jeffchenzc/Keras-LSTM": {"part-00000": numbers(12, rows=827)},
    "tyge318/Keras-LSTM-Exercise": {
        "*valid_words.pickle": pickled(lambda: set(VOCABULARY)), "*_to_vec.pickle": pickled(lambda: word_vectors(256)),
        "*features.pkl": pickled(features), "*Images.txt": lambda rng: "".join(f"picture{k}.jpg\n" for k in range(20)),
        "*descriptions.txt": captions, "*spa.txt": lambda rng: pairs(rng) * 13,
    },
    "GINK03/keras-rnn-fizzbuzz": {"dataset/1.pkl": pickled(digits)},
    "jerinka/convlstm_keras": {"vids/one.mp4": nothing, "vids/two.mp4": nothing},
    "jordan-bird/Keras-LSTM-Music-Generator": songs("classical-piano-type0"),
    "nohj0518/keras-lstm-lotto-2021": {"*lotto*.csv": draws},
    "zixinw/gushi-gen-keras-rnn": {"*poems.txt": poems},
    "arlenzhu/SiameseLSTM-Keras": {"*ch_input/*.txt": compared},
    "peanutshawny/lstm-stock-predictor": {
        "*ge.*.us.txt": numbers(5, header="Date,Open,High,Low,Close,Volume", dates="%Y-%m-%d"),
    },
    "sanjay-raghu/sentiment-analysis-using-LSTM-keras": {
        "*Sentiment.csv": lambda rng: "text,sentiment\n" + labelled(
            "Positive", "Negative", "Neutral", separator=",", label_first=False)(rng),
    },
    "pchanda/Char-LSTM-Keras-Pytorch": {
        f"data/names/{language}.txt": names for language in ("English", "French", "Greek", "Irish", "Polish")
    },
}  # fmt: skip
OF_ALL: dict[str, Maker] = {  # where the repository says nothing
    "*shakespeare*": lambda rng: english() + string.printable, "*glove*": vectors(100), "*jena_climate*": climate,
    "*fra*.txt": pairs, "*deu*.txt": pairs, "*spa*.txt": pairs, "*cmn*.txt": pairs, "*.txt": text, "*.text": text,
}  # fmt: skip
ARGUMENTS: dict[str, list[str]] = {  # on the command lines of scripts
    "RuoAndo/LSTM-time-series/anomaly-detect/anomaly4.py": ["sample.txt"],
    "GINK03/keras-rnn-fizzbuzz/fizzbuzz.py": ["--train"],
    "lukas/ml-class/examples/lstm/text-gen/char-gen.py": ["input.txt"],
    "lukas/ml-class/projects/7-text-generation/char-gen.py": ["input.txt"],
    "lukas/ml-class/videos/text-gen/char-gen.py": ["input.txt"],
    "arlenzhu/SiameseLSTM-Keras/siamese_lstm.py": ["train"],
    "yxtay/char-rnn-text-generation/keras_model.py": [
        "train",
        "--checkpoint-path",
        "model/model.keras",
        "--text-path",
        "input.txt",
    ],
}
VARIABLES: dict[str, str] = {"FIDLE_DATASETS_DIR": "."}  # of the environment
_state: dict[str, str] = {"repository": "", "script": "", "folder": ""}


def choose(repository: str, path: str) -> None:
    """The repository and the script whose files are made from now on."""
    _state.update(repository=repository, script=f"{repository}/{path}", folder=tempfile.mkdtemp())


def repository() -> str:
    """The repository whose script is run."""
    return _state["repository"]


def own_files() -> dict[str, Maker]:
    return {**FILES.get(_state["script"], {}), **FILES.get(_state["repository"], {})}


def path_of(path: str, of_all: bool = True) -> Path | None:
    """Where a file that stands in for the one at this path is, None if nothing does.

    With `of_all` something that fits by its name alone is made too.
    """
    name = path.replace("\\", "/")
    if "site-packages" in name:
        return None
    for patterns in (own_files(), OF_ALL if of_all else {}):
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
    for pattern, make in own_files().items():
        target = Path(folder, pattern)
        if "*" not in pattern and not os.path.isabs(pattern) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            made = make(random.Random(0))
            target.write_bytes(made if isinstance(made, bytes) else made.encode())
