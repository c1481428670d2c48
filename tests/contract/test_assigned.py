"""What is assigned to an argument later on is heeded, or refused: for every public class, and every argument.

The right outcome is that of another object, made with the other value from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnx import callbacks, constraints, initializers, layers, losses, metrics, optimizers, regularizers
from rnnx._assigned import Assigned, arguments_of
from tests.layers.test_conformance import EXAMPLES

REFUSED = (AttributeError, TypeError, ValueError)
OTHERS: tuple[Any, ...] = (
    True, False, None, 0, 1, 2, 3, 4, 0.25, 0.5, 1.5, (1,), (2,), (1, 2), (None, 1, None), [0.1, 0.9], "relu", "tanh",
    "valid", "same", "channels_first", "channels_last", "sum", "mul", "zeros", "ones", "l2", "non_neg", "int8",
    "update", "per_gate", "shared", "tf_keras2", "float64", "min", "max", "macro", "int", "multi_hot", "count",
    "one_hot", "nearest", "bilinear", "normal", "fan_in",
)  # fmt: skip


class Nonsense:
    """What no argument may be."""

    def __repr__(self) -> str:
        return "nonsense"


def plain(value: Any) -> Any:
    """A value that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return (type(value).__name__, str(value.get_config())) if hasattr(value, "get_config") else value


def changed(example: Any, name: str, value: Any) -> tuple[Any, Any] | None:
    """A used object that was assigned another value, and one that was made with it; None if it is refused, and rightly.

    Every change is refused that the constructor refuses, and one of what weights are made by.
    """
    try:
        wanted = example(**{name: value})
    except REFUSED:
        return None
    found = example()
    if plain(getattr(wanted, name, None)) == plain(getattr(found, name, None)):
        return None
    try:
        setattr(found, name, value)
    except REFUSED:
        return None
    return found, wanted


def outcome(layer: Any, example: Any) -> list[Any]:
    """What a layer gives in training and outside of it, from the same place of its source of noise."""
    for generator in layer.seed_generators():
        generator.state = (7, 0)
    given = [layer(example.x, training=training, **example.call) for training in (True, False)]
    return [np.asarray(part) for y in given for part in (y if isinstance(y, (list, tuple)) else [y])]


KINDS = {type(example.make()).__name__: example for example in reversed(EXAMPLES.values())}
DRAWN = {"seed", "name"}  # whose values differ from one object to the other by themselves
WEIGHTS = "alpha beta bias depthwise embeddings gamma kernel moving_mean moving_variance pointwise recurrent".split()
ELSEWHERE = {"trainable", "dtype", "stateful", "data_format"}  # of other inputs or calls than one
STORED = {f"{weight}_initializer" for weight in WEIGHTS}  # of no effect once there are weights


@pytest.mark.parametrize("kind", KINDS)
def test_layers_heed_what_is_assigned(kind: str) -> None:
    example = KINDS[kind]
    for name in sorted(arguments_of(type(example.make())) - DRAWN - STORED - ELSEWHERE):
        for value in OTHERS:

            def used(example: Any = example, **arguments: Any) -> Any:
                layer = example.make(**arguments)
                layer(example.x)
                return layer

            try:
                pair = changed(used, name, value)
            except IndexError:
                continue
            if pair is None:
                continue
            found, wanted = pair
            assert plain(getattr(found, name)) == plain(getattr(wanted, name)), name
            wanted.set_weights(found.get_weights())
            for one, two in zip(outcome(found, example), outcome(wanted, example), strict=True):
                np.testing.assert_array_equal(one, two, err_msg=f"{name}={value!r}")
            break


def classes(module: Any, base: Any) -> list[Any]:
    named = (getattr(module, name) for name in module.__all__ if name != "TensorBoard")
    return [kind for kind in named if isinstance(kind, type) and issubclass(kind, base)]


FIRST: dict[str, tuple[Any, ...]] = {
    "LossScaleOptimizer": ("sgd",), "FunctionMetric": (abs,), "MeanMetricWrapper": (abs,), "LossMetric": ("mse",),
    "ModelCheckpoint": ("model.keras",), "CSVLogger": ("log.csv",), "LearningRateScheduler": (float,),
    "BackupAndRestore": ("folder",), "SensitivityAtSpecificity": (0.5,), "SpecificityAtSensitivity": (0.5,),
    "PrecisionAtRecall": (0.5,), "RecallAtPrecision": (0.5,), "IoU": (2, [0]), "OneHotIoU": (2, [0]), "MeanIoU": (2,),
    "OneHotMeanIoU": (2,), "ExponentialDecay": (0.1, 10, 0.9), "PiecewiseConstantDecay": ([1], [0.1, 0.2]),
    "PolynomialDecay": (0.1, 10), "InverseTimeDecay": (0.1, 10, 0.9), "CosineDecay": (0.1, 10),
    "CosineDecayRestarts": (0.1, 10), "StackedRNNCells": ([layers.LSTMCell(3)],), "LSTMCell": (3,), "GRUCell": (3,),
    "SimpleRNNCell": (3,), "CategoryEncoding": (4,), "Discretization": ([0.0, 1.0],), "HashedCrossing": (4,),
    "Hashing": (4,), "InputLayer": ((3,),),
}  # fmt: skip
MODULES = (
    optimizers, optimizers.schedules, losses, metrics, callbacks, initializers, regularizers, constraints,
)  # fmt: skip
OTHER_KINDS = [kind for module in MODULES for kind in classes(module, Assigned)]
ALONE = [kind for kind in classes(layers, layers.Layer) if kind.__name__ in FIRST or kind.__name__.endswith("Lookup")]
ANYTHING = {("Hashing", "mask_value")}


@pytest.mark.parametrize("kind", [*OTHER_KINDS, *ALONE], ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_others_keep_what_a_new_object_would(kind: Any) -> None:
    def made(**arguments: Any) -> Any:
        return kind(*FIRST.get(kind.__name__, ()), **arguments)

    for name in sorted(arguments_of(kind) - DRAWN):
        for value in OTHERS:
            if (pair := changed(made, name, value)) is not None:
                found, wanted = (vars(part) for part in pair)
                assert found.keys() == wanted.keys()
                simple = {
                    word for word in found if isinstance(wanted[word], (int, float, str, tuple, list, np.ndarray))
                }
                for word in simple - {"name", "_dtype"}:
                    assert plain(found[word]) == plain(wanted[word]), f"{name}={value!r}: {word}"
                break


@pytest.mark.parametrize("kind", [*KINDS, *OTHER_KINDS, *ALONE], ids=str)
def test_nonsense_is_refused(kind: Any) -> None:
    made = KINDS[kind].make() if isinstance(kind, str) else kind(*FIRST.get(kind.__name__, ()))
    for name in sorted(arguments_of(type(made)) | made.not_attributes):
        if name in vars(made) and (type(made).__name__, name) not in ANYTHING or name in made.not_attributes:
            with pytest.raises(REFUSED):
                setattr(made, name, Nonsense())


@pytest.mark.parametrize(
    ("make", "name", "text"),
    [
        (lambda: layers.Dense(3), "weight_noise", "Dense has no `weight_noise` of its own: nothing would heed it"),
        (
            lambda: layers.Bidirectional(layers.LSTM(3)),
            "weight_noise",
            "Bidirectional has no `weight_noise` of its own: nothing would heed it; set it on .forward_layer and "
            ".backward_layer",
        ),
        (
            lambda: layers.TimeDistributed(layers.Dropout(0.5)),
            "rate",
            "TimeDistributed has no `rate` of its own: nothing would heed it; set it on .layer",
        ),
        (lambda: optimizers.SGD(), "beta_1", "SGD has no `beta_1` of its own: nothing would heed it"),
    ],
)
def test_what_nothing_would_heed_is_refused(make: Callable[[], Any], name: str, text: str) -> None:
    with pytest.raises(AttributeError) as caught:
        setattr(make(), name, 0.5)
    assert str(caught.value) == text


def test_classes_of_users_keep_what_they_like() -> None:
    class Mine(layers.Layer):
        def __init__(self, units: int):
            super().__init__()
            self.units = units
            self.units = -units

        def call(self, x: Any) -> Any:
            return x * self.units

    assert Mine(3)(np.ones((1, 2))).tolist() == [[-3, -3]]


def test_what_weights_are_made_by_changes_until_there_are_some() -> None:
    layer = layers.LSTM(4)
    layer.units = 3
    with pytest.raises(ValueError, match="LSTM: `units` must be a positive integer, got -3"):
        layer.units = -3
    assert layer(np.ones((1, 2, 5))).shape == (1, 3)
    with pytest.raises(AttributeError, match="LSTM: `units` cannot change any more, the weights are those of 3; make"):
        layer.units = 4


def test_a_regularizer_and_a_constraint_reach_the_weight() -> None:
    layer = layers.GRU(2)
    layer.build((None, None, 3))
    layer.recurrent_regularizer, layer.kernel_constraint = "l2", "non_neg"
    assert layer.losses == [pytest.approx(0.01 * float((layer.recurrent_kernel**2).sum()), rel=1e-6)]
    assert isinstance(layer.weights[0].constraint, constraints.NonNeg)


def test_the_penalty_of_a_layer_follows_its_rates() -> None:
    layer = layers.ActivityRegularization(l1=0.1)
    layer.l1, layer.l2 = 0.5, 0.25
    x = np.array([[1.0, -3.0]])
    assert float(layer.activity_regularizer(x)) == pytest.approx(0.5 * 4 + 0.25 * 10)
    other: Any = layer
    with pytest.raises(AttributeError, match="ActivityRegularization has no `activity_regularizer` of its own"):
        other.activity_regularizer = "l2"
    assert float(layer.activity_regularizer(x)) == pytest.approx(4.5)


def test_an_older_activation_keeps_its_meaning() -> None:
    """Before Keras 3, hard_sigmoid was clip(0.2 x + 0.5)."""
    layer = layers.LSTM(2, compat="tf_keras2")
    layer.recurrent_activation = "hard_sigmoid"
    assert layer.recurrent_activation(np.array([1.0])) == pytest.approx(0.7)


def test_an_optimizer_refuses_another_kind_of_step_after_the_first() -> None:
    layer = layers.Dense(1)
    layer.build((None, 2))
    optimizer = optimizers.SGD()
    optimizer.momentum = 0.5
    assert optimizer.slot_names == ("momentum",)
    optimizer.apply([np.ones((2, 1)), np.ones(1)], layer.weights)
    optimizer.momentum = 0.9
    assert optimizer.momentum == 0.9
    with pytest.raises(AttributeError, match="SGD: `momentum` cannot change after the first step"):
        optimizer.momentum = 0.0


def test_what_is_kept_in_arrays_keeps_their_shapes() -> None:
    metric = metrics.Precision()
    metric.thresholds = 0.7
    assert metric([0, 1, 1], [0.6, 0.8, 0.65]) == 1.0  # of 0.8 alone; 2 / 3 with 0.5
    with pytest.raises(AttributeError, match="Precision: `thresholds` cannot change any more, arrays are kept for it"):
        metric.thresholds = [0.1, 0.5, 0.9]


def test_a_number_in_an_array_without_axes_is_one() -> None:
    penalty = regularizers.L2(0.5)
    penalty.l2 = np.array(0.25)
    assert penalty(np.array([2.0])) == 1.0
