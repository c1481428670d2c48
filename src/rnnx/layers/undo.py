"""A call that fails leaves a layer as it was: what calls change besides their result, and putting it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def walk(layer: Any) -> Iterator[Any]:
    """A layer and all layers inside it."""
    yield layer
    for part in layer.sublayers:
        yield from walk(part)


def _undo(layer: Any) -> Callable[[], None]:
    """A function that puts the counters of all noise, carried states and moving statistics back."""
    noise = [(generator, generator.state) for generator in layer.seed_generators()]
    carried = [
        (part, part.states)
        for part in walk(layer)
        if getattr(part, "stateful", False) and "states" in vars(part)
    ]
    moving = [(w, w.value, w.version) for w in layer.weights if not w.trainable]

    def undo() -> None:
        for generator, state in noise:
            generator.state = state
        for part, states in carried:
            part.states = states
        for weight, value, version in moving:
            weight.value, weight.version = value, version

    return undo


@contextmanager
def undone_on_failure(layer: Any) -> Iterator[None]:
    """If the block raises, the layer or model is as before."""
    undo = _undo(layer)
    try:
        yield
    except BaseException:
        undo()
        raise


@contextmanager
def undone(layer: Any) -> Iterator[None]:
    """After the block the layer or model is as before."""
    undo = _undo(layer)
    try:
        yield
    finally:
        undo()
