"""Seeds, noise shapes, and the dropout of single numbers. Masks of recurrent layers: `test_masks`."""

import copy
import pickle
import random
import threading

import numpy as np
import pytest

from rnnx import dropout as noise
from rnnx._changes import Changes
from rnnx.dropout import ALPHA_PRIME, Draws, SeedGenerator, sample_masks

B, T, F, U = 5, 6, 4, 3
SHAPE = (B, T, F)


def draw(source, **options):
    return sample_masks("lstm", B, T, F, U, seed_generator=source, **options)


def ones(shape=SHAPE, rate=0.5, noise_shape=None, seed=3):
    return noise.dropout(np.ones(shape), rate, SeedGenerator(seed).begin(), noise_shape)


# ---- The noise shape of Dropout ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise_shape, varies",
    [
        (None, (True, True, True)),
        ((None, None, None), (True, True, True)),
        ((None, 1, None), (True, False, True)),  # spatial dropout: one pattern for all steps
        ((None, None, 1), (True, True, False)),  # whole steps
        ((1, 1, None), (False, False, True)),  # the same features in all rows
        ((None, 1, 1), (True, False, False)),  # whole sequences
        ((1, 1, 1), (False, False, False)),
        ((B, T, F), (True, True, True)),
        ((B, 1, F), (True, False, True)),
        ((F,), (False, False, True)),  # shorter: aligned to the right
        ((T, 1), (False, True, False)),
        ((None, 1), (False, True, False)),
        ((True, True, None), (False, False, True)),  # a bool counts as 1, as in Keras
        ([None, 1, None], (True, False, True)),
        ((), (False, False, False)),
    ],
    ids=str,
)
def test_along_which_axes_the_pattern_varies(noise_shape, varies):
    y, keep = ones(noise_shape=noise_shape)
    assert y.shape == SHAPE
    np.testing.assert_array_equal(y, np.broadcast_to(keep, SHAPE) * 2.0)
    assert tuple(bool((y != y.take([0], axis)).any()) for axis in range(3)) == varies


@pytest.mark.parametrize(
    "noise_shape, message",
    [
        ("abc", "must be a tuple of integers and None, got 'abc'"),
        (5, "must be a tuple of integers and None, got 5"),
        ((None, 0, None), "must be None or a Python int greater than 0, got 0"),
        ((None, -1, None), "greater than 0, got -1"),
        ((None, 1.0, None), "greater than 0, got 1.0"),
        ((None, "1", None), "greater than 0, got '1'"),
        ((None, np.int64(1), None), "greater than 0, got "),
        ((B, 2, F), "None, 1 or the size of the input there, got"),
        ((B + 3, 1, F), "None fits any size, also a smaller last batch"),
        ((2, B, T, F), "at most 3 entries for an input of shape"),
    ],
    ids=str,
)
def test_noise_shapes_that_are_refused(noise_shape, message):
    with pytest.raises(ValueError, match="Dropout: .*`noise_shape`") as error:
        ones(noise_shape=noise_shape)
    assert message in str(error.value)


def test_a_fixed_batch_does_not_fit_the_last_smaller_one():
    with pytest.raises(ValueError, match="None fits any size, also a smaller last batch"):
        ones((B - 1, T, F), noise_shape=(B, 1, F))
    assert ones((B - 1, T, F), noise_shape=(None, 1, F))[0].shape == (B - 1, T, F)


def test_a_size_of_one_is_not_enlarged():
    with pytest.raises(ValueError, match="None, 1 or the size"):
        ones((1, T, F), noise_shape=(4, 1, F))


# ---- The element-wise family -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_divides_what_it_keeps(dtype):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 40, 30)).astype(dtype)
    y, keep = noise.dropout(x, 0.3, SeedGenerator(1).begin(), (None, 1))
    assert y.dtype == dtype and keep.dtype == bool and keep.shape == (40, 1)
    np.testing.assert_array_equal(y, np.where(keep, x / dtype(0.7), 0))
    dx = noise.dropout_backward(dy, keep, 0.3)
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, np.where(keep, dy / dtype(0.7), 0))


def test_dropout_of_nothing_and_of_everything():
    x = np.array([1.0, np.nan, np.inf], np.float32)
    source = SeedGenerator(1)
    np.testing.assert_array_equal(noise.dropout(x, 0.0, source.begin())[0], x)
    y, keep = noise.dropout(x, 1, source.begin())
    np.testing.assert_array_equal(y, np.zeros(3))
    np.testing.assert_array_equal(noise.dropout_backward(x, keep, 1.0), np.zeros(3))
    y, keep = noise.dropout(np.full(99, np.nan), 0.5, source.begin())
    np.testing.assert_array_equal(np.isnan(y), keep)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_mean(rate):
    y, keep = ones((200, 500), rate)
    deviation = np.sqrt(rate / (1 - rate) / y.size)
    assert abs(y.mean() - 1) < 5 * deviation
    assert abs(keep.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / y.size)


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_gaussian_dropout_moments(rate, stream):
    x = np.full((300, 300), 2.0)
    y, factor = noise.gaussian_dropout(x, rate, SeedGenerator(2, stream).begin())
    variance = rate / (1 - rate)
    assert abs(factor.mean() - 1) < 5 * np.sqrt(variance / x.size)
    assert factor.var() == pytest.approx(variance, rel=0.03)
    np.testing.assert_array_equal(y, 2 * factor)
    np.testing.assert_array_equal(noise.gaussian_dropout_backward(y, factor), y * factor)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_alpha_dropout_keeps_mean_and_variance(rate):
    x = np.random.default_rng(0).normal(size=(300, 300))
    y, slope = noise.alpha_dropout(x, rate, SeedGenerator(2).begin())
    assert y.mean() == pytest.approx(0, abs=0.02)
    assert y.var() == pytest.approx(1, rel=0.03)
    dropped = slope == 0
    assert dropped.mean() == pytest.approx(rate, abs=0.01)
    scale = slope.max()
    assert np.ptp(y[dropped]) == 0
    np.testing.assert_allclose(y[~dropped] - y[dropped][0], scale * (x[~dropped] - ALPHA_PRIME), rtol=1e-12)
    np.testing.assert_array_equal(noise.alpha_dropout_backward(x, slope), x * slope)
    shared, slope = noise.alpha_dropout(x, rate, SeedGenerator(2).begin(), (1, None))
    assert slope.shape == (1, 300) and shared.shape == x.shape


@pytest.mark.parametrize("function", [noise.dropout, noise.gaussian_dropout, noise.alpha_dropout])
def test_bad_input_of_the_elementwise_functions(function):
    draws = SeedGenerator(1).begin()
    with pytest.raises(TypeError, match="array of floats, got int64; use x.astype"):
        function(np.ones(3, np.int64), 0.5, draws)
    for rate in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="`rate` must lie in"):
            function(np.ones(3), rate, draws)
    if function is not noise.dropout:
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1"):
            function(np.ones(3), 1, draws)
    with pytest.raises(TypeError, match="`rate` must be a number, got str"):
        function(np.ones(3), "0.5", draws)


def test_keras_stream_of_the_elementwise_family():
    """Keras 3 on NumPy: every draw has a generator of its own from [seed, counter]."""

    def uniform(counter, shape):
        return np.random.default_rng([77, counter]).uniform(size=shape)

    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    source = SeedGenerator(77, "keras")
    y, _ = noise.dropout(x, 0.3, source.begin(), (None, 1, None))
    np.testing.assert_array_equal(y, np.where(uniform(0, (B, 1, F)) < 1 - 0.3, x / np.float32(0.7), 0))
    y, _ = noise.gaussian_dropout(x, 0.3, source.begin())
    normal = np.random.default_rng([77, 1]).normal(size=SHAPE, loc=1.0, scale=np.sqrt(0.3 / (1 - 0.3)))
    np.testing.assert_array_equal(y, x * normal.astype(np.float32))
    y, slope = noise.alpha_dropout(x, 0.3, source.begin())
    drawn = uniform(2, SHAPE)
    np.testing.assert_array_equal(slope > 0, drawn >= 0.3)
    assert source.state == (77, 3)

    rounded_up = drawn[drawn.astype(np.float32) > drawn][0]  # Keras compares what it rounded to float32
    rate = float(np.float32(rounded_up))
    _, slope = noise.alpha_dropout(x, rate, Draws(77, 2, shared=False))
    assert slope[drawn == rounded_up] > 0 and rounded_up < rate


# ---- Seeds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
def test_masks_depend_on_seed_and_call_number_only(stream):
    options = {"dropout": 0.5, "recurrent_dropout": 0.3, "zoneout": 0.1}

    def calls(seed):
        source = SeedGenerator(seed, stream)
        return [draw(source, **options) for _ in range(3)]

    first, again, other = calls(5), calls(5), calls(6)
    for name in ("inputs", "recurrent", "zoneout_hidden", "zoneout_cell"):
        values = [getattr(masks, name) for masks in first]
        np.testing.assert_array_equal(values, [getattr(masks, name) for masks in again])
        assert (values[0] != values[1]).any() and (values[1] != values[2]).any()
        assert (values[0] != getattr(other[0], name)).any()
    np.random.default_rng(0).random(10)  # noise of others changes nothing
    random.seed(1)
    np.testing.assert_array_equal(calls(5)[2].inputs, first[2].inputs)


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
def test_the_state_continues_where_it_was_saved(stream):
    source = SeedGenerator(5, stream)
    draw(source, dropout=0.5)
    state = source.state
    expected = [draw(source, dropout=0.5).inputs for _ in range(2)]
    fresh = SeedGenerator(99, stream)
    fresh.state = state
    copies = [fresh, copy.deepcopy(fresh), pickle.loads(pickle.dumps(fresh))]
    for other in copies:
        assert other.state == state and other.stream == stream
        np.testing.assert_array_equal([draw(other, dropout=0.5).inputs for _ in range(2)], expected)
    fresh.state = np.array([7, 3])
    assert fresh.state == (7, 3) and all(type(number) is int for number in fresh.state)
    with pytest.raises(ValueError, match="neither negative"):
        fresh.state = (7, -1)


def test_without_a_seed_python_random_chooses():
    random.seed(12)
    first = [SeedGenerator().seed, SeedGenerator.of(None).seed]
    random.seed(12)
    assert [SeedGenerator().seed, SeedGenerator().seed] == first and first[0] != first[1]
    source = SeedGenerator(4)
    assert SeedGenerator.of(source) is source and SeedGenerator.of(4).seed == 4
    assert SeedGenerator(np.int32(4)).state == (4, 0)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((-1,), ValueError, r"`seed` must lie in 0..2\*\*32-1, got -1"),
        ((2**32,), ValueError, "`seed` must lie in"),
        ((1.5,), TypeError, "`seed` must be an integer or None, got float"),
        ((True,), TypeError, "got bool"),
        (("a",), TypeError, "got str"),
        ((1, "torch"), ValueError, "`stream` must be 'rnnx' or 'keras', got 'torch'"),
    ],
)
def test_seeds_that_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        SeedGenerator(*arguments)


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
def test_calls_from_many_threads_get_each_number_once(stream):
    """Threads may take the calls in any order, but the set of masks is that of as many calls in a row."""
    count = 12
    options = {"dropout": 0.5, "recurrent_dropout": 0.5}

    def key(masks):
        return masks.inputs.tobytes() + masks.recurrent.tobytes()

    alone, shared, found = SeedGenerator(8, stream), SeedGenerator(8, stream), []
    expected = {key(draw(alone, **options)) for _ in range(4 * count)}
    threads = [
        threading.Thread(target=lambda: found.extend(key(draw(shared, **options)) for _ in range(count)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == expected and shared.state == alone.state


def test_calls_at_the_same_time_draw_apart_and_failed_ones_give_back() -> None:
    source = SeedGenerator(5)
    with Changes():
        assert source.advance(2) == 0 and source.advance(1) == 2
        assert source.state == (5, 0)  # not yet
        other: list[int] = []
        thread = threading.Thread(target=lambda: other.append(source.advance(1)))  # a call of its own
        thread.start()
        thread.join()
        assert other == [3]
    assert source.state == (5, 4)
    with pytest.raises(KeyError), Changes():
        assert source.advance(3) == 4
        raise KeyError
    assert source.state == (5, 4) and source.advance(1) == 4
    with Changes(kept=False):
        assert source.advance(1) == 5
    assert source.state == (5, 5)
