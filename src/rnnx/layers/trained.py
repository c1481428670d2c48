"""Which weights of a model are trained, asked once for many batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnx._typing import Array
from rnnx.layers.weight import Weight


class TrainedWeights:
    """The weights of a model and what training does with them, as things stand when this is made.

    Parameters
    ----------
    model : Model
        Built.

    Attributes
    ----------
    weights : list of Weight
        In ``get_weights`` order, each once.
    trained : list of bool
        For each of them, whether training changes it.
    of_step : list of list of int
        For each step of the plan, which of the weights its layer has.
    step_trained, step_passes : list of bool
        For each step, whether one of its weights is trained, and whether one of an earlier step its inputs depend on.
    inside : list of TrainedWeights or None
        For each step, those of the layer if it is a model itself.
    of_place : list of (int, int)
        For each place of the plan that is a weight by itself, which it is.
    """

    def __init__(self, model: Any):
        self.weights: list[Weight] = model.weights
        self.trained: list[bool] = model.weight_is_trained()
        self.regularized = [
            w for w, trained in zip(self.weights, self.trained, strict=True) if trained and w.regularizer is not None
        ]
        places = {id(weight): k for k, weight in enumerate(self.weights)}
        steps = model.plan.steps
        computations = [step.computation for step in steps]
        self.of_step = [[places[id(weight)] for weight in each.weights] for each in computations]
        self.step_trained = [any(each.weight_is_trained()) for each in computations]
        self.inside = [each.trained_weights() if each.knows_trained else None for each in computations]
        self.step_passes: list[bool] = []
        reached = [False] * len(model.plan.tensors)
        self.of_place = [(place, places[id(weight)]) for place, weight in model.plan.weights.items()]
        for place, index in self.of_place:
            reached[place] = self.trained[index]
        for step, trained in zip(steps, self.step_trained, strict=True):
            passes = any(reached[k] for k in (*step.inputs, *step.states))
            self.step_passes.append(passes)
            for place in step.outputs:
                reached[place] = trained or passes

    def penalty(self) -> float:
        """Sum of the penalties of the regularizers."""
        total = 0.0
        for weight in self.regularized:
            total += float(weight.regularizer(weight.array))
        return total

    def with_penalties(self, grads: Sequence[Array | None]) -> list[Array | None]:
        """Gradients in the order of the weights with those of the regularizers added."""
        if not self.regularized:
            return list(grads)
        return [
            g if g is None or w.regularizer is None else g + w.regularizer.grad(w.array)
            for w, g in zip(self.weights, grads, strict=True)
        ]
