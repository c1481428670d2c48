"""Recurrent layers, their cells, and layers around them."""

from rnnx.layers.rnn.bidirectional import Bidirectional
from rnnx.layers.rnn.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from rnnx.layers.rnn.gru import GRU, GRUCell
from rnnx.layers.rnn.lstm import LSTM, LSTMCell
from rnnx.layers.rnn.rnn import RNN
from rnnx.layers.rnn.simple_rnn import SimpleRNN, SimpleRNNCell
from rnnx.layers.rnn.stacked import StackedRNNCells
from rnnx.layers.rnn.time_distributed import TimeDistributed

__all__ = [
    "GRU", "LSTM", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRUCell", "LSTMCell", "SimpleRNN",
    "SimpleRNNCell", "StackedRNNCells", "TimeDistributed",
]  # fmt: skip
