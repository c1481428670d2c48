"""The three kinds of recurrent cells, and what they differ in apart from their equations."""

from __future__ import annotations

from typing import NamedTuple


class CellKind(NamedTuple):
    """Name in configurations, name in messages, number of gates, number of states."""

    key: str
    name: str
    gates: int
    states: int


LSTM = CellKind("lstm", "LSTM", gates=4, states=2)
GRU = CellKind("gru", "GRU", gates=3, states=1)
SIMPLE_RNN = CellKind("simple_rnn", "SimpleRNN", gates=1, states=1)
CELLS = {cell.key: cell for cell in (LSTM, GRU, SIMPLE_RNN)}
