"""A model as a table."""

from __future__ import annotations

from typing import Any


def table(model: Any) -> str:
    """The layers of a model, their output shapes and their numbers of weights."""
    if not model.built:
        return f"{model.name}: not built yet; call it once or give the first layer an input shape"
    rows = [("Layer (type)", "Output shape", "Weights", "Connected to")]
    shapes: dict[int, Any] = {}
    sources: dict[int, str] = {}
    for node in [tensor.node for tensor in model.inputs] + model.nodes:
        shapes.setdefault(id(node.layer), node.outputs[0].shape)
        sources.setdefault(id(node.layer), ", ".join(tensor.name for tensor in node.inputs))
    for layer in model.layers:
        rows.append(
            (
                f"{layer.name} ({type(layer).__name__})",
                str(shapes[id(layer)]),
                f"{layer.count_params():,}",
                sources[id(layer)],
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(len(line) for line in lines))
    trainable = sum(w.value.size for w in model.trainable_weights)
    total = model.count_params()
    size = sum(w.value.nbytes for w in model.weights)
    lines.append(f"{total:,} weights ({size / 1e6:.2f} MB), {trainable:,} trained, {total - trainable:,} fixed")
    return f'Model "{model.name}"\n' + "\n".join(lines)
