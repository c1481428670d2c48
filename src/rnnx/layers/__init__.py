"""Layers, under Keras' names."""

from typing import Any

from rnnx._config import on_demand
from rnnx.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from rnnx.layers.arithmetic import Arithmetic
from rnnx.layers.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from rnnx.layers.dense import Dense
from rnnx.layers.dot import Dot, dot
from rnnx.layers.embedding import Embedding, Masking
from rnnx.layers.given_mask import GivenMask as GivenMask
from rnnx.layers.group_normalization import GroupNormalization, RMSNormalization, UnitNormalization
from rnnx.layers.identity import ActivityRegularization, Identity
from rnnx.layers.input import Input, InputLayer
from rnnx.layers.layer import Gradients, Layer, Weight
from rnnx.layers.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from rnnx.layers.noise import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
)
from rnnx.layers.normalization import BatchNormalization, LayerNormalization
from rnnx.layers.ops import Operation
from rnnx.layers.resizing import (
    Cropping1D,
    Cropping2D,
    UpSampling1D,
    UpSampling2D,
    ZeroPadding1D,
    ZeroPadding2D,
)
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
    "ELU", "GRU", "LSTM", "RNN", "Activation", "ActivityRegularization", "Add", "AlphaDropout", "Arithmetic",
    "Average", "AveragePooling1D", "BatchNormalization", "Bidirectional", "Concatenate", "Conv1D", "Cropping1D",
    "Cropping2D", "Dense", "Dot", "Dropout", "Embedding", "Flatten", "GRUCell", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling1D", "GlobalMaxPooling1D", "Gradients", "GroupNormalization", "Identity", "Input",
    "InputLayer", "LSTMCell", "Layer", "LayerNormalization", "LeakyReLU", "Masking", "MaxPooling1D", "Maximum",
    "Minimum", "Multiply", "Operation", "PReLU", "Permute", "RMSNormalization", "ReLU", "RepeatVector", "Reshape",
    "SimpleRNN", "SimpleRNNCell", "Softmax", "SpatialDropout1D", "SpatialDropout2D", "StackedRNNCells", "Subtract",
    "TimeDistributed", "UnitNormalization", "UpSampling1D", "UpSampling2D", "Weight", "ZeroPadding1D",
    "ZeroPadding2D", "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "quantization_report",
    "subtract",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "quantization_report":
        return on_demand(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
