"""The reference beside its gradients (`tests/gradients`): padding, extents, masks, dtypes, and what it refuses."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from rnnx import functional, reference
from rnnx.dropout import DropoutMasks
from tests.oracle import cases

CELLS = cases.CELLS
B, T, F, U = 5, 6, 2, 3


def problem(cell, seed=0, batch=B, timesteps=T, dtype=np.float64):
    """Weights, inputs and an initial state."""
    rng = np.random.default_rng(seed)
    params = cases.make_params(cell, F, U, dtype, rng)
    x = rng.normal(size=(batch, timesteps, F)).astype(dtype)
    return params, x, cases.make_state(cell, batch, U, dtype, rng)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def rows(state, which):
    return tuple(part[which] for part in state) if isinstance(state, tuple) else state[which]


def same(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn"])
def test_signatures_are_those_of_the_functional_core(name):
    for function in ("forward", "backward"):
        fast, slow = (getattr(getattr(core, name), function) for core in (functional, reference))
        own = ("packed", "recompute", "table")  # how the engine works, not what it computes
        wanted = [(p.name, p.kind, p.default) for p in inspect.signature(fast).parameters.values() if p.name not in own]
        assert [(p.name, p.kind, p.default) for p in inspect.signature(slow).parameters.values()] == wanted


@pytest.mark.parametrize("core", [reference.lstm, functional.lstm], ids=["reference", "gelu on the engine's path"])
def test_a_call_without_a_state(core):
    rng = np.random.default_rng(4)
    params = functional.LSTMParams(*(rng.normal(size=shape) for shape in ((3, 16), (4, 16), 16)), activation="gelu")
    x = rng.normal(size=(2, 5, 3))
    run, whole = core.forward(params, x, return_state=False), core.forward(params, x)
    assert run.state is None and len(whole.state) == 2
    same(run.outputs, whole.outputs)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_computed_in_float64(cell):
    params, x, state = problem(cell, dtype=np.float32)
    run = cases.SLOW[cell].forward(params, x, initial_state=state, training=True)
    exact = cases.SLOW[cell].forward(*map(cases.to_float64, (params, x)), initial_state=cases.to_float64(state))
    assert run.outputs.dtype == np.float64
    np.testing.assert_array_equal(run.outputs, exact.outputs)
    grads = cases.SLOW[cell].backward(run.cache, run.outputs.astype(np.float32))
    assert grads.dx.dtype == grads.dparams.bias.dtype == np.float64


@pytest.mark.parametrize("kind", ["lengths", "left", "gaps"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_padded_row_is_the_row_of_its_valid_steps(cell, zero, backwards, kind):
    params, x, state = problem(cell)
    rng = np.random.default_rng(1)
    masks = cases.make_masks("everything", cell, B, T, F, U, np.float64, rng)
    valid = cases.make_valid(kind, B, T, rng)
    options = {"go_backwards": backwards, "zero_output_for_mask": zero}
    forward = cases.SLOW[cell].forward
    run = forward(params, x, initial_state=state, masks=masks, **valid, **options)
    last = forward(params, x, initial_state=state, masks=masks, return_sequences=False, **valid, **options)
    same(last.outputs, run.outputs[:, -1])
    used = valid.get("mask", np.arange(T) < valid.get("lengths", np.zeros(B))[:, None])
    for row in range(B):
        steps = np.flatnonzero(used[row])
        alone = forward(
            params,
            x[row : row + 1, steps],
            initial_state=rows(state, slice(row, row + 1)),
            masks=DropoutMasks(
                inputs=masks.inputs[:, row : row + 1, steps],
                recurrent=masks.recurrent[:, row : row + 1],
                zoneout_hidden=masks.zoneout_hidden[row : row + 1],
                zoneout_cell=None if masks.zoneout_cell is None else masks.zoneout_cell[:, steps],
            ),
            go_backwards=backwards,
        )
        for got, expected in zip(parts(run.state), parts(alone.state), strict=True):
            same(got[row], expected[0])
        expected, steps_done = np.zeros((T, U)), 0
        for position in range(T):
            is_used = used[row, T - 1 - position if backwards else position]
            steps_done += is_used
            if steps_done and (is_used or not zero):
                expected[position] = alone.outputs[0, steps_done - 1]
        same(run.outputs[row], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_are_a_mask(cell):
    params, x, _ = problem(cell)
    lengths = np.array([6, 0, 3, 1, 5])
    forward = cases.SLOW[cell].forward
    by_mask = forward(params, x, mask=np.arange(T) < lengths[:, None])
    np.testing.assert_array_equal(forward(params, x, lengths=lengths).outputs, by_mask.outputs)


@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_what_stands_in_the_padding_does_not_matter(cell, zero, padding):
    params, x, state = problem(cell)
    mask = np.random.default_rng(2).random((B, T)) < 0.5
    mask[2] = False
    dirty = np.where(mask[:, :, None], x, padding)
    runs, grads = [], []
    for values in (x, dirty):
        run = cases.SLOW[cell].forward(
            params, values, initial_state=state, mask=mask, training=True, zero_output_for_mask=zero
        )
        runs.append((run.outputs, *parts(run.state)))
        g = cases.SLOW[cell].backward(run.cache, np.ones_like(run.outputs))
        grads.append((g.dx, *parts(g.dinitial_state), g.dparams.kernel, g.dparams.recurrent_kernel, g.dparams.bias))
    for clean, other in zip(runs[0] + grads[0], runs[1] + grads[1], strict=True):
        np.testing.assert_array_equal(clean, other)
    assert not grads[0][0][~mask].any()


@pytest.mark.parametrize("batch, timesteps", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("cell", CELLS)
def test_empty_calls(cell, batch, timesteps):
    params, x, state = problem(cell, batch=batch, timesteps=timesteps)
    forward, backward = cases.SLOW[cell].forward, cases.SLOW[cell].backward
    for sequences in (True, False):
        run = forward(params, x, initial_state=state, training=True, return_sequences=sequences)
        assert run.outputs.shape == ((batch, timesteps, U) if sequences else (batch, U))
        assert not run.outputs.any() or timesteps
        np.testing.assert_array_equal(parts(run.state), parts(state))
        grads = backward(run.cache, np.ones_like(run.outputs), state)
        np.testing.assert_array_equal(parts(grads.dinitial_state), parts(state))
        assert grads.dx.shape == x.shape and not grads.dparams.kernel.any()


@pytest.mark.parametrize("cell", CELLS)
def test_a_call_can_be_cut_in_two(cell):
    params, x, state = problem(cell)
    forward = cases.SLOW[cell].forward
    whole = forward(params, x, initial_state=state)
    first = forward(params, x[:, :2], initial_state=state)
    second = forward(params, x[:, 2:], initial_state=first.state)
    np.testing.assert_array_equal(np.concatenate([first.outputs, second.outputs], axis=1), whole.outputs)


@pytest.mark.parametrize("kind", ["input", "state", "update", "cell", "zoneout_expected"])
@pytest.mark.parametrize("cell", CELLS)
def test_axes_of_size_one_are_shared(cell, kind):
    params, x, _ = problem(cell)
    rng = np.random.default_rng(5)
    masks = cases.make_masks(kind, cell, B, T, F, U, np.float64, rng)
    gates = cases.GATES[cell]

    def spread(name):
        mask = getattr(masks, name)
        if mask is None:
            return None
        of_gates = (gates if masks.recurrent_mode == "state" else 1,) if mask.ndim == 4 else ()
        return np.broadcast_to(mask, (*of_gates, B, T, mask.shape[-1])).copy()

    names = ("inputs", "recurrent", "zoneout_hidden", "zoneout_cell")
    full = replace(masks, **{name: spread(name) for name in names})
    forward = cases.SLOW[cell].forward
    np.testing.assert_array_equal(forward(params, x, masks=full).outputs, forward(params, x, masks=masks).outputs)


@pytest.mark.parametrize("cell", CELLS)
def test_masks_mean_what_they_say(cell):
    """Each mask against the same network with other weights, inputs or states."""
    params, x, state = problem(cell)
    forward, gates = cases.SLOW[cell].forward, cases.GATES[cell]
    rng = np.random.default_rng(6)

    def outputs(masks=None, p=params, values=x):
        return forward(p, values, initial_state=state, masks=masks).outputs

    inputs = cases.keep_mask((1, B, T, F), np.float64, rng)
    np.testing.assert_array_equal(outputs(DropoutMasks(inputs=inputs)), outputs(values=x * inputs[0]))
    weights = cases.keep_mask((U, gates * U), np.float64, rng)
    dropped = replace(params, recurrent_kernel=params.recurrent_kernel * weights)
    np.testing.assert_array_equal(
        outputs(DropoutMasks(recurrent=weights, recurrent_mode="weights")), outputs(p=dropped)
    )
    one_row = cases.keep_mask((gates, 1, 1, F), np.float64, rng)
    scaled = [
        kernel * row.reshape(F, 1) for kernel, row in zip(np.split(params.kernel, gates, 1), one_row, strict=True)
    ]
    same(outputs(DropoutMasks(inputs=one_row)), outputs(p=replace(params, kernel=np.concatenate(scaled, 1))))
    one_row = cases.keep_mask((gates, 1, 1, U), np.float64, rng)
    split = np.split(params.recurrent_kernel, gates, 1)
    scaled = [kernel * row.reshape(U, 1) for kernel, row in zip(split, one_row, strict=True)]
    other = replace(params, recurrent_kernel=np.concatenate(scaled, 1))
    same(outputs(DropoutMasks(recurrent=one_row)), outputs(p=other))
    keep = np.ones((1, 1, 1))
    frozen = outputs(DropoutMasks(zoneout_hidden=keep, zoneout_cell=keep if cell == "lstm" else None))
    np.testing.assert_array_equal(frozen, np.broadcast_to(parts(state)[0][:, None], (B, T, U)))
    nothing = np.zeros((1, 1, 1, U))
    assert not outputs(DropoutMasks(recurrent=nothing, recurrent_mode="cell")).any()


def test_update_mode_loses_no_memory():
    """Where the new content is dropped, the LSTM's cell only decays by its forget gate (Semeniuta et al.)."""
    params, x, (h, c) = problem("lstm")
    params = replace(params, kernel=params.kernel * 0, recurrent_kernel=params.recurrent_kernel * 0)
    forget = 1 / (1 + np.exp(-params.bias[U : 2 * U]))
    masks = DropoutMasks(recurrent=np.zeros((1, 1, 1, U)), recurrent_mode="update")
    state = reference.lstm.forward(params, x, initial_state=(h, c), masks=masks).state
    np.testing.assert_allclose(state[1], c * forget**T, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_out_and_threads(cell):
    params, x, _ = problem(cell)
    forward = cases.SLOW[cell].forward
    out = np.empty((B, T, U), np.float32)
    run = forward(params, x, out=out, threads=2)
    assert run.outputs is out and run.cache is None
    np.testing.assert_array_equal(out, forward(params, x).outputs.astype(np.float32))


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_given_is_changed(cell):
    params, x, state = problem(cell)
    masks = cases.make_masks("weights", cell, B, T, F, U, np.float64, np.random.default_rng(3))
    given = [x, *parts(state), params.kernel, params.recurrent_kernel, params.bias, masks.inputs, masks.recurrent]
    for array in given:
        array.flags.writeable = False  # writing to any of them would raise
    run = cases.SLOW[cell].forward(params, x, initial_state=state, masks=masks, training=True)
    kept = run.outputs.copy()
    cases.SLOW[cell].backward(run.cache, run.outputs, state)
    np.testing.assert_array_equal(run.outputs, kept)


BAD = {
    "rank of x": {"x": np.zeros((B, F))},
    "features": {"x": np.zeros((B, T, F + 1))},
    "dtype of x": {"x": np.zeros((B, T, F), np.float32)},
    "integer x": {"x": np.zeros((B, T, F), int)},
    "list": {"x": [[[0.0, 0.0]]]},
    "mask shape": {"mask": np.ones((B, T + 1), bool)},
    "mask dtype": {"mask": np.ones((B, T))},
    "lengths beyond": {"lengths": np.full(B, T + 1)},
    "negative lengths": {"lengths": np.full(B, -1)},
    "mask and lengths": {"lengths": np.full(B, T), "mask": np.ones((B, T), bool)},
    "dropout mask": {"masks": DropoutMasks(inputs=np.ones((1, B + 1, 1, F)))},
    "dropout mode": {"masks": DropoutMasks(recurrent_mode="gate")},
    "no masks": {"masks": np.ones((1, B, 1, F))},
    "kernel": {"params": {"kernel": np.zeros((F, 1))}},
    "bias": {"params": {"bias": np.zeros(1)}},
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("cell", CELLS)
def test_it_refuses_what_the_functional_core_refuses_in_the_same_words(cell, bad):
    params, x, _ = problem(cell)
    call = dict(BAD[bad])
    params = replace(params, **call.pop("params", {}))
    x = call.pop("x", x)
    errors = []
    for core in (cases.FAST, cases.SLOW):
        with pytest.raises((TypeError, ValueError)) as error:
            core[cell].forward(params, x, **call)
        errors.append((error.type, str(error.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("cell", CELLS)
def test_states_and_gradients_that_do_not_fit(cell):
    params, x, state = problem(cell)
    forward, backward = cases.SLOW[cell].forward, cases.SLOW[cell].backward
    wrong_count = (state,) * 2 if cell != "lstm" else (state[0],)
    with pytest.raises(ValueError, match="`initial_state` must be (a pair \\(h, c\\), got 1|one array, got 2)"):
        forward(params, x, initial_state=wrong_count)
    with pytest.raises(ValueError, match="`initial_state` must have shape"):
        forward(params, x, initial_state=rows(state, slice(1)))
    with pytest.raises(TypeError, match="`initial_state` is float32"):
        forward(params, x, initial_state=tuple(part.astype(np.float32) for part in parts(state)))
    with pytest.raises(ValueError, match="`out` must have shape"):
        forward(params, x, out=np.empty((B, T + 1, U)))
    run = forward(params, x, training=True)
    with pytest.raises(ValueError, match="`doutputs` must have shape"):
        backward(run.cache, np.zeros((B, U)))
    with pytest.raises(ValueError, match="`dstate` must have shape"):
        backward(run.cache, None, rows(state, slice(1)))
    with pytest.raises(TypeError, match="forward call with training=True, got NoneType"):
        backward(forward(params, x).cache, None)
