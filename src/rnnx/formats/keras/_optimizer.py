"""The state of an optimizer in the order of Keras 3: step, learning rate, then arrays for the trained weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.keras import _paths
from rnnx.formats.keras._paths import Order
from rnnx.optimizers import LossScaleOptimizer, Nadam
from rnnx.optimizers.slots import KERAS_NAMES

LARGEST_STEP = 2**31 - 1
OF_SCALED = ("iteration", "learning_rate", "step_counter", "dynamic_scale")  # in front of those of the inner one


def trained_weights(model: Any, orders: dict[int, Order]) -> list[tuple[int, str]]:
    """Places of the trained weights in ``model.weights``, in the order of Keras, each with its path."""
    weights = model.weights
    places = {id(weight): k for k, weight in enumerate(weights)}
    trained = model.weight_is_trained()
    found: dict[int, str] = {}

    def visit(layer: Any, path: str) -> None:
        for weight in layer.own_weights:
            if trained[places[id(weight)]]:
                found.setdefault(places[id(weight)], f"{path}/{weight.name.rpartition('/')[2]}")
        for _, inner in _paths.parts(layer, orders):
            visit(inner, f"{path}/{inner.name}")

    visit(model, model.name)
    return list(found.items())


def state_of(model: Any, orders: dict[int, Order], *, fresh: bool = False) -> list[tuple[str, Array]]:
    """All arrays of an optimizer, each with its name, as Keras has them.

    ``fresh``: as before the first step. The slots are there then too: Keras warns of a file without them.
    """
    optimizer = model.optimizer
    found: list[tuple[str, Array]] = []
    if isinstance(optimizer, LossScaleOptimizer):  # which has a number of steps and a rate that nobody uses
        counts = (0, optimizer.initial_scale)
        if not fresh:
            counts = int(optimizer.step_counter), float(optimizer.dynamic_scale)
        found = [("iteration", np.array(0, np.int32)), ("learning_rate", np.array(0, np.float32))]
        found += [("step_counter", np.array(counts[0], np.int32)), ("dynamic_scale", np.array(counts[1], np.float32))]
        optimizer = optimizer.inner_optimizer
    steps = 0 if fresh else optimizer._iterations
    kind = np.int32 if steps <= LARGEST_STEP else np.int64
    found.append(("iteration", np.array(steps, kind)))
    if not callable(optimizer._rate):
        found.append(("learning_rate", np.array(optimizer.learning_rate, np.float32)))
    paths = trained_weights(model, orders)
    slots = optimizer._slots
    if fresh or not slots:
        optimizer.take_paths({id(model.weights[place]): path for place, path in paths})
        slots = [optimizer._make_slots(weight) for weight in model.weights]
    for group in optimizer.grouped_slots():
        for place, path in paths:
            for name in optimizer.kept(group, slots[place]):
                found.append((f"{path.replace('/', '_')}_{KERAS_NAMES.get(name, name)}", slots[place][name]))
    if isinstance(optimizer, Nadam):
        found.append(("u_product", np.array(_momenta(optimizer, 0 if fresh else optimizer.iterations), np.float32)))
    return found


def _momenta(optimizer: Nadam, steps: int) -> float:
    return math.prod(optimizer._momentum(step) for step in range(1, steps + 1))


def _restore_scaled(model: Any, arrays: Sequence[Array], orders: dict[int, Order]) -> str | None:
    """`restore` of a LossScaleOptimizer: its own numbers, then the inner optimizer."""
    outer, own = model.optimizer, list(arrays[: len(OF_SCALED)])
    if len(own) < len(OF_SCALED) or any(part.shape or part.dtype.kind not in "fiu" for part in own) or own[2] < 0:
        return "its first arrays are not those of a LossScaleOptimizer"
    if not own[3] > 0:
        return f"its scale must be positive, got {own[3]}"
    model.optimizer = outer.inner_optimizer
    try:
        reason = restore(model, arrays[len(OF_SCALED) :], orders)
    finally:
        model.optimizer = outer
    if reason is None:
        outer.step_counter.assign(int(own[2]))
        outer.dynamic_scale.assign(float(own[3]))
    return reason


def restore(model: Any, arrays: Sequence[Array], orders: dict[int, Order]) -> str | None:
    """Let the optimizer of a compiled model go on from the arrays of a file.

    Returns
    -------
    str or None
        Why it starts afresh, if the arrays are not those of such an optimizer.
    """
    optimizer, weights = model.optimizer, model.weights
    if isinstance(optimizer, LossScaleOptimizer):
        return _restore_scaled(model, arrays, orders)
    paths = trained_weights(model, orders)
    places = [place for place, _ in paths]
    left = list(arrays)
    if not left or left[0].shape or left[0].dtype.kind not in "iu" or left[0] < 0:
        return "its first array is no number of steps"
    state: dict[str, Any] = {"iterations": left.pop(0)}
    optimizer.take_paths({id(weights[place]): path for place, path in paths})
    slots = [optimizer._make_slots(weight) for weight in weights]
    count = sum(len(optimizer.kept(group, slots[place])) for group in optimizer.grouped_slots() for place in places)
    count += isinstance(optimizer, Nadam)
    if not callable(optimizer._rate) and left and not left[0].shape and len(left) != count:
        rate = left.pop(0)
        # Arrays of rates have 32 bits: the number in the description is the exact one, if it is the same
        if np.float32(optimizer._rate) != np.float32(rate):
            state["learning_rate"] = rate
    if not left and (count == 0 or not state["iterations"]):
        optimizer.set_state(state)
        return None
    if isinstance(optimizer, Nadam) and len(left) == count:  # the product of its momenta, which follows from the steps
        left.pop(0 if not left[0].shape and (left[-1].shape or len(places) == 0) else -1)
        count -= 1
    if len(left) != count:
        return f"it has {len(left)} arrays for {len(places)} trained weights, {type(optimizer).__name__} {count}"
    for group in optimizer.grouped_slots():
        for place in places:
            for name in optimizer.kept(group, slots[place]):
                array, expected = left.pop(0), slots[place][name]
                if array.shape != expected.shape or array.dtype.kind not in ("f" if array.shape else "fiu"):
                    return (
                        f"{KERAS_NAMES.get(name, name)} of {weights[place].name!r} must be real numbers of shape "
                        f"{expected.shape}, got {array.dtype} {array.shape}"
                    )
                slots[place][name] = array.astype(expected.dtype, copy=False)
    for place, own in enumerate(slots):
        state.update({f"{place}/{name}": value for name, value in own.items()})
    optimizer.set_state(state)
    return None
