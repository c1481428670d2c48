"""The examples of all docstrings run and print what stands under them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import rnnx

# Their examples run in suites of their own.
FRAMEWORKS = (
    "rnnx.torch", "rnnx.sklearn", "rnnx.keras", "rnnx.serve", "rnnx.distributed.dask", "rnnx.distributed.spark",
)  # fmt: skip
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(rnnx.__path__, "rnnx.", onerror=lambda name: None)
    if not found.name.endswith("__main__") and not found.name.startswith(FRAMEWORKS)
)


def examples_of(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(verbose=False)
    complaints: list[str] = []
    for test in examples_of(name):
        runner.run(test, out=complaints.append)
    assert not complaints, "".join(complaints)
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


def test_there_are_examples() -> None:
    assert sum(len(test.examples) for name in MODULES for test in examples_of(name)) > 100
