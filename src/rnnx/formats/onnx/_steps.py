"""Steps of recurrent layers among the equations of a graph, however they are spelled.

An LSTM is ``h' = o * act(c')`` with ``c' = f * c + i * g``, a GRU ``h' = z * h + (1 - z) * n``, a simple layer
``h' = act(...)``; the gates are activations of sums of products of the input and of h with constant weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._algebra import Atoms, Gate, Linear, Poly, address, single, summed
from rnnx.formats.onnx._recurrent import DEFAULT_ACTIVATIONS

Choose = Callable[[list[int], "int | None"], "int | None"]  # which of some atoms is h, given c


@dataclass(frozen=True, eq=False)
class Step:
    """A step.

    Attributes
    ----------
    kind : {"LSTM", "GRU", "RNN"}
    inputs : tuple of int
        Atoms that lie side by side in the input.
    h, c : int
        Atoms of the states before it; ``c`` is None unless it is an LSTM.
    gates : tuple of Linear
        In ONNX' order; the part of the input of a GRU that resets after the product is a gate for itself.
    inner : Linear or None
        The product of h of a GRU that resets after it.
    activations : tuple of (str, tuple of float)
        In ONNX' order.
    reset : tuple of int
        The monomial ``r * h`` of a GRU that resets before the product.
    negated : bool
        Whether the update gate of a GRU is one minus ONNX'.
    new_c : int or None
        The atom of c after an LSTM's step.
    """

    kind: str
    inputs: tuple[int, ...]
    h: int
    c: int | None
    gates: tuple[Linear, ...]
    activations: tuple[tuple[str, tuple[float, ...]], ...]
    inner: Linear | None = None
    reset: tuple[int, ...] = ()
    negated: bool = False
    new_c: int | None = None

    @property
    def units(self) -> int:
        return self.gates[0].width

    def weights(self) -> tuple[Array, Array, Array]:
        """W, R and B of ONNX without the axis of directions."""
        w = [np.concatenate([gate.parts[(atom,)].T for atom in self.inputs], axis=1) for gate in self.gates]
        r, b, dtype = [], [], w[0].dtype
        zeros = np.zeros(self.units, dtype)
        for k, gate in enumerate(self.gates):
            last = self.kind == "GRU" and k == 2
            if not last:
                r.append(gate.parts[(self.h,)].T)
            elif self.inner is not None:
                r.append(self.inner.parts[(self.h,)].T)
            else:
                r.append(gate.parts[self.reset].T)
            b.append(zeros if gate.bias is None else gate.bias)
        if self.negated:
            w[0], r[0], b[0] = -w[0], -r[0], -b[0]
        inner = zeros if self.inner is None or self.inner.bias is None else self.inner.bias
        beside = [zeros] * (len(b) - 1) + [inner]
        return np.concatenate(w), np.concatenate(r), np.concatenate([*b, *beside]).astype(dtype, copy=False)

    def key(self) -> Any:
        """What it has in common with steps of the same weights in the same places: where they lie."""

        roles: dict[Any, str] = {(self.h,): "h", self.reset: "r * h"}
        roles.update({(atom,): str(k) for k, atom in enumerate(self.inputs)})

        def of(linear: Linear | None) -> Any:
            if linear is None:
                return None
            parts = [(roles[monomial], *address(matrix)) for monomial, matrix in linear.parts.items()]
            return sorted(parts), None if linear.bias is None else linear.bias.tobytes()

        return repr((self.kind, self.negated, *map(of, self.gates), of(self.inner)))

    def default_activations(self) -> bool:
        """Whether the activations are those that ONNX takes if none are given."""
        return [name for name, _ in self.activations] == DEFAULT_ACTIVATIONS[self.kind]


def step_of(atoms: Atoms, poly: Poly, choose: Choose) -> Step | None:
    """The LSTM or GRU whose new h a polynomial is; None if it is none."""
    pairs = [monomial for monomial in poly.terms if len(monomial) == 2]
    if len(poly.terms) == 1 and pairs:
        return _lstm(atoms, poly, choose)
    if len(poly.terms) == 3 and len(pairs) == 2:
        return _gru(atoms, poly)
    return None


def simple_step(atoms: Atoms, gate: Gate, h: int) -> Step | None:
    """The simple layer whose new h an activation is, given h before it."""
    linear = gate.argument
    if not isinstance(linear, Linear) or (h,) not in linear.parts or not _fits(atoms, [linear], h):
        return None
    inputs = tuple(monomial[0] for monomial in linear.parts if monomial != (h,))
    return Step("RNN", inputs, h, None, (linear,), ((gate.operator, gate.numbers),)) if inputs else None


def _gate(atoms: Atoms, number: int) -> Gate | None:
    kind = atoms.kinds[number]
    return kind if isinstance(kind, Gate) else None


def _linear(atoms: Atoms, number: int) -> Linear | None:
    """What a gate is an activation of, if that is products with weights."""
    gate = _gate(atoms, number)
    argument = None if gate is None else summed(atoms, gate.argument)
    return argument if isinstance(argument, Linear) else None


def _same_form(atoms: Atoms, numbers: Iterator[int] | list[int]) -> bool:
    """Whether gates have the same activation of products of the same values."""
    gates = [_gate(atoms, number) for number in numbers]
    first = gates[0]
    return first is not None and all(
        gate is not None and (gate.operator, gate.numbers) == (first.operator, first.numbers) for gate in gates
    )


def _fits(atoms: Atoms, linears: list[Any], h: int) -> bool:
    """Whether products are of the same single values, one of which is h, and as wide as that."""
    first = linears[0]
    if any(len(monomial) != 1 for monomial in first.parts):
        return False
    for linear in linears:
        if linear.parts.keys() != first.parts.keys() or linear.width != first.width:
            return False
        if any(linear.parts[m].shape != first.parts[m].shape for m in first.parts):
            return False
    dtypes = {matrix.dtype for linear in linears for matrix in linear.parts.values()}
    return (h,) in first.parts and first.parts[(h,)].shape == (first.width, first.width) and len(dtypes) == 1


def _lstm(atoms: Atoms, poly: Poly, choose: Choose) -> Step | None:
    ((pair, factor),) = poly.terms.items()
    if factor != 1.0 or len(set(pair)) != 2:
        return None
    for o, t in permutations(pair):
        end = _gate(atoms, t)
        inner = None if end is None else single(end.argument)
        if end is None or inner is None or not isinstance(atoms.kinds[inner], Poly):
            continue
        cell = atoms.kinds[inner]
        if len(cell.terms) != 2 or any(len(m) != 2 or value != 1.0 for m, value in cell.terms.items()):
            continue
        found = _lstm_of(atoms, o, end, inner, choose)
        if found is not None:
            return found
    return None


def _lstm_of(atoms: Atoms, o: int, end: Gate, cell: int, choose: Choose) -> Step | None:
    """The step with this output gate and new cell, a sum of two products."""
    ways = [
        (i, f, g, c)
        for first, second in permutations(atoms.kinds[cell].terms)
        for i, g in permutations(first)
        for f, c in permutations(second)
        if _same_form(atoms, [o, i, f]) and _gate(atoms, g) is not None
    ]
    ways.sort(key=lambda way: (gate := _gate(atoms, way[2])) is None or gate.operator != end.operator)
    for i, f, g, c in ways:
        linears = [linear for number in (i, o, f, g) if (linear := _linear(atoms, number)) is not None]
        if len(linears) < 4:
            continue
        first, gate, candidate = linears[0], _gate(atoms, i), _gate(atoms, g)
        assert gate is not None and candidate is not None
        singles = [m[0] for m, matrix in first.parts.items() if len(m) == 1 and matrix.shape[0] == first.width]
        h = choose(singles, c)
        if h is None or not _fits(atoms, linears, h) or atoms.widths[c] not in (None, first.width):
            continue
        inputs = tuple(monomial[0] for monomial in first.parts if monomial != (h,))
        if inputs:
            names = (
                (gate.operator, gate.numbers),
                (candidate.operator, candidate.numbers),
                (end.operator, end.numbers),
            )
            return Step("LSTM", inputs, h, c, tuple(linears), names, new_c=cell)
    return None


def _gru(atoms: Atoms, poly: Poly) -> Step | None:
    ((alone,),) = [monomial for monomial in poly.terms if len(monomial) == 1] or [(-1,)]
    pairs = [monomial for monomial in poly.terms if len(monomial) == 2]
    common = set(pairs[0]) & set(pairs[1])
    if alone < 0 or len(common) != 1:
        return None
    (z,) = common
    others = {monomial: next(k for k in monomial if k != z) for monomial in pairs if set(monomial) != {z}}
    if len(others) != 2 or alone not in others.values() or len(set(others.values())) != 2:
        return None
    for monomial, other in others.items():
        if poly.terms[monomial] != (-1.0 if other == alone else 1.0):
            return None
    if poly.terms[(alone,)] != 1.0:
        return None
    for n, h in permutations(others.values()):
        found = _gru_of(atoms, z, n, h, negated=alone == h)
        if found is not None:
            return found
    return None


def _gru_of(atoms: Atoms, z: int, n: int, h: int, *, negated: bool) -> Step | None:
    update, new, of_update = _gate(atoms, z), _gate(atoms, n), _linear(atoms, z)
    if update is None or new is None or of_update is None or (negated and update.operator != "Sigmoid"):
        return None  # 1 - sigmoid(x) = sigmoid(-x)
    argument = new.argument
    resets: list[tuple[int, Linear, Linear | None, tuple[int, ...]]] = []
    if isinstance(argument, Linear):  # before the product: (r * h) times weights
        resets = [
            (number, argument, None, monomial)
            for monomial in argument.parts
            if len(monomial) == 2 and h in monomial
            for number in monomial
            if number != h
        ]
    elif isinstance(argument, Poly) and len(argument.terms) == 2 and set(argument.terms.values()) == {1.0}:
        alone, pair = sorted(argument.terms, key=len)
        of_input = atoms.kinds[alone[0]] if len(alone) == 1 else None
        for r, inner in permutations(pair) if len(pair) == 2 else ():  # r times the product of h
            product = atoms.kinds[inner]
            if isinstance(of_input, Linear) and isinstance(product, Linear):
                resets.append((r, of_input, product, ()))
    for r, of_new, inner_product, monomial in resets:
        of_reset = _linear(atoms, r)
        if of_reset is None or not _same_form(atoms, [z, r]) or not _fits(atoms, [of_update, of_reset], h):
            continue
        inputs = tuple(m[0] for m in of_update.parts if m != (h,))
        wanted = {(number,) for number in inputs} | ({monomial} if monomial else set())
        square = (of_update.width, of_update.width)
        own = of_new.parts.get(monomial) if inner_product is None else inner_product.parts.get((h,))
        of_h = inner_product is None or len(inner_product.parts) == 1
        shapes = [of_new.parts[(k,)].shape == of_update.parts[(k,)].shape for k in inputs if (k,) in of_new.parts]
        if not inputs or of_new.parts.keys() != wanted or own is None or own.shape != square or not all(shapes):
            continue
        if of_h and of_new.width == of_update.width and own.dtype == of_update.parts[(h,)].dtype:
            names = ((update.operator, update.numbers), (new.operator, new.numbers))
            return Step("GRU", inputs, h, None, (of_update, of_reset, of_new), names, inner_product, monomial, negated)
    return None
