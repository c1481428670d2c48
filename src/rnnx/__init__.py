"""Recurrent networks on a CPU, with dropout that means one thing."""
