"""What a traced function reads besides its tensors: attributes, closures and globals that are plain values.

A graph holds them as they were when the function was traced, so it is traced again when one has changed. Every call
asks whether one has: first whether everything is the same object as before, which is cheap (`Watched.is_current`), and
only if something is another object, whether it is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import is_
from types import CodeType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))
DEEPEST, LONGEST, LARGEST = 4, 64, 1024  # levels, items of a container and bytes of an array that are looked at
OF_LAYERS = frozenset(
    "_computation _graphs _build_ran _init_arguments _node _weights _initial_weights _build_lock _building _built_for "
    "_memo _metrics built dtype name given_input_shape given_batch_size _trainable".split()
)  # attributes that no graph depends on, or that change while one is made
OF_MODELS = OF_LAYERS.union(
    "_metric_choices _weighted_choices _loss_sums _loss_rows _loss_tracker _mean_loss _more_losses _loss_names "
    "_handed_out _expects_several loss loss_weights optimizer history stop_training first_epoch inputs outputs plan "
    "layers input_template output_template several_inputs several_outputs".split()
)
Seen = list[Any]
Names = frozenset[tuple[int, str]]
_global_names: WeakKeyDictionary[CodeType, tuple[str, ...]] = WeakKeyDictionary()
_attributes: WeakKeyDictionary[type, frozenset[str] | None] = WeakKeyDictionary()


class Watched:
    """What some values were; equal to that of other ones if nothing has changed.

    Parameters
    ----------
    *values : object
        Functions, and objects whose attributes count.
    apart : frozenset
        Names in closures and globals that the functions change themselves: they do not count.
    """

    __slots__ = ("values", "seen", "kept", "apart", "parts", "_named", "_items", "_spaces", "_arrays", "_sizes")

    def __init__(self, *values: Any, apart: Names = frozenset()):
        self.values = values
        self.apart = apart
        self.seen: Seen = []
        self.parts: dict[tuple[int, str], Seen] = {}  # by each name in closures and globals
        self.kept: dict[int, Any] = {}  # what is told apart by its place in memory stays there
        # What stands where, for `is_current`: values by a function and its arguments, items of lists and keys of dicts,
        # the dicts of objects, and bytes and lengths of what is not looked at one by one.
        self._named: list[tuple[Callable[[Any], Any], tuple[Any, ...], tuple[Any, ...]]] = []
        self._items: list[tuple[Iterable[Any], list[Any]]] = []
        self._spaces: list[tuple[Any, dict[str, Any]]] = []
        self._arrays: list[tuple[np.ndarray[Any, Any], bytes]] = []
        self._sizes: list[tuple[Any, int]] = []
        for value in values:
            self._look(value, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Watched) and self.seen == other.seen

    def is_current(self) -> bool:
        """Whether every value is the same object as it was; if not, the values may still be equal."""
        for value, space in self._spaces:
            if value.__dict__ is not space:
                return False
        for items, before in self._items:
            now = list(items)
            if len(now) != len(before) or not all(map(is_, now, before)):
                return False
        for read, names, found in self._named:
            if not all(map(is_, map(read, names), found)):
                return False
        for container, size in self._sizes:
            if len(container) != size:
                return False
        return all(array.tobytes() == content for array, content in self._arrays)

    def again(self) -> Watched:
        """What the same values are now."""
        return Watched(*self.values, apart=self.apart)

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
        if len(value) > LONGEST:
            self._sizes.append((value, len(value)))
            return
        if type(value) is list:
            self._items.append((value, list(value)))
        for part in value:
            self._look(part, depth)

    def _of_dict(self, value: Any, depth: int) -> None:
        self.seen.append(len(value))
        if len(value) > LONGEST:
            self._sizes.append((value, len(value)))
            return
        items = list(value.items())
        names, parts = [name for name, _ in items], tuple([part for _, part in items])
        self._items.append((value, names))
        self._named.append((value.get, tuple(names), parts))
        for name, part in items:
            self._look(name, depth)
            self._look(part, depth)

    def _of_array(self, value: Any, depth: int) -> None:
        if value.nbytes <= LARGEST and value.dtype != object:
            content = value.tobytes()
            self.seen.append(content)
            self._arrays.append((value, content))

    def _of_method(self, value: Any, depth: int) -> None:
        self._look(value.__func__, depth - 1)

    def _of_function(self, value: Any, depth: int) -> None:
        """What its closure holds, and the plain values among the globals that it names."""
        code, space, cells = value.__code__, value.__globals__, value.__closure__ or ()
        cells = {name: cell for name, cell in zip(code.co_freevars, cells, strict=True) if self._counts(value, name)}
        names = tuple([name for name in _globals_of(code) if self._counts(value, name)])
        self._watch(_content, tuple(cells.values()))
        self._watch(space.get, names)
        for name, cell in cells.items():
            self._of_name(value, name, _content(cell), depth)
        for name in names:
            found = space.get(name)
            if type(found) in PLAIN or type(found) in _VALUES:
                self._of_name(value, name, found, depth)

    def _watch(self, read: Callable[[Any], Any], names: tuple[Any, ...]) -> None:
        if names:
            self._named.append((read, names, tuple(map(read, names))))

    def _counts(self, function: Any, name: str) -> bool:
        return (id(function), name) not in self.apart

    def _of_name(self, function: Any, name: str, value: Any, depth: int) -> None:
        start = len(self.seen)
        self._look(value, depth)
        self.parts[id(function), name] = self.seen[start:]

    def _of_object(self, value: Any, kind: type, depth: int) -> None:
        """The attributes of an object that is not the engine's; of layers, those whose ``call`` is traced."""
        if kind not in _attributes:
            _attributes[kind] = _apart_of(kind)
        apart = _attributes[kind]
        if apart is None:
            return
        space: dict[str, Any] | None = getattr(value, "__dict__", None)
        if space is None:
            return
        every = list(space)
        names = tuple([name for name in every if name not in apart])
        self._spaces.append((value, space))
        self._items.append((space, every))
        self._watch(space.get, names)
        for name in names:
            self.seen.append(name)
            self._look(space.get(name), depth)


def watched_after(before: Watched, *values: Any) -> Watched:
    """What some values are after a function has been traced; lists that it has changed itself count no more."""
    now = Watched(*values, apart=before.apart)
    own = [name for name, seen in now.parts.items() if before.parts.get(name, seen) != seen]
    return Watched(*values, apart=before.apart.union(own)) if own else now


def _content(cell: Any) -> Any:
    """What a cell of a closure holds; None if it is not filled yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


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
    traced = getattr(kind, "overrides_call", None)
    of_the_engine = kind.__module__.split(".")[0] in ("rnnx", "numpy", "builtins")
    if traced is False or issubclass(kind, type) or (of_the_engine and not traced):
        return None
    return OF_MODELS if hasattr(kind, "fit") else OF_LAYERS
