"""What a recurrent layer drops, seen from outside: by its outputs alone, so that any library's layer can be asked.

A diagonal kernel in one gate lets each unit see one number of the input, or of the state; where the output is that of a
kernel of zeros, the number was dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[2] / "docs/dropout.md"
BATCH, STEPS, UNITS = 3, 6, 16
X = np.linspace(0.5, 1.5, BATCH * STEPS * UNITS).reshape(BATCH, STEPS, UNITS).astype("float32")
Run = Callable[..., np.ndarray]  # of class name, weights and keywords: outputs of a training call on X

FRESH, ONE, PER_GATE = "fresh at every step", "one pattern", "one pattern per gate"


def table() -> dict[str, tuple[str, str, str]]:
    """The rows of the table of generations: dropout alone, with recurrent dropout, and the blend of a GRU."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| version |")) + 2
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.replace("**", "").strip("|").split("|")]
        rows[cells[0]] = (cells[1], cells[2], cells[3])
    return rows


def version_of(row: str) -> list[tuple[int, ...]]:
    """The numbers in a row's first cell."""
    return [tuple(map(int, found.split("."))) for found in re.findall(r"\d+(?:\.\d+)*", row)]


def _lstm(gate: int, recurrent: bool, seen: bool, bias: bool = True) -> list[np.ndarray]:
    """Weights in which one gate sees the input or the state, or nothing does."""
    kernels = np.zeros((2, UNITS, 4 * UNITS), "float32")
    if seen:
        kernels[int(recurrent), :, gate * UNITS : (gate + 1) * UNITS] = np.eye(UNITS)
    offsets = np.zeros((4, UNITS), "float32")
    if gate != 1:
        offsets[1] = -100  # nothing of the past
    if recurrent or gate != 2:
        offsets[2] = 1
    return [kernels[0], kernels[1], offsets.ravel()]


def kept(run: Run, recurrent: bool, **words: Any) -> np.ndarray:
    """What an LSTM keeps: of shape (gates, batch, steps - 1, units), True where a gate sees the number."""
    found = []
    for gate in range(4):
        y = run("LSTM", _lstm(gate, recurrent, True), **words)
        base = run("LSTM", _lstm(gate, recurrent, False), **words)
        if gate == 1:
            cell, rest = np.arctanh(2 * y.astype(float)), 0.5 * np.tanh(1)
            found.append(abs((cell[:, 1:] - rest) / cell[:, :-1] - 0.5) > 1e-3)
        else:
            found.append(abs(y - base)[:, 1:] > 1e-4)
    return np.stack(found)


def kind(seen: np.ndarray) -> str:
    """The word of the table for what was kept; half of it, by any kind."""
    assert 0.3 < seen.mean() < 0.7, seen.mean()
    by_gate = not (seen == seen[:1]).all()
    if (seen == seen[:, :, :1]).all():
        return PER_GATE if by_gate else ONE
    assert not by_gate
    return FRESH


def blend(run: Run, **words: Any) -> str:
    """Which state a GRU blends with its new content: ``h``, or the masked and rescaled one."""
    bias = np.zeros((2, 3, UNITS), "float32")
    bias[0, 2] = 1
    zeros = np.zeros((UNITS, 3 * UNITS), "float32")
    y = run("GRU", [zeros, zeros, bias.reshape(2, -1)], recurrent_dropout=0.5, **words).astype(float)
    used = (2 * y[:, 1:] - np.tanh(1)) / y[:, :-1]
    if np.allclose(used, 1, atol=1e-4):
        return "h"
    assert np.isin(used.round(4), (0, 2)).all() and 0.2 < (used > 1).mean() < 0.8
    return "the masked, rescaled h"


def told(run: Run, **words: Any) -> tuple[str, str, str]:
    """A row of the table, as a library has it."""
    alone = kind(kept(run, False, dropout=0.5, **words))
    both = {kind(kept(run, recurrent, dropout=0.5, recurrent_dropout=0.5, **words)) for recurrent in (False, True)}
    assert len(both) == 1, both
    return alone, both.pop(), blend(run, **words)
