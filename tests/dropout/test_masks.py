"""Masks of recurrent layers: shapes, values, modes, generations of Keras, and that recurrent dropout is stable."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnx import dropout as noise
from rnnx import functional, reference
from rnnx.dropout import SeedGenerator, sample_masks
from rnnx.functional import GRUParams

B, T, F, U = 5, 6, 4, 3
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}


def draw(cell="lstm", seed=1, batch=B, timesteps=T, **options):
    source = seed if isinstance(seed, SeedGenerator) else SeedGenerator(seed)
    return sample_masks(cell, batch, timesteps, F, U, seed_generator=source, **options)


def uniform(seed, counter, shape):
    """The documented draw of Keras 3 on its NumPy backend."""
    return np.random.default_rng([seed, counter]).uniform(size=shape)


# ---- Masks of recurrent layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("stream", ["rnnx", "keras"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_are_small_and_scaled(dtype, stream, cell):
    masks = draw(cell, SeedGenerator(1, stream), dropout=0.3, recurrent_dropout=0.6, dtype=dtype)
    gates = GATES[cell]
    for mask, shape, rate in ((masks.inputs, (gates, B, 1, F), 0.3), (masks.recurrent, (gates, B, 1, U), 0.6)):
        assert mask.shape == shape and mask.dtype == dtype
        assert set(np.unique(mask)) == {dtype(0), dtype(1) / dtype(1 - rate)}
    assert masks.recurrent_mode == "state" and not masks.masked_blend
    assert masks.zoneout_hidden is None and masks.zoneout_cell is None


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
def test_share_of_dropped_numbers(stream):
    source = SeedGenerator(3, stream)
    masks = sample_masks("lstm", 50, 1, 400, 300, dropout=0.2, recurrent_dropout=0.7, seed_generator=source)
    for mask, rate in ((masks.inputs, 0.2), (masks.recurrent, 0.7)):
        assert abs((mask == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / mask.size)
        assert abs(mask.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / mask.size)
        gates = mask.reshape(4, -1)
        assert len(np.unique(gates, axis=0)) == 4
        assert abs(np.corrcoef(gates) - np.eye(4)).max() < 0.05


@pytest.mark.parametrize(
    "compat, cudnn_able, recurrent, inputs_shape, recurrent_gates, blend",
    [
        ("keras3", True, 0.0, (1, 1), None, False),
        ("keras3", True, 0.5, (3, 1), 3, False),
        ("keras3.2", True, 0.0, (1, 1), None, False),
        ("keras3.2", True, 0.5, (1, 1), 1, True),
        ("tf_keras2", True, 0.0, (1, T), None, False),
        ("tf_keras2", True, 0.5, (3, 1), 3, False),
        ("tf_keras2", False, 0.0, (1, 1), None, False),
        ("tf_keras2", False, 0.5, (3, 1), 3, False),
        ("tf_keras2.0", True, 0.0, (1, T), None, False),
        ("tf_keras2.0", True, 0.5, (1, 1), 1, True),
        ("tf_keras2.0", False, 0.0, (1, 1), None, False),
        ("keras2.3", True, 0.0, (1, 1), None, False),
        ("keras2.3", True, 0.5, (1, 1), 1, True),
        ("keras2.2", True, 0.0, (3, 1), None, False),
        ("keras2.2", True, 0.5, (3, 1), 3, False),
        ("keras1", True, 0.0, (3, 1), None, False),
        ("keras1", True, 0.5, (3, 1), 3, False),
    ],
)
def test_generations_of_keras(compat, cudnn_able, recurrent, inputs_shape, recurrent_gates, blend):
    masks = draw("gru", dropout=0.5, recurrent_dropout=recurrent, compat=compat, cudnn_able=cudnn_able)
    gates, timesteps = inputs_shape
    assert masks.inputs.shape == (gates, B, timesteps, F)
    assert (None if masks.recurrent is None else masks.recurrent.shape) == (
        None if recurrent_gates is None else (recurrent_gates, B, 1, U)
    )
    assert masks.masked_blend is blend
    simple = draw("simple_rnn", dropout=0.5, recurrent_dropout=recurrent, compat=compat, cudnn_able=cudnn_able)
    assert simple.inputs.shape == (1, B, 1, F) and not simple.masked_blend
    assert not draw("lstm", recurrent_dropout=0.5, compat=compat).masked_blend


@pytest.mark.parametrize("gates, count", [("shared", 1), ("per_gate", 4)])
@pytest.mark.parametrize("compat", noise.PROFILES)
def test_gates_asked_for_explicitly(compat, gates, count):
    masks = draw(dropout=0.5, recurrent_dropout=0.5, dropout_gates=gates, compat=compat)
    assert masks.inputs.shape == (count, B, 1, F) and masks.recurrent.shape == (count, B, 1, U)
    alone = draw(dropout=0.5, dropout_gates=gates, compat=compat).inputs
    assert alone.shape == (count, B, T if compat.startswith("tf_keras2") else 1, F)


def test_noise_shapes_of_recurrent_masks():
    masks = draw(
        "gru",
        dropout=0.5,
        recurrent_dropout=0.5,
        noise_shape=(None, None, 1),
        recurrent_noise_shape=(1, 1, None),
    )
    assert masks.inputs.shape == (3, B, T, 1) and masks.recurrent.shape == (3, 1, 1, U)
    masks = draw("gru", dropout=0.5, recurrent_dropout=0.5, noise_shape=(F,), recurrent_noise_shape=(T, 1))
    assert masks.inputs.shape == (3, 1, 1, F) and masks.recurrent.shape == (3, 1, T, 1)
    fresh = draw("gru", dropout=0.5, noise_shape=(None, None, None)).inputs
    assert fresh.shape == (1, B, T, F) and (fresh[:, :, 0] != fresh[:, :, 1]).any()
    given = draw("gru", dropout=0.5, noise_shape=(None, 1, None), compat="tf_keras2")
    assert given.inputs.shape == (1, B, 1, F)


@pytest.mark.parametrize("cell", GATES)
def test_recurrent_modes(cell):
    for mode, compat in itertools.product(("update", "cell"), ("keras3", "keras2.3")):
        masks = draw(cell, recurrent_dropout=0.5, recurrent_dropout_mode=mode, compat=compat)
        assert masks.recurrent.shape == (1, B, 1, U) and masks.recurrent_mode == mode
        assert not masks.masked_blend
    masks = draw(cell, recurrent_dropout=0.5, recurrent_dropout_mode="weights", dropout=0.5)
    assert masks.recurrent.shape == (U, GATES[cell] * U)
    assert set(np.unique(masks.recurrent)) == {0, 2}


def test_zoneout_is_drawn_in_training_and_expected_at_inference():
    source = SeedGenerator(3)
    training = sample_masks("lstm", 40, 30, F, 20, zoneout=(0.4, 0.1), seed_generator=source)
    for mask, rate in ((training.zoneout_cell, 0.4), (training.zoneout_hidden, 0.1)):
        assert mask.shape == (40, 30, 20) and set(np.unique(mask)) == {0, 1}
        assert abs(mask.mean() - rate) < 0.015
    state = source.state
    inference = draw(zoneout=(0.4, 0.1), dropout=0.5, training=False, seed=source, dtype=np.float64)
    np.testing.assert_array_equal(inference.zoneout_cell, np.full((1, 1, 1), 0.4))
    np.testing.assert_array_equal(inference.zoneout_hidden, np.full((1, 1, 1), 0.1))
    assert inference.inputs is None and source.state == state
    assert draw(zoneout=(0.4, 0), training=False).zoneout_hidden is None
    one = draw("gru", zoneout=0.2)
    assert one.zoneout_cell is None and one.zoneout_hidden.shape == (B, T, U)
    assert draw("gru", zoneout=(0, 0.2)).zoneout_hidden is not None
    both = draw("lstm", zoneout=0.2)
    assert both.zoneout_cell is not None and (both.zoneout_cell != both.zoneout_hidden).any()


def test_nothing_to_drop_draws_nothing():
    for stream in ("rnnx", "keras"):
        source = SeedGenerator(1, stream)
        assert draw(seed=source) is None and draw(seed=source, training=False) is None
        assert source.state == (1, 0)
    source = SeedGenerator(1)
    assert draw(seed=source, dropout=0.5, training=False) is None and source.state == (1, 0)


@pytest.mark.parametrize("batch, timesteps", [(0, 3), (3, 0), (1, 1)])
def test_empty_calls(batch, timesteps):
    masks = draw("gru", batch=batch, timesteps=timesteps, dropout=0.5, recurrent_dropout=0.5, zoneout=0.1)
    assert masks.inputs.shape == (3, batch, 1, F) and masks.zoneout_hidden.shape == (batch, timesteps, U)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"dropout": 1.0}, ValueError, r"GRU: `dropout` must lie in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, ValueError, "GRU: `dropout` must lie in"),
        ({"dropout": None}, TypeError, "GRU: `dropout` must be a number, got NoneType"),
        ({"dropout": True}, TypeError, "GRU: `dropout` must be a number, got bool"),
        ({"recurrent_dropout": 1}, ValueError, "GRU: `recurrent_dropout` must lie in"),
        ({"recurrent_dropout": float("nan")}, ValueError, "GRU: `recurrent_dropout` must lie in"),
        ({"zoneout": 1.0}, ValueError, "GRU: `zoneout` must lie in"),
        ({"zoneout": (0.1, 0.2)}, ValueError, r"0 for the cell, this layer has none; got \(0.1, 0.2\)"),
        ({"zoneout": (0, 0.1, 0.2)}, ValueError, r"a rate or a pair \(cell, hidden\), got 3 values"),
        ({"dropout": 0.5, "noise_shape": (None, 2, None)}, ValueError, "every entry of `noise_shape` must be None, 1"),
        ({"recurrent_dropout": 0.5, "recurrent_noise_shape": (1, 1, 9)}, ValueError, "every entry of `recurrent_n"),
        ({"dropout_gates": "tied"}, ValueError, "must be one of 'keras', 'shared', 'per_gate', got 'tied'"),
        ({"recurrent_dropout_mode": "gate"}, ValueError, "`recurrent_dropout_mode` must be one of 'state', "),
        ({"compat": "keras4"}, ValueError, "`compat` must be one of 'keras3', .*'keras1', got 'keras4'"),
    ],
)
def test_arguments_that_are_refused(options, error, message):
    source = SeedGenerator(1)
    with pytest.raises(error, match=message):
        draw("gru", source, **options)
    with pytest.raises(ValueError, match="`cell` must be one of 'lstm', 'gru', 'simple_rnn', got 'GRU'"):
        draw("GRU")


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(sorted(GATES)),
    sizes=st.tuples(*[st.integers(0, 4)] * 3, st.integers(1, 4)),
    rates=st.tuples(*[st.floats(0, 0.99)] * 2),
    kept_axes=st.tuples(*[st.booleans()] * 6),
    gates=st.sampled_from(noise.DROPOUT_GATES),
    mode=st.sampled_from(["state", "update", "cell"]),
    stream=st.sampled_from(["rnnx", "keras"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_masks_hold_two_values_and_broadcast(cell, sizes, rates, kept_axes, gates, mode, stream, seed):
    batch, timesteps, features, units = sizes
    shapes = [tuple(None if kept else 1 for kept in kept_axes[k : k + 3]) for k in (0, 3)]
    masks = sample_masks(
        cell,
        batch,
        timesteps,
        features,
        units,
        dropout=rates[0],
        recurrent_dropout=rates[1],
        noise_shape=shapes[0],
        recurrent_noise_shape=shapes[1],
        dropout_gates=gates,
        recurrent_dropout_mode=mode,
        seed_generator=SeedGenerator(seed, stream),
    )
    assert (masks is None) == (rates == (0, 0))
    for mask, rate, width in (
        () if masks is None else zip((masks.inputs, masks.recurrent), rates, (features, units), strict=True)
    ):
        assert (mask is None) == (rate == 0)
        if mask is not None:
            assert mask.ndim == 4 and mask.shape[0] in (1, GATES[cell])
            np.broadcast_to(mask, (GATES[cell], batch, timesteps, width))
            assert set(np.unique(mask)) <= {np.float32(0), np.float32(1) / np.float32(1 - rate)}


# ---- The stream of Keras -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", GATES)
def test_keras_stream_is_the_documented_formula(cell):
    """Input masks gate after gate, then recurrent masks; one generator of [seed, counter] each."""
    gates, source = GATES[cell], SeedGenerator(1234, "keras")
    for call in range(2):
        masks = draw(cell, source, dropout=0.2, recurrent_dropout=0.3)
        start = 2 * gates * call
        for g in range(gates):
            kept = np.float32(1) / np.float32(0.8)
            expected = np.where(uniform(1234, start + g, (B, F)) < 1 - 0.2, kept, np.float32(0))
            np.testing.assert_array_equal(masks.inputs[g, :, 0], expected)
            kept = np.float32(1) / np.float32(0.7)
            expected = np.where(uniform(1234, start + gates + g, (B, U)) < 1 - 0.3, kept, np.float32(0))
            np.testing.assert_array_equal(masks.recurrent[g, :, 0], expected)
    assert source.state == (1234, 4 * gates)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "cell, rates, count",
    [
        ("lstm", (0.2, 0.0), 1),
        ("lstm", (0.0, 0.2), 4),
        ("lstm", (0.2, 0.2), 8),
        ("gru", (0.2, 0.2), 6),
        ("simple_rnn", (0.2, 0.2), 2),
        ("gru", (0.0, 0.0), 0),
    ],
)
def test_keras_stream_counts_at_inference_too(cell, rates, count, training):
    source = SeedGenerator(1, "keras")
    draw(cell, source, dropout=rates[0], recurrent_dropout=rates[1], training=training)
    assert source.state == (1, count)


# ---- Stability ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("core", [functional.gru, reference.gru], ids=["functional", "reference"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_that_remembers_does_not_grow(reset_after, core):
    """With z near 1 the state stays as it is for 1000 steps; the masked blend of old Keras doubles it at every step."""
    rng = np.random.default_rng(0)
    bias = np.zeros((2, 3 * U))
    bias[0, :U] = 30.0
    recurrent_kernel = rng.normal(size=(U, 3 * U))
    recurrent_kernel[:, :U] = 0
    kernel = rng.normal(size=(F, 3 * U))
    params = GRUParams(kernel, recurrent_kernel, bias if reset_after else bias[0], reset_after=reset_after)
    h0, x = rng.normal(size=(B, U)), rng.normal(size=(B, 1000, F))
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "dtype": np.float64}
    masks = draw("gru", timesteps=1000, **options)
    outputs = core.forward(params, x * 0.1, initial_state=h0, masks=masks).outputs
    np.testing.assert_allclose(outputs, np.broadcast_to(h0[:, None], outputs.shape), rtol=0, atol=1e-6)

    old = draw("gru", timesteps=20, compat="keras2.3", **options)
    outputs = core.forward(params, x[:, :20] * 0.1, initial_state=h0, masks=old).outputs
    kept = old.recurrent[0, :, 0] > 0
    np.testing.assert_allclose(outputs[:, -1][kept], (2.0**20 * h0)[kept], rtol=1e-6)
    assert kept.any() and np.abs(outputs[:, -1][~kept]).max() < 1e-6
