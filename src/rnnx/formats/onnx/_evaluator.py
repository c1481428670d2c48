"""Operators that rnnx has no version of, on the reference evaluator of the package `onnx`."""

from __future__ import annotations

from typing import Any

from rnnx.formats.onnx._file import called, reason
from rnnx.formats.onnx._node import Function
from rnnx.saving import FormatError


def evaluator(node: Any, opsets: dict[str, int]) -> Function:
    """A function that runs one node.

    Parameters
    ----------
    node : NodeProto
        Without graphs inside.
    opsets : dict

    Returns
    -------
    callable
        Takes the inputs of the node in their order, None for missing ones, and returns the tuple of its outputs.

    Raises
    ------
    FormatError
        If the evaluator does not know the operator, or cannot take its attributes.
    """
    from onnx import NodeProto, helper
    from onnx.reference import ReferenceEvaluator

    own = NodeProto()
    own.CopyFrom(node)
    own.domain = "" if node.domain == "ai.onnx" else node.domain
    if own.domain not in opsets:
        raise FormatError(f"{called(node)}: the file does not say which version of domain {own.domain!r} it uses")
    names = [f"x{k}" if name else "" for k, name in enumerate(node.input)]
    del own.input[:]
    own.input.extend(names)
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    wanted = [bool(name) for name in node.output]
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
        raise FormatError(
            f"{called(node)} is not known to the evaluator of the package onnx: {reason(error)}"
        ) from error

    def run(*arrays: Any) -> Any:
        given = {name: array for name, array in zip(names, arrays, strict=False) if name}
        types = tuple(getattr(array, "dtype", None) for array in given.values())
        found = iter(graph_for(types).run(None, given))
        return tuple(next(found) if there else None for there in wanted)

    return run


def _input(name: str, dtype: Any) -> Any:
    from onnx import helper

    try:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)
    except (KeyError, TypeError, ValueError):
        return helper.make_empty_tensor_value_info(name)
