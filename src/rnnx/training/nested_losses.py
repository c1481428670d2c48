"""What ``compile(loss=)`` says in lists, tuples and dicts inside each other: losses of outputs, and of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rnnx._nested import CONTAINERS, is_config, leaves, mapped
from rnnx.losses import loss_of


class Part(NamedTuple):
    """One loss: of an output, by its place, or of several, by the places in a template."""

    template: Any
    loss: Any
    weight: float
    name: str


def is_nested(loss: Any, template: Any, names: list[str]) -> bool:
    """Whether losses stand inside each other, or where several outputs do."""
    if not isinstance(loss, CONTAINERS) or is_config(loss):
        return False
    for part in loss.values() if isinstance(loss, dict) else loss:
        if isinstance(part, CONTAINERS) and not is_config(part):
            if isinstance(part, dict) or len(leaves(part, is_config)) > 1:
                return True
    inside = template.values() if isinstance(template, dict) else template if isinstance(template, CONTAINERS) else ()
    if (
        isinstance(loss, dict)
        and set(loss) <= set(names)
        or len(loss) == len(leaves(template))
        and isinstance(loss, list)
    ):
        return False
    return any(isinstance(part, CONTAINERS) for part in inside)


def parts_of(who: str, template: Any, names: list[str], loss: Any, loss_weights: Any) -> list[Part]:
    """The losses of a model.

    A loss that stands where the outputs have a list, tuple or dict is of all of them together; a list of losses where
    there is one output, or a container of another kind, is a sum of them.

    Parameters
    ----------
    who : str
        The model, for messages.
    template : list, tuple or dict
        The form of the outputs, with their places.
    names : list of str
        Of the outputs, by their places.
    loss, loss_weights
        As in ``compile``.

    Raises
    ------
    ValueError
        If something does not fit the outputs.
    """
    weighted = _with_weights(who, loss, loss_weights)
    if isinstance(weighted, dict) and not isinstance(template, dict) and set(weighted) == set(names):
        weighted = [weighted[name] for name in names]
        weighted = tuple(weighted) if isinstance(template, tuple) else weighted
    return list(_parts(who, template, names, weighted, ()))


@dataclass(frozen=True)
class _Weighted:
    """A loss and its weight."""

    loss: Any
    weight: float


def _with_weights(who: str, loss: Any, loss_weights: Any) -> Any:
    found = leaves(loss, is_config)
    given = [1.0] * len(found) if loss_weights is None else leaves(loss_weights)
    if len(given) != len(found):
        raise ValueError(f"{who}: `loss_weights` has {len(given)} entries for {len(found)} losses")
    rest = iter(given)

    def weigh(one: Any) -> Any:
        weight = next(rest)
        return None if one is None else _Weighted(loss_of(one), 1.0 if weight is None else float(weight))

    return mapped(weigh, loss, is_config)


def _parts(who: str, template: Any, names: list[str], loss: Any, path: tuple[Any, ...]) -> Iterator[Part]:
    if loss is None:
        return
    inside = isinstance(template, CONTAINERS)
    if isinstance(loss, _Weighted):
        yield Part(template, loss.loss, loss.weight, _name(template, names, path))
        return
    listed = isinstance(loss, (list, tuple))
    places = leaves(template)
    plain = listed and all(one is None or isinstance(one, _Weighted) for one in loss)
    if plain and inside and len(loss) == len(places):
        for (place, own), one in zip(_places(template, path), loss, strict=True):
            yield from _parts(who, place, names, one, own)
        return
    if listed and (not inside or type(loss) is not type(template)):
        for one in loss:
            yield from _parts(who, template, names, one, path)
        return
    keys = list(loss) if isinstance(loss, dict) else list(range(len(loss)))
    known = list(template) if isinstance(template, dict) else list(range(len(template))) if inside else []
    if isinstance(loss, dict) is not isinstance(template, dict) or not set(keys) <= set(known):
        where = "/".join(map(str, path)) or "the outputs"
        what = f"there are {known}" if known else "there is one output"
        raise ValueError(f"{who}: `loss` has the entries {keys} for {where}, where {what}")
    for key in keys:
        yield from _parts(who, template[key], names, loss[key], (*path, key))


def _places(template: Any, path: tuple[Any, ...]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The places in a template, in order, each with its path."""
    if not isinstance(template, CONTAINERS):
        yield template, path
        return
    for key in sorted(template) if isinstance(template, dict) else range(len(template)):
        yield from _places(template[key], (*path, key))


def _name(template: Any, names: list[str], path: tuple[Any, ...]) -> str:
    """The name in the logs: the path, or the names of the outputs."""
    if isinstance(template, CONTAINERS):
        own = template if isinstance(template, dict) else [names[place] for place in leaves(template)]
        return "/".join(map(str, path)) or "_".join(map(str, own))
    if not path:
        return names[template]
    return "/".join(map(str, (*path[:-1], names[template] if isinstance(path[-1], int) else path[-1])))
