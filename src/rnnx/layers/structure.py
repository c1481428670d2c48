"""Arguments and results of functions: tensors in lists, tuples and dicts, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LEAF = ("tensor",)
CONSTANTS = (type(None), bool, int, float, str)


def taken_apart(value: Any, is_tensor: Callable[[Any], bool], found: list[Any]) -> Any:
    """The structure of a value; the tensors in it are added to a list, in order: that of sorted keys in dicts.

    Parameters
    ----------
    value : tensors, numbers, words and None, in lists, tuples and dicts
    is_tensor : callable
    found : list

    Returns
    -------
    tuple
        Hashable, of words, numbers and other such tuples.

    Raises
    ------
    TypeError
        If there is something else in it.

    Examples
    --------
    >>> found = []
    >>> structure = taken_apart({"x": [1.5, "a"]}, lambda leaf: isinstance(leaf, float), found)
    >>> found, together(structure, [2.5])
    ([1.5], {'x': [2.5, 'a']})
    """
    if is_tensor(value):
        found.append(value)
        return LEAF
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return (kind, *[taken_apart(part, is_tensor, found) for part in value])
    if isinstance(value, dict):
        apart = {key: taken_apart(value[key], is_tensor, found) for key in sorted(value)}
        return ("dict", *apart.items())
    if not isinstance(value, CONSTANTS):
        raise TypeError(f"expected tensors, numbers, strings or None, in lists, tuples or dicts, got {value!r}")
    return ("constant", type(value).__name__, value)


def together(structure: Any, tensors: Any) -> Any:
    """The value of a structure with these tensors in it, in order."""
    rest = iter(tensors)

    def made(part: Any) -> Any:
        kind, *inside = part
        if kind == "tensor":
            return next(rest)
        if kind == "dict":
            return {key: made(own) for key, own in inside}
        if kind == "constant":
            return inside[1]
        parts = [made(own) for own in inside]
        return parts if kind == "list" else tuple(parts)

    return made(structure)


def count_leaves(structure: Any) -> int:
    """How many tensors there are in a structure."""
    kind, *inside = structure
    if kind == "dict":
        inside = [own for _, own in inside]
    return 1 if kind == "tensor" else 0 if kind == "constant" else sum(map(count_leaves, inside))


def frozen(structure: Any) -> Any:
    """A structure again, after it was written as JSON, whose tuples are lists."""
    if isinstance(structure, (list, tuple)):
        return tuple([frozen(part) for part in structure])
    return structure
