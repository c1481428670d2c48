"""The arrays of a file for the weights of a model: from trees of paths, lists by layer, and objects of TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rnnx._typing import Array
from rnnx.formats._limits import printable
from rnnx.formats.keras._checkpoint import Object
from rnnx.formats.keras._container import OLD_LAYERS
from rnnx.formats.keras._hdf5 import Group, Tree, tree_of
from rnnx.formats.keras._layouts import converted, gates_of, is_cudnn
from rnnx.formats.keras._paths import Order, order_of, parts, variables
from rnnx.layers import InputLayer, StackedRNNCells
from rnnx.layers.layer import Weight
from rnnx.layers.rnn.gru import GRUWeights
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.layers.weight import changing
from rnnx.models import Model
from rnnx.saving import FormatError

NUMBERED = "layer_with_weights-"  # what TensorFlow calls the layers with weights of a model


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


# ---- Trees of paths: .keras and .weights.h5 --------------------------------------------------------------------------


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
    owners = {id(w): leaf for leaf in reversed(leaves) for w in leaf.own_weights}  # the first of two that share one
    stages = [
        (leaf, [w for w in leaf.own_weights if trained[id(w)] == stage and owners[id(w)] is leaf])
        for stage in (True, False)
        for leaf in leaves
    ]
    stages = [(leaf, own) for leaf, own in stages if own]
    counts = [len(own) for _, own in stages]
    if sum(counts) != len(arrays):
        counts = [3 * len(gates_of(leaf)) or len(own) for leaf, own in stages]
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
    cudnn = isinstance(leaf, RecurrentWeights) and len(arrays) == 3 and is_cudnn(leaf, arrays)
    return Filling(leaf, own, found, cudnn)


def _leaves(layer: Any) -> Iterator[Any]:
    """Layers with weights of their own, in a layer and itself."""
    if layer.own_weights:
        yield layer
    for inner in layer.sublayers:
        yield from _leaves(inner)


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


# ---- Into the model --------------------------------------------------------------------------------------------------


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
    if not isinstance(layer, GRUWeights) or {weight.ndim, array.ndim} != {1, 2} or not weight.name.endswith("bias"):
        return ""
    meant = "before Keras 3 and tf.keras 2 the default" if array.ndim == 1 else "the default of Keras 3"
    return (
        f"; the file is of GRU(..., reset_after={array.ndim == 2}), {meant}: make the layer so, or use "
        "load_weights(..., compat='auto')"
    )
