"""Shapes of operands that are broadcast against each other, and gradients summed back to them."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx.functional._broadcasting import broadcast, fold, meet


@pytest.mark.parametrize(
    ("sizes", "size"), [((3, 1, 3), 3), ((1, 1), 1), ((None, 1), None), ((None, 4), 4), ((None, None), None)]
)
def test_sizes_meet(sizes, size):
    assert meet(sizes) == size


def test_shapes_are_those_of_numpy_with_unknown_sizes():
    assert broadcast((None, 3, 1), (5,)) == (None, 3, 5)
    assert broadcast((), (2, None)) == (2, None)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(4,\) do not fit together"):
        broadcast((2, 3), (4,))


@pytest.mark.parametrize(
    ("shape", "sums"),
    [((2, 3), [[0, 1, 2], [3, 4, 5]]), ((1, 3), [[3, 5, 7]]), ((2, 1), [[3], [12]]), ((3,), [3, 5, 7]), ((), 15)],
)
def test_a_gradient_is_summed_where_its_operand_was_broadcast(shape, sums):
    found = fold(np.arange(6.0).reshape(2, 3), shape)
    assert found.shape == shape and np.array_equal(found, sums)


def test_a_gradient_of_its_operands_shape_is_given_back_and_a_smaller_one_spread():
    dy = np.ones((2, 3))
    assert fold(dy, (2, 3)) is dy
    assert np.array_equal(fold(dy[:, :1], (2, 3)), dy)
