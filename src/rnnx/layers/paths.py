"""Where the weights of a layer or model are: the names of the layers that they are in, and their own."""

from __future__ import annotations

from typing import Any

from rnnx.layers.names import snake_case
from rnnx.layers.rnn.conv_lstm import ConvLSTM
from rnnx.layers.rnn.gru import GRU
from rnnx.layers.rnn.lstm import LSTM
from rnnx.layers.rnn.simple_rnn import SimpleRNN
from rnnx.layers.weight import Weight

RECURRENT = (LSTM, GRU, SimpleRNN, ConvLSTM)  # whose weights are, in Keras, those of a cell inside


def weight_paths(layer: Any, root: str = "") -> list[tuple[str, Weight]]:
    """The weights of a layer and of all inside it, each once, with their paths in Keras.

    Parameters
    ----------
    layer : Layer or Model
    root : str
        What all paths begin with: the name of the layer, or nothing for those inside it.

    Examples
    --------
    >>> import rnnx
    >>> model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(2, name="last")])
    >>> [path for path, _ in weight_paths(model)]
    ['last/kernel', 'last/bias']
    """
    found: list[tuple[str, Weight]] = []
    done: set[int] = set()

    def visit(layer: Any, root: str) -> None:
        cell = next((f"/{snake_case(kind.__name__)}_cell" for kind in RECURRENT if isinstance(layer, kind)), "")
        for weight in layer.own_weights:
            if id(weight) not in done:
                done.add(id(weight))
                found.append((f"{root}{cell}/{weight.name.rpartition('/')[2]}".lstrip("/"), weight))
        for inner in layer.sublayers:
            visit(inner, f"{root}/{inner.name}")

    visit(layer, root)
    return found
