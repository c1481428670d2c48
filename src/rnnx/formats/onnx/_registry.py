"""All operators by their names, and the guards that are derived from their records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnx.formats.onnx import _evaluated, _integers, _operators, _quantized, _recurrent, _shapes
from rnnx.formats.onnx._node import NodeInfo, Operator, Unsupported
from rnnx.formats.onnx._sizes import CALL, NOTHING, Times, measure

Guard = Callable[..., tuple[int, int]]  # the inputs of a node in; bytes it will take, and nanoseconds
SMALL = 2**20  # bytes of constants up to which a rule in proportion to the inputs cannot matter
OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for module in (_operators, _shapes, _integers, _recurrent, _quantized, _evaluated)
    for operator in module.OPERATORS
}
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def operator_of(name: str) -> Operator:
    """The record of an operator.

    Raises
    ------
    Unsupported
        If there is none.
    """
    found = OPERATORS.get(name)
    if found is None:
        raise Unsupported("the operator is not known: it cannot be said what it would take")
    return found


def guard_of(operator: Operator, info: NodeInfo) -> Guard:
    """What a node will take, from its inputs: results and workspace together, and the time."""
    result, work = operator.result, operator.work
    workspace = operator.workspace if operator.workspace is not NOTHING else None
    foreign = info.evaluated and operator.make is not None  # the version of the evaluator makes more on the way

    def guard(*inputs: Any) -> tuple[int, int]:
        size = result(info, *inputs)
        if workspace is not None:
            size += workspace(info, *inputs)
        if foreign:
            size += 8 * size
        time = size if work is None else size + work(info, *inputs)
        return size, time + CALL if info.evaluated else time

    return guard


def grows(operator: Operator, info: NodeInfo) -> bool:
    """Whether small inputs can lead to large results or much work; if not, only large ones need a guard."""
    if info.evaluated or operator.work is not None:
        return True
    if not isinstance(operator.result, Times) or not isinstance(operator.workspace, Times):
        return True
    return sum(map(measure, info.constants.values())) > SMALL


def shape_follows(info: NodeInfo) -> bool:
    """Whether the shapes of a node's results follow from the shapes of its inputs and from those that are constant."""
    operator = OPERATORS[info.operator]
    if operator.make is None:
        return False
    return all(place in info.constants or not info.has(place) for place in operator.shape_inputs)
