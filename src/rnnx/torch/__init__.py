"""rnnx inside programs of PyTorch: ``accelerate(module)`` for what is there; `LSTM`, `GRU`, `RNN` for what is new."""

try:
    import torch as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError("rnnx.torch works inside PyTorch: pip install 'rnnx[torch]'", name="torch") from error

from rnnx.torch.accelerate import Report, accelerate
from rnnx.torch.modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Report", "accelerate"]
