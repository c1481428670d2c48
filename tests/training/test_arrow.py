"""Columns and tables of Arrow: the results of the same numbers as arrays and lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.training.arrow import is_arrow, numbers_of
from rnnx.training.stored import Stored

RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, 7, 3)).astype(np.float32)
RAGGED = [X[k, : k % 8] for k in range(50)]
MODEL = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4, return_sequences=True)])
POOLED = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4)])


class Foreign:
    """What has Arrow's interface and is of no library that we know."""

    def __init__(self, array: Any):
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __arrow_c_array__(self, schema: Any = None) -> Any:
        return self.array.__arrow_c_array__(schema)


def test_what_needs_pyarrow_says_so(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"data in a .*Foreign are read through pyarrow: pip install pyarrow"):
        POOLED.predict(Foreign([1]))


@pytest.mark.parametrize("x", [X, [X], None, {}, "x", 3, Foreign])
def test_what_is_not_arrow(x: Any) -> None:
    assert not is_arrow(x)


@pytest.fixture
def pa() -> Any:
    return pytest.importorskip("pyarrow")


def fixed(pa: Any, x: Any = X) -> Any:
    steps = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 3)
    return pa.FixedSizeListArray.from_arrays(steps, 7)


def lists(pa: Any, kind: Any = None) -> Any:
    return pa.array([row.tolist() for row in RAGGED], kind or pa.list_(pa.list_(pa.float32())))


def test_rows_of_a_fixed_size(pa: Any) -> None:
    column = fixed(pa)
    assert np.shares_memory(numbers_of(column), column.flatten().flatten().to_numpy())
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(X)
    wanted = POOLED.predict(X)
    for x in (
        column, tensors, pa.table({"x": column}), pa.record_batch({"other": column}), Foreign(column),
        pa.chunked_array([column[:20], column[20:20], column[20:]]), pa.chunked_array([tensors[:9], tensors[9:]]),
    ):  # fmt: skip
        np.testing.assert_array_equal(POOLED.predict(x), wanted)
    for x in (column[3:30], tensors[3:30]):
        np.testing.assert_allclose(POOLED.predict(x), wanted[3:30], atol=1e-6)


def test_columns_in_pieces_are_read_in_pieces(pa: Any, tmp_path: Path) -> None:
    table = pa.table({"x": pa.chunked_array([fixed(pa)[k : k + 10] for k in range(0, 50, 10)])})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.memory_map(str(tmp_path / "x.arrow")) as source:
        column = pa.ipc.open_file(source).read_all()["x"]
        assert isinstance(numbers_of(column), Stored)
        np.testing.assert_array_equal(POOLED.predict(column), POOLED.predict(X))
        np.testing.assert_array_equal(numbers_of(column)[np.array([33, 2, 2])], X[[33, 2, 2]])
        assert numbers_of(column[:0]).shape == (0, 7, 3)
        del column
    empty = pa.chunked_array([], pa.fixed_shape_tensor(pa.float32(), (7, 3)))
    assert POOLED.predict(empty).shape == (0, 4)


@pytest.mark.parametrize("kind", ["list", "large_list", "list_view", "large_list_view", "fixed"])
def test_lists_are_ragged(pa: Any, kind: str) -> None:
    inside = pa.list_(pa.float32())
    kinds = {"list": pa.list_(inside), "large_list": pa.large_list(pa.large_list(pa.float32())),
             "list_view": pa.list_view(inside), "large_list_view": pa.large_list_view(pa.list_view(pa.float32())),
             "fixed": pa.list_(pa.list_(pa.float32(), 3))}  # fmt: skip
    column = lists(pa, kinds[kind])
    wanted = MODEL.predict(RAGGED[1:])
    for x in (column[1:], pa.chunked_array([column[1:9], column[9:]]), pa.table({"x": column[1:]})):
        found = MODEL.predict(x)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    assert [row.tolist() for row in numbers_of(column[2:40])] == [row.tolist() for row in RAGGED[2:40]]


def test_lists_of_ids(pa: Any) -> None:
    ids = [[1, 2, 3], [4], [2, 2]]
    model = rnnx.Sequential([rnnx.Input((None,)), layers.Embedding(9, 4), layers.GRU(3)])
    np.testing.assert_allclose(model.predict(pa.array(ids)), model.predict(ids), atol=1e-6)


def test_numbers_side_by_side(pa: Any) -> None:
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    table = pa.table({name: x[:, k] for k, name in enumerate("abc")})
    model = rnnx.Sequential([rnnx.Input((3,)), layers.Dense(2)])
    wanted = model.predict(x)
    vectors = pa.array(x.tolist(), pa.list_(pa.float32()))
    for given in (table, table.to_batches()[0], vectors, pa.array(x.tolist(), pa.list_(pa.float32(), 3))):
        np.testing.assert_array_equal(model.predict(given), wanted)


def test_inputs_and_outputs_by_the_names_of_columns(pa: Any) -> None:
    a, b = rnnx.Input((7, 3), name="a"), rnnx.Input((2,), name="b")
    h = layers.LSTM(4)(a)
    model = rnnx.Model({"a": a, "b": b}, {"p": layers.Dense(1)(h), "q": layers.Add()([h, layers.Dense(4)(b)])})
    y = RNG.normal(size=(50, 2)).astype(np.float32)
    table = pa.table({"b": pa.array(y.tolist(), pa.list_(pa.float32(), 2)), "key": range(50), "a": fixed(pa)})
    found, wanted = model.predict(table), model.predict({"a": X, "b": y})
    np.testing.assert_array_equal(found["p"], wanted["p"])
    with pytest.raises(ValueError, match="the table must have the columns 'a', 'b' of the inputs, got 'a', 'key'"):
        model.predict(table.select(["a", "key"]))
    model.compile("sgd", "mse")
    q = RNG.normal(size=(50, 4)).astype(np.float32)
    targets = pa.table({"p": y[:, 0], "q": pa.array(q.tolist(), pa.list_(pa.float32(), 4))})
    assert model.evaluate(table, targets) == model.evaluate({"a": X, "b": y}, {"p": y[:, 0], "q": q})
    one = rnnx.Sequential([rnnx.Input((7, 3), name="a"), layers.GRU(2)])
    np.testing.assert_array_equal(one.predict(table), one.predict(X))


def test_fit_with_columns(pa: Any) -> None:
    y = RNG.normal(size=(50, 4)).astype(np.float32)
    targets = pa.array(y.tolist(), pa.list_(pa.float32(), 4))
    steps = [RNG.normal(size=(len(row), 4)).astype(np.float32) for row in RAGGED]
    found = []
    for x, given in ((X, y), (fixed(pa), targets), (pa.chunked_array([fixed(pa)[:9], fixed(pa)[9:]]), targets)):
        model = rnnx.models.clone_model(POOLED)
        model.set_weights(POOLED.get_weights())
        model.compile("sgd", "mse")
        found.append(model.fit(x, given, verbose=0, seed=1, validation_split=0.2).history)
    assert found[0] == found[1] == found[2]
    found = []
    of_steps = pa.array([row.tolist() for row in steps], pa.list_(pa.list_(pa.float32())))
    for x, given in ((RAGGED[1:], steps[1:]), (lists(pa)[1:], of_steps[1:])):
        model = rnnx.models.clone_model(MODEL)
        model.set_weights(MODEL.get_weights())
        model.compile("sgd", "mse")
        found.append(model.fit(x, given, verbose=0, seed=1).history)
    assert found[0] == found[1]


def test_readers_are_batches(pa: Any) -> None:
    table = pa.table({"x": pa.chunked_array([fixed(pa)[:20], fixed(pa)[20:]])})
    np.testing.assert_allclose(POOLED.predict(table.to_reader()), POOLED.predict(X), atol=1e-6)
    table = pa.table({"x": pa.chunked_array([lists(pa)[1:20], lists(pa)[20:]])})
    for a, b in zip(MODEL.predict(table.to_reader()), MODEL.predict(RAGGED[1:]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_texts(pa: Any) -> None:
    assert numbers_of(pa.array(["a", "b"])).tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda pa: pa.array([[[1.0, 2.0, 3.0]], None]), r"the column has 1 null\(s\), the first at 1; .*`drop_null`"),
        (lambda pa: pa.array([[[1.0, None, 3.0]]]), r"the column has 1 null\(s\), the first at 1"),
        (lambda pa: pa.array([[[1.0, 2.0, 3.0], None]]), r"the column has 1 null\(s\), the first at 1"),
        (lambda pa: pa.array([[[1.0, 2.0, 3.0], [1.0]]]), "steps with 1 and with 3 features; all must have as many"),
        (lambda pa: pa.array([[{"a": 1}]]), r"the column must hold numbers or lists of numbers, got struct<a: int64>"),
        (lambda pa: pa.table({"a": fixed(pa), "b": range(50)}), r"of which 'a' has more than a number.*table\['a'\]"),
        (lambda pa: pa.table([[1], [2]], ["a", "a"]), "columns of a table need names of their own, got 'a', 'a'"),
    ],
)  # fmt: skip
def test_what_is_refused(pa: Any, make: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        POOLED.predict(make(pa))


def test_polars_and_duckdb(pa: Any) -> None:
    pl, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    wanted = POOLED.predict(X)
    series = pl.Series("x", X, dtype=pl.Array(pl.Float32, (7, 3)))
    as_lists = pl.Series("x", X.tolist(), dtype=pl.List(pl.List(pl.Float32)))
    for x in (series, series.to_frame(), as_lists):
        np.testing.assert_allclose(POOLED.predict(x), wanted, atol=1e-6)
    connection = duckdb.connect()
    connection.register("numbers", pa.table({"x": as_lists.to_arrow()}))
    np.testing.assert_allclose(POOLED.predict(connection.sql("select x from numbers")), wanted, atol=1e-6)
