"""Callbacks of ``fit``, under Keras' names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rnnx.callbacks.callback import Callback, History
from rnnx.callbacks.callback_list import CallbackList
from rnnx.callbacks.progress import ProgbarLogger, Progress

if TYPE_CHECKING:
    from rnnx.callbacks.averages import SwapEMAWeights
    from rnnx.callbacks.backup import BackupAndRestore
    from rnnx.callbacks.monitors import (
        CSVLogger,
        EarlyStopping,
        LambdaCallback,
        LearningRateScheduler,
        ModelCheckpoint,
        ReduceLROnPlateau,
        TerminateOnNaN,
    )
    from rnnx.callbacks.remote import RemoteMonitor
    from rnnx.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "Progress", "ReduceLROnPlateau", "RemoteMonitor",
    "SwapEMAWeights", "TensorBoard", "TerminateOnNaN",
]  # fmt: skip
APART = {
    "BackupAndRestore": "backup",
    "RemoteMonitor": "remote",
    "SwapEMAWeights": "averages",
    "TensorBoard": "tensorboard",
}


def __getattr__(name: str) -> Any:
    """The callbacks that watch and write, loaded when one of them is first used: a service never does."""
    if name in __all__:
        return getattr(importlib.import_module(f"rnnx.callbacks.{APART.get(name, 'monitors')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
