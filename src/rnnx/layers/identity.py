"""Layers whose output is their input."""

from __future__ import annotations

from typing import Any

from rnnx import regularizers
from rnnx._typing import Array
from rnnx.layers.layer import Gradients, Layer, Pullback


class Identity(Layer):
    """The input itself.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Identity()(np.array([[1.0, 2.0]]))
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.built = True

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(self.cast(dy) if need_dx else None)

        return x, pullback if keep else None


class ActivityRegularization(Identity):
    """The input itself, which is penalized in training: ``l1 * sum(|x|) + l2 * sum(x ** 2)``, by the rows of a batch.

    Parameters
    ----------
    l1, l2 : float

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> float(rnnx.layers.ActivityRegularization(l1=0.5).activity_regularizer(np.array([[1.0, -3.0]])))
    2.0
    """

    not_attributes = frozenset({"activity_regularizer"})  # `l1` and `l2` say it

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        vars(self)["activity_regularizer"] = regularizers.L1L2(l1=l1, l2=l2)
        self.l1, self.l2 = float(l1), float(l2)

    def note_change(self, name: str) -> None:
        super().note_change(name)
        vars(self)["activity_regularizer"] = regularizers.L1L2(l1=self.l1, l2=self.l2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}
