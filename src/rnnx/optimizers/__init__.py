"""Optimizers, under Keras' names."""

from rnnx._config import serialize
from rnnx.optimizers import schedules
from rnnx.optimizers.moments import Adam, Adamax, AdamW, Lamb, Nadam
from rnnx.optimizers.muon import Muon
from rnnx.optimizers.optimizer import Optimizer
from rnnx.optimizers.rules import (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Ftrl,
    Lion,
    RMSprop,
    get,
)
from rnnx.optimizers.scaled import LossScaleOptimizer
from rnnx.optimizers.schedule_free import ScheduleFreeAdamW

deserialize = get
# Names of Keras before 2.4.
sgd, rmsprop, adagrad, adadelta, adam, adamax, nadam = SGD, RMSprop, Adagrad, Adadelta, Adam, Adamax, Nadam

__all__ = [
    "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "LossScaleOptimizer",
    "Muon", "Nadam", "Optimizer", "RMSprop", "ScheduleFreeAdamW", "deserialize", "get", "schedules", "serialize",
]  # fmt: skip
