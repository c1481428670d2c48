"""The gates of a recurrent layer over a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx.models import Model
from rnnx.plot._style import Figure, grid, whole_numbers
from rnnx.reference.gates import gate_values


def gates(layer: Any, x: Any, *, layer_name: str | None = None, row: int = 0, columns: int = 3) -> Figure:
    """Draw what each gate, the memory and the output of a recurrent layer do over a sequence.

    Values are computed by the float64 reference from zero states, without dropout, and drawn in the order in which the
    layer reads: from the end of the sequence for ``go_backwards=True``.

    Parameters
    ----------
    layer : LSTM, GRU, SimpleRNN or Model
        Of a model, its first recurrent layer is drawn unless ``layer_name`` says another.
    x : array of shape (batch, timesteps, features), or what the model takes
    layer_name : str, optional
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
        If there is no such layer.

    Examples
    --------
    >>> import numpy as np, rnnx, rnnx.plot
    >>> figure = rnnx.plot.gates(rnnx.layers.GRU(8, seed=1), np.ones((1, 20, 3), "float32"))
    >>> [ax.get_title() for ax in figure.axes if ax.get_title()]
    ['update gate z', 'reset gate r', 'candidate', 'output h']
    """
    found, given = _layer_and_input(layer, x, layer_name)
    sequence = np.asarray(given)[row : row + 1 or None]
    panels = gate_values(found.cell_kind, found.packed()[0], sequence, go_backwards=found.go_backwards)
    figure, axes = grid(len(panels), columns, 4.2, 2.4)
    figure.suptitle(found.name, fontsize=10)
    for ax, (title, value) in zip(axes, panels.items(), strict=True):
        is_gate = title.split(" ")[-1] in "ifozr"
        bound = 1.0 if is_gate else max(1.0, float(abs(value).max()))
        image = ax.imshow(
            value.T,
            cmap="cividis" if is_gate else "PuOr",
            vmin=0 if is_gate else -bound,
            vmax=bound,
            aspect="auto",
            interpolation="nearest",
        )
        figure.colorbar(image, ax=ax)
        ax.set_title(title, fontsize=9)
        ax.set(xlabel="time →", ylabel="units", yticks=[])
        whole_numbers(ax)
    return figure


def _layer_and_input(layer: Any, x: Any, layer_name: str | None) -> tuple[Any, Any]:
    if not isinstance(layer, Model):
        _check(layer)
        if not layer.built:
            layer.build((None, *np.shape(x)[1:]))
        return layer, x
    if not layer.built:
        layer(x)
    recurrent = [one for one in layer.layers if getattr(one, "cell_kind", "")]
    if layer_name is not None:
        recurrent = [layer.get_layer(layer_name)]
    if not recurrent:
        raise ValueError(f"plot.gates: {layer.name!r} has no LSTM, GRU or SimpleRNN at its top level")
    _check(recurrent[0])
    tensor = recurrent[0].input
    at_start = any(tensor is one for one in layer.inputs) and not layer.several_inputs
    return recurrent[0], x if at_start else Model(layer.inputs, tensor)(x)


def _check(layer: Any) -> None:
    if not getattr(layer, "cell_kind", ""):
        raise ValueError(f"plot.gates: expected an LSTM, GRU, SimpleRNN or a model, got {type(layer).__name__}")
