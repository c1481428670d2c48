"""The snippets of docs/keras.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..golden import keras_archive
from ..golden.store import DATA

PAGE = Path(__file__).parents[2] / "docs/keras.md"


def test_snippets(tmp_path: Path, monkeypatch: Any) -> None:
    archive = DATA / "keras_files/old.zip"
    keras_archive.unpack(archive, "k1_lstm_version.h5", tmp_path).rename(tmp_path / "model.h5")
    keras_archive.unpack(archive, "k1_lstm_parts.list.h5", tmp_path).rename(tmp_path / "model.list.h5")
    (tmp_path / "k1_lstm_parts.json").rename(tmp_path / "model.json")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert names["found"]["profile"] == "keras1" and names["found"]["reason"] == "keras_version is 1.2.2"
    assert names["same"].get_weights()[0].shape == (3, 16)
    assert (tmp_path / "for_keras.keras").exists()
