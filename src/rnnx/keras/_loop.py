"""The loop of a recurrent layer of Keras, for the engine.

Keras draws the masks and holds the weights, which have the layout of rnnx. What the engine does not run is left to the
layer's own loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from rnnx._typing import Array
from rnnx.dropout import DropoutMasks, SeedGenerator, sample_masks
from rnnx.functional import GRUParams, LSTMParams, RNNParams, gru, lstm, simple_rnn
from rnnx.functional._engine import engine_activation

CELLS: dict[type, str] = {
    keras.layers.LSTMCell: "lstm", keras.layers.GRUCell: "gru", keras.layers.SimpleRNNCell: "simple_rnn",
}  # fmt: skip
CORES: dict[str, Any] = {"lstm": lstm, "gru": gru, "simple_rnn": simple_rnn}
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Form:
    """What a layer computes, apart from its arrays."""

    cell: str
    activation: str
    recurrent_activation: str
    reset_after: bool
    return_sequences: bool
    go_backwards: bool
    zero_output_for_mask: bool
    leads_with_state: bool = False  # masked steps before the first valid one give the initial state, not 0
    words: tuple[tuple[str, Any], ...] = ()  # about noise that Keras does not draw
    training: bool = False

    @property
    def core(self) -> Any:
        return CORES[self.cell]

    def params(self, kernel: Array, recurrent_kernel: Array, bias: Array | None = None) -> Any:
        """The weights as the functional core takes them."""
        if self.cell == "lstm":
            return LSTMParams(kernel, recurrent_kernel, bias, self.activation, self.recurrent_activation)
        if self.cell == "gru":
            gates = self.activation, self.recurrent_activation
            return GRUParams(kernel, recurrent_kernel, bias, *gates, self.reset_after)
        return RNNParams(kernel, recurrent_kernel, bias, self.activation)

    def forward(
        self, params: Any, packed: Any, x: Array, states: list[Array], mask: Array | None, noise: Any, keep: bool
    ) -> Any:
        """A run of the functional core."""
        return self.core.forward(
            params,
            x,
            initial_state=tuple(states) if self.cell == "lstm" else states[0],
            mask=mask,
            masks=noise,
            go_backwards=self.go_backwards,
            training=keep,
            return_sequences=self.return_sequences,
            zero_output_for_mask=self.zero_output_for_mask,
            packed=packed,
        )


def activation_name(function: Any) -> str | None:
    """The engine's name of one of Keras' activation functions, or None."""
    name = "linear" if function is None else getattr(function, "__name__", "")
    known = getattr(keras.activations, name, None)
    return engine_activation(name) if function is None or known is function else None


def obstacle(layer: Any) -> str | None:
    """Why a layer stays with Keras whatever its input will be, or None."""
    cell = layer.cell
    if type(cell) not in CELLS:
        return f"its cell is a {type(cell).__name__}"
    for name in ("activation", "recurrent_activation"):
        if hasattr(cell, name) and activation_name(getattr(cell, name)) is None:
            return f"`{name}` is not one of the engine's"
    if layer.compute_dtype not in DTYPES or layer.variable_dtype != layer.compute_dtype:
        return f"it computes in {layer.compute_dtype} with weights of {layer.variable_dtype}"
    return None


def form_of(layer: Any, training: bool) -> Form:
    """The form of a layer without an `obstacle`."""
    cell = layer.cell
    activation = activation_name(cell.activation)
    recurrent = activation_name(getattr(cell, "recurrent_activation", None))
    assert activation is not None and recurrent is not None
    of_jax = keras.backend.backend() == "jax"  # whose loop treats masked steps in its own way
    return Form(
        CELLS[type(cell)],
        activation,
        recurrent,
        bool(getattr(cell, "reset_after", False)),
        bool(layer.return_sequences),
        bool(layer.go_backwards),
        bool(layer.zero_output_for_mask and not (of_jax and layer.unroll)),
        of_jax and not layer.unroll,
        getattr(layer, "words", ()),
        training,
    )


def weights_of(layer: Any) -> list[Any]:
    """Kernel, recurrent kernel and, if there is one, bias, as tensors of the backend."""
    cell = layer.cell
    found = [cell.kernel, cell.recurrent_kernel, *([] if cell.bias is None else [cell.bias])]
    return [keras.ops.convert_to_tensor(weight) for weight in found]


def masks_of(layer: Any, x: Any, states: list[Any], training: bool) -> tuple[list[Any], list[Any]]:
    """The masks that Keras draws for the input and for the state: none, one, or one for each gate.

    A layer with words of its own has a seed in their place. The cell runs a first step as in Keras' loop, so that it
    draws what it always draws, in the same order.
    """
    cell = layer.cell
    if getattr(layer, "words", ()):
        return [cell.seed_generator.next()] if training else [], []
    if not (cell.dropout or cell.recurrent_dropout):
        return [], []
    step = x[:, 0, :]
    cell(step, states, training=training)
    if not training:
        return [], []
    found = []
    for rate, draw, like in (
        (cell.dropout, cell.get_dropout_mask, step),
        (cell.recurrent_dropout, cell.get_recurrent_dropout_mask, states[0]),
    ):
        drawn = draw(like) if 0 < rate < 1 else []
        found.append([] if drawn is None else list(drawn) if isinstance(drawn, (list, tuple)) else [drawn])
    return found[0], found[1]


def noise_of(form: Form, x: Array, units: int, of_inputs: list[Array], of_states: list[Array]) -> DropoutMasks | None:
    """Masks as the functional core takes them: Keras' of shape (batch, width), or drawn from a seed."""
    if form.words:
        seed = SeedGenerator(0)
        if of_inputs:
            seed.state = [int(number) % (1 << 32) for number in of_inputs[0]]
        noise: dict[str, Any] = {**dict(form.words), "training": form.training, "seed_generator": seed}
        batch, timesteps, features = x.shape
        return sample_masks(form.cell, batch, timesteps, features, units, **noise, dtype=x.dtype)
    if not of_inputs and not of_states:
        return None
    inputs, states = (np.stack(part)[:, :, None] if part else None for part in (of_inputs, of_states))
    return DropoutMasks(inputs=inputs, recurrent=states)
