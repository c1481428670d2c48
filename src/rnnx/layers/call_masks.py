"""The masks of a layer with ``call`` of its own: which it is told of, and those of what it gives."""

from __future__ import annotations

from typing import Any

from rnnx._nested import unflatten
from rnnx.layers.call_arguments import SIMPLE
from rnnx.layers.call_signature import signature_of
from rnnx.layers.checks import as_mask
from rnnx.layers.layer import Layer


class UnknownMask:
    """The axes of a mask that is not there yet."""

    def __init__(self, axes: int):
        self.shape = (None,) * axes


def split_masks(layer: Any, mask: Any, count: int) -> list[Any]:
    """One mask or a list of them as one for each tensor."""
    masks = list(mask) if isinstance(mask, (list, tuple)) else [mask]
    masks = [None if own is None else as_mask(layer.name, own) for own in masks]
    return masks[:count] + [None] * (count - len(masks))


def or_none(masks: Any) -> Any:
    """None in place of a structure of masks without any."""
    if isinstance(masks, dict):
        return masks if any(or_none(part) is not None for part in masks.values()) else None
    if isinstance(masks, (list, tuple)):
        return masks if any(or_none(part) is not None for part in masks) else None
    return masks


def ranks_of(layer: Any, structure: Any, masks: list[Any]) -> tuple[int | None, ...]:
    """Which masks ``call`` is told of, by their axes."""
    names = signature_of(type(layer))
    none: tuple[int | None, ...] = (None,) * len(masks)
    if not (names.takes_mask or names.masks) or all(mask is None for mask in masks):
        return none
    axes = tuple([None if mask is None else len(mask.shape) for mask in masks])
    if structure == SIMPLE:
        return axes if names.takes_mask or f"{names.first}_mask" in names.masks else none
    by_name = dict(unflatten(structure, list(enumerate(axes))))
    wanted = [of for of in names.masks.values()] + ([names.first] if names.takes_mask else [])
    kept: dict[int, int | None] = {}

    def take(value: Any) -> None:
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int):
            kept[value[0]] = value[1]
        elif isinstance(value, (list, tuple)):
            for part in value:
                take(part)
        elif isinstance(value, dict):
            take(list(value.values()))

    for name in wanted:
        take(by_name.get(name))
    return tuple([kept.get(k) for k in range(len(masks))])


def masks_after(layer: Any, structure: Any, arrays: list[Any], masks: list[Any], found: list[Any]) -> list[Any]:
    """The masks of the outputs: those that the layers inside gave them, else what the class says."""
    if not layer.supports_masking or all(mask is not None for mask in found):
        return found
    if all(mask is None for mask in masks) and type(layer).compute_mask is Layer.compute_mask:
        return found
    if structure == SIMPLE:
        x, own = arrays[0], masks[0]
    else:
        x, own = (next(iter(unflatten(structure, part).values())) for part in (arrays, masks))
        own = or_none(own)
    made = layer.compute_mask(x, own)
    parts = list(made) if isinstance(made, (list, tuple)) else [made]
    parts += [None] * (len(found) - len(parts))
    return [known if known is not None else part for known, part in zip(found, parts, strict=False)]
