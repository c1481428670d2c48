"""A model as a table."""

from __future__ import annotations

from typing import Any

from rnnx.layers.names import LONGEST_NAME, printable


def table(model: Any, expand_nested: bool = False, show_trainable: bool = False) -> str:
    """The layers of a model, their output shapes and their numbers of weights."""
    if not model.built:
        return f"{printable(model.name)}: not built yet; call it once or give the first layer an input shape"
    rows: list[tuple[str, ...]] = [("Layer (type)", "Output shape", "Weights", "Connected to", "Trained")]
    rows += _rows(model, expand_nested, "")
    columns = range(5 if show_trainable else 4)
    widths = [max(len(row[k]) for row in rows) for k in columns]
    lines = ["  ".join(row[k].ljust(width) for k, width in zip(columns, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(len(line) for line in lines))
    trainable = sum(w.array.size for w in model.trainable_weights)
    total = model.count_params()
    size = sum(w.array.nbytes for w in model.weights)
    lines.append(f"{total:,} weights ({size / 1e6:.2f} MB), {trainable:,} trained, {total - trainable:,} fixed")
    return f'Model "{printable(model.name)}"\n' + "\n".join(lines)


def _rows(model: Any, expand_nested: bool, indent: str) -> list[tuple[str, ...]]:
    tensors = model.plan.tensors
    entries = [tensors[place] for place in model.plan.inputs]
    shapes: dict[str, Any] = {tensor.name: tensor.shape for tensor in entries}
    sources = dict.fromkeys(shapes, "")
    for step in model.plan.steps:
        if step.layer.name not in shapes:
            shapes[step.layer.name] = tensors[step.outputs[0]].shape
            shown = [printable(tensors[place].name) for place in (*step.inputs, *step.states)[:LONGEST_NAME]]
            sources[step.layer.name] = printable(", ".join(shown))
    rows: list[tuple[str, ...]] = []
    for layer in model.layers:
        flags = layer.weight_is_trained()
        trained = "" if not flags else "yes" if all(flags) else "in part" if any(flags) else "no"
        title = f"{indent}{printable(layer.name)} ({type(layer).__name__})"
        rows.append((title, str(shapes[layer.name]), f"{layer.count_params():,}", sources[layer.name], trained))
        if expand_nested and hasattr(layer, "plan"):
            rows += _rows(layer, expand_nested, indent + "  ")
    return rows
