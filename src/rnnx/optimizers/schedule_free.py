"""An optimizer that needs no schedule of the learning rate, because it averages the weights of all steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.weight import Weight
from rnnx.optimizers.optimizer import Optimizer


class ScheduleFreeAdamW(Optimizer):
    """Adam without a schedule: gradients are taken between where the steps have come to and the mean of all steps.

    Parameters
    ----------
    learning_rate : float
    beta_1 : float
        How near the weights are to the mean, in (0, 1].
    beta_2, epsilon : float
        Of the mean square of the gradient, as in `Adam`.
    warmup_steps : int
        Steps over which the learning rate rises to its size.

    Raises
    ------
    ValueError
        If a number is out of its range.

    References
    ----------
    .. [1] A. Defazio et al., "The road less scheduled", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import layers, optimizers
    >>> layer = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> layer.build((None, 2))
    >>> optimizer = optimizers.ScheduleFreeAdamW(0.1)
    >>> for _ in range(2):
    ...     optimizer.apply([np.array([[1.0], [-1.0]])], layer.weights)
    >>> print(layer.kernel.ravel().round(3))
    [0.845 1.155]
    """

    slot_names = ("momentum", "velocity")
    slot_groups = (2,)

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        if not 0 < beta_1 <= 1 or not 0 <= beta_2 < 1:
            raise ValueError(
                f"ScheduleFreeAdamW: `beta_1` must lie in (0, 1] and `beta_2` in [0, 1), got {beta_1} and {beta_2}"
            )
        if isinstance(warmup_steps, bool) or not isinstance(warmup_steps, (int, np.integer)) or warmup_steps < 0:
            raise ValueError(f"ScheduleFreeAdamW: `warmup_steps` must be an integer from 0, got {warmup_steps!r}")
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)
        self.warmup_steps = int(warmup_steps)

    def _make_slots(self, weight: Weight) -> dict[str, Array]:
        """Where the steps have come to begins with the weight itself."""
        found = super()._make_slots(weight)
        found["momentum"] = np.array(weight.array)
        return found

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, t, (a, b, mean) = value.dtype, self._step, scratch
        reached, square = slots["momentum"], slots["velocity"]
        if self.warmup_steps:
            rate *= min(t / self.warmup_steps, 1.0)
        np.multiply(reached, np.asarray(1 - self.beta_1, dtype), out=mean)
        np.subtract(value, mean, out=mean)
        mean /= np.asarray(self.beta_1, dtype)  # that of all steps before
        square *= np.asarray(self.beta_2, dtype)
        square += np.multiply(np.multiply(grad, grad, out=a), np.asarray(1 - self.beta_2, dtype), out=a)
        np.sqrt(square, out=a)
        a /= np.asarray(math.sqrt(1 - self.beta_2**t), dtype)
        a += np.asarray(self.epsilon, dtype)
        reached -= np.divide(np.multiply(grad, np.asarray(rate, dtype), out=b), a, out=b)
        mean *= np.asarray(1 - 1 / t, dtype)
        mean += np.multiply(reached, np.asarray(1 / t, dtype), out=a)
        np.multiply(mean, np.asarray(self.beta_1, dtype), out=value)
        value += np.multiply(reached, np.asarray(1 - self.beta_1, dtype), out=a)

    def get_config(self) -> dict[str, Any]:
        own = ("beta_1", "beta_2", "epsilon", "warmup_steps")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
