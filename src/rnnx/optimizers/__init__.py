"""Optimizers, under Keras' names."""

from rnnx._config import serialize
from rnnx.optimizers import schedules
from rnnx.optimizers.optimizer import Optimizer
from rnnx.optimizers.rules import SGD, Adagrad, Adam, AdamW, Nadam, RMSprop, get

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "Nadam", "Optimizer", "RMSprop", "get", "schedules", "serialize",
]  # fmt: skip
