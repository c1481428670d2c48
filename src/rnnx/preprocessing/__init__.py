"""Words of Keras 2 for sequences and texts as numbers; `rnnx.layers` and `rnnx.utils` have the newer ones."""

from __future__ import annotations

from rnnx.preprocessing import sequence, text, timeseries
from rnnx.utils import text_dataset_from_directory, timeseries_dataset_from_array

__all__ = ["sequence", "text", "text_dataset_from_directory", "timeseries", "timeseries_dataset_from_array"]
