"""Optimizers but for those of `moments`, with Keras' formulas, and all by their names; updates are made in place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._config import lookup
from rnnx._typing import Array
from rnnx.layers.layer import Weight
from rnnx.optimizers.clipping import norm
from rnnx.optimizers.moments import Adam, Adamax, AdamW, Lamb, Nadam
from rnnx.optimizers.muon import Muon
from rnnx.optimizers.optimizer import Optimizer
from rnnx.optimizers.schedule_free import ScheduleFreeAdamW


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's form of it.

    Parameters
    ----------
    learning_rate, momentum : float
    nesterov : bool

    References
    ----------
    .. [1] I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"SGD: `momentum` must lie in [0, 1], got {momentum}")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)
        self.slot_names = ("momentum",) if momentum else ()

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        step = np.multiply(grad, np.asarray(rate, value.dtype), out=scratch[0])
        if not self.momentum:
            value -= step
            return
        velocity, momentum = slots["momentum"], np.asarray(self.momentum, value.dtype)
        velocity *= momentum
        velocity -= step
        if self.nesterov:
            value += np.multiply(velocity, momentum, out=scratch[1])
            value -= step
        else:
            value += velocity

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient.

    Parameters
    ----------
    learning_rate, rho, momentum, epsilon : float
    centered : bool
        Divide by the deviation instead.

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, Lecture 6.5, Coursera, 2012.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.momentum, self.epsilon = float(rho), float(momentum), float(epsilon)
        self.centered = bool(centered)
        self.slot_names = ("velocity",) + ("momentum",) * bool(momentum) + ("average",) * bool(centered)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        rest, velocity = np.asarray(1 - self.rho, dtype), slots["velocity"]
        velocity *= np.asarray(self.rho, dtype)
        velocity += np.multiply(np.square(grad, out=a), rest, out=a)
        np.copyto(a, velocity)
        if self.centered:
            average = slots["average"]
            average *= np.asarray(self.rho, dtype)
            average += np.multiply(grad, rest, out=b)
            a -= np.square(average, out=b)
        a += np.asarray(self.epsilon, dtype)
        np.sqrt(a, out=a)
        step = np.divide(np.multiply(grad, np.asarray(rate, dtype), out=b), a, out=b)
        if self.momentum:
            step = np.add(
                np.multiply(slots["momentum"], np.asarray(self.momentum, dtype), out=a), step, out=slots["momentum"]
            )
        value -= step

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(rho=self.rho, momentum=self.momentum, epsilon=self.epsilon, centered=self.centered)
        return config


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares of the gradient so far.

    Parameters
    ----------
    learning_rate, epsilon : float
    initial_accumulator_value : float
        Where the sums start.

    References
    ----------
    .. [1] J. Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011.
    """

    slot_names = ("sum",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        if not initial_accumulator_value >= 0:
            raise ValueError(
                f"Adagrad: `initial_accumulator_value` must be at least 0, got {initial_accumulator_value}"
            )
        self.initial_accumulator_value, self.epsilon = float(initial_accumulator_value), float(epsilon)

    def _make_slots(self, weight: Weight) -> dict[str, Array]:
        return {**super()._make_slots(weight), "sum": np.full_like(weight.array, self.initial_accumulator_value)}

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        slots["sum"] += np.square(grad, out=a)
        np.sqrt(np.add(slots["sum"], np.asarray(self.epsilon, dtype), out=a), out=a)
        value -= np.divide(np.multiply(grad, np.asarray(rate, dtype), out=b), a, out=b)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(initial_accumulator_value=self.initial_accumulator_value, epsilon=self.epsilon)
        return config


class Adadelta(Optimizer):
    """Steps of the size of the steps before, by the running root mean squares of both.

    Parameters
    ----------
    learning_rate, rho, epsilon : float

    References
    ----------
    .. [1] M. Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
    """

    slot_names = ("accumulated_grad", "accumulated_delta_var")
    slot_groups = (2,)

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.epsilon = float(rho), float(epsilon)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        rho, rest, epsilon = (np.asarray(number, dtype) for number in (self.rho, 1 - self.rho, self.epsilon))
        squares, steps = slots["accumulated_grad"], slots["accumulated_delta_var"]
        squares *= rho
        squares += np.multiply(np.square(grad, out=a), rest, out=a)
        np.sqrt(np.add(steps, epsilon, out=a), out=a)
        a /= np.sqrt(np.add(squares, epsilon, out=b), out=b)
        a *= grad
        steps *= rho
        steps += np.multiply(np.square(a, out=b), rest, out=b)
        value -= np.multiply(a, np.asarray(rate, dtype), out=a)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


class Ftrl(Optimizer):
    """Follow the regularized leader: weights stay 0 until the gradients agree that they should not.

    Parameters
    ----------
    learning_rate : float
    learning_rate_power : float
        0 or less.
    initial_accumulator_value, l1_regularization_strength, l2_regularization_strength : float
        0 or more.
    l2_shrinkage_regularization_strength, beta : float

    References
    ----------
    .. [1] H. McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013.
    """

    slot_names = ("accumulator", "linear")
    slot_groups = (2,)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        if learning_rate_power > 0:
            raise ValueError(f"Ftrl: `learning_rate_power` must be 0 or less, got {learning_rate_power}")
        for label, number in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if not number >= 0:
                raise ValueError(f"Ftrl: `{label}` must be at least 0, got {number}")
            setattr(self, label, float(number))
        self.learning_rate_power, self.beta = float(learning_rate_power), float(beta)

    initial_accumulator_value: float
    l1_regularization_strength: float
    l2_regularization_strength: float
    l2_shrinkage_regularization_strength: float

    def _make_slots(self, weight: Weight) -> dict[str, Array]:
        return {
            **super()._make_slots(weight),
            "accumulator": np.full_like(weight.array, self.initial_accumulator_value),
        }

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        if not rate:
            return  # a step of no length, by which the formula divides
        dtype, (a, b, c) = value.dtype, scratch
        squares, linear, power = slots["accumulator"], slots["linear"], np.asarray(-self.learning_rate_power, dtype)
        inverse = np.asarray(1 / rate, dtype)
        np.power(squares, power, out=b)
        squares += np.square(grad, out=a)
        np.power(squares, power, out=a)
        linear += grad
        if self.l2_shrinkage_regularization_strength:
            linear += np.multiply(value, np.asarray(2 * self.l2_shrinkage_regularization_strength, dtype), out=c)
        np.multiply(np.subtract(a, b, out=b), inverse, out=b)
        linear -= np.multiply(b, value, out=b)
        a *= inverse
        a += np.asarray(2 * self.l2_regularization_strength + self.beta / rate, dtype)
        limit = np.asarray(self.l1_regularization_strength, dtype)
        np.subtract(np.clip(linear, -limit, limit, out=b), linear, out=b)
        np.divide(b, a, out=value)

    def get_config(self) -> dict[str, Any]:
        words = (
            "learning_rate_power", "initial_accumulator_value", "l1_regularization_strength",
            "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta",
        )  # fmt: skip
        return {**super().get_config(), **{word: getattr(self, word) for word in words}}


class Lion(Optimizer):
    """Steps of one size, in the direction of the sign of a mean of gradients.

    Parameters
    ----------
    learning_rate, beta_1, beta_2 : float

    References
    ----------
    .. [1] X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.
    """

    slot_names = ("momentum",)

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"Lion: `beta_1` must lie in (0, 1], got {beta_1}")
        self.beta_1, self.beta_2 = float(beta_1), float(beta_2)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _), mean = value.dtype, scratch, slots["momentum"]
        np.multiply(mean, np.asarray(self.beta_1, dtype), out=a)
        a += np.multiply(grad, np.asarray(1 - self.beta_1, dtype), out=b)
        value -= np.multiply(np.sign(a, out=a), np.asarray(rate, dtype), out=a)
        mean *= np.asarray(self.beta_2, dtype)
        mean += np.multiply(grad, np.asarray(1 - self.beta_2, dtype), out=b)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}


class Adafactor(Optimizer):
    """Adaptive steps from the means of the squared gradient over rows and over columns, relative to the weight.

    Parameters
    ----------
    learning_rate : float
    beta_2_decay : float
        Power of the step by which the means forget.
    epsilon_1, epsilon_2, clip_threshold : float
        What is added to squares, the least size of a weight, and the largest root mean square of a step.
    relative_step : bool
        Whether the learning rate is at most one over the root of the step; not with a schedule.

    References
    ----------
    .. [1] N. Shazeer, M. Stern, "Adafactor: adaptive learning rates with sublinear memory cost", ICML 2018.
    """

    slot_names = ("r", "c", "velocity")
    slot_groups = (3,)
    in_pieces = False

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = float(beta_2_decay), float(epsilon_1), float(epsilon_2)
        self.clip_threshold, self.relative_step = float(clip_threshold), bool(relative_step)

    def slot_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if name not in ("r", "c"):
            return shape
        if len(shape) < 2:
            return ()
        return shape[:-1] if name == "r" else (*shape[:-2], shape[-1])

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _), t = value.dtype, scratch, self._step
        root = 1 / math.sqrt(t)
        if self.relative_step and not callable(self._rate):
            rate = min(rate, root)
        size = norm(value) / math.sqrt(max(1, value.size))
        length = max(self.epsilon_2, size) * min(rate, root)
        keep = 1 - float(t) ** self.beta_2_decay
        old, new = np.asarray(keep, dtype), np.asarray(1 - keep, dtype)
        np.square(grad, out=a)
        a += np.asarray(self.epsilon_1, dtype)
        square = slots["velocity"]
        if value.ndim >= 2:
            rows, columns = slots["r"], slots["c"]
            for mean, axis in ((rows, -1), (columns, -2)):
                mean *= old
                mean += a.mean(axis=axis) * new
            share = rows / rows.mean(axis=-1, keepdims=True)
            np.multiply(share[..., None], columns[..., None, :], out=square)
        else:
            square *= old
            square += np.multiply(a, new, out=a)
        step = np.divide(grad, np.sqrt(square, out=a), out=b)
        largest = max(1.0, norm(step) / math.sqrt(max(1, step.size)) / self.clip_threshold)
        value -= np.multiply(step, np.asarray(length / largest, dtype), out=b)

    def get_config(self) -> dict[str, Any]:
        words = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")
        return {**super().get_config(), **{word: getattr(self, word) for word in words}}


_TABLE: dict[str, Any] = {cls.__name__: cls for cls in (
    SGD, RMSprop, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam,
    ScheduleFreeAdamW,
)}  # fmt: skip
_TABLE.update({name.lower(): cls for name, cls in _TABLE.items()})


def get(identifier: Any) -> Any:
    """The optimizer of a name, a configuration or an object.

    Parameters
    ----------
    identifier : str, dict, class or Optimizer

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If there is nothing of this name.

    Examples
    --------
    >>> from rnnx import optimizers
    >>> optimizers.get("adam").learning_rate
    0.001
    """
    return lookup("optimizer", _TABLE, identifier)
