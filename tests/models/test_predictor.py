"""`Predictor` and `warm_up`: models in worker processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Predictor, Sequential, layers

X = np.random.default_rng(2).normal(size=(3, 5, 4)).astype(np.float32)


def model_of(*parts: Any) -> Any:
    return Sequential([rnnx.Input((None, 4)), *parts])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model_of(layers.LSTM(8, return_sequences=True), layers.GRU(6), layers.Dense(2)).save(tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_it_travels_as_its_path(path: Path) -> None:
    predict = Predictor(path, threads=1)
    wanted = rnnx.load_model(path).predict(X)
    assert np.array_equal(predict(X), wanted) and np.array_equal(predict.predict(X, batch_size=2), wanted)
    data = pickle.dumps(predict)  # after use
    assert len(data) < 500
    for other in (pickle.loads(data), copy.copy(predict), copy.deepcopy(predict)):
        assert (other.path, other.threads) == (str(path), 1) and other.model is not predict.model
        assert np.array_equal(other(X), wanted)
    assert repr(predict) == f"Predictor({str(path)!r})"


def test_the_file_is_wanted_at_the_first_use(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    predict = Predictor("later.safetensors")
    with pytest.raises(FileNotFoundError, match=r"later\.safetensors"):
        predict(X)
    model = model_of(layers.GRU(3))
    model.save("later.safetensors")
    monkeypatch.chdir("/")
    assert np.array_equal(predict(X), model.predict(X))


def test_many_threads_read_one_model(path: Path) -> None:
    predict, found = Predictor(path), []
    threads = [threading.Thread(target=lambda: found.append((predict(X), predict.model))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(model is predict.model for _, model in found)
    assert all(np.array_equal(y, found[0][0]) for y, _ in found)


def test_its_threads_are_those_of_its_calls(path: Path, monkeypatch: Any) -> None:
    predict, seen = Predictor(path, threads=3), []
    monkeypatch.setattr(type(predict.model), "predict", lambda *_: seen.append(rnnx.get_num_threads()))
    before = rnnx.get_num_threads()
    predict(X)
    assert seen == [3] and rnnx.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "1"])
def test_bad_threads(threads: Any) -> None:
    with pytest.raises(ValueError, match="Predictor: `threads` must be a positive integer or None"):
        Predictor("x", threads=threads)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers(path: Path, how: str) -> None:
    if how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {how} here")
    predict = Predictor(path)
    if how == "fork":
        predict.warm_up()
    with multiprocessing.get_context(how).Pool(2) as workers:
        found = workers.map(predict, [X, X[:1]])
    assert np.array_equal(found[0], predict(X)) and np.array_equal(found[1], predict(X[:1]))


def test_warm_up_packs_what_the_first_call_would(monkeypatch: Any) -> None:
    parts = (
        layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        layers.RNN(layers.GRUCell(4)),
        layers.Dense(3),
    )
    model = model_of(*parts)
    model.quantize("int8")
    model.warm_up()
    recurrent = [parts[0].forward_layer, parts[0].backward_layer, parts[1].cell]
    made = [layer.packed()[1] for layer in recurrent] + [parts[2].packed()]
    wanted = model.predict(X)
    assert made == [layer.packed()[1] for layer in recurrent] + [parts[2].packed()]
    model.warm_up()
    assert np.array_equal(model.predict(X), wanted)
    model_of(layers.LSTM(3, activation="gelu")).warm_up()  # has nothing to pack
    with pytest.raises(ValueError, match="not built yet, there are no weights to pack"):
        Sequential([layers.LSTM(3)]).warm_up()


def in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))  # clocks of file systems are coarse


@pytest.mark.parametrize("packed_before", [True, False])
def test_a_file_that_is_written_over_in_place_is_an_error(path: Path, packed_before: bool) -> None:
    model_of(layers.LSTM(8, return_sequences=True), layers.GRU(6), layers.Dense(2)).save(path.parent / "b.safetensors")
    other = (path.parent / "b.safetensors").read_bytes()
    assert len(other) == path.stat().st_size
    predict = Predictor(path)
    wanted = predict(X) if packed_before else predict.model
    in_place(path, other)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"a\.safetensors.*written over in place.*os\.replace"):
            predict(X)
    with pytest.raises(RuntimeError, match="written over"):
        predict.warm_up()
    again = Predictor(path)
    assert np.array_equal(again(X), rnnx.load_model(path.parent / "b.safetensors").predict(X))
    assert not packed_before or not np.array_equal(again(X), wanted)


def test_a_file_that_is_replaced_removed_or_touched_is_none(path: Path) -> None:
    predict = Predictor(path)
    wanted, content = predict(X), path.read_bytes()
    os.utime(path, (1, 1))
    assert np.array_equal(predict(X), wanted)
    in_place(path, content)
    assert np.array_equal(predict(X), wanted)
    model_of(layers.GRU(3)).save(path)
    in_place(path, b"else")
    assert np.array_equal(predict(X), wanted)
    path.unlink()
    assert np.array_equal(predict(X), wanted)
