"""What a backward pass gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rnnx._typing import Array

Pullback = Callable[..., "Gradients"]


@dataclass(eq=False)
class Gradients:
    """What a pullback returns.

    Attributes
    ----------
    dx : array, list of arrays or None
        Gradient of the input(s); None where there is none (integer ids) or none was asked for.
    dweights : list of arrays or None
        In ``get_weights`` order; None for weights that are not trained.
    dinitial_state : array, tuple of arrays or None
        For recurrent layers.
    """

    dx: Any = None
    dweights: list[Array | None] = field(default_factory=list)
    dinitial_state: Any = None
