"""The snippets of docs/onnx.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.golden.store import load

PAGE = Path(__file__).parents[2] / "docs/onnx.md"


def test_snippets(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "network.onnx").write_bytes(load("onnx")["torch lstm"]["file"].tobytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert names["y"].shape == (2, 5, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.onnx", "tagger.onnx"]
