"""Nodes of a quantized graph that are one operation in integers, joined when a file is loaded.

`quantize_dynamic` of ONNX Runtime writes a product as DynamicQuantizeLinear, MatMulInteger, Cast, Mul and Add, and
`quantize_static` puts a pair of QuantizeLinear and DequantizeLinear around every operator. What is written in their
place are the operators that ONNX Runtime joins them to, with the same numbers; functions of one array become a table
of 256 bytes. A node that others need as well stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._byte_windows import byte_windows
from rnnx.formats.onnx._file import Source, attributes_of, subgraphs
from rnnx.formats.onnx._integers import ACTIVATIONS, BYTES, on_engine
from rnnx.formats.onnx._layer_nodes import put_nodes, read_by
from rnnx.formats.onnx._node import NodeInfo
from rnnx.formats.onnx._registry import operator_of
from rnnx.formats.onnx._static import EVERY
from rnnx.saving import FormatError

MICROSOFT = "com.microsoft"
PRODUCTS = frozenset({"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearMatMul"})
MARKS = frozenset({"DequantizeLinear", "DynamicQuantizeLinear"})
OF_ONE = frozenset({
    "Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg",
    "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh",
})  # fmt: skip
MOVES = frozenset({
    "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
})  # fmt: skip
FAILURES = (FormatError, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Bytes:
    """An array of bytes and what it stands for, as names of values and as the numbers of one scale and zero point."""

    name: str
    scale: str
    zero: str
    step: Array
    place: Array
    axis: int

    @property
    def one(self) -> bool:
        """Whether there is one scale for all elements."""
        return self.step.size == 1

    def like(self, other: Bytes) -> bool:
        """Whether the same bytes stand for the same numbers."""
        same = self.one and other.one and self.place.dtype == other.place.dtype
        return bool(same and self.step.item() == other.step.item() and self.place.item() == other.place.item())


def join(source: Source) -> None:
    """Rewrite the graph of a source, and the graphs inside it, where that is one operation in integers."""
    _join(source, source.proto.graph)


def _join(source: Source, graph: Any) -> None:
    if any(node.op_type in MARKS or node.op_type in PRODUCTS for node in graph.node):
        source.opsets.setdefault(MICROSOFT, 1)
        source.opsets.setdefault("rnnx", 1)
    if any(node.op_type in MARKS for node in graph.node):
        _Fusion(source, graph).rewrite()
    if any(node.op_type in PRODUCTS for node in graph.node):
        _Fusion(source, graph).rewrite_behind()
    for node in graph.node:
        for inner in subgraphs(node):
            _join(source, inner)


class _Fusion:
    """One pass over the nodes of a graph."""

    def __init__(self, source: Source, graph: Any):
        self.source, self.graph, self.nodes = source, graph, list(graph.node)
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.arrays: dict[str, Array] = {}
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.numbers = {id(node): number for number, node in enumerate(self.nodes)}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in filter(None, node.input):
                self.readers.setdefault(name, []).append(node)
        self.uses: dict[str, int] = {}
        for name in [name for node in self.nodes for name in _reads(node)] + [value.name for value in graph.output]:
            self.uses[name] = self.uses.get(name, 0) + 1
        self.instead: dict[int, list[Any]] = {}
        self.gone: set[int] = set()
        self.written: list[tuple[str, Array]] = []

    def rewrite(self) -> None:
        """Join what can be joined."""
        rules: dict[str, Any] = {
            "QuantizeLinear": self._quantized, "Add": self._bias, "Mul": self._scaled, "MatMul": self._product,
            "Gemm": self._gemm,
        }  # fmt: skip
        for rule in ({"QuantizeLinear": rules["QuantizeLinear"], "Add": rules["Add"]}, rules):
            for node in self.nodes:
                if node.op_type in rule and node.domain in ("", "ai.onnx") and id(node) not in self.gone:
                    try:
                        rule[node.op_type](node)
                    except FAILURES:  # what is wrong with it is said where it is made
                        continue
        self._replace()

    def rewrite_behind(self) -> None:
        """Join products with what is done to their results alone; of a graph that was rewritten."""
        for node in self.nodes:
            if node.op_type in PRODUCTS and id(node) not in self.gone:
                try:
                    self._dense(node) if node.op_type == "QLinearMatMul" else self._activated(node)
                except FAILURES:
                    continue
        self._replace()

    def _replace(self) -> None:
        """Give the graph the new nodes, and drop those that nobody needs any more."""
        if not self.instead:
            return
        nodes = [part for node in self.nodes for part in self.instead.get(id(node), [node])]
        needed = {value.name for value in self.graph.output}
        put_nodes(self.graph, nodes, needed, may_go=lambda node: id(node) in self.gone)
        from onnx import numpy_helper

        for name, array in self.written:
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))

    # ---- What is known of values -------------------------------------------------------------------------------------

    def _constant(self, name: str) -> Array | None:
        """A value as an array if it is constant."""
        if name not in self.arrays:
            node = self.makers.get(name)
            if name in self.tensors:
                self.arrays[name] = self.source.array(self.tensors[name])
            elif node is not None and node.op_type == "Constant" and len(node.attribute) == 1:
                if node.attribute[0].name != "value":
                    return None
                self.arrays[name] = self.source.array(node.attribute[0].t, "constant")
        return self.arrays.get(name)

    def _bytes(self, node: Any) -> Bytes | None:
        """What a DequantizeLinear reads, or a QuantizeLinear makes; None unless these are bytes of constant scale."""
        if node is None or node.op_type not in ("DequantizeLinear", "QuantizeLinear") or len(node.input) != 3:
            return None
        attributes = attributes_of(node)
        axis = int(attributes.pop("axis", 1))
        attributes.pop("saturate", None)
        step, place = self._constant(node.input[1]), self._constant(node.input[2])
        if any(attributes.values()) or step is None or place is None or step.dtype != np.float32:
            return None
        if place.dtype not in BYTES or step.size != place.size or not step.size or not (step > 0).all():
            return None
        name = node.input[0] if node.op_type == "DequantizeLinear" else node.output[0]
        return Bytes(name, node.input[1], node.input[2], step, place, axis)

    def _source_of(self, name: str) -> Bytes | None:
        """The bytes that a value was made of by DequantizeLinear."""
        node = self.makers.get(name)
        return self._bytes(node) if node is not None and node.op_type == "DequantizeLinear" else None

    def _alone(self, name: str, operator: str) -> Any:
        """The node that makes a value which nothing else reads, if that is its operator."""
        node = self.makers.get(name)
        if node is None or node.op_type != operator or node.domain not in ("", "ai.onnx"):
            return None
        return node if self.uses.get(name) == 1 and id(node) not in self.gone else None

    # ---- Writing -----------------------------------------------------------------------------------------------------

    def _put(self, last: Any, operator: str, inputs: list[str], outputs: list[str], through: list[Any],
             domain: str = MICROSOFT, **attributes: Any) -> None:  # fmt: skip
        """A node in place of `last` and of those that led to it."""
        from onnx import helper

        who = next((node.name for node in through if node.name), last.name)
        made = helper.make_node(operator, inputs, outputs, who, domain=domain, **attributes)
        self.instead[id(last)] = [made, last]
        self.gone |= {id(last), *map(id, through)}
        for name in outputs:  # the old node stands behind it, and is dropped for having no output that is needed
            self.makers[name] = made
        del last.output[:]

    def _with(self, *parts: Bytes) -> list[Any]:
        """The nodes that go away if nothing else reads them: those that make parts floats."""
        return [node for part in parts for node in self.readers[part.name] if node.op_type == "DequantizeLinear"]

    def _constants(self, hint: str, array: Array) -> str:
        name, number = f"{hint}_joined", 1
        while name in self.tensors or name in self.makers or name in self.uses:
            name, number = f"{hint}_joined_{number}", number + 1
        self.written.append((name, array))
        self.uses[name], self.arrays[name] = 1, array
        return name

    # ---- Rules -------------------------------------------------------------------------------------------------------

    def _quantized(self, node: Any) -> None:
        """A QuantizeLinear, behind an operator whose inputs were bytes."""
        made = self._bytes(node)
        middle = self.makers.get(node.input[0])
        if made is None or middle is None or not made.one or middle.domain not in ("", "ai.onnx"):
            return
        if id(middle) in self.gone:
            return
        if middle.op_type == "DequantizeLinear":
            before = self._bytes(middle)
            if before is not None and before.like(made):
                self._put(node, "Identity", [before.name], list(node.output), [middle], "")
            return
        if middle.op_type == "Split":
            self._moved(node, middle, made)
            return
        if self.uses.get(node.input[0]) != 1:
            return
        of_two = {"Add": "QLinearAdd", "Mul": "QLinearMul"}
        if middle.op_type in of_two:
            self._of_two(node, middle, made, of_two[middle.op_type])
        elif middle.op_type == "MatMul":
            self._matmul(node, middle, made)
        elif middle.op_type == "Gemm":
            self._gemm(middle, node, made)
        elif middle.op_type == "Conv":
            self._conv(node, middle, made)
        elif middle.op_type == "Concat":
            self._concat(node, middle, made)
        elif middle.op_type in OF_ONE:
            self._table(node, middle, made)
        elif middle.op_type in MOVES:
            self._moved(node, middle, made)

    def _of_two(self, node: Any, middle: Any, made: Bytes, operator: str) -> None:
        a, b = (self._source_of(name) for name in middle.input)
        if a is None or b is None or not (a.one and b.one) or not a.place.dtype == b.place.dtype == made.place.dtype:
            return
        inputs = [a.name, a.scale, a.zero, b.name, b.scale, b.zero, made.scale, made.zero]
        self._put(node, operator, inputs, list(node.output), [middle, *self._with(a, b)])

    def _sides(self, middle: Any) -> tuple[Bytes, Bytes] | None:
        """Both sides of a product; the right one may have a scale for each column."""
        a, b = self._source_of(middle.input[0]), self._source_of(middle.input[1])
        if a is None or b is None or not a.one:
            return None
        if not b.one:
            whole = self._constant(b.name)
            if whole is None or whole.ndim != 2:
                return None
            columns = 0 if middle.op_type == "Gemm" and attributes_of(middle).get("transB", 0) else 1
            if b.axis % 2 != columns or b.step.shape != (whole.shape[columns],):
                return None
        return a, b

    def _matmul(self, node: Any, middle: Any, made: Bytes) -> None:
        sides = self._sides(middle)
        if sides is None or made.place.dtype != sides[0].place.dtype:
            return
        a, b = sides
        inputs = [a.name, a.scale, a.zero, b.name, b.scale, b.zero, made.scale, made.zero]
        self._put(node, "QLinearMatMul", inputs, list(node.output), [middle, *self._with(a, b)], "")

    def _product(self, node: Any) -> None:
        """A product of bytes that stays a float; a bias behind it is part of it."""
        sides = self._sides(node)
        if sides is None or self._constant(sides[1].name) is None:
            return
        a, b = sides
        inputs = [a.name, b.name, a.scale, b.scale, a.zero, b.zero]
        self._put(node, "MatMulIntegerToFloat", inputs, list(node.output), self._with(a, b))

    def _gemm(self, middle: Any, last: Any = None, made: Bytes | None = None) -> None:
        attributes = attributes_of(middle)
        sides, c = self._sides(middle), None
        if sides is None or attributes.get("beta", 1.0) != 1 or attributes.get("alpha", 1.0) != 1:
            return
        a, b = sides
        through = self._with(a, b)
        if made is not None and made.place.dtype != a.place.dtype:
            return
        if len(middle.input) > 2 and middle.input[2]:
            c = self._added(middle.input[2], a, b)
            if c is None:
                return
            through.append(self.makers[middle.input[2]])
        inputs = [a.name, a.scale, a.zero, b.name, b.scale, b.zero]
        if c is not None or made is not None:
            inputs.append(c or "")
        inputs += [] if made is None else [made.scale, made.zero]
        node = middle if last is None else last
        given = {name: attributes[name] for name in ("transA", "transB") if name in attributes}
        self._put(node, "QGemm", inputs, list(node.output), [*([] if last is None else [middle]), *through], **given)

    def _added(self, name: str, a: Bytes, b: Bytes) -> str | None:
        """The integers of a bias, if their steps are those of the product."""
        node = self.makers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        whole, step = self._constant(node.input[0]), self._constant(node.input[1])
        zero = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.int32)
        if whole is None or step is None or zero is None or whole.dtype != np.int32 or whole.ndim != 1 or zero.any():
            return None
        if any(value for key, value in attributes_of(node).items() if key != "axis") or step.size not in (
            1,
            whole.size,
        ):
            return None
        wanted = a.step.reshape(-1) * b.step.reshape(-1)
        if step.size not in (1, whole.size, wanted.size):
            return None
        return node.input[0] if np.allclose(step.reshape(-1), wanted, rtol=1e-5, atol=0) else None

    def _conv(self, node: Any, middle: Any, made: Bytes) -> None:
        a, b = self._source_of(middle.input[0]), self._source_of(middle.input[1])
        whole = None if b is None else self._constant(b.name)
        if a is None or b is None or whole is None or not a.one or made.place.dtype != a.place.dtype:
            return
        if not b.one and (b.axis % whole.ndim != 0 or b.step.shape != (len(whole),)):
            return
        matrix = whole.reshape(len(whole), -1).T if whole.ndim in (3, 4) else whole
        windows = byte_windows(attributes_of(middle), whole.shape)
        if windows is None or not on_engine(matrix, b.place.reshape(-1), False):
            return  # which the evaluator has alone
        inputs = [a.name, a.scale, a.zero, b.name, b.scale, b.zero, made.scale, made.zero]
        through = [middle, *self._with(a, b)]
        if len(middle.input) > 2 and middle.input[2]:
            c = self._added(middle.input[2], a, b)
            if c is None:
                return
            inputs.append(c)
            through.append(self.makers[middle.input[2]])
        self._put(node, "QLinearConv", inputs, list(node.output), through, "", **attributes_of(middle))

    def _concat(self, node: Any, middle: Any, made: Bytes) -> None:
        parts = [self._source_of(name) for name in middle.input]
        found = [part for part in parts if part is not None and part.one and part.place.dtype == made.place.dtype]
        if len(found) != len(parts):
            return
        through = [middle, *self._with(*found)]
        if all(part.like(made) for part in found):
            names = [part.name for part in found]
            self._put(node, "Concat", names, list(node.output), through, "", **attributes_of(middle))
            return
        inputs = [made.scale, made.zero]
        for part in found:
            inputs += [part.name, part.scale, part.zero]
        self._put(node, "QLinearConcat", inputs, list(node.output), through, **attributes_of(middle))

    def _table(self, node: Any, middle: Any, made: Bytes) -> None:
        """A function of one array: what it makes of every byte, by the very operators that it replaces."""
        a = self._source_of(middle.input[0])
        others = {k: self._constant(name) for k, name in enumerate(middle.input) if k and name}
        if a is None or not a.one or any(value is None for value in others.values()):
            return
        numbers = (EVERY.view(a.place.dtype).astype(np.int32) - a.place.astype(np.int32)).astype(np.float32) * a.step
        opset = self.source.opsets[""]
        constants = {k: value for k, value in others.items() if value is not None}
        there = tuple(map(bool, middle.input))
        function = _made(NodeInfo(middle.op_type, opset, attributes_of(middle), constants, there, (True,)))
        rounded = _made(NodeInfo("QuantizeLinear", opset, {}, {1: made.step, 2: made.place}, (True,) * 3, (True,)))
        if function is None or rounded is None:
            return
        with np.errstate(all="ignore"):
            found = np.asarray(function(numbers.reshape(-1), *[constants.get(k) for k in range(1, len(there))]))
            table = rounded(found.astype(np.float32, copy=False), made.step, made.place)
        inputs = [a.name, self._constants(node.output[0], np.asarray(table).reshape(-1))]
        self._put(node, "Table", inputs, list(node.output), [middle, *self._with(a)], "rnnx")

    def _moved(self, node: Any, middle: Any, made: Bytes) -> None:
        """Numbers that only go to other places: their bytes do."""
        a = self._source_of(middle.input[0])
        if a is None or not a.like(made):
            return
        readers = {name: self.readers.get(name, []) for name in middle.output if name}
        ends = []
        for name, found in readers.items():
            if (
                len(found) != 1
                or self.uses.get(name) != 1
                or found[0].op_type != "QuantizeLinear"
                or not found[0].output
            ):
                return
            other = self._bytes(found[0])
            if other is None or not other.like(made) or id(found[0]) in self.gone:
                return
            ends.append(found[0])
        first = min(ends, key=lambda end: self.numbers[id(end)])
        inputs = [a.name, *list(middle.input)[1:]]
        by_name = dict(zip(readers, ends, strict=True))
        outputs = [by_name[name].output[0] if name else "" for name in middle.output]
        self._put(first, middle.op_type, inputs, outputs, [middle, *self._with(a)], "", **attributes_of(middle))
        for end in ends:
            self.gone.add(id(end))
            del end.output[:]

    def _scaled(self, node: Any, bias: str = "", last: Any = None) -> bool:
        """Cast(MatMulInteger) times (scale of A times scale of B): A may be what DynamicQuantizeLinear made."""
        for one, other in (node.input, list(node.input)[::-1]):
            cast = self._alone(one, "Cast")
            both = self.makers.get(other)
            product = None if cast is None else self._alone(cast.input[0], "MatMulInteger")
            if product is None or both is None or both.op_type != "Mul" or attributes_of(cast).get("to") != 1:
                continue
            if len(product.input) < 3 or not product.input[2]:
                continue
            origin = self.makers.get(product.input[0])
            if origin is None or origin.op_type != "DynamicQuantizeLinear" or origin.output[0] != product.input[0]:
                continue
            of_a = origin.output[1]
            of_b = next((name for name in both.input if name != of_a), "")
            weights, scale = self._constant(product.input[1]), self._constant(of_b)
            if of_a not in both.input or origin.output[2] != product.input[2] or weights is None or scale is None:
                continue
            columns = weights.shape[-1]
            if weights.ndim != 2 or scale.dtype != np.float32 or scale.shape not in ((), (1,), (columns,)):
                continue
            end = node if last is None else last
            through = [product, node, cast, both]
            zero = product.input[3] if len(product.input) > 3 else ""
            if self.uses.get(origin.output[0]) == 1:
                inputs = [origin.input[0], product.input[1], of_b, zero, bias]
                through.append(origin)
                operator = "DynamicQuantizeMatMul"
            else:
                inputs = [product.input[0], product.input[1], of_a, of_b, product.input[2], zero, bias]
                operator = "MatMulIntegerToFloat"
            while inputs and not inputs[-1]:
                inputs.pop()
            self._put(end, operator, inputs, list(end.output), through)
            return True
        return False

    def _bias(self, node: Any) -> None:
        """A bias behind a product that `_scaled` or `_product` would make."""
        for one, other in (node.input, list(node.input)[::-1]):
            bias = self._constant(other)
            if bias is None or bias.ndim != 1 or bias.dtype != np.float32:
                continue
            product = self._alone(one, "MatMul")
            sides = None if product is None else self._sides(product)
            if sides is not None:
                whole = self._constant(sides[1].name)
                if whole is not None and whole.ndim == 2 and bias.shape == (whole.shape[1],):
                    a, b = sides
                    inputs = [a.name, b.name, a.scale, b.scale, a.zero, b.zero, other]
                    through = [product, *self._with(a, b)]
                    self._put(node, "MatMulIntegerToFloat", inputs, list(node.output), through)
                    return
            scaled = self._alone(one, "Mul")
            if scaled is not None and bias.shape == self._width(scaled) and self._scaled(scaled, other, node):
                return

    def _width(self, scaled: Any) -> tuple[int, ...]:
        """The columns of the product that a Mul scales."""
        for name in scaled.input:
            cast = self._alone(name, "Cast")
            product = None if cast is None else self._alone(cast.input[0], "MatMulInteger")
            weights = None if product is None else self._constant(product.input[1])
            if weights is not None and weights.ndim == 2:
                return (weights.shape[1],)
        return ()

    def _only_reader(self, node: Any) -> Any:
        """The node that alone reads the only result of another."""
        name = node.output[0] if len(node.output) == 1 else ""
        readers = self.readers.get(name, [])
        return readers[0] if self.uses.get(name) == 1 and len(readers) == 1 else None

    def _dense(self, node: Any) -> None:
        """A row of bytes that is added to a product of bytes, and a table for the result."""
        inputs, through, last = list(node.input), [node], node
        right, scale, kind = (self._constant(inputs[k]) for k in (3, 4, 7))
        zero = self._constant(inputs[5]) if inputs[5] else None
        if right is None or scale is None or kind is None or not on_engine(right, zero, not inputs[5]):
            return
        reader, row = self._only_reader(node), [""] * 5
        if reader is not None and reader.op_type == "QLinearAdd" and reader.input[0] == node.output[0]:
            names = list(reader.input)
            arrays = [array for name in names[1:] if (array := self._constant(name)) is not None]
            if len(arrays) != 7:
                return
            a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = arrays
            same = _same(a_scale, self._constant(inputs[6])) and _same(a_zero, kind)
            if same and b.shape == (right.shape[1],) and b.dtype == b_zero.dtype == y_zero.dtype == kind.dtype:
                row, last = names[3:], reader
        reader, table = self._only_reader(last), ""
        if reader is not None and reader.op_type == "Table" and reader.domain == "rnnx":
            entries = self._constant(reader.input[1])
            if entries is not None and entries.dtype == kind.dtype:
                through, last, table = [*through, last], reader, reader.input[1]
        if last is not node:
            self._put(last, "QLinearDense", [*inputs, *row, table], list(last.output), through, "rnnx")

    def _activated(self, node: Any) -> None:
        """An activation of the engine behind a product that is made floats."""
        reader = self._only_reader(node)
        places = (1, 3) if node.op_type == "DynamicQuantizeMatMul" else (1, 5)
        right, zero = (self._constant(node.input[k]) if k < len(node.input) else None for k in places)
        without = len(node.input) <= places[1] or not node.input[places[1]]
        if reader is None or reader.op_type not in ACTIVATIONS or reader.domain not in ("", "ai.onnx"):
            return
        if right is not None and on_engine(right, zero, without) and not node.attribute:
            self._put(reader, node.op_type, list(node.input), list(reader.output), [node], activation=reader.op_type)


def _same(one: Array | None, other: Array | None) -> bool:
    """Whether two constants are the same single number."""
    if one is None or other is None or one.size != 1 or other.size != 1:
        return False
    return bool(one.dtype == other.dtype and one.item() == other.item())


def _made(info: NodeInfo) -> Any:
    make = operator_of(info.operator).make
    return None if make is None else make(info)


def _reads(node: Any) -> list[str]:
    """The values that a node reads, each as often as it does, and once those that graphs inside it capture."""
    return [*filter(None, node.input), *(read_by(node) - set(node.input))]
