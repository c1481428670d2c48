"""What several passes draw at once is what each of them draws alone."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx import _kernels
from rnnx.dropout import SeedGenerator
from rnnx.dropout.noise import Draws
from rnnx.dropout.passes import NotRows, Passes

COUNTERS = [0, 1, 5, 2**32 - 1, 2**32, 2**40 + 3]


@pytest.mark.parametrize("seed", [0, 1, 77, 2**32 - 1])
def test_generators_are_those_of_numpy(seed):
    ours, numpys = _kernels.Generators(seed, COUNTERS), [np.random.default_rng([seed, k]) for k in COUNTERS]
    for shape in ((3,), (2, 5), (1,), (0,), (), (4, 1, 33)):
        want = np.stack([generator.random(shape, np.float32) for generator in numpys])
        np.testing.assert_array_equal(ours.uniform(shape), want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1 - 2.0**-24, 1 - 1e-12])
def test_masks_are_the_numbers_compared_with_the_rate(rate, dtype):
    """Odd and even counts, so that halves of words are left over between the calls."""
    ours, numbers = _kernels.Generators(3, COUNTERS), _kernels.Generators(3, COUNTERS)
    scale = dtype(1) / dtype(1 - rate)
    for shape in ((3,), (2, 5), (1,), (0,), (), (4, 1, 33), (2, 8)):
        found = ours.masks(shape, rate, dtype)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, (numbers.uniform(shape) >= np.float32(rate)) * scale)
    np.testing.assert_array_equal(ours.uniform((5,)), numbers.uniform((5,)))


def test_a_call_may_draw_numbers_of_several_kinds():
    numpys, draws = np.random.default_rng([3, 4]), Draws(3, 4, shared=True)
    np.testing.assert_array_equal(draws.uniform((3,)), numpys.random(3, np.float32))
    np.testing.assert_array_equal(draws.normal((2, 2), 1.0, 2.0), numpys.normal(1.0, 2.0, (2, 2)))
    np.testing.assert_array_equal(draws.keep((5,), 0.5), numpys.random(5, np.float32) >= 0.5)
    keep = numpys.random((2, 3), np.float32) >= 0.5
    np.testing.assert_array_equal(draws.masks(2, (3,), 0.5, np.float32), 2 * keep)


def drawn(draws, batch, steps):
    return [
        draws.masks(4, (batch, 1, 3), 0.3, np.float32),
        draws.masks(2, (1, 1, 3), 0.3, np.float64, shared=True),
        draws.keep((batch * steps, 2), 0.5),
        draws.keep((1, 3), 0.5, shared=True),
        draws.uniform((batch, 2)),
    ]


def normal(draws, batch, steps):
    return [draws.normal((batch, 3), 1.0, 0.5), draws.normal((batch * steps, 2), 0.0, 1.0)]


@pytest.mark.parametrize("draw", [drawn, normal])
@pytest.mark.parametrize("stream", ["rnnx", "keras"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("taken", [slice(None), slice(1, 3), slice(3, 4)])
@pytest.mark.parametrize("many", [1, 3])
def test_rows_of_passes(stream, shared, taken, draw, many):
    """A batch of one row too: its masks are those of this row, not shared ones."""
    rows, steps, count = 4, 3, 5
    source = SeedGenerator(9, stream)
    alone = [draw(source.begin(20), 1 if shared else rows, steps) for _ in range(count)]
    source.state = (9, 0)
    passes = Passes(count, shared, once=False)
    with passes.run(range(1), rows):
        source.begin(20)
    some = len(range(rows)[taken])
    with passes.run(range(1, 1 + many), rows, taken):
        found = draw(source.begin(20), many * some, steps)
        with pytest.raises(NotRows):
            source.begin(20)
    assert source.state == (9, count * (1 if stream == "rnnx" else 20))
    for k, got in enumerate(found):
        axis = 1 if draw is drawn and k < 2 else 0
        for number in range(1, 1 + many):
            want = np.moveaxis(alone[number][k], axis, 0)
            own = np.moveaxis(got, axis, 0)
            one = draw is drawn and k in (1, 3)
            if len(own) == 1:  # what all rows share is handed on as it is
                own = np.broadcast_to(own, (some, *own.shape[1:]))
            own = own.reshape(many, some, -1, *own.shape[1:])[number - 1]
            want = want.reshape(1 if one or shared else rows, -1, *want.shape[1:])
            np.testing.assert_array_equal(own, np.broadcast_to(want if one or shared else want[taken], own.shape))


def test_what_has_no_rows():
    passes, source = Passes(3, False, once=True), SeedGenerator(1)
    with passes.run(range(3), 4):
        draws = source.begin()
        with pytest.raises(NotRows):
            draws.keep((7, 3), 0.5)
        with pytest.raises(NotRows):
            draws.of_weights((12, 3), 0.5, np.float32)
        with pytest.raises(NotRows):
            draws.normal((12, 3), 0.0, 1.0)
    with passes.run(range(1, 2), 4):
        mask = source.begin().of_weights((7, 3), 0.5, np.float32)
    np.testing.assert_array_equal(mask, Draws(1, 1, shared=True).masks(1, (7, 3), 0.5, np.float32)[0])
