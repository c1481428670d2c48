"""Batches of arrays, ragged lists and what others make."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx import data
from rnnx.layers.checks import starting_mask
from rnnx.training.batches import is_source
from rnnx.training.fit_data import class_weights

ROWS = [np.full((n, 2), n, float) for n in (3, 1, 4, 1, 5)]


@pytest.mark.parametrize(
    ("x", "ragged"),
    [
        (ROWS, True),
        ([[1, 2], [3]], True),
        ([np.array([1]), np.array([2, 3])], True),
        ([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], True),
        ([], False),
        ([1, 2], False),
        (np.zeros((2, 3)), False),
        ([np.zeros((2, 3, 4))], False),
        ([(np.zeros((2, 3)), np.zeros(2))], False),
        ("text", False),
        (None, False),
    ],
)
def test_what_is_ragged(x, ragged):
    assert data.is_ragged(x) == ragged


def test_what_gives_batches():
    pair = (np.zeros((2, 3)), np.zeros(2))
    for source in ([pair], iter([pair]), (p for p in [pair]), [data.Batch(*pair)], data.Batches(pair[0], pair[1])):
        assert is_source(source)
    for array in (np.zeros(3), {"a": np.zeros(3)}, None, ROWS, [np.zeros((2, 3)), np.zeros((2, 3))], [[1, 2], [3]]):
        assert not is_source(array)


def test_pad():
    padded, lengths = data.pad(ROWS)
    assert padded.shape == (5, 5, 2)
    assert lengths.tolist() == [3, 1, 4, 1, 5]
    assert padded[0, :, 0].tolist() == [3, 3, 3, 0, 0]
    assert data.pad([[1], [2, 3]], 4)[0].tolist() == [[1, 0, 0, 0], [2, 3, 0, 0]]
    with pytest.raises(ValueError, match="features"):
        data.pad([np.zeros((1, 2)), np.zeros((1, 3))])


def test_batches_in_order_are_views():
    x, y = np.arange(14.0).reshape(7, 2), np.arange(7)
    batches = list(data.Batches(x, y, batch_size=3))
    assert [b.size for b in batches] == [3, 3, 1]
    assert len(data.Batches(x, batch_size=3)) == 3
    assert all(np.shares_memory(b.x, x) for b in batches)
    np.testing.assert_array_equal(np.concatenate([b.y for b in batches]), y)


def test_shuffled_batches_keep_rows_together():
    x, y, w = np.arange(7)[:, None], np.arange(7), np.arange(7.0)
    batches = data.Batches(x, y, w, batch_size=2, shuffle=True, generator=np.random.default_rng(1))
    first, second = list(batches), list(batches)
    for epoch in (first, second):
        assert sorted(np.concatenate([b.y for b in epoch])) == list(range(7))
        for b in epoch:
            np.testing.assert_array_equal(b.x[:, 0], b.y)
            np.testing.assert_array_equal(b.sample_weight, b.y)
            np.testing.assert_array_equal(b.rows, b.y)
    assert np.concatenate([b.y for b in first]).tolist() != np.concatenate([b.y for b in second]).tolist()


@pytest.mark.parametrize("shuffle", [False, True])
def test_ragged_batches_have_similar_lengths(shuffle):
    rng = np.random.default_rng(0)
    rows = [np.full((n, 1), k) for k, n in enumerate(rng.integers(1, 50, 64))]
    steps = [np.full((len(r),), k) for k, r in enumerate(rows)]
    padding = 0
    seen = []
    for batch in data.Batches(rows, steps, batch_size=8, shuffle=shuffle, generator=rng):
        assert batch.x.shape[1] == batch.lengths.max()
        assert batch.lengths.tolist() == [len(rows[k]) for k in batch.rows]
        assert batch.x[:, 0, 0].tolist() == batch.y[:, 0].tolist() == batch.rows.tolist()
        padding += batch.x.shape[1] * 8 - batch.lengths.sum()
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(64))
    assert padding < 0.15 * sum(map(len, rows))


def test_lists_and_dicts_of_arrays():
    a, b = np.arange(5)[:, None], np.arange(10).reshape(5, 2)
    for x in ([a, b], {"a": a, "b": b}):
        batches = list(data.Batches(x, batch_size=2, several_inputs=True))
        assert [batch.size for batch in batches] == [2, 2, 1]
        assert type(batches[0].x) is type(x)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"x": np.zeros((3, 1)), "batch_size": 0}, "batch_size"),
        ({"x": np.zeros((3, 1)), "batch_size": True}, "batch_size"),
        ({"x": np.zeros((3, 1)), "batch_size": 1.5}, "batch_size"),
        ({"x": np.zeros((3, 1)), "y": np.zeros(2)}, "3 rows but `y` has 2"),
        ({"x": np.zeros((3, 1)), "sample_weight": np.zeros(4)}, "`sample_weight` has 4"),
        ({"x": [np.zeros((3, 1)), np.zeros((2, 1))], "several_inputs": True}, "3 rows but `x` has 2"),
        ({"x": np.zeros((3, 1)), "y": [np.zeros(3), np.zeros(2)]}, "`y` has 2"),
    ],
)
def test_batches_refuse(arguments, match):
    with pytest.raises(ValueError, match=match):
        data.Batches(**arguments)


def test_ragged_targets_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="as many steps as their input"):
        list(data.Batches([[1, 2], [3]], [[1, 2], [3, 4]]))


def test_given_batches():
    pairs = [(np.zeros((2, 1)), k) for k in range(5)]
    again = data.GivenBatches(pairs)
    assert len(again) == 5
    assert [b.y for b in again] == [b.y for b in again] == [0, 1, 2, 3, 4]
    generator = data.GivenBatches(iter(pairs), steps=2)
    assert [b.y for b in generator] == [0, 1]
    assert [b.y for b in generator] == [2, 3]
    assert [b.y for b in generator] == [4]
    assert next(iter(data.GivenBatches([np.ones(3)]))).y is None
    with pytest.raises(ValueError, match="got 4 parts"):
        list(data.GivenBatches([(1, 2, 3, 4)]))


def test_tbptt_batches_continue_each_other():
    chunks = data.tbptt_batches(np.arange(26), 2, 4)
    assert [x.tolist() for x, _ in chunks] == [
        [[0, 1, 2, 3], [12, 13, 14, 15]], [[4, 5, 6, 7], [16, 17, 18, 19]], [[8, 9, 10, 11], [20, 21, 22, 23]],
    ]  # fmt: skip
    for x, y in chunks:
        np.testing.assert_array_equal(y, x + 1)
    x, y = data.tbptt_batches(np.zeros((8, 3)), 2, 2, targets=np.arange(8))[1]
    assert x.shape == (2, 2, 3)
    assert y.tolist() == [[2, 3], [6, 7]]
    with pytest.raises(ValueError, match="too few"):
        data.tbptt_batches(np.arange(5), 2, 4)
    with pytest.raises(ValueError, match="targets"):
        data.tbptt_batches(np.arange(5), 1, 1, targets=np.arange(4))
    for bad in ({"batch_size": 0, "timesteps": 1}, {"batch_size": 1, "timesteps": 0}):
        with pytest.raises(ValueError, match="positive"):
            data.tbptt_batches(np.arange(9), **bad)


def test_class_weights():
    weights = {0: 0.5, 1: 2.0}
    assert class_weights(np.array([0, 1, 2]), weights, None).tolist() == [0.5, 2, 1]
    assert class_weights(np.array([[0], [1]]), weights, np.array([1.0, 3.0])).tolist() == [0.5, 6]
    assert class_weights(np.eye(2)[[1, 0]], weights, None).tolist() == [2, 0.5]
    with pytest.raises(ValueError, match="class_weight"):
        class_weights(None, weights, None)


def test_starting_mask():
    x = np.zeros((2, 3, 1))
    assert starting_mask("m", x, None, np.array([1, 3])).tolist() == [[True, False, False], [True] * 3]
    for lengths in (np.array([1, 4]), np.array([-1, 2]), np.array([1.0, 2.0]), np.array([1])):
        with pytest.raises(ValueError, match="lengths"):
            starting_mask("m", x, None, lengths)
    with pytest.raises(ValueError, match="not both"):
        starting_mask("m", x, np.ones((2, 3), bool), np.array([1, 2]))
