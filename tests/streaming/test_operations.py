"""Operations in streams: what is not refused gives, step by step, what the whole sequence gives."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, layers, ops
from tests.layers.ops.cases import CASES, Case, normal

ONE = [case for case in CASES if len(case.inputs) == 1 and case.inputs[0].shape[:2] == (3, 5)]
STREAMED = 100  # cases


def model_of(case: Case) -> Model:
    x = case.inputs[0]
    entry = Input((None, *x.shape[2:]), dtype="float64" if x.dtype.kind == "f" else "int32")
    return Model(entry, case.call(entry))


def agrees(case: Case) -> bool:
    """Whether a stream is made, which then is right."""
    model, x = model_of(case), case.inputs[0]
    x = x.astype("float64" if x.dtype.kind == "f" else "int32")
    try:
        stream = model.stream(batch_size=3)
    except ValueError as error:
        assert "cannot be streamed" in str(error) or "one output" in str(error)
        return False
    steps = [stream.step(x[:, t]) for t in range(5)]
    if stream._many:
        np.testing.assert_allclose(np.stack(steps, axis=1), model(x), rtol=1e-12, atol=1e-14)
    else:
        for t, y in enumerate(steps):
            np.testing.assert_allclose(y, model(x[:, : t + 1]), rtol=1e-12, atol=1e-14)
    return True


def test_what_is_streamed_is_right() -> None:
    streamed = {case.name for case in ONE if agrees(case)}
    assert len(streamed) >= STREAMED
    wanted = "sum last,get_item last,get_item columns,reshape sizes,matmul kernel,take ids,one_hot,split,log_softmax"
    assert set(wanted.split(",")) <= streamed
    for word in (
        "mean steps",
        "softmax",
        "flip",
        "cumsum",
        "get_item back",
        "transpose",
        "operators constants",
        "causal",
    ):
        assert word not in streamed


def test_the_last_step_behind_a_recurrent_layer() -> None:
    x = Input((None, 4))
    h = layers.GRU(6, return_sequences=True)(x)
    model = Model(x, layers.Dense(2)(ops.concatenate([h[:, -1], ops.tanh(h[:, -1, :])], axis=-1)))
    values = normal(2, 7, 4)
    stream = model.stream(batch_size=2)
    for t in range(7):
        np.testing.assert_allclose(stream.step(values[:, t]), model(values[:, : t + 1]), rtol=0, atol=1e-6)


def test_several_parts_of_each_step() -> None:
    x = Input((None, 4))
    left, right = ops.split(layers.GRU(6, return_sequences=True)(x), 2, axis=-1)
    model = Model(x, layers.GRU(3, return_sequences=True)(left * ops.sigmoid(right)))
    values, stream = normal(2, 7, 4), model.stream(batch_size=2)
    found = np.stack([stream.step(values[:, t]) for t in range(7)], axis=1)
    np.testing.assert_allclose(found, model(values), rtol=0, atol=1e-6)


def test_refused_by_name() -> None:
    x = Input((None, 4))
    h = layers.GRU(6, return_sequences=True)(x)
    for y, words in (
        (ops.mean(h, axis=1), r"'mean.*' \(ops.mean\) cannot be streamed: it joins all steps"),
        (h[:, 0], r"ops.get_item\) cannot be streamed: it takes other steps than the last one"),
        (h - h[:, -1:], "joins steps with a value of all steps"),
        (ops.flip(h, axis=1), "joins or moves the steps"),
        (h * np.ones((5, 6)), "it has a constant for each step"),
    ):
        with pytest.raises(ValueError, match=words):
            rnnx.stream(Model(x, y))
