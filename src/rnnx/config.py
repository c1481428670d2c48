"""Settings, under Keras' names: they are fixed, and what would change them says what to do instead."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "backend", "enable_unsafe_deserialization", "epsilon", "floatx", "image_data_format", "set_epsilon", "set_floatx",
    "set_image_data_format",
]  # fmt: skip

EPSILON, FLOATX, DATA_FORMAT = 1e-7, "float32", "channels_last"


def backend() -> str:
    """What computes: ``"rnnx"``."""
    return "rnnx"


def epsilon() -> float:
    """The small number that keeps quotients and logarithms finite."""
    return EPSILON


def floatx() -> str:
    """The dtype of layers that are given none."""
    return FLOATX


def image_data_format() -> str:
    """Where layers that are not told expect the features."""
    return DATA_FORMAT


def set_epsilon(value: float) -> None:
    """Accept the value there is.

    Raises
    ------
    ValueError
        If it is another one.
    """
    _check("set_epsilon", value, EPSILON, "give `epsilon=` to the layers and optimizers that have it")


def set_floatx(value: str) -> None:
    """Accept the dtype there is.

    Raises
    ------
    ValueError
        If it is another one.
    """
    _check("set_floatx", value, FLOATX, f"give `dtype={value!r}` to the layers")


def set_image_data_format(data_format: str) -> None:
    """Accept the order there is.

    Raises
    ------
    ValueError
        If it is another one.
    """
    _check("set_image_data_format", data_format, DATA_FORMAT, f"give `data_format={data_format!r}` to the layers")


def enable_unsafe_deserialization() -> NoReturn:
    """Keras' word for running code from files, which rnnx never does.

    Raises
    ------
    NotImplementedError
        Always; it says what to do.
    """
    raise NotImplementedError(
        "enable_unsafe_deserialization: rnnx runs no code from files; give load_model(path, custom_objects={name: it})"
    )


def _check(who: str, value: Any, fixed: Any, instead: str) -> None:
    if value != fixed:
        raise ValueError(f"{who}: the value is {fixed!r} for the whole program, got {value!r}; {instead}")
