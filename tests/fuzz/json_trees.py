"""Changes of a tree of JSON that leave it one: parts shared, repeated, nested in themselves, of other size or type."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

TIMES = (1, 1, 1, 1, 2, 2, 2, 3, 3, 10, 10, 10, 30, 100, 100, 1000)  # how often something is repeated
LARGEST = 1 << 19  # characters of a text that was repeated
LARGE = (
    10**3, 10**4, 10**5, 10**7, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400,
    1e300, float("inf"), float("nan"),
)  # fmt: skip
STRANGE = (
    None,
    True,
    False,
    "",
    0,
    1,
    -1,
    0.5,
    [],
    {},
    [1, 2],
    [None],
    [[1]],
    {"": 1},
    "None",
    "0",
    "\x1b[2J\n",
    "name",
)
CLASSES = (
    "Activation", "Add", "Attention", "AveragePooling1D", "Average", "BatchNormalization", "Bidirectional",
    "Concatenate", "Conv1D", "Dense", "Dot", "Dropout", "Embedding", "Flatten", "Functional", "GRU", "GRUCell",
    "GlobalMaxPooling1D", "InputLayer", "LSTM", "LSTMCell", "Lambda", "LayerNormalization", "Masking", "Model",
    "Multiply", "Permute", "RNN", "RepeatVector", "Reshape", "Sequential", "SimpleRNN", "SimpleRNNCell",
    "StackedRNNCells", "TimeDistributed", "UpSampling1D", "ZeroPadding1D",
)  # fmt: skip
MARK = "the place of a part"  # in a text of JSON
Place = tuple[Any, Any]  # a table or list, and the key or index in it


def places(tree: Any) -> Iterator[Place]:
    """Every place of a tree."""
    rest: list[Any] = [tree]
    while rest:
        outer = rest.pop()
        for key, value in list(outer.items() if isinstance(outer, dict) else enumerate(outer)):
            yield outer, key
            if isinstance(value, (dict, list)):
                rest.append(value)


def _where(tree: Any, rng: random.Random, wanted: Callable[[Any, Any], bool]) -> Place | None:
    found = [(outer, key) for outer, key in places(tree) if wanted(key, outer[key])]
    return rng.choice(found) if found else None


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_part(_: Any, value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _is_entry(key: Any, value: Any) -> bool:
    return isinstance(key, int) and _is_part(key, value)


def _names(tree: Any) -> list[str]:
    """What layers and models are called in a configuration."""
    found = [outer[key] for outer, key in places(tree) if key == "name" and isinstance(outer[key], str)]
    return sorted(set(found))


def _renamed(text: str, names: Sequence[str], end: str) -> str:
    """A text of JSON in which these names have an ending."""
    for name in names:
        text = text.replace(json.dumps(name), json.dumps(name + end))
    return text


class Text(str):
    """A piece of JSON that is written as it is: too long or too deep to be made of tables."""


# ---- The changes: each of a tree in its place; what does not fit changes nothing ------------------------------------


def duplicate(tree: Any, rng: random.Random) -> None:
    """A part once more, at the same or another place."""
    if place := _where(tree, rng, _is_part):
        part = copy.deepcopy(place[0][place[1]])
        target = _where(tree, rng, _is_part)
        outer = place[0] if rng.random() < 0.5 or target is None else target[0][target[1]]
        if isinstance(outer, list):
            outer.insert(rng.randint(0, len(outer)), part)
        else:
            outer[f"{place[1]}{rng.choice(('', '_1', '0'))}"] = part


def repeat_entry(tree: Any, rng: random.Random) -> None:
    """An entry of a list many times, with its own or new names."""
    if place := _where(tree, rng, _is_entry):
        outer, key = place
        text = json.dumps(outer[key])
        count = min(rng.choice(TIMES), LARGEST // len(text))
        names = _names(outer[key]) if rng.random() < 0.7 else []
        if count:
            outer.insert(key, Text(", ".join(_renamed(text, names, f"_{k}") for k in range(count))))


def chain(tree: Any, rng: random.Random) -> None:
    """A layer many times, every one of which has the one before as its input; with two inputs, twice."""
    names = _names(tree)
    if entry := _where(tree, rng, lambda key, value: _is_entry(key, value) and _own_name(value) is not None):
        outer, key = entry
        text, own = json.dumps(outer[key]), _own_name(outer[key])
        inputs = [name for name in names if name != own and json.dumps(name) in text]
        made, before = [], json.dumps(own)
        for k in range(min(rng.choice(TIMES), LARGEST // len(text))):
            made.append(_renamed(text, [str(own)], f"_{k}"))
            for name in inputs:
                made[-1] = made[-1].replace(json.dumps(name), before)
            before = json.dumps(f"{own}_{k}")
        if made:
            outer.insert(key + 1, Text(", ".join(made)))


def _own_name(layer: Any) -> str | None:
    """What a layer is called in its configuration."""
    inner = layer.get("config") if isinstance(layer, dict) else None
    name = next((part["name"] for part in (layer, inner) if isinstance(part, dict) and "name" in part), None)
    return name if isinstance(name, str) else None


def share(tree: Any, rng: random.Random) -> None:
    """A part takes the place of another of its kind."""
    if place := _where(tree, rng, _is_part):
        value = place[0][place[1]]
        kind = type(value)
        other = _where(tree, rng, lambda _, found: isinstance(found, kind) and found is not value)
        if other is not None:
            place[0][place[1]] = copy.deepcopy(other[0][other[1]])


def swap(tree: Any, rng: random.Random) -> None:
    """Two values of a kind change places."""
    if place := _where(tree, rng, lambda key, value: not _is_part(key, value)):
        kind = type(place[0][place[1]])
        other = _where(tree, rng, lambda _, value: type(value) is kind)
        if other is not None:
            place[0][place[1]], other[0][other[1]] = copy.deepcopy((other[0][other[1]], place[0][place[1]]))


def swap_entries(tree: Any, rng: random.Random) -> None:
    """Two entries of a list change places: a layer comes behind those that use it."""
    if place := _where(tree, rng, lambda key, value: _is_entry(key, value) and isinstance(value, dict)):
        outer, key = place
        other = rng.randrange(len(outer))
        outer[key], outer[other] = outer[other], outer[key]


def rename(tree: Any, rng: random.Random) -> None:
    """A name becomes another one of the tree: a layer gets the input of others, of later ones, or its own output."""
    names = _names(tree)
    if place := _where(tree, rng, lambda _, value: isinstance(value, str) and value in names):
        place[0][place[1]] = rng.choice(names)


def nest(tree: Any, rng: random.Random) -> None:
    """A part lies inside itself, many times."""
    if outer := _where(tree, rng, lambda _, value: isinstance(value, dict) and bool(value)):
        whole = outer[0][outer[1]]
        inner = _where(whole, rng, _is_part)
        if inner is not None:
            inside, inner[0][inner[1]] = inner[0][inner[1]], MARK
            start, _, end = json.dumps(whole).partition(json.dumps(MARK))
            count = min(rng.choice((1, 2, 8, 60, 400)), LARGEST // (len(start) + len(end)) + 1)
            text = start * (count + 1) + json.dumps(inside) + end * (count + 1)
            depth = (count + 1) * (start.count("{") + start.count("["))
            outer[0][outer[1]] = Text(text) if depth > 100 else json.loads(text)


def enlarge(tree: Any, rng: random.Random) -> None:
    """A number becomes a large or a negative one, here or everywhere where it has the same name."""
    if place := _where(tree, rng, _is_number):
        number = rng.choice(LARGE) if rng.random() < 0.8 else -place[0][place[1]]
        same = rng.random() < 0.3
        for outer, key in list(places(tree)):
            if (same and key == place[1] and _is_number(key, outer[key])) or (outer is place[0] and key == place[1]):
                outer[key] = number


def retype(tree: Any, rng: random.Random) -> None:
    """A value becomes one of another type."""
    if place := _where(tree, rng, lambda *_: True):
        value = place[0][place[1]]
        place[0][place[1]] = copy.deepcopy(rng.choice((*STRANGE, [value], {"config": value}, str(value)[:200])))


def reclass(tree: Any, rng: random.Random) -> None:
    """A layer becomes one of another class."""
    if place := _where(tree, rng, lambda key, value: key in ("class_name", "class") and isinstance(value, str)):
        place[0][place[1]] = rng.choice(CLASSES)


def remove(tree: Any, rng: random.Random) -> None:
    """A place is gone."""
    if place := _where(tree, rng, lambda *_: True):
        del place[0][place[1]]


def lengthen(tree: Any, rng: random.Random) -> None:
    """A text becomes a long one, or one that is none on a terminal."""
    if place := _where(tree, rng, lambda _, value: isinstance(value, str)):
        text = place[0][place[1]]
        place[0][place[1]] = rng.choice((text * 3, text * 20_000, text + "\x1b[31m\n", "\u202e" + text, "\udcff"))[
            :LARGEST
        ]


def rekey(tree: Any, rng: random.Random) -> None:
    """A table gets a key of another one."""
    place = _where(tree, rng, lambda key, _: isinstance(key, str))
    other = _where(tree, rng, lambda _, value: isinstance(value, dict))
    if place is not None and other is not None:
        other[0][other[1]][place[1]] = copy.deepcopy(place[0][place[1]])


CHANGES: Sequence[Callable[[Any, random.Random], None]] = (
    duplicate, repeat_entry, chain, share, swap, swap_entries, rename, rename, nest, enlarge, enlarge, retype, reclass,
    remove, lengthen, rekey,
)  # fmt: skip


def written(tree: Any) -> str:
    """A tree as JSON."""
    deep = [(outer, key, outer[key]) for outer, key in places(tree) if isinstance(outer[key], Text)]
    for k, (outer, key, _) in enumerate(deep):
        outer[key] = f"{MARK} {k}"
    text = json.dumps(tree)
    for k, (_, _, part) in enumerate(deep):
        text = text.replace(json.dumps(f"{MARK} {k}"), part)
    return text


def changed(text: str | bytes, rng: random.Random, change: Callable[[Any, random.Random], None] | None = None) -> str:
    """A text of JSON after some of the changes.

    Parameters
    ----------
    text : str
    rng : random.Random
    change : callable, optional
        The one to make; otherwise one to three of all.
    """
    box = [json.loads(text)]
    chosen = [change] if change else rng.choices(CHANGES, k=rng.choice((1, 1, 1, 2, 3)))
    for act in chosen:
        act(box[0] if isinstance(box[0], (dict, list)) else box, rng)
    return written(box[0])
