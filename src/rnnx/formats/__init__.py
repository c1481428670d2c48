"""Model files of rnnx and of other frameworks; each module is loaded when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = ("keras", "onnx", "safetensors", "torch")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"rnnx.formats.{name}")
    raise AttributeError(f"module 'rnnx.formats' has no attribute {name!r}")
