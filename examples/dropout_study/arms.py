"""The arms of the study: where a network drops, and the lines that say so.

Every arm has the same weights to begin with, the same batches and the same learning rate as the arm without dropout of
its seed; only what is dropped differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rnnx
from rnnx import layers
from rnnx.layers import Dropout, SpatialDropout1D

CELLS: dict[str, Any] = {"LSTM": layers.LSTM, "GRU": layers.GRU}
Options = Callable[[float], dict[str, Any]]


def _nothing(rate: float) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Arm:
    """A kind of dropout."""

    name: str
    code: str  # as a user writes it
    front: Callable[[float, Any], Any] | None = None  # a layer before the recurrent one, of rate and seed
    behind: bool = False  # Dropout after it
    options: Options = field(default=_nothing)  # of the recurrent layer


def _dropout(rate: float, seed: int) -> Any:
    return Dropout(rate, seed=seed)


def _both(rate: float) -> dict[str, Any]:
    return {"dropout": rate, "recurrent_dropout": rate}


ARMS = {
    arm.name: arm
    for arm in (
        Arm("none", "GRU(n)"),
        Arm("before", "Dropout(p) → GRU(n)", _dropout),
        Arm("after", "GRU(n) → Dropout(p)", behind=True),
        Arm("before and after", "Dropout(p) → GRU(n) → Dropout(p)", _dropout, True),
        Arm("spatial", "SpatialDropout1D(p) → GRU(n)", lambda rate, seed: SpatialDropout1D(rate, seed=seed)),
        Arm("input", "GRU(n, dropout=p)", options=lambda rate: {"dropout": rate}),
        Arm(
            "whole steps",
            "Dropout(p, noise_shape=(None, None, 1)) → GRU(n)",
            lambda rate, seed: Dropout(rate, noise_shape=(None, None, 1), seed=seed),
        ),
        Arm("state", "GRU(n, recurrent_dropout=p)", options=lambda rate: {"recurrent_dropout": rate}),
        Arm(
            "state, one mask a batch",
            "GRU(n, recurrent_dropout=p, recurrent_noise_shape=(1, 1, None))",
            options=lambda rate: {"recurrent_dropout": rate, "recurrent_noise_shape": (1, 1, None)},
        ),
        Arm("both, per gate", "GRU(n, dropout=p, recurrent_dropout=p)", options=_both),
        Arm(
            "both, shared",
            'GRU(n, dropout=p, recurrent_dropout=p, dropout_gates="shared")',
            options=lambda rate: {**_both(rate), "dropout_gates": "shared"},
        ),
        Arm(
            "variational",
            'GRU(n, dropout=p, recurrent_dropout=p, dropout_gates="shared") → Dropout(p, noise_shape=(None, 1, None))',
            behind=True,
            options=lambda rate: {**_both(rate), "dropout_gates": "shared"},
        ),
        Arm(
            "update",
            'GRU(n, recurrent_dropout=p, recurrent_dropout_mode="update")',
            options=lambda rate: {"recurrent_dropout": rate, "recurrent_dropout_mode": "update"},
        ),
        Arm(
            "memory cell",
            'GRU(n, recurrent_dropout=p, recurrent_dropout_mode="cell")',
            options=lambda rate: {"recurrent_dropout": rate, "recurrent_dropout_mode": "cell"},
        ),
        Arm("zoneout", "GRU(n, zoneout=p)", options=lambda rate: {"zoneout": rate}),
        Arm(
            "recurrent kernel",
            'GRU(n, recurrent_dropout=p, recurrent_dropout_mode="weights")',
            options=lambda rate: {"recurrent_dropout": rate, "recurrent_dropout_mode": "weights"},
        ),
    )
}


def build(
    arm: Arm,
    cell: str,
    rate: float,
    seed: int,
    units: int,
    *,
    classes: int,
    features: int = 0,
    words: int = 0,
    **form: Any,
) -> rnnx.Sequential:
    """A network of an arm, not compiled; its weights depend on the seed and the shapes only.

    ``form`` are more arguments of the recurrent layer.
    """
    random = iter(range(1000 * seed, 1000 * (seed + 1)))  # seeds of the weights come first, the same in every arm
    start = [rnnx.initializers.GlorotUniform(seed=next(random)) for _ in range(2)]
    state = rnnx.initializers.Orthogonal(seed=next(random))
    per_step = classes == 0
    outputs = 88 if per_step else classes
    net: list[Any] = []
    if words:
        table = rnnx.initializers.RandomUniform(-0.05, 0.05, seed=next(random))
        net += [layers.Input((None,)), layers.Embedding(words, 64, embeddings_initializer=table, mask_zero=True)]
    else:
        net.append(layers.Input((None, features)))
    if arm.front is not None and rate:
        net.append(arm.front(rate, 1000 * seed + 500))
    weights = {"kernel_initializer": start[0], "recurrent_initializer": state}
    options = arm.options(rate) if rate else {}
    net.append(CELLS[cell](units, return_sequences=per_step, seed=1000 * seed + 600, **weights, **options, **form))
    if arm.behind and rate:
        locked = arm.name == "variational" and per_step
        net.append((SpatialDropout1D if locked else Dropout)(rate, seed=1000 * seed + 700))
    activation = "softmax" if classes > 1 else "sigmoid"
    net.append(layers.Dense(outputs, activation=activation, kernel_initializer=start[1]))
    return rnnx.Sequential(net)
