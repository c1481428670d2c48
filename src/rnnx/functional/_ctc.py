"""Connectionist temporal classification: what labels without the steps at which they stand cost, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array


def ctc(labels: Array, lengths: Array, logits: Array, blank: int) -> tuple[Array, Callable[[Any], Array]]:
    """Minus the logarithm of the probability of each row of labels, over all ways to spread it over the steps.

    Parameters
    ----------
    labels : int array of shape (batch, length)
    lengths : int array of shape (batch,)
        How many labels of each row count.
    logits : array of shape (batch, timesteps, classes)
        At least one step. A step that says ``blank`` for certain (minus infinity elsewhere) does not count.
    blank : int
        The class that stands for no label.

    Returns
    -------
    losses : array of shape (batch,)
        Infinite where the labels do not fit into the steps.
    pullback : callable
        The gradient of the logits from those of the losses; 0 in rows whose loss is infinite.

    References
    ----------
    .. [1] A. Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with recurrent
       neural networks", ICML 2006.
    """
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    states = np.full((len(labels), 2 * labels.shape[1] + 1), blank, np.int64)  # a blank around each label
    states[:, 1::2] = np.where(np.arange(labels.shape[1]) < lengths[:, None], labels, blank)
    emitted = np.take_along_axis(log_p, np.broadcast_to(states[:, None], (*logits.shape[:2], states.shape[1])), 2)
    skips = np.zeros(states.shape, bool)  # whether the blank before a label may be left out
    skips[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    last = 2 * lengths[:, None]
    ends = np.arange(states.shape[1])
    ends = (ends == last) | ((ends == last - 1) & (last > 0))
    before = _ways_before(emitted, skips)
    total = np.logaddexp.reduce(np.where(ends, before[:, -1], -np.inf), axis=1)

    def pullback(share: Any) -> Array:
        possible = np.isfinite(total)
        behind = _ways_behind(emitted, skips, ends)
        with np.errstate(invalid="ignore"):  # rows without a way
            there = np.exp(before + behind - total[:, None, None])
        batch, steps, classes = log_p.shape
        place = np.arange(batch * steps).reshape(batch, steps, 1) * classes + states[:, None]
        held = np.bincount(place.ravel(), np.where(possible[:, None, None], there, 0).ravel(), log_p.size)
        slope = np.where(possible[:, None, None], np.exp(log_p) - held.reshape(log_p.shape), 0)
        share = np.broadcast_to(np.asarray(share), total.shape)[:, None, None]
        return (slope * share).astype(logits.dtype)

    return -total.astype(logits.dtype), pullback


def counted(logits: Array, valid: Array, blank: int) -> Array:
    """The logits with the blank for certain at steps that do not count, whatever stands there.

    Parameters
    ----------
    logits : array of shape (batch, timesteps, classes)
    valid : bool array of shape (batch, timesteps)
    blank : int
    """
    sure = np.full(logits.shape[2], -np.inf, np.float32)
    sure[blank] = 0
    return np.where(valid[..., None], logits, sure)


def _ways_before(emitted: Array, skips: Array) -> Array:
    """Logarithm of the probability of all ways to each state at each step, what is emitted there included."""
    found = np.empty(emitted.shape)
    ways = np.full(emitted.shape[::2], -np.inf)
    ways[:, :2] = emitted[:, 0, :2]
    found[:, 0] = ways
    for step in range(1, emitted.shape[1]):
        more = ways.copy()
        more[:, 1:] = np.logaddexp(more[:, 1:], ways[:, :-1])
        more[:, 2:] = np.logaddexp(more[:, 2:], np.where(skips[:, 2:], ways[:, :-2], -np.inf))
        ways = found[:, step] = more + emitted[:, step]
    return found


def _ways_behind(emitted: Array, skips: Array, ends: Array) -> Array:
    """The same from each state at each step to the end, without what is emitted there."""
    found = np.empty(emitted.shape)
    ways = np.where(ends, 0.0, -np.inf)
    found[:, -1] = ways
    for step in range(emitted.shape[1] - 1, 0, -1):
        ways = ways + emitted[:, step]
        more = ways.copy()
        more[:, :-1] = np.logaddexp(more[:, :-1], ways[:, 1:])
        more[:, :-2] = np.logaddexp(more[:, :-2], np.where(skips[:, 2:], ways[:, 2:], -np.inf))
        ways = found[:, step - 1] = more
    return found
