"""The words that layers look up: in an archive they are text files beside the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx.formats.keras import _hdf5_write
from rnnx.formats.keras._container import OLD_LAYERS, Contents
from rnnx.formats.keras._hdf5 import Group, Tree, tree_of
from rnnx.formats.keras._paths import Order, parts
from rnnx.layers.layer import walk
from rnnx.layers.preprocessing.lookup import Lookup
from rnnx.layers.preprocessing.text import TextVectorization
from rnnx.saving import FormatError

IDF = "idf_weights"
INNER = "_lookup_layer"  # what a TextVectorization of Keras has its words in


def put(model: Any, found: Contents, orders: dict[int, Order], path: Any) -> None:
    """Give the layers of a model the words that are not in their configurations.

    Raises
    ------
    FormatError
        If they do not fit.
    """
    if not found.vocabularies or not any(isinstance(layer, Lookup) for layer in walk(model)):
        return
    root = None if found.weights is None else tree_of(found.weights)
    old = any(place.startswith(OLD_LAYERS[0]) for place in found.vocabularies)
    top = OLD_LAYERS[0] if old else "layers"
    done: set[int] = set()

    def visit(layer: Any, where: str) -> None:
        if id(layer) in done:
            return
        done.add(id(layer))
        if isinstance(layer, Lookup) and where in found.vocabularies and not layer.get_vocabulary(False):
            words = layer.words_of_lines(found.vocabularies[where] + "\n")  # the last one may be empty
            expected = layer.expected_size
            if expected is None and len(words) <= len(layer.get_vocabulary()):  # never adapted
                return
            try:
                if expected not in (None, len(words)):
                    raise ValueError(f"there must be {expected}, got {len(words)}")
                weights = _idf_weights(root, where) if layer.output_mode == "tf_idf" else None
                layer.set_vocabulary(words, None if weights is None else weights[: len(words)])
            except (RuntimeError, ValueError) as error:
                raise FormatError(f"{path}: the words of {layer.name!r} do not fit: {error}") from error
        for inside, inner in parts(layer, orders, top, twice=old):
            visit(inner, f"{where}/{inside}" if where else inside)

    visit(model, "")


def _idf_weights(root: Tree | None, where: str) -> Any:
    group = None if root is None else root.group(f"{where}/vars")
    if not isinstance(group, Group) or IDF not in group.names():
        raise ValueError(f"there are no {IDF} in {where!r}")
    return group.array(IDF)


def add(layer: Any, group: _hdf5_write.Tree) -> None:
    """Write the weights of the words of a layer where Keras looks for them; the words are in the configuration."""
    if not isinstance(layer, Lookup) or layer.idf_weights is None:
        return
    weights = np.zeros(layer.columns() or 0, np.float32)
    weights[: len(layer.idf_weights)] = layer.idf_weights
    for place in (group, group.group(INNER)) if isinstance(layer, TextVectorization) else (group,):
        place.group("vars").members[IDF] = weights
