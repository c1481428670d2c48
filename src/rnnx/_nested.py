"""Values in lists, tuples and dicts inside each other: their leaves in one list, changed, and put together again.

Dicts are read in the order of their sorted keys, as in Keras, and keep the order of their own where they are made
again. A *template* has the numbers of the list where the leaves are. A *structure* is a template that can be hashed:
of the words "list", "tuple", "dict", "tensor" and "constant".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

CONTAINERS = (list, tuple, dict)
CONSTANTS = (type(None), bool, int, float, str)
LEAF = ("tensor",)


# ---- Leaves ----------------------------------------------------------------------------------------------------------


def leaves(value: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """All that is in lists, tuples and dicts inside each other, in one list.

    Parameters
    ----------
    value : anything
        One thing is a list of one.
    is_leaf : callable, optional
        Says which lists, tuples and dicts are one thing.

    Examples
    --------
    >>> leaves({"b": [1, (2,)], "a": 3})
    [3, 1, 2]
    >>> leaves([(None, 4), [(None, 5)]], is_leaf=is_shape)
    [(None, 4), (None, 5)]
    """
    if not isinstance(value, CONTAINERS) or (is_leaf is not None and is_leaf(value)):
        return [value]
    parts = [value[key] for key in _keys(value)] if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in leaves(part, is_leaf)]


def mapped(function: Callable[[Any], Any], value: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The same lists, tuples and dicts with a function of every leaf, called in the order of `leaves`.

    Examples
    --------
    >>> mapped(str, {"b": [1, (2,)], "a": 3})
    {'b': ['1', ('2',)], 'a': '3'}
    """
    if not isinstance(value, CONTAINERS) or (is_leaf is not None and is_leaf(value)):
        return function(value)
    if isinstance(value, dict):
        made = {key: mapped(function, value[key], is_leaf) for key in _keys(value)}
        return {key: made[key] for key in value}
    parts = [mapped(function, part, is_leaf) for part in value]
    return parts if isinstance(value, list) else tuple(parts)


def packed(template: Any, values: Iterable[Any]) -> Any:
    """Values in the form of a template (or of any value), given in one list."""
    left = iter(values)
    return mapped(lambda _: next(left), template)


def _keys(value: dict[Any, Any]) -> Iterable[Any]:
    try:
        return sorted(value)
    except TypeError:  # keys of several types have the order in which they are given
        return value


def is_shape(value: Any) -> bool:
    """Whether something is one shape: shapes are tuples, several of them come in a list."""
    return isinstance(value, tuple)


def is_config(value: Any) -> bool:
    """Whether a dict is one thing: the class and the arguments of an object."""
    return isinstance(value, dict) and "class_name" in value


# ---- Templates -------------------------------------------------------------------------------------------------------


def template_of(value: Any) -> Any:
    """The template of a value; None where it is one thing or a list of things, which need none."""
    plain = isinstance(value, list) or (isinstance(value, tuple) and len(value) == 1)
    if not isinstance(value, CONTAINERS) or plain and not any(isinstance(part, CONTAINERS) for part in value):
        return None
    return packed(value, range(len(leaves(value))))


def matched(who: str, template: Any, value: Any) -> list[Any]:
    """The values of something in the form of a template, in one list; a list of all of them is taken as it is.

    Raises
    ------
    ValueError
        If it has another form.
    """
    if not isinstance(template, CONTAINERS):
        return [value]
    if isinstance(template, dict) and isinstance(value, dict):
        if missing := [str(key) for key in template if key not in value]:
            known = ", ".join(map(str, template))
            raise ValueError(f"{who}: expected {known}, got {', '.join(map(str, value))}: {', '.join(missing)} missing")
        return [leaf for key in _keys(template) for leaf in matched(who, template[key], value[key])]
    count = len(leaves(template))
    if isinstance(template, (list, tuple)) and isinstance(value, (list, tuple)) and len(template) == len(value):
        return [leaf for inner, part in zip(template, value, strict=True) for leaf in matched(who, inner, part)]
    if isinstance(value, (list, tuple)) and len(value) == count:
        return list(value)
    nested = isinstance(value, CONTAINERS)
    if count == 1 and not nested:
        return [value]
    got = f"{type(value).__name__} of {len(value)}" if nested else type(value).__name__
    raise ValueError(f"{who}: expected {_described(template)}, got {got}")


def _described(template: Any) -> str:
    if isinstance(template, dict):
        return f"a dict of {', '.join(map(str, template))}"
    return f"a {type(template).__name__} of {len(template)}"


def to_plain(template: Any) -> Any:
    """A template as plain data, which knows no tuples."""
    if isinstance(template, dict):
        return {"dict": [[key, to_plain(part)] for key, part in template.items()]}
    if isinstance(template, (list, tuple)):
        return {"tuple" if isinstance(template, tuple) else "list": [to_plain(part) for part in template]}
    return template


def from_plain(data: Any) -> Any:
    """The template of a `to_plain`.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(data, dict):
        return data
    (kind, parts), *others = data.items()
    if others or kind not in ("dict", "tuple", "list") or not isinstance(parts, list):
        raise ValueError(f"Model: inputs and outputs must be in a dict, tuple or list, got {kind!r}")
    if kind == "dict":
        return {key: from_plain(part) for key, part in parts}
    made = [from_plain(part) for part in parts]
    return tuple(made) if kind == "tuple" else made


# ---- Structures ------------------------------------------------------------------------------------------------------


def flatten(value: Any, is_tensor: Callable[[Any], bool], found: list[Any]) -> Any:
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
    >>> structure = flatten({"x": [1.5, "a"]}, lambda leaf: isinstance(leaf, float), found)
    >>> found, unflatten(structure, [2.5])
    ([1.5], {'x': [2.5, 'a']})
    """
    if is_tensor(value):
        found.append(value)
        return LEAF
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return (kind, *[flatten(part, is_tensor, found) for part in value])
    if isinstance(value, dict):
        apart = {key: flatten(value[key], is_tensor, found) for key in _keys(value)}
        return ("dict", *apart.items())
    if not isinstance(value, CONSTANTS):
        raise TypeError(f"expected tensors, numbers, strings or None, in lists, tuples or dicts, got {value!r}")
    return ("constant", type(value).__name__, value)


def unflatten(structure: Any, tensors: Any) -> Any:
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
