"""The noise of some rows of a batch is that of the whole batch for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx.dropout import SeedGenerator
from rnnx.dropout.rows import NoiseOfRows

DRAWS = {
    "keep": (lambda d, n: d.keep((n, 3), 0.4), 0),
    "steps": (lambda d, n: d.keep((n * 5, 3), 0.4), 0),
    "uniform": (lambda d, n: d.uniform((n, 1, 2)), 0),
    "normal": (lambda d, n: d.normal((n, 3), 1.0, 0.5), 0),
    "masks": (lambda d, n: d.masks(4, (n, 1, 3), 0.4, np.float32), 1),
    "wide masks": (lambda d, n: d.masks(4, (n, 1, 3), 0.4, np.float64), 1),
    "shared": (lambda d, n: d.masks(3, (1, 1, 4), 0.4, np.float32, shared=True), None),
    "rounding": (lambda d, n: d.rounding(3, np.array([1.0, 0.5, 0.0], np.float32)), None),
    "weights": (lambda d, n: d.of_weights((3, 4), 0.4, np.float32), None),
}


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
@pytest.mark.parametrize("kind", DRAWS)
def test_parts_of_a_batch_draw_what_the_batch_draws(kind: str, stream: Any) -> None:
    draw, axis = DRAWS[kind]
    source = SeedGenerator(3, stream)
    calls = [source.begin(9) for _ in range(2)]
    whole = [[draw(call, 7) for _ in range(2)] for call in calls]
    for first, last in ((0, 2), (2, 3), (3, 7)):
        again = SeedGenerator(3, stream)
        with NoiseOfRows(7, first, last).drawn():
            calls = [again.begin(9) for _ in range(2)]
            part = [[draw(call, last - first) for _ in range(2)] for call in calls]
        assert again.state == source.state
        for own, others in zip(part, whole, strict=True):
            for got, of_all in zip(own, others, strict=True):
                size = 0 if axis is None else of_all.shape[axis] // 7
                rows = slice(first * size, last * size)
                want = of_all if axis is None else of_all[(slice(None),) * axis + (rows,)]
                np.testing.assert_array_equal(got, want)


def test_noise_that_has_no_rows_is_refused() -> None:
    with NoiseOfRows(6, 0, 4).drawn(), pytest.raises(ValueError, match="cannot be drawn for 4 of the 6 rows"):
        SeedGenerator(3).begin().keep((3, 2), 0.5)
