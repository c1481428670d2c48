"""The engine equals the float64 reference: values and gradients, for every option and awkward size."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnx import _kernels
from rnnx.dropout import DropoutMasks
from tests.oracle import cases

DTYPES = (np.float32, np.float64)
SIZES = [
    (1, 1, 1, 1),
    (1, 4, 3, 7),
    (2, 3, 8, 8),
    (3, 5, 1, 9),
    (5, 2, 17, 17),
    (7, 6, 9, 16),
    (13, 3, 2, 33),
    (40, 4, 5, 8),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_sizes(cell, dtype, size):
    batch, timesteps, features, units = size
    rng = np.random.default_rng([1, *size])
    params = cases.make_params(cell, features, units, dtype, rng)
    x = rng.normal(size=(batch, timesteps, features)).astype(dtype)
    cases.compare(cell, params, x, rng, initial_state=cases.make_state(cell, batch, units, dtype, rng))


@pytest.mark.parametrize("kind", cases.MASK_KINDS)
@pytest.mark.parametrize("valid", ["none", "lengths", "left", "gaps"])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_dropout_masks(cell, valid, kind):
    if kind == "masked_blend" and not cell.startswith("gru"):
        kind = "state"
    batch, timesteps, features, units = 5, 6, 4, 9
    for dtype, backwards in itertools.product(DTYPES, (False, True)):
        rng = np.random.default_rng([2, backwards])
        params = cases.make_params(cell, features, units, dtype, rng)
        x = rng.normal(size=(batch, timesteps, features)).astype(dtype)
        cases.compare(
            cell,
            params,
            x,
            rng,
            go_backwards=backwards,
            initial_state=cases.make_state(cell, batch, units, dtype, rng),
            masks=cases.make_masks(kind, cell, batch, timesteps, features, units, dtype, rng),
            **cases.make_valid(valid, batch, timesteps, rng),
        )


@pytest.mark.parametrize("valid", ["none", "lengths", "left", "gaps"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_padding(cell, backwards, sequences, zero, valid):
    for dtype, state in itertools.product(DTYPES, (False, True)):
        rng = np.random.default_rng([3, state])
        params = cases.make_params(cell, 3, 5, dtype, rng)
        x = rng.normal(size=(6, 7, 3)).astype(dtype)
        call = cases.make_valid(valid, 6, 7, rng)
        if state:
            call["initial_state"] = cases.make_state(cell, 6, 5, dtype, rng)
        cases.compare(
            cell,
            params,
            x,
            rng,
            go_backwards=backwards,
            return_sequences=sequences,
            zero_output_for_mask=zero,
            **call,
        )


@pytest.mark.parametrize("activation", sorted(_kernels.ACTIVATIONS) + ["gelu", "softplus", "silu", "softmax"])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_activations(cell, activation):
    for dtype, role in itertools.product(DTYPES, ("activation", "recurrent_activation")):
        rng = np.random.default_rng(4)
        params = cases.make_params(cell, 3, 6, dtype, rng, **{role: activation})
        x = rng.normal(size=(4, 3, 3)).astype(dtype)
        masks = cases.make_masks("cell", cell, 4, 3, 3, 6, dtype, rng)
        cases.compare(cell, params, x, rng, masks=masks, lengths=np.array([3, 0, 2, 1]))
        cases.compare(cell, params, x, rng)


@pytest.mark.parametrize("masks", ["none", "cell", "everything"])
@pytest.mark.parametrize("cell, options", cases.OPTIONS, ids=str)
def test_clipped_peephole_and_coupled_cells(cell, options, masks):
    for dtype, (batch, units) in itertools.product(DTYPES, ((5, 9), (33, 17))):
        rng = np.random.default_rng(8)
        params = cases.make_params(cell, 3, units, dtype, rng, **options)
        x = rng.normal(size=(batch, 4, 3)).astype(dtype)
        call = {"masks": cases.make_masks(masks, cell, batch, 4, 3, units, dtype, rng),
                "initial_state": cases.make_state(cell, batch, units, dtype, rng)}  # fmt: skip
        cases.compare(cell, params, x, rng, **call)
        cases.compare(cell, params, x, rng, go_backwards=True, **call, **cases.make_valid("gaps", batch, 4, rng))
        ordinary = replace(params, clip=None)
        if cell == "lstm":
            ordinary = replace(ordinary, peepholes=None, coupled=False)
        plain, own = (cases.FAST[cell].forward(p, x, **call).outputs for p in (ordinary, params))
        assert abs(plain - own).max() > 1e-3


@pytest.mark.parametrize("cell, options", cases.OPTIONS, ids=str)
def test_options_step_by_step_and_of_narrow_weights(cell, options):
    rng = np.random.default_rng(9)
    params = cases.make_params(cell, 3, 17, np.float32, rng, **options)
    x, core = rng.normal(size=(5, 4, 3)).astype(np.float32), cases.FAST[cell]
    want = core.forward(params, x).outputs
    stepper = _kernels.Stepper(core.pack(params), 5)
    steps = np.stack([stepper.step(x[:, t]) for t in range(4)], 1)
    np.testing.assert_allclose(steps, want, rtol=0, atol=1e-6)
    for weights, tolerance in (("bf16", 2e-2), ("int8", 2e-2), ("int8x16", 2e-2), ("int16", 1e-3)):
        narrow = core.forward(params, x, packed=core.pack(params, weights)).outputs
        np.testing.assert_allclose(narrow, want, rtol=0, atol=tolerance)
    nan = np.where(np.arange(5)[:, None, None] == 2, np.float32(np.nan), x)
    found = np.isnan(core.forward(params, nan).outputs)
    assert found[2].all() and found.sum() == found[2].size


def test_options_that_do_not_fit():
    params = cases.make_params("lstm", 3, 4, np.float32, np.random.default_rng(1), peepholes=True)
    x = np.zeros((1, 1, 3), np.float32)
    for options, words in (
        ({"clip": 0}, "`clip` must be a positive number or None, got 0"),
        ({"clip": np.nan}, "`clip` must be a positive number"),
        ({"peepholes": params.peepholes[:4]}, r"`peepholes` must have shape \(3\*units,\) = \(12,\), got \(4,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            cases.FAST["lstm"].forward(replace(params, **options), x)


@pytest.mark.parametrize("cell", cases.CELLS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 300), (200, 3)], ids=str)
def test_extents(cell, shape):
    for dtype in DTYPES:
        rng = np.random.default_rng(5)
        params = cases.make_params(cell, 3, 5, dtype, rng, bias=False)
        x = rng.normal(size=(*shape, 3)).astype(dtype)
        cases.compare(cell, params, x, rng, initial_state=cases.make_state(cell, shape[0], 5, dtype, rng))
        cases.compare(cell, params, x, rng, return_sequences=False)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_strided_and_read_only_inputs(cell):
    for dtype in DTYPES:
        rng = np.random.default_rng(6)
        params = cases.make_params(cell, 3, 5, dtype, rng)
        big = rng.normal(size=(8, 9, 7)).astype(dtype)
        views = [
            big[::2, ::-1, 1::2],
            np.asfortranarray(big)[:, :, :3],
            big.transpose(1, 0, 2)[:, :, :3],
            big[:, :, 6:3:-1],
        ]
        for view in views:
            view.flags.writeable = False
            want = cases.FAST[cell].forward(params, np.ascontiguousarray(view), training=True)
            got = cases.FAST[cell].forward(params, view, training=True)
            np.testing.assert_array_equal(got.outputs, want.outputs)
            dy = np.broadcast_to(rng.normal(size=(1, 1, 5)).astype(dtype), want.outputs.shape)
            masks = cases.make_masks("input_per_gate", cell, view.shape[0], view.shape[1], 3, 5, dtype, rng)
            cases.compare(cell, params, view, rng, masks=masks)
            a, b = (cases.FAST[cell].backward(run.cache, dy) for run in (got, want))
            np.testing.assert_array_equal(a.dparams.kernel, b.dparams.kernel)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_nan_in_padding_never_leaks(cell):
    rng = np.random.default_rng(7)
    params = cases.make_params(cell, 3, 5, np.float32, rng)
    x = rng.normal(size=(4, 6, 3)).astype(np.float32)
    lengths = np.array([6, 2, 0, 4])
    clean = cases.FAST[cell].forward(params, x, lengths=lengths, training=True)
    x_nan = np.where((np.arange(6) < lengths[:, None])[:, :, None], x, np.float32(np.nan))
    run = cases.FAST[cell].forward(params, x_nan, lengths=lengths, training=True)
    np.testing.assert_array_equal(run.outputs, clean.outputs)
    dy = rng.normal(size=run.outputs.shape).astype(np.float32)
    got, want = (cases.FAST[cell].backward(r.cache, dy) for r in (run, clean))
    np.testing.assert_array_equal(got.dx, want.dx)
    np.testing.assert_array_equal(got.dparams.recurrent_kernel, want.dparams.recurrent_kernel)
    assert not got.dx[2].any()


@pytest.mark.parametrize("cell", cases.CELLS)
def test_a_row_does_not_depend_on_its_batch(cell):
    """The same bits alone, in a batch, in parts and padded: sums are always made in the same order."""
    rng = np.random.default_rng(8)
    params = cases.make_params(cell, 5, 20, np.float32, rng)
    x = rng.normal(size=(11, 7, 5)).astype(np.float32)
    forward = cases.FAST[cell].forward
    whole = forward(params, x)
    for row in (0, 5, 10):
        alone = forward(params, x[row : row + 1])
        np.testing.assert_array_equal(alone.outputs[0], whole.outputs[row])
    first = forward(params, x[:, :3])
    second = forward(params, x[:, 3:], initial_state=first.state)
    np.testing.assert_array_equal(np.concatenate([first.outputs, second.outputs], 1), whole.outputs)
    ragged = forward(params, x, lengths=rng.permutation(11) % 8)
    np.testing.assert_array_equal(
        ragged.outputs[:, 0][ragged.outputs[:, 0].any(1)], whole.outputs[:, 0][ragged.outputs[:, 0].any(1)]
    )


@pytest.mark.parametrize("cell", cases.CELLS)
def test_backward_twice_gives_the_same(cell):
    rng = np.random.default_rng(9)
    params = cases.make_params(cell, 3, 5, np.float64, rng)
    x = rng.normal(size=(4, 6, 3))
    masks = cases.make_masks("everything", cell, 4, 6, 3, 5, np.float64, rng)
    run = cases.FAST[cell].forward(params, x, masks=masks, training=True)
    dy = rng.normal(size=run.outputs.shape)
    first, second = (cases.FAST[cell].backward(run.cache, dy) for _ in range(2))
    np.testing.assert_array_equal(first.dx, second.dx)
    np.testing.assert_array_equal(first.dparams.kernel, second.dparams.kernel)
    lean = cases.FAST[cell].backward(run.cache, dy, need_dx=False, need_dparams=False)
    assert lean.dx is None and lean.dparams is None


@pytest.mark.parametrize("cell", cases.CELLS)
def test_out_is_filled_and_packed_weights_are_reused(cell):
    rng = np.random.default_rng(10)
    params = cases.make_params(cell, 3, 5, np.float32, rng)
    x = rng.normal(size=(4, 6, 3)).astype(np.float32)
    want = cases.FAST[cell].forward(params, x)
    packed = cases.FAST[cell].pack(params)
    for out in (
        np.empty((4, 6, 5), np.float32),
        np.empty((5, 6, 4), np.float32).T,
        np.empty((4, 6, 10), np.float32)[:, :, ::2],
    ):
        run = cases.FAST[cell].forward(params, x, out=out, packed=packed)
        assert run.outputs is out
        np.testing.assert_array_equal(out, want.outputs)


@pytest.mark.parametrize("name", sorted(_kernels.ACTIVATIONS))
def test_activation_values(name):
    from rnnx import activations

    for dtype, tolerance in ((np.float32, 2.4e-7), (np.float64, 5e-16)):
        small = np.logspace(-30, 2, 1001)
        x = np.concatenate([np.linspace(-20, 20, 100_003), small, -small]).astype(dtype)
        got, want = _kernels.activate(name, x), activations.get(name)(x.astype(np.float64))
        assert np.max(np.abs(got - want) / np.maximum(1, np.abs(want))) <= tolerance
        special = _kernels.activate(name, np.array([np.nan, np.inf, -np.inf, 0.0], dtype))
        assert np.isnan(special[0])
        if name == "tanh":
            np.testing.assert_array_equal(special[1:], [1, -1, 0])
        if name == "sigmoid":
            np.testing.assert_array_equal(special[1:], [1, 0, 0.5])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25])
def test_product(n):
    rng = np.random.default_rng(n)
    for dtype in DTYPES:
        for depth, width in ((1, 1), (7, 17), (64, 40)):
            a, b = rng.normal(size=(n, depth)).astype(dtype), rng.normal(size=(depth, width)).astype(dtype)
            np.testing.assert_allclose(
                _kernels.product(a, b), a @ b, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-13
            )


@pytest.mark.parametrize("cell", cases.CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_stepper_equals_the_sequence(cell, dtype):
    rng = np.random.default_rng(11)
    params = cases.make_params(cell, 3, 9, dtype, rng)
    x = rng.normal(size=(5, 8, 3)).astype(dtype)
    masks = cases.make_masks("zoneout_expected", cell, 5, 8, 3, 9, dtype, rng)
    for m in (None, masks):
        run = cases.FAST[cell].forward(params, x, masks=m)
        stepper = _kernels.Stepper(cases.FAST[cell].pack(params), 5, m)
        outputs = np.stack([stepper.step(x[:, t]) for t in range(8)], 1)
        np.testing.assert_array_equal(outputs, run.outputs)
        state = run.state if isinstance(run.state, tuple) else (run.state,)
        for got, want in zip(stepper.state, state, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.skipif("RNNX_ISA" in os.environ, reason="this run is already forced to one instruction set")
@pytest.mark.parametrize("isa", [name for name in _kernels.ISA_LEVELS if name != _kernels.ISA])
def test_other_instruction_sets(isa):
    """The whole file, forms of masks and arrays, and narrow weights again at every other level this CPU has."""
    here = Path(__file__)
    others = [here.with_name("test_mask_forms.py"), here.with_name("test_array_forms.py")]
    others.append(here.parents[1] / "quantization/test_quantization.py")
    environment = dict(os.environ, RNNX_ISA=isa)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, *map(str, others)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]


def test_an_unknown_instruction_set_is_refused():
    environment = dict(os.environ, RNNX_ISA="avx1024")
    run = subprocess.run(
        [sys.executable, "-c", "import rnnx._kernels"], env=environment, capture_output=True, text=True
    )
    assert run.returncode != 0 and "RNNX_ISA must be one of" in run.stderr


@pytest.mark.parametrize("per_gate", [False, True])
@pytest.mark.parametrize("valid", ["none", "gaps"])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_masks_shared_over_the_batch(cell, valid, per_gate):
    # Dropped rows of the kernels are not packed: nothing, some and all of a gate's columns; any value for the others.
    for (batch, timesteps, features, units), dtype in itertools.product(((5, 6, 4, 9), (17, 4, 33, 20)), DTYPES):
        rng = np.random.default_rng([7, batch])
        params = cases.make_params(cell, features, units, dtype, rng)
        gates = cases.GATES[cell] if per_gate else 1
        masks = [rng.choice([0.0, 2.0, 0.7], size=(gates, 1, 1, width)).astype(dtype) for width in (features, units)]
        if per_gate:
            masks[0][0], masks[1][-1] = 0, 0
        x = rng.normal(size=(batch, timesteps, features)).astype(dtype)
        for inputs, recurrent in ((masks[0], masks[1]), (masks[0], None), (None, masks[1])):
            cases.compare(
                cell,
                params,
                x,
                rng,
                initial_state=cases.make_state(cell, batch, units, dtype, rng),
                masks=DropoutMasks(inputs=inputs, recurrent=recurrent),
                **cases.make_valid(valid, batch, timesteps, rng),
            )


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_masks_for_each_gate_of_whole_panels(monkeypatch, cell, gaps):
    # Widths that fill panels, nearly or wholly, and many rows: gradients of the kernels are made transposed there. More
    # rows than are summed at once; fewer and more units than stay as they are; both orders; shares of three threads.
    monkeypatch.setattr("rnnx.functional._engine._PRODUCTS_WORTH_A_THREAD", 0)
    sizes = ((16, 35, 32, 96, np.float32), (130, 5, 95, 32, np.float64), (260, 3, 32, 31, np.float32))
    for batch, timesteps, features, units, dtype in (*sizes, (24, 24, 64, 64, np.float32)):
        rng = np.random.default_rng([8, batch])
        params = cases.make_params(cell, features, units, dtype, rng)
        if units == 96:
            params = replace(params, kernel=np.asfortranarray(params.kernel))
        x = rng.normal(size=(batch, timesteps, features)).astype(dtype)
        gates = cases.GATES[cell]
        inputs, recurrent = (cases.keep_mask((gates, batch, 1, n), dtype, rng) for n in (features, units))
        call = {"mask": rng.random((batch, timesteps)) < 0.97} if gaps else {}
        dy = rng.normal(size=(batch, timesteps, units)).astype(dtype)
        for masks in ((inputs, recurrent), (inputs, recurrent[:1]), (None, recurrent)):
            call["masks"] = DropoutMasks(inputs=masks[0], recurrent=masks[1])
            cases.compare(cell, params, x, rng, **call)
            runs = [cases.FAST[cell].forward(params, x, training=True, threads=n, **call) for n in (1, 3)]
            one, three = (cases.FAST[cell].backward(run.cache, dy).dparams for run in runs)
            for name in ("kernel", "recurrent_kernel", "bias"):
                np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


@pytest.mark.parametrize("cell", cases.CELLS)
def test_half_a_panel(cell):
    # Widths whose last panel is filled to its half at most, of any level: dx and dh leave the other half alone.
    for (batch, features, units), dtype in itertools.product(
        ((1, 2, 20), (3, 5, 18), (17, 36, 37), (20, 8, 33)), DTYPES
    ):
        rng = np.random.default_rng([9, batch])
        params = cases.make_params(cell, features, units, dtype, rng)
        x = rng.normal(size=(batch, 5, features)).astype(dtype)
        cases.compare(cell, params, x, rng, initial_state=cases.make_state(cell, batch, units, dtype, rng))


@pytest.mark.parametrize("kind", ["none", *cases.MASK_KINDS])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_recomputing_gives_the_same_bits(cell, kind):
    if kind == "masked_blend" and not cell.startswith("gru"):
        pytest.skip("a blend is a matter of the GRU")
    rng = np.random.default_rng(61)
    params = cases.make_params(cell, 4, 9, np.float32, rng)
    x, dy = rng.normal(size=(20, 6, 4)).astype(np.float32), rng.normal(size=(20, 6, 9)).astype(np.float32)
    masks = None if kind == "none" else cases.make_masks(kind, cell, 20, 6, 4, 9, np.float32, rng)
    call = {"masks": masks, "initial_state": cases.make_state(cell, 20, 9, np.float32, rng)}
    call |= cases.make_valid("gaps", 20, 6, rng)
    runs = [cases.FAST[cell].forward(params, x, training=True, recompute=again, **call) for again in (False, True)]
    assert np.array_equal(runs[0].outputs, runs[1].outputs)
    wanted = cases.FAST[cell].backward(runs[0].cache, dy)
    for _ in range(2):
        got = cases.FAST[cell].backward(runs[1].cache, dy)
        assert np.array_equal(got.dx, wanted.dx)
        for name in ("kernel", "recurrent_kernel", "bias"):
            assert np.array_equal(getattr(got.dparams, name), getattr(wanted.dparams, name))
        initial = (got.dinitial_state, wanted.dinitial_state)
        for a, b in zip(*(state if isinstance(state, tuple) else (state,) for state in initial), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("cell", ["lstm", "gru_after", "gru_before"])
def test_a_thousand_steps_stay_accurate(cell):
    """Unit-scale weights in float32: 5e-7 from float64 in the end, gradients within 1e-6 of the largest."""
    rng = np.random.default_rng(62)
    made = cases.make_params(cell, 16, 64, np.float32, rng)
    kernels = {
        name: (rng.normal(size=getattr(made, name).shape) / np.sqrt(len(getattr(made, name)))).astype(np.float32)
        for name in ("kernel", "recurrent_kernel")
    }
    params = replace(made, **kernels)
    x, dy = rng.normal(size=(4, 1000, 16)).astype(np.float32), rng.normal(size=(4, 1000, 64)).astype(np.float32)
    fast = cases.FAST[cell].forward(params, x, training=True)
    slow = cases.SLOW[cell].forward(cases.to_float64(params), cases.to_float64(x), training=True)
    error = np.abs(fast.outputs - slow.outputs)
    assert error[:, -1].max() <= 5e-7
    assert error.max() <= 6e-7  # at any of 256,000 places
    got = cases.FAST[cell].backward(fast.cache, dy)
    want = cases.SLOW[cell].backward(slow.cache, cases.to_float64(dy))
    pairs = [(got.dx, want.dx)]
    pairs += [(getattr(got.dparams, n), getattr(want.dparams, n)) for n in ("kernel", "recurrent_kernel", "bias")]
    for a, b in pairs:
        assert np.abs(a - b).max() <= 1e-6 * np.abs(b).max()
