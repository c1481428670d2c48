"""Block-diagonal recurrent kernels: the engine equals the reference, and the dense kernel that they stand for."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from rnnx import _kernels
from rnnx.functional import dense_kernel, kernel_of_blocks
from tests.oracle import cases

DTYPES = (np.float32, np.float64)
UNITS_AND_BLOCKS = [(8, 2), (9, 3), (12, 12), (40, 5), (64, 2), (64, 4), (66, 2), (66, 11), (96, 3), (128, 4), (35, 5)]


def problem(cell, units, blocks, dtype, seed=1, batch=5, timesteps=4, features=3, **options):
    rng = np.random.default_rng([seed, units, blocks])
    params = cases.make_params(cell, features, units, dtype, rng, recurrent_blocks=blocks, **options)
    return rng, params, rng.normal(size=(batch, timesteps, features)).astype(dtype)


def dense(params):
    whole = dense_kernel(params.recurrent_kernel, params.recurrent_blocks)
    return replace(params, recurrent_kernel=whole, recurrent_blocks=1)


def test_a_kernel_there_and_back():
    kernel = np.arange(1, 3 * 24.0 + 1).reshape(3, 24)
    whole = dense_kernel(kernel, 2)
    assert whole.shape == (6, 24)
    np.testing.assert_array_equal(kernel_of_blocks(whole, 2), kernel)
    for gate, unit, row in itertools.product(range(4), range(6), range(6)):
        want = kernel[row % 3, 6 * gate + unit] if row // 3 == unit // 3 else 0
        assert whole[row, 6 * gate + unit] == want
    with pytest.raises(ValueError, match=r"shape \(units / 5, gates\*units\), got \(3, 24\)"):
        dense_kernel(kernel, 5)
    with pytest.raises(ValueError, match="with units in 4 equal blocks"):
        kernel_of_blocks(whole, 4)


@pytest.mark.parametrize("units_and_blocks", UNITS_AND_BLOCKS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_sizes(cell, dtype, units_and_blocks):
    rng, params, x = problem(cell, *units_and_blocks, dtype)
    cases.compare(cell, params, x, rng, initial_state=cases.make_state(cell, 5, units_and_blocks[0], dtype, rng))


@pytest.mark.parametrize("kind", cases.MASK_KINDS)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_dropout_masks(cell, kind):
    if kind == "masked_blend" and not cell.startswith("gru"):
        kind = "state"
    for (units, blocks), valid in itertools.product([(64, 2), (12, 4)], ["none", "gaps"]):
        rng, params, x = problem(cell, units, blocks, np.float32, batch=4, timesteps=6)
        masks = cases.make_masks(kind, cell, 4, 6, 3, units, np.float32, rng, blocks)
        cases.compare(cell, params, x, rng, masks=masks, **cases.make_valid(valid, 4, 6, rng))


@pytest.mark.parametrize("options", [{"go_backwards": True}, {"reset": True}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_options_have_the_results_of_the_dense_kernel(cell, options):
    rng, params, x = problem(cell, 64, 4, np.float32)
    if "reset" in options:
        options = {"reset": rng.random((5, 4)) < 0.3}
    dy = rng.normal(size=(5, 4, 64)).astype(np.float32)
    core = cases.FAST[cell]
    found, wanted = (core.forward(p, x, training=True, **options) for p in (params, dense(params)))
    cases.close(found.outputs, wanted.outputs, 1e-6, "outputs")
    for _ in range(2):  # the second one makes again what the first has used up
        grads, whole = core.backward(found.cache, dy), core.backward(wanted.cache, dy)
        cases.close(grads.dx, whole.dx, 1e-5, "dx")
        cut = kernel_of_blocks(whole.dparams.recurrent_kernel, 4)
        cases.close(grads.dparams.recurrent_kernel, cut, 1e-5, "drecurrent_kernel")
        cases.close(grads.dparams.kernel, whole.dparams.kernel, 1e-5, "dkernel")
        cases.close(grads.dparams.bias, whole.dparams.bias, 1e-5, "dbias")


@pytest.mark.parametrize("units_and_blocks", [(128, 4), (66, 3)], ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_the_number_of_threads_changes_no_bit(cell, units_and_blocks):
    units, blocks = units_and_blocks
    rng, params, x = problem(cell, units, blocks, np.float32, batch=40, timesteps=20, features=128)
    masks = cases.make_masks("state_per_gate", cell, 40, 20, 128, units, np.float32, rng)
    dy = rng.normal(size=(40, 20, units)).astype(np.float32)
    core = cases.FAST[cell]
    for given in (None, masks):
        made = []
        for threads in (1, 2, 3):
            run = core.forward(params, x, training=True, threads=threads, masks=given)
            grads = core.backward(run.cache, dy)
            made.append([run.outputs, grads.dx, grads.dparams.kernel, grads.dparams.recurrent_kernel])
        for other in made[1:]:
            for first, second in zip(made[0], other, strict=True):
                np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("weights", ["full", "bf16", "int8", "int8x16", "int16"])
@pytest.mark.parametrize("units_and_blocks", [(128, 4), (66, 3), (40, 40)], ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_narrow_weights_and_steps(cell, units_and_blocks, weights):
    """The same integers as of the dense kernel, whose zeros add nothing; and a stream of steps has the same bits."""
    rng, params, x = problem(cell, *units_and_blocks, np.float32, batch=3)
    core = cases.FAST[cell]
    packed = core.pack(params, weights)
    found = core.forward(params, x, packed=packed).outputs
    whole = dense(params)
    wanted = core.forward(whole, x, packed=core.pack(whole, weights)).outputs
    cases.close(found, wanted, 1e-6, "outputs")
    stepper = _kernels.Stepper(packed, 3)
    steps = [stepper.step(np.ascontiguousarray(x[:, t])) for t in range(x.shape[1])]
    np.testing.assert_array_equal(np.stack(steps, axis=1), found)


@pytest.mark.parametrize("order", ["zrh", "rzh"])
def test_pytorchs_order_of_gates(order):
    rng, params, x = problem("gru_after", 64, 2, np.float32, gate_order=order)
    cases.compare("gru_after", params, x, rng)


@pytest.mark.parametrize("cell", ["lstm", "simple_rnn"])
def test_cells_that_have_no_backward_pass_in_the_engine(cell):
    rng, params, x = problem(cell, 12, 3, np.float32, clip=0.4)
    cases.compare(cell, params, x, rng)


@pytest.mark.parametrize("blocks", [0, -1, 1.0, True, "2", 3])
def test_what_does_not_fit_is_refused(blocks):
    _, params, x = problem("gru_after", 8, 2, np.float32)
    with pytest.raises(ValueError, match=r"GRU: `recurrent_(blocks|kernel)` must"):
        cases.FAST["gru_after"].forward(replace(params, recurrent_blocks=blocks), x)
