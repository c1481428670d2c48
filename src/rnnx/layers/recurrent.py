"""LSTM, GRU and SimpleRNN over whole sequences."""

from __future__ import annotations

from typing import Any

from rnnx.layers.recurrent_base import Recurrent
from rnnx.layers.recurrent_weights import GRUWeights, LSTMWeights, SimpleRNNWeights, constructor_arguments


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
        recompute: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))


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
    noise_shape, recurrent_noise_shape, dropout_gates, recurrent_dropout_mode, zoneout, compat, recompute
        As in `LSTM`; a GRU has no cell, so ``zoneout`` is one rate, and ``"cell"`` drops the new state.
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
        recompute: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))


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
    noise_shape, recurrent_noise_shape, dropout_gates, recurrent_dropout_mode, zoneout, compat, recompute
        As in `LSTM`; there is no cell, so ``zoneout`` is one rate, and ``"update"`` and ``"cell"`` are the same.
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
        recompute: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))
