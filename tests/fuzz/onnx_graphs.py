"""Changes of ONNX models that leave them parsable: nodes, attributes, tensors, ports, graphs in nodes, functions."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .json_trees import TIMES

LARGEST = 1 << 19  # bytes of what was repeated
LARGE = (
    0,
    1,
    2,
    3,
    -1,
    -2,
    7,
    64,
    1000,
    2**15,
    2**20,
    2**24,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
SIZES = tuple(n for n in LARGE if n >= 0)
ROUNDS = (0, 1, 2, 3, 100)
DEPTHS = (1, 1, 2, 3, 10, 23, 28)  # a parser of protocol buffers goes 100 messages deep, 3 for each graph
ATTRIBUTES = (
    "axis", "axes", "perm", "shape", "kernel_shape", "pads", "strides", "dilations", "group", "hidden_size", "to",
    "keepdims", "direction", "layout", "num_outputs", "split", "largest", "sorted", "clip", "alpha", "epsilon",
    "num_scan_inputs", "equation", "mode", "body", "then_branch", "value", "value_int", "value_ints", "dtype",
)  # fmt: skip
LOCATIONS = ("weights.bin", "../weights.bin", "/dev/zero", "input.onnx", "/etc/hostname", "", "a" * 5000, "x\x1b[2J\n")
Graph = Any


def _graphs(proto: Any) -> list[Graph]:
    """The graph, those inside its nodes, and the functions."""
    found, rest = [], [proto.graph, *proto.functions]
    while rest:
        found.append(rest.pop())
        rest += [g for node in found[-1].node for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs)]
    return found


def _graph(proto: Any, rng: random.Random) -> Graph:
    """One that has nodes; mostly the outer one."""
    found = [graph for graph in _graphs(proto) if graph.node]
    return proto.graph if rng.random() < 0.4 or not found else rng.choice(found)


def _node(proto: Any, rng: random.Random) -> tuple[Graph, int] | None:
    graph = _graph(proto, rng)
    return (graph, rng.randrange(len(graph.node))) if graph.node else None


def _tensors(proto: Any) -> Iterator[Any]:
    for graph in _graphs(proto):
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _values(graph: Graph) -> list[str]:
    """The names of all values of a graph."""
    found = [name for node in graph.node for name in node.output if name]
    found += [tensor.name for tensor in getattr(graph, "initializer", ())]
    found += [value if isinstance(value, str) else value.name for value in graph.input]
    return found or ["x"]


def _set_nodes(graph: Graph, nodes: Sequence[Any]) -> None:
    kept = [copy.deepcopy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _constant(graph: Graph, values: Any, kind: str, place: int = 0) -> str:
    """A node that makes a constant, in front of others; its output."""
    from onnx import helper

    name = f"constant_{len(graph.node)}"
    node = helper.make_node("Constant", [], [name], **{kind: values})
    _set_nodes(graph, [*graph.node[:place], node, *graph.node[place:]])
    return name


@functools.cache
def operators() -> tuple[tuple[str, str], ...]:
    """All operators that `onnx` knows, by domain and name."""
    import onnx

    return tuple(sorted({(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas()}))


# ---- Nodes ----------------------------------------------------------------------------------------------------------


def repeat_node(proto: Any, rng: random.Random) -> None:
    """A node many times: each on the output of the one before, or all on the same input."""
    if found := _node(proto, rng):
        graph, place = found
        node = graph.node[place]
        count = min(rng.choice(TIMES), LARGEST // max(1, node.ByteSize()))
        outputs, chained, made = list(node.output), rng.random() < 0.7, []
        for k in range(count):
            more = copy.deepcopy(node)
            more.output[:] = [f"{name}_{k}" if name else "" for name in outputs]
            if chained and made and more.input and outputs:
                every = rng.random() < 0.3
                more.input[:] = [made[-1].output[0] if every or j == 0 else n for j, n in enumerate(more.input)]
            made.append(more)
        nodes = list(graph.node)
        if made and chained and rng.random() < 0.7:  # those behind read the last one
            for later in nodes[place + 1 :]:
                later.input[:] = [made[-1].output[0] if outputs and n == outputs[0] else n for n in later.input]
        _set_nodes(graph, nodes[: place + 1] + made + nodes[place + 1 :])


def duplicate_node(proto: Any, rng: random.Random) -> None:
    """A node once more, as it is, anywhere."""
    if found := _node(proto, rng):
        graph, place = found
        nodes = list(graph.node)
        nodes.insert(rng.randint(0, len(nodes)), nodes[place])
        _set_nodes(graph, nodes)


def move_node(proto: Any, rng: random.Random) -> None:
    """A node comes earlier or later, or is gone."""
    if found := _node(proto, rng):
        graph, place = found
        nodes = list(graph.node)
        node = nodes.pop(place)
        if rng.random() < 0.7:
            nodes.insert(rng.randint(0, len(nodes)), node)
        _set_nodes(graph, nodes)


def rewire(proto: Any, rng: random.Random) -> None:
    """An input of a node becomes any value of the graph: a later one, its own output, nothing; or one more or less."""
    if found := _node(proto, rng):
        graph, place = found
        names = graph.node[place].input if rng.random() < 0.8 else graph.node[place].output
        name = rng.choice(("", "nowhere", *_values(graph) * 3))
        way = rng.randrange(6)
        if way == 0:
            names.append(name)
        elif way == 1 and names:
            names.pop()
        elif way == 2 and names:
            names.extend([names[0]] * rng.choice(TIMES))
        elif names:
            names[rng.randrange(len(names))] = name


def swap_operator(proto: Any, rng: random.Random) -> None:
    """A node becomes one of another operator: any that `onnx` knows, or one of the file."""
    if found := _node(proto, rng):
        node = found[0].node[found[1]]
        others = [(other.domain, other.op_type) for other in found[0].node]
        node.domain, node.op_type = rng.choice(operators() if rng.random() < 0.8 else others)
        if rng.random() < 0.5:
            del node.attribute[:]


def insert_operator(proto: Any, rng: random.Random) -> None:
    """A node of any operator in front of an input of another, on values of the graph."""
    from onnx import helper

    if found := _node(proto, rng):
        graph, place = found
        target = graph.node[place]
        domain, operator = rng.choice(operators())
        if not target.input:
            return
        k = rng.randrange(len(target.input))
        known = _values(graph)
        more = [rng.choice(known) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
        node = helper.make_node(operator, [target.input[k], *more], [f"inserted_{len(graph.node)}"], domain=domain)
        target.input[k] = node.output[0]
        _set_nodes(graph, [*graph.node[:place], node, *graph.node[place:]])


def blow_up(proto: Any, rng: random.Random) -> None:
    """In front of an input of a node: what makes of it, or of a few numbers, an array of any size."""
    from onnx import helper

    found = _node(proto, rng)
    if found is None or not found[0].node[found[1]].input:
        return
    graph, place = found
    k = rng.randrange(len(graph.node[place].input))
    source, end = graph.node[place].input[k], f"large_{len(graph.node)}"
    sizes = [rng.choice(SIZES) for _ in range(rng.choice((1, 2, 3)))]
    way = rng.randrange(6)
    nodes = []
    if way == 0:
        steps = rng.choice((2, 10, 25, 40, 300))
        names = [source, *(f"{end}_{j}" for j in range(steps))]
        operator, options = rng.choice((("Concat", {"axis": 0}), ("Add", {}), ("Mul", {}), ("MatMul", {})))
        nodes = [helper.make_node(operator, [a, a], [b], **options) for a, b in zip(names, names[1:], strict=False)]
        end = names[-1]
    elif way == 1:
        nodes = [helper.make_node("ConstantOfShape", [_constant(graph, sizes, "value_ints")], [end])]
    elif way == 2:
        nodes = [helper.make_node("Expand", [source, _constant(graph, sizes, "value_ints")], [end])]
    elif way == 3:
        nodes = [helper.make_node("Tile", [source, _constant(graph, sizes, "value_ints")], [end])]
    elif way == 4:
        start, step = _constant(graph, 0, "value_int"), _constant(graph, 1, "value_int")
        nodes = [helper.make_node("Range", [start, _constant(graph, sizes[0], "value_int"), step], [end])]
    else:
        pads = _constant(graph, [*sizes, *(0 for _ in sizes)], "value_ints")
        nodes = [helper.make_node("Pad", [source, pads], [end])]
    _in_front(graph, nodes, source, end)


def _in_front(graph: Graph, nodes: Sequence[Any], source: str, end: str) -> None:
    """Nodes in front of the first that reads a value, which then reads their end instead."""
    place = next((k for k, node in enumerate(graph.node) if source in node.input), 0)
    target = graph.node[place]
    target.input[:] = [end if name == source else name for name in target.input]
    _set_nodes(graph, [*graph.node[:place], *nodes, *graph.node[place:]])


# ---- Attributes, tensors, ports --------------------------------------------------------------------------------------


def change_attribute(proto: Any, rng: random.Random) -> None:
    """A number of an attribute becomes another, a list longer; or the attribute comes twice or with another type."""
    from onnx import helper

    nodes = [node for graph in _graphs(proto) for node in graph.node if node.attribute]
    if not nodes:
        return add_attribute(proto, rng)
    node = rng.choice(nodes)
    attribute = rng.choice(node.attribute)
    way = rng.randrange(8)
    if way < 5 and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(LARGE)
    elif way < 5 and attribute.HasField("i"):
        attribute.i = rng.choice(LARGE)
    elif way < 5 and attribute.HasField("f"):
        attribute.f = rng.choice((0.0, -1.0, 1e30, float("inf"), float("nan")))
    elif way < 5 and attribute.HasField("s"):
        attribute.s = rng.choice((b"", b"\xff", attribute.s * 2, b"x\x1b[2J\n", b"bidirectional", b"ab,bc->ac" * 50))
    elif way == 5:
        attribute.ints.extend([rng.choice(LARGE)] * rng.choice(TIMES))
    elif way == 6:
        node.attribute.append(attribute)
    else:
        name = attribute.name
        node.attribute.remove(attribute)
        values = (1, -1, 2.5, "text", [1, 2], [2.5], ["a"], rng.choice(LARGE))
        node.attribute.append(helper.make_attribute(name, rng.choice(values)))
    return None


def add_attribute(proto: Any, rng: random.Random) -> None:
    """A node gets an attribute, one that its operator has or not."""
    from onnx import helper

    if found := _node(proto, rng):
        value = rng.choice((rng.choice(LARGE), [rng.choice(LARGE) for _ in range(rng.randint(1, 4))], 0.5, "text"))
        found[0].node[found[1]].attribute.append(helper.make_attribute(rng.choice(ATTRIBUTES), value))


def change_numbers(proto: Any, rng: random.Random) -> None:
    """A whole number in a constant becomes another: these are shapes, axes and counts."""
    import numpy as np
    from onnx import numpy_helper

    found = [t for t in _tensors(proto) if t.data_type in (6, 7) and 0 not in t.dims and t.data_location == 0]
    if not found:
        return change_tensor(proto, rng)
    tensor = rng.choice(found)
    array = numpy_helper.to_array(tensor).copy()
    bound = np.iinfo(array.dtype)
    number = min(max(rng.choice(LARGE), bound.min), bound.max)
    array.reshape(-1)[rng.randrange(array.size)] = number
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return None


def change_tensor(proto: Any, rng: random.Random) -> None:
    """Sizes, type or place of the data of a constant become others, or the constant comes twice."""
    from onnx import StringStringEntryProto

    found = list(_tensors(proto))
    if not found:
        return
    tensor = rng.choice(found)
    way = rng.randrange(7)
    if way == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(LARGE)
    elif way == 1:
        tensor.dims[:] = [1] * rng.choice((1, 8, 40, 1000)) + list(tensor.dims)
    elif way == 2:
        tensor.dims[:] = list(tensor.dims)[::-1] + [rng.choice((0, 1))]
    elif way == 3:
        tensor.data_type = rng.choice((*range(25), 99))
    elif way == 4:
        tensor.raw_data = tensor.raw_data[: rng.randint(0, len(tensor.raw_data))]
    elif way == 5:
        tensor.data_location = 1
        tensor.ClearField("raw_data")
        entries = {"location": rng.choice(LOCATIONS)}
        for key in ("offset", "length"):
            if rng.random() < 0.6:
                entries[key] = str(rng.choice(LARGE))
        tensor.external_data.extend(StringStringEntryProto(key=k, value=v) for k, v in entries.items())
    elif proto.graph.initializer:
        proto.graph.initializer.append(rng.choice(proto.graph.initializer))


def change_port(proto: Any, rng: random.Random) -> None:
    """An input or output of a graph: its sizes, its type, its name; one more, or gone."""
    graph = rng.choice([graph for graph in _graphs(proto) if hasattr(graph, "initializer")])
    ports = graph.input if rng.random() < 0.6 else graph.output
    if not ports:
        return
    port = rng.choice(ports)
    way = rng.randrange(6)
    dims = port.type.tensor_type.shape.dim
    if way < 2 and dims:
        dims[rng.randrange(len(dims))].dim_value = rng.choice(LARGE)
    elif way == 2:
        dims.add().dim_value = rng.choice((1, 2))
    elif way == 3:
        port.type.tensor_type.elem_type = rng.choice(range(25))
    elif way == 4:
        port.name = rng.choice(("", "a\x1b[2J\n", port.name * 2000, *_values(graph)))
    elif rng.random() < 0.5:
        ports.append(port)
    else:
        ports.remove(port)


def change_file(proto: Any, rng: random.Random) -> None:
    """Versions and what the file says of itself."""
    way = rng.randrange(4)
    if way == 0 and proto.opset_import:
        rng.choice(proto.opset_import).version = rng.choice((0, 1, 6, 7, 9, 11, 13, 18, 21, 24, 99, 2**62))
    elif way == 1:
        proto.opset_import.add(domain=rng.choice(("", "ai.onnx.ml", "com.microsoft", "own", "x\n")), version=1)
    elif way == 2:
        proto.producer_name = rng.choice(("pytorch", "tf2onnx", "x\x1b[2J\n", "long" * 20_000))
    else:
        entry = proto.metadata_props.add()
        entry.key, entry.value = "key\n", "value" * rng.choice(TIMES)


# ---- Graphs inside nodes, and functions ------------------------------------------------------------------------------


def _inside(nodes: Sequence[Any], outputs: Sequence[str], inputs: Sequence[Any] = ()) -> Any:
    from onnx import helper

    return helper.make_graph(nodes, "inside", list(inputs), [helper.make_empty_tensor_value_info(n) for n in outputs])


def nest_if(proto: Any, rng: random.Random) -> None:
    """A node moves into a branch of an If, inside another If, and so on."""
    from onnx import helper

    if found := _node(proto, rng):
        graph, place = found
        node = copy.deepcopy(graph.node[place])
        outputs, known = [n for n in node.output if n], _before(graph, place, rng)
        depth = min(rng.choice(DEPTHS), LARGEST // max(1, node.ByteSize()))
        both = depth < 8 and rng.random() < 0.5
        before = len(graph.node)
        condition = _condition(graph, rng, known)
        place += len(graph.node) - before
        node.output[:] = [f"{name}_0" if name else "" for name in node.output]
        for k in range(depth):
            inner = [f"{name}_{k}" for name in outputs]
            branch = _inside([node], inner)
            other = branch if both else _inside([], [rng.choice(known)] * len(outputs))
            made = outputs if k == depth - 1 else [f"{name}_{k + 1}" for name in outputs]
            node = helper.make_node("If", [condition], made, then_branch=branch, else_branch=other)
        _set_nodes(graph, [*graph.node[:place], node, *graph.node[place + 1 :]])


def _before(graph: Graph, place: int, rng: random.Random) -> list[str]:
    """The names of values that a node at a place may read; now and then of any."""
    later = {name for node in graph.node[place:] for name in node.output} if rng.random() < 0.9 else set()
    return [name for name in _values(graph) if name not in later] or ["x"]


def _condition(graph: Graph, rng: random.Random, known: Sequence[str]) -> str:
    """What an If asks: a constant, whether there is anything in an input, or any value."""
    from onnx import helper

    way = rng.randrange(3)
    if way == 0:
        return _constant(graph, rng.choice((0, 1)), "value_int")
    if way == 1 or not graph.input:
        return rng.choice(known)
    first = graph.input[0]
    size, truth = f"size_{len(graph.node)}", f"truth_{len(graph.node)}"
    nodes = [
        helper.make_node("Size", [first if isinstance(first, str) else first.name], [size]),
        helper.make_node("Cast", [size], [truth], to=9),
    ]
    _set_nodes(graph, [*nodes, *graph.node])
    return truth


def nest_loop(proto: Any, rng: random.Random) -> None:
    """A node moves into a Loop or Scan of any number of rounds, and that into another."""
    from onnx import TensorProto, helper

    found = _node(proto, rng)
    if found is None or not found[0].node[found[1]].output:
        return
    graph, place = found
    node, known = copy.deepcopy(graph.node[place]), _before(graph, place, rng)
    result = node.output[0]
    few = rng.random() < 0.7  # many rounds take long, within the limits
    rounds = _constant(graph, rng.choice(ROUNDS if few else SIZES), "value_int")
    collected = rng.random() < 0.5
    depth = rng.choice((1, 1, 2, 3, 12))
    node.output[:] = [f"{name}_0" if name else "" for name in node.output]
    for k in range(depth):
        inner, made = f"{result}_{k}", result if k == depth - 1 else f"{result}_{k + 1}"
        if rng.random() < 0.2:
            body = _inside([node], [inner], [helper.make_empty_tensor_value_info(f"slice_{k}")])
            node = helper.make_node("Scan", [rng.choice(known)], [made], body=body, num_scan_inputs=1)
            continue
        ports = [
            helper.make_tensor_value_info(f"round_{k}", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"go_{k}", TensorProto.BOOL, []),
        ]
        if not collected:
            ports.append(helper.make_empty_tensor_value_info(f"carried_{k}"))
        on = helper.make_node("Identity", [f"go_{k}"], [f"on_{k}"])
        body = _inside([node, on], [f"on_{k}", inner], ports)
        start = [] if collected else [rng.choice(known)]
        node = helper.make_node("Loop", [rounds, "", *start], [made], body=body)
    place += 1  # behind the constant
    _set_nodes(graph, [*graph.node[:place], node, *graph.node[place + 1 :]])


def nest_whole(proto: Any, rng: random.Random) -> None:
    """The graph inside the body of one of its own nodes."""
    from onnx import helper

    if found := _node(proto, rng):
        whole = copy.deepcopy(proto.graph)
        if whole.ByteSize() < LARGEST // 4:
            node = found[0].node[found[1]]
            node.attribute.append(helper.make_attribute(rng.choice(("body", "then_branch", "value")), whole))
            if rng.random() < 0.7:
                node.op_type, node.domain = rng.choice(("Loop", "If", "Scan", "SequenceMap")), ""


def functions(proto: Any, rng: random.Random) -> None:
    """A node becomes a call of a function that calls others: some times each, perhaps the first one again."""
    from onnx import helper

    if not (found := _node(proto, rng)):
        return
    graph, place = found
    node = copy.deepcopy(graph.node[place])
    if not node.output:
        return
    opsets = [*proto.opset_import, helper.make_opsetid("own", 1)]
    depth, calls = rng.choice(((1, 1), (2, 2), (10, 2), (30, 2), (8, 10), (3, 100), (200, 1)))
    inputs, outputs = list(dict.fromkeys(n for n in node.input if n)), [n for n in node.output if n]
    ring = rng.random() < 0.1
    for k in range(depth):
        inner = [node] if k == 0 and not ring else []
        for call in range(calls if k or ring else 0):
            made = [f"{name}_{call}" for name in outputs] if call < calls - 1 else outputs
            inner.append(helper.make_node(f"f{(k - 1) % depth}", inputs, made, domain="own"))
        proto.functions.append(helper.make_function("own", f"f{k}", inputs, outputs, inner, opsets))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    call = helper.make_node(f"f{depth - 1}", inputs, outputs, domain="own")
    _set_nodes(graph, [*graph.node[:place], call, *graph.node[place + 1 :]])


CHANGES: Sequence[Callable[[Any, random.Random], None]] = (
    repeat_node, duplicate_node, move_node, rewire, rewire, swap_operator, swap_operator, insert_operator, blow_up,
    blow_up, change_attribute, change_attribute, add_attribute, change_numbers, change_numbers, change_tensor,
    change_tensor, change_port, change_file, nest_if, nest_loop, nest_whole, functions,
)  # fmt: skip


def changed(data: bytes, rng: random.Random, change: Callable[[Any, random.Random], None] | None = None) -> bytes:
    """A model after one to three of the changes, or after the one given."""
    import onnx
    from google.protobuf.message import DecodeError

    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    for act in [change] if change else rng.choices(CHANGES, k=rng.choice((1, 1, 1, 2, 3))):
        try:
            act(proto, rng)
        except (DecodeError, ValueError):  # several changes are too deep or too large for a protocol buffer
            if change is not None:
                raise
    return proto.SerializeToString(deterministic=True)
