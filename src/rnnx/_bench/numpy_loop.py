"""LSTM and GRU as a good NumPy programmer writes them: what the engine is compared with.

One product for the inputs of all steps, gates vectorised over the batch, buffers made once, full back-propagation
through time, weight gradients as single products, dropout masks multiplied into the operands.
"""

from __future__ import annotations

import numpy as np

from rnnx._typing import Array


def sigmoid(x: Array) -> Array:
    """Logistic function, in place."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


class NumpyLayer:
    """What both layers begin with: the weights, and one product for the inputs of all steps."""

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array):
        self.kernel, self.recurrent, self.bias = kernel, recurrent_kernel, bias
        self.units = recurrent_kernel.shape[0]

    def begin(self, x: Array, x_mask: Array | None, h_mask: Array | None, bias: Array) -> None:
        """Keep the masked inputs, what they give the gates, and room for the states before and after each step."""
        steps, batch, features = x.shape
        self.x = x if x_mask is None else x * x_mask
        self.x_mask, self.h_mask = x_mask, h_mask
        self.gates = self.x.reshape(-1, features) @ self.kernel
        self.gates += bias
        self.gates = self.gates.reshape(steps, batch, -1)
        self.h = np.zeros((steps + 1, batch, self.units), x.dtype)


class NumpyLSTM(NumpyLayer):
    """An LSTM over time-major sequences, with back-propagation.

    Parameters
    ----------
    kernel, recurrent_kernel, bias : arrays
        Shapes (features, 4*units), (units, 4*units) and (4*units,); gates i f c o.
    """

    def forward(self, x: Array, x_mask: Array | None = None, h_mask: Array | None = None) -> Array:
        """Outputs (timesteps, batch, units) of x (timesteps, batch, features).

        ``x_mask`` (batch, features) and ``h_mask`` (batch, units) are constant in time and shared by the gates.
        """
        steps, batch, _ = x.shape
        u = self.units
        self.begin(x, x_mask, h_mask, self.bias)
        self.c = np.zeros((steps + 1, batch, u), x.dtype)
        self.squashed = np.empty((steps, batch, u), x.dtype)
        product, part = np.empty((batch, 4 * u), x.dtype), np.empty((batch, u), x.dtype)
        for t in range(steps):
            a, c = self.gates[t], self.c[t + 1]
            operand = self.h[t] if h_mask is None else self.h[t] * h_mask
            a += np.matmul(operand, self.recurrent, out=product)
            sigmoid(a[:, : 2 * u])
            np.tanh(a[:, 2 * u : 3 * u], out=a[:, 2 * u : 3 * u])
            sigmoid(a[:, 3 * u :])
            np.multiply(a[:, u : 2 * u], self.c[t], out=c)
            c += np.multiply(a[:, :u], a[:, 2 * u : 3 * u], out=part)
            np.multiply(a[:, 3 * u :], np.tanh(c, out=self.squashed[t]), out=self.h[t + 1])
        return self.h[1:]

    def step(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """One step without anything kept: the new h and c, each (batch, units)."""
        u = self.units
        a = x @ self.kernel
        a += h @ self.recurrent
        a += self.bias
        sigmoid(a[:, : 2 * u])
        sigmoid(a[:, 3 * u :])
        c = a[:, u : 2 * u] * c
        c += a[:, :u] * np.tanh(a[:, 2 * u : 3 * u])
        return a[:, 3 * u :] * np.tanh(c), c

    def backward(self, dy: Array) -> tuple[Array, Array, Array, Array]:
        """Gradients of x, kernel, recurrent kernel and bias for the gradient of the outputs."""
        steps, batch, u = dy.shape
        da = np.empty_like(self.gates)
        dh, dc = np.zeros((batch, u), dy.dtype), np.zeros((batch, u), dy.dtype)
        back = np.ascontiguousarray(self.recurrent.T)
        for t in range(steps - 1, -1, -1):
            i, f, g, o = (self.gates[t][:, k * u : (k + 1) * u] for k in range(4))
            di, df, dg, do = (da[t][:, k * u : (k + 1) * u] for k in range(4))
            y = self.squashed[t]
            dh += dy[t]
            dc += dh * o * (1 - y * y)
            np.multiply(dh * y, o * (1 - o), out=do)
            np.multiply(dc * g, i * (1 - i), out=di)
            np.multiply(dc * self.c[t], f * (1 - f), out=df)
            np.multiply(dc * i, 1 - g * g, out=dg)
            dc *= f
            np.matmul(da[t], back, out=dh)
            if self.h_mask is not None:
                dh *= self.h_mask
        flat = da.reshape(-1, 4 * u)
        dx = (flat @ self.kernel.T).reshape(self.x.shape)
        if self.x_mask is not None:
            dx *= self.x_mask
        h = self.h[:-1] if self.h_mask is None else self.h[:-1] * self.h_mask
        dkernel = self.x.reshape(-1, self.x.shape[-1]).T @ flat
        return dx, dkernel, h.reshape(-1, u).T @ flat, flat.sum(axis=0)


class NumpyGRU(NumpyLayer):
    """A GRU (reset after the product) over time-major sequences, with back-propagation.

    Parameters
    ----------
    kernel, recurrent_kernel, bias : arrays
        Shapes (features, 3*units), (units, 3*units) and (2, 3*units); gates z r h.
    """

    def forward(self, x: Array, x_mask: Array | None = None, h_mask: Array | None = None) -> Array:
        """See `NumpyLSTM.forward`."""
        steps, batch, _ = x.shape
        u = self.units
        self.begin(x, x_mask, h_mask, self.bias[0])
        self.q = np.empty((steps, batch, u), x.dtype)
        product, part = np.empty((batch, 3 * u), x.dtype), np.empty((batch, u), x.dtype)
        for t in range(steps):
            a, q, h, h_new = self.gates[t], self.q[t], self.h[t], self.h[t + 1]
            np.matmul(h if h_mask is None else h * h_mask, self.recurrent, out=product)
            product += self.bias[1]
            a[:, : 2 * u] += product[:, : 2 * u]
            sigmoid(a[:, : 2 * u])
            q[...] = product[:, 2 * u :]
            a[:, 2 * u :] += np.multiply(a[:, u : 2 * u], q, out=part)
            n = np.tanh(a[:, 2 * u :], out=a[:, 2 * u :])
            np.subtract(h, n, out=h_new)
            h_new *= a[:, :u]
            h_new += n
        return self.h[1:]

    def step(self, x: Array, h: Array) -> tuple[Array]:
        """One step without anything kept: the new h (batch, units)."""
        u = self.units
        a = x @ self.kernel
        a += self.bias[0]
        q = h @ self.recurrent
        q += self.bias[1]
        a[:, : 2 * u] += q[:, : 2 * u]
        sigmoid(a[:, : 2 * u])
        q[:, 2 * u :] *= a[:, u : 2 * u]
        a[:, 2 * u :] += q[:, 2 * u :]
        n = np.tanh(a[:, 2 * u :])
        return (n + a[:, :u] * (h - n),)

    def backward(self, dy: Array) -> tuple[Array, Array, Array, Array]:
        """See `NumpyLSTM.backward`; the bias gradient has two rows."""
        steps, batch, u = dy.shape
        da, dq = np.empty_like(self.gates), np.empty_like(self.gates)
        dh = np.zeros((batch, u), dy.dtype)
        through = np.empty((batch, u), dy.dtype)
        back = np.ascontiguousarray(self.recurrent.T)
        for t in range(steps - 1, -1, -1):
            z, r, n = (self.gates[t][:, k * u : (k + 1) * u] for k in range(3))
            dz, dr, dn = (da[t][:, k * u : (k + 1) * u] for k in range(3))
            dh += dy[t]
            np.multiply(dh * (self.h[t] - n), z * (1 - z), out=dz)
            np.multiply(dh * (1 - z), 1 - n * n, out=dn)
            np.multiply(dn * self.q[t], r * (1 - r), out=dr)
            dq[t][:, : 2 * u] = da[t][:, : 2 * u]
            np.multiply(dn, r, out=dq[t][:, 2 * u :])
            dh *= z
            np.matmul(dq[t], back, out=through)
            dh += through if self.h_mask is None else np.multiply(through, self.h_mask, out=through)
        flat, flat_q = da.reshape(-1, 3 * u), dq.reshape(-1, 3 * u)
        dx = (flat @ self.kernel.T).reshape(self.x.shape)
        if self.x_mask is not None:
            dx *= self.x_mask
        h = self.h[:-1] if self.h_mask is None else self.h[:-1] * self.h_mask
        dbias = np.stack([flat.sum(axis=0), flat_q.sum(axis=0)])
        dkernel = self.x.reshape(-1, self.x.shape[-1]).T @ flat
        return dx, dkernel, h.reshape(-1, u).T @ flat_q, dbias
