"""Every operation: what is known of a result before, the model as the arrays, gradients, files, copies."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, ops
from rnnx.layers.ops.operation import RECORDS
from tests.layers.ops.cases import CASES, Case

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def model_of(case: Case, dtype: str = "float64", known: bool = False) -> Any:
    """The call in a model; with unknown sizes of the batch and of the second axis, where that can be."""
    entries = []
    for x in case.inputs:
        sizes = list(x.shape[1:])
        if not known and x.ndim == 3:
            sizes[0] = None if x.shape[1] == 5 else sizes[0]
        batch = len(x) if known else None
        entries.append(Input(sizes, batch_size=batch, dtype=dtype if x.dtype.kind == "f" else "int32"))
    y = case.call(*entries)
    return Model(entries, as_list(y) if isinstance(y, (list, tuple)) else y)


def of_type(x: Any, dtype: str) -> Any:
    return x.astype(dtype if x.dtype.kind == "f" else "int32")


SIZES_ALONE = ("ones", "arange steps", "arange floats")  # arrays and no graph where sizes are known


@by_name
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_computes_what_the_arrays_do(case: Case, dtype: str) -> None:
    inputs = [of_type(x, dtype) for x in case.inputs]
    wanted = as_list(case.call(*inputs))
    for known in (False, True):
        if known and case.name in SIZES_ALONE:
            continue
        model = model_of(case, dtype, known)
        found = as_list(model(inputs))
        for tensor, one, two in zip(model.outputs, found, wanted, strict=True):
            assert one.shape == two.shape and one.dtype == tensor.dtype
            assert len(tensor.shape) == one.ndim
            if known:
                assert tensor.shape == one.shape
            assert all(n in (None, m) for n, m in zip(tensor.shape, one.shape, strict=True))
            if one.dtype == two.dtype:
                np.testing.assert_array_equal(one, two)
            else:  # constants of float64 beside float32: those of a model take the type of its tensors
                assert (one.dtype, two.dtype) == (np.float32, np.float64)
                np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@by_name
def test_sizes_are_not_taken_from_the_first_batch(case: Case) -> None:
    """A model of unknown sizes computes other batches, and other lengths where the case allows them."""
    if any(word in case.name for word in ("constants", "of a vector", "rows", "apart", "beside", "implicit", "slice")):
        pytest.skip("of one size")
    model = model_of(case)
    inputs = [np.concatenate([x, x[:1]]) for x in case.inputs]
    if case.name not in ("repeat each", "matmul rows"):
        for found, wanted in zip(as_list(model(inputs)), as_list(case.call(*inputs)), strict=True):
            np.testing.assert_array_equal(found, wanted)


@by_name
def test_gradients(case: Case) -> None:
    model = model_of(case)
    inputs = [np.array(of_type(x, "float64")) for x in case.inputs]
    rng = np.random.default_rng(7)
    y, pullback = model.vjp(inputs if len(inputs) > 1 else inputs[0])
    slopes = [rng.normal(size=part.shape) for part in as_list(y)]
    gradients = as_list(pullback(slopes if isinstance(y, list) else slopes[0]).dx)
    if not case.smooth:
        assert all(d is None or not d.any() for d in gradients)
        return

    def value() -> float:
        found = as_list(case.call(*inputs))
        return sum(float((slope * part).sum()) for slope, part in zip(slopes, found, strict=True))

    for x, d in zip(inputs, gradients, strict=True):
        if x.dtype.kind != "f":
            assert d is None
            continue
        d = np.zeros_like(x) if d is None else d
        assert d.shape == x.shape and d.dtype == x.dtype
        for flat in rng.choice(x.size, min(12, x.size), replace=False):
            place = np.unravel_index(flat, x.shape)
            kept, ends = x[place], []
            for step in (1e-6, -1e-6):
                x[place] = kept + step
                ends.append(value())
            x[place] = kept
            np.testing.assert_allclose(d[place], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7, err_msg=str(place))


@by_name
def test_configurations_and_copies(case: Case) -> None:
    model = model_of(case)
    inputs = [of_type(x, "float64") for x in case.inputs]
    wanted = as_list(model(inputs))
    again = [rnnx.models.model_from_json(json.loads(json.dumps(model.to_json()))), copy.deepcopy(model)]
    again.append(pickle.loads(pickle.dumps(model)))
    for twin in again:
        for tensor, other in zip(model.outputs, twin.outputs, strict=True):
            assert tensor.shape == other.shape and tensor.dtype == other.dtype
        for one, two in zip(as_list(twin(inputs)), wanted, strict=True):
            np.testing.assert_array_equal(one, two)


def test_every_operation_has_a_case() -> None:
    names = {case.name.split()[0] for case in CASES} | {"get_item", "axis_size"}
    assert set(RECORDS) - names == set()
    public = {name for name in ops.__all__ if getattr(ops, name).__name__ in RECORDS}
    assert {name for name in RECORDS} - {getattr(ops, name).__name__ for name in public} - {"axis_size"} <= {
        "where", "reshape", "get_item", "full", "einsum"}  # fmt: skip


def test_weighted_means_of_lists() -> None:
    assert ops.average([[1.0, 2.0], [3.0, 6.0]], axis=1, weights=[3.0, 1.0]).tolist() == [1.25, 3.75]
