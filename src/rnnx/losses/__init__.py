"""Losses with their gradients, under Keras' names and with Keras' reductions."""

from rnnx._config import serialize
from rnnx.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from rnnx.losses.loss import Loss, blank
from rnnx.losses.names import get
from rnnx.losses.probabilistic import KLDivergence, Poisson
from rnnx.losses.regression import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError",
    "MeanSquaredError", "Poisson", "SparseCategoricalCrossentropy", "blank", "get", "serialize",
]  # fmt: skip
