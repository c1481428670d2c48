"""The gated recurrent unit: its weights, its cell and its layer."""

from __future__ import annotations

from typing import Any

from rnnx import functional
from rnnx._typing import Array
from rnnx.functional import GRUParams
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.rnn.cell import Cell, constructor_of_cell
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.rnn.weights import RecurrentWeights, activation_of, constructor_arguments


class GRUWeights(RecurrentWeights):
    """What makes a recurrent layer or cell a GRU."""

    cell_kind, gates, state_count = GRUParams.cell.key, GRUParams.cell.gates, GRUParams.cell.states
    core = functional.gru
    reset_after: bool
    fixed_when_built = RecurrentWeights.fixed_when_built | {"reset_after"}

    def __init__(self, *, recurrent_activation: Any, reset_after: bool, **kwargs: Any):
        activation = activation_of(recurrent_activation, kwargs["compat"])
        vars(self).update(recurrent_activation=activation, reset_after=bool(reset_after))
        super().__init__(**kwargs)

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def make_params(self, *weights: Array) -> GRUParams:
        bias = weights[2] if len(weights) > 2 else None
        return GRUParams(
            weights[0],
            weights[1],
            bias,
            self.activation,
            self.recurrent_activation,
            self.reset_after,
            recurrent_blocks=self.recurrent_blocks,
        )

    def cudnn_able(self) -> bool:
        return super().cudnn_able() and self.recurrent_activation.name == "sigmoid" and self.reset_after

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": self.recurrent_activation.serialize(),
            "reset_after": self.reset_after,
        }


class GRU(Recurrent, GRUWeights):
    """Gated recurrent unit.

    ``z, r = sigmoid(...)``, ``n = tanh(x W + r * (h R))``, ``h' = z * h + (1 - z) * n``: the state is never masked
    here, whatever is dropped. Weights in ``get_weights`` order, gates ``z r h``: kernel (features, 3*units),
    recurrent kernel (units, 3*units), bias (2, 3*units) with ``reset_after``, else (3*units,).

    Parameters
    ----------
    units : int
        Width of the state and of the output.
    activation, recurrent_activation : str, callable or None
        Of the candidate; of the two gates. None is the identity.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str, dict or initializer
        Each is applied to the whole matrix, all gates side by side.
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : optional
    kernel_constraint, recurrent_constraint, bias_constraint : optional
    dropout, recurrent_dropout : float
        Rates in [0, 1) at which inputs, and what ``recurrent_dropout_mode`` says, are dropped in training.
    seed : int, SeedGenerator or None
        Source of the masks; they depend on it and on the number of the call only.
    return_sequences : bool
        All outputs instead of the last one.
    return_state : bool
        Also return the final state: ``[y, h]``.
    go_backwards : bool
        Read the steps from the last to the first; outputs come in that order.
    stateful : bool
        Start each batch from the final state of the batch before, until `reset_state`. The batch size is fixed.
    unroll, use_cudnn, implementation : optional
        Accepted for Keras; the numbers do not depend on them (but see ``compat="tf_keras2"``).
    reset_after : bool
        Whether the reset gate multiplies the recurrent product (True) or the state before it (False).
    zero_output_for_mask : bool
        Outputs at masked steps are 0 instead of repeating the output before them.
    noise_shape, recurrent_noise_shape, dropout_gates, recurrent_dropout_mode, zoneout, compat : optional
        As in `LSTM`; a GRU has no cell, so ``zoneout`` is one rate, and ``"cell"`` drops the new state.
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
    .. [1] K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.GRU(4, dropout=0.5, seed=1, return_state=True)
    >>> y, h = layer(np.ones((2, 7, 3)), training=True)
    >>> y.shape, h.shape
    ((2, 4), (2, 4))
    """

    @takes_old_words
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
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
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
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


class GRUCell(Cell, GRUWeights):
    """One step of a GRU.

    Parameters
    ----------
    units : int
    activation, recurrent_activation, use_bias, dropout, recurrent_dropout, reset_after, seed, ...
        As for `GRU`, with its further arguments about noise.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> cell = rnnx.layers.GRUCell(4, recurrent_dropout=0.5, seed=1)
    >>> x, states = np.ones((2, 3)), None
    >>> _ = cell(x)    # builds
    >>> masks = cell.sample_masks(batch=2)
    >>> for _ in range(3):
    ...     y, states = cell(x, states, training=True, dropout_masks=masks)
    >>> y.shape
    (2, 4)
    """

    __init__ = constructor_of_cell(GRU)
