"""Leave the tests of this folder out unless a run says ``-m keras``; then a missing framework is an error.

The backend is that of ``KERAS_BACKEND``; files about another one are left out, and Keras' own tests unless a run says
``-m "keras and slow"``.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

BACKENDS = ("torch", "jax", "tensorflow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.suffix != ".py":
        return None
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    others = {f"test_{name}.py" for name in BACKENDS if name != backend}
    if "slow" not in config.option.markexpr:
        others.add("test_keras_tests.py")
    return None if "keras" in config.option.markexpr and collection_path.name not in others else True


@pytest.fixture(autouse=True)
def everything_on_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also calls that are so small that they would be left to Keras."""
    import keras

    monkeypatch.setattr(importlib.import_module(f"rnnx.keras._{keras.backend.backend()}"), "FEWEST_PRODUCTS", {})
