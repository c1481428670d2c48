"""Layers whose weights each have an initializer, a regularizer and a constraint of the user's choice."""

from __future__ import annotations

from typing import Any

from rnnx import constraints, initializers, regularizers
from rnnx.layers.layer import Layer

CHOICES = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}


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
                vars(self)[f"{name}_{choice}"] = None if identifier is None else known.get(identifier)

    def note_change(self, name: str) -> None:
        chosen, _, choice = name.rpartition("_")
        if chosen in self.chosen and choice in ("regularizer", "constraint"):
            for weight in self._weights:
                if weight.name in (chosen, f"{chosen}_kernel"):
                    setattr(weight, choice, getattr(self, name))
        super().note_change(name)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in self.chosen:
            for choice, known in CHOICES.items():
                config[f"{name}_{choice}"] = known.serialize(getattr(self, f"{name}_{choice}"))
        return config
