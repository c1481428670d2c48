"""Simple (Elman) recurrent network over whole sequences: ``forward`` and ``backward`` as pure functions."""

from __future__ import annotations

from typing import Any

from rnnx._kernels import Packed
from rnnx.dropout import DropoutMasks
from rnnx.functional import _engine
from rnnx.functional._engine import pack
from rnnx.functional._types import Array, Grads, RNNParams, Run, State

__all__ = ["backward", "forward", "pack"]


def forward(
    params: RNNParams,
    x: Array,
    *,
    initial_state: State | None = None,
    mask: Array | None = None,
    lengths: Array | None = None,
    masks: DropoutMasks | None = None,
    go_backwards: bool = False,
    training: bool = False,
    threads: int | None = None,
    out: Array | None = None,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    packed: Packed | None = None,
) -> Run:
    """Run a simple recurrent network over a batch of sequences.

    Per step, with masks m on the operands::

        h' = tanh((x * mx) @ W + (h * mh) @ R + b)

    Activations outside the engine's set (for example gelu, softmax or a callable) run on ``rnnx.reference``: same
    results, NumPy speed.

    Parameters
    ----------
    params : RNNParams
    x : array of shape (batch, timesteps, features)
        float32 or float64 as the weights; any strides, no copy is made of the whole.
    initial_state : array of shape (batch, units), optional
        Zeros if not given.
    mask : bool array of shape (batch, timesteps), optional
        True = use the step. A masked step keeps the state and repeats the output before it.
    lengths : int array of shape (batch,), optional
        Valid leading steps of each row, instead of ``mask``.
    masks : DropoutMasks, optional
        Dropout masks to apply; nothing is drawn here.
    go_backwards : bool
        Read the steps from the last to the first; outputs come in that order.
    training : bool
        Keep what ``backward`` needs.
    threads : int, optional
        Number of threads; the result does not depend on it.
    out : array, optional
        Where to put the outputs.
    return_sequences : bool
        All outputs, or only the last one.
    zero_output_for_mask : bool
        Masked steps give 0 instead of repeating the output before them.
    packed : Packed, optional
        ``pack(params)``, to save its time when the weights stay the same.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, dtype or shape; nothing has been computed then.

    References
    ----------
    .. [1] J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.functional import RNNParams, simple_rnn
    >>> rng = np.random.default_rng(0)
    >>> params = RNNParams(rng.normal(size=(3, 4)), rng.normal(size=(4, 4)))
    >>> simple_rnn.forward(params, rng.normal(size=(2, 5, 3))).outputs.shape
    (2, 5, 4)
    """
    return _engine.forward(
        params,
        x,
        initial_state=initial_state,
        mask=mask,
        lengths=lengths,
        masks=masks,
        go_backwards=go_backwards,
        training=training,
        threads=threads,
        out=out,
        return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
        packed=packed,
    )


def backward(
    cache: Any,
    doutputs: Array | None,
    dstate: Any = None,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
) -> Grads:
    """Gradients of a ``forward`` call that had ``training=True``.

    Parameters
    ----------
    cache : object
        ``run.cache``.
    doutputs : array of the shape of the outputs, or None for zero
    dstate : array of shape (batch, units), optional
        Gradient of the final state.
    need_dx, need_dparams : bool
        Whether these gradients are wanted; what is not is not computed.

    Returns
    -------
    Grads

    Raises
    ------
    TypeError, ValueError
        If ``cache`` or a gradient does not fit.
    """
    return _engine.backward(cache, doutputs, dstate, need_dx, need_dparams)
