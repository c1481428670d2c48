"""Weights of one direction of a recurrent operator: ONNX' layout and rnnx', each made from the other.

============================  ====================================================================================
ONNX                          rnnx
============================  ====================================================================================
W (gates*units, features)     ``kernel`` (features, gates*units)
R (gates*units, units)        ``recurrent_kernel`` (units, gates*units)
B (2*gates*units,)            ``bias`` (gates*units,), the sum of both halves; for a GRU that resets after the product
                              (2, gates*units), the halves themselves
gates of an LSTM: i o f c     i f c o; those of a GRU are z r h in both
============================  ====================================================================================
"""

from __future__ import annotations

import numpy as np

from rnnx._typing import Array

ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}  # where ONNX has the gates in rnnx' order


def _rows_to_keras(kind: str, rows: Array) -> Array:
    order = ORDERS[kind]
    return rows if order == tuple(range(len(order))) else np.concatenate([np.split(rows, len(order))[k] for k in order])


def _rows_to_onnx(kind: str, rows: Array) -> Array:
    order = ORDERS[kind]
    if order == tuple(range(len(order))):
        return rows
    blocks = np.split(rows, len(order))
    return np.concatenate([blocks[order.index(k)] for k in range(len(order))])


def matrix_to_keras(kind: str, rows: Array) -> Array:
    """W or R as a kernel."""
    return np.ascontiguousarray(_rows_to_keras(kind, rows).T)


def matrix_to_onnx(kind: str, kernel: Array) -> Array:
    """A kernel as W or R; the inverse of `matrix_to_keras`."""
    return _rows_to_onnx(kind, kernel.T)


def bias_to_keras(kind: str, both: Array, after: bool) -> Array:
    """B as a bias, which is a pair for a GRU that resets after the product (``after``)."""
    of_input, of_state = [_rows_to_keras(kind, half) for half in np.split(both, 2)]
    return np.stack([of_input, of_state]) if after else of_input + of_state


def bias_to_onnx(kind: str, bias: Array) -> Array:
    """A bias as B, whose second half is zeros unless there are two; the inverse of `bias_to_keras`."""
    halves = bias if bias.ndim == 2 else [bias, np.zeros_like(bias)]
    return np.concatenate([_rows_to_onnx(kind, half) for half in halves])


def to_keras(kind: str, w: Array, r: Array, b: Array | None, after: bool) -> list[Array]:
    """Kernel, recurrent kernel and, if there is one, bias: the weights of a layer or cell in their order.

    Parameters
    ----------
    kind : {"LSTM", "GRU", "RNN"}
    w, r, b : arrays
        Of one direction.
    after : bool
        Whether it is a GRU that resets after the product (``linear_before_reset``).
    """
    found = [matrix_to_keras(kind, w), matrix_to_keras(kind, r)]
    return found if b is None else [*found, bias_to_keras(kind, b, after)]
