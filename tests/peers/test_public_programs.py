"""Programs of PyTorch that nobody here wrote give the same with one line changed: ``rnnx.torch.accelerate(model)``.

Command, in an environment with PyTorch and the ``test`` extra (130 MB are fetched with pip into a folder of the run, or
the one that ``RNNX_PUBLIC`` names; nothing is installed): ``pytest -m peers -s tests/peers/test_public_programs.py``.

Resemblyzer (Apache-2.0) tells voices apart, with trained weights; sb3-contrib (MIT) learns to act with a recurrent
policy; neuralhydrology (BSD-3) forecasts rivers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.peers
ROOT = Path(__file__).parents[2]
NEEDED = (
    "Resemblyzer==0.1.4 sb3-contrib==2.9.2 stable-baselines3==2.9.2 gymnasium==1.4.0 neuralhydrology==1.13.0 "
    "cloudpickle farama-notifications pandas python-dateutil six pytz matplotlib contourpy cycler fonttools kiwisolver "
    "pyparsing packaging pillow xarray ruamel.yaml tqdm numba llvmlite scipy"
).split()
SWAPPED = {"resemblyzer": ["lstm"], "recurrent_ppo": ["lstm_actor", "lstm_critic"], "neuralhydrology": ["lstm"]}


@pytest.fixture(scope="module")
def programs(public_folder: Path) -> Path:
    folder = public_folder / "programs"
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, *NEEDED], check=True)
    return folder


@pytest.mark.parametrize("name", SWAPPED)
def test_equal_with_one_line_changed(name: str, programs: Path) -> None:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", ""), str(programs)])
    command = [sys.executable, "-m", "tests.peers.public_programs", name]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    theirs, ours = found["seconds"]
    print(f"\n{name}: largest difference {found['difference']:.1e}, {ours * 1e3:.0f} ms against {theirs * 1e3:.0f} ms")
    assert found["swapped"] == SWAPPED[name]
    assert found.get("same_episodes", True)
    # the gradients of a year of steps are as far from those in float64 as PyTorch's own, some times more, some less
    assert found["difference"] <= max(1e-6, 4 * found.get("of_pytorch", 0.0))
