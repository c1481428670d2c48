"""What an optimizer keeps for each weight from step to step: its slots, and the state that they make up."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.weight import Weight
from rnnx.optimizers import schedules
from rnnx.optimizers.live import Variable

KERAS_NAMES = {  # of slots that have another one in Keras
    "mean": "momentum", "square": "velocity", "largest": "velocity_hat", "average": "average_gradient",
    "sum": "accumulator", "average_of_weight": "average", "accumulated_gradient": "gradient_accumulator",
}  # fmt: skip
Slots = dict[str, Array]  # what is kept for one weight, by name; "shape" is that of the weight


class KeepsSlots:
    """The part of an optimizer that makes its slots, hands them out, and takes them from a file."""

    slot_names: tuple[str, ...] = ()
    slot_groups: tuple[int, ...] = ()  # how many slots stand side by side for one weight in files of Keras; 1 each
    in_pieces = True  # whether some rows of a weight can be updated without the others
    wants_paths = False  # whether what is kept for a weight depends on where in a model it is
    use_ema = False
    gradient_accumulation_steps: int | None = None
    _mapped = False  # whether the slots are views of a file, to be copied before the first step
    _known: Sequence[Weight] | None = None
    _slots: list[Slots]
    _rate: Any
    _iterations: int
    _step: int

    def build(self, weights: Sequence[Weight]) -> None:
        """Make what is kept for each weight, before the first step; ``apply(grads)`` is for these weights then."""
        self._known = list(weights)
        if not self._slots:
            self._slots = [self._make_slots(weight) for weight in weights]

    def before_first_step(self) -> Any:
        """A copy of the optimizer that has not made a step."""
        found = copy.deepcopy(self)
        found._slots, found._known, found._mapped = [], None, False
        found._iterations = found._step = 0
        return found

    @property
    def built(self) -> bool:
        """Whether there is something kept for each weight."""
        return bool(self._slots)

    @property
    def variables(self) -> list[Variable]:
        """What is kept: the number of steps, the learning rate if it is no schedule, and arrays for the weights."""
        found = [
            Variable("iteration", lambda: self._iterations, lambda value: setattr(self, "_iterations", int(value)))
        ]
        if not callable(self._rate):
            found.append(
                Variable("learning_rate", lambda: self._rate, lambda value: setattr(self, "_rate", float(value)))
            )
        for group in self.grouped_slots():
            for place, slots in enumerate(self._slots):
                found += [
                    Variable(f"{place}_{name}", partial(slots.__getitem__, name), partial(slots.__setitem__, name))
                    for name in self.kept(group, slots)
                ]
        return found

    def set_weights(self, values: Sequence[Any]) -> None:
        """Assign to all `variables`, in their order."""
        variables = self.variables
        if not self._slots and self.all_slot_names or len(values) != len(variables):
            raise ValueError(
                f"{type(self).__name__}: expected {len(variables)} arrays as in `variables`, got {len(values)}; call "
                "`build(weights)` before the first step"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    @property
    def all_slot_names(self) -> tuple[str, ...]:
        """The names of all arrays that are kept for a weight."""
        own = (("average_of_weight",) if self.use_ema else ()) + (
            ("accumulated_gradient",) if self.gradient_accumulation_steps else ()
        )
        return own + self.slot_names

    def grouped_slots(self) -> list[tuple[str, ...]]:
        """`all_slot_names` in the order of Keras: what is in one group stands side by side for each weight."""
        own = self.all_slot_names
        first = len(own) - len(self.slot_names)
        found: list[tuple[str, ...]] = [(name,) for name in own[:first]]
        for size in self.slot_groups or (1,) * len(self.slot_names):
            if own[first : first + size]:
                found.append(own[first : first + size])
            first += size
        return found + [(name,) for name in own[first:]]

    def _make_slots(self, weight: Weight) -> dict[str, Array]:
        shape = weight.shape
        found = {name: np.zeros(self.slot_shape(name, shape), weight.dtype) for name in self.all_slot_names}
        return found | {"shape": np.array(shape)}

    def take_paths(self, paths: dict[int, str]) -> None:
        """Learn the paths of weights, by their ids, before their slots are made; for those that want them."""

    def kept(self, group: tuple[str, ...], slots: Slots) -> tuple[str, ...]:
        """The slots of a group that there are for a weight."""
        return group

    def may_be_empty(self, name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Whether an array of a state stands for a slot that there is not for a weight of some shape."""
        return False

    def slot_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an array that is kept for a weight of some shape; another one only without ``in_pieces``."""
        return shape

    def _ready_slots(self, weights: Sequence[Weight]) -> list[Slots]:
        """What is kept for each of these weights, which a step may change.

        Raises
        ------
        ValueError
            If the steps before were of other weights.
        """
        known, wanted = [slots["shape"].tolist() for slots in self._slots], [list(w.shape) for w in weights]
        if not self._slots or not self._iterations and known != wanted:
            self._slots = [self._make_slots(weight) for weight in weights]
        elif known != wanted:
            raise ValueError(
                f"{type(self).__name__}: these are not the weights of the steps before; make a new optimizer"
            )
        elif self._mapped:
            self._slots = [{name: np.array(value) for name, value in slots.items()} for slots in self._slots]
        vars(self)["_mapped"] = False
        return self._slots

    # ---- State -----------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Array]:
        """Everything that must be kept to continue as if never stopped, by name."""
        state = {"iterations": np.array(self._iterations, np.int64)}
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
        names = self.all_slot_names
        for place, own in slots.items():
            if set(own) != {*names, "shape"}:
                raise ValueError(
                    f"{type(self).__name__}: the state has {sorted(set(own) - {'shape'})} for each weight, "
                    f"expected {sorted(names)}"
                )
            shape = tuple(own["shape"].tolist()) if own["shape"].size <= 32 else None
            for name in names:
                found = own[name].shape
                fits = shape is not None and found == (shape if self.in_pieces else self.slot_shape(name, shape))
                if not fits and not (shape is not None and self.may_be_empty(name, found, shape)):
                    raise ValueError(
                        f"{type(self).__name__}: the state of weight {place} has arrays of different shapes"
                    )
        rate = self._rate
        if "learning_rate" in state and not callable(rate):
            rate = schedules.checked_rate(type(self).__name__, float(state["learning_rate"]))
        vars(self).update(
            _slots=[slots[k] for k in sorted(slots)],
            _iterations=iterations,
            _rate=rate,
            _step=iterations // (self.gradient_accumulation_steps or 1),
            _mapped=not copy,
        )
