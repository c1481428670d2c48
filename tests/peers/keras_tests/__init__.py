"""Keras' own tests, run on rnnx through an import shim; see `__main__` for the command."""
