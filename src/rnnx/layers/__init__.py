"""Layers, under Keras' names."""

from typing import Any

from rnnx._config import on_demand
from rnnx.layers.activation import Activation, ReLU, Softmax
from rnnx.layers.arithmetic import Arithmetic
from rnnx.layers.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from rnnx.layers.dense import Dense
from rnnx.layers.embedding import Embedding, Masking
from rnnx.layers.input import Input, InputLayer
from rnnx.layers.layer import Gradients, Layer, Weight
from rnnx.layers.merging import Add, Average, Concatenate, Multiply, add, average, concatenate, multiply
from rnnx.layers.noise import AlphaDropout, Dropout, GaussianDropout, SpatialDropout1D
from rnnx.layers.normalization import BatchNormalization, LayerNormalization
from rnnx.layers.rnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    GRUCell,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    TimeDistributed,
)
from rnnx.layers.shaping import Flatten, Permute, RepeatVector, Reshape

__all__ = [
    "GRU", "LSTM", "RNN", "Activation", "Add", "AlphaDropout", "Arithmetic", "Average", "AveragePooling1D",
    "BatchNormalization", "Bidirectional", "Concatenate", "Conv1D", "Dense", "Dropout", "Embedding", "Flatten",
    "GRUCell", "GaussianDropout", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "Gradients", "Input", "InputLayer",
    "LSTMCell", "Layer", "LayerNormalization", "Masking", "MaxPooling1D", "Multiply", "Permute", "ReLU", "RepeatVector",
    "Reshape", "SimpleRNN", "SimpleRNNCell", "Softmax", "SpatialDropout1D", "StackedRNNCells", "TimeDistributed",
    "Weight", "add", "average", "concatenate", "multiply", "quantization_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "quantization_report":
        return on_demand(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
