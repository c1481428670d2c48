"""PyTorch's own tests of its recurrent modules, with rnnx' in their place: nothing differs but what is named.

Command, in an environment as for ``tests/torch`` (1 MB is fetched from PyTorch's repository, or taken from the folder
that ``RNNX_PYTORCH`` names): ``pytest -s -m peers tests/peers/test_torch_tests.py``; see `tests.peers.torch_tests`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers
AT_LEAST = 20  # tests that pass; 24 did of those of v2.6, 17 need CUDA


def test_pytorchs_own_tests(public_folder: Path) -> None:
    from .torch_tests import __main__ as torch_tests

    given = os.environ.get("RNNX_PYTORCH")
    rows = torch_tests.run(torch_tests.fetched(Path(given) if given else public_folder / "pytorch"), [])
    unknown, vain = torch_tests.judged(rows)
    print("\n" + torch_tests.table(rows))
    print("in known.txt, and not so:", vain)
    assert not unknown
    assert sum(row["kind"] in torch_tests.KINDS[:2] for row in rows) >= AT_LEAST
