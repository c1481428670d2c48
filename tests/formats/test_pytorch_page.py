"""The snippets of docs/pytorch.md run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from tests.golden import store

PAGE = Path(__file__).parents[2] / "docs/pytorch.md"


def test_snippets(tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copy(store.DATA / "torch_files/network.pt", tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert names["scores"].shape == (2, 2) and len(names["states"]) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "out.pt"]
