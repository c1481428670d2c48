"""``KerasClassifier`` and ``KerasRegressor``, where Keras 2 had them."""

from __future__ import annotations

import importlib
from typing import Any

NAMES = ["KerasClassifier", "KerasRegressor"]


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(importlib.import_module("rnnx.sklearn"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
