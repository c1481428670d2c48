"""Layers and models that are fed step by step."""

from rnnx.streaming.monte_carlo import MonteCarloStream
from rnnx.streaming.pool import StreamPool
from rnnx.streaming.stream import Stream, stream

__all__ = ["MonteCarloStream", "Stream", "StreamPool", "stream"]
