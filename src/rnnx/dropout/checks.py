"""Arguments of dropout, checked: rates, words, and shapes of noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

NoiseShape = Iterable[Any] | None


def check_choice(who: str, name: str, value: Any, choices: Iterable[str | None]) -> None:
    """Refuse a word that is not among the choices."""
    if value not in (known := tuple(choices)):
        raise ValueError(f"{who}: `{name}` must be one of {', '.join(map(repr, known))}, got {value!r}")


def check_rate(who: str, name: str, rate: Any, *, one_allowed: bool = False) -> float:
    """A rate as a float in [0, 1), or [0, 1]."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
        raise TypeError(f"{who}: `{name}` must be a number, got {type(rate).__name__}")
    if not 0 <= rate <= 1 or (rate == 1 and not one_allowed):
        raise ValueError(f"{who}: `{name}` must lie in [0, 1{']' if one_allowed else ')'}, got {rate}")
    return float(rate)


def check_zoneout(who: str, zoneout: Any, *, has_cell: bool) -> tuple[float, float]:
    """A pair of rates (cell, hidden) from a rate or a pair; without a cell the first is 0."""
    if not isinstance(zoneout, (tuple, list)):
        rate = check_rate(who, "zoneout", zoneout)
        return (rate if has_cell else 0.0), rate
    if len(zoneout) != 2:
        raise ValueError(f"{who}: `zoneout` must be a rate or a pair (cell, hidden), got {len(zoneout)} values")
    cell, hidden = (check_rate(who, "zoneout", rate) for rate in zoneout)
    if cell and not has_cell:
        raise ValueError(
            f"{who}: `zoneout` = (cell, hidden) must have 0 for the cell, this layer has none; got {zoneout}"
        )
    return cell, hidden


def check_noise_shape(who: str, noise_shape: NoiseShape, name: str = "noise_shape") -> tuple[int | None, ...] | None:
    """Keras' rules: an iterable, not a string, whose entries are None or Python integers greater than 0."""
    if noise_shape is None:
        return None
    if isinstance(noise_shape, str) or not isinstance(noise_shape, Iterable):
        raise ValueError(f"{who}: `{name}` must be a tuple of integers and None, got {noise_shape!r}")
    entries = tuple(noise_shape)
    for entry in entries:
        if entry is not None and (not isinstance(entry, int) or entry < 1):
            raise ValueError(
                f"{who}: every entry of `{name}` must be None or a Python int greater than 0, "
                f"got {entry!r} in {entries}"
            )
    return tuple([entry if entry is None else int(entry) for entry in entries])


def resolve_noise_shape(
    who: str, noise_shape: NoiseShape, shape: Sequence[int], name: str = "noise_shape"
) -> tuple[int, ...]:
    """The shape to draw: None entries take the size of the input; a shorter one is aligned to the right.

    Raises
    ------
    ValueError
        If an entry is neither 1 nor the size of the input there, or there are more entries than axes.
    """
    entries = check_noise_shape(who, noise_shape, name)
    if entries is None:
        return tuple(shape)
    if len(entries) > len(shape):
        raise ValueError(
            f"{who}: `{name}` must have at most {len(shape)} entries for an input of shape {tuple(shape)}, "
            f"got {entries}"
        )
    sizes = tuple(shape)[len(shape) - len(entries) :]
    drawn = tuple([size if entry is None else entry for entry, size in zip(entries, sizes, strict=True)])
    if any([got not in (1, size) for got, size in zip(drawn, sizes, strict=True)]):
        raise ValueError(
            f"{who}: every entry of `{name}` must be None, 1 or the size of the input there, got {entries} for an "
            f"input of shape {tuple(shape)}; None fits any size, also a smaller last batch"
        )
    return drawn


def shape_to_draw(
    who: str, noise_shape: NoiseShape, shape: Sequence[int], name: str = "noise_shape"
) -> tuple[tuple[int, ...], bool]:
    """The resolved noise shape with all axes, and whether all rows share what is drawn: `Draws` have to be told."""
    entries = check_noise_shape(who, noise_shape, name)
    drawn = resolve_noise_shape(who, entries, shape, name)
    shared = entries is not None and (len(entries) < len(shape) or entries[:1] == (1,))
    return (1,) * (len(shape) - len(drawn)) + drawn, shared
