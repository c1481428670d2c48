"""Operations of `rnnx.ops` between layers in ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx import layers, ops
from rnnx.formats.onnx import Session, load_model
from rnnx.formats.onnx._write import exported
from rnnx.formats.onnx._write_operations import BINARY, COMPARISONS, REDUCE, UNARY
from rnnx.saving import FormatError

STEPS, FEATURES = 5, 4
TABLE = np.linspace(0.5, 2, FEATURES).astype("f")


def _positive(x: Any) -> Any:
    return ops.square(x) + 0.5


def _attention(x: Any) -> Any:
    """As it is written by hand: a share for each step."""
    y = layers.LSTM(4, return_sequences=True)(x)
    shares = ops.softmax(ops.squeeze(layers.Dense(1)(ops.tanh(layers.Dense(3)(y))), 2), axis=1)
    return ops.sum(ops.expand_dims(shares, 2) * y, axis=1)


def _dots(x: Any) -> Any:
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 2.0
    return ops.matmul(ops.softmax(scores, axis=-1), x)


CASES: dict[str, Callable[[Any], Any]] = {
    **{name: lambda x, name=name: getattr(ops, name)(_positive(x)) for name in UNARY},
    **{name: lambda x, name=name: getattr(ops, name)(_positive(x), x * 0.5) for name in BINARY},
    **{f"{name} a table": lambda x, name=name: getattr(ops, name)(TABLE, _positive(x)) for name in BINARY},
    **{name: lambda x, name=name: ops.where(getattr(ops, name)(x, 0.1), x, -x) for name in COMPARISONS},
    **{name: lambda x, name=name: getattr(ops, name)(x, axis=1) for name in REDUCE},
    **{f"{name}, kept": lambda x, name=name: x - getattr(ops, name)(x, axis=(1, 2), keepdims=True) for name in REDUCE},
    "logic": lambda x: ops.where(
        ops.logical_or(ops.logical_not(ops.greater(x, 0.0)), ops.logical_and(ops.less(x, 1.0), ops.greater(x, 0.5))),
        x, 3.0,
    ),
    "xor": lambda x: ops.where(ops.logical_xor(ops.greater(x, 0.0), ops.less(x, 0.5)), 1.0, x),
    "softmax": lambda x: ops.softmax(x, axis=1), "log_softmax": ops.log_softmax,
    "concatenate": lambda x: ops.concatenate([x, ops.tanh(x)], axis=-1),
    "stack": lambda x: ops.mean(ops.stack([x, ops.tanh(x), x], axis=1), axis=1),
    "flip": lambda x: layers.GRU(3)(ops.flip(x, 1)), "clip": lambda x: ops.clip(x, -0.5, 0.25),
    "last step": lambda x: x[:, -1], "first steps": lambda x: x[:, :2], "every second": lambda x: x[:, ::2, 1:],
    "backwards": lambda x: x[:, ::-1], "new axis": lambda x: x[:, None, 0, ..., None], "all": lambda x: x[:] * 1.0,
    "one number": lambda x: x[:, 1, -2], "halves": lambda x: x[..., :2] * ops.sigmoid(x[..., 2:]),
    "attention by hand": _attention, "dot products": _dots,
}  # fmt: skip


def model_of(function: Callable[[Any], Any], dtype: str = "float32") -> Any:
    x = rnnx.Input((None, FEATURES), dtype=dtype)
    return rnnx.Model(x, function(x))


@pytest.mark.parametrize("name", CASES)
def test_operations(name: str, tmp_path: Path) -> None:
    model, path = model_of(CASES[name]), tmp_path / "m.onnx"
    x = np.random.default_rng(0).normal(size=(3, STEPS, FEATURES)).astype("f")
    y = model(x)
    model.save(path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    found = {"session": Session(path).run({Session(path).inputs[0].name: x}), "again": {"y": rnnx.load_model(path)(x)}}
    for results in found.values():
        (own,) = results.values()
        np.testing.assert_allclose(own, y, rtol=1e-5, atol=1e-6)
    (wanted,) = ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x})
    assert wanted.shape == y.shape and wanted.dtype == y.dtype
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["attention by hand", "dot products", "halves", "last step", "flip", "kept"])
def test_the_graph_is_a_model_without_its_description(name: str) -> None:
    function = CASES.get(name) or CASES["mean, kept"]
    model = model_of(function)
    x = np.random.default_rng(0).normal(size=(3, STEPS, FEATURES)).astype("f")
    np.testing.assert_allclose(load_model(exported(model)[0])(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_model_with_call() -> None:
    class Tagger(rnnx.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = layers.LSTM(4, return_sequences=True), layers.Dense(2)

        def call(self, x: Any) -> Any:
            y = self.rnn(x)
            return self.out(ops.concatenate([y[:, -1], ops.max(y, axis=1)], axis=-1))

    model = Tagger()
    x = np.random.default_rng(0).normal(size=(3, STEPS, FEATURES)).astype("f")
    y = model(x)
    proto, _ = exported(model)
    (own,) = Session(proto).run({proto.graph.input[0].name: x}).values()
    np.testing.assert_allclose(own, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: ops.cumsum(x, axis=1), r"cumsum.*there is no node"),
        (lambda x: ops.matmul(x, np.ones(FEATURES, "f")), "a product of vectors"),
        (lambda x: ops.concatenate([x, np.ones((1, 1, FEATURES), "f")], axis=0), "joins constants"),
    ],
)
def test_refused_by_name(function: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        exported(model_of(function))
