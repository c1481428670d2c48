"""Keras' own tests of its recurrent layers and wrappers, from the installed package, pass on the engine.

``KERAS_BACKEND=torch pytest -m "keras and slow" tests/keras``, likewise for jax and tensorflow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

pytestmark = [pytest.mark.keras, pytest.mark.slow]
FILES = ("lstm", "gru", "simple_rnn", "rnn", "bidirectional", "time_distributed")
ROOT = Path(__file__).parents[2]


def test_keras_own_tests():
    place = Path(keras.__file__).parent / "src/layers/rnn"
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "tests.keras.on_engine", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(place), *(str(place / f"{name}_test.py") for name in FILES)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    print(done.stdout[-200:])
    passed, calls = (int(re.search(words, done.stdout)[1]) for words in (r"(\d+) passed", r"engine: (\d+)"))
    assert passed >= 50 and calls >= 50
