"""What stands in the docstrings of public classes and functions: arguments, shapes, and an example that runs."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from rnnx import layers, losses, metrics, ops

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


def own_arguments(kind: Any) -> list[str]:
    """Those of a class that are not of all losses or metrics."""
    return [name for name in inspect.signature(kind).parameters if name not in ("name", "dtype", "reduction", "kwargs")]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CLASSES if issubclass(kind, (losses.Loss, metrics.Metric))],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_losses_and_metrics_say_their_arguments(kind: Any) -> None:
    for name in own_arguments(kind):
        assert re.search(rf"\b{name}\b", section(kind, "Parameters")), name


NOT_OF_ARRAYS = {"blank", "choose_accuracy", "deserialize", "direction_of", "get", "loss_of", "serialize"}
FUNCTIONS = {
    f"{module.__name__}.{name}": function
    for module in (ops, losses, metrics)
    for name in module.__all__
    if inspect.isroutine(function := getattr(module, name)) and name not in NOT_OF_ARRAYS
}


def section(thing: Any, title: str) -> str:
    """What stands under a title of a docstring."""
    text = inspect.cleandoc(thing.__doc__)
    assert f"\n{title}\n{'-' * len(title)}\n" in text, f"the section {title} is missing"
    return text.split(f"\n{title}\n{'-' * len(title)}\n")[1].split("\n\n")[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_arrays_say_what_they_take_and_give(name: str) -> None:
    function = FUNCTIONS[name]
    for argument in inspect.signature(function).parameters:
        if argument != "kwargs":
            assert re.search(rf"\b{argument}\b", section(function, "Parameters")), argument
    assert section(function, "Examples").startswith(">>> ")
    if name != "rnnx.ops.shape":
        assert section(function, "Returns")
