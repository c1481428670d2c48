"""`rnnx.distributed.spark`: a model as a function of columns, in a Spark of two processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx

pytest.importorskip("pyspark")  # collected with `-m spark` only
pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore::ResourceWarning")]

from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402

from rnnx.distributed.spark import predict_udf  # noqa: E402

from . import recipes  # noqa: E402

RNG = np.random.default_rng(6)
X = RNG.normal(size=(103, 7, 3)).astype(np.float32)
Y = RNG.normal(size=(103, 2)).astype(np.float32)
RAGGED = [X[k, : k % 8] for k in range(103)]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Two tasks at once, each of which may fail thrice; batches of few rows."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    options = {
        "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2", "spark.sql.execution.arrow.maxRecordsPerBatch": "16",
    }  # fmt: skip
    session = SparkSession.builder.master("local[2,4]").config(map=options).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def table(spark: Any) -> Any:
    """Sequences of any lengths, as arrays of arrays and as numbers one after the other; the last row is null."""
    rows: list[Any] = [(k, row.tolist(), row.ravel().tolist()) for k, row in enumerate(RAGGED)]
    columns = "k int, steps array<array<float>>, flat array<float>"
    return spark.createDataFrame([*rows, (103, None, None)], columns).repartition(5).cache()


@pytest.fixture(scope="module")
def fixed(spark: Any) -> Any:
    rows = [(k, X[k].tolist(), Y[k].tolist(), *map(float, X[k, 0])) for k in range(103)]
    columns = "k int, a array<array<float>>, b array<float>, c float, d float, e float"
    return spark.createDataFrame(rows, columns).repartition(3).cache()


def scored(frame: Any, column: Any) -> list[Any]:
    return [row.y for row in frame.select("k", column.alias("y")).orderBy("k").collect()]


def test_nulls_among_the_steps(models: Any, spark: Any) -> None:
    rows = [[None, [1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0], None], [[1.0, None, 3.0]], [None]]
    frame = spark.createDataFrame(list(enumerate(zip(rows))), "k int, x struct<x:array<array<float>>>")
    found = scored(frame.select("k", "x.x"), predict_udf(models["pooled"])("x"))
    wanted = rnnx.load_model(models["pooled"]).predict(np.array([[[1, 2, 3]]], np.float32))[0]
    for k, row in enumerate(found):
        np.testing.assert_allclose(row, wanted if k == 1 else [np.nan, np.nan], atol=1e-6)
    with pytest.raises(Exception, match="got structs; of a column of vectors of Spark ML"):
        scored(frame, predict_udf(models["pooled"])("x"))


def test_sequences_of_any_lengths(models: Any, table: Any) -> None:
    wanted = rnnx.load_model(models["pooled"]).predict(RAGGED)
    for column in (predict_udf(models["pooled"])("steps"), predict_udf(models["pooled"], shape=(None, 3))("flat")):
        assert table.select(column.alias("y")).schema.simpleString() == "struct<y:array<float>>"
        *found, last = scored(table, column)
        assert last is None
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_output_for_each_step(models: Any, table: Any) -> None:
    column = predict_udf(models["steps"])("steps")
    assert table.select(column.alias("y")).schema.simpleString() == "struct<y:array<array<float>>>"
    *found, last = scored(table, column)
    assert last is None
    for row, wanted in zip(found, rnnx.load_model(models["steps"]).predict(RAGGED), strict=True):
        assert len(row) == len(wanted)
        np.testing.assert_allclose(np.array(row).reshape(wanted.shape), wanted, atol=1e-6)


def test_rows_of_one_shape(models: Any, spark: Any) -> None:
    frame = spark.createDataFrame([(k, row.ravel().tolist()) for k, row in enumerate(X)], "k int, flat array<double>")
    found = scored(frame, predict_udf(models["pooled"], shape=(7, 3), batch_size=5)("flat"))
    np.testing.assert_allclose(found, rnnx.load_model(models["pooled"]).predict(X), atol=1e-6)


def test_ids(models: Any, spark: Any) -> None:
    ids = [[1, 2, 3], [4], [2, 2]]
    frame = spark.createDataFrame(list(enumerate(ids)), "k int, ids array<int>")
    found = scored(frame, predict_udf(models["ids"])("ids"))
    np.testing.assert_allclose(found, rnnx.load_model(models["ids"]).predict(ids), atol=1e-6)


def test_a_number_in_each_column(models: Any, fixed: Any) -> None:
    found = scored(fixed, predict_udf(models["vectors"])("c", "d", "e"))
    np.testing.assert_allclose(found, rnnx.load_model(models["vectors"]).predict(X[:, 0]), atol=1e-6)


def test_several_inputs_and_outputs(models: Any, fixed: Any) -> None:
    wanted = rnnx.load_model(models["two"]).predict({"a": X, "b": Y})
    columns = [predict_udf(models["two"])("a", "b"), predict_udf(models["two"], shape=[None, (2,)])("a", "b")]
    for column in columns:
        found = scored(fixed, column)
        np.testing.assert_allclose([row.p for row in found], wanted["p"], atol=1e-6)
        np.testing.assert_allclose([row.q for row in found], wanted["q"], atol=1e-6)
    kinds = fixed.select(columns[0].alias("y")).schema.simpleString()
    assert kinds == "struct<y:struct<p:array<array<float>>,q:array<float>>>"
    half = fixed.withColumn("b", F.when(F.col("k") % 2 == 0, F.col("b")))
    found = scored(half, columns[0])
    assert [row.q is None for row in found] == [k % 2 == 1 for k in range(103)]


def test_partitions_and_batches_without_rows(models: Any, table: Any) -> None:
    score = predict_udf(models["pooled"])
    assert scored(table.filter("k < 0"), score("steps")) == []
    assert scored(table.filter("k = 103"), score("steps")) == [None]
    assert scored(table.filter("k in (3, 103)"), score("steps"))[1] is None


def test_what_is_no_number_stays_in_its_row(models: Any, spark: Any) -> None:
    rows = [[[1.0, 2.0, None], [1.0, 2.0, 3.0]], [[1.0, 2.0, float("nan")]], [[1.0, 2.0, 3.0]]]
    frame = spark.createDataFrame(list(enumerate(rows)), "k int, steps array<array<float>>").coalesce(1)
    found = scored(frame, predict_udf(models["pooled"])("steps"))
    assert np.isnan(np.array(found[:2], float)).all() and np.isfinite(np.array(found[2], float)).all()


def test_each_process_reads_the_file_once(models: Any, table: Any, spark: Any) -> None:
    scored(table, predict_udf(models["steps"])("steps"))
    path = str(models["steps"])

    def read(batches: Any) -> Any:
        import pandas

        from rnnx.distributed import scoring

        for _ in batches:
            yield pandas.DataFrame({"n": [sum(key[0] == path for key in scoring._read)]})

    found = [row.n for row in table.mapInPandas(read, "n int").collect()]
    assert max(found) == 1


def test_a_process_that_dies_costs_no_row(models: Any, table: Any, spark: Any, tmp_path: Path) -> None:
    """Each task says who it is, and one process is killed while it works."""

    def slow(batches: Any) -> Any:
        for batch in batches:
            (tmp_path / str(os.getpid())).touch()
            time.sleep(0.3)
            yield batch

    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not killed:
            for path in tmp_path.iterdir():
                os.kill(int(path.name), signal.SIGKILL)
                killed.append(int(path.name))
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        frame = table.mapInPandas(slow, table.schema)
        *found, last = scored(frame, predict_udf(models["pooled"])("steps"))
    finally:
        killer.join()
    assert len(killed) == 1 and last is None
    np.testing.assert_allclose(found, rnnx.load_model(models["pooled"]).predict(RAGGED), atol=1e-6)


def test_the_recipe_runs(spark: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    recipes.write(tmp_path)
    code = recipes.block("Spark").replace('"table.parquet"', repr(str(tmp_path / "table.parquet")))
    exec(code.replace('"scores.parquet"', repr(str(tmp_path / "scores.parquet"))), {})
    rows = spark.read.parquet(str(tmp_path / "scores.parquet")).orderBy("id").collect()
    wanted = rnnx.load_model("model.safetensors").predict(recipes.sequences())
    np.testing.assert_allclose([row.score for row in rows], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("pooled", {"shape": (3,)}, r"`shape` of a row of 'input_layer.*' must fit \(None, 3\), .* got \(3,\)"),
        ("pooled", {"shape": (None, 4)}, r"must fit \(None, 3\)"),
        ("pooled", {"shape": 3}, r"must fit \(None, 3\)"),
        ("two", {"shape": (7, 3)}, r"must fit \(None, 3\), .* got 7"),
        ("two", {"shape": [(7, 3)]}, "must have a shape for each of 2 inputs"),
    ],
)
def test_shapes_that_do_not_fit(models: Any, name: str, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predict_udf(models[name], **options)


def test_rows_that_do_not_fit(models: Any, fixed: Any) -> None:
    import pandas as pd

    flat, numbers = pd.Series([np.zeros(5, np.float32)]), pd.Series([1.0])
    broken = pd.Series([np.array([np.zeros(1), np.zeros(3)], object)])
    for options, columns, said in (
        ({"shape": (2, 3)}, [flat], r"row of shape \(5,\) does not have the numbers of `shape` = \(2, 3\)"),
        ({"shape": (None, 3)}, [flat], r"row of shape \(5,\) does not have the numbers of `shape` = \(None, 3\)"),
        ({}, [numbers, numbers], r"must have shape \(batch, any, 3\)"),
        ({}, [flat, numbers], r"has 1 input\(s\), got 2 columns"),
        ({}, [broken], r"a row has steps of shapes \[\(1,\), \(3,\)\]"),
    ):
        with pytest.raises(ValueError, match=said):
            list(predict_udf(models["pooled"], **options).func(iter([tuple(columns)])))
    with pytest.raises(Exception, match=r"has 1 input\(s\), got 2 columns"):
        fixed.limit(1).coalesce(1).select(predict_udf(models["pooled"])("a", "b")).collect()
