"""Weights in the layouts of all generations of Keras: lists by layer, trees of paths, CuDNN's and Keras 1's arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats._limits import printable
from rnnx.formats.keras._checkpoint import Object
from rnnx.formats.keras._container import OLD_LAYERS
from rnnx.formats.keras._hdf5 import Group, Tree, tree_of
from rnnx.layers import (
    RNN,
    Bidirectional,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    InputLayer,
    MultiHeadAttention,
    StackedRNNCells,
    TimeDistributed,
)
from rnnx.layers.layer import Layer, Weight
from rnnx.layers.plan import Plan
from rnnx.layers.rnn.conv_lstm import ConvLSTM
from rnnx.layers.rnn.gru import GRUWeights
from rnnx.layers.rnn.lstm import LSTMWeights
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.layers.weight import changing
from rnnx.models import Model, Sequential
from rnnx.saving import FormatError

Order = list[tuple[str, Any]]  # layers of a model as a file orders them, each with the name of its class there
NUMBERED = "layer_with_weights-"  # what TensorFlow calls the layers with weights of a model
KERAS1_KERNELS = ((2, 3, 1, 0), (0, 1, 3, 2), (2, 3, 0, 1))  # axes of those of images
KERAS1_GATES = {"LSTM": "icfo", "GRU": "zrh"}  # one W, U, b after the other; Keras 2: i f c o


@dataclass
class Filling:
    """The arrays that some weights of a layer will have.

    Attributes
    ----------
    layer : layer
    weights : list of Weight
    arrays : list of array
        In the layout of Keras 3.
    cudnn : bool
        They came in that of CuDNN, whose gates have no other activation than sigmoid.
    """

    layer: Any
    weights: list[Weight]
    arrays: list[Array]
    cudnn: bool = False


def snake_case(name: str) -> str:
    """``GlobalMaxPooling1D`` -> ``global_max_pooling1d``, as Keras names the groups of its files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def order_of(model: Any, orders: dict[int, Order]) -> Order:
    """The layers of a model in the order of the file it was read from, else in that which Keras has them in."""
    found = orders.get(id(model))
    if found is None:
        layers = list(model.layers) if isinstance(model, Sequential) else _keras_order(model)
        found = [(class_in_keras(layer), layer) for layer in layers]
    return found


def _keras_order(model: Any) -> list[Any]:
    """The layers of a graph as Keras sorts them: by their distance from the outputs, then as a search finds them."""
    plan: Plan = model.plan
    needs: list[tuple[int, ...]] = [()] * len(plan.tensors)  # by places, like the next
    calls = list(range(len(plan.tensors)))  # the first output stands for all outputs of a call
    for step in plan.steps:
        for place in step.outputs:
            needs[place], calls[place] = step.inputs + step.states, step.outputs[0]
    names = [name for name, _, _ in plan.origins()]
    found: dict[str, int] = {}
    stack = [calls[place] for place in reversed(plan.outputs)]
    seen: set[int] = set()
    while stack:
        call = stack.pop()
        if call in seen:
            continue
        seen.add(call)
        found.setdefault(names[call], len(found))
        stack += [calls[place] for place in reversed(needs[call])]
    depths: dict[str, int] = {}
    call_depths = [0] * len(plan.tensors)
    for call in [step.outputs[0] for step in reversed(plan.steps)] + [place for place in plan.inputs if place in seen]:
        depth = max(call_depths[call], depths.get(names[call], 0))
        depths[names[call]] = call_depths[call] = depth
        for place in needs[call]:
            call_depths[calls[place]] = max(depth + 1, call_depths[calls[place]])
    return sorted(model.layers, key=lambda layer: (-depths.get(layer.name, 0), found.get(layer.name, len(found))))


def class_in_keras(layer: Any) -> str:
    """The name that Keras has for the class of a layer."""
    return "Functional" if type(layer) is Model else type(layer).__name__


# ---- Trees of paths: .keras and .weights.h5 --------------------------------------------------------------------------


def parts(
    layer: Any, orders: dict[int, Order], root: str = "layers", *, twice: bool = False
) -> Iterator[tuple[str, Any]]:
    """Paths of the groups of what is inside a layer; ``twice``: layers with weights are counted so."""
    if layer.follows_call:
        yield from _inside_own(layer)
    elif isinstance(layer, Model):
        order = order_of(layer, orders)
        steps = [2 if twice and inner.weights else 1 for _, inner in order]
        for key, (_, inner) in zip(keys([name for name, _ in order], steps), order, strict=True):
            yield f"{root}/{key}", inner
    elif isinstance(layer, Bidirectional):
        yield "forward_layer", layer.forward_layer
        yield "backward_layer", layer.backward_layer
    elif isinstance(layer, TimeDistributed):
        yield "layer", layer.layer
    elif isinstance(layer, RNN):
        yield "cell", layer.cell
    elif isinstance(layer, MultiHeadAttention):
        for key, inner in layer.projections.items():
            yield ("_gate_dense" if key == "gate_dense" else key), inner
    elif isinstance(layer, StackedRNNCells):
        for key, cell in zip(keys([type(cell).__name__ for cell in layer.cells]), layer.cells, strict=True):
            yield f"cells/{key}", cell


def _inside_own(layer: Any) -> Iterator[tuple[str, Any]]:
    """What is inside a layer of one's own, as Keras finds it: by the names of attributes, in their order, each once.

    A model also has all its layers in the list ``layers``, which stands for the attributes behind it in the alphabet.
    """
    inside, seen = {id(inner) for inner in layer.sublayers}, set()
    attributes = {**vars(layer), **({"layers": list(layer.sublayers)} if isinstance(layer, Model) else {})}
    for name, value in sorted(attributes.items()):
        named = [(name, value)] if id(value) in inside else []
        if isinstance(value, (list, tuple, dict)):
            found = [part for part in (value.values() if isinstance(value, dict) else value) if id(part) in inside]
            own_keys = keys([type(part).__name__ for part in found])
            named = [(f"{name}/{key}", part) for key, part in zip(own_keys, found, strict=True)]
        for path, part in named:
            if id(part) not in seen:
                seen.add(id(part))
                yield path, part


def keys(classes: list[str], steps: list[int] | None = None) -> list[str]:
    """``lstm``, ``dense``, ``lstm_1``: the class in snake case with a counter, which goes on by 1 or by ``steps``."""
    counts: dict[str, int] = {}
    found = []
    for name, step in zip(classes, steps or [1] * len(classes), strict=True):
        stem = snake_case(name)
        found.append(f"{stem}_{counts[stem]}" if stem in counts else stem)
        counts[stem] = counts.get(stem, 0) + step
    return found


def variables(layer: Any) -> str:
    """The path of a layer's own arrays inside its group: those of a recurrent layer are in its cell."""
    return "cell/vars" if isinstance(layer, (Recurrent, ConvLSTM)) else "vars"


def from_tree(model: Any, root: Group, orders: dict[int, Order], skipped: list[str] | None = None) -> list[Filling]:
    """The arrays of a tree for the weights of a model; ``skipped`` takes why layers have none, else that is an error.

    Raises
    ------
    FormatError
        If an array is missing; it is named.
    """
    made: list[Filling] = []
    done: set[int] = set()

    def visit(layer: Any, group: Tree | None, where: str) -> None:
        if id(layer) in done or not layer.weights:
            return
        done.add(id(layer))
        with skipping(skipped, root.path):
            if group is None:
                raise FormatError(f"{root.path}: there is no group {where!r} with the weights of {layer.name!r}")
            if own := layer.own_weights:
                arrays = _numbered(group, variables(layer), len(own), layer, where)
                made.append(_filling(layer, own, arrays, root.path, None))
        if group is None:
            return
        groups = _groups(layer, group, orders)
        for path, (inner, found) in _by_name(layer, groups, orders).items():
            visit(inner, found, f"{where}/{path}")

    visit(model, tree_of(root), "")
    return made


def _groups(layer: Any, group: Tree, orders: dict[int, Order]) -> dict[str, tuple[Any, Any]]:
    """The groups of what is inside a layer, in the first way of naming them in which none is missing.

    tf.keras of TensorFlow 2.12 and 2.13 listed a layer with weights twice, and counted it twice.
    """
    old = isinstance(layer, Model) and group.group("layers") is None
    inside = OLD_LAYERS[0] if old else "layers"
    ways: list[dict[str, tuple[Any, Any]]] = []
    for twice in (old, not old) if isinstance(layer, Model) else (False,):
        found = {path: (inner, group.group(path)) for path, inner in parts(layer, orders, inside, twice=twice)}
        if all(own is not None or not inner.weights for inner, own in found.values()):
            return found
        ways.append(found)
    return ways[-1] if old else ways[0]


def _by_name(layer: Any, groups: dict[str, tuple[Any, Any]], orders: dict[int, Order]) -> dict[str, tuple[Any, Any]]:
    """The groups of a model's layers by the names that Keras 3.6 and later write, where the order is not known."""
    if not isinstance(layer, Model) or id(layer) in orders:
        return groups
    wanted = {inner.name: path for path, (inner, _) in groups.items() if inner.weights}
    named = {_name_in(group): group for _, group in groups.values() if group is not None}
    if not set(wanted) <= set(named):
        return groups
    return {path: (groups[path][0], named[name]) for name, path in wanted.items()}


def _name_in(group: Tree) -> str | None:
    found = group.group("vars")
    return found.text("name") if isinstance(found, Group) else None


def _numbered(group: Tree, path: str, count: int, layer: Any, where: str) -> list[Array]:
    found = group.group(path)
    if not isinstance(found, Group):
        raise FormatError(f"{group.path}: there is no group {f'{where}/{path}'!r} with the weights of {layer.name!r}")
    names = found.names()
    if sorted(names) != sorted(str(k) for k in range(len(names))):
        raise FormatError(f"{group.path}: the arrays in {f'{where}/{path}'!r} are not numbered: {names[:5]}")
    if len(names) != count:
        raise FormatError(f"{group.path}: {layer.name!r} has {count} weights, the file has {len(names)} for it")
    return [found.array(str(k)) for k in range(count)]


# ---- Lists by layer: the .h5 files of Keras 1, 2 and 3 ---------------------------------------------------------------


def from_lists(
    model: Any,
    root: Group,
    orders: dict[int, Order],
    backend: str | None,
    *,
    only_named: bool = False,
    skipped: list[str] | None = None,
) -> list[Filling]:
    """The arrays of lists, one for each layer, for the weights of a model.

    Layers are found by their names; if one is not there, by their order, or with ``only_named`` not at all. The arrays
    of a layer come as Keras has them: those that are trained, then the others. ``skipped`` is as for `from_tree`.

    Raises
    ------
    FormatError
        If an array is missing.
    """
    lists: dict[str, list[str]] = {}
    for name in root.texts("layer_names") or []:
        group = root.group(name)
        if group is None:
            raise FormatError(f"{root.path}: there is no group for the layer {name[:200]!r}")
        if own := group.texts("weight_names"):
            lists[name] = own
    flat = [layer for _, layer in order_of(model, orders) if not isinstance(layer, InputLayer)]
    wanted = [layer for layer in dict.fromkeys(flat) if layer.weights]
    if only_named:
        wanted = [layer for layer in wanted if layer.name in lists]
    elif len(wanted) != len(lists):
        raise FormatError(
            f"{root.path}: the file has weights for {len(lists)} layers ({', '.join(lists)[:200]}), "
            f"the model has {len(wanted)} ({', '.join(layer.name for layer in wanted)[:200]})"
        )
    by_name = all(layer.name in lists for layer in wanted)
    names = [layer.name for layer in wanted] if by_name else list(lists)
    made: list[Filling] = []
    for layer, name in zip(wanted, names, strict=True):
        group = root.group(name)
        assert group is not None
        arrays = [group.array(entry) for entry in lists[name]]
        with skipping(skipped, root.path):
            made += _distributed(layer, arrays, root.path, backend)
    return made


@contextmanager
def skipping(skipped: list[str] | None, path: Any) -> Iterator[None]:
    """Keep why something does not fit in place of raising it, if there is a list for that."""
    try:
        yield
    except FormatError as error:
        if skipped is None:
            raise
        skipped.append(str(error).removeprefix(f"{path}: "))


def _distributed(layer: Any, arrays: list[Array], path: Any, backend: str | None) -> list[Filling]:
    """The weights of a layer and all inside it, each with its array."""
    trained = {id(w): flag for w, flag in zip(layer.weights, layer.weight_is_trained(), strict=True)}
    leaves = list(dict.fromkeys(_leaves(layer)))
    stages = [
        (leaf, [w for w in leaf.own_weights if trained[id(w)] == stage]) for stage in (True, False) for leaf in leaves
    ]
    stages = [(leaf, own) for leaf, own in stages if own]
    counts = [len(own) for _, own in stages]
    if sum(counts) != len(arrays):
        counts = [3 * len(_gates_of(leaf)) or len(own) for leaf, own in stages]
    if sum(counts) != len(arrays):
        expected = sum(len(own) for _, own in stages)
        raise FormatError(f"{path}: layer {layer.name!r} has {expected} weights, the file has {len(arrays)} for it")
    made: list[Filling] = []
    for (leaf, own), count in zip(stages, counts, strict=True):
        taken, arrays = arrays[:count], arrays[count:]
        made.append(_filling(leaf, own, taken, path, backend))
    return made


def _filling(leaf: Any, own: list[Weight], arrays: list[Array], path: Any, backend: str | None) -> Filling:
    found = converted(leaf, arrays, path, backend)
    if len(found) != len(own):
        raise FormatError(f"{path}: {leaf.name!r} has {len(own)} weights, the file has {len(found)} for it")
    cudnn = isinstance(leaf, RecurrentWeights) and len(arrays) == 3 and _is_cudnn(leaf, arrays)
    return Filling(leaf, own, found, cudnn)


def _leaves(layer: Any) -> Iterator[Any]:
    """Layers with weights of their own, in a layer and itself."""
    if layer.own_weights:
        yield layer
    for inner in layer.sublayers:
        yield from _leaves(inner)


def _gates_of(leaf: Any) -> str:
    if isinstance(leaf, LSTMWeights):
        return KERAS1_GATES["LSTM"]
    return KERAS1_GATES["GRU"] if isinstance(leaf, GRUWeights) else ""


# ---- Checkpoints and SavedModel folders of TensorFlow ----------------------------------------------------------------


def from_objects(
    model: Any, root: Object, orders: dict[int, Order], path: Any, skipped: list[str] | None = None
) -> list[Filling]:
    """The arrays of a checkpoint's variables for the weights of a model; ``skipped`` is as for `from_tree`.

    Layers with weights are numbered in the order of their model; what is inside of others, and arrays, are found by
    the names of the attributes they are.

    Raises
    ------
    FormatError
        If an array is missing or left over; it is named.
    """
    made: list[Filling] = []
    done: set[int] = set()

    def visit(layer: Any, found: Object | None, where: str) -> None:
        if id(layer) in done or not layer.weights:
            return
        done.add(id(layer))
        if found is None:
            raise FormatError(f"{path}: there is no object {where!r} with the weights of {layer.name!r}")
        if own := layer.own_weights:
            holder = found.child(variables(layer).removesuffix("vars").removesuffix("/")) or found
            with skipping(skipped, path):
                made.append(_filling(layer, own, _named(holder, own, layer, path), path, None))
        for name, inner in _attributes(layer, found, orders, path):
            visit(inner, found.child(name) or found.child(f"_{name}"), f"{where}/{name}")

    visit(model, root, "")
    return made


def _attributes(layer: Any, found: Object, orders: dict[int, Order], path: Any) -> list[tuple[str, Any]]:
    """What is inside a layer by the names that TensorFlow has for it."""
    if isinstance(layer, StackedRNNCells):
        return [(f"cells/{k}", cell) for k, cell in enumerate(layer.cells)]
    if not isinstance(layer, Model):
        return list(parts(layer, orders))
    wanted = list(dict.fromkeys(inner for _, inner in order_of(layer, orders) if inner.weights))
    count = sum(name.startswith(NUMBERED) for name in found.children)
    if count != len(wanted):
        raise FormatError(
            f"{path}: the file has {count} layers with weights for {layer.name!r}, the model has {len(wanted)} "
            f"({', '.join(inner.name for inner in wanted)[:200]})"
        )
    return [(f"{NUMBERED}{k}", inner) for k, inner in enumerate(wanted)]


def _named(holder: Object, own: list[Weight], layer: Any, path: Any) -> list[Array]:
    """The arrays of a layer's own weights, which have the names of the weights."""
    there, names = holder.variables(), [weight.name.rpartition("/")[2] for weight in own]
    if sorted(there) != sorted(names):
        raise FormatError(
            f"{path}: {layer.name!r} has the weights {', '.join(names)}, the file has "
            f"{printable(', '.join(there) or 'none')} for it"
        )
    return [variable.array() for name in names if (variable := holder.child(name)) is not None]


# ---- Arrays of other layouts -----------------------------------------------------------------------------------------


def converted(layer: Layer, arrays: list[Array], path: Any, backend: str | None) -> list[Array]:
    """The arrays of a layer as Keras has them today.

    Keras 1 has a W, U and b for each gate; CuDNN has transposed blocks and two biases; convolutions of Keras 1 have a
    kernel (steps, 1, features, filters), or the filters first, and those of Theano run against time.
    """
    if isinstance(layer, RecurrentWeights):
        gates = _gates_of(layer)
        if gates and len(arrays) == 3 * len(gates):
            arrays = _from_keras1(arrays, gates, path, layer)
        if len(arrays) == 3 and _is_cudnn(layer, arrays):
            arrays = _from_cudnn(arrays, layer.gates)
    if isinstance(layer, Conv1D) and arrays:
        kernel, *rest = arrays
        if kernel.ndim == 4 and kernel.shape[-1] == 1 and kernel.shape[1] != 1:
            kernel = kernel.transpose(2, 3, 1, 0)  # (filters, features, steps, 1)
        if kernel.ndim == 4 and kernel.shape[1] == 1:
            kernel = kernel[:, 0]
        arrays = [kernel[::-1] if backend == "theano" else kernel, *rest]
    if isinstance(layer, ConvLSTM) and backend == "theano" and len(arrays) >= 2:
        places = (slice(None, None, -1),) * layer.rank
        arrays = [arrays[0][places], arrays[1][places], *arrays[2:]]
    if isinstance(layer, (Conv2D, Conv2DTranspose)) and arrays and arrays[0].ndim == 4:
        kernel, *rest = arrays
        if kernel.shape != (wanted := layer._weights[0].shape):  # of Keras 1, features first or a way back
            turned = (kernel.transpose(order) for order in KERAS1_KERNELS)
            kernel = next((found for found in turned if found.shape == wanted), kernel)
        arrays = [kernel[::-1, ::-1] if backend == "theano" else kernel, *rest]
    return arrays


def _from_keras1(arrays: list[Array], gates: str, path: Any, layer: Any) -> list[Array]:
    by_gate = {gate: arrays[3 * k : 3 * k + 3] for k, gate in enumerate(gates)}
    order = "ifco" if gates == "icfo" else gates
    try:
        return [np.concatenate([by_gate[gate][part] for gate in order], axis=-1) for part in range(3)]
    except ValueError as error:
        raise FormatError(f"{path}: the arrays of {layer.name!r} do not fit together: {error}") from error


def _is_cudnn(layer: RecurrentWeights, arrays: list[Array]) -> bool:
    """Two biases in one row."""
    return arrays[2].shape == (2 * layer.gates * layer.units,) and layer.gates > 1


def _from_cudnn(arrays: list[Array], gates: int) -> list[Array]:
    kernel, recurrent, bias = arrays
    if kernel.ndim != 2 or recurrent.ndim != 2 or kernel.shape[1] % gates or recurrent.shape[1] % gates:
        return arrays
    blocks = [k.ravel().reshape(k.shape[::-1]).T for k in np.split(kernel, gates, axis=1)]
    turned = [k.T for k in np.split(recurrent, gates, axis=1)]
    halves = bias.reshape(2, -1)
    return [np.hstack(blocks), np.hstack(turned), halves.sum(axis=0) if gates == 4 else halves]


def check_shapes(path: Any, part: Filling) -> None:
    """Raise a FormatError if an array has another shape than its weight."""
    for weight, array in zip(part.weights, part.arrays, strict=True):
        if array.shape != weight.shape:
            raise FormatError(
                f"{path}: weight {weight.name!r} of {part.layer.name!r} has shape {weight.shape}, the file has an "
                f"array of shape {array.shape}{_way_out(part.layer, weight, array)}"
            )


def fitting(path: Any, fillings: list[Filling], skipped: list[str]) -> list[Filling]:
    """Those whose arrays have the shapes of their weights; ``skipped`` takes why others do not."""
    found = []
    for part in fillings:
        with skipping(skipped, path):
            check_shapes(path, part)
            found.append(part)
    return found


def put(path: Any, fillings: list[Filling]) -> None:
    """Set weights; all are checked before the first is changed.

    Raises
    ------
    FormatError
        If an array has another shape than its weight; both are named.
    """
    pairs = [pair for part in fillings for pair in zip(part.weights, part.arrays, strict=True)]
    for part in fillings:
        check_shapes(path, part)
    with changing([weight for weight, _ in pairs]):
        for weight, array in pairs:
            weight.assign(array)


def _way_out(layer: Any, weight: Weight, array: Array) -> str:
    """What to do about a bias of a GRU that computes the other way."""
    if (
        not isinstance(layer, GRUWeights)
        or {weight.value.ndim, array.ndim} != {1, 2}
        or not weight.name.endswith("bias")
    ):
        return ""
    meant = "before Keras 3 and tf.keras 2 the default" if array.ndim == 1 else "the default of Keras 3"
    return (
        f"; the file is of GRU(..., reset_after={array.ndim == 2}), {meant}: make the layer so, or use "
        "load_weights(..., compat='auto')"
    )
