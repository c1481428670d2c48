"""Leave the tests of this folder out unless a run says ``-m sklearn``; then a missing scikit-learn is an error."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if "sklearn" in config.option.markexpr or collection_path.suffix != ".py" else True
