"""Logs that compute a metric when it is read, and only then."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, layers, metrics
from rnnx.training.logs import RunningLogs

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(40, 3)), RNG.integers(0, 2, size=(40, 1)).astype(float)


class Counting(metrics.AUC):
    """Says how often it was asked."""

    asked = 0

    def result(self):
        Counting.asked += 1
        return super().result()


def model_of(*chosen):
    model = rnnx.Sequential([layers.Input((3,)), layers.Dense(1, "sigmoid", kernel_initializer="ones")])
    model.compile(rnnx.optimizers.SGD(0.1), "bce", metrics=list(chosen))
    return model


def test_a_metric_is_computed_once_an_epoch():
    model, Counting.asked = model_of(Counting()), 0
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0)
    assert Counting.asked == 3
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0, validation_data=(X, Y))
    assert Counting.asked == 9
    model.evaluate(X, Y, batch_size=2, verbose=0)
    model.train_on_batch(X, Y)
    assert Counting.asked == 11
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[callbacks.TerminateOnNaN()])  # reads the loss alone
    assert Counting.asked == 12


def test_a_batch_costs_what_its_rows_cost():
    """Rows that a metric looks at in all: those of the batches, and once all of them."""
    looked_at = []

    class Seen(metrics.AUC):
        def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
            looked_at.append(len(y_pred))
            super().update_state(y_true, y_pred, sample_weight, mask)

        def result(self):
            looked_at.append(sum(len(scores) for scores, _, _ in self._scores[0]))
            return super().result()

    model_of(Seen()).evaluate(X, Y, batch_size=2, verbose=0)
    assert looked_at == [2] * 20 + [40]


def test_whoever_reads_sees_the_figures_of_that_moment():
    """Also logs that a callback keeps and reads when training has gone on."""
    model, kept, read = model_of("mae", metrics.AUC(name="auc")), [], []

    class Keep(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append(logs)
            if batch % 2:
                read.append(logs["mae"])

    order = {"batch_size": 8, "shuffle": False, "verbose": 0}
    twin = copy.deepcopy(model)
    history = model.fit(X, Y, callbacks=[Keep()], **order).history
    expected = []
    mae, auc = metrics.MeanAbsoluteError(), metrics.AUC()
    for k in range(0, 40, 8):
        before = twin(X[k : k + 8])
        mae.update_state(Y[k : k + 8], before)
        auc.update_state(Y[k : k + 8], before)
        expected.append((mae.result(), auc.result()))
        twin.train_on_batch(X[k : k + 8], Y[k : k + 8])
    np.testing.assert_allclose([(logs["mae"], logs["auc"]) for logs in kept], expected, rtol=1e-6)
    assert read == pytest.approx([expected[1][0], expected[3][0]])
    assert [*history["mae"], *history["auc"]] == pytest.approx(list(expected[-1]))
    model.evaluate(X[:3], Y[:3], verbose=0)
    assert kept[-1]["auc"] == history["auc"][0]


READERS = {
    "dict": dict,
    "copy": lambda logs: logs.copy(),
    "copy.copy": copy.copy,
    "items": lambda logs: dict(logs.items()),
    "values": lambda logs: dict(zip(logs, logs.values(), strict=True)),
    "keywords": lambda logs: (lambda **given: given)(**logs),
    "display": lambda logs: {**logs},
    "update": lambda logs: [target := {}, target.update(logs), target][-1],
    "or": lambda logs: logs | {},
    "ror": lambda logs: {} | logs,
    "json": lambda logs: json.loads(json.dumps(logs)),
    "pickle": lambda logs: pickle.loads(pickle.dumps(logs)),
    "get": lambda logs: {name: logs.get(name) for name in logs},
    "pop": lambda logs: {name: logs.pop(name) for name in list(logs)},
    "popitem": lambda logs: dict(reversed([logs.popitem() for _ in range(len(logs))])),
    "setdefault": lambda logs: {name: logs.setdefault(name, 9) for name in logs},
    "repr": lambda logs: eval(repr(logs)),
}


@pytest.mark.parametrize("how", READERS)
def test_they_are_read_like_any_dict(how):
    metric = metrics.Mean(name="m")
    metric.update_state([1.0, 4.0])
    logs = RunningLogs({"loss": 0.5}, {"m": metric})
    assert isinstance(logs, dict) and list(logs) == ["loss", "m"] and "m" in logs and len(logs) == 2
    assert READERS[how](logs) == {"loss": 0.5, "m": 2.5}


def test_they_are_written_like_any_dict():
    metric = metrics.Mean(name="m")
    logs = RunningLogs({"loss": 0.5}, {"m": metric, "n": metric})
    logs["m"] = 3.0
    logs.update(k=1)
    logs |= {"j": 2}
    del logs["n"]
    assert logs == {"loss": 0.5, "m": 3.0, "k": 1, "j": 2} and logs != {} and logs.get("n", 7) == 7
    logs.clear()
    assert not logs
