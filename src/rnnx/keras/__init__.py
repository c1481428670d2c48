"""rnnx inside programs of Keras 3: its LSTM, GRU and SimpleRNN on the engine, with Keras' own dropout masks.

`accelerate` is for the layers that are there; `LSTM`, `GRU` and `SimpleRNN` are Keras' with more kinds of dropout.
"""

try:
    import keras as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise
    raise ModuleNotFoundError("rnnx.keras works inside Keras 3: pip install 'rnnx[keras]'", name="keras") from error

from rnnx.keras.accelerate import Report, accelerate, accelerated
from rnnx.keras.layers import GRU, LSTM, SimpleRNN

__all__ = ["GRU", "LSTM", "Report", "SimpleRNN", "accelerate", "accelerated"]
