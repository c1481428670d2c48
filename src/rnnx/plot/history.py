"""Losses and metrics over the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnx._config import what_is
from rnnx.plot._style import BLUE, ORANGE, Figure, grid, whole_numbers


def history(history: Any, metrics: Sequence[str] | None = None, *, columns: int = 3) -> Figure:
    """Draw what ``fit`` returned: a picture for each metric, validation dashed, its best epoch marked.

    Parameters
    ----------
    history : History or mapping of str to list of float
        What `Model.fit` returns, or its ``history``.
    metrics : sequence of str, optional
        Names without ``val_``; all by default.
    columns : int
        Pictures side by side.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are no epochs, or not all metrics are there.
    TypeError
        If it is neither what `fit` returned nor a mapping.

    Notes
    -----
    The best epoch is that of the lowest validation loss, in all pictures.

    Examples
    --------
    >>> import rnnx.plot
    >>> figure = rnnx.plot.history({"loss": [0.9, 0.5, 0.4], "val_loss": [1.0, 0.7, 0.8]})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['training', 'validation', 'lowest validation loss']
    """
    logs: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    if not isinstance(logs, Mapping):
        raise TypeError(f"plot.history: `history` must be what `fit` returned or its dict, got {what_is(history)}")
    names = [name for name in logs if not name.startswith("val_")] if metrics is None else list(metrics)
    missing = [name for name in names if name not in logs]
    if missing:
        raise ValueError(f"plot.history: there is no {missing[0]!r}; there are {', '.join(logs) or 'no epochs'}")
    if not names or not len(logs[names[0]]):
        raise ValueError("plot.history: there are no epochs to draw")
    losses = logs.get("val_loss")
    best = None if losses is None else min(range(len(losses)), key=losses.__getitem__)
    figure, axes = grid(len(names), columns, 4.2, 3.0)
    for ax, name in zip(axes, names, strict=True):
        epochs = range(1, len(logs[name]) + 1)
        ax.plot(epochs, logs[name], color=BLUE, label="training")
        validation = logs.get(f"val_{name}")
        if validation is not None:
            ax.plot(epochs, validation, color=ORANGE, linestyle="--", label="validation")
            if best is not None:
                ax.plot([best + 1], [validation[best]], "o", color=ORANGE, label="lowest validation loss")
        ax.set(title=name, xlabel="epoch")
        whole_numbers(ax)
        ax.legend(fontsize=8, frameon=False)
    return figure
