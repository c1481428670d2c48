"""What stands for names that rnnx does not have: inert until they are used, so that the rest of a test file runs."""

from __future__ import annotations

from typing import Any


class Absent(AttributeError):
    """A class, function or module of Keras that rnnx does not have."""


class NotApplicable(Exception):
    """Something of a backend, of a device mesh or of Keras' internals that has no meaning without them."""


class _Refusing(type):
    """A class that can be named, compared and derived from, and raises when it is called or looked into."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise vars(cls.__mro__[-2])["_error"](vars(cls.__mro__[-2])["_name"])

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or name == "_pytestfixturefunction":
            raise AttributeError(name)
        first = cls.__mro__[-2]
        if vars(first)["_error"] is NotApplicable:
            return placeholder(f"{vars(first)['_name']}.{name}", NotApplicable)
        raise Absent(f"{vars(first)['_name']}.{name}")

    def __iter__(cls) -> Any:
        raise vars(cls.__mro__[-2])["_error"](vars(cls.__mro__[-2])["_name"])

    def __enter__(cls) -> Any:
        raise vars(cls.__mro__[-2])["_error"](vars(cls.__mro__[-2])["_name"])

    def __exit__(cls, *error: Any) -> None:
        """Never reached."""


def placeholder(name: str, error: type[Exception] = Absent) -> Any:
    """A class by this name that raises ``error`` when it is used."""
    return _Refusing(name.rsplit(".", 1)[-1], (), {"_name": name, "_error": error, "__test__": False})
