"""Quantization of the layers of a model, in place."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnnx._kernels import LARGEST
from rnnx._typing import Array
from rnnx.layers.layer import QUANTIZATION_MODES, Layer
from rnnx.layers.weight import changing
from rnnx.quantization.calibration import Moments, flat_outputs, gaps, observe, outputs_on, round_in_order
from rnnx.quantization.rounding import round_weights, scales_of

LADDER = ("int8", "int8x16", "int16")  # modes from the fastest to the closest, for layers within a tolerance


def quantizable(layer: Layer) -> Iterator[Layer]:
    """Layers in a layer or model whose products can run on narrow weights: recurrent ones, their cells and Dense."""
    if layer.quantized_weights is not None:
        yield layer
    for part in layer.sublayers:
        yield from quantizable(part)


def _calibrated(kernel: Array, mode: str, moments: Moments) -> Array:
    """As `round_weights`, with an eye on the inputs."""
    if mode == "bf16":
        nearest = round_in_order(kernel, moments, lambda row: round_weights(row.astype(np.float32), mode))
        return nearest.astype(np.float32)
    scale, limit = scales_of(kernel, mode), LARGEST[mode]
    largest = np.arange(len(kernel))[:, None] == np.abs(kernel).argmax(axis=0)  # from these the scales are read again
    whole = round_in_order(kernel / scale, moments, lambda row: np.clip(np.rint(row), -limit, limit), largest)
    return whole.astype(np.float32) * scale


def _rounded(found: list[Layer], moments: list[list[Moments]] | None, mode: str) -> list[list[Array]]:
    """The kernels of all parts as narrow weights stand for them."""
    kernels = [[weight.array for weight in part.quantized_weights or []] for part in found]
    if moments is None:
        return [[round_weights(kernel, mode) for kernel in own] for own in kernels]
    return [
        [_calibrated(kernel, mode, seen) for kernel, seen in zip(own, all_seen, strict=True)]
        for own, all_seen in zip(kernels, moments, strict=True)
    ]


def _assign(part: Layer, values: Sequence[Array], mode: str | None) -> None:
    part.quantization_mode = mode
    for weight, value in zip(part.quantized_weights or [], values, strict=True):
        weight.assign(value)


def _within(
    tolerance: float, layer: Layer, found: list[Layer], moments: list[list[Moments]], ladder: Sequence[str], data: Any
) -> list[tuple[list[Array], str] | None]:
    """Narrow kernels and their modes for all parts with which no output moves too far: of the ladder the first mode for
    all if that will do, else for each part the first that will, from the part that moves outputs least on; None for a
    part that none is for."""
    twin, parts = copy.deepcopy((layer, found))
    wide = [([weight.array.copy() for weight in part.quantized_weights or []], None) for part in parts]
    exact = flat_outputs(outputs_on(twin, data))

    def movement(forms: list[tuple[list[Array], str] | None]) -> float:
        for part, form, own in zip(parts, forms, wide, strict=True):
            _assign(part, *(form or own))
        return max(float(gap.max(initial=0)) for gap in gaps(exact, flat_outputs(outputs_on(twin, data))))

    chosen: list[tuple[list[Array], str] | None] = [None] * len(parts)
    for mode in ladder:
        narrow = [(kernels, mode) for kernels in _rounded(found, moments, mode)]
        everywhere = [own or new for own, new in zip(chosen, narrow, strict=True)]
        if movement([*everywhere]) <= tolerance:
            return [*everywhere]
        rest = [k for k, own in enumerate(chosen) if own is None]
        alone = {k: movement([new if j == k else None for j, new in enumerate(narrow)]) for k in rest}
        for k in sorted(rest, key=alone.__getitem__):
            more = [narrow[k] if j == k else own for j, own in enumerate(chosen)]
            if movement(more) <= tolerance:
                chosen = more
    if not any(chosen):
        least = min(alone, key=alone.__getitem__)
        raise ValueError(
            f"quantize: no layer of {layer.name} stays within tolerance={tolerance:g}; "
            f"{parts[least].name} alone moves an output by {alone[least]:.2g}"
        )
    return chosen


def quantize(layer: Layer, mode: str, calibration_data: Any = None, tolerance: float | None = None) -> None:
    """See `Layer.quantize`."""
    if mode not in QUANTIZATION_MODES:
        raise ValueError(f"quantize: `mode` must be one of {', '.join(map(repr, QUANTIZATION_MODES))}, got {mode!r}")
    if tolerance is not None and (calibration_data is None or not tolerance > 0):
        raise ValueError(f"quantize: `tolerance` must be positive and needs `calibration_data`, got {tolerance!r}")
    found = list({id(part): part for part in quantizable(layer)}.values())
    if not found:
        raise ValueError(f"quantize: {layer.name} has no recurrent or Dense layer")
    for part in found:
        if not part.built:
            raise ValueError(f"quantize: {part.name} is not built yet; call the model once or give it an input shape")
        if part.dtype != np.float32:
            raise ValueError(f"quantize: {part.name} is {part.dtype}; only float32 layers can be quantized")
        if part.quantization_mode not in (None, mode):
            raise ValueError(f"quantize: {part.name} is quantized to {part.quantization_mode} already")
        for weight in part.quantized_weights or []:
            if not np.isfinite(weight.array).all():
                raise ValueError(f"quantize: {part.name} has weights in {weight.name!r} that are not finite")
        blocks = getattr(part, "recurrent_blocks", 1)
        if calibration_data is not None and blocks > 1:
            raise ValueError(
                f"quantize: {part.name} has recurrent_blocks={blocks}; `calibration_data` is for whole kernels, "
                "leave it out"
            )
    moments = None if calibration_data is None else observe(layer, calibration_data, found)
    forms: Sequence[tuple[list[Array], str] | None]
    if tolerance is None or moments is None:
        forms = [(kernels, mode) for kernels in _rounded(found, moments, mode)]
    else:
        ladder = LADDER[LADDER.index(mode) :] if mode in LADDER else (mode,)
        forms = _within(tolerance, layer, found, moments, ladder, calibration_data)
    with changing([weight for part in found for weight in part.quantized_weights or []]):
        for part, form in zip(found, forms, strict=True):
            if form is not None:
                _assign(part, *form)
