"""Adam and its kin: steps from running moments of the gradient, under Keras' names and with Keras' formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.optimizers.clipping import norm
from rnnx.optimizers.optimizer import Optimizer


class OfMoments(Optimizer):
    """Base of the optimizers that keep a mean of the gradient and one of its size.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
        The shares that the two means keep in a step lie in [0, 1).
    """

    slot_groups = (2,)
    beta_1: float
    beta_2: float
    epsilon: float

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        for label, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{type(self).__name__}: `{label}` must lie in [0, 1), got {beta}")
        vars(self).update(beta_1=float(beta_1), beta_2=float(beta_2), epsilon=float(epsilon))

    def _move_means(self, mean: Array, square: Array, grad: Array, scratch: list[Array]) -> None:
        """Move the means of the gradient and of its square, in place; all arrays have the shape of the weight."""
        (a, b, _), dtype = scratch, grad.dtype
        mean += np.multiply(np.subtract(grad, mean, out=a), np.asarray(1 - self.beta_1, dtype), out=a)
        square += np.multiply(
            np.subtract(np.square(grad, out=a), square, out=b), np.asarray(1 - self.beta_2, dtype), out=b
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class Adam(OfMoments):
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

    amsgrad: bool

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        vars(self).update(amsgrad=bool(amsgrad), slot_names=("mean", "square") + ("largest",) * bool(amsgrad))

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        t, mean, square = self._step, slots["mean"], slots["square"]
        corrected = rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        moved, shares = not self.amsgrad, (1 - self.beta_1, 1 - self.beta_2)
        if moved and _kernels.adam(value, grad, mean, square, *shares, corrected, self.epsilon):
            return
        self._move_means(mean, square, grad, scratch)
        dtype, (a, b, _) = value.dtype, scratch
        if self.amsgrad:
            square = np.maximum(slots["largest"], square, out=slots["largest"])
        np.sqrt(square, out=a)
        a += np.asarray(self.epsilon, dtype)
        value -= np.divide(np.multiply(mean, np.asarray(corrected, dtype), out=b), a, out=b)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amsgrad": self.amsgrad}


class AdamW(Adam):
    """Adam with weight decay that does not pass through the means.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ):
        if weight_decay is None:
            raise ValueError(f"{type(self).__name__}: `weight_decay` must be a number, got None; use Adam without one")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs)


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
        t = self._step
        self._now, self._next = self._momentum(t), self._momentum(t + 1)
        if self._multiplied != t - 1:  # after `set_state`
            self._product = math.prod(self._momentum(k) for k in range(1, t))
        self._product, self._multiplied = self._product * self._now, t

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        self._move_means(slots["mean"], slots["square"], grad, scratch)
        dtype, (a, b, c) = value.dtype, scratch
        of_mean = self._next / (1 - self._product * self._next)
        of_grad = (1 - self._now) / (1 - self._product)
        np.multiply(slots["mean"], np.asarray(of_mean * rate, dtype), out=a)
        a += np.multiply(grad, np.asarray(of_grad * rate, dtype), out=b)
        np.multiply(slots["square"], np.asarray(1 / (1 - self.beta_2**self._step), dtype), out=c)
        np.sqrt(c, out=c)
        c += np.asarray(self.epsilon, dtype)
        value -= np.divide(a, c, out=a)


class Adamax(OfMoments):
    """Adam with the largest gradient in place of the mean square.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 7.
    """

    slot_names = ("momentum", "norm")

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        mean, norm = slots["momentum"], slots["norm"]
        mean += np.multiply(np.subtract(grad, mean, out=a), np.asarray(1 - self.beta_1, dtype), out=a)
        norm *= np.asarray(self.beta_2, dtype)
        np.maximum(norm, np.abs(grad, out=a), out=norm)
        np.add(norm, np.asarray(self.epsilon, dtype), out=a)
        np.multiply(mean, np.asarray(rate / (1 - self.beta_1**self._step), dtype), out=b)
        value -= np.divide(b, a, out=b)


class Lamb(OfMoments):
    """Adam whose step is as long as the weight is large, array by array.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float

    References
    ----------
    .. [1] Y. You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", ICLR 2020.
    """

    slot_names = ("momentum", "velocity")
    in_pieces = False

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        mean, square, t = slots["momentum"], slots["velocity"], self._step
        self._move_means(mean, square, grad, scratch)
        np.sqrt(np.multiply(square, np.asarray(1 / (1 - self.beta_2**t), dtype), out=a), out=a)
        a += np.asarray(self.epsilon, dtype)
        step = np.divide(np.multiply(mean, np.asarray(1 / (1 - self.beta_1**t), dtype), out=b), a, out=b)
        long, short = norm(value), norm(step)
        ratio = long / short if long > 0 and short > 0 else 1.0
        value -= np.multiply(step, np.asarray(ratio * rate, dtype), out=b)
