"""A graph as a list of steps: what is constant is computed once, and each step knows where its numbers lie.

Values live in a list; a step is a function with the places of its inputs and outputs. Graphs inside ``If``, ``Loop``
and ``Scan`` are programs of their own that are given the outer values they use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.formats.onnx import _operators, _shapes
from rnnx.formats.onnx._evaluator import evaluator
from rnnx.formats.onnx._file import Source, attributes_of, called, reason, subgraphs
from rnnx.formats.onnx._limits import SMALL, Guard, guard_of
from rnnx.formats.onnx._node import Function, NodeInfo
from rnnx.formats.onnx._quantized import QuantizedLSTM
from rnnx.formats.onnx._recurrent import Options, Recurrent
from rnnx.formats.onnx._shortcuts import Shortcuts, shape_follows
from rnnx.saving import FormatError

Array = NDArray[Any]
MAKERS = {**_operators.MAKERS, **_shapes.MAKERS}
RECURRENT = ("LSTM", "GRU", "RNN")
SEVERAL = {"Split", "TopK"}  # operators whose versions here return a tuple also for a single output
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Step:
    """A node that is run.

    Attributes
    ----------
    function : callable
    inputs : tuple of int
        Places of its inputs; place 0 holds None.
    outputs : int or tuple of int
        One place for a function that returns an array; places, -1 for unused ones, for one that returns a tuple.
    guard : callable or None
        Bytes that it is going to ask for.
    who : str
        What error messages call it.
    frees : tuple of int
        Places that nothing reads behind it.
    """

    function: Function
    inputs: tuple[int, ...]
    outputs: int | tuple[int, ...]
    guard: Guard | None
    who: str
    frees: tuple[int, ...] = ()


class Program:
    """A graph that is ready to run.

    Parameters
    ----------
    source : Source
    graph : GraphProto
    memory : int
        Bytes that the values of a run may take together.
    outer : Program, optional
        That of the graph around this one.
    example : dict, optional
        Values of all inputs and captured values: the program is for inputs of their shapes only.

    Attributes
    ----------
    inputs, outputs : list of str
    captured : list of str
        Values of the outer graph that this one reads; they are given behind the inputs.
    """

    def __init__(
        self,
        source: Source,
        graph: Any,
        memory: int,
        outer: Program | None = None,
        example: dict[str, Any] | None = None,
    ):
        self.source, self.memory, self.outer, self.example = source, memory, outer, example
        self.seen: dict[int, Any] = {0: None}  # with an example: the value at each place
        self.fixed: set[int] = {0}  # and the places whose shapes follow from those of the inputs
        self.looks_at_shapes = False
        self.start: list[Any] = [None]  # constants stand in it
        self.known: dict[int, Array] = {}
        self.places: dict[str, int] = {"": 0}
        self.steps: list[Step] = []
        self.captured: list[str] = []
        self.evaluated: set[str] = set()
        given = {tensor.name for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in given]
        for name in self.inputs:
            self._given(name)
        self.outputs = [value.name for value in graph.output]
        ends = self.add_graph(graph)
        self._finish(ends)
        self.shortcuts: Shortcuts | None = None
        if self.looks_at_shapes and example is None:
            names = [*self.inputs, *self.captured]
            self.shortcuts = Shortcuts(lambda found: Program(source, graph, memory, outer, found), names)

    # ---- Making it ---------------------------------------------------------------------------------------------------

    def _new(self, name: str, value: Any = None) -> int:
        if name in self.places and name:
            raise FormatError(f"{self.source.name}: the value {name[:80]!r} is made twice")
        self.places[name] = len(self.start)
        self.start.append(value)
        if value is not None:
            self.known[self.places[name]] = value
        return self.places[name]

    def _given(self, name: str) -> int:
        """A place for a value that comes from outside."""
        place = self._new(name)
        if self.example is not None:
            self.seen[place] = self.example[name]
            self.fixed.add(place)
        return place

    def _place(self, name: str, who: str) -> int:
        """Where a value lies; one of an outer graph is captured."""
        if name in self.places:
            return self.places[name]
        program = self.outer
        while program is not None:
            if name in program.places:
                value = program.known.get(program.places[name])
                if value is not None:
                    return self._new(name, value)
                self.captured.append(name)
                return self._given(name)
            program = program.outer
        raise FormatError(f"{self.source.name}: {who} reads {name[:80]!r}, which nothing before it makes")

    def add_graph(self, graph: Any) -> list[int]:
        """Append the steps of a graph; the places of its outputs."""
        for tensor in graph.initializer:
            self._new(tensor.name, self.source.array(tensor))
        for node in graph.node:
            self._add(node)
        return [self._place(value.name, "the graph's output") for value in graph.output]

    def _add(self, node: Any) -> None:
        who = called(node)
        places = tuple(self._place(name, who) for name in node.input)
        try:
            attributes = attributes_of(node)
            self._add_node(node, who, places, attributes)
        except FAILURES as error:
            if isinstance(error, FormatError) and str(error).startswith(self.source.name):
                raise
            raise FormatError(f"{self.source.name}: {who}: {reason(error)}") from error

    def _add_node(self, node: Any, who: str, places: tuple[int, ...], attributes: dict[str, Any]) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        name = node.op_type if domain == "" else f"{domain}.{node.op_type}"
        constants = {k: self.known[p] for k, p in enumerate(places) if p in self.known}
        if name == "Constant":
            self._new(node.output[0], self._constant(attributes))
            return
        if name == "Identity":
            self._alias(node, list(places))
            return
        if name in ("If", "Loop", "Scan"):
            self._add_control(node, who, places, attributes, constants)
            return
        if subgraphs(node):
            raise FormatError("graphs inside this operator are not supported")
        if domain not in self.source.opsets:
            raise FormatError(f"the file does not say which version of domain {domain!r} it uses")
        self.looks_at_shapes |= name in ("Shape", "Size")
        if name in ("Shape", "Size") and self.example is not None and places[0] in self.fixed and not constants:
            constants = {0: np.broadcast_to(np.zeros((), np.int8), self.seen[places[0]].shape)}
        info = NodeInfo(
            name,
            self.source.opsets[domain],
            {k: self.source.array(v, who) if hasattr(v, "data_type") else v for k, v in attributes.items()},
            constants,
            tuple(map(bool, node.input)),
            tuple(map(bool, node.output)),
        )
        function = self._function(node, info)
        several = function[1] or len(node.output) != 1
        if len(constants) == sum(info.inputs) and name not in RANDOM and self._computed(function[0], info, node):
            return
        outputs: Any = tuple(self._new(n) if n else -1 for n in node.output)
        guard = guard_of(info)
        self.looks_at_shapes |= guard is not None
        step = Step(function[0], places, outputs if several else outputs[0], guard, who)
        self._append(step, shape_follows(info))

    def _function(self, node: Any, info: NodeInfo) -> tuple[Function, bool]:
        """What runs a node, and whether it returns a tuple also for a single output."""
        if info.operator in RECURRENT or info.operator == "com.microsoft.DynamicQuantizeLSTM":
            return self._recurrent(info), True
        maker = MAKERS.get(info.operator)
        made = maker(info) if maker is not None else None
        if made is not None:
            return made, info.operator in SEVERAL
        self.evaluated.add(info.operator)
        return evaluator(node, self.source.opsets), True

    def _recurrent(self, info: NodeInfo) -> Function:
        plain = info.operator in RECURRENT
        options = Options.read(info.operator if plain else "LSTM", info.attributes)
        if not plain:
            return QuantizedLSTM(options, info)
        weights = {"w": 1, "r": 2, "b": 3, "p": 7}
        if not all(place in info.constants or not info.has(place) for place in weights.values()):
            return Recurrent(options, info.outputs)
        return Recurrent(options, info.outputs, *(info.constants.get(place) for place in weights.values()))

    def _constant(self, attributes: dict[str, Any]) -> Array:
        if len(attributes) != 1:
            raise FormatError("a constant has one value")
        ((kind, value),) = attributes.items()
        if kind == "value":
            return self.source.array(value, "constant")
        if kind in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if kind in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        if kind in ("value_string", "value_strings"):
            return np.asarray(value, object)
        raise FormatError(f"a constant cannot be {kind!r}")

    def _computed(self, function: Function, info: NodeInfo, node: Any) -> bool:
        """Compute a node all of whose inputs are constants; False if its result would be large."""
        arguments = [info.constants.get(k) for k in range(len(info.inputs))]
        guard = guard_of(info)
        size = max(
            [0 if guard is None else guard(*arguments), *(getattr(a, "nbytes", 0) for a in info.constants.values())]
        )
        if size > self.source.budget:
            return False
        with np.errstate(all="ignore"):
            results = function(*arguments)
        results = results if isinstance(results, tuple) else (results,)
        for name, value in zip(node.output, results, strict=False):
            self.source.budget -= getattr(value, "nbytes", 0)
            if name:
                self._new(name, np.asarray(value) if isinstance(value, np.generic) else value)
        return True

    def _add_control(
        self, node: Any, who: str, places: tuple[int, ...], attributes: dict[str, Any], constants: dict[int, Array]
    ) -> None:
        from rnnx.formats.onnx import _control

        if node.op_type == "If":
            branches = [attributes.get("then_branch"), attributes.get("else_branch")]
            if None in branches or len(places) != 1:
                raise FormatError("If needs a condition and two graphs")
            if 0 in constants:  # the other graph is never needed
                ends = self.add_graph(branches[0] if bool(constants[0].item()) else branches[1])
                self._alias(node, ends)
                return
            programs = [Program(self.source, branch, self.memory, self) for branch in branches]
            function: Function = _control.If(*programs)
        else:
            body = attributes.get("body")
            if body is None:
                raise FormatError(f"{node.op_type} needs a graph")
            programs = [Program(self.source, body, self.memory, self)]
            if node.op_type == "Loop":
                function = _control.Loop(programs[0], len(places) - 2)
            else:
                function = _control.Scan(programs[0], len(places), attributes, self.source.opsets[""])
        captured = tuple(self._place(name, who) for program in programs for name in program.captured)
        self.evaluated.update(*(program.evaluated for program in programs))
        outputs = tuple(self._new(n) if n else -1 for n in node.output)
        self.looks_at_shapes |= any(program.looks_at_shapes for program in programs)
        self._append(Step(function, (*places, *captured), outputs, None, who), False)

    def _alias(self, node: Any, ends: list[int]) -> None:
        if len(ends) != len(node.output):
            raise FormatError(f"{len(ends)} results for {len(node.output)} outputs")
        for name, place in zip(node.output, ends, strict=True):
            if name:
                if name in self.places:
                    raise FormatError(f"the value {name!r} is made twice")
                self.places[name] = place

    def _append(self, step: Step, shape_follows: bool) -> None:
        self.steps.append(step)
        if self.example is None:
            return
        arguments = [self.seen.get(k, self.known.get(k)) for k in step.inputs]
        size = 0 if step.guard is None else step.guard(*arguments)
        if size > SMALL:
            self._check(list(self.seen.values()), size)
        with np.errstate(all="ignore"):
            results = step.function(*arguments)
        single = isinstance(step.outputs, int)
        places: Any = (step.outputs,) if single else step.outputs
        results = (results,) if single else results
        self.seen.update(zip(places, results, strict=False))
        if shape_follows and all(k in self.fixed or k in self.known for k in step.inputs):
            self.fixed.update(places)
            self.steps[-1] = replace(step, guard=None)  # it will never ask for more than it did now

    def _finish(self, ends: list[int]) -> None:
        """Drop steps that nothing needs, and note after which step a value is not needed any more."""
        needed, kept = set(ends), []
        last: set[int] = set(ends) | set(self.known)
        for step in reversed(self.steps):
            made = {step.outputs} if isinstance(step.outputs, int) else set(step.outputs) - {-1}
            if not made & needed:
                continue
            needed |= set(step.inputs)
            dead = tuple(p for p in set(step.inputs) | (made - needed) if p and p not in last)
            last |= set(step.inputs) | made
            kept.append(Step(step.function, step.inputs, step.outputs, step.guard, step.who, dead))
        self.steps = kept[::-1]
        self._ends = ends
        self._run_list = [(s.function, s.inputs, s.outputs, s.frees, s.guard) for s in self.steps]

    # ---- Running it --------------------------------------------------------------------------------------------------

    def run(self, *arrays: Any) -> list[Any]:
        """The outputs for these inputs and captured values, by the program for their shapes if there is one."""
        if self.shortcuts is not None:
            short = self.shortcuts.find(arrays)
            if short is not None:
                outputs: list[Any] = short[0].execute(*[arrays[k] for k in short[1]])
                return outputs
        return self.execute(*arrays)

    def execute(self, *arrays: Any) -> list[Any]:
        """The outputs for these inputs and captured values.

        Raises
        ------
        FormatError
            If an operator fails, or asks for more memory than a run may take.
        """
        values = self.start.copy()
        values[1 : 1 + len(self.inputs)] = arrays[: len(self.inputs)]
        for name, value in zip(self.captured, arrays[len(self.inputs) :], strict=True):
            values[self.places[name]] = value
        number, made = -1, 0
        try:
            for number, (function, inputs, outputs, frees, guard) in enumerate(self._run_list):  # noqa: B007
                arguments = [values[k] for k in inputs]
                if guard is not None and (size := guard(*arguments)) > SMALL:
                    self._check(values, size)
                result = function(*arguments)
                if outputs.__class__ is int:
                    values[outputs] = result
                    made += result.nbytes
                else:
                    for place, part in zip(outputs, result, strict=False):  # type: ignore[arg-type]
                        if place >= 0:
                            values[place] = part
                            made += getattr(part, "nbytes", 0)
                if made > SMALL:
                    self._check(values, 0)
                    made = 0
                for place in frees:
                    values[place] = None
        except FAILURES as error:
            if isinstance(error, FormatError) and str(error).startswith(self.source.name):
                raise
            raise FormatError(f"{self.source.name}: {self.steps[number].who}: {reason(error)}") from error
        return [values[place] for place in self._ends]

    def _check(self, values: Sequence[Any], more: int) -> None:
        """Refuse to go on if the values and what comes are larger than a run may take."""
        total = more + sum(getattr(value, "nbytes", 0) for value in values)
        if total > self.memory:
            raise FormatError(
                f"the run would take {total:,} bytes, at most {self.memory:,} are allowed; "
                "give Session(..., memory=...) if this is meant"
            )
