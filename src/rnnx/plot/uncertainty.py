"""How sure a model is, and whether it is right to be."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from rnnx._typing import Array
from rnnx.plot._style import BLUE, GREEN, ORANGE, Axes, axes_or_new


def uncertainty(
    mean: Any, deviation: Any = None, *, samples: Any = None, truth: Any = None, x: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw a prediction over time with a band of what Monte Carlo dropout leaves open.

    Parameters
    ----------
    mean : array of shape (timesteps,) or (timesteps, 1)
        Of `Model.predict_mc`.
    deviation : array of the same shape, optional
        Bands of one and two standard deviations.
    samples : array of shape (samples, timesteps) or (samples, timesteps, 1), optional
        In place of ``deviation``: bands that hold 50 and 90 percent of them.
    truth : array of shape (timesteps,), optional
    x : array of shape (timesteps,), optional
        Places on the horizontal axis.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If shapes do not fit, or neither ``deviation`` nor ``samples`` is given.

    Examples
    --------
    >>> import numpy as np, rnnx.plot
    >>> ax = rnnx.plot.uncertainty(np.zeros(20), np.full(20, 0.3), truth=np.ones(20))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['± 2 standard deviations', '± 1 standard deviation', 'mean', 'truth']
    """
    if (deviation is None) == (samples is None):
        raise ValueError("plot.uncertainty: expected one of `deviation` and `samples`")
    middle = _line("mean", mean)
    if samples is None:
        sigma = _line("deviation", deviation, len(middle))
        bands = [(middle - k * sigma, middle + k * sigma) for k in (2, 1)]
        labels = ["± 2 standard deviations", "± 1 standard deviation"]
    else:
        drawn = np.asarray(samples, float)
        drawn = drawn[..., 0] if drawn.ndim == 3 and drawn.shape[-1] == 1 else drawn
        if drawn.ndim != 2 or drawn.shape[1] != len(middle):
            raise ValueError(
                f"plot.uncertainty: `samples` must have shape (samples, timesteps) with {len(middle)} steps, "
                f"got {np.shape(samples)}"
            )
        quantiles = np.quantile(drawn, [0.05, 0.95, 0.25, 0.75], axis=0)
        bands = [(quantiles[0], quantiles[1]), (quantiles[2], quantiles[3])]
        labels = ["90 % of the samples", "50 % of the samples"]
    places = np.arange(len(middle)) if x is None else _line("x", x, len(middle))
    ax = axes_or_new(ax)
    for (low, high), label, alpha in zip(bands, labels, (0.2, 0.4), strict=True):
        ax.fill_between(places, low, high, color=BLUE, alpha=alpha, linewidth=0, label=label)
    ax.plot(places, middle, color=BLUE, label="mean")
    if truth is not None:
        ax.plot(places, _line("truth", truth, len(middle)), color=ORANGE, linestyle="--", label="truth")
    ax.set_xlabel("time →")
    ax.legend(fontsize=8, frameon=False)
    return ax


def reliability(
    truth: Any,
    predicted: Any,
    deviation: Any = None,
    *,
    bins: int = 10,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often a model is right against how sure it said it was; on the diagonal it is calibrated.

    Parameters
    ----------
    truth : array
        Class numbers of shape (samples,), or with ``deviation`` the true values.
    predicted : array
        Probabilities of shape (samples, classes), or of shape (samples,) for the class 1 of two; with ``deviation``
        the predicted means.
    deviation : array, optional
        Of a regression: the share of truths inside the central intervals of a normal distribution is drawn.
    bins : int
        Intervals of confidence, or intervals drawn.
    label : str, optional
        Name in the legend; call again with the same ``ax`` to compare models.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If shapes do not fit, probabilities lie outside [0, 1], or a deviation is not positive.

    Notes
    -----
    The legend has the expected calibration error: the distance to the diagonal, weighted by the samples in a bin
    (classes) or averaged over the intervals (regression).

    References
    ----------
    .. [1] C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    .. [2] V. Kuleshov et al., "Accurate uncertainties for deep learning using calibrated regression", ICML 2018.

    Examples
    --------
    >>> import numpy as np, rnnx.plot
    >>> probabilities = np.tile([0.8, 0.2], (10, 1))
    >>> ax = rnnx.plot.reliability([0] * 8 + [1] * 2, probabilities)
    >>> ax.get_legend().get_texts()[-1].get_text()
    'error 0.000'
    """
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"plot.reliability: `bins` must be a positive integer, got {bins!r}")
    if deviation is None:
        said, seen, error = _of_classes(np.asarray(truth), np.asarray(predicted, float), bins)
        names = ("confidence", "share of right answers")
    else:
        said, seen, error = _of_intervals(
            np.asarray(truth, float).ravel(),
            np.asarray(predicted, float).ravel(),
            np.asarray(deviation, float).ravel(),
            bins,
        )
        names = ("interval asked for", "share of truths inside")
    ax = axes_or_new(ax)
    if not ax.lines:
        ax.plot([0, 1], [0, 1], color=GREEN, linestyle=":", label="calibrated")
    colour = (BLUE, ORANGE)[(len(ax.lines) - 1) % 2]
    ax.plot(said, seen, "o-", color=colour, label=f"{label + ': ' if label else ''}error {error:.3f}")
    ax.set(xlabel=names[0], ylabel=names[1], xlim=(0, 1), ylim=(0, 1))
    ax.set_aspect("equal")
    ax.legend(fontsize=8, frameon=False)
    return ax


def _of_classes(truth: Array, predicted: Array, bins: int) -> tuple[Array, Array, float]:
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if predicted.ndim == 1:
        predicted = np.stack([1 - predicted, predicted], -1)
    truth = truth.reshape(-1)
    if predicted.ndim != 2 or len(truth) != len(predicted) or not len(truth):
        raise ValueError(
            "plot.reliability: expected class numbers (samples,) and probabilities (samples, classes), "
            f"got {truth.shape} and {predicted.shape}"
        )
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise ValueError("plot.reliability: probabilities must lie in [0, 1]; apply a softmax or sigmoid to logits")
    confidence, right = predicted.max(-1), predicted.argmax(-1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    used = counts > 0
    said = np.bincount(which, confidence, bins)[used] / counts[used]
    seen = np.bincount(which, right, bins)[used] / counts[used]
    return said, seen, float((abs(said - seen) * counts[used]).sum() / counts.sum())


def _of_intervals(truth: Array, mean: Array, deviation: Array, bins: int) -> tuple[Array, Array, float]:
    if not truth.shape == mean.shape == deviation.shape or not len(truth):
        raise ValueError(
            f"plot.reliability: truth, mean and deviation must have one shape, got {truth.shape}, {mean.shape} and "
            f"{deviation.shape}"
        )
    if not (deviation > 0).all():
        raise ValueError("plot.reliability: `deviation` must be positive everywhere")
    said = np.arange(1, bins + 1) / (bins + 1)
    distance = abs(truth - mean) / deviation
    seen = np.array([(distance <= ndtri((1 + share) / 2)).mean() for share in said])
    return said, seen, float(abs(said - seen).mean())


def _line(name: str, value: Any, length: int | None = None) -> Array:
    found = np.asarray(value, float)
    found = found[..., 0] if found.ndim == 2 and found.shape[-1] == 1 else found
    if found.ndim != 1 or (length is not None and len(found) != length):
        steps = "" if length is None else f" with {length} steps"
        raise ValueError(f"plot.uncertainty: `{name}` must have shape (timesteps,){steps}, got {np.shape(value)}")
    return found
