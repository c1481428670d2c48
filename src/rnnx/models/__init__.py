"""Models, under Keras' names."""

from __future__ import annotations

from typing import Any

from rnnx.layers.input import Input
from rnnx.models.config import clone_model, model_from_json
from rnnx.models.model import Model
from rnnx.models.sequential import Sequential
from rnnx.saving import load_model


def save_model(model: Any, path: Any, **options: Any) -> None:
    """``model.save(path)``."""
    model.save(path, **options)


__all__ = ["Input", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
