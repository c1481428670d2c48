"""Arguments of a constructor that are attributes: checked, and heeded, where they are assigned later on as well."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INSIDE = ("forward_layer", "backward_layer", "layer", "cell", "inner_optimizer", "loss")  # what another one is around
PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype)


class Assigned:
    """A base of what is made of arguments and keeps them as attributes of the same names.

    What is assigned to such an attribute goes through the constructor: it is refused with the sentence of that, or kept
    as that keeps it, together with all that follows from it. The first assignment is that of the constructor itself,
    and reading costs nothing. A class of this package refuses an attribute that is an argument of others alone, as
    ``dense.dropout`` is: nothing would heed it. Classes of users keep under such names what they like.
    """

    fixed_when_built: frozenset[str] = frozenset()  # arguments that weights were made by
    not_attributes: frozenset[str] = frozenset()  # arguments that are not kept under their names
    built: Any = False

    words: set[str] = set()  # arguments of all classes of a family: layers, losses, callbacks, ...

    def __init_subclass__(cls, family: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family:
            cls.words = set()
        if "__init__" in vars(cls) and not is_of_user(cls):
            cls.words.update(_named(vars(cls)["__init__"])[0])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.words:
            object.__setattr__(self, name, value)
        elif name in self.not_attributes and not is_of_user(type(self)):
            self.refuse(name)
        elif name in arguments_of(type(self)):
            if name in vars(self) and value is not vars(self)[name]:
                reassign(self, name, value)
            else:
                object.__setattr__(self, name, value)
        elif is_of_user(type(self)) or name in vars(self) or name in _names_in(type(self)):
            object.__setattr__(self, name, value)
        else:
            self.refuse(name)

    def refuse(self, name: str) -> None:
        """Refuse an attribute that nothing would heed, and say where it is heeded."""
        inside = {word: vars(self).get(word) for word in INSIDE}
        places = [f".{word}" for word, part in inside.items() if part is not None and name in arguments_of(type(part))]
        way = f"; set it on {' and '.join(places)}" if places else ""
        raise AttributeError(f"{type(self).__name__} has no `{name}` of its own: nothing would heed it{way}")

    def arguments_now(self) -> dict[str, Any]:
        """Arguments that make an object like this one, as its attributes say them."""
        own = vars(self)
        found = {name: own[name] for name in arguments_of(type(self)) if name in own}
        if "seed_generator" in own:
            found["seed"] = own["seed_generator"]  # or the object would draw a seed
        return found

    def check_change(self, name: str, before: Any, after: Any) -> None:
        """Raise an error if what is there already does not allow the change between two new objects."""

    def note_change(self, name: str) -> None:
        """Let go of what was made with the old value of an attribute."""


def is_of_user(cls: type) -> bool:
    """Whether a class is one of a user, not of this package."""
    return cls.__module__.split(".")[0] != "rnnx"


def engine_base(cls: type) -> Any:
    """The nearest class of this package that a class is derived from."""
    return next(kind for kind in cls.__mro__ if not is_of_user(kind))


def _named(init: Any) -> tuple[list[str], bool]:
    """The arguments of a constructor by their names, and whether it takes others for the class above it."""
    code = getattr(init, "__wrapped__", init).__code__
    count = code.co_argcount + code.co_kwonlyargcount
    return list(code.co_varnames[1:count]), bool(code.co_flags & 0x08)


def _arguments_of(cls: Any) -> frozenset[str]:
    """The arguments that a class of this package takes, or the one that a class of a user is derived from."""
    if not issubclass(cls, Assigned):
        return frozenset()
    base, found = engine_base(cls), set()
    for kind in base.__mro__:
        if "__init__" in vars(kind) and kind is not object:
            names, more = _named(vars(kind)["__init__"])
            found.update(names)
            if not more:
                break
    return frozenset(found - base.not_attributes)


arguments_of: Callable[[Any], frozenset[str]] = functools.cache(_arguments_of)


def _all_names_in(cls: Any) -> frozenset[str]:
    """Attributes of a class, and arguments of all classes that it is derived from, which it may keep as well."""
    above = [_named(vars(kind)["__init__"])[0] for kind in cls.__mro__[:-1] if "__init__" in vars(kind)]
    return frozenset({*dir(cls), *(name for names in above for name in names)})


_names_in: Callable[[Any], frozenset[str]] = functools.cache(_all_names_in)


def _annotation(cls: Any, name: str) -> str:
    """What the constructor says of an argument, as it is written."""
    for kind in engine_base(cls).__mro__[:-1]:
        if "__init__" in vars(kind):
            found = inspect.signature(vars(kind)["__init__"]).parameters.get(name)
            if found is not None:  # the nearest class says what it takes, be it anything
                return found.annotation if isinstance(found.annotation, str) else ""
    return ""


KINDS: dict[str, Any] = {
    "bool": (bool, np.bool_), "int": numbers.Integral, "float": numbers.Real, "str": str, "Callable": Callable,
    "list": list, "tuple": tuple, "dict": dict, "Sequence": Sequence,
}  # fmt: skip


def check_kind(who: str, name: str, value: Any, annotation: str) -> None:
    """Refuse a value that is not what the constructor says, where that says something simple.

    Raises
    ------
    TypeError
    """
    kinds = [word.strip().split("[")[0] for word in annotation.split(" | ")]
    if not annotation or not all(word in KINDS or word == "None" for word in kinds):
        return
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if value is None:
        fits = "None" in kinds
    elif isinstance(value, (bool, np.bool_)):
        fits = "bool" in kinds
    else:
        fits = any(isinstance(value, KINDS[word]) for word in kinds if word != "None")
    if not fits:
        raise TypeError(f"{who}: `{name}` must be {annotation.replace(' | ', ' or ')}, got {value!r:.100}")


def reassign(owner: Any, name: str, value: Any) -> None:
    """Give an attribute another value, with what follows from it, if the constructor takes it.

    Two objects are made, with the old value and with the new one: what differs between them follows from the value.
    """
    who, own = type(owner).__name__, vars(owner)
    if name in owner.fixed_when_built and owner.built:
        raise AttributeError(
            f"{who}: `{name}` cannot change any more, the weights are those of {own[name]!r}; make a new one"
        )
    check_kind(who, name, value, _annotation(type(owner), name))
    kind, given = engine_base(type(owner)), owner.arguments_now()
    before, after = kind(**given), kind(**{**given, name: value})
    owner.check_change(name, before, after)
    old, new = vars(before), vars(after)
    changed = {word: new[word] for word in new if word == name or _differs(old.get(word), new[word])}
    for word, part in changed.items():
        if isinstance(part, np.ndarray) and np.shape(old.get(word)) != part.shape:
            raise AttributeError(f"{who}: `{name}` cannot change any more, arrays are kept for it; make a new one")
    own.update(changed)
    if name == "seed" and "seed_generator" in new:
        own["seed_generator"] = new["seed_generator"]
    owner.note_change(name)


def _differs(old: Any, new: Any) -> bool:
    """Whether two plain values, arrays, or containers of them differ; of other objects nothing is known."""
    if isinstance(new, np.ndarray):
        return not (isinstance(old, np.ndarray) and old.shape == new.shape and np.array_equal(old, new))
    if isinstance(new, PLAIN):
        return type(old) is not type(new) or bool(old != new)
    if isinstance(new, (list, tuple)) and type(old) is type(new) and len(old) == len(new):
        return any(_differs(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(new, (list, tuple, set, frozenset)):
        return type(old) is not type(new) or bool(old != new)
    return False
