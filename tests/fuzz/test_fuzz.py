"""A tiny run of the fuzz harness, and what longer runs have found."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.saving import FormatError
from tests.bad_input.test_files import with_checksum

from . import mutations

fuzz_formats = pytest.importorskip("tests.fuzz.fuzz_formats", reason="limits of processes are those of POSIX")
SEED = 11


def test_damaged_files_give_a_model_or_one_error(tmp_path: Path, capsys: Any) -> None:
    names = ["torch_files", "rnnx.safetensors"]
    arguments = ["--inputs", "250", "--seed", str(SEED), "--keep", str(tmp_path / "kept"), *names]
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


@pytest.mark.parametrize("name", ["a.pt", "b.safetensors"])
def test_inputs_follow_from_their_numbers(name: str, tmp_path: Path) -> None:
    data = fuzz_formats.seeds(tmp_path)["rnnx.safetensors"]
    first = [mutations.mutated(name, data, [data], random.Random(k)) for k in range(40)]
    assert first == [mutations.mutated(name, data, [data], random.Random(k)) for k in range(40)]
    assert sum(made != data for made in first) > 30


def test_a_model_of_more_weights_than_the_file_holds(tmp_path: Path) -> None:
    """Of a description that asks for 16 GB no byte is allocated."""
    model = rnnx.Sequential([rnnx.layers.GRU(4, input_shape=(None, 3))])
    description = {"format": 1, "rnnx": "0.1.0", "kind": "model", "weights": ["a"]}
    config = json.dumps(rnnx.layers.base.layer_config(model)).replace('"units": 4', '"units": 1073741824')
    description["model"] = json.loads(config)
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_checksum(description, {"weights/0": np.ones(9, np.float32)}))
    with pytest.raises(FormatError, match="no numbers for the weight 'kernel'"):
        rnnx.load_model(path)
