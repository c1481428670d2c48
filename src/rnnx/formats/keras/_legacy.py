"""``.h5`` files as Keras 3 writes and reads them: lists of weights by layer, each with its path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rnnx._typing import Array
from rnnx.formats.keras import _paths
from rnnx.formats.keras._container import OPTIMIZER
from rnnx.formats.keras._hdf5_write import Tree
from rnnx.formats.keras._paths import Order

BACKEND = "tensorflow"  # the one whose arrays need no change in any version
LINES = Callable[[Any], Array | None]


def tree(model: Any, orders: dict[int, Order], factor_of: LINES = lambda layer: None) -> Tree:
    """The weights in lists: of each layer those that are trained, then the others.

    Parameters
    ----------
    model : Model
    orders : dict
        As `_paths.order_of` takes them.
    factor_of : callable
        By what the columns of a layer's weights are to be multiplied, or None.
    """
    root = Tree()
    found = _paths.order_of(model, orders)
    root.attributes["layer_names"] = [layer.name for _, layer in found if not _is_input(layer)]
    for _, layer in found:
        if _is_input(layer):
            continue
        trained = dict(zip(map(id, layer.weights), layer.weight_is_trained(), strict=True))
        group = root.group(layer.name)
        arrays: dict[str, tuple[bool, Array]] = {}
        _collect(layer, f"{model.name}/{layer.name}", orders, factor_of, trained, arrays, set())
        names = sorted(arrays, key=lambda name: not arrays[name][0])  # stable: the order is kept otherwise
        group.attributes["weight_names"] = names
        for name in names:
            group.put(name, arrays[name][1])
    root.group("top_level_model_weights").attributes["weight_names"] = []
    return root


def _is_input(layer: Any) -> bool:
    return type(layer).__name__ == "InputLayer"


def _collect(
    layer: Any,
    path: str,
    orders: dict[int, Order],
    factor_of: LINES,
    trained: dict[int, bool],
    arrays: dict[str, tuple[bool, Array]],
    done: set[int],
) -> None:
    if id(layer) in done:
        return
    done.add(id(layer))
    factor = factor_of(layer)
    for k, weight in enumerate(layer.own_weights):
        if id(weight) in done:  # one that a layer shares with the layer inside it
            continue
        done.add(id(weight))
        name = f"{path}/{weight.name.rpartition('/')[2]}"
        name = f"{name}_{k}" if name in arrays else name
        value = weight.array if factor is None else (weight.array * factor).astype(weight.dtype)
        arrays[name] = (trained[id(weight)], value)
    inside = layer.sublayers if layer.overrides_call else [inner for _, inner in _paths.parts(layer, orders)]
    for inner in inside:
        own = f"{path}/{inner.name}"
        while any(name.startswith(f"{own}/") for name in arrays):  # two cells of one name
            own += "_"
        _collect(inner, own, orders, factor_of, trained, arrays, done)


def add_version(root: Tree, version: str) -> None:
    """Say who wrote the lists."""
    root.attributes["keras_version"], root.attributes["backend"] = version, BACKEND


def add_model(root: Tree, model: Any, config: dict[str, Any], version: str) -> None:
    """Put the lists below a description of the model."""
    weights = Tree()
    weights.attributes, weights.members = root.attributes, root.members
    add_version(weights, version)
    root.attributes, root.members = {}, {"model_weights": weights}
    add_version(root, version)
    root.attributes["model_config"] = json.dumps({word: config[word] for word in ("class_name", "config")})


def add_optimizer(root: Tree, model: Any, state: list[tuple[str, Array]]) -> None:
    """Add the state of the optimizer, if it has made a step.

    Not as ``optimizer_weights``: for that Keras 3 makes an optimizer without weights, which cannot train ("Unknown
    variable" in 3.15).
    """
    if not any(array for name, array in state if name == "iteration"):
        return
    group = root.group(OPTIMIZER)
    names = [f"{model.optimizer.name}/{name}" for name, _ in state]
    unique = [name if name not in names[:k] else f"{name}_{k}" for k, name in enumerate(names)]
    group.attributes["weight_names"] = unique
    for name, (_, array) in zip(unique, state, strict=True):
        group.put(name, array)
