"""Golden files are small, come from a script in the tree, and give back what was stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import store
from .store import DATA, Case


def test_every_file_is_named_by_the_script_that_makes_it():
    scripts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("make_*.py")]
    for path in DATA.iterdir():
        assert sum(f"``{path.name}``" in script for script in scripts) == 1, path.name


def test_files_stay_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 3_000_000


def test_cases_survive_a_round_trip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "DATA", tmp_path)
    case = Case({"spec": {"class": "LSTM"}})
    case.put("y", [np.arange(6.0).reshape(2, 3), [np.float32([1.5])]])
    case.put("mask", np.array([[True, False]]))
    case.put("empty", np.zeros((2, 0, 3)))
    case.put("scalar", 4)
    case.put("missing", None)
    store.save("sample", {"one": case, "two": Case({})})
    loaded = store.load("sample")
    assert list(loaded) == ["one", "two"] and loaded["one"].config == case.config
    assert set(loaded["one"].arrays) == {"y/0", "y/1/0", "mask", "empty", "scalar"}
    for name, array in case.arrays.items():
        np.testing.assert_array_equal(loaded["one"][name], array, strict=True)
    assert "2 cases" in capsys.readouterr().out
