"""What has been read of a graph so far: views of its values, and the layers that were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx._typing import Array
from rnnx.formats.onnx._file import Source, attributes_of, called, reason
from rnnx.formats.onnx._limits import MOST_AXES, MOST_LAYERS, MOST_REPEATED, MOST_SIZES
from rnnx.formats.onnx._view import DIRECTIONS, ONE, Size, Sizes, View, Zeros, view_of
from rnnx.layers.graph import SymbolicTensor
from rnnx.saving import FormatError

UNFIT = (  # a damaged file may break what is taken for granted
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class NoLayer(FormatError):
    """A part of a graph is nothing that layers compute, for the reason given."""


class TooManyLayers(NoLayer):
    """There are more layers than are made of a file."""


class Reading:
    """A graph that is being read, node by node.

    Parameters
    ----------
    source : Source
    known : dict
        Constants by their names.
    fixed : bool
        Whether there are as many timesteps as the inputs of the file have, or any number.
    exact : bool
        Whether the model takes and returns the arrays of the graph, as a session needs it, or may have a batch that the
        graph has not, and graphs of `If` that are chosen by what is known of sizes.

    Attributes
    ----------
    values : dict
        View, Sizes or Zeros of every value that was read, and for the others the error that says why not.
    uses : dict
        The nodes that read a value.
    makers : dict
        The node that makes a value.
    ends : set of str
        Outputs of the graph.
    entries : set of str
        Names that layers cannot have: those of the inputs.
    chosen : dict
        For the outputs of `If` nodes that were met whether their conditions are true.
    by_sizes : bool
        Whether sizes say so, which must stay as they are then.
    batchless : bool
        Whether the graph has no axis for the batch in an input: the timesteps are ``(0, 1)`` there.
    """

    def __init__(self, source: Source, known: dict[str, Array], fixed: bool = False, exact: bool = False):
        self.source, self.known, self.fixed, self.exact = source, known, fixed, exact
        self.chosen: dict[str, bool] = {}
        self.by_sizes = self.batchless = False
        graph = source.proto.graph
        self.ends = {value.name for value in graph.output}
        self.entries: set[str] = set()
        self.made_zeros: dict[tuple[Size, ...], View] = {}  # by their sizes
        self.first: View | None = None  # of the inputs
        self.batch: int | None = None  # the size of the batch, if the file says it
        self.values: dict[str, Any] = {}
        self.uses: dict[str, list[Any]] = {}
        self.makers: dict[str, Any] = {}
        self.nodes: list[Any] = []
        self._made: dict[Any, Any] = {}
        self._calls = self._names = 0
        self._repeated = 1
        needed = set(self.ends)
        for node in reversed(graph.node):
            if needed.isdisjoint(node.output) or all(name in known for name in node.output if name):
                continue
            needed.update(node.input)
            self.nodes.append(node)
            for name in dict.fromkeys(node.input):
                self.uses.setdefault(name, []).append(node)
            self.makers.update((name, node) for name in node.output if name)
        self.nodes.reverse()

    # ---- Values ------------------------------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """What is known of a value: a View, Sizes or Zeros.

        Raises
        ------
        NoLayer
            If no layer makes it; the node that could not be read is named.
        """
        found = self.values.get(name)
        if isinstance(found, NoLayer):
            raise found
        if found is None:
            raise NoLayer(f"the value {name[:80]!r} is a constant where an input of a layer is needed")
        return found

    def view(self, node: Any, place: int) -> View:
        """An input of a node as a view."""
        found = self.value(node.input[place]) if place < len(node.input) else None
        if not isinstance(found, View):
            raise NoLayer(f"{called(node)}: input {place} is not made by a layer")
        return found

    def tensor(self, node: Any, place: int) -> View:
        """An input of a node as a view of a single tensor."""
        return self.stacked(self.view(node, place))

    def constant(self, node: Any, place: int) -> Array:
        """A constant input of a node."""
        name = node.input[place] if place < len(node.input) else ""
        if name not in self.known:
            raise NoLayer(f"input {place} of {called(node)} is not a constant")
        return self.known[name]

    def integers(self, node: Any, place: int, attribute: str) -> list[int] | None:
        """Integers that are an attribute or, in newer opsets, a constant input; None if they are not given."""
        found = attributes_of(node).get(attribute)
        if found is None and place < len(node.input) and node.input[place]:
            found = self.constant(node, place).reshape(-1)
        if found is not None and len(found) > MOST_SIZES:
            raise NoLayer(f"{called(node)} has {len(found):,} numbers in place of axes or sizes")
        return None if found is None else [int(n) for n in found]

    def number(self, name: str) -> float | None:
        """A constant of one element; None if it is none."""
        array = self.known.get(name)
        return None if array is None or array.size != 1 or array.dtype.kind not in "fiu" else float(array.reshape(()))

    def sizes(self, name: str) -> Sizes | None:
        """A value as sizes, constant or not; None if it is none."""
        if name in self.known:
            array = self.known[name]
            if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > MOST_AXES:
                return None
            return Sizes(tuple(Size(int(n)) for n in array.reshape(-1)), array.ndim == 0)
        found = self.values.get(name)
        return found if isinstance(found, Sizes) else None

    def is_zero(self, name: str) -> bool:
        """Whether a value is zero everywhere."""
        return isinstance(self.values.get(name), Zeros) or (name in self.known and not self.known[name].any())

    def is_used(self, name: str) -> bool:
        return name in self.ends or name in self.uses

    def only_reader(self, name: str) -> Any | None:
        """The node that reads a value if it is the only one, and the value no output."""
        nodes = self.uses.get(name, ())
        return nodes[0] if len(nodes) == 1 and name not in self.ends else None

    def give(self, name: str, value: Any) -> None:
        """Note what a value is."""
        self.values[name] = value

    def new_name(self) -> str:
        """A name for a size that is not known."""
        self._names += 1
        return f"size {self._names}"

    # ---- Layers ------------------------------------------------------------------------------------------------------

    def call(self, layer: Any, x: Any, **call: Any) -> Any:
        """Call a layer on symbolic tensors."""
        self._calls += 1
        if self._calls > MOST_LAYERS:
            raise TooManyLayers(f"it has more than {MOST_LAYERS:,} layers")
        if layer.name in self.entries:
            vars(layer)["name"] += "_layer"
        return layer(x, **call)

    def operate(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """An operation of `rnnx.ops` on symbolic tensors."""
        self._calls += 1
        if self._calls > MOST_LAYERS:
            raise TooManyLayers(f"it has more than {MOST_LAYERS:,} layers")
        y = function(*arguments, **options)
        layer = y.node.layer
        if layer.name in self.entries:
            vars(layer)["name"] += "_layer"
        return y

    def repeat(self, node: Any, times: int) -> None:
        """Count how often a value is repeated: a few letters say any number.

        Raises
        ------
        NoLayer
            If it is more often than `MOST_REPEATED` in all.
        """
        self._repeated *= max(1, times)
        if self._repeated > MOST_REPEATED:
            raise NoLayer(f"{called(node)}: values are repeated more than {MOST_REPEATED:,} times in all")

    def of_size(self, node: Any, size: Size) -> tuple[Any, int]:
        """A tensor with an axis of this size, and which one it is."""
        for found in self.values.values():
            if isinstance(found, View) and found.single is not None and len(size.names) == size.number == 1:
                for k in range(1, found.width):
                    if found.size_of(k) == size:
                        return found.single, k
        raise NoLayer(f"{called(node)} to a size that no value has")

    def weighted(
        self, key: Any, make: Callable[[], Any], weights: Callable[[], list[Array]], x: Any, **call: Any
    ) -> Any:
        """Call a layer with weights; nodes of one key, that is with the same weights and options, share a layer."""
        if key in self._made:
            return self.call(self._made[key], x, **call)
        layer = make()
        result = self.call(layer, x, **call)
        layer.set_weights(weights())
        self._made[key] = layer
        return result

    def after(self, view: View, tensor: SymbolicTensor) -> View:
        """What a layer made of the tensor of a view, each axis from the same one."""
        return view_of(tensor, view.axes, view.names, view.flipped)

    def elementwise(self, view: View, make: Callable[[str], Any]) -> View:
        """A layer without weights that takes every number for itself."""
        if view.dtype not in FLOATS:
            raise NoLayer(f"it takes numbers of type {view.dtype}")
        layer = make(np.dtype(view.dtype).name)
        tensors = tuple(self.call(layer, tensor) for tensor in view.tensors)
        joined = None if view.joined is None else self.call(layer, view.joined)
        return View(tensors, view.axes, view.names, view.flipped, joined)

    # ---- Axes --------------------------------------------------------------------------------------------------------

    def in_order(self, view: View) -> View:
        """The same value with the axes of its tensor in their order, carried out by layers where they are not.

        Raises
        ------
        NoLayer
            If the batch is not its first axis.
        """
        view = self.stacked(view)
        if view.is_plain:
            return view
        if view.flipped:
            view = view_of(self.operate(ops.flip, view.single, 1), view.axes, view.names)
            if view.is_plain:
                return view
        if not view.axes or view.axes[0] != (0,):
            raise NoLayer(f"it has the axes {spelled(view)}, the batch must be the first")
        tensor, sizes = view.single, view.sizes()
        assert tensor is not None
        order = [k for entry in view.axes for k in entry]
        moving = [k for k in order if view.size_of(k) != ONE]  # an axis of size 1 may lie anywhere
        if moving != sorted(moving):
            tensor = self.call(layers.Permute(order[1:], dtype=_float(tensor.dtype)), tensor)
            order = sorted(order)
        names = [size.names[0] if size.names else "" for size in sizes]
        if any(len(entry) != 1 for entry in view.axes) or order != sorted(order):
            target = [-1 if size.names else size.number for size in sizes[1:]]
            if target.count(-1) > 1:
                raise NoLayer(f"it has the axes {spelled(view)}, more than one of which is of any size")
            tensor = self.call(layers.Reshape(target, dtype=_float(tensor.dtype)), tensor)
            names = ["*".join(size.names) for size in sizes]
        return view_of(tensor, None, names)

    def features_last(self, view: View) -> View:
        """The same value with the features, the last axis of its tensor, as its last axis."""
        if view.single is not None and view.axes and view.axes[-1] == (view.width - 1,) and view.width > 1:
            return view
        return self.in_order(view)

    def stacked(self, view: View) -> View:
        """Several tensors as one, with an axis for them before the last."""
        if view.single is not None:
            return view
        if not view.tensors:
            raise NoLayer("the outputs of both directions are used apart and side by side")
        parts = []
        for tensor in view.tensors:
            sizes = [-1 if n is None else n for n in tensor.shape[1:]]
            if sizes.count(-1) > 1:
                raise NoLayer("states of several axes of any size")
            parts.append(self.call(layers.Reshape([*sizes[:-1], 1, sizes[-1]], dtype=_float(tensor.dtype)), tensor))
        whole = self.call(layers.Concatenate(axis=-2, dtype=_float(view.dtype)), parts)
        last = view.width - 1
        places = {DIRECTIONS: last, last: last + 1}
        axes = tuple(tuple(places.get(k, k) for k in entry) for entry in view.axes)
        return view_of(whole, axes, [*view.names[:last], "", view.names[last]], view.flipped)

    def side_by_side(self, view: View, axes: Sequence[tuple[int, ...]]) -> View | None:
        """Directions and features as one axis where these axes have them behind each other; None if they do not."""
        if not any(DIRECTIONS in entry for entry in axes):
            return view.moved(tuple(axes))
        last = view.width - 1
        joined = []
        for entry in axes:
            if DIRECTIONS in entry:
                place = entry.index(DIRECTIONS)
                if entry[place : place + 2] == (DIRECTIONS, last):
                    entry = entry[:place] + entry[place + 1 :]
                elif len(entry) > 1:
                    return None
            joined.append(entry)
        if any(DIRECTIONS in entry for entry in joined):
            return view.moved(tuple(axes))
        tensor = view.joined
        if tensor is None:
            tensor = self.call(layers.Concatenate(dtype=_float(view.dtype)), list(view.tensors))
        return view_of(tensor, tuple(joined), view.names, view.flipped)


def _float(dtype: Any) -> str:
    """The type of a layer that moves numbers."""
    if np.dtype(dtype) not in FLOATS:
        raise NoLayer(f"it moves numbers of type {np.dtype(dtype)}")
    return np.dtype(dtype).name


def spelled(view: View) -> str:
    """The axes of a view for a message."""
    words = ["batch", *(["timesteps"] if view.width == 3 else [f"axis {k}" for k in range(1, view.width - 1)])]
    words = [*words[: max(1, view.width - 1)], "features"][: view.width]
    names = {DIRECTIONS: "directions", **dict(enumerate(words))}
    return "(" + ", ".join(" x ".join(names[k] for k in entry) if entry else "1" for entry in view.axes) + ")"


def read_node(reading: Reading, readers: dict[str, Callable[[Reading, Any], None]], node: Any) -> None:
    """Read one node; what cannot be read is noted at its outputs, for those who need them."""
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    try:
        if operator not in readers:
            raise NoLayer(called(node))
        readers[operator](reading, node)
    except TooManyLayers:
        raise
    except UNFIT as error:
        known = error if isinstance(error, NoLayer) else NoLayer(f"{called(node)}: {reason(error)}")
        if isinstance(error, NoLayer) and str(error).startswith("it "):
            known = NoLayer(f"{called(node)}: {error}")
        for name in node.output:
            reading.values.setdefault(name, known)
