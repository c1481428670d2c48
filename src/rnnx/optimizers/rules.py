"""Optimizers, under Keras' names and with Keras' formulas; all updates are made in place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._config import lookup, serialize
from rnnx._typing import Array
from rnnx.layers.layer import Weight
from rnnx.optimizers import schedules
from rnnx.optimizers.optimizer import Optimizer

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Nadam", "Optimizer", "RMSprop", "get", "schedules", "serialize"]


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


class Adam(Optimizer):
    """Steps from running means of the gradient and of its square.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
    amsgrad : bool
        Use the largest mean square so far.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [2] S. Reddi et al., "On the convergence of Adam and beyond", ICLR 2018.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        for label, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{type(self).__name__}: `{label}` must lie in [0, 1), got {beta}")
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)
        self.amsgrad = bool(amsgrad)
        self.slot_names = ("mean", "square") + ("largest",) * self.amsgrad

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        self._move_means(grad, slots, scratch)
        t, dtype, (a, b, _) = self.iterations, value.dtype, scratch
        corrected = rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        square = slots["square"]
        if self.amsgrad:
            square = np.maximum(slots["largest"], square, out=slots["largest"])
        np.sqrt(square, out=a)
        a += np.asarray(self.epsilon, dtype)
        value -= np.divide(np.multiply(slots["mean"], np.asarray(corrected, dtype), out=b), a, out=b)

    def _move_means(self, grad: Array, slots: dict[str, Array], scratch: list[Array]) -> None:
        (a, b, _), dtype = scratch, grad.dtype
        mean, square = slots["mean"], slots["square"]
        mean += np.multiply(np.subtract(grad, mean, out=a), np.asarray(1 - self.beta_1, dtype), out=a)
        square += np.multiply(
            np.subtract(np.square(grad, out=a), square, out=b), np.asarray(1 - self.beta_2, dtype), out=b
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, amsgrad=self.amsgrad)
        return config


class AdamW(Adam):
    """Adam with weight decay that does not pass through the means.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004, **kwargs: Any):
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)


class Nadam(Adam):
    """Adam with Nesterov momentum.

    References
    ----------
    .. [1] T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.
    """

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any):
        if kwargs.get("amsgrad"):
            raise ValueError("Nadam: there is no `amsgrad` form")
        kwargs.pop("amsgrad", None)
        super().__init__(learning_rate, **kwargs)
        self._product, self._multiplied = 1.0, 0  # the momenta of the steps so far, and how many these are

    def _momentum(self, step: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**step)

    def _begin_step(self) -> None:
        t = self.iterations
        self._now, self._next = self._momentum(t), self._momentum(t + 1)
        if self._multiplied != t - 1:  # after `set_state`
            self._product = math.prod(self._momentum(k) for k in range(1, t))
        self._product, self._multiplied = self._product * self._now, t

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        self._move_means(grad, slots, scratch)
        dtype, (a, b, c) = value.dtype, scratch
        of_mean = self._next / (1 - self._product * self._next)
        of_grad = (1 - self._now) / (1 - self._product)
        np.multiply(slots["mean"], np.asarray(of_mean * rate, dtype), out=a)
        a += np.multiply(grad, np.asarray(of_grad * rate, dtype), out=b)
        np.multiply(slots["square"], np.asarray(1 / (1 - self.beta_2**self.iterations), dtype), out=c)
        np.sqrt(c, out=c)
        c += np.asarray(self.epsilon, dtype)
        value -= np.divide(a, c, out=a)


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
        return {**super()._make_slots(weight), "sum": np.full_like(weight.value, self.initial_accumulator_value)}

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        slots["sum"] += np.square(grad, out=a)
        np.sqrt(np.add(slots["sum"], np.asarray(self.epsilon, dtype), out=a), out=a)
        value -= np.divide(np.multiply(grad, np.asarray(rate, dtype), out=b), a, out=b)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(initial_accumulator_value=self.initial_accumulator_value, epsilon=self.epsilon)
        return config


_TABLE: dict[str, Any] = {cls.__name__: cls for cls in (SGD, RMSprop, Adagrad, Adam, AdamW, Nadam)}
_TABLE.update({name.lower(): cls for name, cls in _TABLE.items()})


def get(identifier: Any) -> Any:
    """The optimizer of a name, a configuration or an object.

    Examples
    --------
    >>> from rnnx import optimizers
    >>> optimizers.get("adam").learning_rate
    0.001
    """
    return lookup("optimizer", _TABLE, identifier)
