"""What goes into and comes out of the functional core: weights, runs and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rnnx._cells import GRU, LSTM, SIMPLE_RNN, CellKind
from rnnx._typing import ActivationLike, Array, State


@dataclass(frozen=True, eq=False)
class LSTMParams:
    """Weights of an LSTM; gate order along the last axis is ``i f c o``.

    Parameters
    ----------
    kernel : array of shape (features, 4*units)
    recurrent_kernel : array of shape (units, 4*units)
    bias : array of shape (4*units,), optional
    activation, recurrent_activation : str, callable or None
        Activation of the candidate and of the cell output; activation of the three gates.
    peepholes : array of shape (3*units,), optional
        Weights of the gates ``i f o`` on the cell: i and f see the one before the step, o the one after it.
    clip : float, optional
        What goes into the activations of gates and candidate is bounded to -clip..clip.
    coupled : bool
        The forget gate is ``1 - i``, and its weights have no effect.
    recurrent_blocks : int
        With n of them the recurrent kernel is block-diagonal: units stand in n groups of equal size, and those of a
        group see the state of their group alone. ``recurrent_kernel`` has shape (units / n, 4*units) then: each column
        holds the weights on the units of its own group. `dense_kernel` gives the whole matrix.

    Notes
    -----
    Peepholes, clip and coupled gates are options of ONNX. The engine has them for inference; with ``training=True``
    they run on ``rnnx.reference``: same results, NumPy speed.

    References
    ----------
    F. Gers, J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000 (peepholes); K. Greff et al., "LSTM: a
    search space odyssey", 2015 (coupled gates).
    """

    cell: ClassVar[CellKind] = LSTM
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    activation: ActivationLike = "tanh"
    recurrent_activation: ActivationLike = "sigmoid"
    peepholes: Array | None = None
    clip: float | None = None
    coupled: bool = False
    recurrent_blocks: int = 1


@dataclass(frozen=True, eq=False)
class GRUParams:
    """Weights of a GRU; gate order along the last axis is ``z r h``, or what ``gate_order`` says.

    Parameters
    ----------
    kernel : array of shape (features, 3*units)
    recurrent_kernel : array of shape (units, 3*units)
    bias : array, optional
        Shape (2, 3*units) with ``reset_after`` (row 0 input, row 1 recurrent), else (3*units,).
    activation, recurrent_activation : str, callable or None
    reset_after : bool
        Whether the reset gate multiplies the recurrent product (True) or the state before it (False).
    clip : float, optional
        As of `LSTMParams`.
    gate_order : {"zrh", "rzh"}
        Along the last axis of kernels and bias, and of their gradients; ``"rzh"`` is PyTorch's. That of dropout masks
        stays ``z r h``.
    recurrent_blocks : int
        As of `LSTMParams`.
    """

    cell: ClassVar[CellKind] = GRU
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    activation: ActivationLike = "tanh"
    recurrent_activation: ActivationLike = "sigmoid"
    reset_after: bool = True
    clip: float | None = None
    gate_order: str = "zrh"
    recurrent_blocks: int = 1


@dataclass(frozen=True, eq=False)
class RNNParams:
    """Weights of a simple (Elman) recurrent network.

    Parameters
    ----------
    kernel : array of shape (features, units)
    recurrent_kernel : array of shape (units, units)
    bias : array of shape (units,), optional
    activation : str, callable or None
    clip : float, optional
        As of `LSTMParams`.
    recurrent_blocks : int
        As of `LSTMParams`.
    """

    cell: ClassVar[CellKind] = SIMPLE_RNN
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    activation: ActivationLike = "tanh"
    clip: float | None = None
    recurrent_blocks: int = 1


Params = LSTMParams | GRUParams | RNNParams


@dataclass(eq=False, slots=True)
class Run:
    """Result of a forward call.

    Attributes
    ----------
    outputs : array of shape (batch, timesteps, units), (rows, units) of packed data, or (batch, units) for the last
        output only
    state : array of shape (batch, units), or for an LSTM the pair ``(h, c)`` of such arrays
        None with ``return_state=False``.
    cache : object or None
        What ``backward`` needs; None unless the call had ``training=True``.
    """

    outputs: Array
    state: Any
    cache: Any = None


@dataclass(frozen=True, eq=False)
class Grads:
    """Result of a backward call.

    Attributes
    ----------
    dx : array of the shape of x, or None
    dinitial_state : same structure as the state
    dparams : same class as the parameters (its arrays are gradients), or None
    """

    dx: Array | None
    dinitial_state: State
    dparams: Params | None
