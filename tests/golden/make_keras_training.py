"""Make ``keras_training.npz``: everything of Keras 3 around the layers, from losses to padding.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_training``.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .keras_torch import gradient_of, keras, tensor
from .store import Case, random_like, save

BATCH, TIMESTEPS, CLASSES = 3, 4, 5
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)
REDUCTIONS = ["sum_over_batch_size", "sum", "mean_with_sample_weight", None]
LOSSES: list[tuple[str, dict[str, Any], str]] = [
    ("MeanSquaredError", {}, "real"),
    ("MeanAbsoluteError", {}, "real"),
    ("Huber", {}, "real"),
    ("Huber", {"delta": 0.3}, "real"),
    ("LogCosh", {}, "real"),
    ("Poisson", {}, "bits"),
    ("KLDivergence", {}, "one_hot"),
    ("BinaryCrossentropy", {}, "bits"),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, "bits"),
    ("BinaryCrossentropy", {"from_logits": True}, "bits"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "bits"),
    ("CategoricalCrossentropy", {}, "one_hot"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "one_hot"),
    ("CategoricalCrossentropy", {"from_logits": True}, "one_hot"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "one_hot"),
    ("SparseCategoricalCrossentropy", {}, "ids"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "ids"),
]
METRICS: list[tuple[str, dict[str, Any], str]] = [
    ("MeanSquaredError", {}, "real"),
    ("MeanAbsoluteError", {}, "real"),
    ("RootMeanSquaredError", {}, "real"),
    ("BinaryAccuracy", {}, "bits"),
    ("BinaryAccuracy", {"threshold": 0.3}, "bits"),
    ("CategoricalAccuracy", {}, "one_hot"),
    ("SparseCategoricalAccuracy", {}, "ids"),
    ("BinaryCrossentropy", {}, "bits"),
    ("CategoricalCrossentropy", {}, "one_hot"),
    ("SparseCategoricalCrossentropy", {}, "ids"),
    ("TopKCategoricalAccuracy", {"k": 2}, "one_hot"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "ids"),
    ("Precision", {}, "bits"),
    ("Recall", {}, "bits"),
    ("Precision", {"thresholds": 0.3}, "bits"),
    ("Recall", {"thresholds": 0.3}, "bits"),
]
FORGET_MASKS = ("RootMeanSquaredError", "Precision", "Recall")  # in Keras; not in rnnx
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.1, "weight_decay": 0.05}),
    ("RMSprop", {"learning_rate": 0.01}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.7, "momentum": 0.5}),
    ("RMSprop", {"learning_rate": 0.01, "centered": True, "epsilon": 1e-4}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 0.05, "amsgrad": True}),
    ("Adam", {"learning_rate": 0.05, "weight_decay": 0.1}),
    ("AdamW", {"learning_rate": 0.05}),
    ("AdamW", {"learning_rate": 0.05, "weight_decay": 0.2}),
    ("Nadam", {"learning_rate": 0.05, "beta_1": 0.8}),
]
CLIPS: list[dict[str, Any]] = [{"clipnorm": 1.0}, {"global_clipnorm": 1.5}, {"clipvalue": 0.4}]
SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5}),
    (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5, "staircase": True},
    ),
    ("PiecewiseConstantDecay", {"boundaries": [3, 7], "values": [0.1, 0.05, 0.01]}),
    (
        "PolynomialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 5, "end_learning_rate": 0.01, "power": 2.0},
    ),
    (
        "PolynomialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 5, "end_learning_rate": 0.01, "cycle": True},
    ),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5}),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5, "staircase": True},
    ),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 8, "alpha": 0.1}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.0, "decay_steps": 6, "warmup_target": 0.1, "warmup_steps": 3},
    ),
    (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.1, "first_decay_steps": 3, "m_mul": 0.9, "alpha": 0.05},
    ),
]
REGULARIZERS: list[tuple[str, dict[str, Any]]] = [
    ("L1", {"l1": 0.02}),
    ("L2", {"l2": 0.03}),
    ("L1L2", {"l1": 0.02, "l2": 0.03}),
]
CONSTRAINTS: list[tuple[str, dict[str, Any]]] = [
    ("NonNeg", {}),
    ("MaxNorm", {"max_value": 0.9, "axis": 0}),
    ("MaxNorm", {"max_value": 0.9, "axis": 1}),
    ("UnitNorm", {"axis": 0}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.9, "rate": 0.7, "axis": 0}),
]
INITIALIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Zeros", {}),
    ("Ones", {}),
    ("Constant", {"value": 0.3}),
    ("RandomNormal", {"mean": 0.1, "stddev": 0.2, "seed": 3}),
    ("RandomUniform", {"minval": -0.1, "maxval": 0.2, "seed": 3}),
    ("TruncatedNormal", {"mean": 0.1, "stddev": 0.2, "seed": 3}),
    ("GlorotNormal", {"seed": 3}),
    ("GlorotUniform", {"seed": 3}),
    ("HeNormal", {"seed": 3}),
    ("HeUniform", {"seed": 3}),
    ("LecunNormal", {"seed": 3}),
    ("LecunUniform", {"seed": 3}),
    ("VarianceScaling", {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform", "seed": 3}),
    ("Orthogonal", {"gain": 1.5, "seed": 3}),
]


def named(name: str, kwargs: dict[str, Any]) -> str:
    """Name a case after a class and its arguments."""
    return "-".join([name, *(f"{key}={value}" for key, value in kwargs.items())])


def targets(rng: np.random.Generator, kind: str, logits: bool, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw what was to be predicted and a prediction of it."""
    scores = rng.normal(size=(*shape, CLASSES)).astype(np.float32)
    if kind == "real":
        return rng.normal(size=scores.shape).astype(np.float32), scores
    if kind == "bits":
        chances = (1 / (1 + np.exp(-scores))).astype(np.float32)
        return (rng.uniform(size=scores.shape) < 0.5).astype(np.float32), scores if logits else chances
    ids = rng.integers(0, CLASSES, size=shape)
    powers = np.exp(scores)
    chances = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    true = ids.astype(np.int32) if kind == "ids" else np.eye(CLASSES, dtype=np.float32)[ids]
    return true, scores if logits else chances


def with_mask(array: np.ndarray, mask: np.ndarray | None) -> Any:
    """Return a tensor that carries a time mask the way the output of a layer does."""
    value = tensor(array)
    if mask is not None:
        keras.src.backend.set_keras_mask(value, tensor(mask))
    return value


def settings(rng: np.random.Generator, shape: tuple[int, ...]) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Return the pairs of sample weights and mask that Keras can combine for losses of this shape."""
    weights = (rng.uniform(size=shape) + 0.2).astype(np.float32)
    if len(shape) == 1:
        return [(None, None), (weights, None)]
    return [(None, None), (weights, None), (None, MASK), (weights, MASK), (weights[:, :1], None)]


def loss_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Evaluate every loss and its gradient: rows, sequences, weights, masks, reductions, extremes."""
    cases = {}
    for name, kwargs, kind in LOSSES:
        logits = kwargs.get("from_logits", False)
        for shape in ((BATCH,), (BATCH, TIMESTEPS)):
            true, predicted = targets(rng, kind, logits, shape)
            for number, (weights, mask) in enumerate(settings(rng, shape)):
                reductions = REDUCTIONS if name == "MeanSquaredError" else REDUCTIONS[:1]
                for reduction in reductions:
                    value = with_mask(predicted, mask)
                    extra = {"reduction": reduction} if reduction != "sum_over_batch_size" else {}
                    loss = getattr(keras.losses, name)(**kwargs, **extra)(true, value, sample_weight=weights)
                    loss.sum().backward()
                    case = Case({"class": name, "kwargs": kwargs | extra})
                    case.put("y_true", true)
                    case.put("y_pred", predicted)
                    case.put("sample_weight", weights)
                    case.put("mask", mask)
                    case.put("value", loss.detach().numpy())
                    case.put("dy_pred", gradient_of(value))
                    cases[f"loss/{named(name, kwargs | extra)}-{len(shape)}-{number}"] = case
        if name.endswith("Crossentropy") and not logits:
            extreme = np.eye(CLASSES, dtype=np.float32)[[0, 1, 2]]
            true = {
                "bits": extreme[::-1].copy(),
                "one_hot": extreme[::-1].copy(),
                "ids": np.array([2, 1, 0]),
            }[kind]
            case = Case({"class": name, "kwargs": kwargs})
            case.put("y_true", true)
            case.put("y_pred", extreme)
            for dtype in ("float32", "float64"):  # predictions are clipped at 1 - 1e-7, which float32 rounds
                loss = getattr(keras.losses, name)(**kwargs, dtype=dtype)
                case.put(f"value/{dtype}", loss(true, extreme.astype(dtype)).numpy())
            cases[f"loss/{named(name, kwargs)}-extreme"] = case
    return cases


def metric_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Update every metric twice and read it after each."""
    cases = {}
    for name, kwargs, kind in METRICS:
        for shape in ((BATCH,), (BATCH, TIMESTEPS)):
            for number, (weights, mask) in enumerate(settings(rng, shape)):
                if name in FORGET_MASKS and mask is not None:
                    continue
                metric = getattr(keras.metrics, name)(**kwargs)
                case = Case({"class": name, "kwargs": kwargs})
                case.put("sample_weight", weights)
                case.put("mask", mask)
                for update in range(2):
                    true, predicted = targets(rng, kind, False, shape)
                    metric.update_state(true, with_mask(predicted, mask), sample_weight=weights)
                    case.put(f"y_true/{update}", true)
                    case.put(f"y_pred/{update}", predicted)
                    case.put(f"result/{update}", metric.result().detach().numpy())
                cases[f"metric/{named(name, kwargs)}-{len(shape)}-{number}"] = case
    return cases


def optimizer_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Apply six fixed gradients to two variables; gradients large enough that every clipping acts on some."""
    chosen = list(OPTIMIZERS)
    chosen += [(name, {"learning_rate": 0.05, **clip}) for name in ("SGD", "Adam") for clip in CLIPS]
    starts = random_like(rng, [(3, 4), (4,)])
    gradients = random_like(rng, [(6, 3, 4), (6, 4)], scale=0.8)
    cases = {}
    for name, kwargs in chosen:
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
        cases[f"optimizer/{named(name, kwargs)}"] = case
    return cases


def part_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Evaluate schedules, regularizers and constraints; keep the configurations of initializers."""
    cases = {}
    for name, kwargs in SCHEDULES:
        schedule = getattr(keras.optimizers.schedules, name)(**kwargs)
        case = Case({"class": name, "kwargs": kwargs})
        case.put("values", np.array([float(schedule(step)) for step in range(12)]))
        cases[f"schedule/{named(name, kwargs)}"] = case
    matrix = random_like(rng, [(3, 4)])[0]
    for name, kwargs in REGULARIZERS:
        value = tensor(matrix)
        penalty = getattr(keras.regularizers, name)(**kwargs)(value)
        penalty.backward()
        case = Case({"class": name, "kwargs": kwargs})
        case.put("w", matrix)
        case.put("value", penalty.detach().numpy())
        case.put("dw", gradient_of(value))
        cases[f"regularizer/{named(name, kwargs)}"] = case
    for name, kwargs in CONSTRAINTS:
        case = Case({"class": name, "kwargs": kwargs})
        case.put("w", matrix)
        case.put("result", getattr(keras.constraints, name)(**kwargs)(tensor(matrix, gradient=False)).numpy())
        cases[f"constraint/{named(name, kwargs)}"] = case
    for name, kwargs in INITIALIZERS:
        config = getattr(keras.initializers, name)(**kwargs).get_config()
        cases[f"initializer/{name}"] = Case({"class": name, "kwargs": kwargs, "get_config": config})
    return cases


def utility_cases() -> dict[str, Case]:
    """Pad lists of different lengths, and turn labels into rows of zeros and ones."""
    sequences = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    cases = {}
    for padding, truncating, length in itertools.product(["pre", "post"], ["pre", "post"], [None, 2, 7]):
        kwargs = {"padding": padding, "truncating": truncating, "maxlen": length, "value": -1}
        case = Case({"sequences": sequences, "kwargs": kwargs})
        case.put("result", keras.utils.pad_sequences(sequences, **kwargs))
        cases[f"pad/{padding}-{truncating}-{length}"] = case
    case = Case({"labels": [2, 0, 3], "num_classes": 5})
    case.put("result", keras.utils.to_categorical([2, 0, 3], num_classes=5))
    cases["to_categorical"] = case
    return cases


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(20267)
    cases = loss_cases(rng) | metric_cases(rng) | optimizer_cases(rng) | part_cases(rng)
    save("keras_training", cases | utility_cases())


if __name__ == "__main__":
    main()
