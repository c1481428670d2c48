"""Simple recurrent network over whole sequences: ``forward``, ``backward`` and ``pack`` as pure functions.

Per step, with masks m on the operands::

    h' = tanh((x * mx) @ W + (h * mh) @ R + b)

J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
"""

from rnnx.functional._engine import Core
from rnnx.functional._types import RNNParams

__all__ = ["backward", "forward", "pack"]

_core = Core("SimpleRNN", RNNParams)
forward, backward, pack = _core.forward, _core.backward, _core.pack
