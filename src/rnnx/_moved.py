"""Module names of rnnx 0.1.0 that stand in pickles and programs, and where their contents are now."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "rnnx.backpropagation": "rnnx.layers.plan",
    "rnnx.batching": "rnnx.training.batches",
    "rnnx.callbacks_base": "rnnx.callbacks",
    "rnnx.callbacks_progress": "rnnx.callbacks",
    "rnnx.data": "rnnx.training.batches",
    "rnnx.interrupts": "rnnx.training.interrupts",
    "rnnx.layers.arguments": "rnnx.layers.checks",
    "rnnx.layers.base": "rnnx.layers.layer",
    "rnnx.layers.calibration": "rnnx.quantization.calibration",
    "rnnx.layers.cells": "rnnx.layers.rnn",
    "rnnx.layers.core": "rnnx.layers",
    "rnnx.layers.quantization": "rnnx.quantization",
    "rnnx.layers.recurrent": "rnnx.layers.rnn",
    "rnnx.layers.wrappers": "rnnx.layers.rnn",
    "rnnx.models.plan": "rnnx.layers.plan",
    "rnnx.models_config": "rnnx.models.config",
    "rnnx.monte_carlo": "rnnx.training.monte_carlo",
    "rnnx.optimizers_base": "rnnx.optimizers",
    "rnnx.schedules": "rnnx.optimizers.schedules",
    "rnnx.summary": "rnnx.models.summary",
    "rnnx.threadpools": "rnnx.runtime.threadpools",
    "rnnx.training.weights": "rnnx.layers.trained",
}


class _Moved:
    """Makes a module of an old name that has what the new one has: a finder and a loader, without the base classes.

    `importlib.abc` has these, and loads a dozen modules that nothing else here needs.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(fullname, loader) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        target = importlib.import_module(MOVED[module.__name__])
        vars(module)["__getattr__"] = lambda name: getattr(target, name)
        module.__doc__ = f"The contents of `{target.__name__}`, under its old name."


sys.meta_path.append(_Moved())
