"""Leave the tests of this folder out unless a run says ``-m keras``; then a missing framework is an error."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if "keras" in config.option.markexpr or collection_path.suffix != ".py" else True
