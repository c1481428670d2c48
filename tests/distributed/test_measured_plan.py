"""The plan and the bench, with ranks that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.mpi


def test_two_ranks_measure_what_lies_between_them(mpirun: Callable[..., Any], small_model: Path) -> None:
    job = mpirun(script="-m", words=["rnnx.distributed.plan", str(small_model), "--batch", "4", "--timesteps", "3"])
    assert job.code == 0, job.output
    assert len(re.findall(r"^ +\d+ .*%$", job.output, re.MULTILINE)) == 7  # 1 to 64 ranks, printed once


def test_the_bench_trains_what_one_process_trains() -> None:
    bench = Path(__file__).parents[2] / "bench/distributed.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--profile", "tiny"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
