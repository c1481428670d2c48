"""Pure recurrent networks: arrays in, arrays out.

Each of ``lstm``, ``gru`` and ``simple_rnn`` offers ``forward``, ``backward``, ``infer`` and ``pack``;
``rnnx.reference`` has ``forward`` and ``backward`` in plain float64 NumPy.
"""

from rnnx.dropout import DropoutMasks
from rnnx.functional import gru, lstm, simple_rnn
from rnnx.functional._blocks import dense_kernel, kernel_of_blocks
from rnnx.functional._types import Grads, GRUParams, LSTMParams, RNNParams, Run

__all__ = [
    "DropoutMasks",
    "GRUParams",
    "Grads",
    "LSTMParams",
    "RNNParams",
    "Run",
    "dense_kernel",
    "gru",
    "kernel_of_blocks",
    "lstm",
    "simple_rnn",
]
