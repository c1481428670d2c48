"""The recurrent core again, in plain float64 NumPy: slow, obvious, and what the engine is tested against.

``lstm``, ``gru`` and ``simple_rnn`` have the same ``forward`` and ``backward`` as in ``rnnx.functional``. Everything is
computed and returned in float64, whatever the dtype of the arguments. It is chosen explicitly; only networks whose
activations the engine does not have (gelu, softmax, callables, ...) come here from ``rnnx.functional``.
"""

from rnnx.reference import gru, lstm, simple_rnn

__all__ = ["gru", "lstm", "simple_rnn"]
