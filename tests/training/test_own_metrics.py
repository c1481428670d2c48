"""Metrics written by users, in the ways of Keras."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import rnnx
from rnnx import layers, metrics

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(12, 4, 3)), RNG.integers(0, 2, size=(12, 1)).astype(float)


class Total(metrics.Metric):
    """With a reset of its own, which needs what the constructor makes."""

    def __init__(self, name="t", **kwargs):
        super().__init__(name=name, **kwargs)
        self.s = self.add_weight(name="s", initializer="zeros")
        self.n = self.add_variable(shape=(2,), initializer="zeros", name="n")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = np.abs(np.asarray(y_true) - y_pred)
        self.s.assign_add(np.sum(values if sample_weight is None else values * np.reshape(sample_weight, (-1, 1))))
        self.n.assign(self.n + [len(y_pred), 1])

    def result(self):
        return self.s / self.n[0]

    def reset_state(self):
        self.s.assign(0.0)
        self.n.assign([0.0, 0.0])


class Inherited(Total):
    """With the reset of the base, over variables that bear its names."""

    def __init__(self, name="t", **kwargs):
        metrics.Metric.__init__(self, name=name, **kwargs)
        self.total = self.s = self.add_weight("total")
        self.count = self.n = self.add_weight(shape=(2,), name="count")

    reset_state = metrics.Metric.reset_state


def model_of(*chosen, **more):
    model = rnnx.Sequential([layers.Input((4, 3)), layers.GRU(3), layers.Dense(1, "sigmoid")])
    model.compile(rnnx.optimizers.SGD(0.0), "mse", metrics=list(chosen), **more)
    return model


@pytest.mark.parametrize("kind", [Total, Inherited])
def test_add_weight_and_a_reset_of_its_own(kind):
    model = model_of(kind(), weighted_metrics=[kind(name="w", dtype="float64")])
    values = abs(model(X) - Y)
    weight = np.arange(12.0)
    for _ in range(2):  # it starts again
        found = model.evaluate(X, Y, batch_size=5, sample_weight=weight, verbose=0, return_dict=True)
        assert found["t"] == pytest.approx(values.mean(), rel=1e-6)
        assert found["w"] == pytest.approx((values[:, 0] * weight).sum() / 12, rel=1e-6)
    history = model.fit(X, Y, epochs=2, batch_size=5, verbose=0, validation_data=(X[:4], Y[:4])).history
    assert history["t"] == pytest.approx([values.mean()] * 2, rel=1e-6)
    assert history["val_t"] == pytest.approx([values[:4].mean()] * 2, rel=1e-6)
    assert model.metrics[1].n.numpy().tolist() == [4, 1] and len(model.metrics[1].variables) == 2
    twin = pickle.loads(pickle.dumps(kind()))
    assert copy.deepcopy(twin)(Y, np.zeros_like(Y)) == pytest.approx(Y.mean())


def test_a_reset_that_sets_everything_up():
    """Of rnnx 0.1.0: there is no constructor, or one that leaves it to the reset."""

    class Seen(metrics.Metric):
        def reset_state(self):
            self.seen = []

        def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
            self.seen.append(len(y_pred))

        def result(self):
            return float(sum(self.seen))

    class Named(Seen):
        def __init__(self, factor):
            self.factor = factor
            super().__init__("named")

    assert Seen()(Y, Y) == 12 and Named(2)(Y, Y) == 12
    with pytest.raises(AttributeError, match="absent"):
        type("Broken", (metrics.Metric,), {"reset_state": lambda self: self.absent})()


def test_variables_are_numbers():
    metric = metrics.Metric("m")
    a, b = metric.add_weight(initializer="ones"), metric.add_weight(shape=(2,), initializer="ones", dtype="float64")
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((), np.float32, (2,), np.float64)
    a.assign_add(3)
    b.assign_sub([1.0, 2.0])
    assert float(a) == 4 and int(a) == 4 and bool(a) and a > 3 and -a == -4 and np.sqrt(a) == 2
    assert (b * 2).tolist() == [0, -2] and (1 + b).tolist() == [1, 0] and b[1] == -1 and len(b) == 2
    assert (a / b[1], np.sum(b), np.asarray(b).tolist()) == (-4, -1, [0, -1])
    b += 1.5
    assert isinstance(b, metrics.MetricVariable) and b.numpy().tolist() == [1.5, 0.5]
    with pytest.raises(ValueError, match=r"must have shape \(2,\), got \(3,\)"):
        b.assign(np.ones(3))
    metric.reset_state()
    assert float(a) == 0 and b.numpy().tolist() == [0, 0] and "value" in repr(a)


def test_masked_steps_weigh_nothing_for_a_metric_without_masks():
    class Steps(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total += np.sum(np.ones(y_pred.shape[:2]) if sample_weight is None else sample_weight)

        def result(self):
            return self.total

    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    model = rnnx.Sequential(
        [
            layers.Input((4,), dtype="int32"),
            layers.Embedding(5, 2, mask_zero=True),
            layers.GRU(2, return_sequences=True),
        ]
    )
    model.compile("sgd", "mse", metrics=[Steps("steps")], weighted_metrics=[Steps("weighted")])
    found = model.evaluate(
        ids, np.zeros((2, 4, 2)), sample_weight=np.array([1.0, 10.0]), verbose=0, return_dict=True
    )  # fmt: skip
    assert (found["steps"], found["weighted"]) == (3, 12)


@pytest.mark.parametrize("loss", [["mse"], "mse", {"out": "mse"}, {"out": rnnx.losses.MeanSquaredError()}])
@pytest.mark.parametrize(
    "chosen", [["mae"], {"out": ["mae"]}, {"out": "mae"}, [["mae"]], "mae", ({"class_name": "mae"},)]
)
@pytest.mark.parametrize("loss_weights", [None, 2.0, [2.0], {"out": 2.0}])
def test_one_output_by_name_or_in_a_list(loss, chosen, loss_weights):
    a = layers.Input((3,))
    model = rnnx.Model(a, layers.Dense(1, name="out")(a))
    model.compile("sgd", loss, metrics=chosen, weighted_metrics=chosen, loss_weights=loss_weights)
    x, y = X[:, 0], Y
    off = model(x) - y
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    names = list(found)
    assert names[0] == "loss" and names[2] == f"weighted_{names[1]}" and len(names) == 3
    factor = 1 if loss_weights is None else 2
    assert list(found.values()) == pytest.approx([factor * (off**2).mean(), *[abs(off).mean()] * 2], rel=1e-5)


def test_losses_in_lists_of_one():
    """As in Keras: what is alone in a list stands for it, for one output and for several."""
    entry = layers.Input((4, 3))
    h = layers.GRU(3, seed=1)(entry)
    model = rnnx.Model(entry, [layers.Dense(1, name="a")(h), layers.Dense(1, name="b")(h)])
    found = []
    for loss in (["mse", "mae"], [["mse"], ["mae"]], {"a": ["mse"], "b": [["mae"]]}):
        model.compile("sgd", loss=loss)
        found.append(model.evaluate(X, [Y, Y], verbose=0))
    assert found[0] == found[1] == found[2] and len(found[0]) == 3
    model.compile("sgd", loss=[["mse", "mae"], "mse"])  # the sum of both for the first output
    summed = model.evaluate(X, [Y, Y], verbose=0, return_dict=True)
    single = []
    for loss in (["mse", None], ["mae", None], [None, "mse"]):
        model.compile("sgd", loss=loss)
        single.append(model.evaluate(X, [Y, Y], verbose=0)[0])
    assert summed["loss"] == pytest.approx(sum(single), rel=1e-6)
    assert [summed[name] for name in ("a_loss", "a_1_loss", "b_loss")] == pytest.approx(single, rel=1e-6)
