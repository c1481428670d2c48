"""The bench of endurance for a moment: all its parts run and say what they found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "endurance.py"


def test_a_moment() -> None:
    run = [sys.executable, SCRIPT, "--minutes", "0.1", "--steps", "20000", "--calls", "2000"]
    found = subprocess.run(run, capture_output=True, text=True)
    assert found.returncode in (0, 1) and not found.stderr, found.stderr
    lines = found.stdout.splitlines()
    words = ("steps of a stream", "calls of changing shapes", "rounds of streams that come and go", "a step: median")
    assert len(lines) == 4 and all(word in line for word, line in zip(words, lines, strict=True))
