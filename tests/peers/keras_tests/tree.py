"""``keras.tree``: functions over nested lists, tuples and dicts, whose keys are taken in sorted order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_nested(structure: Any) -> bool:
    return isinstance(structure, (list, tuple, dict))


def flatten(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in flatten(part)]
    return [structure]


def _like(structure: Any, parts: list[Any]) -> Any:
    if hasattr(structure, "_fields"):
        return type(structure)(*parts)
    return type(structure)(parts)


def map_structure(function: Callable[..., Any], *structures: Any) -> Any:
    return map_structure_up_to(structures[0], function, *structures)


def map_structure_up_to(shallow: Any, function: Callable[..., Any], *structures: Any) -> Any:
    if isinstance(shallow, dict):
        return {k: map_structure_up_to(v, function, *(s[k] for s in structures)) for k, v in shallow.items()}
    if isinstance(shallow, (list, tuple)):
        parts = [
            map_structure_up_to(part, function, *(s[index] for s in structures)) for index, part in enumerate(shallow)
        ]
        return _like(shallow, parts)
    return function(*structures)


def map_shape_structure(function: Callable[..., Any], structure: Any) -> Any:
    if isinstance(structure, (list, tuple)) and all(isinstance(size, (int, type(None))) for size in structure):
        return function(tuple(structure))
    if isinstance(structure, dict):
        return {key: map_shape_structure(function, value) for key, value in structure.items()}
    return _like(structure, [map_shape_structure(function, part) for part in structure])


def pack_sequence_as(structure: Any, flat: Any) -> Any:
    leaves = iter(flat)

    def take(part: Any) -> Any:
        if isinstance(part, dict):
            found = {key: take(part[key]) for key in sorted(part)}
            return {key: found[key] for key in part}
        if isinstance(part, (list, tuple)):
            return _like(part, [take(inner) for inner in part])
        return next(leaves)

    return take(structure)


def assert_same_structure(a: Any, b: Any) -> None:
    if is_nested(a) != is_nested(b) or (is_nested(a) and (type(a) is not type(b) or len(a) != len(b))):
        raise ValueError(f"structures differ: {a} and {b}")
    if isinstance(a, dict):
        for key in a:
            assert_same_structure(a[key], b[key])
    elif is_nested(a):
        for one, other in zip(a, b, strict=True):
            assert_same_structure(one, other)
