"""Weights and activations between ONNX and rnnx: what goes forth comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnx import activations
from rnnx.formats.onnx._activations import ACTIVATIONS, FUNCTIONS, GateActivation, activation_of_node
from rnnx.formats.onnx._recurrent import GATES
from rnnx.formats.onnx._weights import bias_to_keras, bias_to_onnx, matrix_to_keras, matrix_to_onnx


@given(kind=st.sampled_from(sorted(GATES)), features=st.integers(1, 5), units=st.integers(1, 5), pair=st.booleans())
def test_weights_come_back(kind: str, features: int, units: int, pair: bool) -> None:
    random, width = np.random.default_rng(features), GATES[kind] * units
    kernel = random.normal(size=(features, width))
    np.testing.assert_array_equal(matrix_to_keras(kind, matrix_to_onnx(kind, kernel)), kernel)
    rows = random.normal(size=(width, features))
    np.testing.assert_array_equal(matrix_to_onnx(kind, matrix_to_keras(kind, rows)), rows)
    bias = random.normal(size=(2, width) if pair else width)
    np.testing.assert_array_equal(bias_to_keras(kind, bias_to_onnx(kind, bias), pair), bias)
    both = np.concatenate([random.normal(size=width), random.normal(size=width) if pair else np.zeros(width)])
    np.testing.assert_array_equal(bias_to_onnx(kind, bias_to_keras(kind, both, pair)), both)


def test_the_order_of_the_gates() -> None:
    """ONNX has i o f c, Keras i f c o."""
    np.testing.assert_array_equal(matrix_to_keras("LSTM", np.array([[1], [2], [3], [4]])), [[1, 3, 4, 2]])


@pytest.mark.parametrize("row", ACTIVATIONS, ids=lambda row: row.name)
def test_activations(row: object) -> None:
    """A row of the table is found again, and says what the function in NumPy computes."""
    x = np.linspace(-4, 4, 41).astype(np.float32)
    own = activations.get(row.name)
    if row.node:
        assert activation_of_node(row.operator, {**row.numbers}) == row.name
        if row.numbers:
            assert activation_of_node(row.operator, {**row.numbers, "alpha": 0.123}) is None
    if row.gate:
        gate = GateActivation(row.operator, **row.numbers)
        assert gate.rnnx_name() == row.name
        np.testing.assert_allclose(gate(x), own(x), rtol=1e-6, atol=1e-6)
    else:
        assert row.operator not in FUNCTIONS
