"""Keras' own tests, run on rnnx: nothing fails but for named differences.

Command, in an environment with the ``golden`` and ``test`` extras (2.4 MB are fetched with pip, nothing is installed):
``pytest -s -m peers tests/peers/test_keras_tests.py``; see `tests.peers.keras_tests` for single files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .public import unpacked

pytestmark = pytest.mark.peers
AT_LEAST = 1960  # tests that pass; 1,973 did when this was written, 25 met something that is not there


def test_keras_own_tests(public_folder: Path) -> None:
    from .keras_tests import __main__ as keras_tests  # which needs packages that the plain suite does not

    rows, unknown, vain = keras_tests.judged(keras_tests.run(unpacked(keras_tests.KERAS, public_folder), []))
    print("\n" + keras_tests.table(rows))
    print("in known.txt, and not so:", vain)
    assert not unknown
    assert sum(row["kind"] == "pass" for row in rows) >= AT_LEAST
