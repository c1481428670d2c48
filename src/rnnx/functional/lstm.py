"""LSTM over whole sequences: ``forward``, ``backward`` and ``pack`` as pure functions.

Per step, with gates i, f, c, o and masks m on the operands::

    a = (x * mx) @ W + (h * mh) @ R + b
    c' = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_c)
    h' = sigmoid(a_o) * tanh(c')

S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; F. Gers, J. Schmidhuber,
F. Cummins, "Learning to forget", Neural Computation 12(10), 2000.
"""

from rnnx.functional._engine import Core
from rnnx.functional._types import LSTMParams

__all__ = ["backward", "forward", "pack"]

_core = Core("LSTM", LSTMParams)
forward, backward, pack = _core.forward, _core.backward, _core.pack
