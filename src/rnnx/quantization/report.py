"""How far quantization moves the outputs of a model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx.layers.layer import QUANTIZATION_MODES
from rnnx.quantization.apply import quantizable
from rnnx.quantization.calibration import flat_outputs, gaps


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
    modes : sequence of {"bf16", "int8", "int8x16", "int16"}
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
    exact = flat_outputs(model.predict(x, verbose=0))
    size = float(np.sqrt(np.mean(np.concatenate([a.ravel() for a in exact]).astype(np.float64) ** 2)))
    for mode in modes:
        narrow = copy.deepcopy(model)
        narrow.quantize(mode, calibration_data, tolerance)
        outputs = flat_outputs(narrow.predict(x, verbose=0))
        moved = np.concatenate([gap.ravel() for gap in gaps(exact, outputs)])
        wide = [(a, b) for a, b in zip(exact, outputs, strict=True) if a.shape[-1] > 1]
        same = [a.argmax(-1) == b.argmax(-1) for a, b in wide]
        yield (
            narrow,
            QuantizationReport(
                mode,
                float(moved.max(initial=0)),
                float(moved.mean()),
                float(np.sqrt(np.mean(moved.astype(np.float64) ** 2))) / (size or 1.0),
                float(np.concatenate([s.ravel() for s in same]).mean()) if same else None,
                _size(model),
                _size(narrow),
            ),
        )


def _size(model: Any) -> int:
    """Bytes of the kernels that can be quantized."""
    of_weight = {None: 4, "bf16": 2, "int8": 1, "int8x16": 1, "int16": 2}
    scales = {"int8": 1, "int8x16": 1, "int16": 2}  # of a channel, one for each plane
    return sum(
        outputs * (inputs * of_weight[part.quantization_mode] + 4 * scales.get(part.quantization_mode or "", 0))
        for part in quantizable(model)
        for inputs, outputs in (weight.shape for weight in part.quantized_weights or [])
    )
