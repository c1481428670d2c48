"""Operators that rnnx has no version of, on the reference evaluator of the package `onnx`."""

from __future__ import annotations

from typing import Any

from rnnx.formats.onnx._file import called, reason
from rnnx.formats.onnx._limits import MOST_EVALUATED
from rnnx.formats.onnx._node import Function, Unsupported
from rnnx.saving import FormatError


def evaluator(node: Any, opsets: dict[str, int], made_before: dict[Any, Function]) -> Function:
    """A function that runs one node.

    Parameters
    ----------
    node : NodeProto
        Without graphs inside.
    opsets : dict
    made_before : dict
        The functions of other nodes of the file: making one takes half a millisecond, and equal nodes share it.

    Returns
    -------
    callable
        Takes the inputs of the node in their order, None for missing ones, and returns the tuple of its outputs.

    Raises
    ------
    FormatError
        If the evaluator does not know the operator, or cannot take its attributes, or there are too many of them.
    """
    from onnx import NodeProto, helper
    from onnx.reference import ReferenceEvaluator

    domain = "" if node.domain == "ai.onnx" else node.domain
    if domain not in opsets:
        raise FormatError(f"{called(node)}: the file does not say which version of domain {domain!r} it uses")
    names = [f"x{k}" if name else "" for k, name in enumerate(node.input)]
    wanted = [bool(name) for name in node.output]
    attributes = tuple([attribute.SerializeToString(deterministic=True) for attribute in node.attribute])
    key = (domain, node.op_type, tuple(names), tuple(wanted), attributes)
    if key in made_before:
        return made_before[key]
    if len(made_before) >= MOST_EVALUATED:
        raise FormatError(f"{called(node)}: more than {MOST_EVALUATED:,} different nodes need the package onnx")
    own = NodeProto(domain=domain, op_type=node.op_type, input=names, attribute=node.attribute)
    own.output.extend([f"y{k}" if there else "" for k, there in enumerate(wanted)])
    outputs = [helper.make_empty_tensor_value_info(name) for name in own.output if name]
    made: dict[tuple[Any, ...], Any] = {}

    def graph_for(types: tuple[Any, ...]) -> Any:
        """An evaluator for inputs of these types: some operators are written out in a way that depends on them."""
        if types not in made:
            pairs = zip([name for name in names if name], types, strict=False)
            inputs = [_input(name, dtype) for name, dtype in pairs]
            made[types] = ReferenceEvaluator(helper.make_graph([own], "node", inputs, outputs), opsets=opsets)
        return made[types]

    try:
        graph_for((None,) * sum(map(bool, names)))
    except Exception as error:  # the evaluator has no exceptions of its own
        raise Unsupported(
            f"{called(node)} is not known to the evaluator of the package onnx: {reason(error)}"
        ) from error

    def run(*arrays: Any) -> Any:
        given = {name: array for name, array in zip(names, arrays, strict=False) if name}
        types = tuple(getattr(array, "dtype", None) for array in given.values())
        found = iter(graph_for(types).run(None, given))
        return tuple(next(found) if there else None for there in wanted)

    made_before[key] = run
    return run


def _input(name: str, dtype: Any) -> Any:
    from onnx import helper

    try:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)
    except (KeyError, TypeError, ValueError):
        return helper.make_empty_tensor_value_info(name)
