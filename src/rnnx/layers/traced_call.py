"""Layers with ``call`` of their own: it is traced once with symbolic tensors, and the graph it leaves is run.

The graph is a plan like that of a model; weights that ``call`` computes with stand in places of it by themselves.
There is one for each structure of arguments, their types and shapes (but for the batch), and the two values of
``training`` if ``call`` asks for it.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from rnnx._changes import Changes
from rnnx._nested import LEAF, count_leaves, flatten, frozen, unflatten
from rnnx._typing import Array
from rnnx.layers import carried, graph
from rnnx.layers.call_arguments import SIMPLE, Arguments, is_tensor, list_structure
from rnnx.layers.call_masks import UnknownMask, masks_after, or_none, ranks_of, split_masks
from rnnx.layers.call_signature import CallSignature, signature_of
from rnnx.layers.checks import TEXT, as_strings, starting_mask
from rnnx.layers.given_mask import with_mask
from rnnx.layers.graph import Node, SymbolicTensor
from rnnx.layers.graph_cache import GraphCache
from rnnx.layers.input import entry
from rnnx.layers.input_spec import check_inputs
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.limits import budget
from rnnx.layers.traced_shapes import TracedShapes, sketches_of
from rnnx.layers.tracing import Traced, TracedPullback, trace
from rnnx.layers.weight import Weight

NO_SUBLAYERS = {  # attributes in which nobody keeps layers of a class of their own
    "_computation",
    "_init_arguments",
    "_node",
    "_weights",
    "_added",
    "_memo",
    "_lookups",
    "_metrics",
    "history",
    "graph_model",
}
Signature = tuple[tuple[Any, ...], ...]  # type and shape of each tensor
Ranks = tuple["int | None", ...]  # axes of the mask of each tensor


class TracedCall(TracedShapes):
    """What a layer computes whose class defines ``call``.

    Parameters
    ----------
    layer : Layer

    Attributes
    ----------
    graphs : GraphCache
        By the structure of the arguments, the types and shapes of the tensors, the axes of their masks, and
        ``training``.
    """

    knows_trained, takes_lookups = True, False

    def __init__(self, layer: Any):
        if "_weights" not in vars(layer):
            raise RuntimeError(f"{type(layer).__name__}: its `__init__` must begin with super().__init__()")
        self.layer = layer
        self.signature: CallSignature = signature_of(type(layer))
        self.graphs = GraphCache(layer, *self.signature.functions, lock=layer._build_lock)
        self._main_key: tuple[Any, Any] = (None, None)

    @property
    def computation(self) -> TracedCall:
        return self

    # ---- Graphs ----------------------------------------------------------------------------------------------------

    def graph_for(self, structure: Any, tensors: list[Any], ranks: Ranks, training: bool) -> Traced:
        """The graph of a call.

        Parameters
        ----------
        structure : tuple
            Of the arguments.
        tensors : list of arrays or SymbolicTensor
            Of which type and shape count.
        ranks : tuple of int or None
            For each of them, the axes of the mask that ``call`` is given for it.
        training : bool
        """
        training = bool(training) and self.signature.training
        signature = tuple([(np.dtype(part.dtype), (None, *part.shape[1:])) for part in tensors])
        key = (structure, signature, ranks, training)
        found = self.graphs.get(key)
        if found is not None:
            return found
        with self.graphs.lock:
            general = signature
            for other, own in self.graphs.items():
                if other == key:
                    return own
                if other[0] == structure and _covers(other[1], signature):
                    if other[2:] == key[2:]:
                        found = own
                        break
                    general = other[1]  # that of a model: for any number of steps
            if found is None:
                found = self.graphs.trace(
                    (structure, general, ranks, training), lambda: self._trace(structure, general, ranks, training)
                )
            self.graphs.put(key, found)
            self._note_built(structure, signature)
        return found

    def _note_built(self, structure: Any, signature: Signature) -> None:
        """Let the layer remember the first arguments that it has a graph for."""
        if "_built_for" not in vars(self.layer):
            self.layer._built_for = (structure, tuple([(dtype.name, shape) for dtype, shape in signature]))
        if not self.layer.built:
            self.layer.built = True

    def main_graph(self) -> Traced | None:
        """The graph for the first arguments, without masks and outside of training; None while there is none."""
        known = vars(self.layer).get("_built_for")
        if known is None:
            return None
        structure, signature = known
        if self._main_key[0] is not known:
            types = tuple([(np.dtype(name), shape) for name, shape in signature])
            self._main_key = (known, (structure, types, (None,) * len(types), False))
        found = self.graphs.get(self._main_key[1])
        if found is None:
            found = self.graph_without_values(structure, sketches_of(signature), False)
        return found

    def graph_without_values(self, structure: Any, tensors: list[Any], training: bool) -> Traced:
        """The graph of a call of which nobody knows yet whether its inputs will have masks.

        A ``call`` that cannot do without a mask is traced with one.
        """
        none = (None,) * len(tensors)
        try:
            return self.graph_for(structure, tensors, none, training)
        except Exception as error:
            supposed: list[Any] = [UnknownMask(min(2, len(part.shape))) for part in tensors]
            ranks = ranks_of(self.layer, structure, supposed)
            if ranks == none:
                raise
            try:
                return self.graph_for(structure, tensors, ranks, training)
            except Exception:
                raise error from None

    def _trace(self, structure: Any, signature: Signature, ranks: Ranks, training: bool) -> Traced:
        names, name = self.signature, self.name
        entries = [entry(f"{name}_{k}", shape, dtype) for k, (dtype, shape) in enumerate(signature)]
        masks = [
            None if rank is None else entry(f"{name}_mask_{k}", signature[k][1][:rank], np.dtype(bool))
            for k, rank in enumerate(ranks)
        ]
        structure = ("dict", (names.first, LEAF)) if structure == SIMPLE else structure
        given = unflatten(structure, entries)
        by_name = unflatten(structure, masks)
        if names.takes_mask and "mask" in names.signature.parameters:
            given["mask"] = or_none(by_name[names.first])
        for mask, of in names.masks.items():
            if given.get(mask) is None and of in by_name:
                given[mask] = or_none(by_name[of])
        if names.training:
            given["training"] = training
        arguments = names.in_order(given)
        return trace(
            self.layer,
            [*entries, *[mask for mask in masks if mask is not None]],
            lambda: self.layer.call(*arguments.args, **arguments.kwargs),
            len(entries),
        )

    # ---- Calls on arrays -------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Arrays in, arrays out; symbolic tensors in, symbolic tensors out."""
        given = Arguments(self.layer, args, kwargs)
        if any(isinstance(part, SymbolicTensor) for part in given.tensors):
            return self.record(given)
        traced, values, masks, _ = self.eager(given, False)
        return unflatten(traced.structure, [carried.carrying(y, mask) for y, mask in zip(values, masks, strict=True)])

    def vjp(self, *args: Any, **kwargs: Any) -> tuple[Any, Pullback]:
        """The same call, differentiable; see `Layer.vjp`."""
        given = Arguments(self.layer, args, kwargs)
        traced, values, masks, back = self.eager(given, True)
        back.single_input = given.structure == SIMPLE
        y = unflatten(traced.structure, [carried.carrying(y, mask) for y, mask in zip(values, masks, strict=True)])

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            found: list[Any] = []
            if traced.structure != LEAF:
                flatten(dy, lambda leaf: leaf is None or is_tensor(leaf), found)
            return back((found if len(values) > 1 else found[0]) if found else dy, need_dx=need_dx)

        return y, pullback

    def eager(self, given: Arguments, keep: bool) -> tuple[Traced, list[Any], list[Any], TracedPullback]:
        """A call on arrays."""
        arrays, masks = [], []
        for part in given.tensors:
            array, mask = carried.unwrap(part)
            arrays.append(self.cast(array))
            masks.append(mask)
        if given.call.get("mask") is not None:
            masks = split_masks(self.layer, given.call["mask"], len(masks))
        elif given.call.get("lengths") is not None:
            masks[0] = starting_mask(self.name, arrays[0], None, given.call["lengths"])
        self.build_for(given.structure, [part.shape for part in arrays])
        with Changes():
            return self.run(given.structure, arrays, masks, self._whether(given.call.get("training")), keep)

    def run(
        self, structure: Any, arrays: list[Any], masks: list[Any], training: bool, keep: bool
    ) -> tuple[Traced, list[Any], list[Any], TracedPullback]:
        """The graph of a call on arrays, and what it gives."""
        ranks = ranks_of(self.layer, structure, masks)
        traced = self.graph_for(structure, arrays, ranks, training)
        extra = [mask for mask, rank in zip(masks, ranks, strict=True) if rank is not None]
        values, found, pullback = traced.run([*arrays, *extra], masks, training, keep)
        for k, own in enumerate(found):
            if own is not None and own.ndim >= values[k].ndim:
                found[k] = None
        return traced, values, masks_after(self.layer, structure, arrays, masks, found), pullback

    def _whether(self, training: Any) -> bool:
        return self.signature.training_default if training is None else bool(training)

    def build_for(self, structure: Any, shapes: list[Any]) -> None:
        """Build the layer for arguments of these shapes, if they are what its ``input_spec`` says."""
        layer = self.layer
        check_inputs(layer, shapes)
        if layer.built or layer.built_by_call or "_build_ran" in vars(layer):
            return
        if structure != SIMPLE and not self.signature.builds and not layer.call_is_all:
            return  # `super().call` says which of the arguments the class below is built for
        free = [(None, *shape[1:]) for shape in shapes]
        given = {"": free[0]} if structure == SIMPLE else dict(unflatten(structure, free))
        first = next(iter(given.values()))
        parameters = list(inspect.signature(type(layer).build).parameters)[1:]
        if len(parameters) > 1:
            wanted = {
                name: given[name.removesuffix("_shape")] for name in parameters if name.removesuffix("_shape") in given
            }
            layer.build(**wanted)
        else:
            layer.build(first)

    # ---- Symbolic calls --------------------------------------------------------------------------------------------

    def record(self, given: Arguments) -> Any:
        """The symbolic tensors of a call."""
        tensors = given.tensors
        if not all(isinstance(part, SymbolicTensor) for part in tensors):
            raise TypeError(f"{self.name}: symbolic tensors and arrays cannot be mixed in one call")
        call = {name: value for name, value in given.call.items() if value is not None}
        if graph.is_symbolic(call.get("mask")):
            tensors = [with_mask(self.layer, tensors[0], call.pop("mask")), *tensors[1:]]
        if given.structure != SIMPLE:
            call["structure"] = given.structure
        return self._recorded(tensors, call)

    def record_again(self, tensors: list[SymbolicTensor], call: dict[str, Any]) -> Any:
        """Record a call with the arguments that a configuration has for it."""
        structure = frozen(call["structure"])
        if count_leaves(structure) != len(tensors):
            raise ValueError(f"{self.name}: its arguments have {count_leaves(structure)} tensors, got {len(tensors)}")
        return self._recorded(tensors, call)

    def _recorded(self, tensors: list[SymbolicTensor], call: dict[str, Any]) -> Any:
        """Record a call whose arguments are taken apart; the tensors come back in the structure of the result."""
        layer, structure = self.layer, frozen(call["structure"]) if "structure" in call else SIMPLE
        if (left := budget()) is not None:
            left.take_calls(self.name, graph.calls_of(layer, len(tensors)))
        self.build_for(structure, [part.shape for part in tensors])
        traced = self.graph_without_values(structure, tensors, self._whether(call.get("training")))
        node = Node(layer, tensors, len(tensors) == 1, 0, call)
        for index, tensor in enumerate(traced.output_tensors()):
            node.outputs.append(SymbolicTensor(tensor.shape, tensor.dtype, node, index))
        if layer._node is None:
            layer._node = node
        return unflatten(traced.structure, node.outputs)

    # ---- As a step of a graph --------------------------------------------------------------------------------------

    def prepare(self, x: Any) -> Any:
        """Cast the tensors of a call, and build the layer for them."""
        if isinstance(x, (list, tuple)):
            x = [self.cast(part) for part in x]
            if not self.layer.built:
                self.build_for(list_structure(self.layer, len(x)), [part.shape for part in x])
            return x
        x = self.cast(x)
        if not self.layer.built:
            self.build_for(SIMPLE, [x.shape])
        return x

    def cast(self, x: Any) -> Array:
        """An array of the layer's dtype; integers, truth values and texts stay what they are."""
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
        if array.dtype.kind in "OSTU":  # for layers inside that read texts; strings of one dtype share a graph
            return as_strings(self.name, array).astype(TEXT)
        return array if array.dtype.kind in "iub" else Layer.cast(self.layer, array)

    def forward_masked(
        self,
        x: Any,
        *,
        mask: Any = None,
        training: Any = None,
        keep: bool = False,
        lengths: Any = None,
        structure: Any = None,
        **call: Any,
    ) -> tuple[Any, Any, Any]:
        """Outputs, their time masks and the pullback."""
        if given := [name for name, value in call.items() if value is not None and value is not False]:
            raise TypeError(f"{self.name}: its `call` is not given {', '.join(sorted(given))} here")
        arrays = list(x) if isinstance(x, (list, tuple)) else [x]
        if structure is not None:
            structure = frozen(structure)
        elif isinstance(x, (list, tuple)):
            structure = list_structure(self.layer, len(arrays))
        else:
            structure = SIMPLE
        masks = split_masks(self.layer, starting_mask(self.name, arrays[0], mask, lengths), len(arrays))
        _, values, found, pullback = self.run(structure, arrays, masks, self._whether(training), keep)
        pullback.single_input = not isinstance(x, (list, tuple))
        return (values, found, pullback) if len(values) > 1 else (values[0], found[0], pullback)

    def forward(self, x: Any, *, mask: Any = None, keep: bool = False, **call: Any) -> tuple[Any, Any]:
        """The outputs and the pullback."""
        y, _, pullback = self.forward_masked(x, mask=mask, keep=keep, **call)
        return y, pullback if keep else None

    def leaves_traces(self) -> bool:
        """A call may draw noise or change weights: what it leaves is made when it has succeeded."""
        return True

    # ---- Weights ---------------------------------------------------------------------------------------------------

    @property
    def sublayers(self) -> list[Layer]:
        """Layers of the class below, and all that are attributes, also in lists, tuples and dicts."""
        found = list(self.layer.inner_layers)
        seen = {id(self.layer), *map(id, found)}

        def look(value: Any) -> None:
            if isinstance(value, Layer):
                if id(value) not in seen:
                    seen.add(id(value))
                    found.append(value)
            elif isinstance(value, (list, tuple)):
                for part in value:
                    look(part)
            elif isinstance(value, dict):
                for part in value.values():
                    look(part)

        for name, value in vars(self.layer).items():
            if name not in NO_SUBLAYERS:
                look(value)
        return found

    @property
    def own_weights(self) -> list[Weight]:
        """Those of the class below and its own, in the order they were made: those that are trained first."""
        own = vars(self.layer)
        made = list(own["_weights"])
        for number, (position, weight) in enumerate(own.get("_added", ())):
            made.insert(position + number, weight)
        return sorted(made, key=lambda weight: not weight.trainable)

    @property
    def weights(self) -> list[Weight]:
        """All weights, in ``get_weights`` order, each once."""
        found = dict.fromkeys(self.own_weights)
        for layer in self.layer.sublayers:
            found.update(dict.fromkeys(layer.weights))
        return list(found)

    def weight_is_trained(self) -> list[bool]:
        """For each weight, whether training changes it."""
        trainable = self.layer.trainable
        flags = {weight: weight.trainable and trainable for weight in self.own_weights}
        for layer in self.layer.sublayers:
            for weight, flag in zip(layer.weights, layer.weight_is_trained(), strict=True):
                flags[weight] = flags.get(weight, False) or (flag and trainable)
        return list(flags.values())

    def trained_weights(self) -> Any:
        """A mark by which every graph keeps which weights are trained, for one training."""
        return object()


def record_again(layer: Any, tensors: list[SymbolicTensor], call: dict[str, Any]) -> Any:
    """Record a call of a layer with a structure of arguments that a configuration has for it."""
    if not layer.overrides_call:
        raise ValueError(f"{layer.name}: only layers with `call` of their own have a structure of arguments")
    return layer.computation.record_again(tensors, call)


def _covers(general: Signature, signature: Signature) -> bool:
    """Whether a graph was made for shapes with unknown sizes where these are known."""
    for (dtype, shape), (other, sizes) in zip(general, signature, strict=True):
        if dtype != other or len(shape) != len(sizes):
            return False
        if any(n is not None and n != size for n, size in zip(shape, sizes, strict=True)):
            return False
    return True
