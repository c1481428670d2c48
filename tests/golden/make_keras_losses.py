"""Make ``keras_losses.npz``: losses of Keras 3 beyond those of `make_keras_training`, and all of them as functions.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_losses``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .keras_torch import gradient_of, keras, tensor
from .make_keras_training import BATCH, CLASSES, TIMESTEPS, named, settings, targets, with_mask
from .store import Case, save

LOSSES: list[tuple[str, dict[str, Any], str]] = [
    ("MeanAbsolutePercentageError", {}, "real"),
    ("MeanSquaredLogarithmicError", {}, "bits"),
    ("MeanSquaredLogarithmicError", {}, "real"),
    ("CosineSimilarity", {}, "real"),
    ("Hinge", {}, "bits"),
    ("Hinge", {}, "real"),
    ("SquaredHinge", {}, "bits"),
    ("CategoricalHinge", {}, "one_hot"),
    ("BinaryFocalCrossentropy", {}, "bits"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.7, "gamma": 1.5}, "bits"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "bits"),
    ("CategoricalFocalCrossentropy", {}, "one_hot"),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5], "gamma": 0.5}, "one_hot"),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "one_hot"),
]
SMALL: list[tuple[str, dict[str, Any], str]] = [  # those whose values do not have the shape of the steps
    ("CategoricalGeneralizedCrossEntropy", {}, "ids"),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.2}, "ids"),
    ("Dice", {}, "bits"),
    ("Dice", {"axis": -1}, "bits"),
    ("Tversky", {}, "bits"),
    ("Tversky", {"alpha": 0.2, "beta": 0.9, "axis": 1}, "bits"),
]
ALONG: list[tuple[str, dict[str, Any], str]] = [  # the classes stand along axis 1
    ("CosineSimilarity", {}, "real"),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, "bits"),
    ("CategoricalCrossentropy", {}, "one_hot"),
    ("CategoricalCrossentropy", {"from_logits": True}, "one_hot"),
    ("CategoricalFocalCrossentropy", {}, "one_hot"),
    ("SparseCategoricalCrossentropy", {}, "ids"),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 1}, "ids"),
]
FUNCTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("mean_squared_error", {}, "real"),
    ("mean_absolute_error", {}, "real"),
    ("mean_absolute_percentage_error", {}, "real"),
    ("mean_squared_logarithmic_error", {}, "real"),
    ("cosine_similarity", {}, "real"),
    ("huber", {"delta": 0.3}, "real"),
    ("log_cosh", {}, "real"),
    ("hinge", {}, "bits"),
    ("squared_hinge", {}, "bits"),
    ("categorical_hinge", {}, "one_hot"),
    ("kl_divergence", {}, "one_hot"),
    ("poisson", {}, "bits"),
    ("binary_crossentropy", {"label_smoothing": 0.1}, "bits"),
    ("binary_focal_crossentropy", {}, "bits"),
    ("categorical_crossentropy", {}, "one_hot"),
    ("categorical_focal_crossentropy", {}, "one_hot"),
    ("sparse_categorical_crossentropy", {"ignore_class": 2}, "ids"),
    ("dice", {"axis": 1}, "bits"),
    ("tversky", {"alpha": 0.3}, "bits"),
]


def case_of(
    name: str, kwargs: dict[str, Any], true: Any, predicted: Any, weights: Any = None, mask: Any = None
) -> Case:
    """Evaluate a loss and its gradient."""
    value = with_mask(predicted, mask)
    loss = getattr(keras.losses, name)(**kwargs)(true, value, sample_weight=weights)
    loss.sum().backward()
    case = Case({"class": name, "kwargs": kwargs})
    case.put("y_true", true)
    case.put("y_pred", predicted)
    case.put("sample_weight", weights)
    case.put("mask", mask)
    case.put("value", loss.detach().numpy())
    case.put("dy_pred", gradient_of(value))
    return case


def loss_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Evaluate the losses: rows, sequences, weights, masks; along another axis; those with shapes of their own."""
    cases = {}
    for number, (name, kwargs, kind) in enumerate(LOSSES):
        for shape in ((BATCH,), (BATCH, TIMESTEPS)):
            true, predicted = targets(rng, kind, kwargs.get("from_logits", False), shape)
            for k, (weights, mask) in enumerate(settings(rng, shape)):
                found = case_of(name, kwargs, true, predicted, weights, mask)
                cases[f"loss/{named(name, kwargs)}-{number}-{len(shape)}-{k}"] = found
    for name, kwargs, kind in SMALL:
        shape = (BATCH,) if kind == "ids" else (BATCH, TIMESTEPS)
        true, predicted = targets(rng, kind, False, shape)
        for reduction in ("sum_over_batch_size", "sum", None):
            found = case_of(name, {**kwargs, "reduction": reduction}, true, predicted)
            cases[f"loss/{named(name, kwargs)}-{reduction}"] = found
    for name, kwargs, kind in ALONG:
        true, predicted = targets(rng, kind, kwargs.get("from_logits", False), (BATCH, TIMESTEPS))
        true, predicted = (np.moveaxis(a, -1, 1) if a.ndim == 3 else a for a in (true, predicted))
        for weights in (None, (rng.uniform(size=(BATCH, TIMESTEPS)) + 0.2).astype(np.float32)):
            found = case_of(name, {**kwargs, "axis": 1}, true, np.ascontiguousarray(predicted), weights)
            cases[f"loss/{named(name, kwargs)}-along-{weights is None}"] = found
    for margin, remove in ((0.4, True), (0.25, False)):
        rows = rng.normal(size=(8, 3)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        labels = np.array([0, 1, 0, 2, 1, 1, 0, 3])
        kwargs = {"margin": margin, "remove_diagonal": remove, "gamma": 3.0}  # PyTorch's softplus is a line from 20 on
        cases[f"loss/{named('Circle', kwargs)}"] = case_of("Circle", kwargs, labels, rows)
    labels = np.array([[1, 1, 2, 0], [3, 0, 0, 0], [4, 3, 4, 3], [0, 0, 0, 0]])
    logits = rng.normal(size=(4, 9, CLASSES)).astype(np.float32) * 2
    for reduction in ("sum_over_batch_size", None):
        found = case_of("CTC", {"reduction": reduction}, labels, logits)
        cases[f"loss/CTC-{reduction}"] = found
    return cases


def function_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Evaluate the functions on one row, several, and sequences."""
    cases = {}
    for name, kwargs, kind in FUNCTIONS:
        for shape in ((), (BATCH,), (BATCH, TIMESTEPS)):
            if kind == "ids" and not shape or name in ("dice", "tversky") and len(shape) < 2:
                continue
            true, predicted = targets(rng, kind, False, shape)
            case = Case({"class": name, "kwargs": kwargs})
            case.put("y_true", true)
            case.put("y_pred", predicted)
            given = tensor(true, gradient=False), tensor(predicted, gradient=False)
            case.put("value", getattr(keras.losses, name)(*given, **kwargs).detach().numpy())
            cases[f"function/{named(name, kwargs)}-{len(shape)}"] = case
    return cases


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(31007)
    save("keras_losses", loss_cases(rng) | function_cases(rng))


if __name__ == "__main__":
    main()
