"""Models as estimators of scikit-learn, under Keras' names; see `rnnx.sklearn` for estimators of sequences."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("rnnx.sklearn"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
