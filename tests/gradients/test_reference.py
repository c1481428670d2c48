"""The gradients of the reference are the slopes of its forward pass, for every argument and every option.

A central difference along a random direction of an array feels every entry of it: an error in any one of them shows.
"""

from dataclasses import replace

import numpy as np
import pytest

from rnnx import activations
from rnnx.dropout import DropoutMasks
from tests.oracle import cases

STEP = 1e-6
WEIGHTS = ("kernel", "recurrent_kernel", "bias", "peepholes")
BATCH, TIMESTEPS, FEATURES, UNITS = 4, 3, 2, 3


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def named(x, state, params):
    """Every array a gradient is asked for, by name; the same names for their gradients."""
    arrays = {"x": x, **{f"state{k}": part for k, part in enumerate(parts(state))}}
    return arrays | {name: getattr(params, name) for name in WEIGHTS if getattr(params, name, None) is not None}


def check(cell, *, shape=(BATCH, TIMESTEPS), masks=None, bias=True, activation=(), valid="none", **call):
    """All gradients of one problem: of a random sum of the outputs and the final states."""
    batch, timesteps = shape
    rng = np.random.default_rng([batch, timesteps, len(valid)])
    forward, backward = cases.SLOW[cell].forward, cases.SLOW[cell].backward
    params = cases.make_params(cell, FEATURES, UNITS, np.float64, rng, bias=bias, **dict(activation))
    x = rng.normal(size=(batch, timesteps, FEATURES))
    state = cases.make_state(cell, batch, UNITS, np.float64, rng)
    if isinstance(masks, str):
        masks = cases.make_masks(masks, cell, batch, timesteps, FEATURES, UNITS, np.float64, rng)
    elif callable(masks):
        masks = masks(rng)
    call = {**call, "masks": masks, **cases.make_valid(valid, batch, timesteps, rng)}

    run = forward(params, x, initial_state=state, training=True, **call)
    doutputs = rng.normal(size=run.outputs.shape)
    dstate = cases.make_state(cell, batch, UNITS, np.float64, rng)
    grads = backward(run.cache, doutputs, dstate)
    gradients = named(grads.dx, grads.dinitial_state, grads.dparams)

    def loss(arrays):
        moved = replace(params, **{name: arrays[name] for name in WEIGHTS if name in arrays})
        given = tuple(arrays[f"state{k}"] for k in range(len(parts(state))))
        end = forward(moved, arrays["x"], initial_state=given if len(given) > 1 else given[0], **call)
        ends = zip((end.outputs, *parts(end.state)), (doutputs, *parts(dstate)), strict=True)
        return sum(float((value * weight).sum()) for value, weight in ends)

    arrays = named(x, state, params)
    assert gradients.keys() == arrays.keys()
    for name, value in arrays.items():
        direction = rng.normal(size=value.shape)
        above, below = (loss({**arrays, name: value + sign * STEP * direction}) for sign in (1, -1))
        slope = (above - below) / (2 * STEP)
        scale = max(1.0, float(np.abs(gradients[name]).max(initial=0)))
        assert gradients[name].shape == value.shape
        assert abs(float((gradients[name] * direction).sum()) - slope) < 2e-7 * scale, name


@pytest.mark.parametrize("shape", [(4, 1), (4, 2), (3, 5), (1, 5)], ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_extents(cell, shape):
    check(cell, shape=shape)
    check(cell, shape=shape, bias=False)


@pytest.mark.parametrize("masks", ["none", "state_per_gate", "weights", "weights_and_noise", "everything"])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_blocks(cell, masks):
    """Each of the units alone; the shape of a mask on the weights is theirs."""

    def draw(rng):
        return cases.make_masks(masks, cell, BATCH, TIMESTEPS, FEATURES, UNITS, np.float64, rng, UNITS)

    check(cell, masks=draw, activation={"recurrent_blocks": UNITS})
    check(cell, masks=draw, activation={"recurrent_blocks": UNITS}, valid="gaps", go_backwards=True)


@pytest.mark.parametrize("masks", cases.MASK_KINDS)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_dropout(cell, masks):
    check(cell, masks=masks)
    check(cell, masks=masks, valid="gaps", go_backwards=True)
    check(cell, masks=masks, valid="lengths", return_sequences=False)


@pytest.mark.parametrize("mode", ["state", "update", "cell"])
@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_masks_of_every_step_and_gate_together(cell, blend, mode):
    rng = np.random.default_rng(3)
    gates = cases.GATES[cell]
    zoneout = rng.random((2, 1, TIMESTEPS, UNITS))
    masks = DropoutMasks(
        inputs=cases.keep_mask((gates, BATCH, TIMESTEPS, FEATURES), np.float64, rng),
        recurrent=cases.keep_mask((gates if mode == "state" else 1, BATCH, TIMESTEPS, UNITS), np.float64, rng),
        recurrent_mode=mode,
        zoneout_hidden=zoneout[0],
        zoneout_cell=zoneout[1] if cell == "lstm" else None,
        masked_blend=blend,
    )
    check(cell, masks=masks)
    check(cell, masks=masks, valid="gaps", go_backwards=True, zero_output_for_mask=True)


@pytest.mark.parametrize("valid", ["none", "lengths", "left", "gaps"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_padding(cell, backwards, sequences, zero, valid):
    """Rows of all lengths; with gaps, an empty one is always among them."""
    options = {"return_sequences": sequences, "zero_output_for_mask": zero, "go_backwards": backwards}
    check(cell, shape=(5, 4), valid=valid, **options)


@pytest.mark.parametrize("valid", ["none", "lengths", "left", "gaps"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_sequences_that_begin_inside(cell, backwards, sequences, zero, valid):
    reset = np.array([[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    options = {"return_sequences": sequences, "zero_output_for_mask": zero, "go_backwards": backwards}
    check(cell, shape=(5, 4), valid=valid, reset=reset, **options)


FUNCTIONS_ALONE = ("Activation", "get", "glu", "threshold")  # of the module, and no names of activations


@pytest.mark.parametrize("name", [name for name in dir(activations) if name not in FUNCTIONS_ALONE])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_activations(cell, name):
    shape = (BATCH, 1 if name == "exponential" else TIMESTEPS)  # a tower of exponentials has no finite differences
    check(cell, shape=shape, activation={"activation": name})
    if cell != "simple_rnn":
        check(cell, shape=shape, activation={"recurrent_activation": name})


@pytest.mark.parametrize("cell, options", cases.OPTIONS, ids=str)
def test_clipped_peephole_and_coupled_cells(cell, options):
    check(cell, activation=options)
    check(cell, activation=options, masks="everything", valid="gaps", go_backwards=True)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_an_activation_of_the_user(cell):
    def cubic(a):
        return 0.1 * a**3

    cubic.vjp = lambda a, y, dy: 0.3 * a**2 * dy
    check(cell, activation={"activation": cubic}, masks="state_per_gate")


@pytest.mark.parametrize("cell", cases.CELLS)
def test_what_is_not_needed_is_not_returned(cell):
    rng = np.random.default_rng(0)
    params = cases.make_params(cell, FEATURES, UNITS, np.float64, rng)
    run = cases.SLOW[cell].forward(params, rng.normal(size=(2, 3, FEATURES)), training=True)
    doutputs = rng.normal(size=run.outputs.shape)
    backward = cases.SLOW[cell].backward
    none = backward(run.cache, doutputs, need_dx=False, need_dparams=False)
    assert none.dx is None and none.dparams is None
    whole = backward(run.cache, doutputs)
    np.testing.assert_array_equal(parts(none.dinitial_state), parts(whole.dinitial_state))
    zero = backward(run.cache, None)
    assert not zero.dx.any() and not zero.dparams.kernel.any()
