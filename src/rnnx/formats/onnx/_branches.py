"""What a file leaves open and somebody says: inputs, sizes, the outputs that are wanted, graphs of `If`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnx.formats._limits import printable
from rnnx.formats.onnx._file import Source, called, reason, subgraphs
from rnnx.saving import FormatError

MOST_NAMED = 20  # names in a message
LARGEST = 2**31  # size of an axis


def fix_inputs(source: Source, inputs: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
    """Make inputs of the graph constants, and give sizes that it leaves open.

    Parameters
    ----------
    source : Source
    inputs : dict
        Values by the names of inputs.
    sizes : dict
        A size by the name that the graph has for it, or the sizes of an input, None for those that stay open.

    Raises
    ------
    FormatError
        If there is no such input or size, or the value is of another type or shape.
    """
    from onnx import numpy_helper

    graph = source.proto.graph
    constant = {tensor.name for tensor in graph.initializer}
    ports = {value.name: value for value in graph.input if value.name not in constant}
    for name, size in sizes.items():
        dims = [dim for value in ports.values() for dim in value.type.tensor_type.shape.dim if dim.dim_param]
        own = [dim for dim in dims if dim.dim_param == name]
        given = [size] * len(own)
        if not own and name in ports and isinstance(size, (list, tuple)):
            own, given = list(ports[name].type.tensor_type.shape.dim), list(size)
            if len(own) != len(given):
                raise FormatError(f"{source.name}: input {name!r} has {len(own)} axes, `sizes` has {len(given)} for it")
        elif not own:
            named = _listed(dim.dim_param for dim in dims)
            raise FormatError(
                f"{source.name}: no input has a size {name!r}; named are {named}, or give sizes={{input: shape}}"
            )
        for dim, one in zip(own, given, strict=True):
            if one is None and isinstance(size, (list, tuple)):
                continue
            if isinstance(one, bool) or not isinstance(one, (int, np.integer)) or not 1 <= one < LARGEST:
                raise FormatError(f"{source.name}: `sizes` must be whole numbers above 0, got {one!r} for {name!r}")
            if dim.dim_value not in (0, one):
                raise FormatError(f"{source.name}: the size {dim.dim_value} of input {name!r} cannot be {one}")
            dim.dim_value = int(one)
    for name, value in inputs.items():
        if name not in ports:
            raise FormatError(f"{source.name}: there is no input {name!r}; its inputs are {_listed(ports)}")
        array = _value(source, ports[name], value)
        graph.initializer.append(numpy_helper.from_array(array, name))
        graph.input.remove(ports[name])


def choose_outputs(source: Source, outputs: Sequence[str] | None) -> None:
    """Leave the graph these outputs, in this order.

    Raises
    ------
    FormatError
        If there is no such output.
    """
    if outputs is None:
        return
    graph = source.proto.graph
    ports = {value.name: value for value in graph.output}
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    if not names or len(set(names)) < len(names) or any(name not in ports for name in names):
        raise FormatError(f"{source.name}: `outputs` must be some of {_listed(ports)}, each once, got {_listed(names)}")
    kept = [_copied(ports[name]) for name in names]
    del graph.output[:]
    graph.output.extend(kept)


def _listed(names: Any) -> str:
    found = list(dict.fromkeys(printable(repr(name)) for name in names))
    return ", ".join(found[:MOST_NAMED]) or "none"


def _value(source: Source, port: Any, value: Any) -> Any:
    """The value of an input as an array of its type."""
    from onnx import helper

    tensor = port.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        given = np.asarray(value)
        array = np.asarray(given.astype(dtype), order="C")
    except UNMADE as error:
        raise FormatError(f"{source.name}: input {port.name!r} cannot be {value!r}: {reason(error)}") from error
    fits = array.ndim == len(dims) and all(n in (None, m) for n, m in zip(dims, array.shape, strict=True))
    if not fits or (dtype.kind in "iub" and not np.array_equal(array, given)):
        shape = tuple("?" if n is None else n for n in dims)
        raise FormatError(
            f"{source.name}: input {port.name!r} must be {dtype} of shape {shape}, got {given.dtype} of {given.shape}"
        )
    return array


UNMADE = (KeyError, OverflowError, TypeError, ValueError)


# ---- Chosen graphs ---------------------------------------------------------------------------------------------------


def inline(source: Source, chosen: Mapping[str, bool]) -> None:
    """Put the graphs that `If` nodes choose in their places.

    Parameters
    ----------
    source : Source
        Its graph changes.
    chosen : dict
        For an output of a node whether its condition is true.

    Raises
    ------
    FormatError
        If a node has no such graph, or one of other outputs.
    """
    from onnx import helper

    graph = source.proto.graph
    taken = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    taken |= {value.name for value in graph.input}
    nodes: list[Any] = []
    for node in graph.node:
        truth = next((chosen[name] for name in node.output if name in chosen), None)
        if truth is None:
            nodes.append(_copied(node))
            continue
        body = _branch(source, node, "then_branch" if truth else "else_branch")
        made = {name for inner in body.node for name in inner.output} | {tensor.name for tensor in body.initializer}
        _rename(body, {name: _free(name, taken) for name in made if name and name in taken})
        taken |= {name for inner in body.node for name in inner.output} | {tensor.name for tensor in body.initializer}
        graph.initializer.extend(body.initializer)
        nodes += [_copied(inner) for inner in body.node]
        ends = zip(body.output, node.output, strict=True)
        nodes += [helper.make_node("Identity", [end.name], [name]) for end, name in ends if name]
    del graph.node[:]
    graph.node.extend(nodes)


def _branch(source: Source, node: Any, name: str) -> Any:
    found = next((attribute.g for attribute in node.attribute if attribute.name == name), None)
    if found is None or len(found.output) != len(node.output):
        raise FormatError(f"{source.name}: {called(node)} has no {name} with {len(node.output)} outputs")
    return _copied(found)


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _free(name: str, taken: set[str]) -> str:
    """A name that no value has yet."""
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    taken.add(f"{name}_{number}")
    return f"{name}_{number}"


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give values of a graph, and of those inside it that use them, other names."""
    if not names:
        return
    for value in (*graph.initializer, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for field in (node.input, node.output):
            found = [names.get(name, name) for name in field]
            del field[:]
            field.extend(found)
        for inner in subgraphs(node):
            _rename(inner, names)
