"""Make ``keras_metrics.npz``: the metrics of Keras 3 beyond those of `make_keras_training`, and their arguments.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_metrics``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .keras_torch import keras, tensor
from .make_keras_training import CLASSES, named, targets
from .store import Case, save

ROWS = 7
FEW = {"num_thresholds": 9}
METRICS: list[tuple[str, dict[str, Any], str]] = [
    ("MeanAbsolutePercentageError", {}, "real"),
    ("MeanSquaredLogarithmicError", {}, "bits"),
    ("CosineSimilarity", {}, "real"),
    ("CosineSimilarity", {"axis": 0}, "real"),
    ("LogCoshError", {}, "real"),
    ("KLDivergence", {}, "one_hot"),
    ("Poisson", {}, "bits"),
    ("Hinge", {}, "bits"),
    ("SquaredHinge", {}, "bits"),
    ("CategoricalHinge", {}, "one_hot"),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, "bits"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "one_hot"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, "ids"),
    ("PearsonCorrelation", {}, "real"),
    ("ConcordanceCorrelation", {}, "real"),
    ("TruePositives", {}, "bits"),
    ("TrueNegatives", {"thresholds": [0.2, 0.7]}, "bits"),
    ("FalsePositives", {"thresholds": [0.7, 0.3, 0.5]}, "bits"),
    ("FalseNegatives", {"thresholds": [0.0, 0.5, 1.0]}, "bits"),
    ("Precision", {"thresholds": [0.2, 0.4, 0.9]}, "bits"),
    ("Precision", {"top_k": 2}, "one_hot"),
    ("Precision", {"top_k": 2, "class_id": 1}, "one_hot"),
    ("Recall", {"thresholds": [0.2, 0.4, 0.9]}, "bits"),
    ("Recall", {"top_k": 3, "thresholds": 0.3}, "one_hot"),
    ("Recall", {"class_id": 3}, "bits"),
    ("SensitivityAtSpecificity", {"specificity": 0.4}, "bits"),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 20}, "bits"),
    ("PrecisionAtRecall", {"recall": 0.5, "class_id": 2}, "bits"),
    ("RecallAtPrecision", {"precision": 0.6}, "bits"),
    ("AUC", {"num_thresholds": 200}, "bits"),
    ("AUC", {"thresholds": [0.1, 0.45, 0.8]}, "bits"),
    *(
        ("AUC", {**FEW, "curve": curve, "summation_method": method}, "bits")
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
    ),
    ("AUC", {**FEW, "multi_label": True}, "bits"),
    ("AUC", {**FEW, "multi_label": True, "curve": "PR", "label_weights": [0.1, 0.2, 0.3, 0.4, 0.5]}, "bits"),
    ("AUC", {**FEW, "label_weights": [0.1, 0.2, 0.3, 0.4, 0.5]}, "bits"),
    ("AUC", {**FEW, "from_logits": True}, "bits"),
    *(("FBetaScore", {"average": average, "beta": 2.0}, "one_hot") for average in (None, "micro", "macro", "weighted")),
    ("FBetaScore", {"beta": 0.5, "threshold": 0.3}, "bits"),
    ("F1Score", {}, "one_hot"),
    ("F1Score", {"average": "weighted", "threshold": 0.4}, "bits"),
    ("R2Score", {}, "real"),
    ("R2Score", {"class_aggregation": None, "num_regressors": 2}, "real"),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, "real"),
    ("BinaryIoU", {"threshold": 0.4}, "bits"),
    ("BinaryIoU", {"target_class_ids": [1]}, "bits"),
    ("OneHotIoU", {"num_classes": CLASSES, "target_class_ids": [0, 2]}, "one_hot"),
    ("OneHotMeanIoU", {"num_classes": CLASSES, "ignore_class": 1}, "one_hot"),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, "sorted"),
]
WITHOUT_WEIGHTS = ("BinaryIoU", "OneHotIoU", "OneHotMeanIoU")  # Keras cuts their fractions off
OF_CLASSES: list[tuple[str, dict[str, Any]]] = [
    ("IoU", {"num_classes": CLASSES, "target_class_ids": [0, 3]}),
    ("MeanIoU", {"num_classes": CLASSES}),
    ("MeanIoU", {"num_classes": 4, "ignore_class": 0, "dtype": "float32"}),
]


def metric_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Update every metric twice, without and with weights, and read it after each."""
    cases = {}
    for number, (name, kwargs, kind) in enumerate(METRICS):
        logits = kwargs.get("from_logits", False)
        for weights in (None, (rng.uniform(size=ROWS) + 0.2).astype(np.float32)):
            if weights is not None and (name in WITHOUT_WEIGHTS or kwargs.get("axis") == 0):
                continue
            metric = getattr(keras.metrics, name)(**kwargs)
            case = Case({"class": name, "kwargs": kwargs})
            case.put("sample_weight", weights)
            for update in range(2):
                true, predicted = targets(rng, "ids" if kind == "sorted" else kind, logits, (ROWS,))
                if kind == "sorted":
                    predicted = np.argsort(-predicted, axis=-1).astype(np.float32)
                metric.update_state(tensor(true, False), tensor(predicted, False), sample_weight=weights)
                case.put(f"y_true/{update}", true)
                case.put(f"y_pred/{update}", predicted)
                case.put(f"result/{update}", metric.result().detach().numpy().copy())
            cases[f"metric/{number}-{name}-{weights is None}"] = case
    for name, kwargs in OF_CLASSES:
        metric = getattr(keras.metrics, name)(**kwargs)
        case = Case({"class": name, "kwargs": kwargs})
        for update in range(2):
            true, predicted = (rng.integers(0, CLASSES, (ROWS, 3)) for _ in range(2))
            metric.update_state(true, predicted)
            case.put(f"y_true/{update}", true)
            case.put(f"y_pred/{update}", predicted)
            case.put(f"result/{update}", metric.result().detach().numpy().copy())
        cases[f"metric/{named(name, kwargs)}"] = case
    return cases


def main() -> None:
    """Write the file."""
    save("keras_metrics", metric_cases(np.random.default_rng(31013)))


if __name__ == "__main__":
    main()
