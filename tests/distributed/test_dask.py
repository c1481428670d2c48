"""`rnnx.distributed.dask`: arrays and bags of Dask, by threads and by a cluster of processes."""

from __future__ import annotations

import doctest
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import rnnx

dask = pytest.importorskip("dask")  # collected with `-m dask` only
pytestmark = pytest.mark.dask

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402

import rnnx.distributed.dask  # noqa: E402
from rnnx.distributed.dask import predict  # noqa: E402

RNG = np.random.default_rng(6)
X = RNG.normal(size=(103, 7, 3)).astype(np.float32)
Y = RNG.normal(size=(103, 2)).astype(np.float32)
RAGGED = [X[k, : k % 8] for k in range(103)]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
    ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
        yield client


def test_the_example_runs() -> None:
    names = {"rnnx": rnnx, "da": da}
    (test,) = [t for t in doctest.DocTestFinder().find(predict, "predict", globs=names) if t.examples]
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("chunks", [(20, 7, 3), (103, 7, 3), ((50, 0, 53), 7, 3), (20, 3, 3), (103, 1, 1), (40, 7, 2)])
@pytest.mark.parametrize("name", ["pooled", "steps"])
def test_arrays(models: Any, chunks: Any, name: str) -> None:
    """A chunk's border inside of sequences or features is none for the model."""
    y = predict(models[name], da.from_array(X, chunks=chunks))
    wanted = rnnx.load_model(models[name]).predict(X)
    assert y.shape == wanted.shape and y.dtype == wanted.dtype and type(y._meta) is np.ndarray
    assert all(n == 1 for n in y.numblocks[1:])
    if chunks[1] == 7 and chunks[2] == 3:
        assert y.chunks[0] == da.from_array(X, chunks=chunks).chunks[0]
    np.testing.assert_allclose(y.compute(), wanted, atol=1e-6)
    np.testing.assert_allclose(y[-3:].compute(), wanted[-3:], atol=1e-6)


def test_chunks_that_are_joined_along_time_are_cut_along_rows(models: Any) -> None:
    x = da.zeros((10_000, 200, 3), chunks=(10_000, 1, 3), dtype="float32")
    with dask.config.set({"array.chunk-size": "1MiB"}):
        y = predict(models["pooled"], x)
    assert max(y.chunks[0]) * 200 * 3 * 4 <= 2**20 and y.shape == (10_000, 2)


def test_sequences_without_steps_that_are_cut(models: Any) -> None:
    found = predict(models["steps"], da.zeros((4, 0, 3), chunks=(2, -1, 2), dtype="float32"))
    assert found.chunks[0] == (2, 2) and found.compute().shape == (4, 0, 4)


def test_nothing_is_computed_before_and_only_what_is_wanted(models: Any) -> None:
    seen: list[int] = []

    def note(block: Any, block_info: Any = None) -> Any:
        seen.append(block_info[0]["chunk-location"][0])
        return block

    x = da.from_array(X, chunks=(20, 7, 3)).map_blocks(note, dtype=X.dtype, meta=np.empty((0, 0, 0), X.dtype))
    y = predict(models["pooled"], x)
    assert seen == []
    y[50:55].compute()
    assert seen == [2]


def test_rows_of_unknown_number(models: Any) -> None:
    x = da.from_array(X, chunks=(20, 7, 3))
    some = x[x[:, 0, 0] > 5], x[x[:, 0, 0] > 0]
    for part, rows in zip(some, (X[:, 0, 0] > 5, X[:, 0, 0] > 0), strict=True):
        y = predict(models["pooled"], part)
        assert np.isnan(y.shape[0]) and y.shape[1] == 2
        wanted = rnnx.load_model(models["pooled"]).predict(X)[rows]
        np.testing.assert_allclose(y.compute(), wanted, atol=1e-6)  # chunks without a row among them
    with pytest.raises(ValueError, match=r"cut along more than its rows, whose number is unknown.*compute_chunk_sizes"):
        predict(models["pooled"], da.concatenate([some[1], some[1]], axis=1, allow_unknown_chunksizes=True))


def test_several_inputs_and_outputs(models: Any) -> None:
    model = rnnx.load_model(models["two"])
    wanted = model.predict({"a": X, "b": Y})
    inputs = {"a": da.from_array(X, chunks=(20, 7, 3)), "b": da.from_array(Y, chunks=(15, 1))}
    for x in (inputs, list(inputs.values())):
        y = predict(models["two"], x)
        assert {name: part.shape for name, part in y.items()} == {"p": (103, 7, 1), "q": (103, 4)}
        found = dask.compute(y)[0]
        for name in ("p", "q"):
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-6)
            np.testing.assert_allclose(y[name][3:40].compute(), wanted[name][3:40], atol=1e-6)


def test_outputs_that_are_computed_together_cost_one_run(models: Any, monkeypatch: Any) -> None:
    y = predict(models["two"], [da.from_array(X, chunks=(60, 7, 3)), da.from_array(Y, chunks=(60, 2))])
    runs: list[int] = []
    plain = rnnx.Predictor.__call__
    monkeypatch.setattr(rnnx.Predictor, "__call__", lambda *a, **k: runs.append(1) or plain(*a, **k))
    dask.compute(y, y["p"].sum() + y["q"].sum())
    assert len(runs) == 2


@pytest.mark.parametrize("name", ["pooled", "steps"])
@pytest.mark.parametrize("partitions", [1, 7, 100])
def test_bags(models: Any, name: str, partitions: int) -> None:
    wanted = rnnx.load_model(models[name]).predict(RAGGED)
    for rows in (RAGGED, [row.tolist() for row in RAGGED[1:8]]):
        found = predict(models[name], db.from_sequence(rows, npartitions=partitions)).compute()
        expected = wanted if rows is RAGGED else wanted[1:8]
        assert len(found) == len(rows)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_partitions_without_rows(models: Any) -> None:
    bag = db.from_sequence(RAGGED, npartitions=20).filter(lambda row: len(row) == 7)
    assert len(predict(models["pooled"], bag).compute()) == sum(len(row) == 7 for row in RAGGED)
    assert predict(models["pooled"], bag.filter(lambda row: False)).compute() == []


def test_what_is_refused(models: Any) -> None:
    x, pooled, two = da.from_array(X), models["pooled"], models["two"]
    bag = db.from_sequence(RAGGED)
    cases: list[tuple[Any, Any, Any, str]] = [
        (pooled, X, TypeError, "`x` must be a Dask array, a list or dict of them, or a Dask bag, got numpy.ndarray"),
        (
            pooled,
            [X],
            TypeError,
            "the inputs must be Dask arrays, got numpy.ndarray; `dask.array.from_array` makes them",
        ),
        (pooled, [x, x], ValueError, r"has 1 input\(s\), got 2 array\(s\)"),
        (pooled, x[:, :, :2], ValueError, r"must have shape \(batch, any, 3\), got \(1, 7, 2\)"),
        (pooled, x[0, 0, 0], ValueError, "the arrays must have rows, got one without axes"),
        (two, [x, da.zeros((5, 2))], ValueError, "the inputs differ in their rows: 103, 5"),
        (two, {"a": x, "c": x}, ValueError, "expected inputs a, b, got a, c"),
        (two, bag, ValueError, "has several inputs and a bag holds rows of one"),
    ]
    for path, given, kind, said in cases:
        with pytest.raises(kind, match=said):
            predict(path, given)


# ---- `Model.predict` and `fit` of arrays of Dask ------------------------------------------------------------------


def test_a_model_takes_arrays_of_dask_chunk_by_chunk(models: Any) -> None:
    model = rnnx.load_model(models["pooled"])
    computed: list[int] = []

    def note(block: Any) -> Any:
        computed.append(len(block))
        return block

    x = da.from_array(X, chunks=(20, 4, 3)).map_blocks(note, dtype=X.dtype, meta=np.empty((0, 0, 0), X.dtype))
    np.testing.assert_array_equal(model.predict(x), model.predict(X))
    assert sum(computed) == 2 * 103  # each of two along time, once
    model.compile("sgd", "mse")
    assert model.evaluate(x, da.from_array(Y)) == model.evaluate(X, Y)
    with pytest.raises(ValueError, match="nearly all chunks of the Dask array"):
        model.fit(x, Y, verbose=0)
    computed.clear()
    assert np.isfinite(model.fit(x, Y, shuffle="batch", batch_size=10, verbose=0).history["loss"]).all()
    assert sum(computed) <= 2 * 103 + 40  # and the first chunk again, to see whether data fit
    with pytest.raises(ValueError, match=r"does not know how many rows.*compute_chunk_sizes"):
        model.predict(x[x[:, 0, 0] > 0])


# ---- A cluster of processes ----------------------------------------------------------------------------------------


def models_read() -> int:
    from rnnx.distributed import scoring

    return len(scoring._read)


def slow(block: Any) -> Any:
    time.sleep(0.1)
    return block


def test_each_worker_reads_the_file_once(models: Any, client: Any) -> None:
    x = da.from_array(X, chunks=(5, 7, 3))
    with dask.config.set(scheduler=client):
        found = predict(models["pooled"], x).compute()
    np.testing.assert_allclose(found, rnnx.load_model(models["pooled"]).predict(X), atol=1e-6)
    assert set(client.run(models_read).values()) == {1}


@pytest.mark.parametrize("kind", ["array", "bag"])
def test_a_worker_that_dies_costs_no_row(models: Any, client: Any, kind: str) -> None:
    wanted = rnnx.load_model(models["pooled"]).predict(X if kind == "array" else RAGGED)
    if kind == "array":
        x = da.from_array(X, chunks=(3, 7, 3)).map_blocks(slow, dtype=X.dtype, meta=np.empty((0, 0, 0), X.dtype))
    else:
        x = db.from_sequence(RAGGED, npartitions=30).map_partitions(slow)
    before = dict(client.run(os.getpid))
    future = client.compute(predict(models["pooled"], x))
    time.sleep(0.8)
    assert not future.done()
    os.kill(next(iter(before.values())), signal.SIGKILL)
    found = future.result(timeout=120)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    until = time.monotonic() + 60
    while len(client.scheduler_info()["workers"]) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    after = dict(client.run(os.getpid))
    assert len(after) == 2 and set(after.values()) != set(before.values())
