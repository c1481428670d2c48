"""`timeseries_dataset_from_array` where Keras 2 had it."""

from __future__ import annotations

from rnnx.utils.series import timeseries_dataset_from_array

__all__ = ["timeseries_dataset_from_array"]
