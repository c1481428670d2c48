"""Layers and models that are fed step by step."""

from rnnx.streaming.stream import Stream, stream

__all__ = ["Stream", "stream"]
