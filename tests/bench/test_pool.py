"""The bench of pools in its tiny profile: pools and single streams agree, and the table has all sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "pool.py"


def test_tiny_profile() -> None:
    found = subprocess.run([sys.executable, SCRIPT, "--profile", "tiny"], capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()
    assert [line[:9] for line in lines[2:5]] == ["LSTM( 32)", "LSTM(128)", "LSTM(256)"]
    assert "p99" in lines[5]
