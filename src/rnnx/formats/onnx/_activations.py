"""Activations: which operators and numbers of ONNX are which activations of rnnx, and their functions in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.activations import SELU_ALPHA, SELU_SCALE
from rnnx.saving import FormatError


@dataclass(frozen=True)
class Activation:
    """An activation of rnnx and the operator of ONNX that computes it.

    Attributes
    ----------
    name : str
        In `rnnx.activations`.
    operator : str
    numbers : dict
        Attributes of a node; alpha and beta of an activation inside a recurrent operator.
    node, gate : bool
        Whether the operator is there as a node, and inside recurrent operators.
    """

    name: str
    operator: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    node: bool = True
    gate: bool = True


ACTIVATIONS = (
    Activation("tanh", "Tanh"),
    Activation("sigmoid", "Sigmoid"),
    Activation("relu", "Relu"),
    Activation("linear", "Affine", {"alpha": 1.0, "beta": 0.0}, node=False),
    Activation("hard_sigmoid", "HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    Activation("hard_sigmoid_keras2", "HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
    Activation("elu", "Elu", {"alpha": 1.0}),
    Activation("leaky_relu", "LeakyRelu", {"alpha": 0.2}),
    Activation("softsign", "Softsign"),
    Activation("softplus", "Softplus"),
    Activation("selu", "Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}, gate=False),
    Activation("softmax", "Softmax", gate=False),
    Activation("log_softmax", "LogSoftmax", gate=False),
    Activation("exponential", "Exp", gate=False),
    Activation("gelu", "Gelu", gate=False),
)
# Numbers that need not be given; None: it must be.
DEFAULTS: dict[str, dict[str, float | None]] = {
    "Affine": {"alpha": None, "beta": None},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "ScaledTanh": {"alpha": None, "beta": None},
    "Selu": {"alpha": 1.6732632, "gamma": 1.050701},
    "ThresholdedRelu": {"alpha": 1.0},
}


def activation_of_node(operator: str, attributes: Mapping[str, Any]) -> str | None:
    """The activation of rnnx that a node computes, by its numbers; None if there is none."""
    given = {name: attributes.get(name, default) for name, default in DEFAULTS.get(operator, {}).items()}
    for row in ACTIVATIONS:
        if row.node and row.operator == operator and _close(given, row.numbers):
            return row.name
    return None


def node_of_activation(name: str) -> Activation | None:
    """The node for an activation of rnnx; None if ONNX has none."""
    return next((row for row in ACTIVATIONS if row.node and row.name == name), None)


def gate_of_activation(name: str) -> Activation | None:
    """The activation inside a recurrent operator for one of rnnx; None if ONNX has none."""
    return next((row for row in ACTIVATIONS if row.gate and row.name == name), None)


def _close(given: Mapping[str, Any], wanted: Mapping[str, float]) -> bool:
    """Whether numbers, which files hold in float32, are these."""
    return all(abs(given[name] - number) <= 1e-6 * abs(number) for name, number in wanted.items())


# ---- In NumPy --------------------------------------------------------------------------------------------------------


FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "Elu": lambda x, alpha, beta: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "HardSigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "LeakyRelu": lambda x, alpha, beta: np.where(x < 0, alpha * x, x),
    "Relu": lambda x, alpha, beta: np.maximum(x, 0),
    "ScaledTanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "Sigmoid": lambda x, alpha, beta: activations.get("sigmoid")(x),
    "Softplus": lambda x, alpha, beta: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "Softsign": lambda x, alpha, beta: x / (1 + np.abs(x)),
    "Tanh": lambda x, alpha, beta: np.tanh(x),
    "ThresholdedRelu": lambda x, alpha, beta: np.where(x > alpha, x, 0),
}
_BY_SMALL_NAME = {name.lower(): name for name in FUNCTIONS}


@dataclass(frozen=True)
class GateActivation:
    """An activation inside a recurrent operator, with its numbers.

    Attributes
    ----------
    name : str
        ONNX' name, in letters of any size.
    alpha, beta : float
        0 where the activation takes none.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def operator(self) -> str:
        """ONNX' name as it is written."""
        return _BY_SMALL_NAME[self.name.lower()]

    def __call__(self, x: Array) -> Array:
        y: Array = FUNCTIONS[self.operator](x, self.alpha, self.beta).astype(x.dtype, copy=False)
        return y

    def rnnx_name(self) -> str | None:
        """The name of the same function in `rnnx.activations`; None if there is none."""
        given = {"alpha": self.alpha, "beta": self.beta}
        for row in ACTIVATIONS:
            if row.gate and row.operator == self.operator and _close(given, row.numbers):
                return row.name
        return None


def gate_activations(names: list[str], alphas: list[float], betas: list[float]) -> list[GateActivation]:
    """The activations of an operator; those that take numbers take them from the lists in turn.

    Raises
    ------
    FormatError
        If a name is unknown, or a number is missing.
    """
    found: list[GateActivation] = []
    left = {"alpha": list(alphas), "beta": list(betas)}
    for given in names:
        name = _BY_SMALL_NAME.get(given.lower())
        if name is None:
            raise FormatError(f"unknown activation {given!r}; known: {', '.join(sorted(_BY_SMALL_NAME))}")
        numbers = {}
        for number, default in DEFAULTS.get(name, {}).items():
            if not left[number] and default is None:
                raise FormatError(f"activation {given!r} needs activation_alpha and activation_beta")
            numbers[number] = float(left[number].pop(0)) if left[number] else float(default or 0.0)
        found.append(GateActivation(name, **numbers))
    return found
