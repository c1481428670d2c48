"""Benches that ship with the package, so that `rnnx bench` works wherever rnnx is installed."""
