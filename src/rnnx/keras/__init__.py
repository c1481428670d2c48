"""rnnx inside programs of Keras 3: its LSTM, GRU and SimpleRNN on the engine, with Keras' own dropout masks."""

from rnnx.keras.accelerate import Report, accelerate, accelerated

__all__ = ["Report", "accelerate", "accelerated"]
