"""Layers whose weights each have an initializer, a regularizer and a constraint of the user's choice."""

from __future__ import annotations

from typing import Any

from rnnx import activations, constraints, initializers, regularizers
from rnnx.layers.layer import Layer

CHOICES = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}


class Activated:
    """An attribute of a layer that is an activation, whatever it is set to: a name, a callable, or None for linear.

    It has no ``__get__``: reading it costs what reading any attribute costs. What a layer keeps of its weights packed
    for the engine holds the activation too, and is made again. Constructors put what they looked up into ``vars``.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __set__(self, layer: Any, value: Any) -> None:
        vars(layer)[self.name] = activations.get(value)
        vars(layer).pop("_memo", None)


class Weighted(Layer):
    """A layer with ``kernel_initializer``, ``kernel_regularizer``, ``kernel_constraint`` and the like.

    A subclass names its weights in ``chosen`` and has those attributes for each of them: arguments of its constructor,
    entries of its configuration, and what ``add_weight(..., chosen="kernel")`` goes by.
    """

    chosen: tuple[str, ...] = ()

    def choose(self, given: dict[str, Any]) -> None:
        """Look up what the constructor was given for every weight, and take it out of ``given``."""
        for name in self.chosen:
            for choice, known in CHOICES.items():
                identifier = given.pop(f"{name}_{choice}")
                setattr(self, f"{name}_{choice}", None if identifier is None else known.get(identifier))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in self.chosen:
            for choice, known in CHOICES.items():
                config[f"{name}_{choice}"] = known.serialize(getattr(self, f"{name}_{choice}"))
        return config
