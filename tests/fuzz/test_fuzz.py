"""A tiny run of the fuzz harness, and what longer runs have found."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import info
from rnnx.formats.keras._table import table_of
from rnnx.saving import FormatError
from tests.bad_input.test_files import with_checksum

if sys.platform != "linux":
    pytest.skip("limits of processes are those of Linux", allow_module_level=True)

from ..hostile.limits import unclear
from . import checkpoints, fuzz_formats, hdf5_files, json_trees, mutations, onnx_graphs, pickles, safetensors_headers
from .good_files import good_files

SEED = 11
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return good_files(tmp_path_factory.mktemp("good"))


def test_damaged_files_give_a_model_or_one_error(tmp_path: Path, capsys: Any) -> None:
    names = ["torch_files", "rnnx.safetensors"]
    arguments = ["--inputs", "250", "--seed", str(SEED), "--jobs", "1", "--keep", str(tmp_path / "kept"), *names]
    assert fuzz_formats.main(arguments) == 0, capsys.readouterr()
    text = capsys.readouterr().out
    assert "250 inputs" in text and "FormatError" in text and "model" in text
    assert not (tmp_path / "kept").exists()


def test_it_notices_what_is_wrong(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def broken(path: Path) -> str:
        raise KeyError(path.name)

    monkeypatch.setattr(fuzz_formats, "read", broken)
    assert fuzz_formats.work(SEED, 0, 3, ["torch_files"], tmp_path) == {"BAD KeyError": 3}
    assert len(list((tmp_path / "bad").glob("*.txt"))) == 3


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), "BAD MemoryError"),
        (RecursionError(), "BAD RecursionError"),
        (FormatError("input.pt: one\nand two"), "BAD unclear FormatError"),
        (FormatError("input.pt: \x1b[2J"), "BAD unclear FormatError"),
        (FormatError("the file is damaged"), "BAD unclear FormatError"),
        (OSError("input.pt: no such file"), "OSError"),
    ],
)
def test_it_notices_each_kind_of_wrong_end(
    error: Exception, outcome: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    def broken(path: Path) -> None:
        raise error

    monkeypatch.setattr(fuzz_formats, "ways", lambda path: {"load": lambda: broken(path)})
    assert fuzz_formats.work(SEED, 0, 2, ["lstm.pt"], tmp_path) == {outcome: 2}


def test_it_notices_memory_that_ran_out_on_the_way(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def broken(path: Path) -> None:
        try:
            bytearray(2 * fuzz_formats.MEMORY)
        except MemoryError as error:
            raise FormatError(f"{path}: too large") from error

    monkeypatch.setattr(fuzz_formats, "ways", lambda path: {"load": lambda: broken(path)})
    assert fuzz_formats.work(SEED, 0, 1, ["lstm.pt"], tmp_path) == {"BAD refused only when memory ran out": 1}


def test_it_notices_memory_that_was_resident(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(fuzz_formats, "MEMORY", 1 << 24)
    monkeypatch.setattr(fuzz_formats, "limited", lambda memory: None)
    monkeypatch.setattr(fuzz_formats, "ways", lambda path: {"load": lambda: bytes(3 << 24) + b"1"})
    assert fuzz_formats.work(SEED, 0, 1, ["lstm.pt"], tmp_path) == {"BAD too much memory": 1}


def test_it_notices_what_takes_long(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def endless() -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz_formats, "SECONDS", 0.05)
    monkeypatch.setattr(fuzz_formats, "ways", lambda path: {"load": endless})
    assert fuzz_formats.work(SEED, 0, 1, ["lstm.pt"], tmp_path) == {"BAD TooSlow": 1}


def test_what_does_not_come_back_ends_with_its_process(tmp_path: Path) -> None:
    """The next input is read by another process; the place where it hung is kept."""
    script = """
import sys
from tests.fuzz import fuzz_formats
fuzz_formats.SECONDS, fuzz_formats.GRACE = 0.5, 0.5
fuzz_formats.timed = lambda *_, **__: __import__("contextlib").nullcontext()
fuzz_formats.ways = lambda path: {"load": lambda: pow(3, 10**9)}
fuzz_formats.main(sys.argv[1:])
"""
    command = [sys.executable, "-c", script, "--block", "0", "--inputs", "1", "--keep", str(tmp_path), "lstm.pt"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == -signal.SIGXCPU
    assert (tmp_path / "now").read_text().startswith("0 ") and "<lambda>" in (tmp_path / "trace").read_text()


def test_blocks_beside_each_other_read_the_same_inputs(tmp_path: Path) -> None:
    """Whatever the number of processes and the length of their blocks."""
    found = [fuzz_formats.run(40, SEED, ["rnnx.json", "lstm.pt"], tmp_path, jobs) for jobs in (1, 2)]
    assert found[0] == found[1] and found[0].total() == 40


# ---- Mutations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.pt", "b.safetensors"])
def test_inputs_follow_from_their_numbers(name: str, files: Files) -> None:
    data = files["rnnx.safetensors"]
    first = [mutations.mutated(name, data, [data], random.Random(k)) for k in range(40)]
    assert first == [mutations.mutated(name, data, [data], random.Random(k)) for k in range(40)]
    assert sum(made != data for made in first) > 30


def test_every_format_is_there(files: Files) -> None:
    chosen = fuzz_formats.chosen_names(files, [])
    every = [".gz", ".h5", ".json", ".keras", ".onnx", ".pt", ".safetensors", ".savedmodel", ".tar"]
    assert sorted(chosen) == every
    came: set[str] = set()
    for number in range(60):
        name, data = fuzz_formats.made_input(SEED, number, files, chosen)
        came.add(Path(name).suffix.replace(".pth", ".pt"))
        assert fuzz_formats.made_input(SEED, number, files, chosen) == (name, data)
    assert came == set(chosen)
    assert all(mutations.within(name, data) for name, data in files.items())


def _json(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = files["keras-gru_sum.json"]
    return lambda rng: (json.dumps(json.loads(data)).encode(), json_trees.changed(data, rng, change).encode())


def _hdf5(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = files["old-k2_gru_before.h5"]
    return lambda rng: (data, hdf5_files.changed(data, rng, change))


def _onnx(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = files["rnnx-states.onnx"]
    return lambda rng: (data, onnx_graphs.changed(data, rng, change))


def _pickle(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = pickles.change_pickle(files["torch_files-network.pt"], random.Random(), lambda ops, rng: None)
    return lambda rng: (data, pickles.change_pickle(data, rng, change))


def _legacy(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = files["torch_files-checkpoint_legacy.pt"]
    return lambda rng: (data, pickles.change_pickle(data, rng, change))


def _header(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = files["rnnx.safetensors"]

    def make(rng: random.Random) -> tuple[bytes, bytes]:
        table, content = safetensors_headers.split(data)
        before = safetensors_headers.joined(table, content)
        change(table, rng)
        return before, safetensors_headers.joined(table, content)

    return make


def _checkpoint(files: Files, change: Any) -> Callable[[random.Random], tuple[bytes, bytes]]:
    data = files["compiled.savedmodel"]
    return lambda rng: (data, change(data, rng))


CHANGES = [
    *((_json, change) for change in json_trees.CHANGES),
    *((_hdf5, change) for change in (*hdf5_files.CHANGES, hdf5_files.change_text)),
    *((_onnx, change) for change in onnx_graphs.CHANGES),
    *((_pickle, change) for change in pickles.CHANGES),
    *((_legacy, change) for change in pickles.CHANGES),
    *((_checkpoint, change) for change in (checkpoints.changed, checkpoints.change_description)),
    *((_header, change) for change in safetensors_headers.CHANGES),
]


def _whole(maker: Any, data: bytes) -> None:
    """A changed file is still one that the parser of its container accepts."""
    if maker is _json:
        try:
            json.loads(data)
        except RecursionError:
            pass
    elif maker is _hdf5:
        import h5py

        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(lambda name, item: None)
    elif maker is _onnx:
        import onnx

        onnx.ModelProto().ParseFromString(data)
    elif maker is _pickle:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            pickles.parsed(archive.read(next(n for n in archive.namelist() if n.endswith("/data.pkl"))))
    elif maker is _checkpoint:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            checkpoints.parsed(archive.read(checkpoints.METADATA))
            assert table_of("index", archive.read(checkpoints.INDEX))
    elif maker is _header:
        table, content = safetensors_headers.split(data)
        if isinstance(text := table.get("__metadata__", {}), dict) and "rnnx" in text:
            assert text["checksum"] == safetensors_headers.checksum(table, content)


@pytest.mark.parametrize(
    ("maker", "change"), dict.fromkeys(CHANGES), ids=lambda found: getattr(found, "__name__", str(found)).strip("_")
)
def test_each_change_of_what_is_inside(maker: Any, change: Any, files: Files) -> None:
    """It makes other files, well formed ones, and the same from the same number."""
    make, different = maker(files, change), 0
    for number in range(6):
        before, made = make(random.Random(number))
        assert made == make(random.Random(number))[1]
        _whole(maker, made)
        different += made != before
    assert different >= 2


def test_a_changed_description_reaches_the_reader_behind_the_checksum(files: Files, tmp_path: Path) -> None:
    path, refusals = tmp_path / "m.safetensors", []
    for number in range(12):
        path.write_bytes(safetensors_headers.change_description(files["rnnx.safetensors"], random.Random(number)))
        try:
            rnnx.load_model(path)
        except FormatError as error:
            refusals.append(str(error))
    assert refusals and not any("checksum" in text for text in refusals)


# ---- What longer runs have found -------------------------------------------------------------------------------------


def test_a_model_of_more_weights_than_the_file_holds(tmp_path: Path) -> None:
    """Of a description that asks for 16 GB no byte is allocated."""
    model = rnnx.Sequential([rnnx.layers.GRU(4, input_shape=(None, 3))])
    description = {"format": 1, "rnnx": "0.1.0", "kind": "model", "weights": ["a"]}
    config = json.dumps(rnnx.layers.registry.layer_config(model)).replace('"units": 4', '"units": 1073741824')
    description["model"] = json.loads(config)
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_checksum(description, {"weights/0": np.ones(9, np.float32)}))
    with pytest.raises(FormatError, match="no numbers for the weight 'kernel'"):
        rnnx.load_model(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"rnnx": None, "weights": "kernel"},
        {"weights": None},
        {"weights": ["a"] * 20},
        {"kind": "model", "model": []},
        {"training": {}},
        {"training": {"optimizer": 3}},
    ],
    ids=str,
)
def test_the_description_in_a_file_has_other_entries(changes: dict[str, Any], tmp_path: Path) -> None:
    """``rnnx info`` says so in one line; None takes an entry away."""
    description: dict[str, Any] = {"format": 1, "rnnx": "0.1.0", "kind": "weights", "weights": ["a"], **changes}
    description = {key: value for key, value in description.items() if value is not None}
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_checksum(description, {"weights/0": np.ones(9, np.float32)}))
    with pytest.raises(FormatError, match=path.name) as caught:
        info.lines(path)
    assert unclear(str(caught.value), path) is None
