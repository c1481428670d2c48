"""Weights in other layouts: kernels in Fortran's order, as transposes of PyTorch's are, and its order of gates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnnx.functional import GRUParams, gru
from tests.oracle import cases


def in_layout(params: Any) -> Any:
    """The same weights as transposes of contiguous arrays; of a GRU with the gates r z h."""

    def moved(a: np.ndarray) -> np.ndarray:
        if not isinstance(params, GRUParams):
            return a
        z, r, h = np.split(a, 3, axis=-1)
        return np.concatenate((r, z, h), axis=-1)

    order = {"gate_order": "rzh"} if isinstance(params, GRUParams) else {}
    bias = None if params.bias is None else moved(params.bias)
    kernels = {name: np.asfortranarray(moved(getattr(params, name))) for name in ("kernel", "recurrent_kernel")}
    return replace(params, bias=bias, **kernels, **order)


@pytest.mark.parametrize("kind", ["none", "everything", "weights", "state_one_for_batch"])
@pytest.mark.parametrize("size", [(5, 6, 4, 9), (17, 3, 70, 33), (1, 2, 1, 1)], ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_fortran_order_and_pytorchs_gates(cell, size, kind):
    batch, timesteps, features, units = size
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(1)
        params = cases.make_params(cell, features, units, dtype, rng, bias=kind != "none")
        x = rng.normal(size=(batch, timesteps, features)).astype(dtype)
        masks = cases.make_masks(kind, cell, batch, timesteps, features, units, dtype, rng)
        cases.compare(cell, in_layout(params), x, rng, masks=masks)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_the_same_bits(cell):
    rng = np.random.default_rng(2)
    params = cases.make_params(cell, 21, 40, np.float32, rng)
    x, doutputs = rng.normal(size=(2, 18, 5, 40)).astype(np.float32)
    x = np.ascontiguousarray(x[:, :, :21])
    found = []
    for given in (params, in_layout(params)):
        run = cases.FAST[cell].forward(given, x, training=True)
        found.append((run.outputs, cases.FAST[cell].backward(run.cache, doutputs)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1].dx, found[1][1].dx)
    want, got = in_layout(found[0][1].dparams), found[1][1].dparams
    for name in ("kernel", "recurrent_kernel", "bias"):
        np.testing.assert_array_equal(getattr(want, name), getattr(got, name))
    assert got.kernel.flags.f_contiguous and got.recurrent_kernel.flags.f_contiguous


def test_unknown_order_is_refused():
    params = GRUParams(np.zeros((2, 9)), np.zeros((3, 9)), gate_order="hrz")
    with pytest.raises(ValueError, match="`gate_order` must be one of .*'rzh'.*, got 'hrz'"):
        gru.forward(params, np.zeros((1, 2, 2)))
