"""Make ``keras_optimizers.npz``: the optimizers of Keras 3 beyond those of `make_keras_training`, and their options.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_optimizers``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .keras_torch import keras, tensor
from .make_keras_training import named
from .store import Case, random_like, save

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 0.5, "rho": 0.8, "epsilon": 1e-3}),
    ("Adamax", {"learning_rate": 0.05}),
    ("Adamax", {"learning_rate": 0.05, "beta_1": 0.7, "beta_2": 0.8, "weight_decay": 0.1}),
    ("Ftrl", {"learning_rate": 0.1}),
    ("Ftrl", {"learning_rate": 0.1, "l1_regularization_strength": 0.3, "l2_regularization_strength": 0.2}),
    ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": -0.7, "l2_shrinkage_regularization_strength": 0.2}),
    ("Ftrl", {"learning_rate": 0.1, "beta": 0.3, "initial_accumulator_value": 0.5}),
    ("Lion", {"learning_rate": 0.02}),
    ("Lion", {"learning_rate": 0.02, "beta_1": 0.5, "beta_2": 0.6, "weight_decay": 0.05}),
    ("Lamb", {"learning_rate": 0.05}),
    ("Lamb", {"learning_rate": 0.05, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-3}),
    ("Adafactor", {"learning_rate": 0.5}),
    ("Adafactor", {"learning_rate": 0.9, "relative_step": False, "clip_threshold": 0.3, "beta_2_decay": -0.5}),
    ("Adafactor", {"learning_rate": 0.05, "epsilon_2": 0.3, "weight_decay": 0.1}),
    ("SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2}),
    ("Adam", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.6}),
    ("Adam", {"learning_rate": 0.1, "gradient_accumulation_steps": 2, "clipnorm": 0.8}),
    ("Nadam", {"learning_rate": 0.1, "gradient_accumulation_steps": 3}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.5, "gradient_accumulation_steps": 2, "use_ema": True,
             "ema_overwrite_frequency": 2, "weight_decay": 0.1}),
    ("RMSprop", {"learning_rate": 0.1, "loss_scale_factor": 4.0, "centered": True}),
    ("Muon", {"learning_rate": 0.05}),
    ("Muon", {"learning_rate": 0.1, "nesterov": False, "momentum": 0.8, "ns_steps": 3, "rms_rate": None,
              "weight_decay": 0.1, "adam_weight_decay": 0.2, "adam_lr_ratio": 0.5, "adam_beta_1": 0.7}),
    ("Muon", {"learning_rate": 0.1, "weight_decay": None, "clipnorm": 0.8, "gradient_accumulation_steps": 2}),
]  # fmt: skip


def optimizer_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Apply six gradients to two variables; keep the values after each, and those that training would end with."""
    starts = random_like(rng, [(3, 4), (4,)])
    gradients = random_like(rng, [(6, 3, 4), (6, 4)], scale=0.8)
    cases = {}
    for name, kwargs in OPTIMIZERS:
        optimizer = getattr(keras.optimizers, name)(**kwargs)
        variables = [keras.Variable(start.astype(np.float64), dtype="float64") for start in starts]
        case = Case({"class": name, "kwargs": kwargs})
        case.put("start", starts)
        case.put("gradients", gradients)
        steps = []
        for step in range(6):
            parts = [tensor(gradient[step], gradient=False) for gradient in gradients]
            optimizer.apply(parts, variables)
            steps.append([variable.value.detach().numpy().copy() for variable in variables])
        for number in range(2):
            case.put(f"values/{number}", np.stack([step[number] for step in steps]))
        optimizer.finalize_variable_values(variables)
        case.put("last", [variable.value.detach().numpy().copy() for variable in variables])
        case.config["iterations"] = int(optimizer.iterations)
        cases[f"optimizer/{named(name, kwargs)}"] = case
    return cases


def main() -> None:
    """Write the file."""
    save("keras_optimizers", optimizer_cases(np.random.default_rng(31019)))


if __name__ == "__main__":
    main()
