"""Memory that runs out: a MemoryError, and right numbers as soon as there is room again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are those of Linux")
def test_calls_after_memory_ran_out() -> None:
    command = [sys.executable, "-m", "tests.functional.out_of_memory"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    for name in ("backward", "recompute"):  # all gradients, or none and then all
        assert found[name] == ["MemoryError, then right", "right"]
    assert found["step"] == "MemoryError, then right"  # no layer of the model has advanced
