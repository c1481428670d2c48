"""The pytest plugin of the inner run: swaps the classes, selects tests about them, writes down what became of each."""

from __future__ import annotations

import inspect
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import rnnx.torch
from rnnx.torch import _operator, _policy

REPORT = Path(os.environ["RNNX_TORCH_REPORT"])
SWAPPED = os.environ["RNNX_TORCH_SWAPPED"] == "1"
ONLY = set(json.loads(os.environ["RNNX_TORCH_ONLY"]))  # names of tests; empty: all about these modules
NAMES = ("LSTM", "GRU", "RNN")
WORDS = re.compile(r"\b(LSTM|GRU|RNN|RNNBase|PackedSequence|pack_sequence|pack_padded_sequence|pad_packed_sequence)\b")
IN_NAMES = re.compile(r"lstm|gru|rnn|packed_?seq", re.IGNORECASE)
NOT_OURS = re.compile(r"(LSTM|GRU|RNN|lstm|gru|rnn)_?[cC]ell|quantiz|grub")
ROWS: list[dict[str, Any]] = []
calls = 0


def _swap() -> None:
    """PyTorch's tests find rnnx under PyTorch's names, however small their sizes; calls of the engine are counted."""
    run = _operator.run

    def counted(*arguments: Any) -> Any:
        global calls
        calls += 1
        return run(*arguments)

    _operator.run = counted
    _policy.everything_on_rnnx().__enter__()
    for name in NAMES:
        for place in (torch.nn, torch.nn.modules, torch.nn.modules.rnn):
            setattr(place, name, getattr(rnnx.torch, name))


if SWAPPED:
    _swap()


def pytest_configure() -> None:
    warnings.simplefilter("ignore")


def _about(item: pytest.Item) -> bool:
    """Whether a test is about the modules: by its name, or by the words in its code."""
    name = item.name.split("[")[0]
    if IN_NAMES.search(name):
        return not NOT_OURS.search(name)
    function = inspect.unwrap(getattr(item, "function", None) or (lambda: None))
    try:
        return bool(WORDS.search(inspect.getsource(function)))
    except (OSError, TypeError):
        return False


def named(nodeid: str) -> str:
    return nodeid.replace("\\", "/").split("test/", 1)[-1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = [item for item in items if (named(item.nodeid) in ONLY if ONLY else _about(item))]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(wanted)])
    items[:] = wanted


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    global calls
    outcome = yield
    report = outcome.get_result()
    row = {"test": named(item.nodeid), "kind": "pass", "text": "", "calls": calls}
    if report.skipped:
        row["kind"], reason = "not runnable", report.longrepr
        row["text"] = str(reason[-1] if isinstance(reason, tuple) else reason)[:300]
    elif report.failed:
        row["kind"] = "fail"
        row["text"] = " ".join(f"{type(call.excinfo.value).__name__}: {call.excinfo.value}".split())[:300]
    elif call.when != "call":
        return
    calls = 0
    ROWS.append(row)


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        text = str(report.longrepr).strip().splitlines()[-1]
        ROWS.append({"test": named(report.nodeid), "kind": "fail", "text": text, "calls": 0})


def pytest_sessionfinish() -> None:
    REPORT.write_text(json.dumps(ROWS, indent=0))
