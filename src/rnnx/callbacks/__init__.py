"""Callbacks of ``fit``, under Keras' names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rnnx.callbacks.callback import Callback, CallbackList, History
from rnnx.callbacks.progress import Progress

if TYPE_CHECKING:
    from rnnx.callbacks.monitors import (
        CSVLogger,
        EarlyStopping,
        LambdaCallback,
        LearningRateScheduler,
        ModelCheckpoint,
        ReduceLROnPlateau,
        TerminateOnNaN,
    )

__all__ = [
    "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler",
    "ModelCheckpoint", "Progress", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The callbacks that watch and write, loaded when one of them is first used: a service never does."""
    if name in __all__:
        return getattr(importlib.import_module("rnnx.callbacks.monitors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
