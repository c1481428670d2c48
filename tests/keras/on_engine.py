"""A plugin of pytest: whatever runs, Keras' recurrent layers run on rnnx; the last line says how often they did."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import keras
import pytest

import rnnx.keras


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any):
        self.function, self.calls = function, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.function(*arguments)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    engine = importlib.import_module(f"rnnx.keras._{keras.backend.backend()}")
    engine.loop = loop = Counted(engine.loop)
    engine.FEWEST_PRODUCTS = {}
    with rnnx.keras.accelerated():
        result = yield
    print(f"\ncalls of the engine: {loop.calls}")
    return result
