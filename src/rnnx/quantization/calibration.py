"""Rounding of weights that looks at the inputs they meet.

Rounding every weight to the nearest narrow number makes the smallest error of the weights, not of the products. Where
inputs are correlated, the error of one weight can be undone by the weights that are rounded after it: with the second
moments ``G = E[x x^T]`` of the inputs, the step of optimal brain surgery (Hassibi & Stork 1993) for a kernel whose rows
are fixed one after the other (GPTQ; Frantar et al. 2023, arXiv:2210.17323).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.functional._validate import check_validity
from rnnx.layers.layer import Layer

DAMPING = 0.01  # of the mean second moment, added to each: inputs that never came must not let weights run away
BLOCK = 128  # rows whose errors reach the rows behind the block in one product


class Moments:
    """Sums of ``x x^T`` over the rows that a kernel has multiplied."""

    def __init__(self, width: int):
        self.sums = np.zeros((width, width))

    def add(self, rows: Array) -> None:
        """Count ``rows`` of shape (n, width) in; rows that are not finite are left out."""
        rows = rows[np.isfinite(rows).all(axis=1)]
        self.sums += product(rows.T, rows)


class RecordingCore:
    """The functional core of a layer, which counts inputs and states on its way."""

    def __init__(self, core: Any, moments: list[Moments]):
        self.core, self.moments = core, moments
        self.pack = core.pack

    def forward(self, params: Any, x: Array, *, return_sequences: bool, **options: Any) -> Any:
        whole = self.core.forward(params, x, return_sequences=True, **options)
        batch, timesteps = x.shape[:2]
        valid = check_validity("quantize", batch, timesteps, options.get("mask"), options.get("lengths"))
        valid = np.ones((batch, timesteps), bool) if valid is None else valid
        self._count(x, whole.outputs, valid, options.get("go_backwards", False))
        return whole if return_sequences else self.core.forward(params, x, return_sequences=False, **options)

    def _count(self, x: Array, outputs: Array, valid: Array, backwards: bool) -> None:
        self.moments[0].add(x[valid])
        self.moments[1].add(outputs[valid[:, ::-1] if backwards else valid])  # each is the state of the step after it


def _record_dense(layer: Any, moments: list[Moments]) -> None:
    forward = layer.forward

    def recording(x: Array, *, mask: Any = None, **call: Any) -> Any:
        rows = x[np.asarray(mask)] if mask is not None and np.shape(mask) == x.shape[:-1] else x
        moments[0].add(rows.reshape(-1, x.shape[-1]))
        return forward(x, mask=mask, **call)

    layer.forward = recording


def outputs_on(layer: Layer, data: Any) -> Any:
    """What a model's ``predict``, or a layer's call, gives for calibration data."""
    return layer.predict(data, verbose=0) if hasattr(layer, "predict") else layer(data)


def gaps(exact: list[Array], outputs: list[Array]) -> list[Array]:
    """Absolute differences of the outputs of two models."""
    return [np.abs(a - b) for a, b in zip(exact, outputs, strict=True)]


def flat_outputs(outputs: Any) -> list[Array]:
    """Arrays of a prediction: of one output or several, of equal or of different lengths."""
    return [np.asarray(part) for part in leaves(outputs)]


def observe(layer: Layer, data: Any, parts: list[Layer]) -> list[list[Moments]]:
    """Run a copy of a model or layer on data.

    Parameters
    ----------
    layer : Layer
    data : array, list of arrays or what else the model's ``predict`` (the layer's call) takes
    parts : list of Layer
        Layers inside, with `quantized_weights`.

    Returns
    -------
    list of lists of Moments
        For each part, for each of its kernels.
    """
    copied: tuple[Layer, list[Any]] = copy.deepcopy((layer, parts))
    twin, copies = copied
    found = []
    for part in copies:
        moments = [Moments(weight.shape[0]) for weight in part.quantized_weights or []]
        if len(moments) == 1:
            _record_dense(part, moments)
        else:
            part.core = RecordingCore(part.core, moments)
        found.append(moments)
    outputs_on(twin, data)
    return found


def round_in_order(kernel: Array, moments: Moments, nearest: Any, fixed: Array | None = None) -> Array:
    """Round the rows of a kernel, each error spread over the rows still to come.

    Parameters
    ----------
    kernel : array of shape (inputs, outputs)
    moments : Moments
        Of the inputs.
    nearest : callable
        Rounds an array of shape (outputs,).
    fixed : bool array of the kernel's shape, optional
        Weights that are rounded as they were, without errors of others.

    Returns
    -------
    float64 array of the kernel's shape
    """
    second = np.diagonal(moments.sums)
    if not second.any():
        return np.stack([nearest(row) for row in kernel.astype(np.float64)])
    order = np.argsort(-second, kind="stable")
    gram = moments.sums[np.ix_(order, order)] + DAMPING * second.mean() * np.eye(len(order))
    upper = np.linalg.cholesky(np.linalg.inv(gram)).T
    rest = kernel[order].astype(np.float64)
    rounded, errors = np.empty_like(rest), np.empty((BLOCK, rest.shape[1]))
    for start in range(0, len(rest), BLOCK):
        stop = min(start + BLOCK, len(rest))
        for k in range(start, stop):
            rounded[k] = nearest(rest[k])
            if fixed is not None:
                rounded[k] = np.where(fixed[order[k]], nearest(kernel[order[k]].astype(np.float64)), rounded[k])
            errors[k - start] = (rest[k] - rounded[k]) / upper[k, k]
            rest[k + 1 : stop] -= np.outer(upper[k, k + 1 : stop], errors[k - start])
        rest[stop:] -= product(upper[start:stop, stop:].T, errors[: stop - start])
    result = np.empty_like(rounded)
    result[order] = rounded
    return result
