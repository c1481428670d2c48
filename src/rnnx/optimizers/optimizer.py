"""The base of all optimizers: what is checked, clipped and kept around an update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnnx._config import Configurable, serialize
from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers.weight import Weight, changing
from rnnx.optimizers import schedules

PIECE = 1 << 16  # elements that are updated at a time, so that all arrays of an update stay in the second-level cache


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
    _mapped = False  # whether the slots are views of a file, to be copied before the first step

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
        self._scratch: dict[tuple[tuple[int, ...], np.dtype[Any]], list[Array]] = {}

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step; assign a number or a schedule."""
        return self._rate(self.iterations) if callable(self._rate) else self._rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(self._rate, schedules.LearningRateSchedule) and not callable(value):
            who = type(self).__name__
            raise TypeError(
                f"{who}: the learning rate is a schedule, which only another schedule can replace, got {value!r}"
            )
        self._rate = schedules.checked_rate(type(self).__name__, value)

    lr = learning_rate

    def apply(self, grads: Sequence[Any], weights: Sequence[Any]) -> None:
        """Make one step.

        Parameters
        ----------
        grads : list of arrays or None
            None leaves the weight as it is.
        weights : list of Weight
            The same ones, in the same order, in every call. The two lists may also come the other way round, as in rnnx
            0.1.0.

        Raises
        ------
        ValueError
            If numbers or shapes differ; nothing has been changed then.
        TypeError
            If a gradient is not made of real numbers; nothing has been changed then.
        """
        if any(isinstance(part, Weight) for part in grads):
            grads, weights = weights, grads
        for part in weights:
            if not isinstance(part, Weight):
                raise TypeError(
                    f"{type(self).__name__}: `weights` must be those of layers or models, such as model.weights, "
                    f"got {type(part).__name__}"
                )
        moved = self._checked(weights, grads)
        rate = float(self.learning_rate)
        scale = 1.0 if self.global_clipnorm is None else self._global_scale([grad for _, grad, _ in moved])
        self.iterations += 1
        self._begin_step()
        with changing([weight for weight, _, _ in moved]):  # all of them: what is made of several is of one step
            for weight, grad, slots in moved:
                own_scale = scale if self.clipnorm is None else self._own_scale(grad)
                value = weight.writable()
                if value.size <= PIECE:
                    self._update_piece(value, grad, slots, ..., rate, own_scale)
                else:
                    for piece in _pieces(value.shape):
                        self._update_piece(value, grad, slots, piece, rate, own_scale)
                if weight.constraint is not None:
                    value[...] = weight.constraint(value)

    def apply_gradients(self, grads_and_weights: Any) -> None:
        """Make one step; gradients and weights come in pairs, ``zip(grads, weights)``. See `apply`."""
        pairs = list(grads_and_weights)
        if any(not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in pairs):
            raise TypeError(f"{type(self).__name__}: `apply_gradients` takes pairs (gradient, weight); see `apply`")
        self.apply([grad for grad, _ in pairs], [weight for _, weight in pairs])

    def _checked(
        self, weights: Sequence[Weight], grads: Sequence[Array | None]
    ) -> list[tuple[Weight, Array, dict[str, Array]]]:
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
            if grad.shape != weight.value.shape:
                raise ValueError(
                    f"{type(self).__name__}: the gradient of {weight.name!r} must have shape {weight.shape}, "
                    f"got {grad.shape}"
                )
            found.append((place, grad))
        if not self._slots:
            self._slots = [self._make_slots(weight) for weight in weights]
        elif self._mapped:
            self._slots = [{name: np.array(value) for name, value in slots.items()} for slots in self._slots]
        self._mapped = False
        known = [slots["shape"].tolist() for slots in self._slots]
        if known != [list(weight.value.shape) for weight in weights]:
            raise ValueError(
                f"{type(self).__name__}: these are not the weights of the steps before; make a new optimizer"
            )
        return [(weights[place], grad, self._slots[place]) for place, grad in found]

    def _update_piece(
        self, value: Array, grad: Array, slots: dict[str, Array], piece: Any, rate: float, scale: float
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
        if self.weight_decay:
            value -= np.multiply(value, np.asarray(self.weight_decay * rate, value.dtype), out=scratch[1])
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

    def _make_slots(self, weight: Weight) -> dict[str, Array]:
        return {name: np.zeros_like(weight.value) for name in self.slot_names} | {"shape": np.array(weight.shape)}

    def _global_scale(self, grads: Sequence[Array]) -> float:
        """What all gradients are multiplied by, given how long they may be together."""
        norm, most = math.hypot(*map(_norm, grads)), self.global_clipnorm
        return most / norm if most is not None and norm > most else 1.0

    def _own_scale(self, grad: Array) -> float:
        """What a gradient is multiplied by, given how long each may be."""
        norm, most = _norm(grad), self.clipnorm
        return most / norm if most is not None and norm > most else 1.0

    # ---- State -----------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Array]:
        """Everything that must be kept to continue as if never stopped, by name."""
        state = {"iterations": np.array(self.iterations, np.int64)}
        if not callable(self._rate):
            state["learning_rate"] = np.array(self._rate, np.float64)
        for k, slots in enumerate(self._slots):
            state.update({f"{k}/{name}": np.array(value) for name, value in slots.items()})
        return state

    def set_state(self, state: dict[str, Array], *, copy: bool = True) -> None:
        """Continue from a state of `get_state`; without ``copy`` its arrays are read until the next step is made.

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
                slots.setdefault(int(number), {})[name] = np.array(value) if copy else np.asarray(value)
        for place, own in slots.items():
            if set(own) != {*self.slot_names, "shape"}:
                raise ValueError(
                    f"{type(self).__name__}: the state has {sorted(set(own) - {'shape'})} for each weight, "
                    f"expected {sorted(self.slot_names)}"
                )
            if own["shape"].size > 32 or any(own[name].shape != tuple(own["shape"]) for name in self.slot_names):
                raise ValueError(f"{type(self).__name__}: the state of weight {place} has arrays of different shapes")
        rate = self._rate
        if "learning_rate" in state and not callable(rate):
            rate = schedules.checked_rate(type(self).__name__, float(state["learning_rate"]))
        self._slots, self.iterations, self._rate = [slots[k] for k in sorted(slots)], iterations, rate
        self._mapped = not copy

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


def _pieces(shape: tuple[int, ...]) -> Iterator[Any]:
    """Indices of runs of rows with at most `PIECE` elements, or of one row."""
    if not shape:
        yield ...
        return
    rows = max(1, PIECE // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], rows):
        yield slice(first, first + rows)


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
    scaled = flat.astype(np.float64) / largest
    return largest * math.sqrt(product(scaled, scaled))
