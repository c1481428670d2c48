"""Layers, under Keras' names."""

from rnnx.layers.arithmetic import Arithmetic
from rnnx.layers.base import Gradients, Layer, Weight
from rnnx.layers.cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from rnnx.layers.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from rnnx.layers.core import Activation, Dense, Embedding, Input, InputLayer, Masking, ReLU, Softmax
from rnnx.layers.merging import Add, Average, Concatenate, Multiply, add, average, concatenate, multiply
from rnnx.layers.noise import AlphaDropout, Dropout, GaussianDropout, SpatialDropout1D
from rnnx.layers.normalization import BatchNormalization, LayerNormalization
from rnnx.layers.quantization import quantization_report
from rnnx.layers.recurrent import GRU, LSTM, SimpleRNN
from rnnx.layers.rnn import RNN
from rnnx.layers.shaping import Flatten, Permute, RepeatVector, Reshape
from rnnx.layers.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU", "LSTM", "RNN", "Activation", "Add", "AlphaDropout", "Arithmetic", "Average", "AveragePooling1D",
    "BatchNormalization", "Bidirectional", "Concatenate", "Conv1D", "Dense", "Dropout", "Embedding", "Flatten",
    "GRUCell", "GaussianDropout", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "Gradients", "Input", "InputLayer",
    "LSTMCell", "Layer", "LayerNormalization", "Masking", "MaxPooling1D", "Multiply", "Permute", "ReLU", "RepeatVector",
    "Reshape", "SimpleRNN", "SimpleRNNCell", "Softmax", "SpatialDropout1D", "StackedRNNCells", "TimeDistributed",
    "Weight", "add", "average", "concatenate", "multiply", "quantization_report",
]  # fmt: skip
