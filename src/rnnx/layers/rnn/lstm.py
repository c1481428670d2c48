"""Long short-term memory: its weights, its cell and its layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import functional
from rnnx._typing import Array
from rnnx.functional import LSTMParams
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.rnn.cell import Cell, constructor_of_cell
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.rnn.weights import RecurrentWeights, activation_of, constructor_arguments


class LSTMWeights(RecurrentWeights):
    """What makes a recurrent layer or cell an LSTM."""

    cell_kind, gates, state_count = LSTMParams.cell.key, LSTMParams.cell.gates, LSTMParams.cell.states
    core = functional.lstm

    def __init__(self, *, recurrent_activation: Any, unit_forget_bias: bool, **kwargs: Any):
        vars(self)["recurrent_activation"] = activation_of(recurrent_activation, kwargs["compat"])
        self.unit_forget_bias = bool(unit_forget_bias)
        super().__init__(**kwargs)

    def initial_bias(self) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer

        def bias(shape: tuple[int, ...], dtype: Any) -> Array:
            value = self.bias_initializer(shape, dtype=dtype)
            value[self.units : 2 * self.units] = 1
            return np.asarray(value)

        return bias

    def make_params(self, *weights: Array) -> LSTMParams:
        bias = weights[2] if len(weights) > 2 else None
        return LSTMParams(
            weights[0],
            weights[1],
            bias,
            self.activation,
            self.recurrent_activation,
            recurrent_blocks=self.recurrent_blocks,
        )

    def cudnn_able(self) -> bool:
        return super().cudnn_able() and self.recurrent_activation.name == "sigmoid"

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": self.recurrent_activation.serialize(),
            "unit_forget_bias": self.unit_forget_bias,
        }


class LSTM(Recurrent, LSTMWeights):
    """Long short-term memory.

    ``i, f, o = sigmoid(...)``, ``c' = f * c + i * tanh(...)``, ``h' = o * tanh(c')``. Weights in ``get_weights`` order,
    gates ``i f c o``: kernel (features, 4*units), recurrent kernel (units, 4*units), bias (4*units,).

    Parameters
    ----------
    units : int
        Width of the state and of the output.
    activation, recurrent_activation : str, callable or None
        Of the candidate and the cell output; of the three gates. None is the identity.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str, dict or initializer
        Each is applied to the whole matrix, all gates side by side.
    unit_forget_bias : bool
        The bias of the forget gate starts at 1.
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : optional
    kernel_constraint, recurrent_constraint, bias_constraint : optional
    dropout : float
        Rate in [0, 1) at which inputs are dropped in training. One mask for all steps, unless ``noise_shape`` says
        otherwise.
    recurrent_dropout : float
        Rate in [0, 1) at which ``recurrent_dropout_mode`` drops in training.
    seed : int, SeedGenerator or None
        Source of the masks; they depend on it and on the number of the call only.
    return_sequences : bool
        All outputs instead of the last one.
    return_state : bool
        Also return the final states: ``[y, h, c]``.
    go_backwards : bool
        Read the steps from the last to the first; outputs come in that order.
    stateful : bool
        Start each batch from the final states of the batch before, until `reset_state`. The batch size is fixed.
    unroll, use_cudnn, implementation : optional
        Accepted for Keras; the numbers do not depend on them (but see ``compat="tf_keras2"``).
    zero_output_for_mask : bool
        Outputs at masked steps are 0 instead of repeating the output before them.
    noise_shape : tuple, optional
        Shape of the input mask over (batch, timesteps, features), None meaning that axis' size. The default
        ``(None, 1, None)`` keeps a mask for all steps; ``(None, None, None)`` is fresh at each step;
        ``(None, None, 1)`` drops whole steps; ``(1, 1, None)`` shares one mask over the batch.
    recurrent_noise_shape : tuple, optional
        The same over (batch, timesteps, units); default ``(None, 1, None)``.
    dropout_gates : {"keras", "shared", "per_gate"}
        One mask for all gates, or one per gate; ``"keras"``: per gate as soon as ``recurrent_dropout > 0``.
    recurrent_dropout_mode : {"state", "update", "cell", "weights"}
        What ``recurrent_dropout`` drops: the state before its product (Gal & Ghahramani, Keras), the new content
        (Semeniuta et al.), the cell itself (Moon et al.), or the recurrent kernel (Merity et al.).
    zoneout : float or pair (cell, hidden)
        Rate at which old values survive a step (Krueger et al.); its expectation is applied at inference.
    compat : str
        Dropout rules of an older Keras generation, see `rnnx.dropout.PROFILES`, and its ``hard_sigmoid``.
    recurrent_blocks : int
        With n of them the units stand in n groups of equal size, each of which sees the state of its own group alone:
        the recurrent kernel is block-diagonal, has an n-th of the weights and costs about an n-th. Its shape is
        (units / n, 4*units): each column holds the weights on the units of its group (`rnnx.functional.dense_kernel`).
        Each block starts as that of a layer of its own.
    weight_noise : {None, "int8"}
        In training, uniform noise of one rounding step on kernel and recurrent kernel, as far as ``quantize("int8")``
        could move each weight; drawn anew in every call, gradients pass straight through. What learns under it, or is
        trained a little more under it, loses little when it is quantized. It is off in inference, in ``predict_mc`` and
        once the layer is quantized.
    recompute : bool
        Keep no activations for the gradients but repeat the forward pass for them: less memory, a third more time.
    **kwargs
        ``name``, ``trainable``, ``dtype``, ``input_shape``, and what Keras 2 had.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or does not fit.

    References
    ----------
    .. [1] S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997.
    .. [2] Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
       NeurIPS 2016.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2, return_sequences=True, seed=1)
    >>> x = np.ones((2, 7, 3))
    >>> layer(x, training=True).shape
    (2, 7, 4)
    >>> y, pullback = layer.vjp(x, lengths=[7, 2])
    >>> [g.shape for g in pullback(np.ones((2, 7, 4))).dweights]
    [(3, 16), (4, 16), (16,)]
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
        unit_forget_bias: bool = True,
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


class LSTMCell(Cell, LSTMWeights):
    """One step of an LSTM.

    Parameters
    ----------
    units : int
    activation, recurrent_activation, use_bias, unit_forget_bias, dropout, recurrent_dropout, seed, ...
        As for `LSTM`, with its further arguments about noise.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> cell = rnnx.layers.LSTMCell(4)
    >>> y, (h, c) = cell(np.ones((2, 3)))
    >>> y, (h, c) = cell(np.ones((2, 3)), [h, c])
    >>> y.shape
    (2, 4)
    """

    __init__ = constructor_of_cell(LSTM)
