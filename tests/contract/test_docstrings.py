"""What stands in the docstrings of public classes: an example that runs, and shapes where arrays are compared."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from rnnx import layers, losses, metrics

BASES = {
    layers.Gradients, layers.Layer, layers.Weight, losses.Loss, metrics.Metric, metrics.MetricVariable,
}  # fmt: skip
CLASSES = sorted(
    {
        kind
        for module in (layers, losses, metrics)
        for name in module.__all__
        if isinstance(kind := getattr(module, name), type)
    }
    - BASES,
    key=lambda kind: (kind.__module__, kind.__name__),
)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_classes_have_an_example(kind: Any) -> None:
    text = inspect.cleandoc(kind.__doc__)
    assert "\nExamples\n--------\n>>> " in text, "an Examples section is missing"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CLASSES if issubclass(kind, (losses.Loss, metrics.Metric))],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_losses_and_metrics_say_their_shapes(kind: Any) -> None:
    assert "shape" in kind.__doc__.lower(), "say the shapes of targets and predictions"
