"""The fingerprint of arrays, by which weights that were packed are known again."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx._kernels import fingerprint


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 127, 128, 129, 1000])
def test_every_bit_counts(count):
    rng = np.random.default_rng(count)
    words = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    seen = {fingerprint([words])}
    for k in range(count):
        for bit in range(0, 32, 5):
            words[k] ^= np.uint32(1 << bit)
            seen.add(fingerprint([words]))
            words[k] ^= np.uint32(1 << bit)
    assert len(seen) == 1 + 7 * count and fingerprint([words]) in seen


def test_order_and_length_count():
    rows = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    seen = {fingerprint([rows])}
    for a, b in ((0, 1), (0, 2), (3, 7), (0, 39)):  # 256 bytes apart, and multiples of them
        swapped = rows.copy()
        swapped[[a, b]] = swapped[[b, a]]
        seen.add(fingerprint([swapped]))
    for zeros in range(200):
        seen.add(fingerprint([np.zeros(zeros, np.uint8)]))
    assert len(seen) == 205
    assert fingerprint([rows[:20], rows[20:]]) != fingerprint([rows[20:], rows[:20]])


def test_numbers_count_and_not_how_an_array_lies_elsewhere():
    x = np.random.default_rng(0).normal(size=(30, 20))
    spread = np.zeros((60, 40))
    spread[::2, ::2] = x
    assert fingerprint([spread[::2, ::2]]) == fingerprint([x])
    across = np.asfortranarray(x)
    before = fingerprint([across])
    across[3, 4] += 1
    assert fingerprint([across]) != before
    square = x[:20]
    assert fingerprint([square]) != fingerprint([square.T])  # the same bytes
    assert fingerprint([]) == fingerprint([])
    with pytest.raises(TypeError):
        fingerprint([1.5])
