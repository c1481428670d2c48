"""Sequences in the forms in which programs around scikit-learn hold them, as rnnx takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array


def sequences_of(who: str, X: Any, channels_first: bool) -> Array | list[Array] | None:
    """One array (samples, timesteps, features), or a list of arrays (timesteps, features) of different lengths.

    Parameters
    ----------
    who : str
        For errors.
    X : array of three axes, list or object array of arrays of one or two axes, DataFrame
        A DataFrame whose cells are series has a column for each feature; one with two levels of index has the samples
        in the first and the timesteps in the second.
    channels_first : bool
        Whether arrays have the features before the timesteps, as in sktime and aeon.

    Returns
    -------
    array, list of arrays, or None
        None for a table with a row for each sample.

    Raises
    ------
    ValueError
        If a sequence is none, has no step, or has another number of features than the first.
    """
    if hasattr(X, "columns") and hasattr(X, "index"):
        found = _from_frame(X)
        return None if found is None else _same_length(_checked(who, found))
    if isinstance(X, np.ndarray) and X.dtype != object:
        if X.ndim != 3:
            return None
        array = X.swapaxes(1, 2) if channels_first else X
        return _finite(who, _numbers(who, array))
    if isinstance(X, (list, tuple)) or isinstance(X, np.ndarray) and X.ndim == 1:
        if not any(np.ndim(part) == 2 or isinstance(part, np.ndarray) for part in X):
            lengths = {np.size(part) if np.ndim(part) else -1 for part in X}
            if len(lengths) < 2:
                return None
        parts = [np.asarray(part) for part in X]
        if channels_first:
            parts = [part.T if part.ndim == 2 else part for part in parts]
        return _same_length(_checked(who, parts))
    return None


def _from_frame(X: Any) -> list[Array] | None:
    if getattr(X.index, "nlevels", 1) == 2:
        return [part.to_numpy() for _, part in X.groupby(level=0, sort=False)]
    nested = X.shape[0] and X.shape[1] and all(np.ndim(value) == 1 for value in X.iloc[0])
    if not nested:
        return None
    return [np.stack([np.asarray(cell) for cell in row], axis=1) for row in X.itertuples(index=False)]


def _checked(who: str, parts: list[Array]) -> list[Array]:
    found: list[Array] = []
    for number, part in enumerate(parts):
        sequence = part[:, None] if part.ndim == 1 else part
        if sequence.ndim != 2 or not sequence.size:
            raise ValueError(
                f"{who}: sequence {number} must have shape (timesteps,) or (timesteps, features) with at least one of "
                f"each, got {part.shape}"
            )
        if found and sequence.shape[1] != found[0].shape[1]:
            raise ValueError(
                f"{who}: sequence {number} has {sequence.shape[1]} feature(s), the first one {found[0].shape[1]}; all "
                "need the same number"
            )
        found.append(_finite(who, _numbers(who, sequence)))
    if not found:
        raise ValueError(f"{who}: expected at least one sequence, got none")
    return found


def _numbers(who: str, array: Array) -> Array:
    if array.dtype.kind == "c":
        raise ValueError(f"{who}: Complex data not supported, got {array.dtype}")
    return array.astype(np.float32)


def _finite(who: str, array: Array) -> Array:
    if not np.isfinite(array).all():
        raise ValueError(f"{who}: Input X contains NaN or infinity; fill gaps first, or cut the sequences there")
    return array


def _same_length(parts: list[Array]) -> Array | list[Array]:
    return np.stack(parts) if len({len(part) for part in parts}) == 1 else parts
