"""What a recurrent layer of PyTorch's computes, in plain data: operators take nothing but text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from rnnx.torch._memo import Memo

Memos = dict[int, Memo]  # by direction


@dataclass(frozen=True)
class Noise:
    """The dropout of a layer, in the words of `rnnx.layers`."""

    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    noise_shape: tuple[int | None, ...] | None = None
    recurrent_noise_shape: tuple[int | None, ...] | None = None
    dropout_gates: str = "keras"
    recurrent_dropout_mode: str = "state"
    zoneout: float | tuple[float, float] = 0.0

    @property
    def is_noisy(self) -> bool:
        return bool(self.dropout or self.recurrent_dropout or self.zoneout not in (0.0, (0.0, 0.0)))

    def as_text(self) -> str:
        """What differs from no noise at all, as JSON; `noise_of` reads it."""
        return json.dumps({name: value for name, value in vars(self).items() if value != getattr(Noise, name)})


@lru_cache(maxsize=1024)
def noise_of(text: str) -> Noise:
    """The noise that a text says."""
    said: dict[str, Any] = {}
    for name, value in json.loads(text).items():
        said[name] = tuple(value) if isinstance(value, list) else value
    return Noise(**said)


@dataclass(frozen=True)
class Form:
    """What a layer computes.

    Attributes
    ----------
    mode : {"LSTM", "GRU", "RNN_TANH", "RNN_RELU"}
        As PyTorch's modules name it.
    directions : {1, 2}
    biased : bool
    time_first : bool
        Whether the first axis of input and output, but for packed data, is that of the steps.
    training : bool
        Whether noise is drawn.
    noise : str
        A `Noise` as text, see `Noise.as_text`: operators take nothing but text.
    """

    mode: str
    directions: int = 1
    biased: bool = True
    time_first: bool = False
    training: bool = False
    noise: str = "{}"

    def as_text(self) -> str:
        """What an operator is told; `form_of` reads it."""
        return f"{self.mode} {self.directions} {self.biased:d} {self.time_first:d} {self.training:d} {self.noise}"

    @property
    def tensors(self) -> int:
        """Weights of one direction."""
        return 4 if self.biased else 2


@lru_cache(maxsize=1024)
def form_of(text: str) -> Form:
    """The form that an operator is told as text."""
    mode, directions, biased, time_first, training, noise = text.split(" ", 5)
    return Form(mode, int(directions), biased == "1", time_first == "1", training == "1", noise)


class Call(NamedTuple):
    """What a call is told beside the tensors that may have a gradient.

    Attributes
    ----------
    form : Form
    sizes : int tensor of shape (timesteps,), or None
        Of packed data: rows at each step.
    reset : bool tensor of the shape of the input without its features, or None
        Where new sequences begin.
    seed : int
        Of the noise.
    memos : dict
        Packed weights of the calls before; those of this call are put there.
    """

    form: Form
    sizes: Tensor | None
    reset: Tensor | None
    seed: int
    memos: Memos
