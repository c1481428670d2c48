"""Rules for the bytes of results and workspaces, and for work, from the inputs that an operator is about to get.

A file of a hundred bytes can ask for any amount: a constant of a given shape, an array repeated a million times. A rule
may say too much, never too little. An empty array counts as if its empty axes had one element: a sum over them has as
many elements as the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx.formats.onnx._limits import MOST_AXES, MOST_SIZES
from rnnx.formats.onnx._node import Array, NodeInfo, Size
from rnnx.saving import FormatError

TEXT = 64  # bytes of a text beside its characters, of which each may take four
ENTRY = 96  # bytes of an entry of a sequence beside its numbers
CALL = 100_000  # nanoseconds of a call of the reference evaluator
STEP = 2_000  # nanoseconds of a step of a loop in Python


def measure(value: Any) -> int:
    """Bytes of a value; an empty axis counts as one element.

    Raises
    ------
    FormatError
        If it is a sequence of sequences, which could be of any size without taking memory.
    """
    if value is None:
        return 0
    if value.__class__ is np.ndarray and (size := value.nbytes) and not value.dtype.hasobject:
        return int(size)
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            return sum(TEXT + 4 * len(text) if isinstance(text, (str, bytes)) else TEXT for text in value.flat) or TEXT
        return value.nbytes or value.itemsize * extent(value.shape)
    if isinstance(value, (list, tuple)):
        if len(value) > 1 and any(isinstance(part, (list, tuple)) for part in value):  # one alone is an Optional
            raise FormatError("sequences of sequences are not supported")
        return sum(ENTRY + measure(part) for part in value)
    return ENTRY * len(value) if isinstance(value, dict) else ENTRY


def extent(shape: Sequence[int]) -> int:
    """Elements of a shape; an empty axis counts as one.

    Raises
    ------
    FormatError
        If it has more axes than an array can have: their product alone could take for ever.
    """
    if len(shape) > MOST_AXES:
        raise FormatError(f"a shape of {len(shape):,} axes, at most {MOST_AXES} are possible")
    return math.prod([n if n > 0 else 1 for n in shape])


def elements(value: Any) -> int:
    """Elements of a value, of a sequence all together; an empty axis counts as one."""
    if isinstance(value, (np.ndarray, np.generic)):
        return extent(value.shape)
    return sum(1 + elements(part) for part in value) if isinstance(value, (list, tuple)) else 1


def integers(array: Any) -> list[int]:
    """The values of an array as integers; none for a missing one."""
    found = np.asarray([] if array is None else array).reshape(-1)
    if found.size > MOST_SIZES:
        raise FormatError(f"{found.size:,} numbers in place of axes or sizes, at most {MOST_SIZES:,} are read")
    return [int(n) for n in found]


def few(axes: Any) -> tuple[int, ...]:
    """Axes as integers, of which there are no more than an array can have: NumPy looks for each among all."""
    if np.size(axes) > MOST_AXES:
        raise FormatError(f"{np.size(axes):,} axes, at most {MOST_AXES} are possible")
    return tuple([int(n) for n in np.reshape(axes, -1)])


def total(*values: Any) -> int:
    """Bytes of all inputs."""
    return sum([measure(value) for value in values])


def width(x: Array) -> int:
    """Bytes of an element of whatever an array of this type is turned into: numbers that are not floats become such."""
    return int(x.itemsize) if x.dtype.kind == "f" else max(8, int(x.itemsize))


def _float(x: Any) -> bool:
    return x is None or (isinstance(x, np.ndarray) and x.dtype.kind == "f")


# ---- In proportion to the inputs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """So many times the bytes of the inputs. With such a rule small inputs cannot lead to anything large."""

    factor: int

    def __call__(self, info: NodeInfo, *inputs: Any) -> int:
        return self.factor * total(*inputs) if self.factor else 0


@dataclass(frozen=True)
class Floats(Times):
    """So many times the inputs, with what is not a float turned into such of eight bytes."""

    def __call__(self, info: NodeInfo, *inputs: Any) -> int:
        return self.factor * sum([measure(x) if _float(x) else max(measure(x), 8 * elements(x)) for x in inputs])


@dataclass(frozen=True)
class Wide(Times):
    """So many times the inputs, with at least eight bytes for every element: indices, float64."""

    def __call__(self, info: NodeInfo, *inputs: Any) -> int:
        return self.factor * sum([max(measure(x), 8 * elements(x)) for x in inputs if x is not None])


@dataclass(frozen=True)
class Fixed(Times):
    """So many bytes, whatever the inputs."""

    def __call__(self, info: NodeInfo, *inputs: Any) -> int:
        return self.factor


SAME, NOTHING = Times(1), Fixed(0)


def each(nanoseconds: int) -> Size:
    """Work for every element of the inputs."""
    return lambda info, *inputs: nanoseconds * sum([elements(x) for x in inputs if x is not None])


def scaled(rule: Size, factor: int) -> Size:
    """A multiple of another rule."""
    return lambda info, *inputs: factor * rule(info, *inputs)


def sum_of(*rules: Size) -> Size:
    """The sum of several rules."""
    return lambda info, *inputs: sum([rule(info, *inputs) for rule in rules])


# ---- Broadcasting ----------------------------------------------------------------------------------------------------


def broadcast_elements(*shapes: tuple[int, ...]) -> int:
    """Elements of arrays of these shapes when they are broadcast against each other; 0 if they cannot be."""
    try:
        return extent(np.broadcast_shapes(*shapes))
    except ValueError:
        return 0


def broadcast(info: NodeInfo, *parts: Any) -> int:
    """Arrays against each other."""
    first = parts[0]
    if len(parts) == 2 and parts[1].size == 1 and parts[1].ndim <= first.ndim:
        size, item = extent(first.shape), max(first.itemsize, parts[1].itemsize)
    else:
        parts = tuple(part for part in parts if part is not None)
        size, item = broadcast_elements(*[part.shape for part in parts]), max([part.itemsize for part in parts])
    if any([part.dtype.hasobject for part in parts]):
        item = sum([max([TEXT + 4 * len(str(text)) for text in part.flat], default=TEXT) for part in parts])
    return size * int(item)


def broadcast_floats(info: NodeInfo, *parts: Any) -> int:
    """Arrays against each other, computed in numbers of eight bytes."""
    return 8 * broadcast_elements(*[part.shape for part in parts if part is not None])


def by_channel(info: NodeInfo, x: Array, *parts: Any) -> int:
    """An array with one number for each channel, or for each block of its elements."""
    axis = info.attributes.get("axis", 1)
    wide = x.shape[axis] if -x.ndim <= axis < x.ndim else 1
    size = extent(x.shape)
    fits = {1, wide, x.shape[1] if x.ndim > 1 else 1}
    most = 1
    for part in parts:
        if part is not None and part.size not in fits and not (part.ndim == x.ndim > 1 and part.size <= size):
            most = max(most, part.size)
    return size * most * width(x)


# ---- Shapes by values ------------------------------------------------------------------------------------------------


def of_shape(values: Any, itemsize: int) -> int:
    """Bytes of an array whose shape is given."""
    return extent(integers(values)) * itemsize


def full(info: NodeInfo, shape: Array) -> int:
    """ConstantOfShape."""
    value = info.attributes.get("value")
    return of_shape(shape, 4 if value is None else int(value.itemsize))


def window_of(info: NodeInfo, size: Array) -> int:
    """The windows of signal processing, whose length is given."""
    return 8 * max(1, *integers(size))


def given_shape(info: NodeInfo, *inputs: Any) -> int:
    """Random numbers of the shape in the attributes."""
    return of_shape(info.attributes.get("shape", []), 8)


def expand(info: NodeInfo, x: Array, shape: Array) -> int:
    """An array broadcast to a shape."""
    return broadcast_elements(x.shape, tuple(integers(shape))) * x.itemsize


def tile(info: NodeInfo, x: Array, repeats: Array) -> int:
    """An array repeated along its axes."""
    return measure(x) * extent(integers(repeats))


def span(info: NodeInfo, start: Array, limit: Array, delta: Array) -> int:
    """Numbers from one to another."""
    first, last, step = (float(part.item()) for part in (start, limit, delta))
    return 8 * max(1, math.ceil((last - first) / step)) if step else 8


def pad(info: NodeInfo, x: Array, pads: Any = None, value: Any = None, axes: Any = None) -> int:
    """An array with more at its ends."""
    given = integers(info.attributes.get("pads", []) if pads is None else pads)
    places = range(x.ndim) if axes is None else [a % max(1, x.ndim) for a in integers(axes)]
    shape, half = list(x.shape), len(given) // 2
    for k, axis in enumerate(list(places)[:half]):
        shape[axis] += max(0, given[k]) + max(0, given[k + half])
    return extent(shape) * x.itemsize


def crop(info: NodeInfo, x: Array, shape: Array) -> int:
    """An array cut or padded to sizes of some axes."""
    sizes, found = integers(shape), list(x.shape)
    for axis, n in zip(info.attributes.get("axes") or range(x.ndim), sizes, strict=False):
        found[axis % max(1, x.ndim)] = max(n, found[axis % max(1, x.ndim)])
    return extent(found) * x.itemsize


def one_hot(info: NodeInfo, x: Array, depth: Array, values: Array) -> int:
    """A row for every index."""
    return extent(x.shape) * max(1, *integers(depth)) * 8


def multinomial(info: NodeInfo, x: Array) -> int:
    """Drawn numbers for every row."""
    return max(1, len(x)) * max(1, int(info.attributes.get("sample_size", 1))) * 8


# ---- Indices ---------------------------------------------------------------------------------------------------------


def gather(info: NodeInfo, x: Array, index: Array) -> int:
    """Parts of an array by an index along one axis."""
    axis = info.attributes.get("axis", 0)
    if not x.ndim:
        return measure(x)
    return measure(x) // max(1, x.shape[axis]) * extent(index.shape)


def gather_nd(info: NodeInfo, x: Array, index: Array) -> int:
    """Parts of an array by indices along several axes."""
    depth = index.shape[-1] if index.ndim else 0
    batch = max(0, int(info.attributes.get("batch_dims", 0)))
    return extent(index.shape[:-1]) * extent(x.shape[batch + depth :]) * x.itemsize


def non_zero(info: NodeInfo, x: Array) -> int:
    """Indices of elements."""
    return 8 * max(1, x.ndim) * extent(x.shape)


def boxes_kept(info: NodeInfo, boxes: Array, scores: Array, *rest: Any) -> int:
    """Indices of boxes, for each class."""
    return 24 * max(extent(scores.shape), extent(boxes.shape))


def boxes_compared(info: NodeInfo, boxes: Array, scores: Array, *rest: Any) -> int:
    """Boxes are compared by pairs, for each class."""
    return 5_000 * extent(scores.shape) * (boxes.shape[1] if boxes.ndim > 1 else 1)


# ---- Products --------------------------------------------------------------------------------------------------------


def product_shape(a: Array, b: Array) -> tuple[int, int, int, int]:
    """Batches, rows, columns and summed elements of a matrix product."""
    if b.ndim == 2 and a.ndim > 1:
        many = extent(a.shape)
        return 1, many // max(1, a.shape[-1]), max(1, b.shape[1]), max(1, a.shape[-1])
    batch = max(1, broadcast_elements(a.shape[:-2], b.shape[:-2]))
    rows = a.shape[-2] if a.ndim > 1 else 1
    columns = b.shape[-1] if b.ndim > 1 else 1
    return batch, max(1, rows), max(1, columns), max(1, a.shape[-1] if a.ndim else 1)


def product(info: NodeInfo, a: Array, b: Array, *rest: Any) -> int:
    """A matrix product."""
    batch, rows, columns, _ = product_shape(a, b)
    return batch * rows * columns * max(a.itemsize, b.itemsize, 4)


def product_work(info: NodeInfo, a: Array, b: Array, *rest: Any) -> int:
    """Ten multiplications of float32 or float64 take a nanosecond, one of other numbers takes two or more."""
    many = math.prod(product_shape(a, b))
    return many // 10 if a.dtype.char in "fd" and b.dtype.char in "fd" else 10 * many


def _turned(info: NodeInfo, a: Array, b: Array) -> tuple[Array, Array]:
    return a.T if info.attributes.get("transA", 0) else a, b.T if info.attributes.get("transB", 0) else b


def gemm(info: NodeInfo, a: Array, b: Array, c: Any = None) -> int:
    """A product, and what is added to it."""
    a, b = _turned(info, a, b)
    _, rows, columns, _ = product_shape(a, b)
    size = rows * columns
    if c is not None:
        size = max(size, broadcast_elements((rows, columns), c.shape))
    return size * max(a.itemsize, b.itemsize, 4, 0 if c is None else c.itemsize)


def gemm_work(info: NodeInfo, a: Array, b: Array, c: Any = None) -> int:
    """That of its product."""
    return product_work(info, *_turned(info, a, b))


def _letters(info: NodeInfo, parts: Sequence[Array]) -> tuple[dict[str, int], str | None]:
    """The size of each letter of an Einsum, and the letters of its result; None where it has an ellipsis."""
    equation = str(info.attributes.get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    sizes: dict[str, int] = {}
    if "." in equation:
        return {str(k): n for k, part in enumerate(parts) for n in [extent(part.shape)]}, None
    for term, part in zip(terms.split(","), parts, strict=False):
        for letter, n in zip(term, part.shape, strict=False):
            sizes[letter] = max(n, sizes.get(letter, 1))
    return sizes, result if arrow else "".join(sizes)


def einsum(info: NodeInfo, *parts: Array) -> int:
    """A sum of products over named axes."""
    sizes, result = _letters(info, parts)
    return 8 * math.prod(sizes.values() if result is None else [sizes.get(letter, 1) for letter in result])


def einsum_all(info: NodeInfo, *parts: Array) -> int:
    """Of three arrays and more, two are multiplied first."""
    return 8 * math.prod(_letters(info, parts)[0].values()) if len(parts) > 2 else total(*parts)


def einsum_work(info: NodeInfo, *parts: Array) -> int:
    """A multiplication for every combination of indices."""
    return 2 * math.prod(_letters(info, parts)[0].values()) * max(1, len(parts) - 1)


def attention(info: NodeInfo, q: Array, k: Array, v: Array, mask: Any = None, past: Any = None, *rest: Any) -> int:
    """A number for each pair of places, for each head."""
    heads = max(info.attributes.get("q_num_heads", 1), q.shape[1] if q.ndim > 3 else 1, 1)
    keys = k.shape[-2] + (0 if past is None else past.shape[-2])
    shape = (max(1, q.shape[0]), heads, max(1, q.shape[-2]), max(1, keys))
    size = math.prod(shape)
    if mask is not None:
        size = max(size, broadcast_elements(shape, mask.shape) or size * extent(mask.shape))
    wide = extent(v.shape) // max(1, v.shape[-2]) * (keys + shape[2]) * heads
    return 8 * (size + wide + extent(q.shape))


def attention_work(info: NodeInfo, q: Array, k: Array, v: Array, mask: Any = None, past: Any = None, *rest: Any) -> int:
    """Two products."""
    return attention(info, q, k, v, mask, past) * max(1, q.shape[-1]) // 8


def state_of_attention(info: NodeInfo, q: Array, k: Array, v: Array, *rest: Any) -> int:
    """A LinearAttention: its outputs, and a state with a number for each key and value."""
    return 8 * (extent(q.shape) + extent(v.shape) * (1 + q.shape[-1] // max(1, v.shape[-1])) + _pairs(k, v))


def state_of_attention_work(info: NodeInfo, q: Array, k: Array, v: Array, *rest: Any) -> int:
    """The evaluator goes through the steps in Python."""
    steps = q.shape[1] if q.ndim > 1 else 1
    return steps * (100_000 + 20 * _pairs(k, v) * max(1, q.shape[-1] // max(1, k.shape[-1])))


def _pairs(k: Array, v: Array) -> int:
    return max(1, len(k)) * max(1, k.shape[-1]) * max(1, v.shape[-1])


@dataclass(frozen=True)
class Refused:
    """The rule of an operator that is refused."""

    why: str

    def __call__(self, info: NodeInfo, *inputs: Any) -> int:
        raise FormatError(self.why)
