"""The three kinds of recurrent cells, and what they differ in apart from their equations."""

from __future__ import annotations

from typing import NamedTuple


class CellKind(NamedTuple):
    """Name in configurations, name in messages, number of gates, number of states, name in PyTorch and ONNX."""

    key: str
    name: str
    gates: int
    states: int
    elsewhere: str


LSTM = CellKind("lstm", "LSTM", gates=4, states=2, elsewhere="LSTM")
GRU = CellKind("gru", "GRU", gates=3, states=1, elsewhere="GRU")
SIMPLE_RNN = CellKind("simple_rnn", "SimpleRNN", gates=1, states=1, elsewhere="RNN")
CELLS = {cell.key: cell for cell in (LSTM, GRU, SIMPLE_RNN)}
