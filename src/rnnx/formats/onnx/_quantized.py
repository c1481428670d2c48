"""The operator DynamicQuantizeLSTM of ONNX Runtime: an LSTM whose weights are bytes with scale and zero point.

Constant weights stay the integers that they are, and run on the engine's products of 8 bits; inputs and states are
rounded for each row and step, where ONNX Runtime rounds them with one scale for all rows: the outputs of the two
engines differ by some 1e-2, and those here are mostly closer to the network in floats. Weights that do not fit between
-127 and 127 get two planes of 8 bits; what the engine does not have, and weights that come as inputs, run in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._node import NodeInfo, Operator
from rnnx.formats.onnx._recurrent import Options, Recurrent, outputs_bytes
from rnnx.formats.onnx._sizes import extent, measure
from rnnx.formats.onnx._weights import matrix_to_keras
from rnnx.saving import FormatError

SCALES = (8, 9, 10, 11)  # the inputs with scale and zero point of W, then of R
LARGEST = 127  # whole number of a weight in the engine's products of 8 bits


class QuantizedLSTM:
    """The operator, to be called with its twelve inputs (None for those that are missing).

    Parameters
    ----------
    options : Options
    info : NodeInfo
        Its constant inputs: if all weights are among them, they are packed here, once.
    """

    def __init__(self, options: Options, info: NodeInfo):
        self.options, self.wanted = options, info.outputs
        self.fixed: Recurrent | None = None
        constants = info.constants
        if all(place in constants or not info.has(place) for place in (1, 2, 3, 7, *SCALES)):
            if not {1, 2, *SCALES} <= set(constants):
                raise FormatError("W and R, and their scales and zero points, are needed")
            scales = [constants[k] for k in SCALES]
            self.fixed = self._recurrent(constants[1], constants[2], constants.get(3), constants.get(7), scales)
            _narrow(self.fixed, [(constants[1], scales[0], scales[1]), (constants[2], scales[2], scales[3])])

    def _recurrent(self, w: Array, r: Array, b: Array | None, p: Array | None, scales: list[Any]) -> Recurrent:
        if any(part is None for part in scales):
            raise FormatError("scales and zero points of W and R are needed")
        of_w, of_r = as_floats(w, scales[0], scales[1]), as_floats(r, scales[2], scales[3])
        return Recurrent(self.options, self.wanted, of_w, of_r, b, p)

    def __call__(
        self, x: Array, w: Array, r: Array, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None,
        p: Any = None, *scales: Any,
    ) -> Any:  # fmt: skip
        inner = self._recurrent(w, r, b, p, [*scales, *[None] * 4][:4]) if self.fixed is None else self.fixed
        return inner(x, lengths=lengths, h=h, c=c)


def _narrow(made: Recurrent, weights: list[tuple[Array, Array, Array]]) -> None:
    """Pack the weights of an operator as integers: bytes, scale and zero point of W, then of R."""
    for k, direction in enumerate(made.fixed or ()):
        if direction.cell is not None:
            continue
        fits, pair = True, []
        for values, scale, zero in weights:
            whole = values[k].astype(np.int16) - np.asarray(zero).reshape(len(values), -1)[k].astype(np.int16)
            own = np.asarray(scale, np.float32).reshape(len(values), -1)[k]
            rows = np.broadcast_to(own, whole.shape[-1:])[:, None]
            pair.append(np.ascontiguousarray(matrix_to_keras("LSTM", rows)[0]))
            fits &= bool(np.abs(whole).max(initial=0) <= LARGEST and np.isfinite(own).all() and (own > 0).all())
        params = direction.params
        if fits:
            direction.packed = direction.core.pack(params, "int8", scales=(pair[0], pair[1]))
        elif all(np.isfinite(part).all() for part in (params.kernel, params.recurrent_kernel)):
            direction.packed = direction.core.pack(params, "int16")


def as_floats(values: Array, scale: Array, zero: Array) -> Array:
    """Weights of shape (directions, gates*hidden, inputs) from bytes of shape (directions, inputs, gates*hidden)."""
    if values.ndim != 3 or values.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise FormatError(f"quantized weights must be bytes with three axes, got {values.dtype} {values.shape}")
    factor, shift = (np.asarray(part, np.float32).reshape(len(values), 1, -1) for part in (scale, zero))
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(((values.astype(np.float32) - shift) * factor).swapaxes(1, 2))


# ---- What it takes ---------------------------------------------------------------------------------------------------


def _extents(x: Array, r: Any) -> tuple[int, int, int]:
    """Rows of all directions and steps, one step, and units; zeros for what will be refused."""
    if r is None or x.ndim != 3 or r.ndim != 3:
        return 0, 0, 0
    return extent(x.shape[:2]) * len(r), 1, r.shape[1]


def _result(info: NodeInfo, x: Array, w: Any = None, r: Any = None, *rest: Any) -> int:
    return outputs_bytes(*_extents(x, r), x.itemsize)


def _workspace(info: NodeInfo, x: Array, w: Any = None, r: Any = None, *rest: Any) -> int:
    """Weights that are no constants as floats, in the order of the engine; the outputs in NumPy, if it must be."""
    weights = 0 if {1, 2} <= set(info.constants) else 40 * (measure(w) + measure(r))
    return weights + 2 * measure(x) + 4 * _result(info, x, w, r)


def _work(info: NodeInfo, x: Array, w: Any = None, r: Any = None, *rest: Any) -> int:
    rows, _, units = _extents(x, r)
    return rows * (4 * units * ((x.shape[2] if x.ndim == 3 else 0) + units) // 10 + 1_000)


def quantized(info: NodeInfo) -> QuantizedLSTM:
    """A node as a function."""
    return QuantizedLSTM(Options.read("LSTM", info.attributes), info)


NAME = "com.microsoft.DynamicQuantizeLSTM"
OPERATORS = (Operator(NAME, quantized, _result, _workspace, _work, several=True, quiet=True),)
