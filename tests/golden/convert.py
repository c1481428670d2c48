"""Weights of one recurrent layer between the layouts of PyTorch and Keras, with numpy alone.

PyTorch stores ``weight_ih (gates*units, features)``, ``weight_hh``, ``bias_ih`` and ``bias_hh``; Keras the
transposed ``kernel`` and ``recurrent_kernel`` and one bias. The gates of an LSTM have the same order in both;
those of a GRU are ``r z n`` in PyTorch and ``z r h`` in Keras.
"""

from __future__ import annotations

import numpy as np


def reorder(name: str, array: np.ndarray, axis: int) -> np.ndarray:
    """Swap the first two gates of a GRU along an axis; the swap undoes itself."""
    if name != "GRU":
        return array
    first, second, third = np.split(array, 3, axis=axis)
    return np.concatenate([second, first, third], axis=axis)


def to_keras(name: str, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Turn ``[weight_ih, weight_hh, bias_ih, bias_hh]`` (the biases may be missing) into Keras' weights."""
    kernels = [reorder(name, part, 0).T for part in parts[:2]]
    biases = [reorder(name, part, 0) for part in parts[2:]]
    if not biases:
        return kernels
    return [*kernels, np.stack(biases) if name == "GRU" else biases[0] + biases[1]]


def to_torch(name: str, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Turn ``[kernel, recurrent_kernel, bias]`` of Keras into PyTorch's four arrays."""
    kernel, recurrent, bias = weights
    rows = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return [
        reorder(name, kernel, 1).T,
        reorder(name, recurrent, 1).T,
        *(reorder(name, row, 0) for row in rows),
    ]


def gradients_to_keras(name: str, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Turn gradients in PyTorch's layout into those of Keras' weights.

    The two biases of an LSTM or a plain RNN are added, so each has the gradient of their sum.
    """
    kernels = [reorder(name, part, 0).T for part in parts[:2]]
    biases = [reorder(name, part, 0) for part in parts[2:]]
    if not biases:
        return kernels
    return [*kernels, np.stack(biases) if name == "GRU" else biases[0]]
