"""Sequences that begin inside a row: the engine equals the reference, and both the parts run one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.oracle import cases

DTYPES = (np.float32, np.float64)


def beginnings(batch: int, timesteps: int, rng: np.random.Generator) -> np.ndarray:
    """None in a row, some, one at the first step, everywhere."""
    reset = rng.random((batch, timesteps)) < 0.4
    reset[0] = False
    reset[1 % batch, 0] = True
    reset[2 % batch] = True
    return reset


def parts_of(row: np.ndarray) -> list[slice]:
    """The parts into which the beginnings of a row cut it."""
    cuts = sorted({0, len(row), *np.flatnonzero(row).tolist()})
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("valid", ["none", "lengths", "left", "gaps"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_the_engine_equals_the_reference(cell, backwards, sequences, zero, valid):
    for dtype, kind in itertools.product(DTYPES, ("none", "everything")):
        rng = np.random.default_rng(3)
        params = cases.make_params(cell, 3, 9, dtype, rng)
        x = rng.normal(size=(6, 7, 3)).astype(dtype)
        cases.compare(
            cell,
            params,
            x,
            rng,
            reset=beginnings(6, 7, rng),
            masks=cases.make_masks(kind, cell, 6, 7, 3, 9, dtype, rng),
            initial_state=cases.make_state(cell, 6, 9, dtype, rng),
            go_backwards=backwards,
            return_sequences=sequences,
            zero_output_for_mask=zero,
            **cases.make_valid(valid, 6, 7, rng),
        )


@pytest.mark.parametrize("kind", cases.MASK_KINDS)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_with_dropout(cell, kind):
    if kind == "masked_blend" and not cell.startswith("gru"):
        kind = "state"
    rng = np.random.default_rng(4)
    params = cases.make_params(cell, 4, 17, np.float32, rng)
    x = rng.normal(size=(5, 6, 4)).astype(np.float32)
    masks = cases.make_masks(kind, cell, 5, 6, 4, 17, np.float32, rng)
    cases.compare(cell, params, x, rng, masks=masks, reset=beginnings(5, 6, rng))


@pytest.mark.parametrize("valid", ["none", "gaps"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_a_row_is_its_parts(cell, backwards, valid):
    rng = np.random.default_rng(5)
    params = cases.make_params(cell, 3, 8, np.float32, rng)
    x = rng.normal(size=(6, 9, 3)).astype(np.float32)
    reset, state = beginnings(6, 9, rng), cases.make_state(cell, 6, 8, np.float32, rng)
    mask = cases.make_valid(valid, 6, 9, rng).get("mask", np.ones((6, 9), bool))
    forward = cases.FAST[cell].forward
    got = forward(params, x, initial_state=state, mask=mask, reset=reset, go_backwards=backwards)
    outputs = got.outputs[:, ::-1] if backwards else got.outputs
    for row in range(6):
        parts = parts_of(reset[row])
        for part in parts:
            first = part.stop == 9 if backwards else part.start == 0 and not reset[row, 0]
            own: Any = None
            if first:
                own = tuple(s[row : row + 1] for s in state) if cell == "lstm" else state[row : row + 1]
            want = forward(
                params,
                x[row : row + 1, part],
                initial_state=own,
                mask=mask[row : row + 1, part],
                go_backwards=backwards,
            )
            ordered = want.outputs[0, ::-1] if backwards else want.outputs[0]
            np.testing.assert_array_equal(outputs[row, part], ordered)
            if part is parts[0 if backwards else -1]:
                for a, b in zip(*((s if cell == "lstm" else (s,)) for s in (got.state, want.state)), strict=True):
                    np.testing.assert_array_equal(a[row], b[0])


@pytest.mark.parametrize("cell", cases.CELLS)
def test_threads_change_no_bit(cell):
    rng = np.random.default_rng(6)
    params = cases.make_params(cell, 40, 64, np.float32, rng)
    x = rng.normal(size=(50, 20, 40)).astype(np.float32)
    reset, lengths = beginnings(50, 20, rng), rng.integers(0, 21, 50)
    dy = rng.normal(size=(50, 20, 64)).astype(np.float32)
    for given in ({}, {"lengths": lengths}):
        runs = [cases.FAST[cell].forward(params, x, reset=reset, training=True, threads=n, **given) for n in (1, 2, 3)]
        grads = [cases.FAST[cell].backward(run.cache, dy) for run in runs]
        for run, grad in zip(runs[1:], grads[1:], strict=True):
            np.testing.assert_array_equal(run.outputs, runs[0].outputs)
            np.testing.assert_array_equal(grad.dx, grads[0].dx)
            np.testing.assert_array_equal(grad.dparams.kernel, grads[0].dparams.kernel)
            np.testing.assert_array_equal(grad.dparams.recurrent_kernel, grads[0].dparams.recurrent_kernel)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_backward_twice_gives_the_same(cell):
    rng = np.random.default_rng(7)
    params = cases.make_params(cell, 3, 5, np.float64, rng)
    x, dy = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 6, 5))
    call = {"initial_state": cases.make_state(cell, 4, 5, np.float64, rng), "reset": beginnings(4, 6, rng)}
    run = cases.FAST[cell].forward(params, x, training=True, **call)
    again = cases.FAST[cell].forward(params, x, training=True, recompute=True, **call)
    first = cases.FAST[cell].backward(run.cache, dy)
    for other in (cases.FAST[cell].backward(r.cache, dy) for r in (run, again, again)):
        np.testing.assert_array_equal(first.dx, other.dx)
        np.testing.assert_array_equal(first.dparams.kernel, other.dparams.kernel)
        np.testing.assert_array_equal(first.dparams.recurrent_kernel, other.dparams.recurrent_kernel)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_what_is_not_finite_stays_in_its_part(cell):
    rng = np.random.default_rng(8)
    params = cases.make_params(cell, 3, 5, np.float32, rng)
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    reset = np.zeros((2, 6), bool)
    reset[:, 3] = True
    bad = x.copy()
    bad[:, 1] = np.nan
    want, got = (cases.FAST[cell].forward(params, value, reset=reset, training=True) for value in (x, bad))
    assert np.isnan(got.outputs[:, 1:3]).all()
    np.testing.assert_array_equal(got.outputs[:, 3:], want.outputs[:, 3:])
    dy = np.where(np.arange(6)[:, None] > 2, np.float32(1), np.float32(0)) * np.ones((2, 6, 5), np.float32)
    dx, dx_bad = (cases.FAST[cell].backward(run.cache, dy).dx for run in (want, got))
    np.testing.assert_array_equal(dx_bad[:, 3:], dx[:, 3:])
    assert not dx[:, :3].any()


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_cells_that_run_on_the_reference(activation):
    rng = np.random.default_rng(9)
    params = cases.make_params("lstm", 3, 6, np.float32, rng, activation=activation, peepholes=True, clip=0.6)
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    cases.compare("lstm", params, x, rng, reset=beginnings(4, 5, rng), lengths=np.array([5, 0, 3, 2]))
