"""A model as a drawing."""

from __future__ import annotations

import warnings
from html import escape
from pathlib import Path
from typing import Any

from rnnx.layers.names import printable

BOX, GAP, LINE = 40, 30, 14  # height of a box without lines, between boxes, of a line of text; in pixels
LETTER = 7.2  # width of a letter


def plot_model(
    model: Any,
    to_file: Any = "model.svg",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    **options: Any,
) -> None:
    """Draw the layers of a model and what goes from one to the next, as SVG.

    Parameters
    ----------
    model : Model
        Built.
    to_file : path
        Another suffix than ``.svg`` is replaced by it, with a warning.
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        More lines in the boxes.
    rankdir : "TB"
        From top to bottom.
    expand_nested : bool
        Models inside are one box each; use ``model.summary(expand_nested=True)`` for what is in them.
    dpi : int
        Of no matter for SVG.

    Raises
    ------
    ValueError
        If the model is not built, or another direction is asked for.

    Warns
    -----
    UserWarning
        If the file gets another suffix, or ``expand_nested`` is given.
    """
    if options:
        raise TypeError(f"plot_model: unknown argument(s) {', '.join(sorted(options))}")
    if rankdir != "TB":
        raise ValueError(f"plot_model: `rankdir` must be 'TB', got {rankdir!r}")
    if not model.built:
        raise ValueError(f"{model.name}: not built yet; call it once or give it an input shape")
    path = Path(to_file)
    if path.suffix.lower() != ".svg":
        warnings.warn(f"plot_model: {path.name} is written as {path.stem}.svg", UserWarning, stacklevel=2)
        path = path.with_suffix(".svg")
    if expand_nested:
        warnings.warn("plot_model: models inside are drawn as one box", UserWarning, stacklevel=2)

    def lines_of(layer: Any, tensor: Any) -> list[str]:
        kind, name = type(layer).__name__, printable(layer.name, 40)
        lines = [f"{name} ({kind})" if show_layer_names else kind]
        if show_layer_activations and getattr(layer, "activation", None) is not None:
            lines.append(f"activation: {getattr(layer.activation, 'name', layer.activation)}")
        if show_shapes:
            lines.append(f"output: {tensor.shape}")
        if show_dtype:
            lines.append(f"dtype: {getattr(layer, 'value_dtype', tensor.dtype)}")
        if show_trainable:
            lines.append("trained" if layer.trainable else "not trained")
        return lines

    path.write_text(_drawn(model.plan, lines_of), encoding="utf-8")


def _drawn(plan: Any, lines_of: Any) -> str:
    """The picture: a row for each distance from the inputs."""
    rows: list[list[tuple[int, list[str]]]] = [[]]
    level: dict[int, int] = {}
    source = dict(zip(plan.inputs, plan.inputs, strict=True))  # the box of each place
    edges: list[tuple[int, int]] = []
    for place in plan.inputs:
        rows[0].append((place, lines_of(plan.tensors[place].node.layer, plan.tensors[place])))
        level[place] = 0
    for step in plan.steps:
        needs = [source[place] for place in (*step.inputs, *step.states)]
        box = step.outputs[0]
        level[box] = 1 + max(level[place] for place in needs)
        while len(rows) <= level[box]:
            rows.append([])
        rows[level[box]].append((box, lines_of(step.layer, plan.tensors[box])))
        source.update(dict.fromkeys(step.outputs, box))
        edges += [(place, box) for place in dict.fromkeys(needs)]
    most = max(len(lines) for row in rows for _, lines in row)
    high = BOX + LINE * (most - 1)
    widths = [[20 + LETTER * max(map(len, lines)) for _, lines in row] for row in rows]
    full = max(sum(own) + GAP * (len(own) + 1) for own in widths)
    places: dict[int, tuple[float, float]] = {}
    shapes: list[str] = []
    for number, (row, own) in enumerate(zip(rows, widths, strict=True)):
        left, top = (full - sum(own) - GAP * (len(own) - 1)) / 2, GAP + number * (high + GAP)
        for (box, lines), width in zip(row, own, strict=True):
            middle = left + width / 2
            places[box] = (middle, top)
            shapes.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{high}" fill="#fff" stroke="#333"/>'
            )
            for k, line in enumerate(lines):
                down = top + (high - LINE * (len(lines) - 1)) / 2 + 4 + k * LINE
                shapes.append(f'<text x="{middle:.1f}" y="{down:.1f}" text-anchor="middle">{escape(line)}</text>')
            left += width + GAP
    for start, end in edges:
        (x, y), (to_x, to_y) = places[start], places[end]
        shapes.insert(0, f'<path d="M{x:.1f} {y + high} L{to_x:.1f} {to_y}" stroke="#333"/>')
    height = GAP + len(rows) * (high + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{full:.0f}" height="{height}" font-family="monospace" '
        'font-size="12">\n' + "\n".join(shapes) + "\n</svg>\n"
    )
