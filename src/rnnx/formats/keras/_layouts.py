"""Arrays of weights as other generations of Keras, and CuDNN, lay them out, in the layout of today."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers import Conv1D, Conv2D, Conv2DTranspose
from rnnx.layers.layer import Layer
from rnnx.layers.rnn.conv_lstm import ConvLSTM
from rnnx.layers.rnn.gru import GRUWeights
from rnnx.layers.rnn.lstm import LSTMWeights
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.saving import FormatError

KERAS1_KERNELS = ((2, 3, 1, 0), (0, 1, 3, 2), (2, 3, 0, 1))  # axes of those of images
KERAS1_GATES = {"LSTM": "icfo", "GRU": "zrh"}  # one W, U, b after the other; Keras 2: i f c o


def converted(layer: Layer, arrays: list[Array], path: Any, backend: str | None) -> list[Array]:
    """The arrays of a layer as Keras has them today.

    Keras 1 has a W, U and b for each gate; CuDNN has transposed blocks and two biases; convolutions of Keras 1 have a
    kernel (steps, 1, features, filters), or the filters first, and those of Theano run against time.
    """
    if isinstance(layer, RecurrentWeights):
        gates = gates_of(layer)
        if gates and len(arrays) == 3 * len(gates):
            arrays = _from_keras1(arrays, gates, path, layer)
        if len(arrays) == 3 and is_cudnn(layer, arrays):
            arrays = _from_cudnn(arrays, layer.gates)
    if isinstance(layer, Conv1D) and arrays:
        kernel, *rest = arrays
        if kernel.ndim == 4 and kernel.shape[-1] == 1 and kernel.shape[1] != 1:
            kernel = kernel.transpose(2, 3, 1, 0)  # (filters, features, steps, 1)
        if kernel.ndim == 4 and kernel.shape[1] == 1:
            kernel = kernel[:, 0]
        arrays = [kernel[::-1] if backend == "theano" else kernel, *rest]
    if isinstance(layer, ConvLSTM) and backend == "theano" and len(arrays) >= 2:
        places = (slice(None, None, -1),) * layer.rank
        arrays = [arrays[0][places], arrays[1][places], *arrays[2:]]
    if isinstance(layer, (Conv2D, Conv2DTranspose)) and arrays and arrays[0].ndim == 4:
        kernel, *rest = arrays
        if kernel.shape != (wanted := layer._weights[0].shape):  # of Keras 1, features first or a way back
            turned = (kernel.transpose(order) for order in KERAS1_KERNELS)
            kernel = next((found for found in turned if found.shape == wanted), kernel)
        arrays = [kernel[::-1, ::-1] if backend == "theano" else kernel, *rest]
    return arrays


def _from_keras1(arrays: list[Array], gates: str, path: Any, layer: Any) -> list[Array]:
    by_gate = {gate: arrays[3 * k : 3 * k + 3] for k, gate in enumerate(gates)}
    order = "ifco" if gates == "icfo" else gates
    try:
        return [np.concatenate([by_gate[gate][part] for gate in order], axis=-1) for part in range(3)]
    except ValueError as error:
        raise FormatError(f"{path}: the arrays of {layer.name!r} do not fit together: {error}") from error


def is_cudnn(layer: RecurrentWeights, arrays: list[Array]) -> bool:
    """Two biases in one row."""
    return arrays[2].shape == (2 * layer.gates * layer.units,) and layer.gates > 1


def _from_cudnn(arrays: list[Array], gates: int) -> list[Array]:
    kernel, recurrent, bias = arrays
    if kernel.ndim != 2 or recurrent.ndim != 2 or kernel.shape[1] % gates or recurrent.shape[1] % gates:
        return arrays
    blocks = [k.ravel().reshape(k.shape[::-1]).T for k in np.split(kernel, gates, axis=1)]
    turned = [k.T for k in np.split(recurrent, gates, axis=1)]
    halves = bias.reshape(2, -1)
    return [np.hstack(blocks), np.hstack(turned), halves.sum(axis=0) if gates == 4 else halves]


def gates_of(leaf: Any) -> str:
    """The gates of a recurrent layer, a letter for each, in the order of Keras 1; none of another layer."""
    if isinstance(leaf, LSTMWeights):
        return KERAS1_GATES["LSTM"]
    return KERAS1_GATES["GRU"] if isinstance(leaf, GRUWeights) else ""
