"""Products of bytes equal NumPy's of 64-bit integers, at every size of a tile and at both ends of every byte."""

import numpy as np
import pytest

from rnnx._kernels import (
    PackedBytes,
    activate,
    combined_bytes,
    looked_up,
    ranged_bytes,
    rounded_floats,
    rounded_sums,
)

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


def some_bytes(kind: str, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype("u1").view(kind)


@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize("terms", [0, 1, 5, 64, 513])
def test_bytes_with_a_sign_and_zeros_of_columns(terms: int, kind: str) -> None:
    for columns in (1, 16, 33, 100):
        right, zeros = some_bytes("i1", terms, columns), RNG.integers(-128, 256, columns).astype(np.int32)
        packed = PackedBytes(right, zeros)
        for shape in ((), (1,), (2,), (3,), (2, 25), (7, 7)):
            left = some_bytes(kind, *shape, terms)
            for zero in (int(some_bytes(kind)), some_bytes(kind, *shape).astype(np.int32)):
                found = packed.sums(left, zero)
                terms_of = left.astype(np.int64) - np.asarray(zero, np.int64)[..., None]
                np.testing.assert_array_equal(found, terms_of @ (right.astype(np.int64) - zeros))
                assert found.dtype == np.int32 and found.shape == (*shape, columns)


@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize(("rows", "terms", "columns"), [(1, 64, 32), (3, 31, 17), (13, 100, 40), (97, 5, 130)])
def test_sums_become_floats(rows: int, terms: int, columns: int, kind: str) -> None:
    left, right = some_bytes(kind, rows, terms), some_bytes("i1", terms, columns)
    zero, zeros = int(some_bytes(kind)), RNG.integers(-9, 9, columns).astype(np.int32)
    sums = (left.astype(np.int64) - zero) @ (right.astype(np.int64) - zeros)
    added = RNG.integers(-5000, 5000, columns).astype(np.int32)
    bias = RNG.normal(size=columns).astype(np.float32)
    packed = PackedBytes(right, zeros)
    for wide in (1, columns):
        scale = (RNG.random(wide) / 50).astype(np.float32)
        plain = sums.astype(np.float32) * scale  # two roundings, as in any other engine, and no fused one
        np.testing.assert_array_equal(packed.floats(left, zero, scale), plain)
        np.testing.assert_array_equal(packed.floats(left, zero, scale, bias), plain + bias)
        found = packed.floats(left, zero, scale, bias, added, "tanh")
        wanted = (sums + added).astype(np.float32) * scale + bias
        np.testing.assert_array_equal(found, activate("tanh", wanted))


@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize(("rows", "terms", "columns"), [(1, 64, 32), (2, 31, 17), (13, 100, 40), (97, 5, 130)])
def test_products_of_bytes_are_bytes(rows: int, terms: int, columns: int, kind: str) -> None:
    left, right = some_bytes(kind, rows, terms), some_bytes("i1", terms, columns)
    zero, shift, bounds = int(some_bytes(kind)), int(some_bytes(kind)), np.iinfo(kind)
    added = RNG.integers(-5000, 5000, columns).astype(np.int32)
    sums = (left.astype(np.int64) - zero) @ right.astype(np.int64) + added
    scale = np.float32(40 / np.abs(sums).max()) * (1 + RNG.random(columns)).astype(np.float32)
    packed, with_sign = PackedBytes(right), kind == "i1"
    found = packed.rounded(left, zero, scale, shift, with_sign, added)
    wanted = np.clip(np.rint(sums.astype(np.float32) * scale) + shift, bounds.min, bounds.max)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.dtype(kind)
    row, table = some_bytes(kind, columns), some_bytes(kind, 256)
    found = packed.rounded(left, zero, scale, shift, with_sign, added, (row, 0.75, 0.25, 3.0))
    exact = wanted * 0.75 + row * 0.25 + 3  # without an error in float32
    then = np.clip(np.rint(exact), bounds.min, bounds.max).astype(kind)
    np.testing.assert_array_equal(found, then)
    found = packed.rounded(left, zero, scale, shift, with_sign, added, (row, 0.75, 0.25, 3.0), table)
    np.testing.assert_array_equal(found, table[then.view("u1")])
    found = packed.rounded(left, zero, scale, shift, with_sign, added, None, table)
    np.testing.assert_array_equal(found, table[wanted.astype(kind).view("u1")])


@pytest.mark.parametrize("low", [-3.0, 0.5, -9.0])
@pytest.mark.parametrize("size", [1, 7, 63, 300])
def test_floats_become_bytes_by_their_range(size: int, low: float) -> None:
    x = RNG.uniform(low, low + 6, (3, size)).astype(np.float32)
    bounds = min(np.float32(0), x.min()), max(np.float32(0), x.max())
    scale = (bounds[1] - bounds[0]) / np.float32(255)
    zero = np.clip(np.rint(-bounds[0] / scale), 0, 255)
    wanted = np.clip(np.rint(x / scale) + zero, 0, 255)
    found, step, place = ranged_bytes(x)
    assert (step, place) == (scale, zero) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)
    right, by = some_bytes("i1", size, 20), RNG.random(20).astype(np.float32)
    for zeros in (None, RNG.integers(-9, 9, 20).astype(np.int32)):
        sums = (wanted - zero).astype(np.int64) @ (right.astype(np.int64) - (0 if zeros is None else zeros))
        found = PackedBytes(right, zeros).of_floats(x, by)
        np.testing.assert_array_equal(found, sums.astype(np.float32) * (scale * by))


@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_rows_that_overlap(kind: str) -> None:
    x, right = some_bytes(kind, 3, 200), some_bytes("i1", 24, 9)
    windows = np.lib.stride_tricks.sliding_window_view(x, 24, axis=1)[:, ::4]  # of shape (3, 45, 24)
    wanted = (windows.astype(np.int64) - 5) @ right.astype(np.int64)
    packed = PackedBytes(right)
    np.testing.assert_array_equal(packed.sums(windows, 5), wanted)
    np.testing.assert_array_equal(packed.sums(windows[::-1, ::-2], 5), wanted[::-1, ::-2])
    np.testing.assert_array_equal(packed.sums(windows[:, :0], 5), wanted[:, :0])


def test_ranges_that_are_none() -> None:
    assert ranged_bytes(np.zeros(5, np.float32))[1:] == (np.float32(1) / np.float32(255), 0)
    assert ranged_bytes(np.zeros((0, 3), np.float32))[0].shape == (0, 3)
    whole, _, zero = ranged_bytes(np.array([-np.inf, 1, np.nan, np.inf], np.float32))
    assert whole.shape == (4,) and 0 <= zero <= 255
    with pytest.raises(TypeError, match="ranged_bytes: `x` must be float32, got float64"):
        ranged_bytes(np.zeros(3))


@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_bytes_with_bytes(kind: str) -> None:
    with_sign, bounds = kind == "i1", np.iinfo(kind)
    every = np.arange(256, dtype="u1").view(kind)
    a, b = np.repeat(every, 256).reshape(256, 256), np.tile(every, 256).reshape(256, 256)
    found = combined_bytes(a, b, False, 0.75, 0.25, 3.5, 0, 0, 0, with_sign)
    exact = a.astype(float) * 0.75 + b.astype(float) * 0.25 + 3.5
    np.testing.assert_array_equal(found, np.clip(np.rint(exact), bounds.min, bounds.max))
    found = combined_bytes(a, b, True, 0.125, 0.0, 0.0, 3, 7, 11, with_sign)
    exact = (a.astype(float) - 3) * (b.astype(float) - 7) * 0.125
    # The sum with the zero point is what is rounded, as in ONNX Runtime: 12.5 + 11 to 24.
    np.testing.assert_array_equal(found, np.clip(np.rint(exact + 11), bounds.min, bounds.max))
    for shape in ((300,), (5, 300), ()):
        part = some_bytes(kind, *shape)
        whole = some_bytes(kind, 2, 5, 300)
        found = combined_bytes(whole, part, False, 1.0, 1.0, 0.0, 0, 0, 0, with_sign)
        wanted = np.clip(whole.astype(int) + part, bounds.min, bounds.max)
        np.testing.assert_array_equal(found, wanted)
    table = some_bytes("u1", 256)
    np.testing.assert_array_equal(looked_up(a, table), table[a.view("u1")])
    assert looked_up(a[::2, ::3], table.view("i1")).dtype == np.int8


def test_what_does_not_fit_is_said() -> None:
    packed = PackedBytes(np.ones((3, 2), np.int8))
    ones, left = np.ones(2, np.float32), np.ones((4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"A of shape \(4, 2\) does not fit B of \(3, 2\)"):
        packed.sums(left[:, :2])
    with pytest.raises(TypeError, match="expected bytes or float32, got float64"):
        packed.sums(left.astype(float))
    with pytest.raises(TypeError, match="expected bytes, got float32"):
        packed.floats(left.astype(np.float32), 0, ones)
    with pytest.raises(TypeError, match="expected float32, got uint8"):
        packed.of_floats(left, ones)
    for wrong in (np.ones(3, np.float32), ones.astype(float), np.ones((1, 2), np.float32)):
        with pytest.raises(TypeError, match="`scale` must have one number, or one for each of 2 columns"):
            packed.floats(left, 0, wrong)
        with pytest.raises(TypeError, match="`bias` must have one number, or one for each of 2 columns"):
            packed.of_floats(left.astype(np.float32), ones, wrong)
    with pytest.raises(TypeError, match="`table` must have 256 bytes of the type of the result"):
        packed.rounded(left, 0, ones, 0, False, None, None, np.zeros(255, np.uint8))
    with pytest.raises(TypeError, match="`then` must have 2 bytes of the type of the result"):
        packed.rounded(left, 0, ones, 0, False, None, (np.zeros(2, np.int8), 1.0, 1.0, 0.0))
    with pytest.raises(TypeError, match="combined_bytes: expected bytes of one type"):
        combined_bytes(left, left[:, :2], True, 1.0, 0.0, 0.0, 0, 0, 0, False)
    with pytest.raises(TypeError, match="looked_up: expected bytes and a table of 256 bytes"):
        looked_up(left, np.zeros(256, np.int16))
