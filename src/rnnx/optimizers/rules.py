"""Optimizers, under Keras' names and with Keras' formulas; all updates are made in place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._config import lookup, serialize
from rnnx._typing import Array
from rnnx.layers.layer import Weight
from rnnx.optimizers import schedules
from rnnx.optimizers.optimizer import Optimizer, norm

__all__ = [
    "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Nadam", "Optimizer",
    "RMSprop", "get", "schedules", "serialize",
]  # fmt: skip


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
        self.slot_groups = (2,)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        self._move_means(grad, slots, scratch)
        t, dtype, (a, b, _) = self._step, value.dtype, scratch
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
        self._move_means(grad, slots, scratch)
        dtype, (a, b, c) = value.dtype, scratch
        of_mean = self._next / (1 - self._product * self._next)
        of_grad = (1 - self._now) / (1 - self._product)
        np.multiply(slots["mean"], np.asarray(of_mean * rate, dtype), out=a)
        a += np.multiply(grad, np.asarray(of_grad * rate, dtype), out=b)
        np.multiply(slots["square"], np.asarray(1 / (1 - self.beta_2**self._step), dtype), out=c)
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


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean square.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 7.
    """

    slot_names = ("momentum", "norm")
    slot_groups = (2,)

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
                raise ValueError(f"Adamax: `{label}` must lie in [0, 1), got {beta}")
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        mean, norm = slots["momentum"], slots["norm"]
        mean += np.multiply(np.subtract(grad, mean, out=a), np.asarray(1 - self.beta_1, dtype), out=a)
        norm *= np.asarray(self.beta_2, dtype)
        np.maximum(norm, np.abs(grad, out=a), out=norm)
        np.add(norm, np.asarray(self.epsilon, dtype), out=a)
        np.multiply(mean, np.asarray(rate / (1 - self.beta_1**self._step), dtype), out=b)
        value -= np.divide(b, a, out=b)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


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
            "accumulator": np.full_like(weight.value, self.initial_accumulator_value),
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


class Lamb(Optimizer):
    """Adam whose step is as long as the weight is large, array by array.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float

    References
    ----------
    .. [1] Y. You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", ICLR 2020.
    """

    slot_names = ("momentum", "velocity")
    slot_groups = (2,)
    in_pieces = False

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
                raise ValueError(f"Lamb: `{label}` must lie in [0, 1), got {beta}")
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        dtype, (a, b, _) = value.dtype, scratch
        mean, square, t = slots["momentum"], slots["velocity"], self._step
        mean += np.multiply(np.subtract(grad, mean, out=a), np.asarray(1 - self.beta_1, dtype), out=a)
        square += np.multiply(
            np.subtract(np.square(grad, out=a), square, out=b), np.asarray(1 - self.beta_2, dtype), out=b
        )
        np.sqrt(np.multiply(square, np.asarray(1 / (1 - self.beta_2**t), dtype), out=a), out=a)
        a += np.asarray(self.epsilon, dtype)
        step = np.divide(np.multiply(mean, np.asarray(1 / (1 - self.beta_1**t), dtype), out=b), a, out=b)
        long, short = norm(value), norm(step)
        ratio = long / short if long > 0 and short > 0 else 1.0
        value -= np.multiply(step, np.asarray(ratio * rate, dtype), out=b)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


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
    SGD, RMSprop, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Nadam,
)}  # fmt: skip
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
