"""What dropout drops: over time, at each place of a layer or model where there is noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rnnx._typing import Array
from rnnx.dropout import DropoutMasks
from rnnx.layers.noise import NoiseLayer
from rnnx.models import Model
from rnnx.plot._style import ORANGE, Axes, Figure, grid, rcParams, two_colours, whole_numbers

GATES = {"lstm": "ifco", "gru": "zrh", "simple_rnn": "h"}
SITES = {
    "state": "state, before its product",
    "update": "update of the state",
    "cell": "memory cell",
    "weights": "recurrent kernel",
}


LABELS = {"dropped": "units or features", "noise": "features", "zoneout": "blue new, orange old", "matrix": "units"}


class Panel(NamedTuple):
    """One picture: numbers of shape (bands, timesteps, width), and what they are."""

    title: str
    numbers: Array
    bands: str = ""  # a letter for each
    kind: str = "dropped"  # a key of LABELS


def masks(layer: Any, x: Any, *, row: int = 0, columns: int = 3) -> Figure:
    """Draw which numbers the next training call of a layer or model will drop.

    A coloured field is kept, an empty one dropped. Time runs to the right. Where each gate has a mask of its own they
    lie above each other. The noise is that of the next call with ``training=True``, which this one does not use up.

    Parameters
    ----------
    layer : Layer or Model
        Any layer with dropout, zoneout or noise (also inside Bidirectional and RNN), or a model with such layers.
    x : array
        What it would be called with: (batch, timesteps, features) for a layer. Only shapes matter.
    row : int
        The sequence of the batch that is drawn.
    columns : int
        Pictures side by side.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If nothing is dropped, or the batch has no such row.

    Examples
    --------
    >>> import numpy as np, rnnx, rnnx.plot
    >>> layer = rnnx.layers.GRU(8, dropout=0.5, recurrent_dropout=0.25, seed=7)
    >>> figure = rnnx.plot.masks(layer, np.zeros((4, 12, 3), "float32"))
    >>> [ax.get_title().split(": ")[1] for ax in figure.axes]
    ['input', 'state, before its product']
    """
    calls = _calls(layer, x)
    if calls and not -len(calls[0][1]) <= row < len(calls[0][1]):
        raise ValueError(f"plot.masks: `row` must be below the batch size {len(calls[0][1])}, got {row}")
    generators = layer.seed_generators()
    states = [generator.state for generator in generators]
    try:
        panels = [panel for part, given in calls for panel in _panels(part, given.shape, row)]
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.state = state
    if not panels:
        raise ValueError(f"plot.masks: nothing is dropped in {layer.name!r}; give one of its layers a rate above 0")
    figure, axes = grid(len(panels), columns, 4.2, 2.4)
    figure.suptitle("blue: kept, empty: dropped", fontsize=10)
    for ax, panel in zip(axes, panels, strict=True):
        _draw(ax, panel)
    return figure


def _calls(layer: Any, x: Any) -> list[tuple[Any, Array]]:
    """The layers that may have noise, each with an input of the shape it is called with."""
    if not isinstance(layer, Model):
        x = np.asarray(x)
        if not layer.built:
            layer.build((None, *x.shape[1:]))
        return [(layer, x)]
    if not layer.built:
        layer(x)
    plan = layer.plan
    steps = [step for step in plan.steps if step.layer.seed_generators()]
    given = [np.asarray(part) for part in (x if layer.several_inputs else [x])]
    known = dict(zip(plan.inputs, given, strict=True))
    inner = sorted({step.inputs[0] for step in steps}.difference(known))
    if inner:
        found = Model(layer.inputs, [plan.tensors[place] for place in inner])(x)
        known |= zip(inner, found if isinstance(found, (list, tuple)) else [found], strict=True)
    return [(step.layer, known[step.inputs[0]]) for step in steps]


def _panels(layer: Any, shape: tuple[int, ...], row: int) -> Iterator[Panel]:
    if isinstance(layer, NoiseLayer):
        if layer.rate > 0:
            yield _of_noise(layer, shape, row)
    elif hasattr(layer, "sample_masks") and len(shape) == 3:
        yield from _of_recurrent(layer.name, layer, layer.sample_masks(shape[0], shape[1]), shape, row)
    elif hasattr(layer, "sample_masks") and len(shape) < 3:
        raise ValueError(f"plot.masks: `x` must have shape (batch, timesteps, features), got {shape}")
    elif layer.seed_generators():
        raise ValueError(
            f"plot.masks: what {layer.name!r} ({type(layer).__name__}) drops cannot be drawn over time and features"
        )


def _of_noise(layer: NoiseLayer, shape: tuple[int, ...], row: int) -> Panel:
    value = layer.apply(np.ones(shape, layer.dtype))[0][row]
    value = value.reshape(-1, value.shape[-1])[None]
    levels = np.unique(value)
    if len(levels) > 2:
        return Panel(f"{layer.name}: factor or noise on 1", value, kind="noise")
    return Panel(f"{layer.name}: output", (value == levels[-1]) & (value != 0))


def _of_recurrent(name: str, layer: Any, found: Any, shape: tuple[int, ...], row: int) -> Iterator[Panel]:
    """Panels of a recurrent layer, of the cells of a stack, of two directions."""
    if isinstance(found, (list, tuple)):
        parts = layer.cells if isinstance(found, list) else layer.sublayers
        for k, (part, one) in enumerate(zip(parts, found, strict=True)):
            width = shape[-1] if k == 0 or isinstance(found, tuple) else parts[k - 1].units
            yield from _of_recurrent(f"{name} {part.name}", part, one, (*shape[:2], width), row)
        return
    if not isinstance(found, DropoutMasks):
        return
    steps, units = shape[1], layer.units
    letters = GATES[layer.cell_kind]
    if found.inputs is not None:
        kept = _of_row(found.inputs, steps, shape[2], row)
        yield Panel(f"{name}: input", kept > 0, letters)
    if found.recurrent is not None and found.recurrent_mode == "weights":
        yield Panel(f"{name}: recurrent kernel", (found.recurrent > 0)[None], kind="matrix")
    elif found.recurrent is not None:
        yield Panel(f"{name}: {SITES[found.recurrent_mode]}", _of_row(found.recurrent, steps, units, row) > 0, letters)
    for site, zone in (("state", found.zoneout_hidden), ("memory cell", found.zoneout_cell)):
        if zone is not None:
            yield Panel(f"{name}: zoneout of the {site}", _of_row(zone[None], steps, units, row) == 0, kind="zoneout")


def _of_row(mask: Array, steps: int, width: int, row: int) -> Array:
    """(gates, timesteps, width) of one sequence, from a mask whose axes may be 1."""
    one = mask[:, row if mask.shape[1] > 1 else 0]
    return np.broadcast_to(one, (len(mask), steps, width))


def _draw(ax: Axes, panel: Panel) -> None:
    bands = [panel.numbers[0]] if panel.kind == "matrix" else [band.T for band in panel.numbers]
    width = len(bands[0])
    picture = np.concatenate(bands).astype(float)
    if panel.kind == "noise":
        ax.figure.colorbar(ax.imshow(picture, cmap="cividis", aspect="auto", interpolation="nearest"), ax=ax)
    else:
        colours = two_colours(ORANGE if panel.kind == "zoneout" else None)
        ax.imshow(picture, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for edge in range(width, len(picture), width):
        ax.axhline(edge - 0.5, color=rcParams["axes.edgecolor"], linewidth=1.5)
    ax.set_title(panel.title, fontsize=9)
    ax.set(xlabel="gates × units" if panel.kind == "matrix" else "time →", ylabel=LABELS[panel.kind], yticks=[])
    whole_numbers(ax)
    if len(bands) > 1:
        ax.set_yticks([k * width + (width - 1) / 2 for k in range(len(bands))], list(panel.bands))
        ax.set_ylabel("gate")
    ax.tick_params(length=0)
