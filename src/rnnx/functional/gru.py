"""GRU over whole sequences: ``forward``, ``backward`` and ``pack`` as pure functions.

Per step, with gates z, r, h and masks m on the operands::

    z, r = sigmoid((x * mx) @ W + (h * mh) @ R + b)
    n = tanh((x * mx) @ W_h + b_h + r * ((h * mh) @ R_h + br_h))    # reset_after
    n = tanh((x * mx) @ W_h + b_h + (r * h * mh) @ R_h)             # reset before
    h' = z * h + (1 - z) * n

K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014 (reset before); NVIDIA cuDNN and
Keras ``reset_after=True`` (reset after).
"""

from rnnx.functional._engine import Core
from rnnx.functional._types import GRUParams

__all__ = ["backward", "forward", "pack"]

_core = Core("GRU", GRUParams)
forward, backward, pack = _core.forward, _core.backward, _core.pack
