"""Inputs and outputs in dicts, tuples and lists inside each other, and the same in one list.

A template has the numbers of the list where the values are. Dicts are read in the order of their sorted keys, as in
Keras.
"""

from __future__ import annotations

from typing import Any


def leaves(value: Any) -> list[Any]:
    """What is in dicts, tuples and lists inside each other, in one list."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def template_of(value: Any) -> Any:
    """The template of a value; None where it is one thing or a list of things, which need none."""
    plain = isinstance(value, list) or (isinstance(value, tuple) and len(value) == 1)
    if not isinstance(value, (list, tuple, dict)) or plain and not any(map(_is_nested, value)):
        return None
    return packed(value, range(len(leaves(value))))


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict))


def packed(template: Any, values: Any) -> Any:
    """Values in the form of a template (or of any value), given in one list."""
    left = iter(values)

    def pack(part: Any) -> Any:
        if isinstance(part, dict):
            made = {key: pack(part[key]) for key in sorted(part)}
            return {key: made[key] for key in part}
        if isinstance(part, (list, tuple)):
            return type(part)([pack(inner) for inner in part]) if type(part) in (list, tuple) else [*map(pack, part)]
        return next(left)

    return pack(template)


def matched(who: str, template: Any, value: Any) -> list[Any]:
    """The values of something in the form of a template, in one list; a list of all of them is taken as it is.

    Raises
    ------
    ValueError
        If it has another form.
    """
    if not _is_nested(template):
        return [value]
    if isinstance(template, dict) and isinstance(value, dict):
        if missing := [str(key) for key in template if key not in value]:
            known = ", ".join(map(str, template))
            raise ValueError(f"{who}: expected {known}, got {', '.join(map(str, value))}: {', '.join(missing)} missing")
        return [leaf for key in sorted(template) for leaf in matched(who, template[key], value[key])]
    count = len(leaves(template))
    if isinstance(template, (list, tuple)) and isinstance(value, (list, tuple)) and len(template) == len(value):
        return [leaf for inner, part in zip(template, value, strict=True) for leaf in matched(who, inner, part)]
    if isinstance(value, (list, tuple)) and len(value) == count:
        return list(value)
    if count == 1 and not _is_nested(value):
        return [value]
    got = f"{type(value).__name__} of {len(value)}" if _is_nested(value) else type(value).__name__
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
