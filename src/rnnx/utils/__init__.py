"""Small helpers, under Keras' names."""

from __future__ import annotations

import importlib
from typing import Any

from rnnx._config import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from rnnx._seeds import set_random_seed, shuffling_generator
from rnnx.layers.names import clear_names
from rnnx.layers.preprocessing import TextVectorization
from rnnx.utils.arrays import normalize, pad_sequences, to_categorical
from rnnx.utils.dataset import PyDataset, Sequence, split_dataset
from rnnx.utils.series import TimeseriesDataset, timeseries_dataset_from_array, timeseries_windows

__all__ = [
    "CustomObjectScope", "HDF5Matrix", "Progbar", "PyDataset", "Sequence", "TextVectorization", "TimeseriesDataset",
    "clear_session", "custom_object_scope", "get_custom_objects", "get_file", "get_registered_name",
    "get_registered_object", "model_to_dot", "normalize", "pad_sequences", "plot_model", "register_keras_serializable",
    "set_random_seed", "shuffling_generator", "split_dataset", "text_dataset_from_directory",
    "timeseries_dataset_from_array", "timeseries_windows", "to_categorical",
]  # fmt: skip

LATER = {  # what a prediction does not need
    "Progbar": "progress",
    "HDF5Matrix": "files",
    "get_file": "files",
    "model_to_dot": "drawing",
    "plot_model": "drawing",
    "text_dataset_from_directory": "files",
}


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(importlib.import_module(f"rnnx.utils.{LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def clear_session(free_memory: bool = True) -> None:
    """Start the automatic layer names again; there is no other state that models share.

    Parameters
    ----------
    free_memory : bool
        Accepted as in Keras; what nobody uses is freed by itself.
    """
    clear_names()
