"""Products of bytes equal NumPy's of 64-bit integers, at every size of a tile and at both ends of every byte."""

import numpy as np
import pytest

from rnnx._kernels import PackedBytes, rounded_floats, rounded_sums

RNG = np.random.default_rng(91)


@pytest.mark.parametrize("columns", [1, 15, 17, 33, 100])
@pytest.mark.parametrize("terms", [0, 1, 3, 5, 64, 511, 512, 513, 1300])
def test_sums_are_exact(terms: int, columns: int) -> None:
    right = RNG.integers(-128, 128, (terms, columns)).astype(np.int8)
    right[:, 0] = -128
    packed = PackedBytes(right)
    for rows in (0, 1, 2, 3, 5, 13, 48, 49, 100):
        left = RNG.integers(0, 256, (rows, terms)).astype(np.uint8)
        zeros = RNG.integers(0, 256, rows)
        left[:1], zeros[:1] = 255, 0
        for zero in (0, 77, 255, zeros):
            found = packed.apply(left, zero)
            wanted = (left.astype(np.int64) - np.reshape(zero, (-1, 1))) @ right.astype(np.int64)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, wanted)


def test_sums_beyond_32_bits_go_round_as_in_other_engines() -> None:
    terms = 70_000
    found = PackedBytes(np.full((terms, 2), -128, np.int8)).apply(np.full((1, terms), 255, np.uint8))
    np.testing.assert_array_equal(found, np.full((1, 2), -128 * 255 * terms + 2**32))


def test_arrays_that_lie_in_other_ways() -> None:
    right, left = RNG.integers(-128, 128, (9, 40)).astype(np.int8), RNG.integers(0, 256, (9, 12)).astype(np.uint8)
    wanted = left.T.astype(int)[::2] @ right.astype(int)[:, ::3]
    np.testing.assert_array_equal(PackedBytes(right[:, ::3]).apply(left.T[::2]), wanted)


def test_other_arrays_are_refused() -> None:
    packed = PackedBytes(np.ones((3, 2), np.int8))
    with pytest.raises(TypeError, match=r"`right` must be int8 with two axes, got uint8 with 2"):
        PackedBytes(np.ones((3, 2), np.uint8))
    for left in (np.ones((2, 3), np.int8), np.ones((2, 4), np.uint8), np.ones(3, np.uint8)):
        with pytest.raises(TypeError, match=r"`left` must be uint8 of shape \(n, 3\)"):
            packed.apply(left)
    with pytest.raises(TypeError, match="rounded_sums: expected int32 sums"):
        rounded_sums(np.ones((2, 3), np.int32), np.ones(2, np.float32), 0, False)


@pytest.mark.parametrize("with_sign", [False, True])
@pytest.mark.parametrize("wide", [1, 37])
def test_sums_become_the_nearest_bytes(wide: int, with_sign: bool) -> None:
    low = -128 if with_sign else 0
    sums = RNG.integers(-3000, 3000, (5, 37)).astype(np.int32)
    sums[0, :4] = 2**31 - 1, -(2**31), 1, 3  # far beyond, and halfway
    for zero in (low, low + 101, low + 255):
        scale = np.full(wide, 0.5, np.float32) if wide == 1 else RNG.random(wide).astype(np.float32)
        found = rounded_sums(sums, scale, zero, with_sign)
        wanted = np.clip(np.rint(sums.astype(np.float32) * scale).astype(np.int64) + zero, low, low + 255)
        assert found.dtype == (np.int8 if with_sign else np.uint8)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("with_sign", [False, True])
def test_numbers_become_the_nearest_bytes(with_sign: bool) -> None:
    low = -128 if with_sign else 0
    x = RNG.normal(size=(3, 5, 37), scale=40).astype(np.float32)
    x[0, 0, :7] = np.inf, -np.inf, 0.25, 0.75, -0.25, 1e30, 0
    for zero in (low, low + 101, low + 255):
        for scale in (0.5, 0.037):
            found = rounded_floats(x[:, ::-1], scale, zero, with_sign)
            wanted = np.clip(np.rint(x[:, ::-1] / np.float32(scale)) + np.float32(zero), low, low + 255)
            assert found.dtype == (np.int8 if with_sign else np.uint8)
            np.testing.assert_array_equal(found, wanted)
    assert rounded_floats(np.array(np.nan, np.float32), 1.0, low + 9, with_sign) == low
    with pytest.raises(TypeError, match="rounded_floats: `x` must be float32, got float64"):
        rounded_floats(x.astype(np.float64), 1.0, 0, with_sign)
