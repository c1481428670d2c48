"""Steps of recurrent layers that stand in a graph one behind the other, as cells in a loop of Python are exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._algebra import Atoms, Gate, Linear, Place, Poly, address, as_factor, single
from rnnx.formats.onnx._equations import Equations
from rnnx.formats.onnx._file import Source, attributes_of
from rnnx.formats.onnx._layer_nodes import VERY_FIRST, Found, Unproven, Writer, proven, written
from rnnx.formats.onnx._steps import Step, simple_step, step_of

ROWS = 2  # of the numbers of a check
TAKES_PARTS = ("Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(eq=False)
class Link:
    """A step in its place.

    Attributes
    ----------
    step : Step
    h : int
        The atom of h after it.
    place : int
        The number of the first node of those that make its new states.
    before : Link or None
        The step whose states it takes up, of the same layer.
    chain : Chain or None
    number : int
        In its chain.
    """

    step: Step
    h: int
    place: int
    before: Link | None = None
    chain: Chain | None = None
    number: int = 0


@dataclass(eq=False)
class Chain:
    """Steps of one layer, and the values that they make in the graph that is written.

    Attributes
    ----------
    links : list of Link
    sequence : str
        The outputs of all steps in the order of time, once they are written.
    reverse : bool
    """

    links: list[Link]
    sequence: str = ""
    reverse: bool = False


def chains(source: Source, equations: Equations, writer: Writer) -> Iterator[Callable[[], Found]]:
    """The chains of a graph, in an order in which each can be written once those before it are."""
    links = _links(equations)
    by_h = {link.h: link for link in links}
    for link in links:
        before = by_h.get(link.step.h)
        if before is not None and before.chain is None and _goes_on(equations, before, link, by_h):
            link.before = before
            before.chain = Chain([])  # nobody else goes on from it
    found = []
    for link in links:
        if link.before is None:
            link.chain, link.number = Chain([link]), 0
            found.append(link.chain)
        else:
            chain = link.before.chain
            assert chain is not None
            chain.links.append(link)
            link.chain, link.number = chain, link.before.number + 1
    for chain in found:
        if chain.links[0].step.kind == "RNN" and len(chain.links) < 2:
            continue  # any Dense of two values would be one
        yield partial(_write, source, equations, writer, chain, by_h)


def _write(source: Source, equations: Equations, writer: Writer, chain: Chain, by_h: dict[int, Link]) -> Found:
    return _Writing(source, equations, writer, chain, by_h).found()


def _links(equations: Equations) -> list[Link]:
    atoms, links = equations.atoms, []
    news: set[int] = set()
    partners: dict[int | None, int] = {}  # h by the c of the same step
    seen: set[int] = set()

    def place_of(value: Any) -> int:
        return min(equations.places[name] for name in equations.names_of(value))

    def choose(singles: list[int], c: int | None) -> int | None:
        if c in partners:
            return partners[c] if partners[c] in singles else None
        root = None if c is None else _root(equations, atoms.names[c])
        like = [number for number in singles if root is not None and _root(equations, atoms.names[number]) == root]
        roots = [number for number in singles if _root(equations, atoms.names[number]) is not None]
        found = like or roots or singles
        return found[-1] if found else None

    for node in equations.nodes:
        for name in node.output:
            value = equations.of.get(name)
            if not isinstance(value, Poly) or id(value) in seen:
                continue
            seen.add(id(value))
            step = step_of(atoms, value, choose)
            if step is not None:
                new = single(as_factor(atoms, value, name))
                assert new is not None
                news.add(new)
                if step.new_c is not None:
                    partners[step.new_c] = new
                first = place_of(value if step.new_c is None else atoms.kinds[step.new_c])
                links.append(Link(step, new, min(first, place_of(value))))
            number = single(value)
            if number is not None and isinstance(atoms.kinds[number], Gate):
                simple = _simple_links(equations, number, place_of, news)
                links += simple
                news.update(link.h for link in simple)
    return links


def _simple_links(equations: Equations, number: int, place_of: Callable[[Any], int], known: set[int]) -> list[Link]:
    """A step of a simple layer and, if that is the second one, the first."""
    atoms = equations.atoms
    gate = atoms.kinds[number]
    if not isinstance(gate.argument, Linear):
        return []
    for monomial, matrix in gate.argument.parts.items():
        before = atoms.kinds[monomial[0]] if len(monomial) == 1 else None
        if not isinstance(before, Gate) or not isinstance(before.argument, Linear) or before.operator != gate.operator:
            continue
        for earlier, other in before.argument.parts.items():
            if len(earlier) != 1 or not _equal(matrix, other) or matrix.shape[0] != matrix.shape[1]:
                continue
            pair = simple_step(atoms, before, earlier[0]), simple_step(atoms, gate, monomial[0])
            if pair[0] is not None and pair[1] is not None and _same_layer(pair[0], pair[1]):
                found = [] if monomial[0] in known else [(monomial[0], pair[0])]
                names = {k: equations.of[atoms.names[k]] for k in (monomial[0], number)}
                return [Link(step, k, place_of(names[k])) for k, step in [*found, (number, pair[1])]]
    return []


def _root(equations: Equations, name: str) -> str | None:
    """The input of the graph that a value is a part of; None if it is no part of one."""
    for _ in range(100):
        node = equations.makers.get(name)
        if node is None:
            return name or None
        if node.op_type not in TAKES_PARTS:
            return None
        name = node.input[0]
    return None


def _equal(a: Array, b: Array) -> bool:
    """Whether two weights are the same, wherever they lie."""
    return address(a) == address(b) or (a.shape == b.shape and np.array_equal(a, b))


def _same_layer(a: Step, b: Step) -> bool:
    """Whether two steps have the same weights."""
    if (a.kind, a.activations, a.negated, len(a.inputs)) != (b.kind, b.activations, b.negated, len(b.inputs)):
        return False
    if (a.inner is None) != (b.inner is None):
        return False
    pairs = list(zip(a.gates, b.gates, strict=True))
    if a.inner is not None and b.inner is not None:
        pairs.append((a.inner, b.inner))
    for one, other in pairs:
        if (one.bias is None) != (other.bias is None) or len(one.parts) != len(other.parts):
            return False
        if one.bias is not None and other.bias is not None and not np.array_equal(one.bias, other.bias):
            return False
        for k, m in _roles(a, one).items():
            n = _roles(b, other).get(k)
            if n is None or not _equal(m, n):
                return False
    return True


def _roles(step: Step, linear: Linear) -> dict[Any, Array]:
    """The matrices of a gate by what they are multiplied with."""
    roles: dict[Any, Any] = {(step.h,): "h", step.reset: "r * h"}
    roles.update({(atom,): k for k, atom in enumerate(step.inputs)})
    return {roles[monomial]: matrix for monomial, matrix in linear.parts.items()}


def _goes_on(equations: Equations, a: Link, b: Link, by_h: dict[int, Link]) -> bool:
    """Whether a step is the next one of the same layer."""
    if b.step.kind == "LSTM" and b.step.c != a.step.new_c:
        return False
    if a.step.kind != b.step.kind or len(a.step.inputs) != len(b.step.inputs):
        return False
    way = 0 if a.before is None else _way(equations.atoms, a.before, a)
    for x, y in zip(a.step.inputs, b.step.inputs, strict=True):
        one, other = equations.atoms.kinds[x], equations.atoms.kinds[y]
        if isinstance(one, Place) and isinstance(other, Place):
            if (one.source, one.axis) != (other.source, other.axis):
                return False
            if not isinstance(one.index, int) or not isinstance(other.index, int):
                return False
            if abs(other.index - one.index) != 1 or way not in (0, other.index - one.index):
                return False
        elif x not in by_h or y not in by_h or by_h[y].before is not by_h[x]:
            return False
    return _same_layer(a.step, b.step)


def _way(atoms: Atoms, a: Link, b: Link) -> int:
    """1 if the second of two steps has the later input, -1 if the earlier one."""
    for x, y in zip(a.step.inputs, b.step.inputs, strict=True):
        one, other = atoms.kinds[x], atoms.kinds[y]
        if isinstance(one, Place) and isinstance(other, Place):
            return int(other.index) - int(one.index)
    return 0


class _Writing:
    """A chain that is being written as one node."""

    def __init__(self, source: Source, equations: Equations, writer: Writer, chain: Chain, by_h: dict[int, Link]):
        self.source, self.equations, self.writer, self.chain, self.by_h = source, equations, writer, chain, by_h
        self.opset = source.opsets.get("", 1)
        self.steps = [link.step for link in chain.links]
        self.dtype = self.steps[0].gates[0].parts[(self.steps[0].h,)].dtype
        self.feeds: dict[str, Array] = {}
        self.random = np.random.default_rng(0)
        self.rows: tuple[str, int] | None = None  # a value whose rows are those of the states, and along which axis

    def found(self) -> Found:
        """The nodes in place of the chain, and which are not needed any more.

        Raises
        ------
        Unproven
            If they do not compute the same.
        """
        equations, writer, links = self.equations, self.writer, self.chain.links
        first, last, many = links[0], links[-1], len(links)
        begin = len(writer.nodes)
        self.chain.reverse = many > 1 and _way(equations.atoms, links[0], links[1]) < 0
        x = self._input()
        states = [self._state(first.step.h)] + ([self._state(first.step.c)] if first.step.kind == "LSTM" else [])
        lstm = first.step.kind == "LSTM"
        y, h, c = (
            written(
                writer, first.step, x, states, self.opset, reverse=self.chain.reverse,
                wanted=(many > 1, True, True)[: 3 if lstm else 2],
            ) + [""]
        )[:3]  # fmt: skip
        self.chain.sequence = y
        gone: set[int] = set()
        outputs: list[str] = []

        def instead(value: Any, name: str) -> None:
            """Another node makes a value."""
            target = equations.names_of(value)[0]
            if equations.makers[target].op_type in ("Identity", "Cast"):
                raise Unproven
            gone.add(equations.places[target])
            writer.add("Identity", [name], target)
            outputs.append(target)

        for number, link in enumerate(links):
            value = self._value(link.h)
            if link is last:
                instead(value, h)
            else:
                at = many - 1 - number if self.chain.reverse else number
                instead(value, writer.add("Gather", [y, writer.constant(at)], axis=0))
        if lstm and last.step.new_c is not None:
            instead(equations.atoms.kinds[last.step.new_c], c)
        stacked = self._stacked() if many > 1 else []
        nodes = writer.nodes[begin:]
        arrays = writer.used(nodes)
        both = [*nodes, *(node for _, node in stacked)]
        outputs += [node.output[0] for _, node in stacked]
        proven(self.source, equations, writer, both, arrays, self.feeds, outputs)
        gone.update(place for place, _ in stacked)
        return [(first.place, nodes), *((place, [node]) for place, node in stacked)], arrays, gone

    def _value(self, number: int) -> Any:
        """The value whose atom this is."""
        kind = self.equations.atoms.kinds[number]
        return kind if isinstance(kind, Poly) else self.equations.of[self.equations.atoms.names[number]]

    # ---- What it takes -----------------------------------------------------------------------------------------------

    def _feed(self, name: str, *shape: int) -> None:
        if name not in self.feeds:
            self.feeds[name] = self.random.normal(0, 1, shape).astype(self.dtype)

    def _state(self, number: int | None) -> str:
        """The value of an initial state; none for zeros."""
        assert number is not None
        name, units = self.equations.atoms.names[number], self.steps[0].units
        array = self.equations.array(name) if name else None
        if array is not None:
            if array.any() or array.ndim != 2:
                raise Unproven
            return ""
        if not name or self.equations.rank(name) != 2:
            raise Unproven
        if self.rows is not None and self.equations.zeros_like(name, *self.rows):
            self.feeds[name] = np.zeros((ROWS, units), self.dtype)
            return ""
        self._feed(name, ROWS, units)
        return name

    def _input(self) -> str:
        """The inputs of all steps as one value of shape (timesteps, batch, features)."""
        parts = []
        for k in range(len(self.steps[0].inputs)):
            atoms = [step.inputs[k] for step in self.steps]
            parts.append(self._single(atoms[0], k) if len(atoms) == 1 else self._sequence(atoms, k))
        whole = parts[0] if len(parts) == 1 else self.writer.add("Concat", parts, axis=-1)
        return self.writer.moved("Unsqueeze", whole, [0], self.opset) if len(self.steps) == 1 else whole

    def _width(self, k: int) -> int:
        step = self.steps[0]
        return int(step.gates[0].parts[(step.inputs[k],)].shape[0])

    def _single(self, number: int, k: int) -> str:
        """The input of one step."""
        kind, name = self.equations.atoms.kinds[number], self.equations.atoms.names[number]
        if name and self.equations.array(name) is None:
            if self.equations.rank(name) != 2:
                raise Unproven
            self._feed(name, ROWS, self._width(k))
            self.rows = name, 0
            return name
        if not isinstance(kind, Place) or self.equations.rank(kind.source) != 3 or not isinstance(kind.index, int):
            raise Unproven
        self._feed_sequence(kind.source, kind.axis, kind.index + 1, k)
        return self.writer.add("Gather", [kind.source, self.writer.constant(kind.index)], axis=kind.axis)

    def _feed_sequence(self, source: str, axis: int, least: int, k: int) -> int | None:
        """Numbers for a value with timesteps; how many it has, if that is known."""
        size = self.equations.extent(source, axis)
        if axis not in (0, 1) or (size is not None and size < least):
            raise Unproven
        shape = [size or least, ROWS, self._width(k)]
        self._feed(source, *(shape if axis == 0 else [shape[1], shape[0], shape[2]]))
        self.rows = source, 1 - axis
        return size

    def _sequence(self, numbers: list[int], k: int) -> str:
        kinds = [self.equations.atoms.kinds[number] for number in numbers]
        first, writer = kinds[0], self.writer
        if isinstance(first, Place):
            indices = [int(kind.index) for kind in kinds]
            low, high = min(indices), max(indices) + 1
            in_order = low >= 0 and high - low == len(indices)
            if self.equations.rank(first.source) != 3 or first.axis not in (0, 1) or not in_order:
                raise Unproven
            size = self._feed_sequence(first.source, first.axis, high, k)
            name = first.source
            if (low, high) != (0, size):
                name = writer.part(name, low, high, first.axis, self.opset)
            return name if first.axis == 0 else writer.add("Transpose", [name], perm=[1, 0, 2])
        links = [self.by_h[number] for number in numbers]
        chain = links[0].chain
        if chain is None or not chain.sequence or any(link.chain is not chain for link in links):
            raise Unproven
        low, many = links[0].number, len(chain.links)
        if [link.number for link in links] != list(range(low, low + len(links))):
            raise Unproven
        if chain.reverse:
            self.chain.reverse, low = True, many - low - len(links)
        self._feed(chain.sequence, many, ROWS, self._width(k))
        for link in links:  # what both ways of a check take
            at = many - 1 - link.number if chain.reverse else link.number
            value = self._value(link.h)
            self.feeds[self.equations.names_of(value)[0]] = self.feeds[chain.sequence][at]
        if len(links) == many:
            return chain.sequence
        return writer.part(chain.sequence, low, low + len(links), 0, self.opset)

    # ---- What is made of its outputs ---------------------------------------------------------------------------------

    def _stacked(self) -> list[tuple[int, Any]]:
        """What stands in place of nodes that take the outputs of all steps as one value."""
        from onnx import helper

        equations, found = self.equations, []
        numbers = tuple(link.h for link in self.chain.links)
        in_time = numbers[::-1] if self.chain.reverse else numbers
        flipped = ""
        for place, node in enumerate(equations.nodes):
            if node.op_type != "Concat" or len(node.input) != len(numbers):
                continue
            axis, name = attributes_of(node).get("axis"), self.chain.sequence
            atoms = tuple(self._unsqueezed(part, axis) for part in node.input)
            if axis not in (0, 1) or atoms not in (in_time, in_time[::-1]):
                continue
            if atoms != in_time:
                flipped = flipped or self.writer.part(name, -1, VERY_FIRST, 0, self.opset, -1)
                name = flipped
            made = helper.make_node("Identity", [name], list(node.output), name=node.name)
            if axis:
                made = helper.make_node("Transpose", [name], list(node.output), name=node.name, perm=[1, 0, 2])
            found.append((place, made))
        return found

    def _unsqueezed(self, name: str, axis: Any) -> int | None:
        """The atom that a value is with one more axis."""
        node = self.equations.makers.get(name)
        if node is None or node.op_type != "Unsqueeze":
            return None
        axes = self.equations.integers(node, 1, attributes_of(node), "axes")
        value = self.equations.of.get(node.input[0])
        if axes != [axis] or not isinstance(value, Poly):
            return None
        return value.state if value.state is not None else single(value)
