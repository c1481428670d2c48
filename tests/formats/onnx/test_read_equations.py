"""Ways in which programs spell the parts of a step: each is found to be the layer that it is, or left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from rnnx.formats.onnx import Session
from tests.formats.onnx.graphs import Graph
from tests.formats.onnx.spelled import FEATURES, UNITS, Cells, feeds_of
from tests.formats.onnx.test_spelled import operators

STEPS = 3
SEQUENCE = {"x": ("batch", STEPS, FEATURES), "h0": ("batch", UNITS)}
STEP = {"x": ("batch", FEATURES), "h0": ("batch", UNITS)}


def runs_as(proto: Any, kind: str, count: int) -> None:
    """It runs as so many layers, and gives what ONNX' own reference gives."""
    assert operators(proto)[kind] == count
    for batch in (2, 1):
        feeds = feeds_of(proto, batch)
        wanted = ReferenceEvaluator(proto).run(None, feeds)
        for found, expected in zip(Session(proto).run(feeds).values(), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# ---- Hard sigmoids ---------------------------------------------------------------------------------------------------

Bound = Callable[[Graph, str, str, str], str]
BOUNDS: dict[str, Bound] = {  # of a line between two numbers
    "Min, then Max": lambda g, y, low, high: g.add("Max", g.add("Min", y, high), low),
    "Max, then Min": lambda g, y, low, high: g.add("Min", g.add("Max", y, low), high),
    "numbers first": lambda g, y, low, high: g.add("Max", low, g.add("Min", high, y)),
    "Clip": lambda g, y, low, high: g.add("Clip", y, low, high),
}


def lstm_of(bound: Bound, low: float, high: float) -> Any:
    g = Graph({**STEP, "c0": ("batch", UNITS)})

    class Hard(Cells):
        def hard(self, name: str) -> str:
            gate = g.add("MatMul", "x", self.weight(f"w{name}", FEATURES, UNITS))
            gate = g.add("Add", gate, g.add("MatMul", "h0", self.weight(f"r{name}", UNITS, UNITS)))
            line = g.add("Add", g.add("Mul", gate, self.number(0.2)), self.number(0.5))
            return bound(g, line, self.number(low), self.number(high))

    cells = Hard(g)
    i, f, o = (cells.hard(name) for name in "ifo")
    new = g.add("Add", g.add("MatMul", "x", g.weight(FEATURES, UNITS)), g.add("MatMul", "h0", g.weight(UNITS, UNITS)))
    c = g.add("Add", g.add("Mul", f, "c0"), g.add("Mul", i, g.add("Tanh", new)))
    return g.model((g.add("Mul", o, g.add("Tanh", c)), 2), (c, 2))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_line_between_0_and_1_is_a_hard_sigmoid(name: str) -> None:
    runs_as(lstm_of(BOUNDS[name], 0.0, 1.0), "LSTM", 1)


@pytest.mark.parametrize("name", BOUNDS)
def test_between_other_numbers_it_is_none(name: str) -> None:
    runs_as(lstm_of(BOUNDS[name], 0.0, 2.0), "LSTM", 0)


def test_the_smaller_of_two_values_is_none() -> None:
    runs_as(lstm_of(lambda g, y, low, high: g.add("Max", g.add("Min", y, "c0"), low), 0.0, 1.0), "LSTM", 0)


# ---- Steps of a sequence ---------------------------------------------------------------------------------------------


def _split(g: Graph) -> list[str]:
    return [g.squeezed(step, 1) for step in g.add("Split", "x", outputs=STEPS, axis=1)]


def _sliced(g: Graph) -> list[str]:
    ends = [(g.const([t]), g.const([t + 1])) for t in range(STEPS)]
    return [g.squeezed(g.add("Identity", g.add("Slice", "x", a, b, g.const([1]))), 1) for a, b in ends]


def _sliced_from_the_end(g: Graph) -> list[str]:
    ends = [(g.const([t - STEPS]), g.const([t - STEPS + 1] if t < STEPS - 1 else [2**31])) for t in range(STEPS)]
    return [g.squeezed(g.add("Slice", "x", a, b, g.const([1])), 1) for a, b in ends]


def _gathered(g: Graph) -> list[str]:
    return [g.squeezed(g.add("Gather", "x", g.const([t]), axis=1), 1) for t in range(STEPS)]


def _gathered_from_the_end(g: Graph) -> list[str]:
    return [g.add("Gather", "x", g.const(t - STEPS), axis=-2) for t in range(STEPS)]


def _of_products(g: Graph) -> list[str]:
    """One product for all steps, whose parts are taken."""
    whole = g.add("Slice", g.add("Add", "x", g.const(0.0, np.float32)), g.const([0]), g.const([2**31]), g.const([2]))
    return [g.add("Gather", whole, g.const(t), axis=1) for t in range(STEPS)]


@pytest.mark.parametrize(
    "steps", [_split, _sliced, _sliced_from_the_end, _gathered, _gathered_from_the_end, _of_products]
)
def test_steps_are_taken_in_many_ways(steps: Callable[[Graph], list[str]]) -> None:
    g = Graph(SEQUENCE)
    cells, h = Cells(g), "h0"
    for x in steps(g):
        h = cells.gru_after(x, h)
    runs_as(g.model((h, 2)), "GRU", 1)


# ---- Gates -----------------------------------------------------------------------------------------------------------


def test_a_negative_gate() -> None:
    """``h + (-z) * (h - n)`` is a GRU too."""
    g = Graph(STEP)
    n = UNITS
    a = g.add("Gemm", "x", g.weight(3 * n, FEATURES), g.weight(3 * n), transB=1)
    b = g.add("Gemm", "h0", g.weight(3 * n, n), g.weight(3 * n), transB=1)
    ends = [g.const([k]) for k in (0, n, 2 * n, -n)]
    last, axis = g.const([2**31]), g.const([1])
    (ar, az, an), (br, bz, bn) = (
        [g.add("Slice", part, ends[0], ends[1], axis), g.add("Slice", part, ends[1], ends[3], axis),
         g.add("Slice", part, ends[3], last, axis)] for part in (a, b)
    )  # fmt: skip
    r, z = g.add("Sigmoid", g.add("Add", ar, br)), g.add("Sigmoid", g.add("Add", az, bz))
    new = g.add("Tanh", g.add("Add", an, g.add("Mul", r, bn)))
    h = g.add("Add", "h0", g.add("Mul", g.add("Neg", z), g.add("Sub", "h0", new)))
    runs_as(g.model((h, 2)), "GRU", 1)


def test_products_that_are_scaled_or_added_to_by_others_stay() -> None:
    for options in ({"alpha": 0.5}, {"beta": 2.0}):
        g = Graph(STEP)
        a = g.add("Gemm", "x", g.weight(3 * UNITS, FEATURES), g.weight(3 * UNITS), transB=1, **options)
        b = g.add("Gemm", "h0", g.weight(3 * UNITS, UNITS), g.weight(3 * UNITS), transB=1)
        (ar, az, an), (br, bz, bn) = (g.add("Split", part, outputs=3, axis=1) for part in (a, b))
        r, z = g.add("Sigmoid", g.add("Add", ar, br)), g.add("Sigmoid", g.add("Add", az, bz))
        new = g.add("Tanh", g.add("Add", an, g.add("Mul", r, bn)))
        h = g.add("Add", g.add("Mul", g.add("Sub", "h0", new), z), new)
        runs_as(g.model((h, 2)), "GRU", 0)


# ---- Initial states --------------------------------------------------------------------------------------------------


def _by_shape(g: Graph) -> str:
    rows = g.add("Unsqueeze", g.add("Gather", g.add("Shape", "x"), g.const(0)), g.const([0]))
    return g.add("ConstantOfShape", g.add("Concat", rows, g.const([UNITS]), axis=0))


def _by_a_part_of_the_shape(g: Graph) -> str:
    rows = g.add("Slice", g.add("Cast", g.add("Shape", "x"), to=7), g.const([0]), g.const([1]))
    return g.add("Expand", g.const(np.zeros((1, UNITS)), np.float32), g.add("Concat", rows, g.const([UNITS]), axis=0))


def _by_arithmetic(g: Graph) -> str:
    sizes = g.add("Shape", "x", start=0, end=1)
    rows = g.add("Div", g.add("Mul", sizes, g.const([2])), g.const([2]))
    same = g.add("Sub", g.add("Add", g.squeezed(rows, 0), g.const(1)), g.const(1))
    shape = g.add("Concat", g.add("Unsqueeze", same, g.const([0])), g.const([UNITS]), axis=0)
    return g.add("Expand", g.const(np.zeros((1, UNITS)), np.float32), shape)


@pytest.mark.parametrize("state", [_by_shape, _by_a_part_of_the_shape, _by_arithmetic])
def test_zeros_of_the_rows_of_x(state: Callable[[Graph], str]) -> None:
    g = Graph({"x": ("batch", STEPS, FEATURES)})
    cells, h = Cells(g), state(g)
    for t in range(STEPS):
        h = cells.gru_after(g.add("Gather", "x", g.const(t), axis=1), h)
    runs_as(g.model((h, 2)), "GRU", 1)
