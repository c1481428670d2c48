"""PyTorch's own tests of its recurrent modules, run with those of rnnx in their place; `__main__` has the command."""
