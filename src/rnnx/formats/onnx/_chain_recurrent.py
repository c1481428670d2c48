"""A recurrent node of ONNX as a layer of rnnx with its weights."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rnnx import layers
from rnnx.formats.onnx._recurrent import GATES, Options
from rnnx.formats.onnx._weights import to_keras
from rnnx.saving import FormatError

Array = NDArray[Any]


class NoChain(FormatError):
    """A graph is not a chain of layers, for the reason given."""


def recurrent_layer(
    options: Options, w: Array, r: Array, b: Array | None, *, sequences: bool
) -> tuple[Any, list[Array]]:
    """The layer of a node, and its weights in ``get_weights`` order.

    Parameters
    ----------
    options : Options
    w, r, b : arrays
        As ONNX has them.
    sequences : bool
        Whether all outputs are used, or the last state.

    Raises
    ------
    NoChain
        If no layer of rnnx computes this.
    """
    many, gates = len(options.reverse), GATES[options.kind]
    hidden = r.shape[-1]
    shapes = [(many, gates * hidden, w.shape[-1]), (many, gates * hidden, hidden), (many, 2 * gates * hidden)]
    if [w.shape, r.shape] != shapes[:2] or (b is not None and b.shape != shapes[2]) or not hidden:
        raise NoChain(f"has weights of shapes {w.shape} and {r.shape}")
    if options.clip is not None or options.input_forget:
        raise NoChain("has clip or input_forget, which no layer has")
    if options.reverse == (True,) and sequences:
        raise NoChain("reads backwards and gives its outputs in the order of time, which no layer does")
    names = [activation.rnnx_name() for activation in options.activations[0]]
    if None in names or options.activations[0] != options.activations[-1]:
        raise NoChain("has activations that no layer has")
    arguments: dict[str, Any] = {"return_sequences": sequences, "use_bias": b is not None, "dtype": str(w.dtype)}
    cls: Any = layers.SimpleRNN
    if options.kind == "RNN":
        arguments["activation"] = names[0]
    else:
        if options.kind == "LSTM" and names[1] != names[2]:
            raise NoChain("has different activations of candidate and output")
        cls = layers.LSTM if options.kind == "LSTM" else layers.GRU
        arguments.update(activation=names[1], recurrent_activation=names[0])
    if options.kind == "GRU":
        arguments["reset_after"] = options.linear_before_reset
    after = options.kind == "GRU" and options.linear_before_reset
    of_each = [to_keras(options.kind, w[k], r[k], None if b is None else b[k], after) for k in range(many)]
    weights = [part for one in of_each for part in one]
    if many == 2:
        return layers.Bidirectional(cls(hidden, **arguments)), weights
    return cls(hidden, go_backwards=options.reverse[0], **arguments), weights
