"""An optimizer around another one that multiplies the loss, and leaves steps out whose gradients are not finite."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._config import serialize
from rnnx._typing import Array
from rnnx.layers.names import unique_name
from rnnx.layers.weight import Weight
from rnnx.optimizers.live import Variable
from rnnx.optimizers.optimizer import Optimizer
from rnnx.optimizers.rules import _TABLE, get
from rnnx.optimizers.slots import Slots

OF_INNER = {
    "weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False,
    "ema_momentum": 0.99, "ema_overwrite_frequency": None, "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}  # fmt: skip


class LossScaleOptimizer(Optimizer):
    """Another optimizer, with a loss that is multiplied by a scale which finds its size by itself.

    Keras has it for float16, whose small gradients vanish. Here gradients are float32 or float64: the scale, a power of
    2, changes no step, and what is left is that a step is left out where a gradient is not finite.

    Parameters
    ----------
    inner_optimizer : str or Optimizer
    initial_scale : float
        Halved when a gradient is not finite.
    dynamic_growth_steps : int
        Doubled after so many steps without that.
    name : str, optional

    Raises
    ------
    ValueError
        If an argument of the inner optimizer is given here, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import layers, optimizers
    >>> layer = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> layer.build((None, 2))
    >>> optimizer = optimizers.LossScaleOptimizer(optimizers.SGD(0.5), initial_scale=4.0)
    >>> optimizer.apply([np.array([[4.0], [np.inf]])], layer.weights)  # of 4 times the loss
    >>> layer.kernel.ravel().tolist(), float(optimizer.dynamic_scale)
    ([1.0, 1.0], 2.0)
    >>> optimizer.apply([np.array([[4.0], [1.0]])], layer.weights)
    >>> layer.kernel.ravel().tolist()
    [0.0, 0.75]
    """

    not_attributes = frozenset(OF_INNER) - {"loss_scale_factor", "use_ema"}

    def __init__(
        self,
        inner_optimizer: Any,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ):
        if not kwargs.pop("dynamic", True):
            raise ValueError(
                "LossScaleOptimizer: `dynamic` must be True; for a fixed scale give the inner optimizer "
                "`loss_scale_factor`"
            )
        for word, value in kwargs.items():
            if word not in OF_INNER or value != OF_INNER[word]:
                raise ValueError(f"LossScaleOptimizer: unknown argument `{word}`; give it to the inner optimizer")
        if not initial_scale > 0 or not np.isfinite(initial_scale):
            raise ValueError(f"LossScaleOptimizer: `initial_scale` must be positive, got {initial_scale}")
        if not isinstance(dynamic_growth_steps, (int, np.integer)) or dynamic_growth_steps < 1:
            raise ValueError(
                f"LossScaleOptimizer: `dynamic_growth_steps` must be a positive integer, got {dynamic_growth_steps!r}"
            )
        inner = get(inner_optimizer)
        if not isinstance(inner, Optimizer) or isinstance(inner, LossScaleOptimizer):
            raise ValueError(
                f"LossScaleOptimizer: `inner_optimizer` must be another optimizer, got {inner_optimizer!r}"
            )
        inner.loss_scale_factor = None  # it would scale twice
        self.inner_optimizer = inner
        self.initial_scale, self.dynamic_growth_steps = float(initial_scale), int(dynamic_growth_steps)
        self.name = name or unique_name("LossScaleOptimizer")
        self._scale, self._finite_steps = self.initial_scale, 0

    # ---- Scale -----------------------------------------------------------------------------------------------------

    @property
    def dynamic_scale(self) -> Variable:
        """What the loss is multiplied by now."""
        return Variable("dynamic_scale", lambda: self._scale, lambda value: setattr(self, "_scale", float(value)))

    @property
    def step_counter(self) -> Variable:
        """Steps since the scale has changed."""
        return Variable(
            "step_counter", lambda: self._finite_steps, lambda value: setattr(self, "_finite_steps", int(value))
        )

    loss_scale_factor: Any = property(
        lambda self: self._scale, doc="The scale, by which `fit` multiplies what `apply` divides."
    )

    def scale_loss(self, loss: Any) -> Any:
        """The loss times the scale."""
        return loss * self._scale

    def apply(self, grads: Sequence[Any], weights: Sequence[Any] | None = None) -> None:
        """Make one step of the inner optimizer, or none if a gradient is not finite; see `Optimizer.apply`."""
        if weights is not None and any(isinstance(part, Weight) for part in grads):
            grads, weights = weights, grads
        found: list[Array | None] = [None if grad is None else np.asarray(grad) for grad in grads]
        if all(grad is None or grad.dtype.kind != "f" or np.isfinite(grad).all() for grad in found):
            scaled = [
                None if g is None else g / np.asarray(self._scale, g.dtype if g.dtype.kind == "f" else None)
                for g in found
            ]
            self.inner_optimizer.apply(scaled, weights)
            self._finite_steps += 1
            if self._finite_steps == self.dynamic_growth_steps:
                self._scale, self._finite_steps = self._scale * 2, 0
        else:
            self._scale, self._finite_steps = self._scale / 2, 0

    # ---- What is that of the inner optimizer -----------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """That of the inner optimizer; assign a number or a schedule."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    lr = learning_rate

    @property
    def _rate(self) -> Any:
        return self.inner_optimizer._rate

    use_ema: Any = property(
        lambda self: self.inner_optimizer.use_ema, doc="Whether the inner optimizer keeps running means of the weights."
    )
    _averages: Any = property(lambda self: self.inner_optimizer._averages)

    @property
    def iterations(self) -> Any:
        """Steps of the inner optimizer; those that were left out do not count."""
        return self.inner_optimizer.iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.inner_optimizer.iterations = value

    def build(self, weights: Sequence[Weight]) -> None:
        """Make what is kept for each weight, before the first step."""
        self.inner_optimizer.build(weights)

    @property
    def built(self) -> bool:
        """Whether there is something kept for each weight."""
        return self.inner_optimizer.built

    wants_paths: Any = property(lambda self: self.inner_optimizer.wants_paths, doc="Whether the inner optimizer does.")

    def take_paths(self, paths: dict[int, str]) -> None:
        """Hand them on to the inner optimizer."""
        self.inner_optimizer.take_paths(paths)

    @property
    def variables(self) -> list[Variable]:
        """The counter, the scale, and what the inner optimizer keeps."""
        return [self.step_counter, self.dynamic_scale, *self.inner_optimizer.variables]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Assign to all `variables`, in their order."""
        self.inner_optimizer.set_weights(values[2:])
        self._finite_steps, self._scale = int(values[0]), float(values[1])

    def before_first_step(self) -> Any:
        """A copy of the optimizer that has not made a step."""
        found = copy.copy(self)
        vars(found)["inner_optimizer"] = self.inner_optimizer.before_first_step()
        found._scale, found._finite_steps = self.initial_scale, 0
        return found

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Weights that the ``weight_decay`` of the inner optimizer does not touch."""
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def finalize_variable_values(self, weights: Any = None) -> None:
        """With ``use_ema``, let the running means take the place of the weights, as at the end of training."""
        self.inner_optimizer.finalize_variable_values(weights)

    def update(self, value: Array, grad: Array, slots: Slots, rate: float, scratch: list[Array]) -> None:
        """That of the inner optimizer."""
        self.inner_optimizer.update(value, grad, slots, rate, scratch)

    def get_state(self) -> dict[str, Array]:
        """Everything that must be kept to continue as if never stopped, by name."""
        own = {"dynamic_scale": np.array(self._scale), "step_counter": np.array(self._finite_steps, np.int64)}
        return {**self.inner_optimizer.get_state(), **own}

    def set_state(self, state: dict[str, Array], *, copy: bool = True) -> None:
        """Continue from a state of `get_state`; see `Optimizer.set_state`."""
        rest = dict(state)
        scale, steps = rest.pop("dynamic_scale", self.initial_scale), rest.pop("step_counter", 0)
        self.inner_optimizer.set_state(rest, copy=copy)
        self._scale, self._finite_steps = float(scale), int(steps)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inner_optimizer": serialize(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }


_TABLE["LossScaleOptimizer"] = LossScaleOptimizer  # which is made of one that `get` finds
