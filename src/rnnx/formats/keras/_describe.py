"""What is in a file of Keras, in words."""

from __future__ import annotations

from itertools import islice
from typing import Any

from rnnx.formats.keras._container import Contents, version_of
from rnnx.formats.keras._dialect import dialect_of
from rnnx.formats.keras._graph import Models
from rnnx.formats.keras._hdf5 import Group
from rnnx.layers import InputLayer
from rnnx.layers.limits import weights_limited
from rnnx.saving import FormatError

MOST_ARRAYS = 10_000
DEEPEST_GROUP = 60
SHOWN = (
    "units", "activation", "recurrent_activation", "return_sequences", "return_state", "go_backwards", "stateful",
    "dropout", "recurrent_dropout", "reset_after", "compat", "rate", "merge_mode", "mask_zero", "mask_value", "filters",
    "kernel_size",
)  # fmt: skip


def description(path: Any, found: Contents) -> dict[str, Any]:
    """See `describe`."""
    config = found.config
    version = found.version
    if version is None and config is not None:
        version = version_of(config.get("keras_version"))
    dialect = dialect_of(version, config)
    words: dict[str, Any] = {"kind": f"{found.kind} of Keras", "framework": dialect.framework, "version": version}
    if found.backend:
        words["backend"] = found.backend
    words.update(profile=dialect.profile, reason=dialect.reason)
    if config is None:
        return {**words, "weights": dict(_arrays(found)), "warnings": []}
    made = Models(path, dialect)
    limit = found.numbers if found.has_weights else 1 << 30
    try:
        with weights_limited(limit):
            model = made.make(config)
    except FormatError as error:
        reasons = error.reasons or [str(error).removeprefix(f"{path}: ")]
        return {**words, "weights": dict(_arrays(found)), "warnings": [f"cannot be loaded: {one}" for one in reasons]}
    words["layers"] = [_layer(layer) for layer in _flat(model) if not isinstance(layer, InputLayer)]
    words["parameters"] = model.count_params()
    words["compiled"] = "yes" if found.training else None
    return {**words, "warnings": list(made.layers.warnings)}


def _flat(layer: Any) -> list[Any]:
    """Layers of a model, those of models inside of it in their places."""
    if layer.sublayers and not hasattr(layer, "return_sequences") and hasattr(layer, "layers"):
        return [inner for part in layer.layers for inner in _flat(part)]
    return [layer]


def _layer(layer: Any) -> dict[str, Any]:
    own = layer.get_config()
    inner = own.get("layer")
    shown = {word: own[word] for word in SHOWN if own.get(word) not in (None, False, 0, 0.0, "keras3")}
    if isinstance(inner, dict):
        config = inner.get("config", {})
        shown["layer"] = inner.get("class_name")
        shown.update({word: config[word] for word in SHOWN if config.get(word) not in (None, False, 0, 0.0, "keras3")})
    weights = {w.name: (str(w.dtype), w.shape) for w in layer._weights}
    for part in layer.sublayers:
        weights.update({f"{part.name}/{w.name}": (str(w.dtype), w.shape) for w in part.weights})
    return {"name": layer.name, "class": type(layer).__name__, **shown, "weights": weights}


def _arrays(found: Contents) -> list[tuple[str, tuple[str, tuple[int, ...]]]]:
    """Type and shape of every array in a file."""
    if found.checkpoint is not None:
        return list(islice(found.checkpoint.listed(), MOST_ARRAYS))
    arrays: list[tuple[str, tuple[str, tuple[int, ...]]]] = []
    if found.weights is None:
        return arrays
    waiting: list[tuple[str, Group, int]] = [("", found.weights, 0)]
    seen = {found.weights.address}  # a group that has several names is listed once
    while waiting and len(arrays) < MOST_ARRAYS:
        prefix, group, depth = waiting.pop()
        for name in reversed(group.names()):
            inner = group.group(name)
            if inner is None:
                arrays.append((f"{prefix}{name}", group.shape(name)))
            elif depth < DEEPEST_GROUP and len(waiting) < MOST_ARRAYS and inner.address not in seen:
                seen.add(inner.address)
                waiting.append((f"{prefix}{name}/", inner, depth + 1))
    return arrays
