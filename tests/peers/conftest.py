"""Leave the tests of this folder out unless a run asks for them by ``-m peers``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def public_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where packages with public networks are fetched to: ``RNNX_PUBLIC``, which keeps them, or a folder of the run."""
    given = os.environ.get("RNNX_PUBLIC")
    return Path(given) if given else tmp_path_factory.mktemp("public")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the marked tests. One that was asked for and lacks its framework fails, never skips."""
    if "peers" in config.option.markexpr:
        return
    wanted = [item for item in items if item.get_closest_marker("peers") is None]
    if len(wanted) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("peers")])
        items[:] = wanted
