"""The recurrent core again, in plain float64 NumPy: slow, obvious, and what the engine is tested against.

``lstm``, ``gru`` and ``simple_rnn`` have the same ``forward`` and ``backward`` as in ``rnnx.functional``. Arguments may
be float32 or float64; everything is computed and returned in float64. It is chosen explicitly: only networks whose
activations the engine does not have (gelu, softmax, callables, ...) come here from ``rnnx.functional``.

A cell is a pair of functions of one time step, ``step`` and ``step_back``, written as the equations in the papers.
Both know nothing of sequences, padding and directions, which `rnnx.reference._sequence` adds once for all cells.
"""

from rnnx.reference import gru, lstm, simple_rnn

__all__ = ["gru", "lstm", "simple_rnn"]
