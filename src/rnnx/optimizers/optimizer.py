"""The base of all optimizers: what is checked, clipped and kept around an update."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnnx._config import Configurable, refuse_overrides, serialize
from rnnx._typing import Array
from rnnx.layers.names import unique_name
from rnnx.layers.weight import Weight, changing
from rnnx.optimizers import schedules
from rnnx.optimizers.clipping import scale_within
from rnnx.optimizers.live import Rate, Steps
from rnnx.optimizers.slots import KeepsSlots, Slots

Moved = tuple[Weight, Array, Slots]  # a weight, its gradient, and what is kept for it
NOT_KEPT = ("_averages", "_known", "_scratch")  # of a copy or a pickle
PIECE = 1 << 16  # elements that are updated at a time, so that all arrays of an update stay in the second-level cache


INSTEAD = "implement `update(value, grad, slots, rate, scratch)`, which changes arrays in place, with `slot_names`"
NEVER_CALLED = {
    "update_step": INSTEAD,
    "apply_gradients": "fit calls `apply(grads, weights)`; override that",
    "get_updates": INSTEAD,
    "minimize": "fit calls `apply(grads, weights)`; override that",
    "_resource_apply_dense": INSTEAD,
}


class Optimizer(KeepsSlots, Configurable, family=True):
    """Base of the optimizers.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    weight_decay : float, optional
        Share of a weight, times the learning rate, that is taken away in each step.
    clipnorm : float, optional
        Largest norm of the gradient of one weight.
    global_clipnorm : float, optional
        Largest norm of all gradients together.
    clipvalue : float, optional
        Largest absolute value in a gradient.
    use_ema : bool
        Keep a running mean of each weight, which takes its place when training ends.
    ema_momentum : float
        How much of the mean a step keeps.
    ema_overwrite_frequency : int, optional
        Steps after which the means take the place of the weights during training too.
    loss_scale_factor : float, optional
        What gradients are divided by; `scale_loss` multiplies by it.
    gradient_accumulation_steps : int, optional
        Gradients of so many steps become one update, of their mean. Schedules count all steps.
    name : str, optional

    Notes
    -----
    ``apply`` checks everything before it touches the first weight. Of old scripts, ``lr`` is taken as the learning rate
    and ``decay`` as a schedule, both with a warning.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls, NEVER_CALLED)

    ema_momentum = 0.99
    ema_overwrite_frequency: int | None = None
    loss_scale_factor: float | None = None
    _undecayed: tuple[frozenset[int], str] | None = None  # weights without decay, and a pattern of the names of others
    _averages: tuple[tuple[Weight, Array], ...] = ()
    name: str
    weight_decay: float | None
    clipnorm: float | None
    global_clipnorm: float | None
    clipvalue: float | None
    _scratch: dict[tuple[tuple[int, ...], np.dtype[Any]], list[Array]]

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **old: Any,
    ):
        who = type(self).__name__
        given = [
            n for n, v in (("clipnorm", clipnorm), ("global_clipnorm", global_clipnorm), ("clipvalue", clipvalue)) if v
        ]
        if len(given) > 1:
            raise ValueError(f"{who}: give at most one of clipnorm, global_clipnorm and clipvalue, got {given}")
        for label, value in (
            ("clipnorm", clipnorm),
            ("global_clipnorm", global_clipnorm),
            ("clipvalue", clipvalue),
            ("loss_scale_factor", loss_scale_factor),
        ):
            if value is not None and not value > 0:
                raise ValueError(f"{who}: `{label}` must be positive, got {value}")
        for label, number, least in (
            ("ema_overwrite_frequency", ema_overwrite_frequency, 1),
            ("gradient_accumulation_steps", gradient_accumulation_steps, 2),
        ):
            if number and (not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < least):
                raise ValueError(f"{who}: `{label}` must be an integer of at least {least} or None, got {number!r}")
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f"{who}: `ema_momentum` must lie in [0, 1], got {ema_momentum}")
        if isinstance(learning_rate, dict):
            learning_rate = schedules.deserialize(learning_rate)
        if old:
            learning_rate = schedules.of_old_words(who, learning_rate, old)
        vars(self).update(
            _rate=schedules.checked_rate(who, learning_rate),
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            global_clipnorm=global_clipnorm,
            clipvalue=clipvalue,
            use_ema=bool(use_ema),
            ema_momentum=float(ema_momentum),
            ema_overwrite_frequency=ema_overwrite_frequency or None,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps or None,
            name=name or unique_name(who),
            _iterations=0,
            _step=0,
            _slots=[],
            _scratch={},
        )

    def check_change(self, name: str, before: Any, after: Any) -> None:
        if vars(self).get("_slots") and before.all_slot_names != after.all_slot_names:
            raise AttributeError(
                f"{type(self).__name__}: `{name}` cannot change after the first step, which has made "
                f"{', '.join(self.all_slot_names) or 'nothing'} for each weight; make a new optimizer"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in NOT_KEPT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "iterations" in state:  # of 0.1.0
            state = {**state, "_iterations": state["iterations"], "_step": state["iterations"]}
            del state["iterations"]
        vars(self).update({"_scratch": {}, **state})

    @property
    def iterations(self) -> Any:
        """Updates so far; assign a number."""
        return Steps(self._iterations // (self.gradient_accumulation_steps or 1), self)

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations = int(value) * (self.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step; assign a number or a schedule."""
        return Rate(self._rate_now(), self)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(self._rate, schedules.LearningRateSchedule) and not callable(value):
            who = type(self).__name__
            raise TypeError(
                f"{who}: the learning rate is a schedule, which only another schedule can replace, got {value!r}"
            )
        self._rate = schedules.checked_rate(type(self).__name__, float(value) if isinstance(value, Rate) else value)

    lr = learning_rate

    def _rate_now(self) -> float:
        return float(self._rate(self._iterations) if callable(self._rate) else self._rate)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times ``loss_scale_factor``, whose gradients `apply` divides by it."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Weights that ``weight_decay`` does not touch.

        Parameters
        ----------
        var_list : list of Weight, optional
        var_names : list of str, optional
            Regular expressions; names of weights in which one is found are left alone.
        """
        if self._slots:
            raise ValueError(f"{type(self).__name__}: `exclude_from_weight_decay` comes before the first step")
        ids = frozenset(id(weight) for weight in var_list or ())
        self._undecayed = ids, "|".join(f"(?:{name})" for name in var_names or ())

    def _decays(self, weight: Weight) -> bool:
        ids, pattern = self._undecayed or (frozenset(), "")
        return id(weight) not in ids and not (pattern and re.search(pattern, weight.name))

    def finalize_variable_values(self, weights: Any = None) -> None:
        """With ``use_ema``, let the running means take the place of the weights, as at the end of training."""
        chosen = None if weights is None else {id(weight) for weight in weights}
        pairs = [(w, average) for w, average in self._averages if chosen is None or id(w) in chosen]
        with changing([weight for weight, _ in pairs]):
            for weight, average in pairs:
                weight.writable()[...] = average

    def apply(self, grads: Sequence[Any], weights: Sequence[Any] | None = None) -> None:
        """Make one step.

        Parameters
        ----------
        grads : list of arrays or None
            None leaves the weight as it is.
        weights : list of Weight
            The same ones, in the same order, in every call; those of `build` if not given. The two lists may also come
            the other way round, as in rnnx 0.1.0.

        Raises
        ------
        ValueError
            If numbers or shapes differ, or there is no gradient at all; nothing has been changed then.
        TypeError
            If a gradient is not made of real numbers; nothing has been changed then.
        """
        if weights is None:
            if self._known is None:
                raise ValueError(f"{type(self).__name__}: give the weights, or call `build(weights)` before")
            weights = self._known
        if any(isinstance(part, Weight) for part in grads):
            grads, weights = weights, grads
        for part in weights:
            if not isinstance(part, Weight):
                raise TypeError(
                    f"{type(self).__name__}: `weights` must be those of layers or models, such as model.weights, "
                    f"got {type(part).__name__}"
                )
        moved = self._checked(weights, grads)
        if not moved and len(weights):
            raise ValueError(f"{type(self).__name__}: there is no gradient for any weight")
        if (factor := self.loss_scale_factor) is not None:
            moved = [(weight, grad / np.asarray(factor, grad.dtype), own) for weight, grad, own in moved]
        updates = True
        if self.gradient_accumulation_steps:
            updates, moved = self._accumulated(moved)
        if not updates and not self.use_ema:
            vars(self)["_iterations"] += 1
            return
        rate = self._rate_now()
        before = self._iterations
        vars(self)["_iterations"] += 1
        with changing([weight for weight, _, _ in moved]):  # all of them: what is made of several is of one step
            if updates:
                vars(self)["_step"] = self._iterations // (self.gradient_accumulation_steps or 1)
                self._begin_step()
                most = self.global_clipnorm
                together = 1.0 if most is None else scale_within(most, [grad for _, grad, _ in moved])
                for weight, grad, slots in moved:
                    scale = together if self.clipnorm is None else scale_within(self.clipnorm, [grad])
                    decay = self.weight_decay
                    if self._undecayed and not self._decays(weight):
                        decay = False  # which no rule of its own replaces
                    value = weight.writable()
                    if value.size <= PIECE or not self.in_pieces:
                        self._update_piece(value, grad, slots, ..., rate, scale, decay)
                    else:
                        for piece in _pieces(value.shape):
                            self._update_piece(value, grad, slots, piece, rate, scale, decay)
            if self.use_ema:
                self._move_averages(moved, before // (self.gradient_accumulation_steps or 1))
            for weight, _, _ in moved:
                if weight.constraint is not None:
                    value = weight.writable()
                    value[...] = weight.constraint(value)

    def _accumulated(self, moved: list[Moved]) -> tuple[bool, list[Moved]]:
        """Whether this step makes an update, and with what: the mean of the gradients since the last one."""
        steps = self.gradient_accumulation_steps or 1
        updates = (self._iterations + 1) % steps == 0
        found = []
        for weight, grad, slots in moved:
            total = slots["accumulated_gradient"]
            if updates:
                found.append((weight, (grad.astype(total.dtype, copy=False) + total) / steps, slots))
                total[...] = 0
            else:
                total += grad
                found.append((weight, grad, slots))
        return updates, found

    def _move_averages(self, moved: list[Moved], updates: int) -> None:
        """Move the running means of the weights, given how many updates came before; they start with the weights."""
        momentum = self.ema_momentum if updates else 0.0
        often = self.ema_overwrite_frequency
        self._averages = tuple((weight, slots["average_of_weight"]) for weight, _, slots in moved)
        for weight, average in self._averages:
            average *= np.asarray(momentum, average.dtype)
            average += weight.array * np.asarray(1 - momentum, average.dtype)
            if often and (updates + 1) % often == 0:
                weight.writable()[...] = average

    def apply_gradients(self, grads_and_weights: Any) -> Any:
        """Make one step; gradients and weights come in pairs, ``zip(grads, weights)``. See `apply`.

        Returns
        -------
        int
            The number of steps so far.
        """
        pairs = list(grads_and_weights)
        if any(not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in pairs):
            raise TypeError(f"{type(self).__name__}: `apply_gradients` takes pairs (gradient, weight); see `apply`")
        self.apply([grad for grad, _ in pairs], [weight for _, weight in pairs])
        return self.iterations

    def _checked(self, weights: Sequence[Weight], grads: Sequence[Array | None]) -> list[Moved]:
        """Weights that have a gradient, with it and their slots."""
        if len(weights) != len(grads):
            raise ValueError(f"{type(self).__name__}: {len(weights)} weights but {len(grads)} gradients")
        found: list[tuple[int, Array]] = []
        for place, (weight, given) in enumerate(zip(weights, grads, strict=True)):
            if given is None:
                continue
            grad = np.asarray(given)
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
            found.append((place, grad))
        slots = self._ready_slots(weights)
        return [(weights[place], grad, slots[place]) for place, grad in found]

    def _update_piece(
        self,
        value: Array,
        grad: Array,
        slots: dict[str, Array],
        piece: Any,
        rate: float,
        scale: float,
        decay: float | None,
    ) -> None:
        """Update some rows of a weight."""
        value = value[piece]
        key = (value.shape, value.dtype)
        scratch = self._scratch.get(key)
        if scratch is None:
            scratch = self._scratch[key] = [np.empty(*key) for _ in range(4)]
        grad = grad[piece].astype(value.dtype, copy=False)
        if self.clipvalue is not None:
            grad = np.clip(grad, -self.clipvalue, self.clipvalue, out=scratch[0])
        elif scale != 1.0:
            grad = np.multiply(grad, np.asarray(scale, grad.dtype), out=scratch[0])
        if decay:
            value -= np.multiply(value, np.asarray(decay * rate, value.dtype), out=scratch[1])
        parts = {}
        for name in self.slot_names:
            parts[name] = slots[name][piece]
        self.update(value, grad, parts, rate, scratch[1:])

    def update(self, value: Array, grad: Array, slots: dict[str, Array], rate: float, scratch: list[Array]) -> None:
        """Change ``value`` and ``slots`` in place, element by element: they are rows of a weight, and of its slots.

        ``scratch`` are three arrays of the same shape.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it updates")

    def _begin_step(self) -> None:
        """Compute what all weights of a step share."""

    def get_config(self) -> dict[str, Any]:
        rate = serialize(self._rate) if isinstance(self._rate, schedules.LearningRateSchedule) else self._rate
        words = (
            "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum",
            "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps",
        )  # fmt: skip
        return {"learning_rate": rate, **{word: getattr(self, word) for word in words}, "name": self.name}


def _pieces(shape: tuple[int, ...]) -> Iterator[Any]:
    """Indices of runs of rows with at most `PIECE` elements, or of one row."""
    if not shape:
        yield ...
        return
    rows = max(1, PIECE // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], rows):
        yield slice(first, first + rows)
