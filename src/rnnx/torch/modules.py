"""PyTorch's LSTM, GRU and RNN on the engine."""

from __future__ import annotations

import inspect
import weakref
from functools import lru_cache
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnx._config import did_you_mean
from rnnx.dropout import DROPOUT_GATES, MODES, check_choice, check_noise_shape, check_rate, check_zoneout
from rnnx.torch import _policy
from rnnx.torch._form import Form, Memos, Noise
from rnnx.torch._operator import layer

_memos: dict[int, tuple[weakref.ref[nn.Module], list[Memos]]] = {}  # by the id of a module: one for each layer
form_for = lru_cache(maxsize=1024)(Form)
PLAIN = (nn.LSTM, nn.GRU, nn.RNN)
DTYPES = (torch.float32, torch.float64)


class OnEngine(nn.RNNBase):
    """A recurrent module of PyTorch whose forward and backward passes run on rnnx.

    What the engine has no word for (other devices and dtypes, autocast, projections, empty batches) runs on PyTorch's
    own code.
    """

    noise = Noise()
    noise_text = "{}"
    generator: torch.Generator | None = None

    def forward(self, input: Any, hx: Any = None, reset: Tensor | None = None) -> Any:
        """As the module of PyTorch, with its shapes, errors and results.

        ``reset`` is a bool tensor of the shape of the input without its features: True where a new sequence begins and
        the state is zero before the step, as in the episodes of reinforcement learning. For a `PackedSequence` it is
        one that was packed in the same way, or its data.
        """
        own, known = self._parameters, self._flat_weights
        if len(own) != len(known) or not all(map(is_, own.values(), known)):
            self._update_flat_weights()  # parametrized ones are made anew for each call
        packed, first, compiling = isinstance(input, PackedSequence), self.batch_first, torch.compiler.is_compiling()
        if packed:
            data, axes, timesteps = input.data, 2, len(input.batch_sizes)
        else:
            data, axes = input, input.dim()
            timesteps = input.size(1 if first and axes == 3 else 0) if axes else 0
        reason = self.left_to_torch(data, timesteps, reset is not None, compiling)
        if reason is not None:
            if self.is_noisy or reset is not None:
                raise NotImplementedError(
                    f"{type(self).__name__}: recurrent dropout, input dropout, zoneout and `reset` run on rnnx alone, "
                    f"which does not run {reason}"
                )
            return super().forward(input, hx)
        if packed:
            return self._forward_packed(input, hx, reset, compiling)
        if axes not in (2, 3):
            raise ValueError(f"{self._name()}: Expected input to be 2D or 3D, got {axes}D instead")
        alone = axes == 2
        x = input.unsqueeze(0 if first else 1) if alone else input
        if hx is not None:
            parts = hx if self.mode == "LSTM" else (hx,)
            wanted = 2 if alone else 3
            if any(part.dim() != wanted for part in parts):
                kind = "unbatched 2-D input" if alone else "batched 3-D input"
                got = ", ".join(f"{part.dim()}-D" for part in parts)
                raise RuntimeError(f"For {kind}, hx should also be {wanted}-D but got {got} tensor(s)")
            parts = tuple(part.unsqueeze(1) for part in parts) if alone else tuple(parts)
            hx = parts if self.mode == "LSTM" else parts[0]
            self.check_forward_args(x, hx, None)
        elif compiling or x.size(-1) != self.input_size:
            self.check_input(x, None)
        if reset is not None:
            self._check_reset(reset, input)
            reset = reset.unsqueeze(0 if first else 1) if alone else reset
        y, state = self._layers(x, hx, None, reset, not first, compiling)
        if alone:
            y = y.squeeze(0 if first else 1)
            state = tuple(part.squeeze(1) for part in state)
        return y, state if self.mode == "LSTM" else state[0]

    def _forward_packed(self, input: PackedSequence, hx: Any, reset: Any, compiling: bool) -> Any:
        data, batch_sizes, order, back = input
        if hx is not None:
            hx = self.permute_hidden(hx, order)
            self.check_forward_args(data, hx, batch_sizes)
        else:
            self.check_input(data, batch_sizes)
        if isinstance(reset, PackedSequence):
            if not _packed_alike(reset, input):
                raise ValueError(f"{type(self).__name__}: `reset` must be packed as the input is: by the same lengths")
            reset = reset.data
        if reset is not None:
            self._check_reset(reset, data)
        y, state = self._layers(data, hx, batch_sizes, reset, False, compiling)
        found = self.permute_hidden(state if self.mode == "LSTM" else state[0], back)
        return PackedSequence(y, batch_sizes, order, back), found

    def _check_reset(self, reset: Any, input: Tensor) -> None:
        shape = tuple(input.shape[:-1])
        if not isinstance(reset, Tensor) or reset.dtype != torch.bool or tuple(reset.shape) != shape:
            got = f"{reset.dtype} of {tuple(reset.shape)}" if isinstance(reset, Tensor) else type(reset).__name__
            raise ValueError(f"{type(self).__name__}: `reset` must be a bool tensor of shape {shape}, got {got}")

    def _layers(
        self, x: Tensor, hx: Any, sizes: Tensor | None, reset: Tensor | None, time_first: bool, compiling: bool
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """All layers over x, whose axes `Form.time_first` tells, or over packed data with ``sizes``.

        Returns the output, and ``h`` or ``(h, c)``.
        """
        ends, mode = 2 if self.bidirectional else 1, self.mode
        told = mode, ends, self.bias, time_first, self.training, self.noise_text
        if compiling:  # the operator has memos of its own
            form = Form(*told)
            memos: list[Memos] = [{}] * self.num_layers
        else:
            form, memos = form_for(*told), memos_of(self)
        parts = (None, None) if hx is None else hx if mode == "LSTM" else (hx, None)
        if self.num_layers == 1:
            seed = torch.randint(1 << 32, (), generator=self.generator) if self.is_noisy else None
            h0, c0 = parts
            x, *state = layer(form, x, h0, c0, sizes, reset, self._flat_weights, seed, memos[0], compiling)
            return x, tuple(state[: 2 if mode == "LSTM" else 1])
        states: list[tuple[Tensor, ...]] = []
        count = ends * form.tensors
        for k in range(self.num_layers):
            if k and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            h0, c0 = (None if part is None else part[k * ends : (k + 1) * ends] for part in parts)
            seed = torch.randint(1 << 32, (), generator=self.generator) if self.is_noisy else None
            weights = self._flat_weights[k * count : (k + 1) * count]
            x, *state = layer(form, x, h0, c0, sizes, reset, weights, seed, memos[k], compiling)
            states.append(tuple(state[: 2 if mode == "LSTM" else 1]))
        return x, tuple(torch.cat(part) for part in zip(*states, strict=True))

    def __prepare_scriptable__(self) -> nn.Module:
        """For ``torch.jit.script``, which reads Python: the same module on PyTorch's own code."""
        if self.is_noisy:
            raise TypeError(f"{type(self).__name__}: torch.jit.script cannot run recurrent dropout; use torch.export")
        plain = next(cls for cls in PLAIN if isinstance(self, cls))
        same = plain.__new__(plain)
        same.__setstate__(self.__getstate__())
        return same

    def left_to_torch(self, x: Tensor, timesteps: int, has_reset: bool, compiling: bool) -> str | None:
        """Why a call runs on PyTorch's own code, or None."""
        weight, dtype = self._flat_weights[0], x.dtype
        assert weight is not None
        if not (x.is_cpu and weight.is_cpu):
            return f"on {x.device.type if x.device.type != 'cpu' else weight.device.type}"
        if dtype not in DTYPES or weight.dtype != dtype:
            return f"{dtype} with weights of {weight.dtype}"
        if torch.is_autocast_enabled("cpu"):
            return "under autocast"
        if self.proj_size:
            return "projections (proj_size)"
        if x.numel() == 0:
            return "batches without an element"
        if x.layout is not torch.strided:
            return "sparse tensors"
        if torch.jit.is_tracing():
            return "under torch.jit"
        if has_reset or compiling or self.is_noisy:  # a graph may run at other sizes later
            return None
        training = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        return _policy.reason(self.mode, training, timesteps, self.input_size, self.hidden_size)

    @property
    def is_noisy(self) -> bool:
        return self.noise_text != "{}" and self.noise.is_noisy

    def _name(self) -> str:
        return "RNN" if self.mode.startswith("RNN") else self.mode


def memos_of(module: OnEngine) -> list[Memos]:
    """Packed weights of each layer of a module, which go with it; found faster than in a `WeakKeyDictionary`."""
    key = id(module)
    found = _memos.get(key)
    if found is not None and found[0]() is module and len(found[1]) == module.num_layers:
        return found[1]
    made: list[Memos] = [{} for _ in range(module.num_layers)]
    _memos[key] = weakref.ref(module, lambda _: _memos.pop(key, None)), made
    return made


def _packed_alike(first: PackedSequence, second: PackedSequence) -> bool:
    """Whether the rows of two packed sequences stand for the same steps of the same sequences."""
    for one, other in ((first.batch_sizes, second.batch_sizes), (first.sorted_indices, second.sorted_indices)):
        if one is None or other is None:
            if one is not other:
                return False
        elif not torch.equal(one, other):
            return False
    return True


@lru_cache(maxsize=1)
def words_of_torch() -> frozenset[str]:
    """What the constructors of PyTorch's own modules take; not read at import, where documentation has a stand-in."""
    return frozenset({*inspect.signature(nn.RNNBase).parameters, "nonlinearity"} - {"mode"})


class Noisy(OnEngine):
    """The words for dropout that PyTorch's modules do not have."""

    def __init__(
        self,
        *args: Any,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recurrent_dropout_mode: str = "state",
        noise_shape: Any = None,
        recurrent_noise_shape: Any = None,
        dropout_gates: str = "keras",
        zoneout: Any = 0.0,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ):
        who = type(self).__name__
        unknown = sorted(set(kwargs) - words_of_torch())
        if unknown:
            known = words_of_torch() | set(inspect.signature(Noisy).parameters) - {"args", "kwargs"}
            raise TypeError(f"{who}: unknown argument(s) {', '.join(unknown)}{did_you_mean(unknown, known)}")
        super().__init__(*args, **kwargs)
        check_choice(who, "recurrent_dropout_mode", recurrent_dropout_mode, MODES)
        check_choice(who, "dropout_gates", dropout_gates, DROPOUT_GATES)
        check_zoneout(who, zoneout, has_cell=self.mode == "LSTM")
        self.noise = Noise(
            check_rate(who, "input_dropout", input_dropout),
            check_rate(who, "recurrent_dropout", recurrent_dropout),
            check_noise_shape(who, noise_shape),
            check_noise_shape(who, recurrent_noise_shape, "recurrent_noise_shape"),
            dropout_gates,
            recurrent_dropout_mode,
            tuple(zoneout) if isinstance(zoneout, (list, tuple)) else zoneout,
        )
        self.noise_text = self.noise.as_text()
        self.generator = generator
        if self.noise.is_noisy and self.proj_size:
            raise ValueError(f"{who}: `proj_size` and recurrent dropout cannot be had together")

    def extra_repr(self) -> str:
        plain = Noise()
        words = {
            ("input_dropout" if name == "dropout" else name): value
            for name, value in vars(self.noise).items()
            if value != getattr(plain, name)
        }
        return ", ".join([super().extra_repr(), *(f"{name}={value!r}" for name, value in words.items())])


class LSTM(Noisy, nn.LSTM):
    """`torch.nn.LSTM` on rnnx, with recurrent dropout.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        As in PyTorch; ``dropout`` is between the layers.
    input_dropout, recurrent_dropout : float
        Rates of the dropout of the input and of the recurrent state, for every layer and direction.
    recurrent_dropout_mode : {"state", "update", "cell", "weights"}
    noise_shape, recurrent_noise_shape : tuple of int and None, optional
        Over (batch, timesteps, features) and (batch, timesteps, units), whatever ``batch_first`` is.
    dropout_gates : {"keras", "shared", "per_gate"}
    zoneout : float or pair (cell, hidden) of float
    generator : torch.Generator, optional
        Source of the masks; PyTorch's own (``torch.manual_seed``) if not given.

    Raises
    ------
    ValueError
        If an argument is not among those above.

    Examples
    --------
    >>> import torch, rnnx.torch
    >>> net = rnnx.torch.LSTM(3, 4, batch_first=True, recurrent_dropout=0.3)
    >>> y, (h, c) = net(torch.zeros(2, 5, 3))
    >>> y.shape, h.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    """


class GRU(Noisy, nn.GRU):
    """`torch.nn.GRU` on rnnx, with recurrent dropout; arguments as for `LSTM`."""


class RNN(Noisy, nn.RNN):
    """`torch.nn.RNN` on rnnx, with recurrent dropout; arguments as for `LSTM`, and ``nonlinearity``."""
