"""What a model takes and gives: its inputs and outputs by name, in lists or in the form of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _nested as nested
from rnnx._typing import Array
from rnnx.layers.checks import lone_hint
from rnnx.layers.graph import SymbolicTensor


def in_form(template: Any, several: bool, values: Any) -> Any:
    """Values of all inputs or outputs as the model takes or returns them."""
    if template is not None:
        return nested.packed(template, values)
    return list(values) if several else values[0]


def _names(template: Any, tensors: list[SymbolicTensor]) -> list[str]:
    if isinstance(template, dict) and not any(isinstance(part, (dict, list, tuple)) for part in template.values()):
        return sorted(template)
    return [tensor.name for tensor in tensors]


class Ends:
    """Inputs and outputs of a graph; a base of `Model`."""

    name: str
    built: Any
    inputs: Any
    outputs: Any
    plan: Any
    input_template: Any
    output_template: Any
    several_inputs: Any
    several_outputs: Any

    @property
    def input(self) -> Any:
        """The symbolic input(s)."""
        return self._ends("inputs", self.input_template, self.several_inputs)

    @property
    def output(self) -> Any:
        """The symbolic output(s)."""
        return self._ends("outputs", self.output_template, self.several_outputs)

    def _ends(self, name: str, template: Any, several: bool) -> Any:
        if not self.built:
            raise AttributeError(f"{self.name}: no {name} yet; call the model once or give it an input shape")
        return in_form(template, several, getattr(self, name))

    @property
    def input_names(self) -> list[str]:
        """The names under which a dict holds the inputs: the keys of the model's own dict, or names of layers."""
        return _names(self.input_template, self.inputs)

    @property
    def output_names(self) -> list[str]:
        """Likewise of the outputs."""
        return _names(self.output_template, self.outputs)

    @property
    def input_shape(self) -> Any:
        return in_form(None, self.several_inputs, [tensor.shape for tensor in self.inputs])

    @property
    def output_shape(self) -> Any:
        return in_form(None, self.several_outputs, [tensor.shape for tensor in self.outputs])

    def flat_inputs(self, x: Any) -> Any:
        """The inputs in a list (one as it is), from a dict by their names or from the form of the model's own.

        Raises
        ------
        ValueError
            If it has another form.
        """
        if not self.built:
            return x
        who, template = f"{self.name}: inputs", self.input_template
        if not isinstance(x, dict):
            found = nested.matched(who, template, x)
        else:
            names = list(template) if isinstance(template, dict) else [tensor.name for tensor in self.inputs]
            if set(x) != set(names):
                raise ValueError(
                    f"{self.name}: expected inputs {', '.join(map(str, names))}, got {', '.join(map(str, x))}"
                )
            found = nested.matched(who, template, x) if isinstance(template, dict) else [x[name] for name in names]
        return found if self.several_inputs else found[0]

    @property
    def input_axes(self) -> int | None:
        """Axes of the (first) input, the batch axis included; None while nobody knows."""
        return len(self.inputs[0].shape) if self.built else None

    def check_input(self, number: int, x: Any) -> Array:
        """An input in its dtype and with its axes.

        Raises
        ------
        ValueError
            If its shape does not fit.
        """
        tensor = self.inputs[number]
        array: Array = x
        if type(x) is not np.ndarray or x.dtype is not tensor.dtype or x.dtype.kind == "O":
            array = tensor.node.layer.cast(x)
        shape = tensor.shape
        if array.ndim != len(shape):
            if array.ndim == len(shape) + 1 and array.shape[-1] == 1:  # as in Keras: an axis of one more or less
                array = array[..., 0]
            elif array.ndim == len(shape) - 1 and array.ndim and shape[-1] == 1:
                array = array[..., None]
        fits = array.ndim == len(shape)
        if fits:
            for axis, size in self.plan.known_sizes[number]:
                fits = fits and array.shape[axis] == size
        if not fits:
            wanted = "(batch, " + ", ".join("any" if n is None else str(n) for n in shape[1:]) + ")"
            raise ValueError(
                f"{self.name}: input {tensor.name!r} must have shape {wanted}, got {array.shape}"
                + lone_hint(shape, array.shape)
            )
        return array
