"""Small models written once against the words that Keras and rnnx share.

Every function takes the top module (``keras`` or ``rnnx``) and a dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ROWS, TIMESTEPS, FEATURES, WORDS, CLASSES = 5, 6, 4, 9, 3


def text_classifier(api: Any, dtype: str) -> Any:
    """Words with padding, both directions, a last state, probabilities; a regularizer of each kind."""
    layers = api.layers
    return api.Sequential(
        [
            api.Input(shape=(TIMESTEPS,), dtype="int32"),
            layers.Embedding(WORDS, 4, mask_zero=True, dtype=dtype),
            layers.Bidirectional(
                layers.GRU(3, return_sequences=True, recurrent_regularizer=api.regularizers.L2(0.01), dtype=dtype),
                dtype=dtype,
            ),
            layers.LSTM(4, kernel_regularizer=api.regularizers.L1(0.01), dtype=dtype),
            layers.Dense(CLASSES, activation="softmax", dtype=dtype),
        ]
    )


def tagger(api: Any, dtype: str) -> Any:
    """One output per step, a loss that honours the mask, a state handed on to a second layer, a skip.

    A layer of Keras 3 that is called with an initial state is not told of the time mask of its input (that of Keras 2
    and of rnnx is), so rows are padded on the right only, and what is predicted for padding is left out.
    """
    layers = api.layers
    x = api.Input(shape=(TIMESTEPS, FEATURES), dtype=dtype)
    masked = layers.Masking(mask_value=0.0, dtype=dtype)(x)
    first, h, c = layers.LSTM(3, return_sequences=True, return_state=True, dtype=dtype)(masked)
    second = layers.LSTM(3, return_sequences=True, dtype=dtype)(first, initial_state=[h, c])
    joined = layers.Concatenate(dtype=dtype)([second, first])
    y = layers.TimeDistributed(layers.Dense(2, dtype=dtype), dtype=dtype)(joined)
    return api.Model(inputs=x, outputs=y)


def counter(api: Any, dtype: str) -> Any:
    """No masks: convolution, pooling, normalisation, simple recurrence, a single logit."""
    layers = api.layers
    return api.Sequential(
        [
            api.Input(shape=(TIMESTEPS, FEATURES), dtype=dtype),
            layers.Conv1D(5, 3, padding="same", activation="relu", dtype=dtype),
            layers.MaxPooling1D(2, dtype=dtype),
            layers.LayerNormalization(dtype=dtype),
            layers.SimpleRNN(4, return_sequences=True, dtype=dtype),
            layers.GRU(3, reset_after=False, go_backwards=True, dtype=dtype),
            layers.Dense(1, activation="sigmoid", dtype=dtype),
        ]
    )


MODELS: dict[str, tuple[Callable[[Any, str], Any], str, str]] = {
    "text_classifier": (text_classifier, "sparse_categorical_crossentropy", "sparse_categorical_accuracy"),
    "tagger": (tagger, "mean_squared_error", "mean_absolute_error"),
    "counter": (counter, "binary_crossentropy", "binary_accuracy"),
}


def batch(name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs (with padding where the model masks) and targets for one of `MODELS`."""
    if name == "text_classifier":
        ids = rng.integers(1, WORDS, size=(ROWS, TIMESTEPS)).astype(np.int32)
        ids[0, 4:], ids[1, :2], ids[2, 2] = 0, 0, 0
        return ids, rng.integers(0, CLASSES, size=ROWS).astype(np.int32)
    x = rng.normal(size=(ROWS, TIMESTEPS, FEATURES)).astype(np.float32)
    if name == "tagger":
        x[0, 3:], x[1, 5:], x[2, 1:] = 0, 0, 0
        return x, rng.normal(size=(ROWS, TIMESTEPS, 2)).astype(np.float32)
    return x, rng.integers(0, 2, size=(ROWS, 1)).astype(np.float32)
