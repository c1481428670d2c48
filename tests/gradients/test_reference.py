"""The gradients of the reference are the slopes of its forward pass: central differences, every argument, every option."""

from dataclasses import replace

import numpy as np
import pytest

from tests.oracle import cases

EPSILON = 1e-6


def loss_and_arrays(cell, params, x, state, doutputs, dstate, call):
    """A scalar of everything the forward pass returns, as a function of a dictionary of arrays."""
    arrays = {"x": x, "kernel": params.kernel, "recurrent_kernel": params.recurrent_kernel}
    if params.bias is not None:
        arrays["bias"] = params.bias
    parts = state if isinstance(state, tuple) else (state,)
    arrays.update({f"state{k}": part for k, part in enumerate(parts)})

    def loss(values):
        p = replace(params, **{n: values[n] for n in ("kernel", "recurrent_kernel", "bias") if n in values})
        given = tuple(values[f"state{k}"] for k in range(len(parts)))
        run = cases.SLOW[cell].forward(p, values["x"], initial_state=given if len(given) > 1 else given[0], **call)
        ends = run.state if isinstance(run.state, tuple) else (run.state,)
        weights = dstate if isinstance(dstate, tuple) else (dstate,)
        return float((run.outputs * doutputs).sum() + sum((e * w).sum() for e, w in zip(ends, weights, strict=True)))

    return loss, arrays


def check(cell, timesteps=3, batch=4, features=2, units=3, masks="none", valid="none", **call):
    rng = np.random.default_rng([timesteps, batch, len(masks), len(valid)])
    options = {k: call.pop(k) for k in ("activation", "recurrent_activation") if k in call}
    params = cases.make_params(cell, features, units, np.float64, rng, **options)
    x = rng.normal(size=(batch, timesteps, features))
    state = cases.make_state(cell, batch, units, np.float64, rng)
    call["masks"] = cases.make_masks(masks, cell, batch, timesteps, features, units, np.float64, rng)
    call.update(cases.make_valid(valid, batch, timesteps, rng))
    run = cases.SLOW[cell].forward(params, x, initial_state=state, training=True, **call)
    doutputs, dstate = (
        rng.normal(size=run.outputs.shape),
        cases.make_state(cell, batch, units, np.float64, rng),
    )
    grads = cases.SLOW[cell].backward(run.cache, doutputs, dstate)
    states = grads.dinitial_state if isinstance(grads.dinitial_state, tuple) else (grads.dinitial_state,)
    analytic = {
        "x": grads.dx,
        **{n: getattr(grads.dparams, n) for n in ("kernel", "recurrent_kernel", "bias")},
    }
    analytic.update({f"state{k}": d for k, d in enumerate(states)})
    loss, arrays = loss_and_arrays(cell, params, x, state, doutputs, dstate, call)
    for name, value in arrays.items():
        for index in rng.permutation(value.size)[:6]:
            at = np.unravel_index(index, value.shape)
            sides = []
            for sign in (1, -1):
                moved = value.copy()
                moved[at] += sign * EPSILON
                sides.append(loss({**arrays, name: moved}))
            slope = (sides[0] - sides[1]) / (2 * EPSILON)
            assert analytic[name][at] == pytest.approx(slope, rel=1e-6, abs=1e-7 * max(1, abs(sides[0]))), (
                name,
                at,
            )


@pytest.mark.parametrize("timesteps", [1, 2, 5])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_lengths_of_time(cell, timesteps):
    check(cell, timesteps=timesteps)


@pytest.mark.parametrize("masks", cases.MASK_KINDS)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_dropout(cell, masks):
    check(cell, masks=masks)
    check(cell, masks=masks, valid="gaps", go_backwards=True)


@pytest.mark.parametrize("valid", ["lengths", "left", "gaps"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_padding(cell, sequences, zero, valid):
    for backwards in (False, True):
        check(
            cell,
            timesteps=4,
            batch=5,
            valid=valid,
            go_backwards=backwards,
            zero_output_for_mask=zero,
            return_sequences=sequences,
        )


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        "linear",
        "hard_sigmoid",
        "hard_sigmoid_keras2",
        "elu",
        "softsign",
        "gelu",
        "silu",
        "softplus",
        "softmax",
        "selu",
        "exponential",
        "leaky_relu",
        "relu6",
    ],
)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_activations(cell, activation):
    check(cell, activation=activation)
    if cell != "simple_rnn":
        check(cell, recurrent_activation=activation)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_what_is_not_needed_is_not_returned(cell):
    rng = np.random.default_rng(0)
    params = cases.make_params(cell, 2, 3, np.float32, rng)
    run = cases.SLOW[cell].forward(params, rng.normal(size=(2, 3, 2)).astype(np.float32), training=True)
    assert run.outputs.dtype == np.float64
    grads = cases.SLOW[cell].backward(run.cache, None, need_dx=False, need_dparams=False)
    assert grads.dx is None and grads.dparams is None
