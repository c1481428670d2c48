"""The recipes of docs/distributed.md, and the files that they read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

import rnnx
from rnnx import layers

PAGE = Path(__file__).parents[2] / "docs/distributed.md"


def block(title: str) -> str:
    """The Python under a heading of the page."""
    found = re.search(rf"^### {title}\n\n```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def sequences() -> list[Any]:
    random = np.random.default_rng(0)
    return [random.normal(size=(n, 3)).astype(np.float32) for n in random.integers(1, 9, 300)]


def write(folder: Path) -> None:
    """A model, and a table of sequences of any lengths."""
    import pyarrow as pa
    import pyarrow.parquet

    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4), layers.Dense(2)])
    model.save(folder / "model.safetensors")
    x = pa.array([row.tolist() for row in sequences()], pa.list_(pa.list_(pa.float32())))
    table = pa.table({"id": range(len(x)), "x": x})
    pyarrow.parquet.write_table(table, folder / "table.parquet", row_group_size=64)
