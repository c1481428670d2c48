"""Pure recurrent networks: arrays in, arrays out."""

from rnnx.functional._types import Grads, GRUParams, LSTMParams, RNNParams, Run

__all__ = ["GRUParams", "Grads", "LSTMParams", "RNNParams", "Run"]
