"""Packed weights in a file that processes share: never wrong, whoever wrote what there."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import stat
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Predictor, Sequential, layers
from rnnx.layers.weight import replace_all
from rnnx.models import packed_file

X = np.random.default_rng(2).normal(size=(3, 5, 4)).astype(np.float32)


def model_of(mode: str | None = None, dtype: str = "float32", seed: int = 1) -> Any:
    rnnx.random.set_random_seed(seed)
    model = Sequential(
        [
            rnnx.Input((None, 4)),
            layers.LSTM(9, return_sequences=True, dtype=dtype),
            layers.GRU(6, return_sequences=True, recurrent_blocks=2, dtype=dtype),
            layers.SimpleRNN(5, dtype=dtype),
            layers.Dense(3, dtype=dtype),
        ]
    )
    if mode is not None:
        model.quantize(mode)
    return model


def adopted(model: Any) -> list[Any]:
    """The arrays that a model computes from."""
    return [panels for part in packed_file.packed_parts(model) for panels in part.made_panels()]


def is_mapped(model: Any) -> bool:
    made = adopted(model)
    return bool(made) and all(panels is not None and not panels.flags.writeable for panels in made)


@pytest.mark.parametrize("mode", [None, "bf16", "int8", "int8x16", "int16", "float64"])
def test_the_numbers_are_those_without_the_file(mode: str | None, tmp_path: Path) -> None:
    kind: dict[str, Any] = {"dtype": mode} if mode == "float64" else {"mode": mode}
    plain, path = model_of(**kind), tmp_path / "a.packed"
    wanted = plain.predict(X)
    for _ in range(2):  # written, and then read
        model = model_of(**kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.warm_up(path)
        assert is_mapped(model)
        assert np.array_equal(model.predict(X), wanted)
        stream, other = model.stream(3), plain.stream(3)
        assert np.array_equal(stream.run(X), other.run(X))
    if mode in (None, "float64"):  # panels of the backward pass are made as ever
        model.compile("sgd", "mse")
        plain.compile("sgd", "mse")
        y = np.zeros((3, 3))
        assert model.train_on_batch(X, y) == plain.train_on_batch(X, y)
        assert np.array_equal(model.predict(X), plain.predict(X))  # new weights are packed anew, not read
        assert not is_mapped(model)
    assert os.listdir(tmp_path) == ["a.packed"]
    if os.name == "posix":
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022


@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
@pytest.mark.parametrize("mode", [None, "int8"])
def test_large_weights_of_any_file_are_shared_too(suffix: str, mode: str | None, tmp_path: Path) -> None:
    rnnx.random.set_random_seed(3)
    saved = Sequential([rnnx.Input((None, 4)), layers.LSTM(80), layers.Dense(3)])
    if mode is not None and suffix != ".keras":
        saved.quantize(mode)
    saved.save(tmp_path / f"m{suffix}")
    wanted = saved.predict(X)
    for _ in range(2):
        model = Predictor(tmp_path / f"m{suffix}", cache=tmp_path).warm_up().model
        assert is_mapped(model) and not model.layers[0].recurrent_kernel.flags.writeable
        assert all(map(np.array_equal, model.get_weights(), saved.get_weights()))
        assert np.array_equal(model.predict(X), wanted)
    with model.layers[0].weights[1].updating() as kernel:  # a copy of its own
        kernel *= 2
    again = Predictor(tmp_path / f"m{suffix}", cache=tmp_path).warm_up().model
    assert np.array_equal(again.predict(X), wanted) and not np.array_equal(model.predict(X), wanted)


def test_weights_in_hand_stay_where_they_are(tmp_path: Path) -> None:
    model = Sequential([rnnx.Input((None, 4)), layers.LSTM(80)])
    held = model.weights[1].value
    model.warm_up(tmp_path / "a")
    assert is_mapped(model)
    before = model.predict(X)
    held *= 2
    assert not np.array_equal(model.predict(X), before)


def test_weights_that_were_looked_at_are_shared_too(tmp_path: Path) -> None:
    """Else processes would write different files, one after the other, to the same path."""
    files = set()
    for look in (False, True):
        rnnx.random.set_random_seed(3)
        model = Sequential([rnnx.Input((None,), dtype="int32"), layers.Embedding(5000, 4), layers.LSTM(80)])
        if look:
            assert all(weight.value.size for weight in model.weights) and model.layers[0].embeddings.any()
        model.warm_up(tmp_path / "a")
        assert not model.weights[0].array.flags.writeable
        assert all(weight.lent is None for weight in model.weights)
        found = (tmp_path / "a").stat()
        files.add((found.st_ino, found.st_mtime_ns, found.st_size))
    assert len(files) == 1


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_first_values_in_the_order_of_fortran_are_shared_too(kind: Any, tmp_path: Path) -> None:
    def made() -> Any:
        rnnx.random.set_random_seed(3)
        model = Sequential([rnnx.Input((None, 4)), kind(150)])
        weight = model.layers[0].weights[1]
        weight.assign(np.zeros(weight.shape))
        values = np.random.default_rng(3).normal(size=weight.shape).astype(np.float32)
        replace_all([weight], [np.asfortranarray(values)])
        return model

    plain = made()
    wanted, y = plain.predict(X), np.zeros((3, 150))
    for _ in range(2):
        model = made()
        model.warm_up(tmp_path / "a")
        kernel = model.layers[0].weights[1].array
        assert not kernel.flags.writeable and kernel.flags.f_contiguous
        assert np.array_equal(kernel, plain.layers[0].weights[1].array)
        assert np.array_equal(model.predict(X), wanted)
    for one in (model, plain):
        one.compile("sgd", "mse")
    assert model.train_on_batch(X, y) == plain.train_on_batch(X, y)
    assert all(map(np.array_equal, model.get_weights(), plain.get_weights()))


def test_weights_that_were_packed_before_are_shared_too(tmp_path: Path) -> None:
    model = model_of()
    wanted, stream = model.predict(X), model.stream(3)
    model.warm_up(tmp_path / "a")
    assert is_mapped(model) and np.array_equal(model.predict(X), wanted)
    assert np.array_equal(stream.run(X), model_of().stream(3).run(X))  # which goes on with what it has


@pytest.mark.parametrize("place", ["head", "first", "middle", "last", "cut", "longer", "empty", "other weights"])
def test_a_file_that_is_not_right_is_written_again(place: str, tmp_path: Path) -> None:
    path, model = tmp_path / "a.packed", model_of()
    model.warm_up(path)
    right = path.read_bytes()
    path.unlink()  # what is mapped must not change
    wrong = bytearray(right)
    start = packed_file.HEAD
    if place == "other weights":
        model_of(seed=2).warm_up(path)
        assert path.read_bytes() != right
    elif place in ("cut", "longer", "empty"):
        path.write_bytes({"cut": right[:-64], "longer": right + bytes(64), "empty": b""}[place])
    else:
        last = np.flatnonzero(np.frombuffer(right, np.uint8))[-1]
        at = {"head": len(packed_file.MAGIC) + 2, "first": start, "middle": (start + last) // 2, "last": last}[place]
        wrong[at] ^= 1
        path.write_bytes(wrong)
    again = model_of()
    again.warm_up(path)
    assert path.read_bytes() == right and is_mapped(again)
    assert np.array_equal(again.predict(X), model.predict(X))


def check_private(path: Path, match: str) -> None:
    """The file is left alone, one warning says why, and the numbers are right."""
    model = model_of()
    with pytest.warns(UserWarning, match=match) as found:
        model.warm_up(path)
    assert len(found) == 1 and str(path) in str(found[0].message) and "\n" not in str(found[0].message)
    assert found[0].filename == __file__
    assert adopted(model) and not is_mapped(model)
    assert np.array_equal(model.predict(X), model_of().predict(X))


def test_what_is_no_such_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model_of().save(path)
    before = path.read_bytes()
    check_private(path, "it holds something else than packed weights, and stays as it is; give another path")
    assert path.read_bytes() == before
    check_private(tmp_path, "")  # a folder


@pytest.mark.skipif(os.name != "posix", reason="modes and pipes of POSIX")
def test_files_that_others_may_change_are_not_used(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.packed"
    model_of().warm_up(path)
    for mode in (0o664, 0o646):
        path.chmod(mode)
        check_private(path, "others than this user may change it; remove it, or give another path")
        assert stat.S_IMODE(path.stat().st_mode) == mode
    path.chmod(0o644)
    real = os.fstat

    def of_a_stranger(handle: int) -> Any:
        found = real(handle)
        return os.stat_result([*found[:4], 12345, *found[5:]])

    monkeypatch.setattr(os, "fstat", of_a_stranger)
    check_private(path, "others than this user may change it")
    model = model_of()
    packed_file.warm_up(model, path, owners=(12345,))  # whose model it is may change the weights anyway
    assert is_mapped(model)
    monkeypatch.undo()
    os.mkfifo(tmp_path / "pipe")
    check_private(tmp_path / "pipe", "it is not a regular file")


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    check_private(tmp_path / "file" / "a.packed", "")
    made = tmp_path / "new" / "folder" / "a.packed"
    model_of().warm_up(made)
    assert made.exists()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed_file, "write_whole", full)
    check_private(tmp_path / "b.packed", "No space left on device")
    model = model_of()
    model.warm_up(made)  # is there
    assert is_mapped(model)


def test_what_killed_writers_have_left_is_removed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    left, other = tmp_path / ".a[1].packed.x1y2.part", tmp_path / ".b.packed.x1y2.part"
    left.write_bytes(b"half")
    other.write_bytes(b"of another file")
    model_of().warm_up(tmp_path / "a[1].packed")
    assert sorted(os.listdir(tmp_path)) == [other.name, "a[1].packed"]


def test_waiting_for_a_writer_ends(tmp_path: Path, monkeypatch: Any) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(packed_file, "PATIENCE", 0.05)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    check_private(tmp_path / "a.packed", "another process has kept")
    os.close(handle)
    model_of().warm_up(tmp_path / "a.packed")


def work(predict: Predictor, barrier: Any, results: Any) -> None:
    barrier.wait(60)
    y = predict(X)
    made = os.stat(packed_file.file_for(predict.path, predict.cache)).st_ino
    results.put((y, is_mapped(predict.model), made, time.time()))


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers_that_begin_together_share_one_file(how: str, tmp_path: Path) -> None:
    if how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {how} here")
    model = model_of()
    model.save(tmp_path / "m.safetensors")
    predict = Predictor(tmp_path / "m.safetensors", threads=1, cache=tmp_path / "cache")
    context: Any = multiprocessing.get_context(how)
    barrier, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=work, args=(predict, barrier, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert all(np.array_equal(y, model.predict(X)) and shared for y, shared, *_ in found)
    assert len({made for *_, made, _ in found}) == 1
    assert len(os.listdir(tmp_path / "cache")) == 1


def test_where_a_predictor_keeps_it(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("one", "two"):  # of the same name in two folders
        (tmp_path / name).mkdir()
        model_of(seed=len(name)).save(tmp_path / name / "m.safetensors")
    monkeypatch.setenv("RNNX_CACHE_DIR", str(tmp_path / "own"))
    predict = Predictor(tmp_path / "one" / "m.safetensors", cache=True)
    assert np.array_equal(pickle.loads(pickle.dumps(predict)).warm_up()(X), predict(X))
    Predictor(tmp_path / "two" / "m.safetensors", cache=True).warm_up()
    names = os.listdir(tmp_path / "own")
    assert len(names) == 2 and all(name.startswith("m.safetensors.") and name.endswith(".packed") for name in names)
    monkeypatch.delenv("RNNX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert packed_file.default_folder() == tmp_path / "xdg" / "rnnx"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(os.path, "expanduser", lambda _: "/home/user")
    assert packed_file.default_folder() == Path("/home/user/.cache/rnnx")
    monkeypatch.setattr(os.path, "expanduser", lambda _: "~")  # no home
    assert packed_file.default_folder().is_absolute()
    assert Predictor("m.safetensors", cache=False).warm_up is not None
    with pytest.raises(TypeError):
        Predictor("m.safetensors", cache=3.5)


def test_a_model_without_packed_weights_writes_nothing(tmp_path: Path) -> None:
    model = Sequential([rnnx.Input((4,)), layers.Dense(3)])
    model.warm_up(tmp_path / "a.packed")
    assert not os.listdir(tmp_path)
