"""The simple (Elman) recurrent network: its weights, its cell and its layer."""

from __future__ import annotations

from typing import Any

from rnnx import functional
from rnnx._typing import Array
from rnnx.functional import RNNParams
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.rnn.cell import Cell, constructor_of_cell
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.rnn.weights import RecurrentWeights, constructor_arguments


class SimpleRNNWeights(RecurrentWeights):
    """What makes a recurrent layer or cell a simple (Elman) network."""

    cell_kind, gates, state_count = RNNParams.cell.key, RNNParams.cell.gates, RNNParams.cell.states
    core = functional.simple_rnn

    def make_params(self, *weights: Array) -> RNNParams:
        bias = weights[2] if len(weights) > 2 else None
        return RNNParams(weights[0], weights[1], bias, self.activation, recurrent_blocks=self.recurrent_blocks)


class SimpleRNN(Recurrent, SimpleRNNWeights):
    """Simple (Elman) recurrent network: ``h' = tanh(x W + h R + b)``.

    Weights in ``get_weights`` order: kernel (features, units), recurrent kernel (units, units), bias (units,).

    Parameters
    ----------
    units : int
        Width of the state and of the output.
    activation : str, callable or None
        None is the identity.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str, dict or initializer
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : optional
    kernel_constraint, recurrent_constraint, bias_constraint : optional
    dropout, recurrent_dropout : float
        Rates in [0, 1) at which inputs, and what ``recurrent_dropout_mode`` says, are dropped in training.
    return_sequences : bool
        All outputs instead of the last one.
    return_state : bool
        Also return the final state: ``[y, h]``.
    go_backwards : bool
        Read the steps from the last to the first; outputs come in that order.
    stateful : bool
        Start each batch from the final state of the batch before, until `reset_state`. The batch size is fixed.
    unroll, implementation : optional
        Accepted for Keras; the numbers do not depend on them.
    seed : int, SeedGenerator or None
        Source of the masks; they depend on it and on the number of the call only.
    zero_output_for_mask : bool
        Outputs at masked steps are 0 instead of repeating the output before them.
    noise_shape, recurrent_noise_shape, dropout_gates, recurrent_dropout_mode, zoneout, compat : optional
        As in `LSTM`; there is no cell, so ``zoneout`` is one rate, and ``"update"`` and ``"cell"`` are the same.
    recurrent_blocks, weight_noise, recompute
        As in `LSTM`.
    **kwargs
        ``name``, ``trainable``, ``dtype``, ``input_shape``, and what Keras 2 had.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or does not fit.

    References
    ----------
    .. [1] J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.SimpleRNN(4)(np.ones((2, 7, 3))).shape
    (2, 4)
    """

    @takes_old_words
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: Any = None,
        *,
        zero_output_for_mask: bool = False,
        noise_shape: Any = None,
        recurrent_noise_shape: Any = None,
        dropout_gates: str = "keras",
        recurrent_dropout_mode: str = "state",
        zoneout: Any = 0.0,
        compat: str = "keras3",
        recurrent_blocks: int = 1,
        weight_noise: str | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))


class SimpleRNNCell(Cell, SimpleRNNWeights):
    """One step of a simple recurrent network.

    Parameters
    ----------
    units : int
    activation, use_bias, dropout, recurrent_dropout, seed, ...
        As for `SimpleRNN`, with its further arguments about noise.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> y, [h] = rnnx.layers.SimpleRNNCell(4)(np.ones((2, 3)))
    >>> y.shape
    (2, 4)
    """

    __init__ = constructor_of_cell(SimpleRNN)
