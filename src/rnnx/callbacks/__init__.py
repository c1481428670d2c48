"""Callbacks of ``fit``, under Keras' names."""

from rnnx.callbacks.callback import Callback, CallbackList, History
from rnnx.callbacks.monitors import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from rnnx.callbacks.progress import Progress

__all__ = [
    "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler",
    "ModelCheckpoint", "Progress", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip
