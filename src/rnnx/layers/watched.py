"""What a followed function depends on besides its tensors: attributes, closures and globals that are plain values.

A graph holds them as they were when the function was followed, so it is followed again when one has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))
DEEPEST, LONGEST, LARGEST = 4, 64, 1024  # levels, items of a container and bytes of an array that are looked at
OF_LAYERS = frozenset(
    "_graphs _watched _given _base _node _weights _initial_weights _build_lock _building _built_for _memo _metrics "
    "built dtype name given_input_shape given_batch_size _trainable".split()
)  # attributes that no graph depends on, or that change while one is made
OF_MODELS = OF_LAYERS.union(
    "_metric_choices _weighted_choices _loss_sums _loss_rows _handed_out _meets_several loss loss_weights optimizer "
    "history stop_training first_epoch inputs outputs plan layers input_template output_template several_inputs "
    "several_outputs".split()
)
Seen = list[Any]
Names = frozenset[tuple[int, str]]
_global_names: dict[CodeType, tuple[str, ...]] = {}
_attributes: dict[type, frozenset[str] | None] = {}


class Watched:
    """What some values were; equal to that of other ones if nothing has changed.

    Parameters
    ----------
    *values : object
        Functions, and objects whose attributes count.
    apart : frozenset
        Names in closures and globals that the functions change themselves: they do not count.
    """

    __slots__ = ("seen", "kept", "apart", "parts")

    def __init__(self, *values: Any, apart: Names = frozenset()):
        self.apart = apart
        self.seen: Seen = []
        self.parts: dict[tuple[int, str], Seen] = {}  # by each name in closures and globals
        self.kept: dict[int, Any] = {}  # what is told apart by its place in memory stays there
        for value in values:
            self._look(value, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Watched) and self.seen == other.seen

    __hash__ = None  # type: ignore[assignment]

    def _look(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in PLAIN:
            self.seen += (kind, value)
            return
        place = id(value)
        self.seen.append(place)
        if place in self.kept:
            return
        self.kept[place] = value
        if depth >= DEEPEST:
            return
        look = _HOW.get(kind)
        if look is not None:
            look(self, value, depth + 1)
        else:
            self._of_object(value, kind, depth + 1)

    def _of_list(self, value: Any, depth: int) -> None:
        self.seen.append(len(value))
        if len(value) <= LONGEST:
            for part in value:
                self._look(part, depth)

    def _of_dict(self, value: Any, depth: int) -> None:
        self.seen.append(len(value))
        if len(value) <= LONGEST:
            for name, part in list(value.items()):
                self._look(name, depth)
                self._look(part, depth)

    def _of_array(self, value: Any, depth: int) -> None:
        if value.nbytes <= LARGEST and value.dtype != object:
            self.seen.append(value.tobytes())

    def _of_method(self, value: Any, depth: int) -> None:
        self._look(value.__func__, depth - 1)

    def _of_function(self, value: Any, depth: int) -> None:
        """What its closure holds, and the plain values among the globals that it names."""
        code, space = value.__code__, value.__globals__
        for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
            try:
                found = cell.cell_contents
            except ValueError:  # not filled yet
                found = None
            self._of_name(value, name, found, depth)
        for name in _globals_of(code):
            found = space.get(name)
            if type(found) in PLAIN or type(found) in _VALUES:
                self._of_name(value, name, found, depth)

    def _of_name(self, function: Any, name: str, value: Any, depth: int) -> None:
        key = (id(function), name)
        if key not in self.apart:
            start = len(self.seen)
            self._look(value, depth)
            self.parts[key] = self.seen[start:]

    def _of_object(self, value: Any, kind: type, depth: int) -> None:
        """The attributes of an object that is not the engine's; of layers, those whose ``call`` is followed."""
        if kind not in _attributes:
            _attributes[kind] = _apart_of(kind)
        apart = _attributes[kind]
        if apart is None:
            return
        for name, part in list(getattr(value, "__dict__", {}).items()):
            if name not in apart:
                self.seen.append(name)
                self._look(part, depth)


def unchanged(last: Watched | None, *values: Any) -> bool:
    """Whether some values are what they were."""
    return last is not None and Watched(*values, apart=last.apart) == last


def watched_after(before: Watched, *values: Any) -> Watched:
    """What some values are after a function has been followed; lists that it has changed itself count no more."""
    now = Watched(*values, apart=before.apart)
    own = [name for name, seen in now.parts.items() if before.parts.get(name, seen) != seen]
    return Watched(*values, apart=before.apart.union(own)) if own else now


_HOW: dict[type, Callable[[Watched, Any, int], None]] = {
    list: Watched._of_list,
    tuple: Watched._of_list,
    dict: Watched._of_dict,
    np.ndarray: Watched._of_array,
    FunctionType: Watched._of_function,
    MethodType: Watched._of_method,
}
_VALUES = frozenset((list, tuple, dict, np.ndarray))


def _globals_of(code: CodeType) -> tuple[str, ...]:
    """The names that a function and those inside it may read from the globals."""
    if code not in _global_names:
        inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in _globals_of(part)]
        _global_names[code] = (*code.co_names, *inner)
    return _global_names[code]


def _apart_of(kind: type) -> frozenset[str] | None:
    """The attributes of objects of a class that do not count; None if none does."""
    followed = getattr(kind, "follows_call", None)
    of_the_engine = kind.__module__.split(".")[0] in ("rnnx", "numpy", "builtins")
    if followed is False or issubclass(kind, type) or (of_the_engine and not followed):
        return None
    return OF_MODELS if hasattr(kind, "fit") else OF_LAYERS
