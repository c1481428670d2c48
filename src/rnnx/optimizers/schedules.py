"""Learning rates that depend on the step, under Keras' names and formulas."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnx._config import Configurable, lookup, serialize

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "LearningRateSchedule",
    "PiecewiseConstantDecay", "PolynomialDecay", "deserialize", "serialize",
]  # fmt: skip


class LearningRateSchedule(Configurable, family=True):
    """A callable ``schedule(step) -> learning rate``; the first step is 0."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not say what the learning rate is")

    name: str | None = None
    names: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.names}
        return own if self.name is None else {**own, "name": self.name}


class ExponentialDecay(LearningRateSchedule):
    """``initial * decay_rate ** (step / decay_steps)``."""

    names = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ):
        self.name = name
        _positive("ExponentialDecay", "decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase = decay_rate, staircase

    def __call__(self, step: Any) -> float:
        power = number_of(step) / self.decay_steps
        return float(self.initial_learning_rate * self.decay_rate ** (math.floor(power) if self.staircase else power))


class InverseTimeDecay(ExponentialDecay):
    """``initial / (1 + decay_rate * step / decay_steps)``."""

    def __call__(self, step: Any) -> float:
        time = number_of(step) / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (math.floor(time) if self.staircase else time))


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[k]`` until step ``boundaries[k]``."""

    names = ("boundaries", "values")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str | None = None):
        self.name = name
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                f"PiecewiseConstantDecay: {len(boundaries)} boundaries need {len(boundaries) + 1} values, "
                f"got {len(values)}"
            )
        self.boundaries, self.values = list(boundaries), list(values)

    def __call__(self, step: Any) -> float:
        step = number_of(step)
        return float(self.values[sum(step > b for b in self.boundaries)])


class PolynomialDecay(LearningRateSchedule):
    """From the initial to the end learning rate by ``(1 - step / decay_steps) ** power``."""

    names = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str | None = None,
    ):
        self.name = name
        _positive("PolynomialDecay", "decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle = end_learning_rate, power, cycle

    def __call__(self, step: Any) -> float:
        step = number_of(step)
        steps: float = self.decay_steps
        if self.cycle:
            steps *= max(1, math.ceil(step / self.decay_steps))
        left = 1 - min(step, steps) / steps
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial learning rate to ``alpha`` times it, after an optional linear warm-up.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
    """

    names = ("initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str | None = None,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        self.name = name
        _positive("CosineDecay", "decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps, self.alpha = initial_learning_rate, decay_steps, alpha
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: Any) -> float:
        step = number_of(step)
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            top, step = self.warmup_target, step - self.warmup_steps
        cosine = 0.5 * (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return top * ((1 - self.alpha) * cosine + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Half cosines one after the other, each ``t_mul`` times as long and ``m_mul`` times as high as the one before.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
    """

    names = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha")

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = None,
    ):
        self.name = name
        _positive("CosineDecayRestarts", "first_decay_steps", first_decay_steps)
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha = t_mul, m_mul, alpha

    def __call__(self, step: Any) -> float:
        done = number_of(step) / self.first_decay_steps
        if self.t_mul == 1:
            period = math.floor(done)
            done -= period
        else:
            period = math.floor(math.log(1 - done * (1 - self.t_mul)) / math.log(self.t_mul))
            done = (done - (1 - self.t_mul**period) / (1 - self.t_mul)) / self.t_mul**period
        cosine = 0.5 * self.m_mul**period * (1 + math.cos(math.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


def checked_rate(who: str, rate: Any) -> Any:
    """A learning rate or schedule that can be used; ValueError names what is wrong with another.

    A function is called with the number of the step, or with nothing if it takes no argument.
    """
    if callable(rate) and not isinstance(rate, LearningRateSchedule):
        try:
            inspect.signature(rate).bind(0)
        except TypeError:
            return _WithoutStep(rate)
        except ValueError:  # a function of C that does not say
            pass
    if callable(rate) or isinstance(rate, (int, float, np.number)) and math.isfinite(rate) and rate >= 0:
        return rate
    raise ValueError(f"{who}: `learning_rate` must be a finite number of at least 0, or a schedule, got {rate!r}")


def of_old_words(who: str, rate: Any, old: dict[str, Any]) -> Any:
    """The learning rate that ``lr`` and ``decay`` of Keras 2 mean."""
    if unknown := set(old) - {"lr", "decay"}:
        raise TypeError(f"{who}: unexpected argument(s) {', '.join(sorted(unknown))}")
    if old.get("lr") is not None:
        warnings.warn(f"{who}: `lr` is the old name of `learning_rate`", UserWarning, stacklevel=4)
        rate = old["lr"]
    if old.get("decay"):
        if callable(rate):
            raise ValueError(f"{who}: give a schedule or `decay`, not both")
        warnings.warn(
            f"{who}: `decay` is of Keras 2; the learning rate is InverseTimeDecay({rate}, 1, {old['decay']})",
            UserWarning,
            stacklevel=4,
        )
        rate = InverseTimeDecay(rate, 1, old["decay"])
    return rate


class _WithoutStep:
    """A function of nothing as a schedule."""

    def __init__(self, rate: Callable[[], float]):
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate()


def number_of(step: Any) -> Any:
    """A step as a number, also from something that has it as its value."""
    return step if isinstance(step, (int, float)) else float(np.asarray(getattr(step, "value", step)))


def _positive(who: str, name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{who}: `{name}` must be positive, got {value}")


_TABLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        CosineDecay,
        CosineDecayRestarts,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
    )
}


def deserialize(config: dict[str, Any]) -> Any:
    """The schedule of a configuration.

    Parameters
    ----------
    config : dict
        What `serialize` gave: ``class_name`` and ``config``.

    Returns
    -------
    LearningRateSchedule

    Raises
    ------
    ValueError
        If there is no schedule of this name.

    Examples
    --------
    >>> from rnnx.optimizers import schedules
    >>> half = schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
    >>> float(schedules.deserialize(schedules.serialize(half))(10))
    0.05
    """
    return lookup("learning rate schedule", _TABLE, config)
