"""The golden files are what their scripts make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ..golden import store

pytestmark = pytest.mark.peers
SCRIPTS = sorted(path.stem for path in Path(store.__file__).parent.glob("make_*.py"))
PROGRAM = """
import importlib, pathlib, sys
from tests.golden import store
store.DATA = pathlib.Path(sys.argv[2])
importlib.import_module(f"tests.golden.{sys.argv[1]}").main()
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_makes_the_stored_numbers(script, tmp_path, monkeypatch):
    """Each script in a process of its own, because Keras keeps the backend that it was imported with."""
    root = Path(store.__file__).parents[2]
    subprocess.run([sys.executable, "-c", PROGRAM, script, str(tmp_path)], cwd=root, check=True)
    made = sorted(path.stem for path in tmp_path.iterdir())
    assert made
    for name in made:
        stored = store.load(name)
        monkeypatch.setattr(store, "DATA", tmp_path)
        fresh = store.load(name)
        monkeypatch.undo()
        assert list(fresh) == list(stored)
        for case, expected in stored.items():
            assert fresh[case].config == expected.config
            assert list(fresh[case].arrays) == list(expected.arrays)
            for key, array in expected.arrays.items():
                np.testing.assert_allclose(fresh[case][key], array, rtol=1e-9, atol=1e-9, err_msg=f"{case} {key}")
