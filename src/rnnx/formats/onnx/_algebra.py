"""What the values of a graph are in terms of others: products with weights, and sums of products of numbers.

A step of a recurrent layer is spelled in many ways: the gates apart or side by side, ``(1 - z) * n + z * h`` or
``(h - n) * z + n``, one product with both weights or two. Written as polynomials of a few atoms all of them are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx._typing import Array

MOST_TERMS = 8  # of a sum: a step has three
MOST_FACTORS = 3
Monomial = tuple[int, ...]  # numbers of atoms in their order


class NotSaid(Exception):
    """A value is none of these."""


@dataclass(eq=False)
class Poly:
    """A sum of products of atoms, each number for itself.

    Attributes
    ----------
    terms : dict
        Factors of the products of atoms; that of no atoms is a number.
    width : int or None
        Of the last axis.
    """

    terms: dict[Monomial, float]
    width: int | None = None
    state: int | None = None  # the atom that it is for those who multiply it


@dataclass(eq=False)
class Linear:
    """A sum of products with matrices, and of a vector.

    Attributes
    ----------
    parts : dict
        Matrices of shape (features, width) by the monomials that they are multiplied with.
    bias : array of shape (width,) or None
    width : int
    """

    parts: dict[Monomial, Array]
    bias: Array | None
    width: int


@dataclass(eq=False)
class Pieces:
    """Polynomials side by side along the last axis."""

    polys: list[Poly]


Value = Poly | Linear | Pieces


@dataclass(frozen=True)
class Place:
    """One step of a value.

    Attributes
    ----------
    source : str
    axis : int
    index : int or str
        A number, or the value that says which: the counter of a loop.
    """

    source: str
    axis: int
    index: int | str


@dataclass(frozen=True, eq=False)
class Gate:
    """An activation of a sum.

    Attributes
    ----------
    operator : str
        ONNX' name.
    numbers : tuple of float
        alpha and beta, where it has them.
    argument : Linear or Poly
    """

    operator: str
    numbers: tuple[float, ...]
    argument: Value


@dataclass
class Atoms:
    """The atoms of a graph, by their numbers.

    Attributes
    ----------
    kinds : list
        A name of a value, Place, Gate, Linear, or Poly that is a state.
    names : list of str
        The value of the graph that an atom is.
    widths : list
        Of its last axis, or None.
    """

    kinds: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    widths: list[int | None] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)
    budget: int = 0  # bytes that may be computed

    def add(self, key: Any, kind: Any, name: str, width: int | None) -> int:
        """The number of an atom."""
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = len(self.kinds)
            self.kinds.append(kind)
            self.names.append(name)
            self.widths.append(width)
        return found

    def value(self, name: str, width: int | None) -> Poly:
        """A value of which nothing is known."""
        return Poly({(self.add(name, name, name, width),): 1.0}, width)

    def place(self, place: Place, name: str, width: int | None) -> Poly:
        return Poly({(self.add(place, place, name, width),): 1.0}, width)

    def gate(self, operator: str, numbers: tuple[float, ...], argument: Value, name: str) -> Poly:
        width = None if isinstance(argument, Pieces) else argument.width
        number = self.add((operator, numbers, self._key(argument)), Gate(operator, numbers, argument), name, width)
        return Poly({(number,): 1.0}, width)

    def linear(self, linear: Linear, name: str) -> Poly:
        """Products with matrices as one atom, for those who multiply it."""
        return Poly({(self.add(self._key(linear), linear, name, linear.width),): 1.0}, linear.width)

    def _key(self, value: Value) -> Any:
        if isinstance(value, Poly):
            return ("poly", tuple(sorted(value.terms.items())))
        if isinstance(value, Pieces):
            raise NotSaid
        parts = tuple(sorted((monomial, *address(matrix)) for monomial, matrix in value.parts.items()))
        return ("linear", parts, None if value.bias is None else value.bias.tobytes())

    def spend(self, array: Array) -> Array:
        """Count an array that was computed.

        Raises
        ------
        NotSaid
            If it is more than there may be.
        """
        self.budget -= array.nbytes
        if self.budget < 0:
            raise NotSaid
        return array


def address(array: Array) -> tuple[Any, ...]:
    """Where an array lies: views of the same weights are equal."""
    return array.__array_interface__["data"][0], array.shape, array.strides


def single(poly: Value) -> int | None:
    """The atom that a polynomial is; None if it is more."""
    if isinstance(poly, Poly) and len(poly.terms) == 1:
        ((monomial, factor),) = poly.terms.items()
        if len(monomial) == 1 and factor == 1.0:
            return monomial[0]
    return None


# ---- Sums and products -----------------------------------------------------------------------------------------------


def added(atoms: Atoms, a: Value, b: Value, names: tuple[str, str], sign: float = 1.0) -> Value:
    """The sum of two values, or with -1 their difference."""
    if isinstance(a, Linear) and isinstance(b, Linear) and sign == 1.0:
        parts = dict(a.parts)
        for monomial, matrix in b.parts.items():
            parts[monomial] = atoms.spend(parts[monomial] + matrix) if monomial in parts else matrix
        return Linear(parts, _sum(a.bias, b.bias), a.width)
    first, second = (_summand(atoms, value, name) for value, name in zip((a, b), names, strict=True))
    terms = dict(first.terms)
    for monomial, factor in second.terms.items():
        terms[monomial] = terms.get(monomial, 0.0) + sign * factor
    return _bounded(terms, first.width if first.width is not None else second.width)


def multiplied(atoms: Atoms, a: Value, b: Value, names: tuple[str, str]) -> Poly:
    """The product of two values, each number with each."""
    first, second = (as_factor(atoms, value, name) for value, name in zip((a, b), names, strict=True))
    terms: dict[Monomial, float] = {}
    for one, factor in first.terms.items():
        for other, more in second.terms.items():
            monomial = tuple(sorted(one + other))
            terms[monomial] = terms.get(monomial, 0.0) + factor * more
    return _bounded(terms, first.width if first.width is not None else second.width)


def _bounded(terms: dict[Monomial, float], width: int | None) -> Poly:
    terms = {monomial: factor for monomial, factor in terms.items() if factor != 0.0}
    if len(terms) > MOST_TERMS or any(len(monomial) > MOST_FACTORS for monomial in terms):
        raise NotSaid
    return Poly(terms, width)


def _sum(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return np.asarray(a + b)


def with_bias(linear: Linear, bias: Array) -> Linear:
    """The sum of products and a constant."""
    flat = np.broadcast_to(bias.reshape(-1), (linear.width,)) if bias.size in (1, linear.width) else None
    if flat is None or (bias.ndim and bias.size != 1 and bias.shape[-1] != bias.size):
        raise NotSaid
    return Linear(linear.parts, _sum(linear.bias, flat), linear.width)


def polynomial(atoms: Atoms, value: Value, name: str) -> Poly:
    """A value as a polynomial; products with matrices are an atom."""
    if isinstance(value, Linear):
        return atoms.linear(value, name)
    if isinstance(value, Pieces):
        raise NotSaid
    return value


def as_factor(atoms: Atoms, value: Value, name: str) -> Poly:
    """A value as those see it who multiply it: what looks like the new state of a step is one atom."""
    poly = polynomial(atoms, value, name)
    if not _is_state(atoms, poly):
        return poly
    if poly.state is None:
        poly.state = atoms.add(("state", name), poly, name, poly.width)
    return Poly({(poly.state,): 1.0}, poly.width)


def _summand(atoms: Atoms, value: Value, name: str) -> Poly:
    """A value as those see it who add it: the new state of a GRU is one atom, others are summands themselves."""
    poly = polynomial(atoms, value, name)
    return as_factor(atoms, poly, name) if len(poly.terms) == 3 else poly


def _is_state(atoms: Atoms, poly: Poly) -> bool:
    """Whether it is ``o * tanh(c)``, ``f * c + i * g`` or ``z * h + n - z * n``, by its form."""
    pairs = [monomial for monomial in poly.terms if len(monomial) == 2]
    gates = [monomial for monomial in pairs if all(isinstance(atoms.kinds[k], Gate) for k in monomial)]
    others = len(poly.terms) - len(pairs)
    if len(pairs) == 1 and not others:
        return bool(gates)
    if len(pairs) == 2:
        return (not others and bool(gates)) or (others == 1 and bool(set(pairs[0]) & set(pairs[1])))
    return False


def summed(atoms: Atoms, value: Value) -> Value:
    """A sum of atoms each of which is products with matrices as products with matrices."""
    if not isinstance(value, Poly):
        return value
    found: Value | None = None
    for monomial, factor in value.terms.items():
        if len(monomial) != 1 or factor != 1.0 or not isinstance(atoms.kinds[monomial[0]], Linear):
            return value
        linear = atoms.kinds[monomial[0]]
        found = linear if found is None else added(atoms, found, linear, ("", ""))
    return value if found is None else found


# ---- Matrices and parts ----------------------------------------------------------------------------------------------


def product(atoms: Atoms, value: Value, matrix: Array, name: str) -> Linear:
    """The product of a value with a constant matrix."""
    polys = value.polys if isinstance(value, Pieces) else [as_factor(atoms, value, name)]
    known = sum(poly.width or 0 for poly in polys)
    if [poly.width for poly in polys].count(None) > 1:
        raise NotSaid
    widths = [matrix.shape[0] - known if poly.width is None else poly.width for poly in polys]
    if sum(widths) != matrix.shape[0] or min(widths, default=0) < 1:
        raise NotSaid
    parts: dict[Monomial, Array] = {}
    row = 0
    for poly, width in zip(polys, widths, strict=True):
        rows = matrix[row : row + width]
        row += width
        for monomial, factor in poly.terms.items():
            if not monomial or factor != 1.0 or monomial in parts:
                raise NotSaid
            parts[monomial] = rows
            if len(monomial) == 1 and atoms.widths[monomial[0]] is None:
                atoms.widths[monomial[0]] = width
    return Linear(parts, None, matrix.shape[1])


def columns(atoms: Atoms, value: Value, start: int, stop: int, name: str) -> Value:
    """A part of a value along its last axis."""
    number = single(value)
    if number is not None and isinstance(gate := atoms.kinds[number], Gate):
        return atoms.gate(gate.operator, gate.numbers, columns(atoms, gate.argument, start, stop, ""), name)
    if isinstance(value, Linear):
        parts = {monomial: matrix[:, start:stop] for monomial, matrix in value.parts.items()}
        return Linear(parts, None if value.bias is None else value.bias[start:stop], stop - start)
    if isinstance(value, Pieces):
        place = 0
        for poly in value.polys:
            if poly.width is None:
                break
            if (place, place + poly.width) == (start, stop):
                return poly
            place += poly.width
    raise NotSaid


def width_of(value: Value) -> int | None:
    """How many numbers lie along the last axis."""
    if isinstance(value, Pieces):
        widths = [poly.width for poly in value.polys]
        return None if None in widths else sum(width for width in widths if width is not None)
    return value.width


def joined(atoms: Atoms, values: Iterable[tuple[Value, str]]) -> Pieces:
    """Values side by side along the last axis."""
    polys: list[Poly] = []
    for value, name in values:
        polys += value.polys if isinstance(value, Pieces) else [as_factor(atoms, value, name)]
    if len(polys) > MOST_TERMS:
        raise NotSaid
    return Pieces(polys)
