"""Loops of ONNX whose rounds are steps of recurrent layers, as tf2onnx and scripts of PyTorch write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._algebra import Gate, Place, Poly, as_factor, single
from rnnx.formats.onnx._equations import Equations
from rnnx.formats.onnx._file import Source, attributes_of
from rnnx.formats.onnx._layer_nodes import VERY_FIRST, Found, Unproven, Writer, proven, read_by, written
from rnnx.formats.onnx._read_equations import equations_of
from rnnx.formats.onnx._steps import Step, simple_step, step_of

ROWS, ROUNDS = 2, 3  # of the numbers of a check


@dataclass(eq=False)
class Body:
    """The graph of a loop: what its values are in every round.

    Attributes
    ----------
    carried : list of (str, str, str)
        What goes from round to round: its names before all, in a round, and after it.
    collected : list of str
        What is kept of every round.
    slices : dict
        Values of a Scan that are one step of another, by their names: source, axis, and whether it is read backwards.
    """

    graph: Any
    carried: list[tuple[str, str, str]]
    collected: list[str]
    slices: dict[str, tuple[str, int, bool]] = field(default_factory=dict)


def loop(source: Source, equations: Equations, writer: Writer, place: int) -> Found:
    """Layers in place of a Loop or Scan.

    Raises
    ------
    Unproven
        If its rounds are no steps of layers, or it is not certain how many there are.
    """
    node = equations.nodes[place]
    attributes = attributes_of(node)
    graph = attributes["body"]
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in given]
    outputs = [value.name for value in graph.output]
    names = list(node.input)
    if node.op_type == "Loop":
        count = len(inputs) - 2
        if len(names) != count + 2 or len(outputs) <= count:
            raise Unproven
        carried = list(zip(names[2:], inputs[2:], outputs[1 : count + 1], strict=True))
        body = Body(graph, carried, outputs[count + 1 :])
        return _Layers(source, equations, writer, place, body, (inputs[0], inputs[1], outputs[0])).found()
    scans = attributes["num_scan_inputs"]
    count = len(names) - scans
    if count < 0 or len(inputs) != len(names) or len(outputs) < count:
        raise Unproven
    axes = attributes.get("scan_input_axes", [0] * scans)
    backwards = attributes.get("scan_input_directions", [0] * scans)
    slices = {
        inner: (outer, axis, bool(back))
        for inner, outer, axis, back in zip(inputs[count:], names[count:], axes, backwards, strict=True)
    }
    carried = list(zip(names[:count], inputs[:count], outputs[:count], strict=True))
    return _Layers(source, equations, writer, place, Body(graph, carried, outputs[count:], slices), None).found()


class _Layers:
    """A loop that is being written as layers."""

    def __init__(
        self,
        source: Source,
        equations: Equations,
        writer: Writer,
        place: int,
        body: Body,
        control: tuple[str, ...] | None,
    ):
        self.source, self.equations, self.writer, self.place, self.body = source, equations, writer, place, body
        self.node, self.control = equations.nodes[place], control
        self.opset = source.opsets.get("", 1)
        self.feeds: dict[str, Array] = {}
        self.random = np.random.default_rng(0)
        self.rounds = ROUNDS
        self.rows: tuple[str, int] | None = None  # a value whose rows are those of the states, and along which axis
        makers = {name: node for node in body.graph.node for name in node.output}

        def passed(name: str) -> str:
            while name in makers and makers[name].op_type == "Identity":
                name = makers[name].input[0]
            return name

        self.makers, self.passed = makers, passed
        self.fixed = {inner: outer for outer, inner, after in body.carried if passed(after) == inner}
        constants = {inner: equations.array(outer) for inner, outer in self.fixed.items()}
        counters = {control[0]} if control is not None else set()
        counters |= {inner for outer, inner, after in body.carried if self._counts(outer, inner, after)}
        self.counted = set(counters)
        for node in body.graph.node:
            if node.op_type in ("Cast", "Identity") and node.input[0] in counters:
                counters.update(node.output)
        known = {name: array for name, array in constants.items() if array is not None}
        self.body_equations = equations_of(source, body.graph, equations, frozenset(counters), known)

    def _counts(self, outer: str, inner: str, after: str) -> bool:
        """Whether a value is 0 at first and one more after every round."""
        start, node = self.equations.array(outer), self.makers.get(self.passed(after))
        if start is None or start.size != 1 or start.dtype.kind != "i" or start.any() or node is None:
            return False
        if node.op_type != "Add" or inner not in node.input:
            return False
        (other,) = [name for name in node.input if name != inner] or [""]
        return self._inner_number(other) == 1

    def _inner_number(self, name: str) -> float | None:
        """A constant of the body, or of the graph around it."""
        for tensor in self.body.graph.initializer:
            if tensor.name == name:
                array = self.source.array(tensor)
                return float(array.reshape(())) if array.size == 1 else None
        node, found = self.makers.get(name), None
        if node is None:
            found = self.equations.array(self.fixed.get(name, name))
        elif node.op_type == "Constant":
            found = self.equations.constant(attributes_of(node))
        return float(found.reshape(())) if found is not None and found.size == 1 else None

    # ---- Which steps a round is --------------------------------------------------------------------------------------

    def _steps(self) -> list[tuple[Step, int]]:
        """The layers of a round with the atoms of their new h, each behind those that it takes."""
        equations, atoms = self.body_equations, self.body_equations.atoms
        states: dict[int, Any] = {}  # atoms of values that are carried, with what they become
        for _, inner, after in self.body.carried:
            if inner not in self.fixed and inner not in self.counted:
                number = single(equations.value(inner))
                if number is None:  # it is made once more in the body, under the same name
                    raise Unproven
                states[number] = equations.of.get(self.passed(after))
        found: list[tuple[Step, int]] = []
        used: set[int] = set()
        for number, value in states.items():
            if not isinstance(value, Poly):
                continue

            def choose(singles: list[int], c: int | None, wanted: int = number) -> int | None:
                return wanted if wanted in singles else None

            gate = single(value)
            kind = None if gate is None else atoms.kinds[gate]
            step = simple_step(atoms, kind, number) if isinstance(kind, Gate) else step_of(atoms, value, choose)
            if step is None or step.h != number:
                continue
            if step.new_c is not None:
                assert step.c is not None
                if states.get(step.c) is not atoms.kinds[step.new_c]:
                    raise Unproven
                used.add(step.c)
            used.add(number)
            found.append((step, gate if isinstance(kind, Gate) and gate is not None else _atom_of(equations, value)))
        lists = {single(equations.value(inner)) for inner in self._sequences()}
        if not found or states.keys() - used - lists:
            raise Unproven
        made: set[int] = set()
        ordered: list[tuple[Step, int]] = []
        hs = {h for _, h in found}
        while len(ordered) < len(found):
            ready = [p for p in found if p not in ordered and not (set(p[0].inputs) & hs) - made]
            if not ready:
                raise Unproven
            ordered += ready
            made |= {h for _, h in ready}
        return ordered

    def _sequences(self) -> dict[str, str]:
        """Carried lists to which every round adds a value: that value by the name of the list in a round."""
        found = {}
        for outer, inner, after in self.body.carried:
            start, node = self.equations.makers.get(outer), self.makers.get(self.passed(after))
            if start is None or start.op_type != "SequenceEmpty" or node is None or node.op_type != "SequenceInsert":
                continue
            if node.input[0] == inner and len([name for name in node.input if name]) == 2:
                found[inner] = node.input[1]
        return found

    # ---- How many rounds there are -----------------------------------------------------------------------------------

    def _limit(self) -> str:
        """The value that says how many rounds there are."""
        assert self.control is not None
        _, condition, after = self.control
        most, start = (*self.node.input, "", "")[:2]
        goes_on = self.passed(after)
        always = goes_on == condition or self._inner_number(goes_on) == 1
        if most:
            first = self.equations.array(start) if start else None
            if not always or (start and (first is None or not first.all())):
                raise Unproven
            return most
        limits = self._limits(goes_on)
        first = self.equations.array(start) if start else np.array(True)
        begins = limits if first is not None and first.all() else self._first_limits(start)
        if len({self._number_or_name(name) for name in (*limits, *begins)}) != 1:
            raise Unproven
        return limits[0]

    def _number_or_name(self, name: str) -> Any:
        array = self.equations.array(name)
        return name if array is None else float(array.reshape(()))

    def _limits(self, name: str) -> list[str]:
        """The values that the counter has to be less than, if a condition is nothing else."""
        node = self.makers.get(self.passed(name))
        if node is not None and node.op_type == "And":
            return [limit for part in node.input for limit in self._limits(part)]
        if node is None or node.op_type != "Less":
            raise Unproven
        count, limit = (self._uncast(part) for part in node.input)
        step = self.makers.get(count)
        after = {self.passed(a) for _, inner, a in self.body.carried if inner in self.counted}
        added = list(step.input) if step is not None and step.op_type == "Add" else []
        plus_one = any(n in self.counted for n in added) and any(self._inner_number(n) == 1 for n in added)
        if count not in after and not plus_one:
            raise Unproven
        limit = self.fixed.get(limit, limit)
        if limit in self.makers:
            raise Unproven
        return [self._outer_uncast(limit)]

    def _uncast(self, name: str) -> str:
        while name in self.makers and self.makers[name].op_type in ("Cast", "Identity"):
            name = self.makers[name].input[0]
        return name

    def _outer_uncast(self, name: str) -> str:
        while name in self.equations.makers and self.equations.makers[name].op_type in ("Cast", "Identity"):
            name = self.equations.makers[name].input[0]
        return name

    def _first_limits(self, name: str) -> list[str]:
        """The values that 0 has to be less than, if the first condition is nothing else."""
        node = self.equations.makers.get(self._outer_uncast(name))
        if node is not None and node.op_type == "And":
            return [limit for part in node.input for limit in self._first_limits(part)]
        zero = None if node is None or node.op_type != "Less" else self.equations.array(node.input[0])
        if node is None or zero is None or zero.size != 1 or zero.any():
            raise Unproven
        return [self._outer_uncast(node.input[1])]

    def _covers(self, limit: str, source: str, axis: int) -> bool:
        """Whether there are as many rounds as an axis of a value is long."""
        array = self.equations.array(limit)
        if array is not None:
            return array.size == 1 and self.equations.extent(source, axis) == int(array.reshape(()))
        return self.equations.size_of(limit) == self.equations.origin(source, axis)

    # ---- Writing it --------------------------------------------------------------------------------------------------

    def found(self) -> Found:
        """The nodes in place of the loop."""
        equations, writer = self.equations, self.writer
        steps = self._steps()
        limit = None if self.control is None else self._limit()
        begin = len(writer.nodes)
        ends: dict[int, str] = {}  # final states, by the atoms of the states before a round
        sequences: dict[int, str] = {}  # all steps in the order of time
        starts = {single(self.body_equations.value(inner)): outer for outer, inner, _ in self.body.carried}
        reverse = any(back for *_, back in self.body.slices.values())
        for step, h in steps:
            dtype = step.gates[0].parts[(step.inputs[0],)].dtype
            parts = [self._input(number, sequences, limit, step, dtype, reverse) for number in step.inputs]
            x = parts[0] if len(parts) == 1 else writer.add("Concat", parts, axis=-1)
            states = [
                self._state(starts[number], step.units, dtype) for number in (step.h, step.c) if number is not None
            ]
            names = written(
                writer, step, x, states, self.opset, reverse=reverse, wanted=(True, True, True)[: len(states) + 1]
            )
            sequences[h], ends[step.h] = names[0], names[1]
            if step.c is not None:
                ends[step.c] = names[2]
        removed = {self.place}
        outputs = self._outputs(ends, sequences, limit, reverse, removed)
        nodes = writer.nodes[begin:]
        arrays = writer.used(nodes)
        if limit is not None:
            self._feed_rounds(limit)
        proven(self.source, equations, writer, nodes, arrays, self.feeds, outputs)
        return [(self.place, nodes)], arrays, removed

    def _state(self, name: str, units: int, dtype: Any) -> str:
        array = self.equations.array(name)
        if array is not None:
            if array.any() or array.ndim != 2:
                raise Unproven
            return ""
        if self.equations.rank(name) != 2:
            raise Unproven
        if self.rows is not None and self.equations.zeros_like(name, *self.rows):
            self.feeds[name] = np.zeros((ROWS, units), dtype)
            return ""
        if name not in self.feeds:
            self.feeds[name] = self.random.normal(0, 1, (ROWS, units)).astype(dtype)
        return name

    def _input(
        self, number: int, sequences: dict[int, str], limit: str | None, step: Step, dtype: Any, reverse: bool
    ) -> str:
        """An input of a layer for all rounds, the timesteps first."""
        if number in sequences:
            return sequences[number]
        kind, width = self.body_equations.atoms.kinds[number], step.gates[0].parts[(number,)].shape[0]
        if isinstance(kind, Place) and kind.index == "":
            source, axis = self.fixed.get(kind.source, kind.source), kind.axis
            if source in self.makers or limit is None or not self._covers(limit, source, axis):
                raise Unproven
        elif isinstance(kind, str) and kind in self.body.slices:
            source, axis, back = self.body.slices[kind]
            if back != reverse:
                raise Unproven
        else:
            raise Unproven
        if self.equations.rank(source) != 3 or axis not in (0, 1) or self.equations.array(source) is not None:
            raise Unproven
        self.rows = source, 1 - axis
        size = self.equations.extent(source, axis)
        self.rounds = size or self.rounds
        shape = (self.rounds, ROWS, width)
        if source not in self.feeds:
            self.feeds[source] = self.random.normal(0, 1, shape).astype(dtype)
            if axis:
                self.feeds[source] = self.feeds[source].swapaxes(0, 1).copy()
        return source if axis == 0 else self.writer.add("Transpose", [source], perm=[1, 0, 2])

    def _feed_rounds(self, limit: str) -> None:
        """The number of rounds, and the first condition, where they are no constants."""
        for name, value in ((limit, self.rounds), (self.node.input[1], True)):
            if not name or self.equations.array(name) is not None:
                continue
            dtype: Any = np.bool_ if value is True else np.int64
            shape: tuple[int, ...] = ()
            for outer, inner, _ in self.body.carried:
                if self._outer_uncast(outer) == name and inner in self.body_equations.ranks:
                    shape = (1,) * (self.body_equations.ranks[inner] or 0)
            node = self.equations.makers.get(name)
            rank = self.equations.rank(name)
            if rank is not None:
                shape = (1,) * rank
            while node is not None and node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Gather", "Slice"):
                node = self.equations.makers.get(node.input[0])
            if node is not None and node.op_type == "Cast":
                from onnx import helper

                dtype = helper.tensor_dtype_to_np_dtype(attributes_of(node)["to"])
            self.feeds[name] = np.full(shape, value, dtype)

    def _outputs(
        self, ends: dict[int, str], sequences: dict[int, str], limit: str | None, reverse: bool, removed: set[int]
    ) -> list[str]:
        """Give the outputs of the loop, as far as anybody reads them; their names."""
        equations, writer, of_body = self.equations, self.writer, self.body_equations
        read = {name for node in equations.nodes for name in read_by(node)} | equations.ends
        outputs: list[str] = []
        names = list(self.node.output)
        lists = self._sequences()
        for (outer, inner, _), name in zip(self.body.carried, names, strict=False):
            number = single(of_body.value(inner))
            if not name or name not in read:
                continue
            if inner in self.fixed:
                writer.add("Identity", [outer], name)
                continue
            if inner in lists:
                outputs += self._joined(name, lists[inner], sequences, removed)
                continue
            if number not in ends:
                raise Unproven
            writer.add("Identity", [ends[number]], name)
            outputs.append(name)
        axes, back = [0] * len(self.body.collected), [0] * len(self.body.collected)
        if self.control is None:
            attributes = attributes_of(self.node)
            axes = attributes.get("scan_output_axes", axes)
            back = attributes.get("scan_output_directions", back)
        for inner, name, axis, turned in zip(
            self.body.collected, names[len(self.body.carried) :], axes, back, strict=False
        ):
            if not name or name not in read:
                continue
            value = self._sequence(inner, sequences)
            if bool(turned) != reverse:
                value = writer.part(value, -1, VERY_FIRST, 0, self.opset, -1)
            if axis not in (0, 1):
                raise Unproven
            if axis:
                writer.add("Transpose", [value], name, perm=[1, 0, 2])
            else:
                writer.add("Identity", [value], name)
            outputs.append(name)
        return outputs

    def _sequence(self, inner: str, sequences: dict[int, str]) -> str:
        """All steps of a value of a round."""
        value = self.body_equations.of.get(self.passed(inner))
        number = None if not isinstance(value, Poly) else value.state if value.state is not None else single(value)
        if number not in sequences:
            raise Unproven
        return sequences[number]

    def _joined(self, name: str, inner: str, sequences: dict[int, str], removed: set[int]) -> list[str]:
        """Give what joins a list of all steps."""
        outputs = []
        for place, node in enumerate(self.equations.nodes):
            if name not in read_by(node):
                continue
            attributes = attributes_of(node)
            axis = attributes.get("axis")
            if node.op_type != "ConcatFromSequence" or not attributes.get("new_axis", 0) or axis not in (0, 1):
                raise Unproven
            value, target = self._sequence(inner, sequences), node.output[0]
            if axis:
                self.writer.add("Transpose", [value], target, perm=[1, 0, 2])
            else:
                self.writer.add("Identity", [value], target)
            removed.add(place)
            outputs.append(target)
        if name in self.equations.ends:
            raise Unproven
        return outputs


def _atom_of(equations: Equations, value: Poly) -> int:
    """The atom that a new state is for those who multiply it."""
    number = single(as_factor(equations.atoms, value, equations.names_of(value)[0]))
    assert number is not None
    return number
