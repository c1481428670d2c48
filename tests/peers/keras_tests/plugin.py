"""The pytest plugin of the inner run: installs the shim and writes down what became of every test."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from . import harness, shim
from .placeholders import Absent, NotApplicable

FOLDER = Path(os.environ["RNNX_KERAS_TESTS"])
REPORT = Path(os.environ["RNNX_KERAS_REPORT"])
shim.install(FOLDER)
ROWS: list[dict[str, Any]] = []
MISSING = ("unexpected keyword argument", "unknown argument", "has no attribute", "positional argument")


def pytest_configure(config: pytest.Config) -> None:
    for name in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{name}: of Keras' own tests")
    warnings.simplefilter("ignore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("multi_device"):
            item.add_marker(pytest.mark.skip(reason="several devices"))


def named(nodeid: str) -> str:
    return nodeid.replace("\\", "/").split("keras/src/", 1)[-1]


def row(test: str, kind: str, text: str = "") -> None:
    ROWS.append({"test": test, "kind": kind, "text": " ".join(text.split())[:300]})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    outcome = yield
    report = outcome.get_result()
    test = named(item.nodeid)
    if report.skipped:
        row(test, "not runnable", str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else "")
    elif report.failed:
        error = call.excinfo.value
        found, seen = error, set()
        while found is not None and id(found) not in seen and not isinstance(found, (Absent, NotApplicable)):
            seen.add(id(found))
            found = found.__cause__ or found.__context__
        text = f"{type(error).__name__}: {error}"
        if isinstance(found, NotApplicable):
            row(test, "not applicable", str(found))
        elif isinstance(found, Absent):
            row(test, "absent", str(found))
        elif isinstance(error, (TypeError, AttributeError)) and any(part in str(error) for part in MISSING):
            row(test, "missing", text)
        else:
            row(test, "different", text)
    elif call.when == "call":
        row(test, "other words" if harness.WORDS else "pass", harness.WORDS[0] if harness.WORDS else "")


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        row(named(report.nodeid), "file", str(report.longrepr).strip().splitlines()[-1])


def pytest_sessionfinish() -> None:
    REPORT.write_text(json.dumps(ROWS, indent=0))
