"""Muon: steps along the mean gradient of a matrix with its singular values made about 1; AdamW for the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers.layer import Weight
from rnnx.optimizers.clipping import norm
from rnnx.optimizers.optimizer import Optimizer
from rnnx.optimizers.slots import Slots

NOTHING = (0,)  # the shape of what Muon keeps in the place of the mean square, which only AdamW needs


class Muon(Optimizer):
    """Steps of one size in all directions of a matrix, by a few iterations of Newton and Schulz; AdamW elsewhere.

    Parameters
    ----------
    learning_rate : float
    adam_beta_1, adam_beta_2, epsilon : float
        Of AdamW, which changes vectors, numbers and arrays of three axes or more, embeddings, and excluded layers.
    adam_weight_decay : float, optional
        The weight decay of AdamW; ``weight_decay`` is that of Muon.
    exclude_layers : list of str, optional
        Regular expressions; weights in whose path, such as ``"model/dense_1/kernel"``, one is found are changed by
        AdamW. Keras advises so for the last layer.
    exclude_embeddings : bool
        Whether AdamW changes what has "embedding" in its path.
    muon_a, muon_b, muon_c : float
        The coefficients of the iteration, ``a x + (b A + c A A) x`` with ``A = x x'``.
    adam_lr_ratio : float
        The learning rate of AdamW over that of Muon.
    momentum : float
        How much of the mean of the gradients a step keeps.
    ns_steps : int
        Iterations.
    nesterov : bool
    rms_rate : float, optional
        A step is so many times the square root of the larger side of the matrix, so that learning rates and decays of
        Adam fit; 1 if it is None.

    Notes
    -----
    A weight has its path in ``fit`` and ``train_on_batch``; in ``apply`` alone it has its name.

    References
    ----------
    .. [1] K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    .. [2] J. Liu et al., "Muon is scalable for LLM training", arXiv:2502.16982, 2025.
    """

    slot_names = ("momentum", "velocity")
    slot_groups = (2,)
    in_pieces = False
    wants_paths = True
    _paths: dict[int, str] | None = None  # of weights, by their id

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        *,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        for label, number in (("adam_beta_1", adam_beta_1), ("adam_beta_2", adam_beta_2), ("momentum", momentum)):
            if not 0 <= number < 1:
                raise ValueError(f"Muon: `{label}` must lie in [0, 1), got {number}")
        if isinstance(ns_steps, bool) or not isinstance(ns_steps, (int, np.integer)) or ns_steps < 0:
            raise ValueError(f"Muon: `ns_steps` must be an integer of at least 0, got {ns_steps!r}")
        if isinstance(exclude_layers, str):
            raise TypeError(f"Muon: `exclude_layers` must be a list of regular expressions, got {exclude_layers!r}")
        self.adam_beta_1, self.adam_beta_2, self.epsilon = float(adam_beta_1), float(adam_beta_2), float(epsilon)
        self.adam_weight_decay = adam_weight_decay
        self.exclude_layers, self.exclude_embeddings = list(exclude_layers or ()), bool(exclude_embeddings)
        self.muon_a, self.muon_b, self.muon_c = float(muon_a), float(muon_b), float(muon_c)
        self.adam_lr_ratio, self.momentum, self.ns_steps = float(adam_lr_ratio), float(momentum), int(ns_steps)
        self.nesterov, self.rms_rate = bool(nesterov), None if rms_rate is None else float(rms_rate)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_paths"}

    def take_paths(self, paths: dict[int, str]) -> None:
        self._paths = paths

    def _changed_by_adam(self, weight: Weight) -> bool:
        path = (self._paths or {}).get(id(weight), weight.name)
        if weight.ndim != 2 or self.exclude_embeddings and "embedding" in path.lower():
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def _make_slots(self, weight: Weight) -> Slots:
        found = super()._make_slots(weight)
        return found if self._changed_by_adam(weight) else {**found, "velocity": np.zeros(NOTHING, weight.dtype)}

    def kept(self, group: tuple[str, ...], slots: Slots) -> tuple[str, ...]:
        muon = "velocity" in group and slots["velocity"].shape == NOTHING != tuple(slots["shape"].tolist())
        return tuple(name for name in group if name != "velocity") if muon else group

    def may_be_empty(self, name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        return name == "velocity" and found == NOTHING and len(shape) == 2

    def _update_piece(
        self, value: Array, grad: Array, slots: Slots, piece: Any, rate: float, scale: float, decay: float | None
    ) -> None:
        """Update a weight; False for ``decay`` says that it has none whoever changes it."""
        if decay is not False and self.kept(("velocity",), slots):
            decay = self.adam_weight_decay
        super()._update_piece(value, grad, slots, piece, rate, scale, decay)

    def update(self, value: Array, grad: Array, slots: Slots, rate: float, scratch: list[Array]) -> None:
        dtype, mean, square = value.dtype, slots["momentum"], slots["velocity"]
        if square.shape == value.shape:
            self._adam_step(value, grad, mean, square, rate * self.adam_lr_ratio, scratch)
            return
        momentum = np.asarray(self.momentum, dtype)
        mean *= momentum
        mean += grad
        step = np.add(grad, np.multiply(mean, momentum, out=scratch[0]), out=scratch[0]) if self.nesterov else mean
        value -= self.lr_adjust(self.zeropower_via_newtonschulz5(step, self.ns_steps) * np.asarray(rate, dtype))

    def _adam_step(
        self, value: Array, grad: Array, mean: Array, square: Array, rate: float, scratch: list[Array]
    ) -> None:
        dtype, (a, b, _), t = value.dtype, scratch, self._step
        for moment, new, keep in ((mean, grad, self.adam_beta_1), (square, np.square(grad, out=b), self.adam_beta_2)):
            moment += np.multiply(np.subtract(new, moment, out=a), np.asarray(1 - keep, dtype), out=a)
        length = rate * math.sqrt(1 - self.adam_beta_2**t) / (1 - self.adam_beta_1**t)
        np.add(np.sqrt(square, out=a), np.asarray(self.epsilon, dtype), out=a)
        value -= np.divide(np.multiply(mean, np.asarray(length, dtype), out=b), a, out=b)

    def lr_adjust(self, x: Array) -> Array:
        """A step times ``rms_rate`` and the root of its larger side."""
        x = np.asarray(x)
        return x if self.rms_rate is None else x * np.asarray(math.sqrt(max(x.shape)) * self.rms_rate, x.dtype)

    def zeropower_via_newtonschulz5(self, x: Array, steps: int) -> Array:
        """A matrix with the singular vectors of ``x`` and singular values of about 1, by so many iterations."""
        x = np.asarray(x)
        a, b, c = (np.asarray(number, x.dtype) for number in (self.muon_a, self.muon_b, self.muon_c))
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x  # the smaller product of the two
        x = x / np.asarray(norm(x) + 1e-7, x.dtype)
        for _ in range(steps):
            squares = product(x, x.T)
            x = a * x + product(b * squares + product(c * squares, squares), x)
        return x.T if tall else x

    def get_config(self) -> dict[str, Any]:
        words = (
            "adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", "exclude_layers", "exclude_embeddings",
            "muon_a", "muon_b", "muon_c", "adam_lr_ratio", "momentum", "ns_steps", "nesterov", "rms_rate",
        )  # fmt: skip
        return {**super().get_config(), **{word: getattr(self, word) for word in words}}
