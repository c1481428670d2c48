"""Colours and axes that all pictures share."""

from __future__ import annotations

from typing import Any

try:
    import matplotlib.pyplot as plt
    from matplotlib import rcParams
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError("rnnx.plot draws with matplotlib: pip install 'rnnx[plot]'") from error

__all__ = [
    "Axes",
    "BLUE",
    "Figure",
    "GREEN",
    "ORANGE",
    "axes_or_new",
    "grid",
    "rcParams",
    "two_colours",
    "whole_numbers",
]

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # of Okabe and Ito's palette; contrast of 3 to white and to black


def two_colours(low: str | None = None) -> Colormap:
    """Colours of 0 and 1: ``low`` (the background if None) and blue."""
    return ListedColormap([rcParams["axes.facecolor"] if low is None else low, BLUE])


def axes_or_new(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(6, 3.6), layout="constrained")[1]


def grid(panels: int, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure of so many panels of (width, height) inches, and their axes."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False
    )
    for unused in axes.flat[panels:]:
        unused.remove()
    return figure, list(axes.flat[:panels])


def whole_numbers(ax: Axes) -> None:
    """Only whole numbers on the horizontal axis."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
