"""What a subclass has to implement raises NotImplementedError until it does, and the sentence names the class."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import constraints, initializers, layers, losses, metrics, optimizers, regularizers, utils
from rnnx.layers.merging import Merge
from rnnx.layers.noise import NoiseLayer
from rnnx.layers.shaping import Shaping

X = np.ones((2, 3), "float32")


class OwnOptimizer(optimizers.Optimizer):
    def __init__(self) -> None:
        super().__init__(0.1)


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "constraint": (lambda: constraints.Constraint()(X), "Constraint does not say what it allows"),
    "initializer": (lambda: initializers.Initializer()((2,)), "Initializer does not say how to make an array"),
    "regularizer": (lambda: regularizers.Regularizer()(X), "Regularizer does not say what its penalty is"),
    "its gradient": (lambda: regularizers.Regularizer().grad(X), "Regularizer has no gradient: implement `grad"),
    "loss": (lambda: losses.Loss().values(X, X), "Loss does not say what its values are"),
    "metric": (lambda: metrics.Metric("m").values(X, X), "Metric does not say what its values are"),
    "schedule": (lambda: optimizers.schedules.LearningRateSchedule()(0), "does not say what the learning rate is"),
    "optimizer": (lambda: OwnOptimizer().update(X, X, {}, 0.1, []), "OwnOptimizer does not say how it updates"),
    "layer": (lambda: layers.Layer()(X), "Layer does not say how to compute its output: implement `forward`"),
    "merge": (lambda: Merge()([X, X]), "Merge does not say how it merges"),
    "its gradients": (lambda: Merge().split([X], X), "Merge has no gradient"),
    "shaping": (lambda: Shaping()(X), "Shaping does not say how it moves its input"),
    "noise": (lambda: NoiseLayer(0.5)(X, training=True), "NoiseLayer does not say what its noise is"),
    "length of a dataset": (lambda: len(utils.PyDataset()), "PyDataset: implement `__len__`"),
    "batch of a dataset": (lambda: utils.PyDataset()[0], "PyDataset: implement `__getitem__`"),
}


@pytest.mark.parametrize("call, sentence", CALLS.values(), ids=CALLS)
def test_the_sentence(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(NotImplementedError, match=sentence):
        call()


def test_what_a_class_does_not_say_is_never_another_error() -> None:
    """Every method whose body is one ``raise`` that begins with the name of its class."""
    found = 0
    for path in Path(rnnx.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                if len(body) == 1 and isinstance(body[0], ast.Raise) and isinstance(body[0].exc, ast.Call):
                    if "type(self).__name__" in ast.unparse(body[0].exc):
                        assert ast.unparse(body[0].exc.func) == "NotImplementedError", f"{path}:{node.lineno}"
                        found += 1
    assert found >= len(CALLS)  # those above, and two of recurrent layers
