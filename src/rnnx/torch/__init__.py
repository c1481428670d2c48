"""rnnx inside programs of PyTorch: ``accelerate(module)`` for what is there; `LSTM`, `GRU`, `RNN` for what is new."""

from rnnx.torch.accelerate import Report, accelerate
from rnnx.torch.modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Report", "accelerate"]
