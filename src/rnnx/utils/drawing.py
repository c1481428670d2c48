"""A model as a drawing."""

from __future__ import annotations

import re
import warnings
from html import escape
from pathlib import Path
from typing import Any

from rnnx.layers.names import printable

BOX, GAP, LINE = 40, 30, 14  # height of a box without lines, between boxes, of a line of text; in pixels
LETTER = 7.2  # width of a letter


SHOWN = ("show_shapes", "show_dtype", "show_layer_names", "show_layer_activations", "show_trainable")


class ModelGraph:
    """The layers of a model and what goes from one to the next; what `model_to_dot` returns.

    It has the methods of ``pydot.Dot`` that need no Graphviz: the graph in DOT, and its drawing as SVG.

    Parameters
    ----------
    model : Model
        Built.
    rankdir : {"TB", "LR"}
        From top to bottom, or from left to right (in DOT alone).
    **shown : bool
        More lines in the boxes; see `plot_model`.

    Attributes
    ----------
    labels : dict
        The lines of each box, by its number.
    edges : list of (int, int)
        From one box to another.
    """

    def __init__(self, model: Any, rankdir: str = "TB", **shown: bool):
        if rankdir not in ("TB", "LR"):
            raise ValueError(f"model_to_dot: `rankdir` must be 'TB' or 'LR', got {rankdir!r}")
        if not model.built:
            raise ValueError(f"{model.name}: not built yet; call it once or give it an input shape")
        self.rankdir = rankdir
        plan = model.plan
        source = dict(zip(plan.inputs, plan.inputs, strict=True))  # the box of each place
        self.labels: dict[int, list[str]] = {}
        self.edges: list[tuple[int, int]] = []
        self._levels: dict[int, int] = {}
        for place in plan.inputs:
            self.labels[place] = _lines(plan.tensors[place].node.layer, plan.tensors[place], shown)
            self._levels[place] = 0
        for step in plan.steps:
            needs = [source[place] for place in (*step.inputs, *step.states)]
            box = step.outputs[0]
            self._levels[box] = 1 + max((self._levels[place] for place in needs), default=0)
            self.labels[box] = _lines(step.layer, plan.tensors[box], shown)
            source.update(dict.fromkeys(step.outputs, box))
            self.edges += [(place, box) for place in dict.fromkeys(needs)]

    def to_string(self) -> str:
        """The graph in DOT, the language of Graphviz."""
        boxes = [f'  {box} [label="{_quoted(lines)}"];' for box, lines in self.labels.items()]
        arrows = [f"  {start} -> {end};" for start, end in self.edges]
        begin = ["digraph G {", f"  rankdir={self.rankdir};", "  node [shape=record];"]
        return "\n".join([*begin, *boxes, *arrows, "}\n"])

    def create(self, prog: Any = None, format: str = "svg", encoding: Any = None) -> bytes:
        """The drawing.

        Parameters
        ----------
        prog, encoding : optional
            Accepted as in pydot.
        format : {"svg", "dot", "raw"}

        Raises
        ------
        ValueError
            If the format is another one: Graphviz makes it of what `to_string` gives.
        """
        if format not in ("svg", "dot", "raw"):
            raise ValueError(
                f"model_to_dot: `format` must be 'svg' or 'dot', got {format!r}; write the graph as DOT and "
                "let Graphviz draw it"
            )
        return (self.svg() if format == "svg" else self.to_string()).encode()

    def create_svg(self, prog: Any = None) -> bytes:
        """The drawing as SVG."""
        return self.create(prog, "svg")

    def write(self, path: Any, prog: Any = None, format: str = "raw", encoding: Any = None) -> bool:
        """Write the graph in DOT ("raw") or the drawing to a file; see `create`."""
        Path(path).write_bytes(self.create(prog, format))
        return True

    def write_svg(self, path: Any, prog: Any = None) -> bool:
        """Write the drawing as SVG."""
        return self.write(path, prog, "svg")

    def write_raw(self, path: Any, prog: Any = None) -> bool:
        """Write the graph in DOT."""
        return self.write(path, prog, "raw")

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg()

    def svg(self) -> str:
        """The drawing: a row of boxes for each distance from the inputs."""
        rows: list[list[int]] = [[] for _ in range(1 + max(self._levels.values()))]
        for box in self.labels:
            rows[self._levels[box]].append(box)
        most = max(len(lines) for lines in self.labels.values())
        high = BOX + LINE * (most - 1)
        widths = {box: 20 + LETTER * max(map(len, lines)) for box, lines in self.labels.items()}
        full = max(sum(widths[box] for box in row) + GAP * (len(row) + 1) for row in rows)
        places: dict[int, tuple[float, float]] = {}
        shapes: list[str] = []
        for number, row in enumerate(rows):
            left = (full - sum(widths[box] for box in row) - GAP * (len(row) - 1)) / 2
            top = GAP + number * (high + GAP)
            for box in row:
                lines, width = self.labels[box], widths[box]
                middle = left + width / 2
                places[box] = (middle, top)
                shapes.append(
                    f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{high}" fill="#fff" stroke="#333"/>'
                )
                for k, line in enumerate(lines):
                    down = top + (high - LINE * (len(lines) - 1)) / 2 + 4 + k * LINE
                    shapes.append(f'<text x="{middle:.1f}" y="{down:.1f}" text-anchor="middle">{escape(line)}</text>')
                left += width + GAP
        for start, end in self.edges:
            (x, y), (to_x, to_y) = places[start], places[end]
            shapes.insert(0, f'<path d="M{x:.1f} {y + high} L{to_x:.1f} {to_y}" stroke="#333"/>')
        height = GAP + len(rows) * (high + GAP)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{full:.0f}" height="{height}" font-family="monospace" '
            'font-size="12">\n' + "\n".join(shapes) + "\n</svg>\n"
        )


def _lines(layer: Any, tensor: Any, shown: dict[str, bool]) -> list[str]:
    """What stands in a box."""
    kind, name = type(layer).__name__, printable(layer.name, 40)
    lines = [f"{name} ({kind})" if shown.get("show_layer_names") else kind]
    if shown.get("show_layer_activations") and getattr(layer, "activation", None) is not None:
        lines.append(f"activation: {getattr(layer.activation, 'name', layer.activation)}")
    if shown.get("show_shapes"):
        lines.append(f"output: {tensor.shape}")
    if shown.get("show_dtype"):
        lines.append(f"dtype: {getattr(layer, 'value_dtype', tensor.dtype)}")
    if shown.get("show_trainable"):
        lines.append("trained" if layer.trainable else "not trained")
    return lines


def _quoted(lines: list[str]) -> str:
    """Lines as a label of DOT, in which some characters mean fields and ends of lines."""
    marked = [re.sub(r'([\\"{}|<>])', r"\\\1", line) for line in lines]
    return "\\n".join(marked)


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> ModelGraph:
    """The layers of a model as a graph, in DOT or drawn as SVG, without other packages.

    Parameters
    ----------
    model : Model
        Built.
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        More lines in the boxes.
    rankdir : {"TB", "LR"}
        From top to bottom, or from left to right (in DOT alone).
    expand_nested : bool
        Models inside are one box each; use ``model.summary(expand_nested=True)`` for what is in them.
    dpi, subgraph, splines
        Of no matter for DOT and SVG.

    Raises
    ------
    ValueError
        If the model is not built, or another direction is asked for.

    Warns
    -----
    UserWarning
        If ``expand_nested`` is given.

    Examples
    --------
    >>> import rnnx
    >>> model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4, name="gru")])
    >>> rnnx.utils.model_to_dot(model).to_string().splitlines()[4]
    '  1 [label="gru (GRU)"];'
    """
    if expand_nested:
        warnings.warn("model_to_dot: models inside are drawn as one box", UserWarning, stacklevel=2)
    given = (show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    return ModelGraph(model, rankdir, **dict(zip(SHOWN, given, strict=True)))


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
    splines: str = "ortho",
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
    dpi, splines
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
    given = (show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    graph = ModelGraph(model, rankdir, **dict(zip(SHOWN, given, strict=True)))
    path = Path(to_file)
    if path.suffix.lower() != ".svg":
        warnings.warn(f"plot_model: {path.name} is written as {path.stem}.svg", UserWarning, stacklevel=2)
        path = path.with_suffix(".svg")
    if expand_nested:
        warnings.warn("plot_model: models inside are drawn as one box", UserWarning, stacklevel=2)
    path.write_text(graph.svg(), encoding="utf-8")
