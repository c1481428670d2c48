"""Layers, under Keras' names."""

from typing import Any

from rnnx._config import on_demand
from rnnx.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from rnnx.layers.adaptive import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
)
from rnnx.layers.arithmetic import Arithmetic
from rnnx.layers.attention import AdditiveAttention, Attention
from rnnx.layers.convolution import Conv1D, Conv2D
from rnnx.layers.dense import Dense
from rnnx.layers.depthwise import DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D, SeparableConv2D
from rnnx.layers.dot import Dot, dot
from rnnx.layers.einsum import EinsumDense
from rnnx.layers.embedding import Embedding, Masking, ReversibleEmbedding
from rnnx.layers.given_mask import GivenMask as GivenMask
from rnnx.layers.group_normalization import GroupNormalization, RMSNormalization, UnitNormalization
from rnnx.layers.grouped_query_attention import GroupedQueryAttention
from rnnx.layers.identity import ActivityRegularization, Identity
from rnnx.layers.input import Input, InputLayer
from rnnx.layers.input_spec import InputSpec
from rnnx.layers.lambda_layer import Lambda
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
from rnnx.layers.multi_head_attention import MultiHeadAttention
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
from rnnx.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)
from rnnx.layers.preprocessing import (
    CategoryEncoding,
    Discretization,
    HashedCrossing,
    Hashing,
    IntegerLookup,
    Normalization,
    Rescaling,
    StringLookup,
    TextVectorization,
)
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
    ConvLSTM1D,
    ConvLSTM2D,
    ConvLSTM3D,
    GRUCell,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    TimeDistributed,
)
from rnnx.layers.shaping import Flatten, Permute, RepeatVector, Reshape
from rnnx.layers.spectral import SpectralNormalization
from rnnx.layers.transposed import Conv1DTranspose, Conv2DTranspose
from rnnx.layers.volumes import (
    AveragePooling3D,
    Conv3D,
    Conv3DTranspose,
    Cropping3D,
    GlobalAveragePooling3D,
    GlobalMaxPooling3D,
    MaxPooling3D,
    SpatialDropout3D,
    UpSampling3D,
    ZeroPadding3D,
)
from rnnx.layers.wrapper import Wrapper

# Other names of Keras for the same layers.
CuDNNLSTM, CuDNNGRU = LSTM, GRU
Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
MaxPool1D, MaxPool2D, AvgPool1D, AvgPool2D = MaxPooling1D, MaxPooling2D, AveragePooling1D, AveragePooling2D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
MaxPool3D, AvgPool3D = MaxPooling3D, AveragePooling3D
GlobalMaxPool3D, GlobalAvgPool3D = GlobalMaxPooling3D, GlobalAveragePooling3D
GroupQueryAttention = GroupedQueryAttention

__all__ = [
    "Activation", "ActivityRegularization", "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "Add",
    "AdditiveAttention", "AlphaDropout", "Arithmetic", "Attention", "Average", "AveragePooling1D", "AveragePooling2D",
    "AveragePooling3D", "AvgPool1D", "AvgPool2D", "AvgPool3D", "BatchNormalization", "Bidirectional",
    "CategoryEncoding", "Concatenate", "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D",
    "Conv3DTranspose", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Convolution1D", "Convolution1DTranspose",
    "Convolution2D", "Convolution2DTranspose", "Convolution3D", "Convolution3DTranspose", "Cropping1D", "Cropping2D",
    "Cropping3D", "CuDNNGRU", "CuDNNLSTM", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "Discretization", "Dot",
    "Dropout", "ELU", "EinsumDense", "Embedding", "Flatten", "GRU", "GRUCell", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalAvgPool1D", "GlobalAvgPool2D",
    "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "GlobalMaxPooling3D", "Gradients", "GroupNormalization", "GroupQueryAttention",
    "GroupedQueryAttention", "HashedCrossing", "Hashing", "Identity", "Input", "InputLayer", "InputSpec",
    "IntegerLookup", "LSTM", "LSTMCell", "Lambda", "Layer", "LayerNormalization", "LeakyReLU", "Masking", "MaxPool1D",
    "MaxPool2D", "MaxPool3D", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "Maximum", "Minimum",
    "MultiHeadAttention", "Multiply", "Normalization", "Operation", "PReLU", "Permute", "RMSNormalization", "RNN",
    "ReLU", "RepeatVector", "Rescaling", "Reshape", "ReversibleEmbedding", "SeparableConv1D", "SeparableConv2D",
    "SeparableConvolution1D", "SeparableConvolution2D", "SimpleRNN", "SimpleRNNCell", "Softmax", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D", "SpectralNormalization", "StackedRNNCells", "StringLookup", "Subtract",
    "TextVectorization", "TimeDistributed", "UnitNormalization", "UpSampling1D", "UpSampling2D", "UpSampling3D",
    "Weight", "Wrapper", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "add", "average", "concatenate", "dot",
    "maximum", "minimum", "multiply", "quantization_report", "subtract",
]  # fmt: skip


GONE = {  # of Keras 0 to 2, and what says it since
    "merge": "Keras 2 has add, multiply, average, maximum, concatenate and dot in its place",
    "Merge": "Keras 2 has Add, Multiply, Average, Maximum, Concatenate and Dot in its place",
    "Recurrent": "Keras 2.1 has RNN in its place; write a cell with `call` and `state_size`, and give it to RNN",
    "Highway": "write a class with `call`",
    "MaxoutDense": "write Dense, Reshape and ops.max",
    "TimeDistributedDense": "write Dense, which is applied to every step",
    "ThresholdedReLU": "write ReLU(threshold=theta)",
    "LocallyConnected1D": "Keras 3 has left it out; write a class with `call`",
}


def __getattr__(name: str) -> Any:
    if name == "quantization_report":
        return on_demand(name)
    gone = GONE.get(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}" + (f": {gone}" if gone else ""))
