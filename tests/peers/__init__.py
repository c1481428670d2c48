"""Tests that run Keras and PyTorch beside rnnx: ``pytest -m peers``, with the extra ``golden`` installed."""
