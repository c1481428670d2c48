"""Texts in folders, parts of data, and words that download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import utils


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, words in (("neg", ["bad", "worse", "b\u00e9te"]), ("pos", ["good", "fine", "best", "nice"])):
        (tmp_path / name).mkdir()
        for k, word in enumerate(words):
            (tmp_path / name / f"{k}.txt").write_text(word, encoding="utf-8")
    (tmp_path / "neg" / "notes.md").write_text("none")
    return tmp_path


def read(data: Any) -> tuple[list[str], list[Any]]:
    pairs = list(data)
    return [t for x, _ in pairs for t in x], [t for _, y in pairs for t in y.tolist()]


def test_texts_of_folders(folder: Path, capsys: Any) -> None:
    data = utils.text_dataset_from_directory(folder, batch_size=3, shuffle=False)
    assert "found 7 files of 2 classes" in capsys.readouterr().out
    assert len(data) == 3 and data.class_names == ["neg", "pos"]
    assert read(data) == (["bad", "worse", "b\u00e9te", "good", "fine", "best", "nice"], [0, 0, 0, 1, 1, 1, 1])
    options: Any = {"verbose": False, "shuffle": False}
    turned = utils.text_dataset_from_directory(folder, class_names=["pos", "neg"], label_mode="binary", **options)
    assert read(turned)[1] == [[0.0]] * 4 + [[1.0]] * 3
    one_hot = utils.text_dataset_from_directory(folder, label_mode="categorical", max_length=2, **options)
    assert read(one_hot)[0][:2] == ["ba", "wo"] and read(one_hot)[1][0] == [1.0, 0.0]
    plain = utils.text_dataset_from_directory(folder, label_mode=None, batch_size=None, **options)
    assert list(plain)[:2] == ["bad", "worse"] and len(plain) == 7
    listed = utils.text_dataset_from_directory(folder, labels=range(7), **options)
    assert read(listed)[1] == list(range(7))
    words = rnnx.layers.TextVectorization()
    words.adapt(data.map(lambda x, y: x))
    assert words.vocabulary_size() == 9


def test_parts_of_folders_do_not_overlap(folder: Path) -> None:
    train, held = utils.text_dataset_from_directory(
        folder, validation_split=0.3, subset="both", seed=3, verbose=False, batch_size=2
    )
    alone = utils.text_dataset_from_directory(
        folder, validation_split=0.3, subset="validation", seed=3, verbose=False, shuffle=True
    )
    texts = read(train)[0]
    assert sorted(texts + read(held)[0]) == sorted(["bad", "worse", "b\u00e9te", "good", "fine", "best", "nice"])
    assert len(texts) == 5 and sorted(read(alone)[0]) == sorted(read(held)[0])
    assert sorted(read(train)[0]) == sorted(texts)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"label_mode": "float"}, "label_mode"),
        ({"subset": "training"}, "go together"),
        ({"subset": "training", "validation_split": 0.5}, "give `seed`"),
        ({"subset": "training", "validation_split": 1.5}, "between 0 and 1"),
        ({"class_names": ["a"]}, "must be the folders"),
        ({"labels": [1]}, "for each of 7 files, got 1"),
        ({"labels": None, "class_names": ["a"]}, "class_names"),
        ({"directory": "nothing"}, "no folder nothing"),
        ({"format": "list"}, "format"),
    ],
)
def test_mistakes_are_named(folder: Path, options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        utils.text_dataset_from_directory(**{"directory": folder, "verbose": False, **options})


def test_nothing_is_downloaded() -> None:
    with pytest.raises(NotImplementedError, match="fetch https://here by other means"):
        utils.get_file("a", "https://here")
    for name in ("imdb", "mnist", "reuters", "cifar10"):
        with pytest.raises(NotImplementedError, match=f"{name}.load_data: rnnx downloads nothing"):
            getattr(rnnx.datasets, name).load_data(num_words=10)
    with pytest.raises(AttributeError, match="no attribute 'imbd'"):
        rnnx.datasets.imbd  # noqa: B018


def test_split_dataset() -> None:
    x, y = np.arange(10), np.arange(10) * 2
    (a, b), (c, d) = utils.split_dataset((x, y), left_size=0.8, shuffle=True, seed=1)
    assert len(a) == 8 and len(c) == 2 and sorted([*a, *c]) == list(range(10))
    assert (b == 2 * a).all() and (d == 2 * c).all()
    left, right = utils.split_dataset({"x": x}, right_size=3)
    assert left["x"].tolist() == list(range(7)) and right["x"].tolist() == [7, 8, 9]
    for options, match in (
        ({}, "give `left_size`"),
        ({"left_size": 11}, "0..10, got 11"),
        ({"left_size": 1.5}, "got 1.5"),
        ({"left_size": 8, "right_size": 3}, "split in 8 and 3"),
        ({"left_size": 0}, "split in 0 and 10"),
    ):
        with pytest.raises(ValueError, match=match):
            utils.split_dataset(x, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one length"):
        utils.split_dataset([x, y[1:]], 0.5)
    with pytest.raises(TypeError, match="got int"):
        utils.split_dataset(3, 0.5)


def test_hdf5_matrix_says_what_to_do() -> None:
    with pytest.raises(NotImplementedError, match=r"h5py.File\('x.h5'\)\['features'\]\[start:end\]"):
        utils.HDF5Matrix("x.h5", "features")


def test_mapped_batches_come_for_every_epoch(tmp_path: Path) -> None:
    """As those of tf.data, which ``fit`` passes through as often as there are epochs."""
    for k in range(6):
        place = tmp_path / "ab"[k % 2]
        place.mkdir(exist_ok=True)
        (place / f"{k}.txt").write_text(f"word{k}", encoding="utf-8")
    data = utils.text_dataset_from_directory(tmp_path, batch_size=4, verbose=False)
    mapped = data.map(lambda x, y: (np.ones((len(x), 2), "f"), y), num_parallel_calls=4)
    twice = mapped.map(lambda x, y: (2 * x, y))
    assert len(mapped) == len(twice) == 2 and [len(list(twice)) for _ in range(2)] == [2, 2]
    assert next(iter(twice))[0].max() == 2
    model = rnnx.Sequential([rnnx.Input((2,)), rnnx.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert len(model.fit(mapped, validation_data=twice, epochs=3, verbose=0).history["val_loss"]) == 3
