"""The recipes of docs/distributed.md run as they stand, but for the path of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx

from . import recipes

pa = pytest.importorskip("pyarrow")  # collected with `-m dask` only
pytestmark = pytest.mark.dask


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    recipes.write(tmp_path)
    return tmp_path


def check(rows: Any) -> None:
    """Rows with the columns id and score, whatever their order."""
    found = {row["id"]: row["score"] for row in rows}
    wanted = rnnx.load_model("model.safetensors").predict(recipes.sequences())
    assert sorted(found) == list(range(len(wanted))) and len(rows) == len(wanted)
    np.testing.assert_allclose([found[k] for k in range(len(wanted))], wanted, atol=1e-6)


def test_dask(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    x = np.random.default_rng(1).normal(size=(2500, 6, 3)).astype(np.float32)
    with h5py.File("table.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(100, 6, 3))
    exec(recipes.block("Dask"), {})
    with h5py.File("scores.h5") as file:
        found = file["y"][:]
    np.testing.assert_allclose(found, rnnx.load_model("model.safetensors").predict(x), atol=1e-6)


def test_polars(folder: Path) -> None:
    pl = pytest.importorskip("polars")
    exec(recipes.block("Polars"), {})
    check(pl.read_parquet("scores.parquet").to_dicts())


def test_duckdb(folder: Path) -> None:
    pytest.importorskip("duckdb")
    exec(recipes.block("DuckDB"), {})
    check(pa.parquet.read_table("scores.parquet").to_pylist())


@pytest.mark.filterwarnings("ignore")
def test_ray(folder: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        code = recipes.block("Ray Data").replace("/shared/model.safetensors", str(folder / "model.safetensors"))
        exec(code.replace('"table.parquet"', repr(str(folder / "table.parquet"))), {})
        check(pa.parquet.read_table(folder / "scores").to_pylist())
    finally:
        ray.shutdown()
