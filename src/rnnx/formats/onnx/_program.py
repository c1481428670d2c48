"""A graph as a list of steps: what is constant is computed once, and each step knows where its numbers lie.

Values live in a list; a step is a function with the places of its inputs and outputs. Graphs inside ``If``, ``Loop``
and ``Scan`` are programs of their own that are given the outer values they use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats._limits import obstacles
from rnnx.formats.onnx._evaluator import evaluator
from rnnx.formats.onnx._file import Source, attributes_of, called, reason, subgraphs, walk
from rnnx.formats.onnx._limits import LONG, SMALL
from rnnx.formats.onnx._node import Function, NodeInfo, Operator, Unsupported
from rnnx.formats.onnx._registry import RANDOM, Guard, fold, grows, guard_of, operator_of, shape_follows
from rnnx.formats.onnx._shortcuts import Shortcuts
from rnnx.formats.onnx._sizes import Refused, measure
from rnnx.saving import FormatError

RUN = 8_000  # nanoseconds of a run of a program, beside its steps
STEP = 3_000  # of a step
MAKE = 50_000  # of making a step
PACKED = 2**16  # bytes of constants from which on a function is worth keeping for programs of particular shapes
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
        Bytes that it is going to ask for, and nanoseconds.
    who : str
        What error messages call it.
    grows : bool
        Whether small inputs can lead to large results or much work.
    nested : bool
        Whether it runs programs.
    frees : tuple of int
        Places that nothing reads behind it.
    quiet : bool
        Whether NumPy has nothing to say of its numbers.
    """

    function: Function
    inputs: tuple[int, ...]
    outputs: int | tuple[int, ...]
    guard: Guard | None
    who: str
    grows: bool = True
    nested: bool = False
    frees: tuple[int, ...] = ()
    quiet: bool = False


class Program:
    """A graph that is ready to run.

    Parameters
    ----------
    source : Source
    graph : GraphProto
    outer : Program, optional
        That of the graph around this one.
    example : dict, optional
        Values of all inputs and captured values: the program is for inputs of their shapes only.
    base : Program or alike, optional
        That for inputs of any shapes, of the same graph: its constants and packed weights are used.
    runs : bool
        If not, only its constants are wanted: ``known`` and ``places`` are filled, and nothing is made for the nodes
        that have to run.

    Attributes
    ----------
    inputs, outputs : list of str
    captured : list of str
        Values of the outer graph that this one reads; they are given behind the inputs.
    weight : int
        Nanoseconds of a run, beside what the guards say.
    quiet : bool
        Whether NumPy has nothing to say of any numbers in it.
    """

    def __init__(
        self,
        source: Source,
        graph: Any,
        outer: Program | None = None,
        example: dict[str, Any] | None = None,
        base: Any = None,
        runs: bool = True,
    ):
        self.runs = runs
        self.source, self.meter, self.outer, self.example, self.base = source, source.meter, outer, example, base
        self.seen: dict[int, Any] = {0: None}  # with an example: the value at each place
        self.seen_bytes = 0
        self.fixed: set[int] = {0}  # and the places whose shapes follow from those of the inputs
        self.looks_at_shapes = False
        self.weight = RUN
        self.start: list[Any] = [None]  # constants stand in it
        self.known: dict[int, Array] = {}
        self.places: dict[str, int] = {"": 0}
        self.steps: list[Step] = []
        self.captured: list[str] = []
        self.evaluated: set[str] = set()
        self.functions: dict[str, tuple[Any, dict[int, Any], Function]] = {}  # with packed weights, by an output
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
            cost = MAKE * sum(len(inner.node) for inner, _ in walk(graph))
            self.shortcuts = Shortcuts(
                lambda found: Program(source, graph, outer, found, self), names, self.meter, cost
            )

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
            before = None if self.base is None else self.base.known.get(self.base.places.get(tensor.name, 0))
            self._new(tensor.name, self.source.array(tensor) if before is None else before)
        missing: list[str] = []
        for node in graph.node:
            try:
                self._add(node)
            except FormatError as error:
                if not isinstance(error, Unsupported) and not error.reasons:
                    raise
                missing += error.reasons or [str(error)]
                for name in node.output:
                    if name and name not in self.places:
                        self._new(name)  # so that the nodes behind it say what they lack themselves
        if missing:
            raise obstacles(self.source.name, missing)
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
            kind = Unsupported if isinstance(error, Unsupported) else FormatError
            raise kind(f"{self.source.name}: {who}: {reason(error)}") from error

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
        folds = len(constants) == sum(map(bool, node.input)) and name not in RANDOM
        if not (self.runs or folds or (name == "If" and 0 in constants)):
            for output in filter(None, node.output):
                self._new(output)
            return
        if name in ("If", "Loop", "Scan"):
            self._add_control(node, who, places, attributes, constants)
            return
        if subgraphs(node):
            raise FormatError("graphs inside this operator are not supported")
        if node.input and not node.input[0]:  # NumPy would take None for an object of its own
            raise FormatError("the first input of this operator must be given")
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
        operator = operator_of(name)
        info, function = self._function(node, operator, info)
        several = info.evaluated or operator.several or len(node.output) != 1
        guard = guard_of(operator, info)
        if folds and self._computed(function, guard, info, node):
            return
        outputs: Any = tuple(self._new(n) if n else -1 for n in node.output)
        growing = grows(operator, info)
        self.looks_at_shapes |= growing
        step = Step(function, places, outputs if several else outputs[0], guard, who, growing,
                    quiet=operator.quiet and not info.evaluated)  # fmt: skip
        self._append(step, shape_follows(info))

    def _function(self, node: Any, operator: Operator, info: NodeInfo) -> tuple[NodeInfo, Function]:
        """What runs a node, and the node with a note whether that is the reference evaluator."""
        if isinstance(operator.result, Refused):
            raise Unsupported(f"the operator is not supported: {operator.result.why}")
        key = next((name for name in node.output if name), "")
        if self.base is not None and key in self.base.functions:
            twin, constants, made = self.base.functions[key]
            same = constants.keys() == info.constants.keys() and twin == node
            if same and all(constants[k] is array for k, array in info.constants.items()):
                return info, made
        found = operator.make(info) if operator.make is not None else None
        if found is None:
            self.evaluated.add(info.operator)
            return replace(info, evaluated=True), evaluator(node, self.source.opsets, self.source.evaluators)
        if any(array.nbytes > PACKED for array in info.constants.values()):
            self.functions[key] = (node, info.constants, found)
        return info, found

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

    def _computed(self, function: Function, guard: Guard, info: NodeInfo, node: Any) -> bool:
        """Compute a node all of whose inputs are constants; False if that would take much."""
        arguments = [info.constants.get(k) for k in range(len(info.inputs))]
        results = fold(function, guard, arguments, self.source.budget, self.source)
        if results is None:
            return False
        for name, value in zip(node.output, results, strict=False):
            self.source.budget -= measure(value)
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
            programs = [Program(self.source, branch, self) for branch in branches]
            function: Function = _control.If(*programs)
        else:
            body = attributes.get("body")
            if body is None:
                raise FormatError(f"{node.op_type} needs a graph")
            programs = [Program(self.source, body, self)]
            if node.op_type == "Loop":
                function = _control.Loop(programs[0], len(places) - 2, self.meter)
            else:
                function = _control.Scan(programs[0], len(places), attributes, self.source.opsets[""], self.meter)
        captured = tuple(self._place(name, who) for program in programs for name in program.captured)
        self.evaluated.update(*(program.evaluated for program in programs))
        outputs = tuple(self._new(n) if n else -1 for n in node.output)
        self.looks_at_shapes |= any(program.looks_at_shapes for program in programs)
        self._append(Step(function, (*places, *captured), outputs, None, who, nested=True), False)

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
        self.weight += STEP
        if self.example is None:
            return
        arguments = [self.seen.get(k, self.known.get(k)) for k in step.inputs]
        size, time = (0, 0) if step.guard is None else step.guard(*arguments)
        self.meter.ask(self.seen_bytes + size, time)
        self.meter.left -= time
        with np.errstate(all="ignore"):
            results = step.function(*arguments)
        single = isinstance(step.outputs, int)
        places: Any = (step.outputs,) if single else step.outputs
        results = (results,) if single else results
        self.seen.update(zip(places, results, strict=False))
        self.seen_bytes += sum([measure(result) for result in results])
        if shape_follows and all(k in self.fixed or k in self.known for k in step.inputs):
            self.fixed.update(places)
            self.weight += time
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
            kept.append(replace(step, frees=dead))
        self.steps = kept[::-1]
        self._ends = ends
        self._given_places = [self.places[name] for name in (*self.inputs, *self.captured)]
        self._light: list[tuple[Function, tuple[int, ...], Any, tuple[int, ...], Guard | None]] = [
            (s.function, s.inputs, s.outputs, s.frees, s.guard if s.grows else None) for s in self.steps
        ]  # fmt: skip
        self.quiet = all(s.quiet for s in self.steps)
        self._straight: list[tuple[Function, Any, Any]] | None = None
        if self.example is not None and self.seen_bytes <= SMALL and not any(s.guard or s.nested for s in self.steps):
            self._straight = [(s.function, _getter(s.inputs), s.outputs) for s in self.steps]
            self.weight += self.seen_bytes
        self._own = {place for s in self.steps for place in ((s.outputs,) if isinstance(s.outputs, int) else s.outputs)}

    # ---- Running it --------------------------------------------------------------------------------------------------

    def run(self, *arrays: Any) -> list[Any]:
        """The outputs for these inputs and captured values, by the program for their shapes if there is one."""
        if self.shortcuts is not None:
            short = self.shortcuts.find(arrays)
            if short is not None:
                program, places = short
                arrays = tuple([arrays[k] for k in places])
                outputs: list[Any] = program.execute(*arrays) if program._straight is None else program._go(arrays)
                return outputs
        return self.execute(*arrays)

    def _go(self, arrays: tuple[Any, ...]) -> list[Any]:
        """As `execute`, of a program for particular shapes, all of whose steps take what they took then."""
        values, number = self.start.copy(), 0
        for place, value in zip(self._given_places, arrays, strict=True):
            values[place] = value
        try:
            assert self._straight is not None
            for number, (function, inputs, outputs) in enumerate(self._straight):  # noqa: B007 (the failure is of it)
                if outputs.__class__ is int:
                    values[outputs] = function(*inputs(values))
                else:
                    for place, part in zip(outputs, function(*inputs(values)), strict=False):
                        if place >= 0:
                            values[place] = part
            self.meter.spend(self.weight)
        except FAILURES as error:
            raise self._failure(error, number) from error
        return [values[place] for place in self._ends]

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
        number, made, spent = 0, 0, self.weight
        try:
            if self.example is None and sum([measure(array) for array in arrays]) > SMALL:
                spent = self._execute_guarded(values, 0, spent)
            else:
                for number, (function, inputs, outputs, frees, guard) in enumerate(self._light):
                    arguments = [values[k] for k in inputs]
                    if guard is not None:
                        size, time = guard(*arguments)
                        spent += time
                        if size > SMALL or time > LONG:
                            self.meter.ask(made + size, spent)
                    result = function(*arguments)
                    if outputs.__class__ is int:
                        values[outputs] = result
                        made += result.nbytes or measure(result)
                    else:
                        for place, part in zip(outputs, result, strict=False):
                            if place >= 0:
                                values[place] = part
                                made += getattr(part, "nbytes", 0) or measure(part)
                    for place in frees:
                        values[place] = None
                    if made > SMALL:
                        spent = self._execute_guarded(values, number + 1, spent + made)
                        made = 0
                        break
            self.meter.spend(spent + made)
        except FAILURES as error:
            failure = self._failure(error, number)
            if failure is error:  # of a graph inside: it says all already
                raise
            raise failure from error
        return [values[place] for place in self._ends]

    def _execute_guarded(self, values: list[Any], first: int, spent: int) -> int:
        """The steps from this one on, each of which is asked what it will take; the nanoseconds so far."""
        meter, own, number = self.meter, self._own, first
        try:
            held = sum([measure(values[place]) for place in own if place >= 0])
            meter.ask(held, spent)
            for number in range(first, len(self.steps)):
                step = self.steps[number]
                arguments = [values[k] for k in step.inputs]
                if step.guard is not None:
                    size, time = step.guard(*arguments)
                    spent += time
                    meter.ask(held + size, spent)
                if step.nested:
                    meter.hold(held)
                    try:
                        result = step.function(*arguments)
                    finally:
                        meter.hold(-held)
                else:
                    result = step.function(*arguments)
                places, parts = step.outputs, result
                if isinstance(places, int):
                    places, parts = (places,), (result,)
                for place, part in zip(places, parts, strict=False):
                    if place >= 0:
                        values[place] = part
                        held += measure(part)
                for place in step.frees:
                    if place in own:
                        held -= measure(values[place])
                    values[place] = None
                if held > SMALL:
                    meter.ask(held)
        except FAILURES as error:
            failure = self._failure(error, number)
            if failure is error:  # of a graph inside: it says all already
                raise
            raise failure from error
        return spent

    def _failure(self, error: BaseException, number: int) -> FormatError:
        """What is raised for an exception of a step."""
        if isinstance(error, FormatError) and str(error).startswith(self.source.name):
            return error
        return FormatError(f"{self.source.name}: {self.steps[number].who if self.steps else 'run'}: {reason(error)}")


def _getter(places: tuple[int, ...]) -> Any:
    """A function that takes the values at these places out of all."""
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places) if places else lambda values: ()
