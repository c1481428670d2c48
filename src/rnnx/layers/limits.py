"""What making a model from a file may cost: numbers in its weights, layers, calls, layers inside each other.

A description of a thousand bytes can ask for any amount of each: models that call each other twice, 40 deep, are 2**40
calls. So all are counted before the work is done, while a file is read; models that a program makes are not limited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST_LAYERS = 12_000  # cells take 0.2 ms each
MOST_CALLS = 30_000  # of layers on tensors, those inside of models once for every call of the model
DEEPEST = 40  # layers and models inside each other
MOST_AXES = 32  # of a tensor, as NumPy has them


class Budget:
    """What may still be made.

    Parameters
    ----------
    numbers : int or None
        In all weights; None for fresh weights, as many as are wanted.

    Attributes
    ----------
    depth : int
        Inside how many layers the one is that is being made: `DEEPEST` at most.
    """

    def __init__(self, numbers: int | None):
        self.numbers, self.layers, self.calls, self.depth = numbers, MOST_LAYERS, MOST_CALLS, 0

    def take_weight(self, who: str, name: str, shape: tuple[int, ...]) -> None:
        """Count a weight that is about to be made.

        Raises
        ------
        ValueError
            If the file cannot have so many numbers.
        """
        assert self.numbers is not None
        count = math.prod(shape)
        if count > self.numbers:
            raise ValueError(f"{who}: there are no numbers for the weight {name!r} of shape {tuple(shape)}")
        self.numbers -= count

    def take_layer(self) -> None:
        """Count a layer that is about to be made.

        Raises
        ------
        ValueError
            If there are more than `MOST_LAYERS`.
        """
        self.layers -= 1
        if self.layers < 0:
            raise ValueError(f"the model has more than {MOST_LAYERS:,} layers, the most that is read")

    def take_calls(self, who: str, count: int) -> None:
        """Count what a call of a layer leads to.

        Raises
        ------
        ValueError
            If there are more than `MOST_CALLS`.
        """
        if count > self.calls:
            raise ValueError(
                f"{who}: with its call the layers of the model are called more than {MOST_CALLS:,} times, the most "
                "that is read (models that are called several times inside each other)"
            )
        self.calls -= count

    def check_shape(self, who: str, shape: Sequence[Any]) -> None:
        """Refuse a shape that no array has.

        Raises
        ------
        ValueError
            If it has more than `MOST_AXES` axes or a size beyond 63 bits.
        """
        if len(shape) > MOST_AXES:
            raise ValueError(f"{who}: a tensor of {len(shape):,} axes, the most is {MOST_AXES}")
        for n in shape:
            if n is not None and n >= 1 << 63:
                raise ValueError(f"{who}: a tensor with an axis of 2**63 or more")


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
budget = _budget.get


@contextmanager
def weights_limited(numbers: int | None) -> Iterator[None]:
    """For models that come from a file: bounded work, and weights that are all replaced by what the file has.

    Parameters
    ----------
    numbers : int or None
        How many all weights may have; they are zeros that take no memory. With None they are fresh ones, unless they
        are limited already.
    """
    outer = _budget.get()
    token = _budget.set(Budget(outer.numbers if numbers is None and outer is not None else numbers))
    try:
        yield
    finally:
        _budget.reset(token)
