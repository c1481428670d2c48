"""Arrays that are not in memory: read in pieces, with the results of the same arrays in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.training import stored
from rnnx.training.stored import Stored, is_stored

RNG = np.random.default_rng(4)
X = RNG.normal(size=(103, 7, 3)).astype(np.float32)
Y = RNG.normal(size=(103, 2)).astype(np.float32)


class Rows:
    """Like a dataset of h5py: slices along the first axis alone, and it notes which."""

    def __init__(self, array: Any, chunks: Any = None):
        self.array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype
        self.read: list[tuple[int, int]] = []

    def __getitem__(self, which: Any) -> Any:
        assert isinstance(which, slice) and which.step is None, "only slices"
        self.read.append((which.start, which.stop))
        return self.array[which].copy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise AssertionError("read as a whole")


class Computed(Rows):
    """Like an array of Dask: chunks of any sizes, and NaN where it does not know them."""

    def __init__(self, array: Any, *sizes: float):
        super().__init__(array, (sizes, *((n,) for n in array.shape[1:])))
        self.shape = (int(sum(sizes)) if sum(sizes) == sum(sizes) else float("nan"), *array.shape[1:])


def build(stateful: bool = False) -> Any:
    rnnx.utils.set_random_seed(0)
    start = rnnx.Input(batch_shape=(1, None, 3)) if stateful else rnnx.Input((None, 3))
    model = rnnx.Sequential([start, layers.GRU(4, stateful=stateful), layers.Dense(2)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def trained(x: Any, y: Any, **options: Any) -> tuple[list[Any], Any]:
    model = build()
    history = model.fit(x, y, epochs=2, verbose=0, **options).history
    return model.get_weights(), history


def assert_same_training(x: Any, y: Any, **options: Any) -> None:
    (weights, history), (wanted, past) = trained(x, y, **options), trained(X, Y, **options)
    assert history == past
    for a, b in zip(weights, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def h5py_dataset(folder: Path, **options: Any) -> Any:
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "x.h5", "w")
    file.create_dataset("y", data=Y)
    return file.create_dataset("x", data=X, **options)


# ---- What is read -----------------------------------------------------------------------------------------------


def test_batches_in_order_read_each_chunk_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(stored, "AT_ONCE", 0)
    x = Rows(X, (20, 7, 3))
    np.testing.assert_array_equal(build().predict(x), build().predict(X))
    assert x.read == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100), (100, 103)]


def test_small_chunks_are_read_together_and_no_more_than_so_much(monkeypatch: Any) -> None:
    monkeypatch.setattr(stored, "AT_ONCE", X[:50].nbytes)
    x = Rows(X, (20, 7, 3))
    build().predict(x)
    assert x.read == [(0, 40), (40, 80), (80, 103)]
    without = Rows(X)
    build().predict(without, batch_size=8)
    assert without.read == [(0, 50), (50, 100), (100, 103)]


def test_chunks_of_any_sizes() -> None:
    x = Computed(X, 1, 0, 50, 52, 0)
    np.testing.assert_array_equal(build().predict(x), build().predict(X))
    assert x.read == [(0, 1), (1, 51), (51, 103)]


def test_a_piece_is_not_held_by_its_last_batch() -> None:
    x = Stored(Computed(X, 40, 63))
    first, last = x[:32], x[32:40]
    assert first.base is not None and last.base is None
    np.testing.assert_array_equal(np.concatenate([first, last, x[40:]]), X)


@pytest.mark.parametrize("which", [slice(None), slice(5, 3), slice(90, 200), slice(-3, None), slice(1, 60, 7)])
@pytest.mark.parametrize("chunks", [None, (1, 7, 3), (10, 2, 3), (500, 7, 3)])
def test_slices(which: slice, chunks: Any) -> None:
    np.testing.assert_array_equal(Stored(Rows(X, chunks))[which], X[which])
    np.testing.assert_array_equal(Stored(Rows(X, chunks), 3, 90)[which], X[3:90][which])


@pytest.mark.parametrize("chunks", [None, (1, 7, 3), (10, 2, 3), (500, 7, 3)])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_rows_in_any_order(chunks: Any, count: int) -> None:
    rows = RNG.integers(0, 80, count)  # some come twice
    np.testing.assert_array_equal(Stored(Rows(X, chunks))[rows], X[rows])
    np.testing.assert_array_equal(Stored(Rows(X, chunks)).part(slice(3, 95))[rows], X[3:95][rows])
    np.testing.assert_array_equal(Stored(Computed(X, 40, 63))[rows], X[rows])


def test_rows_in_any_order_read_each_chunk_once() -> None:
    x = Rows(X, (10, 7, 3))
    Stored(x)[np.array([55, 3, 7, 58, 4])]
    assert x.read == [(3, 8), (55, 59)]
    x.chunks, x.read = None, []
    Stored(x)[np.array([55, 3, 56, 4])]
    assert x.read == [(3, 5), (55, 57)]


def test_what_is_read_in_pieces(tmp_path: Path) -> None:
    assert is_stored(Rows(X)) and is_stored(h5py_dataset(tmp_path))
    texts = Rows(np.array(["a"], object))
    for x in (X, np.memmap(tmp_path / "m", np.float32, "w+", shape=(3,)), np.float32(1), [X], texts, Rows, None, "x"):
        assert not is_stored(x)


# ---- predict, evaluate, fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunks": (10, 4, 3), "compression": "gzip"}])
def test_datasets_of_h5py(tmp_path: Path, options: Any) -> None:
    x = h5py_dataset(tmp_path, **options)
    y = x.parent["y"]
    model = build()
    np.testing.assert_array_equal(model.predict(x), model.predict(X))
    assert model.evaluate(x, y) == model.evaluate(X, Y)
    assert model.predict(x[:0]).shape == (0, 2)
    for more in ({}, {"shuffle": False}, {"validation_split": 0.2}, {"seed": 3}, {"validation_data": (x, y)}):
        assert_same_training(x, y, **more)


def test_fit_shuffles_rows_as_it_does_in_memory() -> None:
    weight = RNG.random(103)
    assert_same_training(Rows(X, (10, 7, 3)), Rows(Y), sample_weight=weight)
    options: Any = {"verbose": 0, "steps_per_epoch": 2, "epochs": 3, "seed": 0}
    found = build().fit(Rows(X), Rows(Y), sample_weight=Rows(weight), **options).history
    assert found == build().fit(X, Y, sample_weight=weight, **options).history


def test_classes_that_are_read_in_pieces() -> None:
    labels = RNG.integers(0, 2, 103)

    class Labels(Rows):
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.array

    found = []
    for x, y in ((X, labels), (Rows(X), Labels(labels))):
        model = build()
        model.compile("sgd", rnnx.losses.SparseCategoricalCrossentropy(from_logits=True))
        found.append(model.fit(x, y, class_weight={0: 1.0, 1: 3.0}, verbose=0).history)
    assert found[0] == found[1]


def test_several_inputs_and_outputs() -> None:
    a, b = rnnx.Input((None, 3), name="a"), rnnx.Input((2,), name="b")
    h = layers.LSTM(4)(a)
    model = rnnx.Model([a, b], {"p": layers.Dense(1, name="p")(h), "q": layers.Concatenate(name="q")([h, b])})
    wanted = model.predict([X, Y])
    for x in ([Rows(X, (9, 7, 3)), Rows(Y)], {"a": Computed(X, 50, 53), "b": Y}):
        found = model.predict(x)
        for name in ("p", "q"):
            np.testing.assert_array_equal(found[name], wanted[name])
    model.compile("sgd", "mse")
    targets = {"p": Y[:, :1], "q": np.zeros((103, 6))}
    found = [model.evaluate(x, y) for x, y in (
        ([X, Y], targets),
        ([Rows(X), Rows(Y)], {name: Rows(part) for name, part in targets.items()}),
    )]  # fmt: skip
    assert found[0] == found[1]


def test_a_model_that_is_built_by_its_data() -> None:
    class Own(rnnx.Model):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.dense = layers.GRU(4), layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(self.gru(x))

    found = []
    for x, y in ((X, Y), (Rows(X, (50, 7, 3)), Rows(Y))):
        rnnx.utils.set_random_seed(0)
        model = Own()
        model.compile("sgd", "mse")
        model.fit(x, y, verbose=0)
        found.append(model.predict(x))
    np.testing.assert_array_equal(*found)


def test_batches_of_what_is_read_in_pieces() -> None:
    parts = [slice(k, k + 20) for k in range(0, 103, 20)]
    found = build().predict(Rows(X[part]) for part in parts)
    np.testing.assert_allclose(found, build().predict(X), atol=1e-6)
    np.testing.assert_array_equal(build().predict_on_batch(Rows(X)), build().predict_on_batch(X))


def test_what_cannot_be_read_is_refused() -> None:
    model = build()
    with pytest.raises(ValueError, match=r"does not know how many rows.*compute_chunk_sizes"):
        model.predict(Computed(X, 50, float("nan")))
    with pytest.raises(ValueError, match=r"rows 0 to 103 of the Rows have 1 masked values.*set_auto_mask"):
        masked = Rows(np.ma.masked_array(X, mask=np.arange(X.size).reshape(X.shape) == 5))
        model.predict(masked)
    with pytest.raises(ValueError, match=r"must have shape \(batch, any, 3\), got \(32, 7, 2\)"):
        model.predict(Rows(X[:, :, :2]))
    with pytest.raises(ValueError, match="`x` has 103 rows but `y` has 102"):
        model.fit(Rows(X), Rows(Y[1:]))
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"nearly all chunks of the Dask array.*`shuffle=\"batch\"`"):
        model.fit(Computed(X, 50, 53), Y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- shuffle="batch" --------------------------------------------------------------------------------------------


def orders(batches: Any, epoch: int = 0) -> list[Any]:
    return [batch.rows.tolist() for batch in batches.epoch(epoch)]


def test_batches_in_a_new_order_keep_their_rows() -> None:
    batches = rnnx.data.Batches(X, Y, batch_size=10, shuffle="batch", seed=1)
    first, second = orders(batches, 0), orders(batches, 1)
    assert first != second and first == orders(batches, 0)
    wanted = [list(range(k, min(k + 10, 103))) for k in range(0, 103, 10)]
    assert first != wanted and sorted(first) == sorted(second) == wanted
    for batch in batches:
        assert np.shares_memory(batch.x, X)
        np.testing.assert_array_equal(batch.y, Y[batch.rows])


def test_batches_in_a_new_order_read_each_chunk_once() -> None:
    x = Computed(X, 30, 30, 0, 43)
    batches = rnnx.data.Batches(Stored(x), batch_size=10, shuffle="batch", seed=2)
    found = orders(batches)
    assert sorted(found) == [list(range(k, min(k + 10, 103))) for k in range(0, 103, 10)]
    assert sorted(x.read) == [(0, 30), (30, 60), (60, 103)] != x.read
    assert found != [rows for start in (30, 0, 60) for rows in sorted(found) if start <= rows[0] < start + 30]
    trained(Computed(X, 30, 73), Y, shuffle="batch")


def test_a_piece_may_end_inside_of_a_batch() -> None:
    x = Computed(X, 25, 78)
    for batch in rnnx.data.Batches(Stored(x), batch_size=10, shuffle="batch", seed=2):
        np.testing.assert_array_equal(batch.x, X[batch.rows])


def test_ragged_lists_in_a_new_order() -> None:
    rows = [X[k, : 1 + k % 7] for k in range(50)]
    batches = rnnx.data.Batches(rows, batch_size=8, shuffle="batch", seed=2)
    assert sorted(k for batch in batches.epoch() for k in batch.rows) == list(range(50))


@pytest.mark.parametrize("wrong", ["batches", "True", ""])
def test_other_words_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match='`shuffle` must be True, False or "batch", got'):
        build().fit(X, Y, shuffle=wrong)


def test_a_stateful_model_is_not_shuffled() -> None:
    found = []
    for shuffle in ("batch", False):
        model = build(stateful=True)
        model.fit(X[:6], Y[:6], batch_size=1, shuffle=shuffle, verbose=0)
        found.append(model.get_weights()[0])
    np.testing.assert_array_equal(*found)


# ---- Batches that others make -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [False, True])
def test_generators_of_ragged_lists(sequences: bool) -> None:
    rows = [X[k, : 1 + k % 7] for k in range(50)]
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4, return_sequences=sequences)])
    wanted = model.predict(rows)
    for size in (1, 2, 3, 7, 50):
        found = model.predict(rows[k : k + size] for k in range(0, 50, size))
        assert len(found) == 50
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_generators_of_ragged_lists_with_targets() -> None:
    rows = [X[k, : 1 + k % 7] for k in range(40)]
    steps = [X[k, : 1 + k % 7, :2] for k in range(40)]
    model = build()
    assert model.evaluate([(rows[k : k + 8], Y[k : k + 8]) for k in range(0, 40, 8)]) == pytest.approx(
        model.evaluate(rows, Y[:40]), rel=1e-6
    )
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(2, return_sequences=True)])
    model.compile("sgd", rnnx.losses.MeanSquaredError(reduction="sum"))
    pairs = [(rows[k : k + 8], steps[k : k + 8]) for k in range(0, 40, 8)]
    found = model.evaluate(pairs)
    whole = np.mean([model.evaluate([(rows[k : k + 8], steps[k : k + 8])]) for k in range(0, 40, 8)])
    assert found == pytest.approx(whole, rel=1e-6)
    before = model.get_weights()[0].copy()
    model.fit(iter(pairs), steps_per_epoch=5, verbose=0)
    assert not np.array_equal(before, model.get_weights()[0])


def test_batches_with_and_without_lengths() -> None:
    rows = [X[k, : 1 + k % 7] for k in range(6)]
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4, return_sequences=True)])
    found = model.predict(part for part in (rows, X[:2]))
    assert [len(row) for row in found] == [1, 2, 3, 4, 5, 6, 7, 7]
    np.testing.assert_allclose(found[6], model.predict(X[:1])[0], atol=1e-6)
