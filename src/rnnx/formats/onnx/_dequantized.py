"""Products of 8 bits as the products of floats that they round: what a model trains and computes.

`quantize_dynamic` and `quantize_static` of ONNX Runtime write weights as bytes with a scale and a zero point, and nodes
around every product that round what goes into it. The weights stay the numbers that the bytes stand for, exactly; the
rounding of inputs is left out, but not the range beyond which they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._file import Source, attributes_of
from rnnx.formats.onnx._layer_nodes import read_by
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._quantized import NAME as QUANTIZED
from rnnx.formats.onnx._quantized import SCALES, as_floats
from rnnx.saving import FormatError

MOST_FLOATS = 2**24  # bytes, beside those in proportion to the file
BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
DYNAMIC = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
ROUNDED = frozenset({"DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeLinear"})


def dequantize(source: Source) -> bool:
    """Put products of floats in place of those of bytes; whether there were any. The graph of the source changes."""
    graph = source.proto.graph
    if not any(node.op_type in ROUNDED for node in graph.node):
        return False
    before = source.budget, source.loading
    program = Program(source, graph, runs=False)
    source.budget, source.loading = before
    known = {name: program.known[k] for name, k in program.places.items() if k in program.known}
    found = _Floats(source, known)
    for place, node in enumerate(found.nodes):
        if node.op_type == "DynamicQuantizeLinear":
            found.dynamic(node)
        elif f"{node.domain}.{node.op_type}" == QUANTIZED:
            found.recurrent(place, node)
        elif node.op_type == "DequantizeLinear":
            found.table(place, node)
        elif node.op_type == "QuantizeLinear":
            found.static(place, node)
    found.replace(graph)
    return bool(found.instead)


def _times(weights: Array, shift: Array, factor: Array, columns: tuple[int, ...]) -> Array:
    """Bytes as numbers, with a scale for all or one for each column."""
    whole = weights.astype(np.float32) - shift.astype(np.float32).reshape(columns)
    found: Array = whole * factor.astype(np.float32).reshape(columns)
    return found


class _Floats:
    """What stands in place of nodes of a graph."""

    def __init__(self, source: Source, known: dict[str, Array]):
        graph = source.proto.graph
        self.name, self.known, self.nodes = source.name, known, list(graph.node)
        self.left = MOST_FLOATS + 16 * source.size  # bytes: four times those of all weights, and as much again
        self._made: dict[Any, str] = {}
        self.places = {name: place for place, node in enumerate(self.nodes) for name in node.output if name}
        self.readers: dict[str, list[int]] = {}
        for place, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(place)
        self.ends = {value.name for value in graph.output}  # and what graphs inside others read, which stays what it is
        for node in self.nodes:
            self.ends |= read_by(node) - set(node.input)
        self.instead: dict[int, list[Any]] = {}  # by the number of a node
        self.arrays: dict[str, Array] = {}
        names = {name for node in self.nodes for name in node.output} | {tensor.name for tensor in graph.initializer}
        self.prefix = "floats"
        while any(name.startswith(self.prefix) for name in names):
            self.prefix += "_"

    def constant(self, key: Any, make: Callable[[], Any]) -> str:
        """The name of a constant; what has the same key is made once.

        Raises
        ------
        FormatError
            If constants grow beyond what the file holds.
        """
        if key not in self._made:
            array = np.asarray(make(), np.float32, order="C")
            self.left -= array.nbytes
            if self.left < 0:
                raise FormatError(f"{self.name}: its weights of 8 bits make more numbers than it has bytes for")
            self._made[key] = f"{self.prefix}_{len(self.arrays)}"
            self.arrays[self._made[key]] = array
        return self._made[key]

    def maker(self, name: str) -> Any | None:
        place = self.places.get(name)
        return None if place is None else self.nodes[place]

    def only_reader(self, name: str, operators: Iterable[str]) -> tuple[int, Any] | None:
        """The node that reads a value, if it is the only one, and one of these."""
        places = self.readers.get(name, [])
        if len(places) != 1 or name in self.ends or self.nodes[places[0]].op_type not in operators:
            return None
        return places[0], self.nodes[places[0]]

    def replace(self, graph: Any) -> None:
        from onnx import numpy_helper

        nodes = []
        for place, node in enumerate(self.nodes):
            for one in self.instead.get(place, [node]):
                copy = type(one)()
                copy.CopyFrom(one)
                nodes.append(copy)
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in self.arrays.items())

    # ---- Nodes -------------------------------------------------------------------------------------------------------

    def dynamic(self, node: Any) -> None:
        """The products whose left side is rounded by a scale that follows from its numbers."""
        from onnx import helper

        q, scale, zero = node.output
        for place in self.readers.get(q, []):
            made = self.nodes[place]
            weights = self.known.get(made.input[1]) if len(made.input) > 1 else None
            if made.op_type not in DYNAMIC or weights is None or weights.dtype not in BYTES or made.input[0] != q:
                continue
            shifts = [*made.input[2:], "", ""][:2]
            of_weights = np.zeros(1, weights.dtype) if not shifts[1] else self.known.get(shifts[1])
            found = self._scaled(made.output[0], scale)
            if shifts[0] != zero or of_weights is None or found is None:
                continue
            last, factor, bias = found
            columns = (-1,) if made.op_type == "MatMulInteger" else (-1, *[1] * (weights.ndim - 1))
            if bias is not None and made.op_type != "ConvInteger":
                continue
            key = (made.op_type, made.input[1], shifts[1], factor.tobytes())
            inputs = [node.input[0], self.constant(key, partial(_times, weights, of_weights, factor, columns))]
            operator, given = DYNAMIC[made.op_type], attributes_of(made)
            if bias is not None:
                inputs.append(self.constant((key, bias.tobytes()), partial(np.reshape, bias, -1)))
            end = self.nodes[last]
            self.instead[last] = [helper.make_node(operator, inputs, [end.output[0]], name=end.name, **given)]

    def _scaled(self, name: str, scale: str) -> tuple[int, Array, Array | None] | None:
        """The product of integer sums with the scales of both sides: its node, the scale of the weights, and a bias
        that is added before."""
        bias, added = None, self.only_reader(name, ("Add",))
        if added is not None:
            _, node = added
            bias = self._bias(next((one for one in node.input if one != name), ""), scale)
            if bias is None:
                return None
            name = node.output[0]
        cast = self.only_reader(name, ("Cast",))
        product = None if cast is None else self.only_reader(cast[1].output[0], ("Mul",))
        if cast is None or product is None:
            return None
        place, node = product
        factor = self._factor(next((one for one in node.input if one != cast[1].output[0]), ""), scale)
        return None if factor is None else (place, factor, bias)

    def _factor(self, name: str, scale: str) -> Array | None:
        """The scale of weights in its product with that of the other side."""
        node = self.maker(name)
        if node is None or node.op_type != "Mul" or scale not in node.input:
            return None
        return self.known.get(next((one for one in node.input if one != scale), ""))

    def _bias(self, name: str, scale: str) -> Array | None:
        """The numbers that were rounded to steps of both scales."""
        node = self.maker(name)
        while node is not None and node.op_type in ("Cast", "Floor", "Reshape", "Round"):
            node = self.maker(node.input[0])
        if node is None or node.op_type != "Div" or self._factor(node.input[1], scale) is None:
            return None
        return self.known.get(node.input[0])

    def recurrent(self, number: int, node: Any) -> None:
        """An LSTM whose weights are bytes."""
        from onnx import helper

        inputs = [*node.input, *[""] * 12][:12]
        w, r = (self.known.get(name) for name in inputs[1:3])
        scales = [self.known[inputs[k]] for k in SCALES if inputs[k] in self.known]
        if w is None or r is None or len(scales) < len(SCALES):
            return
        of_w, of_r = (
            self.constant((*(inputs[k] for k in (place, one, one + 1)),), partial(as_floats, *parts))
            for place, one, parts in ((1, 8, (w, scales[0], scales[1])), (2, 10, (r, scales[2], scales[3])))
        )
        given = [inputs[0], of_w, of_r, *inputs[3:8]]
        while not given[-1]:
            given.pop()
        made = helper.make_node("LSTM", given, list(node.output), name=node.name, **attributes_of(node))
        self.instead[number] = [made]

    def _numbers(self, node: Any) -> tuple[Array, Array] | None:
        """Scale and zero point of a node, if they are one constant number each."""
        scale = self.known.get(node.input[1])
        if len(node.input) > 2 and node.input[2]:
            zero = self.known.get(node.input[2])
        else:
            zero = self._no_zero(node)
        if scale is None or zero is None or scale.size != 1 or zero.size != 1 or zero.dtype not in BYTES:
            return None
        return scale.reshape(()).astype(np.float32), zero.reshape(())

    def _no_zero(self, node: Any) -> Array | None:
        """The zero point of a node that has none: 0, of the type of its bytes."""
        from onnx import helper

        wanted = attributes_of(node).get("output_dtype", 0) if node.op_type == "QuantizeLinear" else 0
        return np.zeros((), helper.tensor_dtype_to_np_dtype(wanted) if wanted else np.uint8)

    def table(self, place: int, node: Any) -> None:
        """Rows of a table of bytes, as numbers: the table as numbers."""
        from onnx import helper

        numbers, maker = self._numbers(node), self.maker(node.input[0])
        while maker is not None and maker.op_type in MOVES:
            maker = self.maker(maker.input[0])
        if numbers is None or maker is None or maker.op_type != "Gather" or maker.input[0] not in self.known:
            return
        table, own = self.known[maker.input[0]], self.places[maker.output[0]]
        if table.dtype not in BYTES or not self._only_numbers(maker.output[0], numbers):
            return
        if own not in self.instead:
            key = ("table", maker.input[0], *map(float, numbers))
            name = self.constant(key, lambda: (table.astype(np.float32) - np.float32(numbers[1])) * numbers[0])
            inputs = [name, maker.input[1]]
            gather = helper.make_node("Gather", inputs, list(maker.output), name=maker.name, **attributes_of(maker))
            self.instead[own] = [gather]
        self.instead[place] = [helper.make_node("Identity", [node.input[0]], list(node.output), name=node.name)]

    def _only_numbers(self, name: str, numbers: tuple[Array, Array]) -> bool:
        """Whether bytes are only moved and then made numbers, all by the same scale and zero point."""
        waiting, seen = [name], set()
        while waiting:
            one = waiting.pop()
            if one in self.ends or one in seen:
                return False
            seen.add(one)
            for place in self.readers.get(one, []):
                node = self.nodes[place]
                if node.op_type in MOVES and node.input[0] == one:
                    waiting.append(node.output[0])
                elif node.op_type != "DequantizeLinear" or node.input[0] != one or self._numbers(node) != numbers:
                    return False
        return True

    def static(self, place: int, node: Any) -> None:
        """Numbers that become bytes and numbers again, by a constant scale: they are cut where bytes end."""
        from onnx import helper

        numbers = self._numbers(node)
        if numbers is None or not self._only_numbers(node.output[0], numbers):
            return
        scale, zero = numbers
        ends = np.iinfo(zero.dtype)
        low, high = ((np.float32(end) - np.float32(zero)) * scale for end in (ends.min, ends.max))
        inputs = [node.input[0], *(self.constant(("end", float(end)), partial(np.asarray, end)) for end in (low, high))]
        self.instead[place] = [helper.make_node("Clip", inputs, list(node.output), name=node.name)]
        waiting = [node.output[0]]
        while waiting:
            for own in self.readers.get(waiting.pop(), []):
                reader = self.nodes[own]
                if reader.op_type == "DequantizeLinear":
                    made = helper.make_node("Identity", [reader.input[0]], list(reader.output), name=reader.name)
                    self.instead[own] = [made]
                else:
                    waiting.append(reader.output[0])
