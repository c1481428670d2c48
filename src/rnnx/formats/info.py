"""What is in a model file, as lines of text: what ``rnnx info`` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from rnnx.formats import safetensors
from rnnx.formats._limits import printable, reading
from rnnx.formats.convert import reader_of

LONGEST_LINE = 400
FIRST = ("kind", "framework", "version", "producer", "container", "profile", "reason", "why")


def lines(path: Any) -> list[str]:
    """Describe a file.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of str
        One line each, of printable characters only, whatever names the file holds.

    Raises
    ------
    FormatError
        If the file is damaged or of an unknown kind.
    OSError
        If it cannot be read.
    """
    with reading(path, "the description in the file is damaged"):
        module = reader_of(path)
        found = module.describe(path)
        text = _rnnx(path, found) if module is safetensors else _others(path, found)
        return [printable(line, LONGEST_LINE) for part in text for line in part.splitlines()]


def _numbers(shapes: Iterable[Any]) -> int:
    return sum(math.prod(int(n) for n in shape) for shape in shapes)


def _rnnx(path: Any, found: dict[str, Any]) -> Iterator[str]:
    """rnnx's own file."""
    from rnnx.layers.limits import weights_limited
    from rnnx.layers.registry import layer_from_config

    weights = {n: t for n, t in found["tensors"].items() if n.startswith("weights/")}
    count = _numbers(shape for _, shape in weights.values())
    yield f"{path}: {found['kind']}, written by rnnx {found['rnnx']} (format {found['format']})"
    yield f"{len(weights)} weight arrays, {count:,} parameters, {', '.join(sorted({t for t, _ in weights.values()}))}"
    if found["kind"] == "model":
        table: list[str] = []
        with reading(path, "the model cannot be made"), weights_limited(count):
            layer_from_config(found["model"]).summary(print_fn=table.append)
        yield from table
    for number, name in enumerate(found["weights"]):
        dtype, shape = found["tensors"][f"weights/{number}"]
        yield f"  {number:>3}  {printable(name):<20} {dtype} {shape}"
    if "training" in found:
        yield f"state of training: optimizer {found['training']['optimizer']['class_name']}"


def _others(path: Any, found: dict[str, Any]) -> Iterator[str]:
    """A file of another framework: its words first, then layers and weights, warnings last."""
    found = dict(found)
    layers, weights = found.pop("layers", []), found.pop("weights", {})
    warnings, parameters = found.pop("warnings", []), found.pop("parameters", None)
    yield f"{path}: {found.pop('kind', 'model')}"
    for name in sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        yield from _entry(name, found[name])
    described = isinstance(layers, (list, tuple)) and all(isinstance(layer, dict) for layer in layers)
    if described:
        if layers:
            yield "layers:"
        for layer in layers:
            yield from _layer(layer)
    else:
        yield from _entry("layers", layers)
    if weights:
        yield "weights:"
        yield from _arrays(weights, "  ")
    if parameters is None:
        parts = [weights, *(layer.get("weights") for layer in (layers if described else []))]
        parameters = sum(_numbers(shape for _, shape in part.values()) for part in parts if _is_arrays(part))
    yield f"{parameters:,} parameters"
    for warning in warnings:
        yield f"warning: {warning}"


def _entry(name: str, value: Any) -> Iterator[str]:
    """A word of a description, on one line or on one for each part."""
    title = name.replace("_", " ")
    if isinstance(value, dict):
        if value:
            yield f"{title}: " + ", ".join(f"{key} {part}" for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        if value:
            yield f"{title}:"
        for part in value:
            yield "  " + (" ".join(str(word) for word in part) if isinstance(part, (list, tuple)) else str(part))
    elif value is not None and value != "":
        yield f"{title}: {value}"


def _layer(layer: dict[str, Any]) -> Iterator[str]:
    """A layer with its weights below it."""
    words = [str(layer.get("name") or "(the module itself)"), f"({layer.get('class', '?')})"]
    words += [
        f"{name}={value}"
        for name, value in layer.items()
        if name not in ("name", "class", "weights") and value is not None
    ]
    yield "  " + " ".join(words)
    yield from _arrays(layer.get("weights", {}), "    ")


def _is_arrays(weights: Any) -> bool:
    """Whether it is a table of types and shapes by name."""
    return isinstance(weights, dict) and all(
        isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], (list, tuple))
        for entry in weights.values()
    )


def _arrays(weights: Any, indent: str) -> Iterator[str]:
    """Arrays by name, one a line."""
    if _is_arrays(weights):
        for name, (dtype, shape) in weights.items():
            yield f"{indent}{name}  {dtype} {tuple(shape)}"
    else:
        for part in weights.items() if isinstance(weights, dict) else weights:
            yield indent + (" ".join(str(word) for word in part) if isinstance(part, (list, tuple)) else str(part))
