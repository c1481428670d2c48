"""Weights in 16 or 8 bits for inference: a quarter or a half of the bytes to read at every step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._kernels import LARGEST
from rnnx.layers.base import QUANTIZATION_MODES, Array, Layer
from rnnx.layers.calibration import Moments, observe, outputs_on, round_in_order
from rnnx.layers.weight import changing


def round_weights(kernel: Array, mode: str) -> Array:
    """The values that a quantized kernel stands for.

    Parameters
    ----------
    kernel : float32 array of shape (inputs, outputs)
    mode : {"bf16", "int8", "int16"}
        bfloat16, or integers, from -127 to 127 or from -32258 to 32258, times a scale for each output channel; rounded
        to nearest, ties to even.

    Returns
    -------
    float32 array of shape (inputs, outputs)

    Examples
    --------
    >>> import numpy as np
    >>> round_weights(np.array([[1.27, 0.5], [0.014, -1.0]], np.float32), "int8").round(3)
    array([[ 1.27 ,  0.504],
           [ 0.01 , -1.   ]], dtype=float32)
    """
    if mode == "bf16":
        bits = np.ascontiguousarray(kernel).view(np.uint32)
        nearest: Array = ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
        return nearest
    scale = _scales(kernel, mode)
    whole: Array = np.rint(kernel / scale) * scale
    return whole


def _scales(kernel: Array, mode: str) -> Array:
    """What makes the largest weight of each column the largest integer."""
    scale: Array = np.abs(kernel).max(axis=0, initial=0) / np.float32(LARGEST[mode])
    scale[scale == 0] = 1
    return scale


def narrow_form(kernel: Array, mode: str) -> tuple[Array, Array | None] | None:
    """The numbers of 16 or 8 bits that a quantized kernel is made of.

    Parameters
    ----------
    kernel : float32 array of shape (inputs, outputs)
    mode : {"bf16", "int8", "int16"}

    Returns
    -------
    numbers : uint16 array (the bits of bfloat16), int8 or int16 array of the kernel's shape
    scales : float32 array of shape (outputs,), or None for bfloat16
        `wide_form` makes the same kernel of them, bit for bit.

    None if it is not made of such numbers: its values were changed after it was quantized.
    """
    if mode == "bf16":
        bits = np.ascontiguousarray(kernel).view(np.uint32)
        return None if (bits & 0xFFFF).any() else ((bits >> 16).astype(np.uint16), None)
    near = _scales(kernel, mode)
    numbers, found = np.rint(kernel / near), np.zeros(near.shape, bool)
    scales = near.copy()
    for ulps in (0, 1, -1, 2, -2):  # the scale that it was made with is one of these
        scale = (near.view(np.int32) + np.int32(ulps)).view(np.float32)
        fits = (numbers * scale == kernel).all(axis=0) & ~found
        scales[fits] = scale[fits]
        found |= fits
    return (numbers.astype(mode), scales) if found.all() else None


def wide_form(numbers: Array, scales: Array | None) -> Array:
    """The float32 kernel that the two results of `narrow_form` stand for."""
    if scales is None:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    wide: Array = numbers.astype(np.float32) * scales
    return wide


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
    scale, limit = _scales(kernel, mode), LARGEST[mode]
    largest = np.arange(len(kernel))[:, None] == np.abs(kernel).argmax(axis=0)  # from these the scales are read again
    whole = round_in_order(kernel / scale, moments, lambda row: np.clip(np.rint(row), -limit, limit), largest)
    return whole.astype(np.float32) * scale


def _rounded(found: list[Layer], moments: list[list[Moments]] | None, mode: str) -> list[list[Array]]:
    """The kernels of all parts as narrow weights stand for them."""
    kernels = [[weight.value for weight in part.quantized_weights or []] for part in found]
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
    wide = [([weight.value.copy() for weight in part.quantized_weights or []], None) for part in parts]
    exact = _flat(outputs_on(twin, data))

    def movement(forms: list[tuple[list[Array], str] | None]) -> float:
        for part, form, own in zip(parts, forms, wide, strict=True):
            _assign(part, *(form or own))
        return max(float(gap.max(initial=0)) for gap in _gaps(exact, _flat(outputs_on(twin, data))))

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
            if not np.isfinite(weight.value).all():
                raise ValueError(f"quantize: {part.name} has weights in {weight.name!r} that are not finite")
    moments = None if calibration_data is None else observe(layer, calibration_data, found)
    forms: Sequence[tuple[list[Array], str] | None]
    if tolerance is None or moments is None:
        forms = [(kernels, mode) for kernels in _rounded(found, moments, mode)]
    else:
        ladder = ("int8", "int16") if mode == "int8" else (mode,)
        forms = _within(tolerance, layer, found, moments, ladder, calibration_data)
    with changing([weight for part in found for weight in part.quantized_weights or []]):
        for part, form in zip(found, forms, strict=True):
            if form is not None:
                _assign(part, *form)


@dataclass(frozen=True)
class QuantizationReport:
    """How far the outputs of a model move when its weights are quantized.

    Attributes
    ----------
    mode : str
    largest, mean : float
        Largest and mean absolute difference of an output.
    relative : float
        Root mean square of the difference over that of the outputs.
    agreement : float or None
        Share of outputs with the same largest entry; None for outputs of width 1.
    bytes_before, bytes_after : int
        Of the weights that are read at every step.
    """

    mode: str
    largest: float
    mean: float
    relative: float
    agreement: float | None
    bytes_before: int
    bytes_after: int

    def __str__(self) -> str:
        agree = "" if self.agreement is None else f", same largest entry in {self.agreement:.2%}"
        return (
            f"{self.mode}: outputs move by at most {self.largest:.2g} (mean {self.mean:.2g}, "
            f"relative {self.relative:.2g}){agree}; weights {self.bytes_before:,} -> {self.bytes_after:,} bytes"
        )


def quantization_report(
    model: Any,
    x: Any,
    modes: Sequence[str] = QUANTIZATION_MODES,
    calibration_data: Any = None,
    tolerance: float | None = None,
) -> list[QuantizationReport]:
    """Compare a model with its quantized forms on given data; the model stays as it is.

    Parameters
    ----------
    model : Model
        Built, in float32, not quantized.
    x : array, or list of arrays of different lengths
        As for ``model.predict``.
    modes : sequence of {"bf16", "int8", "int16"}
    calibration_data, tolerance : optional
        As for ``model.quantize``; other data than ``x``, or the report is too kind.

    Returns
    -------
    list of QuantizationReport
        One for each mode.

    Raises
    ------
    ValueError
        If the model cannot be quantized.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(16), rnnx.layers.Dense(2)])
    >>> report = rnnx.layers.quantization_report(model, np.ones((4, 9, 3)), ["int8"])[0]
    >>> report.largest < 0.05, report.bytes_after < report.bytes_before / 2
    (True, True)
    """
    return [report for _, report in quantized_copies(model, x, modes, calibration_data, tolerance)]


def quantized_copies(
    model: Any, x: Any, modes: Sequence[str], calibration_data: Any, tolerance: float | None
) -> Iterator[tuple[Any, QuantizationReport]]:
    """The quantized forms of a model, one for each mode, with the reports of `quantization_report`."""
    if any(part.quantization_mode for part in quantizable(model)):
        raise ValueError(f"quantization_report: {model.name} is quantized already")
    exact = _flat(model.predict(x, verbose=0))
    size = float(np.sqrt(np.mean(np.concatenate([a.ravel() for a in exact]).astype(np.float64) ** 2)))
    for mode in modes:
        narrow = copy.deepcopy(model)
        narrow.quantize(mode, calibration_data, tolerance)
        outputs = _flat(narrow.predict(x, verbose=0))
        gaps = np.concatenate([gap.ravel() for gap in _gaps(exact, outputs)])
        wide = [(a, b) for a, b in zip(exact, outputs, strict=True) if a.shape[-1] > 1]
        same = [a.argmax(-1) == b.argmax(-1) for a, b in wide]
        yield (
            narrow,
            QuantizationReport(
                mode,
                float(gaps.max(initial=0)),
                float(gaps.mean()),
                float(np.sqrt(np.mean(gaps.astype(np.float64) ** 2))) / (size or 1.0),
                float(np.concatenate([s.ravel() for s in same]).mean()) if same else None,
                _size(model),
                _size(narrow),
            ),
        )


def _size(model: Any) -> int:
    """Bytes of the kernels that can be quantized."""
    of_weight = {None: 4, "bf16": 2, "int8": 1, "int16": 2}
    scales = {"int8": 1, "int16": 2}  # of a channel, one for each plane
    return sum(
        outputs * (inputs * of_weight[part.quantization_mode] + 4 * scales.get(part.quantization_mode or "", 0))
        for part in quantizable(model)
        for inputs, outputs in (weight.shape for weight in part.quantized_weights or [])
    )


def _gaps(exact: list[Array], outputs: list[Array]) -> list[Array]:
    return [np.abs(a - b) for a, b in zip(exact, outputs, strict=True)]


def _flat(outputs: Any) -> list[Array]:
    """Arrays of a prediction: of one output or several, of equal or of different lengths."""
    if isinstance(outputs, (list, tuple)):
        return [array for part in outputs for array in _flat(part)]
    return [np.asarray(outputs)]
