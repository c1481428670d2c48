"""PyTorch: its own modules, and for dropout inside the recurrence, which they lack, a loop over its operations."""

from __future__ import annotations

from typing import Any

import torch
from problem import DROPOUT, GATES, RECURRENT_DROPOUT, Array, Problem, Results, Work, gradients, several_steps
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # torch's gates in Keras' numbering, and the other way round


def tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.copy())


class Peer:
    """Time-major modules, which need no transposition; LSTMCell and GRUCell for steps, as nn.LSTM is slower there."""

    def __init__(self, threads: int):
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(1)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def prepare(self, p: Problem) -> Work:
        c = p.cell
        if c.work == "step":
            return self.step(p)
        if c.work == "dropout":
            return Loop(p).work()
        size = 2 if c.work == "bidirectional" else 1
        module = (nn.LSTM if c.kind == "lstm" else nn.GRU)(c.units, c.units, size, bidirectional=size == 2)
        load(module, p, [(k, d) for k in range(size) for d in range(size)])
        if c.work == "int8":
            module = narrow(module)
        x = tensor(p.by_time("x"))
        if c.work == "training":
            return self.training(p, module, x)
        if c.work == "ragged-training":
            return self.ragged_training(p, module, x)
        lengths = torch.from_numpy(p.lengths)

        def call() -> Tensor:
            with torch.inference_mode():
                if c.work != "ragged":
                    return module(x)[0]
                return last_state(module(pack_padded_sequence(x, lengths, enforce_sorted=False))[1])

        if c.work == "ragged":
            return Work(call, lambda: {"y": call().numpy()})
        return Work(call, lambda: {"y": call().numpy().swapaxes(0, 1)})

    def step(self, p: Problem) -> Work:
        c = p.cell
        module = (nn.LSTMCell if c.kind == "lstm" else nn.GRUCell)(c.units, c.units)
        load(module, p, [(0, 0)])
        x, state = tensor(p.x[:, 0]), None

        def call() -> Any:
            nonlocal state
            with torch.inference_mode():
                state = module(x, state)
            return state

        return several_steps(call, lambda s: (s[0] if c.kind == "lstm" else s).numpy())

    def training(self, p: Problem, module: nn.Module, x: Tensor) -> Work:
        x, dy, parameters = x.requires_grad_(), tensor(p.by_time("dy")), list(module.parameters())

        def step() -> tuple[Tensor, Any]:
            y = module(x)[0]
            return y, torch.autograd.grad(y, [x, *parameters], dy)

        def results() -> Results:
            y, grads = step()
            return gradients(y.detach().numpy().swapaxes(0, 1), *in_keras_layout(p, grads))

        return Work(step, results)

    def ragged_training(self, p: Problem, module: nn.Module, x: Tensor) -> Work:
        x, dy, parameters = x.requires_grad_(), tensor(p.dy), list(module.parameters())
        lengths = torch.from_numpy(p.lengths)

        def step() -> tuple[Tensor, Any]:
            y = last_state(module(pack_padded_sequence(x, lengths, enforce_sorted=False))[1])
            return y, torch.autograd.grad(y, [x, *parameters], dy)

        def results() -> Results:
            y, grads = step()
            return gradients(y.detach().numpy(), *in_keras_layout(p, grads))

        return Work(step, results)


def narrow(module: nn.Module) -> nn.Module:
    """The module with 8-bit weights, and inputs and states rounded to 8 bits in every call."""
    from torch.ao.quantization import quantize_dynamic

    quantized: nn.Module = quantize_dynamic(nn.ModuleDict({"rnn": module}), {nn.LSTM, nn.GRU}, dtype=torch.qint8)["rnn"]
    return quantized


def last_state(state: Any) -> Tensor:
    last: Tensor = (state[0] if isinstance(state, tuple) else state)[0]
    return last


def load(module: nn.Module, p: Problem, places: list[tuple[int, int]]) -> None:
    """Set the weights, layer after layer and direction after direction, which is torch's order."""
    values: list[Tensor] = []
    for place in places:
        kernel, recurrent, bias = (tensor(w) for w in p.weights(*place))
        if p.cell.kind == "lstm":
            bias = torch.stack([bias, torch.zeros_like(bias)])
        values += [swapped(p, kernel).T, swapped(p, recurrent).T, *swapped(p, bias)]
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.copy_(value)


def swapped(p: Problem, weight: Tensor) -> Tensor:
    """The same weights with the gates in the other order."""
    order = ORDER[p.cell.kind]
    parts = weight.chunk(len(order), dim=-1)
    return torch.cat([parts[k] for k in order], dim=-1)


def in_keras_layout(p: Problem, grads: Any) -> list[Array]:
    """Gradients of a time-major module as dx, kernel, recurrent kernel and bias."""
    dx, dkernel, drecurrent, dbias, drecurrent_bias = grads
    if p.cell.kind == "gru":
        dbias = torch.stack([dbias, drecurrent_bias])
    weights = (swapped(p, g).numpy() for g in (dkernel.T, drecurrent.T, dbias))
    return [dx.numpy().swapaxes(0, 1), *weights]


class Loop:
    """A training step with dropout masks: input products of all steps at once, then a loop over time.

    Weights lie gate by gate, as (gates, rows, units), if each gate has masks of its own, and side by side otherwise.
    """

    def __init__(self, p: Problem):
        self.p, self.gates = p, GATES[p.cell.kind] if p.cell.masks == "per gate" else 1
        kernel, recurrent, bias = (tensor(w) for w in p.weights())
        self.x, self.dy = tensor(p.by_time("x")).requires_grad_(), tensor(p.by_time("dy"))
        biases = bias if p.cell.kind == "gru" else bias[None]
        self.weights = [self.split(kernel), self.split(recurrent), self.split(biases)]
        for weight in self.weights:
            weight.requires_grad_()

    def split(self, weight: Tensor) -> Tensor:
        return torch.stack(weight.chunk(self.gates, dim=-1))

    def step(self, x_masks: Tensor, h_masks: Tensor) -> tuple[Tensor, Any]:
        kernel, recurrent, biases = self.weights
        steps, batch, features = self.x.shape
        masked = (self.x * x_masks[:, None]).reshape(self.gates, steps * batch, features)
        products = torch.baddbmm(biases[:, :1], masked, kernel).unflatten(1, (steps, batch))
        cell = self.lstm if self.p.cell.kind == "lstm" else self.gru
        outputs = cell(products.unbind(1), recurrent, biases, h_masks)
        y = torch.stack(outputs)
        return y, torch.autograd.grad(y, [self.x, *self.weights], self.dy)

    def parts(self, a: Tensor) -> Any:
        return a if self.gates > 1 else a[0].chunk(GATES[self.p.cell.kind], dim=-1)

    def lstm(self, products: Any, recurrent: Tensor, biases: Tensor, masks: Tensor) -> list[Tensor]:
        h = c = torch.zeros(self.p.cell.batch, self.p.cell.units)
        outputs = []
        for product in products:
            i, f, g, o = self.parts(torch.baddbmm(product, h * masks, recurrent))
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return outputs

    def gru(self, products: Any, recurrent: Tensor, biases: Tensor, masks: Tensor) -> list[Tensor]:
        h = torch.zeros(self.p.cell.batch, self.p.cell.units)
        outputs = []
        for product in products:
            xz, xr, xn = self.parts(product)
            hz, hr, hn = self.parts(torch.baddbmm(biases[:, 1:], h * masks, recurrent))
            n = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
            h = torch.lerp(n, h, torch.sigmoid(xz + hz))
            outputs.append(h)
        return outputs

    def work(self) -> Work:
        c = self.p.cell
        shape = (self.gates, c.batch, c.units)

        def draw(rate: float) -> Tensor:
            return torch.empty(shape).bernoulli_(1 - rate).div_(1 - rate)

        def results() -> Results:
            y, (dx, *weights) = self.step(tensor(self.p.x_masks), tensor(self.p.h_masks))
            dkernel, drecurrent, dbias = (torch.cat(list(g), dim=-1).numpy() for g in weights)
            dbias = dbias[0] if c.kind == "lstm" else dbias
            return gradients(y.detach().numpy().swapaxes(0, 1), dx.numpy().swapaxes(0, 1), dkernel, drecurrent, dbias)

        return Work(lambda: self.step(draw(DROPOUT), draw(RECURRENT_DROPOUT)), results)
