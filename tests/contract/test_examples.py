"""Every example runs, in its small form."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path):
    command = [sys.executable, "-W", "error", str(path), "--tiny"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout


def test_there_are_examples():
    assert {p.stem for p in EXAMPLES} >= {
        "char_language_model", "monte_carlo", "owner_snippet", "sequence_classification", "stateful_streaming",
    }  # fmt: skip


def test_the_owners_line_stands_in_the_example():
    text = next(p for p in EXAMPLES if p.stem == "owner_snippet").read_text()
    line = "model.add(GRU(units=512, return_sequences=True, dropout=0.5, input_shape=(None, features_size,)))"
    assert line in text and "model.add(Dropout(0.5))" in text
