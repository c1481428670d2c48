"""rnnx: recurrent networks on a CPU, in Keras' words, with dropout that means one thing."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import rnnx._moved  # noqa: F401

__version__ = "0.1.0"

_MODULES = {
    "activations", "backend", "callbacks", "config", "constraints", "data", "datasets", "dropout", "formats",
    "functional", "initializers", "layers", "losses", "metrics", "models", "ops", "optimizers", "preprocessing",
    "random", "reference", "regularizers", "saving", "utils", "wrappers",
}  # fmt: skip
_NAMES = {
    "DeepEnsemble": "training.many",
    "Initializer": "initializers",
    "Input": "layers",
    "InputSpec": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Optimizer": "optimizers",
    "Predictor": "models",
    "Regularizer": "regularizers",
    "Sequential": "models",
    "StreamPool": "streaming",
    "cpu_info": "runtime",
    "fit_many": "training.many",
    "get_num_threads": "runtime",
    "load_fits": "training.fits",
    "load_model": "models",
    "set_num_threads": "runtime",
    "stream": "streaming",
    "threads": "runtime",
}

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name: str) -> Any:
    """Modules and names, loaded when they are first used."""
    if name in _NAMES:
        value = getattr(importlib.import_module(f"rnnx.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"rnnx.{name}")
    raise AttributeError(f"module 'rnnx' has no attribute {name!r}{_where(name)}")


def _where(name: str) -> str:
    """The end of an error about a name that is not here: where it is."""
    if name.startswith("_"):
        return ""
    from importlib.util import find_spec

    if find_spec(f"rnnx.{name}") is not None:  # a door, which only its own import opens
        return f"; write `import rnnx.{name}` first"
    for module in ("layers", "losses", "metrics", "optimizers", "callbacks", "utils"):
        if name in importlib.import_module(f"rnnx.{module}").__all__:
            return f"; it is rnnx.{module}.{name}"
    return ""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "threadpoolctl" in sys.modules:
    importlib.import_module("rnnx.runtime.threadpools")
