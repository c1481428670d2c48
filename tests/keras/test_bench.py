"""bench/in_keras.py: its models have the same losses with and without rnnx."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", ["addition", "video"])
def test_losses_are_equal(name):
    file = Path(__file__).parents[2] / "bench/in_keras.py"
    spec = importlib.util.spec_from_file_location("in_keras", file)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    difference, fits, predictions = bench.compared(name, 1, 1)
    assert difference < 1e-5 and all(part > 0 for part in (*fits, *predictions))
