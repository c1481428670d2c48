"""All operators by their names, and the guards that are derived from their records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnx.formats.onnx import (
    _convolutions,
    _evaluated,
    _images,
    _integers,
    _operators,
    _quantized,
    _recurrent,
    _shapes,
    _static,
)
from rnnx.formats.onnx._file import Source
from rnnx.formats.onnx._node import Function, NodeInfo, Operator, Unsupported
from rnnx.formats.onnx._sizes import CALL, NOTHING, Times, measure

Guard = Callable[..., tuple[int, int]]  # the inputs of a node in; bytes it will take, and nanoseconds
SMALL = 2**20  # bytes of constants up to which a rule in proportion to the inputs cannot matter
OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for module in (_operators, _shapes, _convolutions, _images, _integers, _recurrent, _quantized, _static, _evaluated)
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


def fold(function: Function, guard: Guard, arguments: Sequence[Any], budget: int, source: Source) -> Any:
    """Results of a node all of whose inputs are constants, as a tuple; None if they take more than may be spent.

    The time is taken from ``source.loading``; bytes are for the caller to count, who knows which results are views.
    """
    size, time = guard(*arguments)
    if size > budget or time > source.loading:
        return None
    source.loading -= time
    with np.errstate(all="ignore"):
        results = function(*arguments)
    return results if isinstance(results, tuple) else (results,)


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
