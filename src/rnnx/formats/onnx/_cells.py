"""LSTM, GRU and RNN of ONNX in plain NumPy, for what the compiled engine does not have.

That is: activations that rnnx lacks, with any of the operators' options. Arrays are time-major as in the
operators' specification, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rnnx._typing import Array

Function = Callable[[Array], Array]
Result = tuple[Array, Array, Array | None]


@dataclass(frozen=True, eq=False)
class NumpyCell:
    """One direction of a recurrent operator.

    Attributes
    ----------
    kind : {"LSTM", "GRU", "RNN"}
    kernel : array of shape (gates*hidden, features)
    recurrent : array of shape (gates*hidden, hidden)
    bias : pair of arrays of shape (gates*hidden,)
        That of the input and that of the state.
    peepholes : array of shape (3*hidden,) or None
        For the gates i, o, f.
    activations : sequence of callables
        f, g, h of an LSTM; f, g of a GRU; f of an RNN.
    clip : float or None
        Bound of the arguments of the activations of the gates.
    input_forget, linear_before_reset : bool
    """

    kind: str
    kernel: Array
    recurrent: Array
    bias: tuple[Array, Array]
    peepholes: Array | None
    activations: Sequence[Function]
    clip: float | None = None
    input_forget: bool = False
    linear_before_reset: bool = False

    def run(self, x: Array, lengths: Array | None, h: Array, c: Array | None, reverse: bool) -> Result:
        """Outputs and final states.

        Parameters
        ----------
        x : array of shape (timesteps, batch, features)
        lengths : int array of shape (batch,) or None
            Valid leading steps of each row; outputs behind them are 0, and a row without any ends in a state of zeros.
        h, c : arrays of shape (batch, hidden)
            Initial states; None for ``c`` unless it is an LSTM.
        reverse : bool
            From the last valid step of each row to its first.

        Returns
        -------
        y : array of shape (timesteps, batch, hidden)
        h, c : arrays of shape (batch, hidden)
        """
        step = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.kind]
        steps, batch = x.shape[:2]
        y = np.zeros((steps, batch, self.recurrent.shape[1]), x.dtype)
        from_input = x @ self.kernel.T + self.bias[0]
        for t in range(steps - 1, -1, -1) if reverse else range(steps):
            new_h, new_c = step(from_input[t], h, c)
            if lengths is None:
                h, c = new_h, new_c
                y[t] = h
                continue
            valid = (t < lengths)[:, None]
            h = np.where(valid, new_h, h)
            c = None if c is None or new_c is None else np.where(valid, new_c, c)
            y[t] = np.where(valid, new_h, 0)
        if lengths is not None:
            some = (lengths > 0)[:, None]
            h, c = np.where(some, h, 0), None if c is None else np.where(some, c, 0)
        return y, h.astype(x.dtype, copy=False), None if c is None else c.astype(x.dtype, copy=False)

    def _clipped(self, x: Array) -> Array:
        return x if self.clip is None else np.clip(x, -self.clip, self.clip)

    def _lstm(self, from_input: Array, h: Array, c: Array | None) -> tuple[Array, Array | None]:
        assert c is not None
        f_, g_, h_ = self.activations
        i, o, f, g = np.split(from_input + (h @ self.recurrent.T + self.bias[1]), 4, axis=-1)
        pi, po, pf = (0, 0, 0) if self.peepholes is None else np.split(self.peepholes, 3)
        i = f_(self._clipped(i + pi * c))
        f = 1 - i if self.input_forget else f_(self._clipped(f + pf * c))
        c = f * c + i * g_(self._clipped(g))
        o = f_(self._clipped(o + po * c))
        return o * h_(c), c

    def _gru(self, from_input: Array, h: Array, c: Array | None) -> tuple[Array, Array | None]:
        f_, g_ = self.activations
        units = h.shape[1]
        gates = from_input[:, : 2 * units] + (h @ self.recurrent[: 2 * units].T + self.bias[1][: 2 * units])
        z, r = np.split(f_(self._clipped(gates)), 2, axis=-1)
        weights, bias = self.recurrent[2 * units :].T, self.bias[1][2 * units :]
        from_state = r * (h @ weights + bias) if self.linear_before_reset else (r * h) @ weights + bias
        new = g_(self._clipped(from_input[:, 2 * units :] + from_state))
        return (1 - z) * new + z * h, None

    def _rnn(self, from_input: Array, h: Array, c: Array | None) -> tuple[Array, Array | None]:
        (f_,) = self.activations
        return f_(self._clipped(from_input + (h @ self.recurrent.T + self.bias[1]))), None
