"""Public training scripts run on rnnx with nothing but the import swapped; none stops but for a named reason.

Command, in an environment as `tests.peers.training_scripts` says (git fetches 80 repositories, half an hour of one
processor): ``pytest -s -m peers tests/peers/test_training_scripts.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.peers
AT_LEAST = 145  # scripts that run; 153 did when this was written, many of them until the time limit


def test_public_training_scripts(public_folder: Path) -> None:
    from .training_scripts import __main__ as scripts

    reports = scripts.run_all(scripts.catalogue(), public_folder / "scripts", jobs=2)
    print("\n" + scripts.table(reports))
    assert not scripts.unexpected(reports)
    assert sum(report["outcome"] == "runs" for report in reports.values()) >= AT_LEAST
