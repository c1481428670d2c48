"""Optimizers, under Keras' names and with Keras' formulas; all updates are made in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx import schedules
from rnnx._config import Configurable, lookup, serialize
from rnnx.layers.base import Weight

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Nadam", "Optimizer", "RMSprop", "get", "schedules", "serialize"]

Array = NDArray[Any]


class Optimizer(Configurable):
    """Base of the optimizers.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    weight_decay : float, optional
        Share of a weight, times the learning rate, that is taken away in each step.
    clipnorm : float, optional
        Largest norm of the gradient of one weight.
    global_clipnorm : float, optional
        Largest norm of all gradients together.
    clipvalue : float, optional
        Largest absolute value in a gradient.

    Notes
    -----
    ``apply`` checks everything before it touches the first weight.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        name: str | None = None,
    ):
        who = type(self).__name__
        given = [
            n for n, v in (("clipnorm", clipnorm), ("global_clipnorm", global_clipnorm), ("clipvalue", clipvalue)) if v
        ]
        if len(given) > 1:
            raise ValueError(f"{who}: give at most one of clipnorm, global_clipnorm and clipvalue, got {given}")
        for label, value in (("clipnorm", clipnorm), ("global_clipnorm", global_clipnorm), ("clipvalue", clipvalue)):
            if value is not None and not value > 0:
                raise ValueError(f"{who}: `{label}` must be positive, got {value}")
        if isinstance(learning_rate, dict):
            learning_rate = schedules.deserialize(learning_rate)
        self._rate = schedules.checked_rate(who, learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm, self.global_clipnorm, self.clipvalue = clipnorm, global_clipnorm, clipvalue
        self.name = name or who.lower()
        self.iterations = 0
        self._slots: list[dict[str, Array]] = []
        self._scratch: dict[tuple[tuple[int, ...], str], list[Array]] = {}

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step; assign a number or a schedule."""
        return self._rate(self.iterations) if callable(self._rate) else self._rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._rate = schedules.checked_rate(type(self).__name__, value)

    lr = learning_rate

    def apply(self, weights: Sequence[Weight], grads: Sequence[Array | None]) -> None:
        """Make one step.

        Parameters
        ----------
        weights : list of Weight
            The same ones, in the same order, in every call.
        grads : list of arrays or None
            None leaves the weight as it is.

        Raises
        ------
        ValueError
            If numbers or shapes differ; nothing has been changed then.
        TypeError
            If a gradient is not made of real numbers; nothing has been changed then.
        """
        if len(weights) != len(grads):
            raise ValueError(f"{type(self).__name__}: {len(weights)} weights but {len(grads)} gradients")
        grads = [grad if grad is None else np.asarray(grad) for grad in grads]
        for weight, grad in zip(weights, grads, strict=True):
            if grad is None:
                continue
            if grad.dtype.kind not in "fiub":
                raise TypeError(
                    f"{type(self).__name__}: the gradient of {weight.name!r} must be real numbers, "
                    f"got dtype {grad.dtype}"
                )
            if grad.shape != weight.shape:
                raise ValueError(
                    f"{type(self).__name__}: the gradient of {weight.name!r} must have shape {weight.shape}, "
                    f"got {grad.shape}"
                )
        if not self._slots:
            self._slots = [self._make_slots(weight) for weight in weights]
        known = [tuple(int(n) for n in slots["shape"]) for slots in self._slots]
        if known != [weight.shape for weight in weights]:
            raise ValueError(
                f"{type(self).__name__}: these are not the weights of the steps before; make a new optimizer"
            )
        rate = float(self.learning_rate)
        scale = self._global_scale(grads)
        self.iterations += 1
        self._begin_step()
        for weight, grad, slots in zip(weights, grads, self._slots, strict=True):
            if grad is None:
                continue
            value, scratch = weight.mutable(), self._scratch_of(weight)
            grad = self._clip(grad.astype(value.dtype, copy=False), scale, scratch[0])
            if self.weight_decay:
                value -= np.multiply(value, np.asarray(self.weight_decay * rate, value.dtype), out=scratch[1])
            self.update(value, grad, slots, rate, scratch[1:])
            if weight.constraint is not None:
                value[...] = weight.constraint(value)

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        """Change ``value`` and ``slots`` in place; ``scratch`` are three arrays of the same shape."""
        raise TypeError(f"{type(self).__name__} does not say how it updates")

    def _begin_step(self) -> None:
        """Compute what all weights of a step share."""

    def _make_slots(self, weight: Weight) -> dict[str, Array]:
        return {name: np.zeros_like(weight.value) for name in self.slot_names} | {"shape": np.array(weight.shape)}

    def _scratch_of(self, weight: Weight) -> list[Array]:
        key = (weight.shape, weight.value.dtype.name)
        if key not in self._scratch:
            self._scratch[key] = [np.empty_like(weight.value) for _ in range(4)]
        return self._scratch[key]

    def _global_scale(self, grads: Sequence[Array | None]) -> float:
        if self.global_clipnorm is None:
            return 1.0
        norm = math.hypot(*(_norm(g) for g in grads if g is not None))
        return self.global_clipnorm / norm if norm > self.global_clipnorm else 1.0

    def _clip(self, grad: Array, scale: float, out: Array) -> Array:
        if self.clipvalue is not None:
            return np.clip(grad, -self.clipvalue, self.clipvalue, out=out)
        if self.clipnorm is not None:
            norm = _norm(grad)
            scale = self.clipnorm / norm if norm > self.clipnorm else 1.0
        return grad if scale == 1.0 else np.multiply(grad, np.asarray(scale, grad.dtype), out=out)

    # ---- State -----------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Array]:
        """Everything that must be kept to continue as if never stopped, by name."""
        state = {"iterations": np.array(self.iterations, np.int64)}
        if not callable(self._rate):
            state["learning_rate"] = np.array(self._rate, np.float64)
        for k, slots in enumerate(self._slots):
            state.update({f"{k}/{name}": np.array(value) for name, value in slots.items()})
        return state

    def set_state(self, state: dict[str, Array]) -> None:
        """Continue from a state of `get_state`.

        Raises
        ------
        ValueError
            If it is not a state of this kind of optimizer.
        """
        if "iterations" not in state:
            raise ValueError(f"{type(self).__name__}: this is not a state of an optimizer")
        try:
            iterations = int(state["iterations"])
        except (TypeError, ValueError):
            raise ValueError(
                f"{type(self).__name__}: `iterations` must be a whole number, got {state['iterations']!r}"
            ) from None
        slots: dict[int, dict[str, Array]] = {}
        for key, value in state.items():
            number, _, name = key.partition("/")
            if name:
                slots.setdefault(int(number), {})[name] = np.array(value)
        for place, own in slots.items():
            if set(own) != {*self.slot_names, "shape"}:
                raise ValueError(
                    f"{type(self).__name__}: the state has {sorted(set(own) - {'shape'})} for each weight, "
                    f"expected {sorted(self.slot_names)}"
                )
            if any(own[name].shape != tuple(own["shape"]) for name in self.slot_names):
                raise ValueError(f"{type(self).__name__}: the state of weight {place} has arrays of different shapes")
        rate = self._rate
        if "learning_rate" in state and not callable(rate):
            rate = schedules.checked_rate(type(self).__name__, float(state["learning_rate"]))
        self._slots, self.iterations, self._rate = [slots[k] for k in sorted(slots)], iterations, rate

    def get_config(self) -> dict[str, Any]:
        rate = serialize(self._rate) if isinstance(self._rate, schedules.LearningRateSchedule) else self._rate
        return {
            "learning_rate": rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "name": self.name,
        }


def _norm(grad: Array) -> float:
    """Length of a gradient, also of one whose squares are too large for its dtype."""
    flat = grad.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(np.dot(flat, flat)) if flat.dtype.kind == "f" else math.inf
    if math.isfinite(squares):
        return math.sqrt(squares)
    largest = float(np.abs(flat).max(initial=0))
    if not 0 < largest < math.inf:
        return largest
    return largest * float(np.linalg.norm(flat.astype(np.float64) / largest))


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
        np.sqrt(self._square(slots), out=a)
        a += np.asarray(self.epsilon, dtype)
        value -= np.divide(np.multiply(slots["mean"], np.asarray(corrected, dtype), out=b), a, out=b)

    def _move_means(self, grad: Array, slots: dict[str, Array], scratch: list[Array]) -> None:
        (a, b, _), dtype = scratch, grad.dtype
        mean, square = slots["mean"], slots["square"]
        mean += np.multiply(np.subtract(grad, mean, out=a), np.asarray(1 - self.beta_1, dtype), out=a)
        square += np.multiply(
            np.subtract(np.square(grad, out=a), square, out=b), np.asarray(1 - self.beta_2, dtype), out=b
        )

    def _square(self, slots: dict[str, Array]) -> Array:
        if not self.amsgrad:
            return slots["square"]
        return np.maximum(slots["largest"], slots["square"], out=slots["largest"])

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
