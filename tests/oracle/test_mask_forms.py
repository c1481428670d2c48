"""Every broadcast form of every mask at every site equals the reference, around every size that chooses a path."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rnnx.dropout import DropoutMasks
from tests.oracle import cases

SITES = ("inputs", "state", "update", "cell", "zoneout_hidden")
PAIRS = [
    *itertools.product(cases.CELLS, SITES),
    ("lstm", "zoneout_cell"),
    ("gru_after", "blend"),
    ("gru_before", "blend"),
]
# (batch, timesteps): 15, 16 and 18 packed rows, where a shared mask gets panels of its own; then more than a chunk of
# 96 rows, in several steps and in one.
SHAPES = ((5, 3), (4, 4), (3, 6), (21, 6), (100, 2))
FEATURES, UNITS = 5, 9


def forms(site: str, gates: int) -> list[tuple[bool, ...]]:
    """Which of the axes (gates, batch, timesteps, width) are written out; the others have one element."""
    several = (False, True) if gates > 1 and site in ("inputs", "state", "blend") else (False,)
    return list(itertools.product(several, *[(False, True)] * 3))


def masks_of(site: str, form: tuple[bool, ...], gates: int, batch: int, timesteps: int, dtype: Any, seed: int) -> Any:
    """A set with one mask of that form, in which at least one number is zero and one is not."""
    width = FEATURES if site == "inputs" else UNITS
    sizes = (gates, batch, timesteps, width)
    shape = tuple(size if whole else 1 for size, whole in zip(sizes, form, strict=True))
    rng = np.random.default_rng([seed, *shape])
    values = rng.choice([0.0, 2.0, 0.5], size=shape).astype(dtype)
    if values.size > 1:
        values.flat[rng.permutation(values.size)[:2]] = (0, 1.5)
    elif site.startswith("zoneout"):
        values[...] = 0.3
    if site.startswith("zoneout"):
        return DropoutMasks(**{site: np.minimum(values[0], 1)})
    if site == "inputs":
        return DropoutMasks(inputs=values)
    mode = "state" if site == "blend" else site
    return DropoutMasks(recurrent=values, recurrent_mode=mode, masked_blend=site == "blend")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("cell", "site"), PAIRS)
def test_every_form(cell: str, site: str, shape: tuple[int, int]) -> None:
    batch, timesteps = shape
    gates = cases.GATES[cell]
    for number, form in enumerate(forms(site, gates)):
        dtype = (np.float32, np.float64)[number % 2]
        for valid in ("none", "gaps"):
            rng = np.random.default_rng([31, number])
            params = cases.make_params(cell, FEATURES, UNITS, dtype, rng)
            x = rng.normal(size=(batch, timesteps, FEATURES)).astype(dtype)
            cases.compare(
                cell,
                params,
                x,
                rng,
                initial_state=cases.make_state(cell, batch, UNITS, dtype, rng),
                masks=masks_of(site, form, gates, batch, timesteps, dtype, number),
                **cases.make_valid(valid, batch, timesteps, rng),
            )


@pytest.mark.parametrize("rows", [15, 16, 17, 96, 97])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_one_number_for_each_gate(cell: str, rows: int) -> None:
    """Zero for some gates and not for others, alone and at both sites, as `noise_shape=(1, 1, 1)` draws it."""
    gates = cases.GATES[cell]
    for kept in itertools.product((0.0, 2.0), repeat=gates):
        rng = np.random.default_rng([32, rows, *map(int, kept)])
        params = cases.make_params(cell, FEATURES, UNITS, np.float32, rng)
        mask = np.array(kept, np.float32).reshape(gates, 1, 1, 1)
        x = rng.normal(size=(rows, 1, FEATURES)).astype(np.float32)
        state = cases.make_state(cell, rows, UNITS, np.float32, rng)
        for masks in (
            DropoutMasks(inputs=mask),
            DropoutMasks(recurrent=mask),
            DropoutMasks(inputs=mask, recurrent=mask[::-1]),
        ):
            cases.compare(cell, params, x, rng, masks=masks, initial_state=state)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_written_out_or_not_is_the_same(cell: str) -> None:
    """A broadcast mask and the same mask with every axis written out give the same numbers."""
    gates, (batch, timesteps) = cases.GATES[cell], (9, 4)
    rng = np.random.default_rng(33)
    params = cases.make_params(cell, FEATURES, UNITS, np.float64, rng)
    x = rng.normal(size=(batch, timesteps, FEATURES))
    for site, form in itertools.product(("inputs", "state"), forms("inputs", gates)):
        short = masks_of(site, form, gates, batch, timesteps, np.float64, 5)
        name, width = ("inputs", FEATURES) if site == "inputs" else ("recurrent", UNITS)
        full = np.broadcast_to(getattr(short, name), (gates, batch, timesteps, width))
        runs = [
            cases.FAST[cell].forward(params, x, masks=DropoutMasks(**{name: mask}), training=True)
            for mask in (getattr(short, name), full, np.ascontiguousarray(full))
        ]
        dy = rng.normal(size=runs[0].outputs.shape)
        grads = [cases.FAST[cell].backward(run.cache, dy) for run in runs]
        for run, grad in zip(runs[1:], grads[1:], strict=True):
            np.testing.assert_allclose(run.outputs, runs[0].outputs, rtol=0, atol=1e-13)
            np.testing.assert_allclose(grad.dx, grads[0].dx, rtol=0, atol=1e-12)
            np.testing.assert_allclose(grad.dparams.kernel, grads[0].dparams.kernel, rtol=0, atol=1e-12)
