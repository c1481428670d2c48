"""Layers of one's own: their ``call`` is followed once with symbolic tensors, and the graph it leaves is run.

A class that defines ``call`` gets the methods of this file in place of those of the class it is derived from
(`honour_call`, which the definition of every such class leads to). Its graph is a plan like that of a model; weights
that ``call`` computes with stand in places of it by themselves. There is one graph for each structure of arguments,
their types and shapes (but for the batch), and the two values of ``training`` if ``call`` asks for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._changes import Changes
from rnnx._nested import LEAF, count_leaves, frozen, taken_apart, together
from rnnx._typing import Array
from rnnx.layers import carried, graph
from rnnx.layers.checks import TEXT, as_mask, as_strings, starting_mask
from rnnx.layers.given_mask import with_mask
from rnnx.layers.graph import Node, SymbolicTensor
from rnnx.layers.graph_cache import GraphCache
from rnnx.layers.input import entry
from rnnx.layers.layer import Gradients, Layer, Pullback, base_of, is_followed
from rnnx.layers.limits import room
from rnnx.layers.tracing import Traced, TracedPullback, followed
from rnnx.layers.weight import Weight, operand

SIMPLE = ("dict", ("", LEAF))  # one tensor, for the first argument
NOT_LOOKED_AT = {
    "_graphs",
    "_given",
    "_key",
    "_base",
    "_node",
    "_weights",
    "_added",
    "_memo",
    "_metrics",
    "history",
    "layers",
}
Signature = tuple[tuple[Any, ...], ...]  # type and shape of each tensor


# ---- Arguments ------------------------------------------------------------------------------------------------------


def is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, (SymbolicTensor, np.ndarray))


class Arguments:
    """What a layer is called with.

    Attributes
    ----------
    tensors : list
        Arrays or symbolic tensors, in order.
    structure : tuple
        Of the arguments by their names, without ``training`` and ``mask``.
    call : dict
        ``training`` and ``mask`` as far as they were given, and ``lengths``.
    """

    __slots__ = ("tensors", "structure", "call")

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        if "_weights" not in vars(layer):
            raise RuntimeError(f"{type(layer).__name__}: its `__init__` must begin with super().__init__()")
        if len(args) == 1 and not kwargs and is_tensor(args[0]):
            self.tensors, self.call = [args[0]], {}
            self.structure: Any = SIMPLE
            return
        names = call_of(type(layer))
        call: dict[str, Any] = {name: kwargs.pop(name) for name in ("lengths",) if name in kwargs}
        for name in ("training", "mask"):  # the engine gives them to every layer
            if name in kwargs and name not in names.parameters:
                call[name] = kwargs.pop(name)
        try:
            given = names.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{layer.name}: {error}; `call` takes {names.signature}") from None
        for name in ("training", "mask"):
            if given.get(name) is not None:
                call[name] = given[name]
            given.pop(name, None)
        if not given:
            raise TypeError(f"{layer.name}: an input is needed; `call` takes {names.signature}")
        first = next(iter(given))
        given[first] = operand(_as_arrays(layer, given[first]))
        for name in list(given)[1:]:
            given[name] = operand(given[name])
        self.tensors, self.call = [], call
        if set(given) == {first} and is_tensor(given[first]):
            self.tensors, self.structure = [given[first]], SIMPLE
            return
        try:
            parts = [(name, taken_apart(value, is_tensor, self.tensors)) for name, value in given.items()]
            self.structure = ("dict", *parts)
        except TypeError as error:
            raise TypeError(f"{layer.name}: its arguments must be tensors or constants: {error}") from None


def _as_arrays(layer: Any, value: Any) -> Any:
    """The first argument: lists without arrays in them are arrays themselves."""
    if isinstance(value, dict):
        return {name: _as_arrays(layer, part) for name, part in value.items()}
    if isinstance(value, (list, tuple)) and _holds_tensors(value):
        return type(value)([_as_arrays(layer, part) for part in value])
    if value is None or isinstance(value, (np.ndarray, SymbolicTensor, Weight)):
        return value
    return Layer.cast(layer, value) if isinstance(value, (float, list, tuple)) else np.asarray(value)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(part) for part in value)
    return isinstance(value, (np.ndarray, SymbolicTensor, Weight))


class CallOf:
    """The ``call`` of a class.

    Attributes
    ----------
    signature : inspect.Signature
        Without ``self``.
    parameters : dict
    first : str
        The name of the input.
    training : bool
        Whether it asks for ``training``.
    masks : dict of str
        Arguments that are masks, each with the name of the argument whose mask it is.
    functions : list of callable
        The ``call`` of the class and those of the classes of one's own that it is derived from.
    """

    def __init__(self, cls: Any):
        own = cls.__mro__[: cls.__mro__.index(base_of(cls))]
        self.functions: list[Callable[..., Any]] = [vars(kind)["call"] for kind in own if "call" in vars(kind)]
        parameters = list(inspect.signature(cls.call).parameters.values())[1:]
        self.signature = inspect.Signature(parameters)
        self.parameters = {p.name: p for p in parameters}
        names = [p.name for p in parameters if p.name not in ("training", "mask")]
        self.first = names[0] if names else ""
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.training = "training" in self.parameters or anything
        self.takes_mask = "mask" in self.parameters or anything
        self.masks = {f"{name}_mask": name for name in names if f"{name}_mask" in self.parameters}
        default = self.parameters["training"].default if "training" in self.parameters else None
        self.training_default = bool(default) if default not in (None, inspect.Parameter.empty) else False


def call_of(cls: Any) -> CallOf:
    """What is known of the ``call`` of a class; the class keeps it, so that both go together."""
    found: CallOf | None = vars(cls).get("_call_of")
    if found is None:
        found = cls._call_of = CallOf(cls)
    return found


# ---- The methods of a class that defines `call` ---------------------------------------------------------------------


def graph_for(
    self: Any, structure: Any, tensors: list[Any], ranks: tuple[int | None, ...], training: bool, keep: bool = True
) -> Traced:
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
    cache = graphs_of(self)
    names = call_of(type(self))
    training = bool(training) and names.training
    signature = tuple([(np.dtype(part.dtype), (None, *part.shape[1:])) for part in tensors])
    key = (structure, signature, ranks, training)
    found = cache.get(key)
    if found is not None:
        return found
    with cache.lock:
        general = signature
        for other, own in cache.items():
            if other == key:
                return own
            if other[0] == structure and _covers(other[1], signature):
                if other[2:] == key[2:]:
                    found = own
                    break
                general = other[1]  # that of a model: for any number of steps
        if found is None:
            found = cache.trace(
                (structure, general, ranks, training), lambda: _follow(self, structure, general, ranks, training)
            )
        cache.put(key, found)
        if "_built_for" not in vars(self):
            self._built_for = (structure, tuple([(dtype.name, shape) for dtype, shape in signature]))
        if not vars(self)["built"]:
            self.built = True
    return found


def key_of(self: Any, structure: Any, signature: Any) -> Any:
    """The key of a graph without masks and outside of training, of names of types and shapes."""
    known = vars(self).get("_key")
    if known is None or known[0] is not signature:
        types = tuple([(np.dtype(name), shape) for name, shape in signature])
        known = vars(self)["_key"] = (signature, (structure, types, (None,) * len(types), False))
    return known[1]


def graphs_of(self: Any) -> GraphCache:
    """The graphs of a layer; keys: structure, types and shapes, axes of masks, ``training``."""
    cache: GraphCache | None = vars(self).get("_graphs")
    if cache is None:
        cache = GraphCache(self, *call_of(type(self)).functions, lock=self._build_lock)
        cache = vars(self).setdefault("_graphs", cache)
    return cache


def graph_without_values(self: Any, structure: Any, tensors: list[Any], training: bool) -> Traced:
    """The graph of a call of which nobody knows yet whether its inputs will have masks.

    A ``call`` that cannot do without a mask is followed with one.
    """
    none = (None,) * len(tensors)
    try:
        return graph_for(self, structure, tensors, none, training)
    except Exception as error:
        supposed: list[Any] = [_Mask(min(2, len(part.shape))) for part in tensors]
        ranks = _ranks(self, structure, supposed)
        if ranks == none:
            raise
        try:
            return graph_for(self, structure, tensors, ranks, training)
        except Exception:
            raise error from None


class _Mask:
    """The axes of a mask that is not there yet."""

    def __init__(self, axes: int):
        self.shape = (None,) * axes


def _covers(general: Signature, signature: Signature) -> bool:
    """Whether a graph was made for shapes with unknown sizes where these are known."""
    for (dtype, shape), (other, sizes) in zip(general, signature, strict=True):
        if dtype != other or len(shape) != len(sizes):
            return False
        if any(n is not None and n != size for n, size in zip(shape, sizes, strict=True)):
            return False
    return True


def _follow(self: Any, structure: Any, signature: Signature, ranks: tuple[int | None, ...], training: bool) -> Traced:
    names = call_of(type(self))
    entries = [entry(f"{self.name}_{k}", shape, dtype) for k, (dtype, shape) in enumerate(signature)]
    masks = [
        None if rank is None else entry(f"{self.name}_mask_{k}", signature[k][1][:rank], np.dtype(bool))
        for k, rank in enumerate(ranks)
    ]
    structure = ("dict", (names.first, LEAF)) if structure == SIMPLE else structure
    given = together(structure, entries)
    by_name = together(structure, masks)
    if names.takes_mask and "mask" in names.signature.parameters:
        given["mask"] = _or_none(by_name[names.first])
    for name, of in names.masks.items():
        if given.get(name) is None and of in by_name:
            given[name] = _or_none(by_name[of])
    if names.training:
        given["training"] = training
    arguments = inspect.BoundArguments(names.signature, {n: given[n] for n in _in_order(names, given)})
    return followed(
        self,
        [*entries, *[mask for mask in masks if mask is not None]],
        lambda: self.call(*arguments.args, **arguments.kwargs),
        len(entries),
    )


def _in_order(names: CallOf, given: dict[str, Any]) -> list[str]:
    """The arguments in the order of the signature; what goes into its ``**`` is put there."""
    extra = [name for name in given if name not in names.parameters]
    if extra:
        place = next((p.name for p in names.parameters.values() if p.kind is p.VAR_KEYWORD), None)
        if place is not None:
            given.setdefault(place, {}).update({name: given.pop(name) for name in extra})
    return [name for name in names.parameters if name in given]


def _or_none(masks: Any) -> Any:
    """None in place of a structure of masks without any."""
    if isinstance(masks, dict):
        return masks if any(_or_none(part) is not None for part in masks.values()) else None
    if isinstance(masks, (list, tuple)):
        return masks if any(_or_none(part) is not None for part in masks) else None
    return masks


def _ranks(self: Any, structure: Any, masks: list[Any]) -> tuple[int | None, ...]:
    """Which masks ``call`` is told of, by their axes."""
    names = call_of(type(self))
    none: tuple[int | None, ...] = (None,) * len(masks)
    if not (names.takes_mask or names.masks) or all(mask is None for mask in masks):
        return none
    axes = tuple([None if mask is None else len(mask.shape) for mask in masks])
    if structure == SIMPLE:
        return axes if names.takes_mask or f"{names.first}_mask" in names.masks else none
    by_name = dict(together(structure, list(enumerate(axes))))
    wanted = [of for of in names.masks.values()] + ([names.first] if names.takes_mask else [])
    kept: dict[int, int | None] = {}

    def take(value: Any) -> None:
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int):
            kept[value[0]] = value[1]
        elif isinstance(value, (list, tuple)):
            for part in value:
                take(part)
        elif isinstance(value, dict):
            take(list(value.values()))

    for name in wanted:
        take(by_name.get(name))
    return tuple([kept.get(k) for k in range(len(masks))])


def run(
    self: Any, structure: Any, arrays: list[Any], masks: list[Any], training: bool, keep: bool
) -> tuple[Traced, list[Any], list[Any], TracedPullback]:
    """The graph of a call on arrays, and what it gives."""
    ranks = _ranks(self, structure, masks)
    traced = graph_for(self, structure, arrays, ranks, training)
    extra = [mask for mask, rank in zip(masks, ranks, strict=True) if rank is not None]
    values, found, pullback = traced.run([*arrays, *extra], masks, training, keep)
    for k, own in enumerate(found):
        if own is not None and own.ndim >= values[k].ndim:
            found[k] = None
    return traced, values, _after(self, structure, arrays, masks, found), pullback


def _after(self: Any, structure: Any, arrays: list[Any], masks: list[Any], found: list[Any]) -> list[Any]:
    """The masks of the outputs: those that the layers inside gave them, else what the class says."""
    if not self.supports_masking or all(mask is not None for mask in found):
        return found
    if all(mask is None for mask in masks) and type(self).compute_mask is Layer.compute_mask:
        return found
    if structure == SIMPLE:
        x, own = arrays[0], masks[0]
    else:
        x, own = (next(iter(together(structure, part).values())) for part in (arrays, masks))
        own = _or_none(own)
    made = self.compute_mask(x, own)
    parts = list(made) if isinstance(made, (list, tuple)) else [made]
    parts += [None] * (len(found) - len(parts))
    return [known if known is not None else part for known, part in zip(found, parts, strict=False)]


def _whether(self: Any, training: Any) -> bool:
    return call_of(type(self)).training_default if training is None else bool(training)


def _split_masks(self: Any, mask: Any, count: int) -> list[Any]:
    """One mask or a list of them as one for each tensor."""
    masks = list(mask) if isinstance(mask, (list, tuple)) else [mask]
    masks = [None if own is None else as_mask(self.name, own) for own in masks]
    return masks[:count] + [None] * (count - len(masks))


def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Arrays in, arrays out; symbolic tensors in, symbolic tensors out."""
    given = Arguments(self, args, kwargs)
    if any(isinstance(part, SymbolicTensor) for part in given.tensors):
        return record(self, given)
    traced, values, masks, _ = eager(self, given, False)
    return together(traced.structure, [carried.carrying(y, mask) for y, mask in zip(values, masks, strict=True)])


def vjp(self: Any, *args: Any, **kwargs: Any) -> tuple[Any, Pullback]:
    """The same call, differentiable; see `Layer.vjp`."""
    given = Arguments(self, args, kwargs)
    traced, values, masks, back = eager(self, given, True)
    back.single_input = given.structure == SIMPLE
    y = together(traced.structure, [carried.carrying(y, mask) for y, mask in zip(values, masks, strict=True)])

    def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
        found: list[Any] = []
        if traced.structure != LEAF:
            taken_apart(dy, lambda leaf: leaf is None or is_tensor(leaf), found)
        return back((found if len(values) > 1 else found[0]) if found else dy, need_dx=need_dx)

    return y, pullback


def eager(self: Any, given: Arguments, keep: bool) -> tuple[Traced, list[Any], list[Any], TracedPullback]:
    """A call on arrays."""
    arrays, masks = [], []
    for part in given.tensors:
        array, mask = carried.taken_apart(part)
        arrays.append(self.cast(array))
        masks.append(mask)
    if given.call.get("mask") is not None:
        masks = _split_masks(self, given.call["mask"], len(masks))
    elif given.call.get("lengths") is not None:
        masks[0] = starting_mask(self.name, arrays[0], None, given.call["lengths"])
    build_for(self, given.structure, [part.shape for part in arrays])
    with Changes():
        return run(self, given.structure, arrays, masks, _whether(self, given.call.get("training")), keep)


def build_for(self: Any, structure: Any, shapes: list[Any]) -> None:
    """Build the layer for arguments of these shapes."""
    if vars(self)["built"] or type(self).built_by_call:
        return
    free = [(None, *shape[1:]) for shape in shapes]
    given = {"": free[0]} if structure == SIMPLE else dict(together(structure, free))
    first = next(iter(given.values()))
    parameters = list(inspect.signature(type(self).build).parameters)[1:]
    if len(parameters) > 1:
        wanted = {
            name: given[name.removesuffix("_shape")] for name in parameters if name.removesuffix("_shape") in given
        }
        self.build(**wanted)
    else:
        self.build(first)


def record(self: Any, given: Arguments) -> Any:
    """The symbolic tensors of a call."""
    tensors = given.tensors
    if not all(isinstance(part, SymbolicTensor) for part in tensors):
        raise TypeError(f"{self.name}: symbolic tensors and arrays cannot be mixed in one call")
    call = {name: value for name, value in given.call.items() if value is not None}
    if graph.is_symbolic(call.get("mask")):
        tensors = [with_mask(self, tensors[0], call.pop("mask")), *tensors[1:]]
    if given.structure != SIMPLE:
        call["structure"] = given.structure
    return recorded(self, tensors, call)


def record_again(self: Any, tensors: list[SymbolicTensor], call: dict[str, Any]) -> Any:
    """Record a call with the arguments that a configuration has for it."""
    if not is_followed(self):
        raise ValueError(f"{self.name}: only layers of one's own have a structure of arguments")
    structure = frozen(call["structure"])
    if count_leaves(structure) != len(tensors):
        raise ValueError(f"{self.name}: its arguments have {count_leaves(structure)} tensors, got {len(tensors)}")
    return recorded(self, tensors, call)


def recorded(self: Any, tensors: list[SymbolicTensor], call: dict[str, Any]) -> Any:
    """Record a call whose arguments are taken apart; symbolic tensors come back in the structure of the result."""
    structure = frozen(call["structure"]) if "structure" in call else SIMPLE
    if (space := room()) is not None:
        space.take_calls(self.name, graph.calls_of(self, len(tensors)))
    build_for(self, structure, [part.shape for part in tensors])
    traced = graph_without_values(self, structure, tensors, _whether(self, call.get("training")))
    node = Node(self, tensors, len(tensors) == 1, 0, call)
    for index, place in enumerate(traced.plan.outputs[: traced.outputs]):
        tensor = traced.plan.tensors[place]
        node.outputs.append(SymbolicTensor(tensor.shape, tensor.dtype, node, index))
    if self._node is None:
        self._node = node
    return together(traced.structure, node.outputs)


def prepare(self: Any, x: Any) -> Any:
    """Cast the tensors of a call, and build the layer for them."""
    if isinstance(x, (list, tuple)):
        x = [self.cast(part) for part in x]
        if not vars(self)["built"]:
            build_for(self, _list_of(self, len(x)), [part.shape for part in x])
        return x
    x = self.cast(x)
    if not vars(self)["built"]:
        build_for(self, SIMPLE, [x.shape])
    return x


def _list_of(self: Any, count: int) -> Any:
    """The structure of a list of so many inputs."""
    return ("dict", (call_of(type(self)).first, ("list", *[LEAF] * count)))


def cast(self: Any, x: Any) -> Array:
    """An array of the layer's dtype; integers, truth values and texts stay what they are."""
    array = x if isinstance(x, np.ndarray) else np.asarray(x)
    if array.dtype.kind in "OSTU":  # for layers inside that read texts; strings of one dtype share a graph
        return as_strings(self.name, array).astype(TEXT)
    return array if array.dtype.kind in "iub" else Layer.cast(self, array)


def forward_masked(
    self: Any,
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
        structure = _list_of(self, len(arrays))
    else:
        structure = SIMPLE
    masks = _split_masks(self, starting_mask(self.name, arrays[0], mask, lengths), len(arrays))
    traced, values, found, pullback = run(self, structure, arrays, masks, _whether(self, training), keep)
    pullback.single_input = not isinstance(x, (list, tuple))
    return (values, found, pullback) if len(values) > 1 else (values[0], found[0], pullback)


def forward(self: Any, x: Any, *, mask: Any = None, keep: bool = False, **call: Any) -> tuple[Any, Any]:
    y, _, pullback = forward_masked(self, x, mask=mask, keep=keep, **call)
    return y, pullback if keep else None


def compute_output_shape(self: Any, input_shape: Any) -> Any:
    """Shape of the output for an input of this shape, as the graph says it."""
    tensors: list[Any] = []
    several = isinstance(input_shape, list) and input_shape and isinstance(input_shape[0], (list, tuple))
    shapes = input_shape if several else [input_shape]
    tensors = [entry(f"{self.name}_{k}", (None, *shape[1:]), self.dtype) for k, shape in enumerate(shapes)]
    structure = _list_of(self, len(shapes)) if several else SIMPLE
    build_for(self, structure, shapes)
    traced = graph_without_values(self, structure, tensors, False)
    batch = shapes[0][0]
    found = [traced.plan.tensors[place].shape for place in traced.plan.outputs[: traced.outputs]]
    found = [(batch, *shape[1:]) if shape and shape[0] is None else shape for shape in found]
    return together(traced.structure, found)


def step_graph(self: Any) -> StepGraph:
    """The graph for sequences of any length, which a stream runs step by step.

    Raises
    ------
    ValueError
        If the layer was called with several inputs, or ``call`` needs to know the number of steps.
    """
    structure, signature = vars(self)["_built_for"]
    if len(signature) > 1:
        raise ValueError(f"stream: layer {self.name!r} has several inputs")
    ((dtype, shape),) = signature
    wanted = np.dtype(dtype)
    free = (None, None, *shape[2:]) if len(shape) > 2 or wanted.kind in "iu" else shape
    try:
        traced = graph_without_values(self, structure, [entry(self.name, free, wanted)], False)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"stream: layer {self.name!r} cannot be streamed: its `call` needs to know the number of steps ({error})"
        ) from error
    return StepGraph(self.name, traced)


class StepGraph:
    """What a stream needs of a model, of a graph that `call` has left."""

    def __init__(self, name: str, traced: Traced):
        self.name, self.plan = name, traced.plan
        self.several_inputs, self.several_outputs = len(self.plan.inputs) > 1, len(self.plan.outputs) > 1


def compute_output_dtype(self: Any, input_shape: Any, input_dtype: list[Any]) -> Any:
    """The type of the output(s) for inputs of these shapes and types."""
    several = isinstance(input_shape, list)
    shapes = input_shape if several else [input_shape]
    tensors = [
        entry(f"{self.name}_{k}", (None, *s[1:]), t) for k, (s, t) in enumerate(zip(shapes, input_dtype, strict=True))
    ]
    structure = _list_of(self, len(shapes)) if several else SIMPLE
    traced = graph_without_values(self, structure, tensors, False)
    found = [traced.plan.tensors[place].dtype for place in traced.plan.outputs[: traced.outputs]]
    return found if len(found) > 1 else found[0]


def leaves_traces(self: Any) -> bool:
    """A call may draw noise or change weights: what it leaves is made when it has succeeded."""
    return True


def sublayers(self: Any) -> list[Layer]:
    """Layers of the class it is derived from, and all that are attributes, also in lists, tuples and dicts."""
    found = list(self._seen_as(base_of(type(self))).sublayers)
    seen = {id(self), *map(id, found)}

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

    for name, value in vars(self).items():
        if name not in NOT_LOOKED_AT:
            look(value)
    return found


def own_weights(self: Any) -> list[Weight]:
    """Those of the class it is derived from and its own, in the order they were made: those that are trained first."""
    made = list(self._weights)
    for number, (position, weight) in enumerate(vars(self).get("_added", ())):
        made.insert(position + number, weight)
    return sorted(made, key=lambda weight: not weight.trainable)


def weights(self: Any) -> list[Weight]:
    """All weights, in ``get_weights`` order, each once."""
    found = dict.fromkeys(self.own_weights)
    for layer in self.sublayers:
        found.update(dict.fromkeys(layer.weights))
    return list(found)


def weight_is_trained(self: Any) -> list[bool]:
    """For each weight, whether training changes it."""
    flags = {weight: weight.trainable and self.trainable for weight in self.own_weights}
    for layer in self.sublayers:
        for weight, flag in zip(layer.weights, layer.weight_is_trained(), strict=True):
            flags[weight] = flags.get(weight, False) or (flag and self.trainable)
    return list(flags.values())


METHODS: dict[str, Any] = {
    "__call__": __call__, "vjp": vjp, "forward": forward, "forward_masked": forward_masked, "prepare": prepare,
    "cast": cast, "leaves_traces": leaves_traces, "sublayers": property(sublayers), "weights": property(weights),
    "own_weights": property(own_weights), "weight_is_trained": weight_is_trained,
    "quantized_weights": property(lambda self: None), "compute_output_dtype": compute_output_dtype,
    "makes_other_types": True,
}  # fmt: skip


def honour_call(cls: Any) -> None:
    """Let a class compute what its ``call`` says."""
    provider = next(kind for kind in cls.__mro__ if "call" in vars(kind))
    if "forward" in vars(cls):
        raise TypeError(
            f"class {cls.__name__}: `forward` and `call` both say how it computes its output; define `call` alone, or "
            f"`forward` in a class without `call` (that of {provider.__name__})"
        )
    if cls.forward is forward:
        return
    base = base_of(cls)
    own = cls.__mro__[: cls.__mro__.index(base)]
    if any("vjp" in vars(kind) for kind in own):  # a cell with its own gradient, whose `call` gets arrays
        if base is not Layer:
            raise TypeError(
                f"class {cls.__name__}: `call` and `vjp` beside the forward pass of {base.__name__} would never be "
                "called; leave `vjp` out: the gradient of `call` is found by itself"
            )
        return
    for name, method in METHODS.items():
        setattr(cls, name, method)
    if not any("compute_output_shape" in vars(kind) for kind in own):
        cls.compute_output_shape = compute_output_shape
    if base is Layer and not any({"compute_mask", "supports_masking"} & vars(kind).keys() for kind in own):
        cls.supports_masking = False
    cls.call_arguments = frozenset({"mask", "training", "lengths"})
    cls.follows_call, cls.built_by_call, cls.knows_trained = True, False, False
