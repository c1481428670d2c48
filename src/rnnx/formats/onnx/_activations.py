"""Activations of ONNX' recurrent operators: in NumPy, and which of rnnx' own they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.saving import FormatError

Array = NDArray[Any]


def _sigmoid(x: Array, alpha: float, beta: float) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _softplus(x: Array, alpha: float, beta: float) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


_FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "elu": lambda x, alpha, beta: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "hardsigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "leakyrelu": lambda x, alpha, beta: np.where(x < 0, alpha * x, x),
    "relu": lambda x, alpha, beta: np.maximum(x, 0),
    "scaledtanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "softsign": lambda x, alpha, beta: x / (1 + np.abs(x)),
    "tanh": lambda x, alpha, beta: np.tanh(x),
    "thresholdedrelu": lambda x, alpha, beta: np.where(x > alpha, x, 0),
}
# Defaults of alpha and beta, for the activations that take them; None: it must be given.
_DEFAULTS: dict[str, tuple[float | None, ...]] = {
    "affine": (None, None),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "scaledtanh": (None, None),
    "thresholdedrelu": (1.0,),
}
# rnnx' name, ONNX' name, alpha and beta.
PAIRS: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("tanh", "Tanh", ()),
    ("sigmoid", "Sigmoid", ()),
    ("relu", "Relu", ()),
    ("linear", "Affine", (1.0, 0.0)),
    ("hard_sigmoid", "HardSigmoid", (1 / 6, 0.5)),
    ("hard_sigmoid_keras2", "HardSigmoid", (0.2, 0.5)),
    ("elu", "Elu", (1.0,)),
    ("leaky_relu", "LeakyRelu", (0.2,)),
    ("softsign", "Softsign", ()),
    ("softplus", "Softplus", ()),
)


@dataclass(frozen=True)
class GateActivation:
    """An activation with its numbers.

    Attributes
    ----------
    name : str
        ONNX' name in small letters.
    alpha, beta : float
        0 where the activation takes none.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        y: Array = _FUNCTIONS[self.name](x, self.alpha, self.beta).astype(x.dtype, copy=False)
        return y

    def rnnx_name(self) -> str | None:
        """The name of the same function in `rnnx.activations`; None if there is none."""
        for own, name, numbers in PAIRS:
            padded = (*numbers, 0.0, 0.0)[:2]
            if name.lower() == self.name and np.allclose(padded, (self.alpha, self.beta), rtol=1e-6, atol=0):
                return own
        return None


def onnx_activation(name: str) -> tuple[str, tuple[float, ...]] | None:
    """ONNX' name, alpha and beta of an activation of rnnx for a recurrent operator; None if ONNX has none."""
    return next(((other, numbers) for own, other, numbers in PAIRS if own == name), None)


def gate_activations(names: list[str], alphas: list[float], betas: list[float]) -> list[GateActivation]:
    """The activations of an operator; those that take numbers take them from the lists in turn.

    Raises
    ------
    FormatError
        If a name is unknown, or a number is missing.
    """
    found: list[GateActivation] = []
    left = [list(alphas), list(betas)]
    for given in names:
        name = given.lower()
        if name not in _FUNCTIONS:
            raise FormatError(f"unknown activation {given!r}; known: {', '.join(sorted(_FUNCTIONS))}")
        numbers = []
        for default, rest in zip(_DEFAULTS.get(name, ()), left, strict=False):
            if not rest and default is None:
                raise FormatError(f"activation {given!r} needs activation_alpha and activation_beta")
            numbers.append(float(rest.pop(0)) if rest else float(default or 0.0))
        found.append(GateActivation(name, *numbers))
    return found
