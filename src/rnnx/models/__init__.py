"""Models, under Keras' names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnx._config import on_demand
from rnnx.layers.input import Input
from rnnx.models.config import clone_model, model_from_json
from rnnx.models.model import Model
from rnnx.models.predictor import Predictor
from rnnx.models.sequential import Sequential

if TYPE_CHECKING:
    from rnnx.saving import load_model


def __getattr__(name: str) -> Any:
    """Reading files is loaded when it is first used."""
    if name == "load_model":
        return on_demand(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def save_model(model: Any, path: Any = None, overwrite: bool = True, **options: Any) -> None:
    """``model.save(path)``."""
    model.save(path, overwrite, **options)


__all__ = ["Input", "Model", "Predictor", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
