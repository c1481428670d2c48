"""Packed data: the rows of all steps one after the other, as PyTorch's ``PackedSequence`` has them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rnnx.functional import lstm
from tests.oracle import cases

SIZES = {"ragged": [5, 5, 3, 2, 1, 1], "equal": [4, 4, 4], "one row": [1] * 7, "many": [70, 41, 41, 3], "none": []}
KINDS = ("none", "everything", "state_one_for_batch", "weights", "update")


def problem(cell: str, sizes: list[int], dtype: Any, kind: str = "none", features: int = 4, units: int = 9) -> Any:
    rng = np.random.default_rng(1)
    batch = sizes[0] if sizes else 0
    params = cases.make_params(cell, features, units, dtype, rng)
    x = rng.normal(size=(sum(sizes), features)).astype(dtype)
    state = cases.make_state(cell, batch, units, dtype, rng)
    masks = cases.make_masks(kind, cell, batch, len(sizes), features, units, dtype, rng)
    return params, x, state, masks, rng


def backward_too(run: Any, core: Any, rng: Any, state: Any) -> tuple[Any, ...]:
    doutputs = rng.normal(size=run.outputs.shape).astype(run.outputs.dtype)
    return doutputs, core.backward(run.cache, doutputs, state)


@pytest.mark.parametrize(
    ("name", "kind"), [("none", "none"), *itertools.product([name for name in SIZES if name != "none"], KINDS)]
)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_equal_to_the_reference(cell, name, backwards, kind):
    sizes = SIZES[name]
    call: dict[str, Any] = dict(go_backwards=backwards, batch_sizes=np.array(sizes, np.int64), training=True)
    for dtype in (np.float32, np.float64):
        params, x, state, masks, rng = problem(cell, sizes, dtype, kind)
        fast, slow = cases.FAST[cell], cases.SLOW[cell]
        for sequences in (True, False):
            call["return_sequences"] = sequences
            run = fast.forward(params, x, initial_state=state, masks=masks, **call)
            want = slow.forward(
                cases.to_float64(params),
                cases.to_float64(x),
                initial_state=cases.to_float64(state),
                masks=cases.to_float64(masks),
                **call,
            )
            cases.close(run.outputs, want.outputs, cases.FORWARD_TOLERANCE[dtype], "outputs")
            cases.close(run.state, want.state, cases.FORWARD_TOLERANCE[dtype], "state")
            doutputs, grads = backward_too(run, fast, rng, state)
            right = slow.backward(want.cache, cases.to_float64(doutputs), cases.to_float64(state))
            tolerance = cases.GRADIENT_TOLERANCE[dtype]
            for part in ("dx", "dinitial_state"):
                cases.close(getattr(grads, part), getattr(right, part), tolerance, part)
            for part in ("kernel", "recurrent_kernel", "bias"):
                cases.close(getattr(grads.dparams, part), getattr(right.dparams, part), tolerance, f"d{part}")


@pytest.mark.parametrize("name", ["ragged", "one row", "many"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_reset_is_the_parts_one_by_one(cell, backwards, name):
    """Each part of a row alone, from a zero state but for the one that is read first; none sees another's gradient."""
    sizes = SIZES[name]
    params, x, state, _, rng = problem(cell, sizes, np.float64)
    fast, slow, pair = cases.FAST[cell], cases.SLOW[cell], isinstance(state, tuple)
    reset = rng.random(len(x)) < 0.4
    reset[0] = True  # in front of everything: nothing is lost there by a run backwards
    call: dict[str, Any] = dict(batch_sizes=np.array(sizes), go_backwards=backwards, training=True)
    run = fast.forward(params, x, initial_state=state, reset=reset, **call)
    doutputs = rng.normal(size=run.outputs.shape)
    dstate = [rng.normal(size=part.shape) for part in (state if pair else (state,))]
    grads = fast.backward(run.cache, doutputs, tuple(dstate) if pair else dstate[0])
    right = slow.forward(params, x, initial_state=state, reset=reset, **call)
    cases.close(run.outputs, right.outputs, 1e-12, "outputs")
    inference = fast.forward(params, x, initial_state=state, reset=reset, **{**call, "training": False})
    np.testing.assert_array_equal(inference.outputs, run.outputs)

    begin, kernel, dx, dfirst = np.concatenate(([0], np.cumsum(sizes))), 0.0, np.zeros_like(x), []
    for b in range(sizes[0]):
        rows = begin[: sum(size > b for size in sizes)] + b
        parts = np.split(rows, np.flatnonzero(reset[rows][1:]) + 1)
        first, last = (parts[-1], parts[0]) if backwards else (parts[0], parts[-1])
        if reset[rows[0]] and not backwards:
            first = None
        for part in parts:
            own = [array[b : b + 1] for array in (state if pair else (state,))] if part is first else None
            dend = [array[b : b + 1] if part is last else np.zeros_like(array[:1]) for array in dstate]
            alone = slow.forward(
                params, x[None, part], initial_state=own if own is None or pair else own[0], go_backwards=backwards,
                training=True,
            )  # fmt: skip
            order = part[::-1] if backwards else part
            cases.close(run.outputs[order], alone.outputs[0], 1e-12, "outputs")
            back = slow.backward(alone.cache, doutputs[None, order], tuple(dend) if pair else dend[0])
            dx[part] = back.dx[0]
            kernel = kernel + back.dparams.recurrent_kernel
            if part is first:
                dfirst.append(back.dinitial_state if pair else (back.dinitial_state,))
            if part is last:
                ends = tuple(whole[b : b + 1] for whole in (run.state if pair else (run.state,)))
                cases.close(ends, alone.state if pair else (alone.state,), 1e-12, "state")
        if first is None:
            dfirst.append(tuple(np.zeros((1, 9)) for _ in dstate))
    cases.close(grads.dx, dx, 1e-11, "dx")
    cases.close(grads.dparams.recurrent_kernel, kernel, 1e-11, "dkernel")
    first_of_all = tuple(np.concatenate(part) for part in zip(*dfirst, strict=True))
    cases.close(grads.dinitial_state if pair else (grads.dinitial_state,), first_of_all, 1e-11, "dinitial_state")


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_the_same_bits_as_padded(cell, backwards, monkeypatch):
    """A part of the batch per thread, strided arrays and a given `out` change no bit either."""
    monkeypatch.setattr("rnnx.functional._engine._PRODUCTS_WORTH_A_THREAD", 0)
    sizes, features, units = [40, 40, 33, 17, 17, 2], 24, 32
    params, x, state, _, rng = problem(cell, sizes, np.float32, features=features, units=units)
    core = cases.FAST[cell]
    lengths = (np.array(sizes)[:, None] > np.arange(40)).sum(0)
    b, t = np.nonzero(np.arange(6)[:, None].T < lengths[:, None])
    rows = np.concatenate(([0], np.cumsum(sizes)))[t] + b
    padded = np.zeros((40, 6, features), np.float32)
    padded[b, t] = x[rows]
    place = 5 - t if backwards else t
    whole = core.forward(
        params, padded, initial_state=state, lengths=lengths, go_backwards=backwards, training=True, threads=1
    )
    doutputs = rng.normal(size=(len(x), units)).astype(np.float32)
    spread = np.zeros_like(whole.outputs)
    spread[b, place] = doutputs[rows]
    want = core.backward(whole.cache, spread, state)
    wide, out = np.repeat(x, 3, 1), np.empty((len(x), 2 * units), np.float32)
    for given, room, threads in ((x, None, 1), (x, None, 2), (wide[:, ::3], out[:, :units], 1)):
        run = core.forward(
            params, given, initial_state=state, batch_sizes=np.array(sizes), go_backwards=backwards, training=True,
            threads=threads, out=room,
        )  # fmt: skip
        np.testing.assert_array_equal(run.outputs[rows], whole.outputs[b, place])
        got = core.backward(run.cache, doutputs, state)
        np.testing.assert_array_equal(got.dx[rows], want.dx[b, t])
        for name in ("kernel", "recurrent_kernel", "bias"):
            np.testing.assert_array_equal(getattr(got.dparams, name), getattr(want.dparams, name))
        plain = core.forward(params, given, initial_state=state, batch_sizes=np.array(sizes), go_backwards=backwards)
        np.testing.assert_array_equal(plain.outputs, run.outputs)


def test_activations_of_the_reference():
    params, x, *_ = problem("lstm", [3, 2], np.float32)
    params = type(params)(params.kernel, params.recurrent_kernel, params.bias, activation="gelu")
    run = lstm.forward(params, x, batch_sizes=np.array([3, 2]), training=True)
    assert run.outputs.shape == (5, 9)
    assert lstm.backward(run.cache, np.ones((5, 9), np.float32)).dx.shape == x.shape


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_sizes": [2, 3]}, "sort the sequences by falling length, got"),
        ({"batch_sizes": [5, 0]}, "positive"),
        ({"batch_sizes": [3, 1]}, r"sum\(batch_sizes\) = 4 rows, got 5"),
        ({"batch_sizes": [3.0, 2.0]}, "must be integers"),
        ({"batch_sizes": [3, 2], "lengths": np.array([2, 2, 1])}, "goes without"),
        ({"batch_sizes": [3, 2], "reset": np.zeros((3, 2), bool)}, r"`reset` must have shape \(rows,\) = \(5,\), got"),
        ({"batch_sizes": [3, 2], "reset": np.zeros(5)}, "must be boolean"),
        ({"batch_sizes": [3, 2], "out": np.zeros((4, 9), np.float32)}, r"\(rows, units\) = \(5, 9\)"),
    ],
)
def test_mistakes_are_named(given, words):
    params, x, *_ = problem("lstm", [3, 2], np.float32)
    with pytest.raises((ValueError, TypeError), match=words):
        lstm.forward(params, x, **given)
