"""Damaged, foreign and unwritable files: one clear error each; the model and the old file stay."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Sequential, layers
from rnnx.saving import FormatError
from tests.bad_input.unchanged import refuse, unchanged

PLACES = 24


def model(units: int = 4) -> Any:
    made = Sequential([layers.GRU(units, seed=1, dropout=0.1, input_shape=(None, 3)), layers.Dense(2)])
    made.compile("adam", "mse")
    return made


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "model.safetensors"
    made = model()
    made.fit(np.ones((4, 5, 3)), np.ones((4, 2)), verbose=0)
    made.save(path, include_optimizer=True)
    return path.read_bytes()


def refused(path: Path, *words: str) -> None:
    """Neither the model nor its weights can be read, and the model that tried is as it was."""
    made = model()
    kinds = (FormatError, OSError)
    with unchanged(made):
        refuse(lambda: rnnx.load_model(path), kinds, path.name, *words)
        refuse(lambda: made.load_weights(path), kinds, path.name, *words)


@pytest.mark.parametrize("share", range(PLACES))
def test_cut_off(share: int, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(good[: len(good) * share // PLACES])
    refused(path)


@pytest.mark.parametrize("cut", [1, 2, 7, 8, 9])
def test_cut_off_at_the_ends(cut: int, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(good[:-cut])
    refused(path)
    path.write_bytes(good[:cut])
    refused(path)


@pytest.mark.parametrize("share", range(PLACES))
@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_flipped_byte(bits: int, share: int, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    data = bytearray(good)
    data[(len(data) - 1) * share // (PLACES - 1)] ^= bits
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("position", range(8))
def test_flipped_byte_in_the_header_length(position: int, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    data = bytearray(good)
    data[position] ^= 0x40
    path.write_bytes(data)
    refused(path)


def container(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_checksum(description: Any, arrays: dict[str, Any]) -> bytes:
    """A file as rnnx writes it, of any description and tensors."""
    from safetensors.numpy import save

    from rnnx.formats import safetensors

    text = json.dumps(description)
    return save(arrays, {"rnnx": text, "checksum": safetensors._checksum(arrays, text)})


FOREIGN: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("0 bytes",)),
    "seven_bytes": (b"1234567", ("7 bytes",)),
    "zeros": (bytes(64), ("header",)),
    "text": (b"this is a text and not a model at all" * 9, ("header",)),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(500), ("HDF5",)),
    "huge_header": (struct.pack("<Q", 2**63) + bytes(100), ("header of 9223372036854775808",)),
    "largest_header": (struct.pack("<Q", 2**64 - 1) + bytes(100), ("header",)),
    "header_beyond": (struct.pack("<Q", 101) + bytes(100), ("header of 101",)),
    "header_list": (container([1, 2]), ("not a table",)),
    "header_number": (container(3), ("not a table",)),
    "header_not_utf8": (container(b"\xff\xfe{}"), ("header is damaged",)),
    "header_half": (container(b'{"__metadata__": {'), ("header is damaged",)),
    "header_deep": (container(b"[" * 100_000), ("header is damaged",)),
    "no_metadata": (container({}), ("'rnnx'",)),
    "metadata_list": (container({"__metadata__": []}), ("'rnnx'",)),
    "metadata_numbers": (container({"__metadata__": {"rnnx": 3, "checksum": 4}}), ("metadata",)),
    "other_program": (container({"__metadata__": {"format": "pt"}}), ("'rnnx'",)),
    "tensor_number": (container({"a": 3, "__metadata__": {"rnnx": "{}", "checksum": ""}}), ("'a'",)),
    "tensor_type": (
        container(
            {
                "a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
                "__metadata__": {"rnnx": "{}", "checksum": ""},
            },
            b"x",
        ),
        ("'a'", "F8_E4M3"),
    ),
    "tensor_negative": (
        container(
            {
                "a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
                "__metadata__": {"rnnx": "{}", "checksum": ""},
            },
            b"1234",
        ),
        ("'a'", "(-1, -1)"),
    ),
    "tensor_beyond": (
        container(
            {
                "a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
                "__metadata__": {"rnnx": "{}", "checksum": ""},
            },
            b"1234",
        ),
        ("'a'", "cut off"),
    ),
    "tensor_overlap": (
        container(
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
                "__metadata__": {"rnnx": "{}", "checksum": ""},
            },
            b"123456",
        ),
        ("'a'", "'b'", "overlap at byte 2"),
    ),
    "tensor_hole": (
        container(
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
                "__metadata__": {"rnnx": "{}", "checksum": ""},
            },
            b"123456",
        ),
        ("bytes 0..2 belong to no tensor",),
    ),
    "bytes_behind": (
        container({"__metadata__": {"rnnx": "{}", "checksum": ""}}, b"123456"),
        ("bytes 0..6 belong to no tensor",),
    ),
    "description_text": (with_checksum("hello", {}), ("not a table",)),
    "version_newer": (with_checksum({"format": 99, "rnnx": "9.0", "kind": "model"}, {}), ("format 99", "rnnx 9.0")),
    "version_text": (with_checksum({"format": "1", "kind": "model"}, {}), ("format",)),
    "version_none": (with_checksum({"kind": "model"}, {}), ("format",)),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign(case: str, tmp_path: Path) -> None:
    content, words = FOREIGN[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refused(path, *words)


def parts(path: Path, good: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    from rnnx.formats import safetensors

    path.write_bytes(good)
    tensors, description = safetensors._read(path)
    return {name: np.array(array) for name, array in tensors.items()}, description


def drop(name: str) -> Callable[[Any, Any], None]:
    return lambda tensors, description: tensors.pop(name)


def put(name: str, array: Any) -> Callable[[Any, Any], None]:
    return lambda tensors, description: tensors.update({name: array})


def describe(*keys: Any, value: Any) -> Callable[[Any, Any], None]:
    def alter(tensors: Any, description: Any) -> None:
        for key in keys[:-1]:
            description = description[key]
        description[keys[-1]] = value

    return alter


ALTERED: dict[str, tuple[Callable[[Any, Any], Any], tuple[str, ...]]] = {
    "missing": (drop("weights/1"), ("weights", "5")),
    "extra": (put("weights/9", np.zeros(3, np.float32)), ("weights", "5")),
    "shape": (put("weights/0", np.zeros((3, 11), np.float32)), ("(3, 12)", "(3, 11)")),
    "transposed": (put("weights/1", np.zeros((12, 4), np.float32)), ("(4, 12)", "(12, 4)")),
    "dtype": (put("weights/0", np.zeros((3, 12))), ("float32", "float64")),
    "whole_numbers": (put("weights/0", np.zeros((3, 12), np.int32)), ("float32", "int32")),
    "bytes_without_scales": (put("weights/0", np.zeros((3, 12), np.int8)), ("float32", "int8")),
    "scales_of_floats": (put("scales/0", np.ones(12, np.float32)), ("weights/0", "int8", "float32 (3, 12)")),
    "too_few_scales": (
        lambda tensors, description: tensors.update(
            {"weights/0": np.zeros((3, 12), np.int8), "scales/0": np.ones(11, np.float32)}
        ),
        ("weights/0", "(3, 12)", "(11,)"),
    ),
}
ALTERED_MODEL: dict[str, tuple[Callable[[Any, Any], Any], tuple[str, ...]]] = {
    "class": (describe("model", "class_name", value="Perceptron"), ("'Perceptron'",)),
    "inner_class": (describe("model", "config", "layers", 0, "class_name", value="Nothing"), ("'Nothing'",)),
    "argument": (describe("model", "config", "layers", 0, "config", "colour", value=3), ("colour",)),
    "units": (describe("model", "config", "layers", 0, "config", "units", value=-4), ("`units`", "-4")),
    "no_model": (describe("model", value=3), ("model.safetensors",)),
    "no_config": (describe("model", value={"class_name": "Sequential"}), ("config",)),
    "kind": (describe("kind", value="picture"), ("picture", "not a model")),
    "optimizer": (describe("training", "optimizer", value="adamant"), ("'adamant'",)),
    "loss": (describe("training", "loss", value="msee"), ("'msee'",)),
    "no_noise": (drop("noise/0"), ("noise/0",)),
    "noise_negative": (put("noise/0", np.array([-1, 0])), ("`state`", "-1")),
    "slots": (drop("optimizer/iterations"), ("optimizer",)),
}


@pytest.mark.parametrize("case", ALTERED)
def test_tensors_that_do_not_fit(case: str, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors, description = parts(path, good)
    alter, words = ALTERED[case]
    alter(tensors, description)
    path.write_bytes(with_checksum(description, tensors))
    refused(path, *words)


@pytest.mark.parametrize("case", ALTERED_MODEL)
def test_descriptions_that_do_not_fit(case: str, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors, description = parts(path, good)
    alter, words = ALTERED_MODEL[case]
    alter(tensors, description)
    path.write_bytes(with_checksum(description, tensors))
    refuse(lambda: rnnx.load_model(path), FormatError, path.name, *words)


def test_weights_of_another_structure(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    model(5).save_weights(path)
    made = model()
    with unchanged(made):
        refuse(lambda: made.load_weights(path), FormatError, "(3, 12)", "(3, 15)")
    refuse(lambda: rnnx.load_model(path), FormatError, "weights", "load_weights")


@pytest.mark.parametrize("suffix", ["", ".npz", ".txt", ".ckpt"])
@pytest.mark.parametrize("what", ["save", "load"])
def test_unknown_suffix(what: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    if what == "load":
        path.write_bytes(b"something")
    made = model()
    act = made.save if what == "save" else rnnx.load_model
    with unchanged(made):
        refuse(lambda: act(path), FormatError, ".safetensors", "supported")
    assert what == "load" or list(tmp_path.iterdir()) == []


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.safetensors")


def test_reading_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder.safetensors"
    path.mkdir()
    refused(path)


def unwritable(kind: str, tmp_path: Path) -> Path:
    if kind == "no_folder":
        return tmp_path / "no" / "model.safetensors"
    if kind == "under_a_file":
        (tmp_path / "file").write_text("x")
        return tmp_path / "file" / "model.safetensors"
    if kind == "a_folder":
        (tmp_path / "model.safetensors").mkdir()
        return tmp_path / "model.safetensors"
    if kind == "long_name":
        return tmp_path / ("x" * 300 + ".safetensors")
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", ["no_folder", "under_a_file", "a_folder", "long_name", "locked"])
@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_unwritable(method: str, kind: str, tmp_path: Path) -> None:
    path = unwritable(kind, tmp_path)
    if kind == "locked" and os.access(path.parent, os.W_OK):
        pytest.skip("this user may write everywhere")
    before = sorted(tmp_path.rglob("*"))
    made = model()
    with unchanged(made):
        refuse(lambda: getattr(made, method)(path), OSError)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_overwrite_false(method: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    refuse(lambda: getattr(model(), method)(path, overwrite=False), FileExistsError, path.name, "overwrite=True")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["save_file", "fsync", "replace", "interrupt"])
@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_full_disk(method: str, where: str, good: bytes, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(good)
    error: BaseException = KeyboardInterrupt() if where == "interrupt" else OSError(28, "No space left on device")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    if where == "save_file":

        def half(arrays: Any, file: Any, metadata: Any) -> None:
            Path(file).write_bytes(good[: len(good) // 2])
            raise error

        monkeypatch.setattr("safetensors.numpy.save_file", half)
    else:
        monkeypatch.setattr(os, "fsync" if where == "interrupt" else where, fail)
    made = model()
    with unchanged(made):
        refuse(lambda: getattr(made, method)(path), type(error))
    monkeypatch.undo()
    assert path.read_bytes() == good and list(tmp_path.iterdir()) == [path]
    assert rnnx.load_model(path).built


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_full(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")

    def to_full_device(arrays: Any, file: Any, metadata: Any) -> None:
        from safetensors.numpy import save

        with open("/dev/full", "wb") as device:
            device.write(save(arrays, metadata))

    monkeypatch.setattr("safetensors.numpy.save_file", to_full_device)
    refuse(lambda: model().save(path), OSError, "No space left")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    refuse(lambda: Sequential([layers.Dense(2)]).save(path), FormatError, "not built")
    fresh = Sequential([layers.Dense(2, input_shape=(3,))])
    refuse(lambda: fresh.save(path, include_optimizer=True), FormatError, "not compiled")
    own = Sequential([layers.Dense(2, activation=lambda x: x, input_shape=(3,))])
    refuse(lambda: own.save(path), FormatError, "activation")
    refuse(lambda: fresh.save(tmp_path / "m.saftensors"), FormatError, "'.saftensors'", "did you mean '.safetensors'?")
    refuse(lambda: fresh.save(tmp_path / "m"), FormatError, "cannot write a file without suffix; supported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_what_is_no_file(suffix: str, kind: str, tmp_path: Path) -> None:
    """A pipe would wait for a writer for ever."""
    from rnnx.formats import info

    path = tmp_path / f"model{suffix}"
    os.mkfifo(path) if kind == "a pipe" else path.mkdir()
    refused(path, kind, "not a regular file")
    refuse(lambda: info.lines(path), (FormatError,), path.name, kind)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_json_that_is_no_file(tmp_path: Path) -> None:
    from rnnx.formats import info

    os.mkfifo(tmp_path / "model.json")
    refuse(lambda: info.lines(tmp_path / "model.json"), (FormatError,), "a pipe, not a regular file")


def test_names_that_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name may be anything; what is printed of it is text that every terminal takes."""
    from rnnx.cli import main

    path = tmp_path / "model.safetensors"
    name = "a\x1b[2J\n\ud800\u202e" + "b" * 1000
    x = rnnx.Input((3,), name=name)
    rnnx.Model(x, layers.Dense(2, name="d")(x), name=name).save(path)
    shown = "a?[2J???bb"
    assert main(["info", str(path)]) == 0
    printed = capsys.readouterr().out
    rnnx.load_model(path).summary()
    for text in (printed, capsys.readouterr().out):
        assert shown in text and all(c.isprintable() or c == "\n" for c in text)
        assert len(text) < 5000
    assert main(["convert", str(path), str(tmp_path / "b.safetensors")]) == 0
    assert capsys.readouterr().out.encode()


def test_sizes_of_a_training_state(good: bytes, tmp_path: Path) -> None:
    """What would be made into lists of numbers is short, or refused."""
    path = tmp_path / "model.safetensors"
    for name, words in (("noise/0", "noise/0"), ("optimizer/0/shape", "state of weight 0")):
        tensors, description = parts(path, good)
        tensors[name] = np.zeros(1000, np.int64)
        path.write_bytes(with_checksum(description, tensors))
        refuse(lambda: rnnx.load_model(path), (FormatError,), path.name, words)
    tensors, description = parts(path, good)
    description["training"]["metrics"] = ["mse"] * 100_000
    path.write_bytes(with_checksum(description, tensors))
    refuse(lambda: rnnx.load_model(path), (FormatError,), path.name, "characters, the most is 100,000")
