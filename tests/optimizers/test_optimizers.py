"""Optimizers and schedules against formulas of a few lines."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from rnnx import constraints, optimizers
from rnnx.layers.layer import Weight
from rnnx.optimizers import moments

STEPS = 5
SHAPES = [(3, 4), (4,), (2, 1, 3)]


def problem(dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    weights = [Weight(f"w{k}", rng.normal(size=shape).astype(dtype)) for k, shape in enumerate(SHAPES)]
    gradients = [[rng.normal(size=shape).astype(dtype) * 3 for shape in SHAPES] for _ in range(STEPS)]
    return weights, gradients


def sgd(w, gradients, rate, momentum=0.0, nesterov=False):
    v = np.zeros_like(w)
    for g in gradients:
        v = momentum * v - rate * g
        w = w + (momentum * v - rate * g if nesterov else v)
    return w


def rmsprop(w, gradients, rate, rho=0.9, momentum=0.0, centered=False):
    square, mean, step = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        square = rho * square + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        step = momentum * step + rate * g / np.sqrt(square - (mean**2 if centered else 0) + 1e-7)
        w = w - step
    return w


def adam(w, gradients, rate, a=0.9, b=0.999, amsgrad=False, decay=0.0):
    m, s, largest = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        w = w - decay * rate * w
        m, s = a * m + (1 - a) * g, b * s + (1 - b) * g**2
        largest = np.maximum(largest, s)
        size = np.sqrt((largest if amsgrad else s) / (1 - b**t))
        w = w - rate * (m / (1 - a**t)) / (size + 1e-7 / np.sqrt(1 - b**t))
    return w


def nadam(w, gradients, rate, a=0.9, b=0.999):
    m, s, product = np.zeros_like(w), np.zeros_like(w), 1.0
    for t, g in enumerate(gradients, 1):
        now, later = (a * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
        product *= now
        m, s = a * m + (1 - a) * g, b * s + (1 - b) * g**2
        mean = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
        w = w - rate * mean / (np.sqrt(s / (1 - b**t)) + 1e-7)
    return w


def adagrad(w, gradients, rate, start=0.1):
    total = np.full_like(w, start)
    for g in gradients:
        total = total + g**2
        w = w - rate * g / np.sqrt(total + 1e-7)
    return w


CASES = [
    (optimizers.SGD(0.1), lambda w, g: sgd(w, g, 0.1)),
    (optimizers.SGD(0.1, momentum=0.8), lambda w, g: sgd(w, g, 0.1, 0.8)),
    (optimizers.SGD(0.1, momentum=0.8, nesterov=True), lambda w, g: sgd(w, g, 0.1, 0.8, True)),
    (optimizers.RMSprop(0.02), lambda w, g: rmsprop(w, g, 0.02)),
    (optimizers.RMSprop(0.02, rho=0.7, momentum=0.5), lambda w, g: rmsprop(w, g, 0.02, 0.7, 0.5)),
    (optimizers.RMSprop(0.02, centered=True), lambda w, g: rmsprop(w, g, 0.02, centered=True)),
    (optimizers.Adam(0.03), lambda w, g: adam(w, g, 0.03)),
    (optimizers.Adam(0.03, beta_1=0.5, beta_2=0.9), lambda w, g: adam(w, g, 0.03, 0.5, 0.9)),
    (optimizers.Adam(0.03, amsgrad=True, beta_2=0.6), lambda w, g: adam(w, g, 0.03, b=0.6, amsgrad=True)),
    (optimizers.AdamW(0.03, weight_decay=0.1), lambda w, g: adam(w, g, 0.03, decay=0.1)),
    (optimizers.Nadam(0.03), lambda w, g: nadam(w, g, 0.03)),
    (optimizers.Adagrad(0.2), lambda w, g: adagrad(w, g, 0.2)),
    (optimizers.Adagrad(0.2, initial_accumulator_value=1.0), lambda w, g: adagrad(w, g, 0.2, 1.0)),
]


def fresh(optimizer):
    return type(optimizer).from_config(optimizer.get_config())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("optimizer", "formula"), CASES, ids=lambda c: repr(c) if hasattr(c, "apply") else "")
def test_follows_its_formula(optimizer, formula, dtype):
    weights, gradients = problem(dtype)
    expected = [
        formula(w.value.astype(np.float64), [g[k].astype(np.float64) for g in gradients]) for k, w in enumerate(weights)
    ]
    optimizer = fresh(optimizer)
    for step in gradients:
        optimizer.apply(weights, step)
    for w, wish in zip(weights, expected, strict=True):
        assert w.value.dtype == dtype
        np.testing.assert_allclose(w.value, wish, rtol=0, atol=2e-6 if dtype == "float32" else 1e-12)


# ---- Clipping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["clipnorm", "global_clipnorm", "clipvalue"])
@pytest.mark.parametrize("limit", [0.7, 1e3])
def test_clipping(kind, limit):
    weights, gradients = problem()
    before = [w.value.copy() for w in weights]
    given = [g.copy() for g in gradients[0]]
    optimizers.SGD(1.0, **{kind: limit}).apply(weights, gradients[0])
    steps = [a - w.value for a, w in zip(before, weights, strict=True)]
    whole = np.sqrt(sum((g**2).sum() for g in given))
    for step, g, untouched in zip(steps, given, gradients[0], strict=True):
        wish = {
            "clipnorm": g * min(1, limit / np.linalg.norm(g)),
            "global_clipnorm": g * min(1, limit / whole),
            "clipvalue": np.clip(g, -limit, limit),
        }[kind]
        np.testing.assert_allclose(step, wish, atol=1e-12)
        np.testing.assert_array_equal(g, untouched)  # gradients are not changed


def test_weight_decay_and_frozen_weights():
    weights, gradients = problem()
    before = [w.value.copy() for w in weights]
    optimizers.SGD(0.1, weight_decay=0.2).apply(weights, [gradients[0][0], None, gradients[0][2]])
    np.testing.assert_allclose(weights[0].value, before[0] * 0.98 - 0.1 * gradients[0][0], atol=1e-12)
    np.testing.assert_array_equal(weights[1].value, before[1])


def test_constraints_follow_the_step():
    weight = Weight("w", np.array([1.0, -1.0, 0.05]), constraint=constraints.NonNeg())
    optimizers.SGD(0.1).apply([weight], [np.ones(3)])
    np.testing.assert_allclose(weight.value, [0.9, 0, 0])


# ---- Learning rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (optimizers.schedules.ExponentialDecay(0.5, 2, 0.25), [0.5, 0.25, 0.125, 0.0625]),
        (optimizers.schedules.ExponentialDecay(0.5, 2, 0.25, staircase=True), [0.5, 0.5, 0.125, 0.125]),
        (optimizers.schedules.InverseTimeDecay(1.0, 1, 1.0), [1, 1 / 2, 1 / 3, 1 / 4]),
        (optimizers.schedules.PiecewiseConstantDecay([0, 2], [1.0, 0.5, 0.1]), [1.0, 0.5, 0.5, 0.1]),
        (optimizers.schedules.PolynomialDecay(1.0, 2, 0.2), [1.0, 0.6, 0.2, 0.2]),
        (optimizers.schedules.PolynomialDecay(1.0, 2, 0.0, cycle=True), [1.0, 0.5, 0.0, 0.25]),
        (optimizers.schedules.CosineDecay(1.0, 2), [1.0, 0.5, 0.0, 0.0]),
        (optimizers.schedules.CosineDecay(0.0, 2, warmup_target=1.0, warmup_steps=2), [0.0, 0.5, 1.0, 0.5]),
        (optimizers.schedules.CosineDecayRestarts(1.0, 1, m_mul=0.5), [1.0, 0.5, 0.25, 0.25]),
    ],
    ids=repr,
)
def test_schedules(schedule, expected):
    assert [schedule(k) for k in range(4)] == pytest.approx(expected)
    assert [type(schedule).from_config(schedule.get_config())(k) for k in range(4)] == pytest.approx(expected)
    weights, _ = problem()
    optimizer = fresh(optimizers.SGD(schedule))
    assert repr(fresh(optimizer)) == repr(optimizer)
    for k in range(4):
        before = weights[1].value.copy()
        optimizer.apply(weights, [None, np.ones(4), None])
        np.testing.assert_allclose(before - weights[1].value, expected[k], atol=1e-12)


def test_a_rate_may_be_changed():
    optimizer = optimizers.Adam()
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate == optimizer.lr == 0.5
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="learning_rate"):
            optimizer.learning_rate = bad


# ---- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "match"),
    [
        ("SGD", {"learning_rate": -1.0}, "learning_rate"),
        ("SGD", {"learning_rate": float("nan")}, "learning_rate"),
        ("SGD", {"momentum": 1.5}, "momentum"),
        ("Adam", {"beta_1": 1.0}, "beta_1"),
        ("Adam", {"beta_2": -0.1}, "beta_2"),
        ("Adam", {"clipnorm": 1.0, "clipvalue": 1.0}, "at most one"),
        ("Adam", {"clipnorm": 0.0}, "clipnorm"),
        ("RMSprop", {"global_clipnorm": -2.0}, "global_clipnorm"),
    ],
)
def test_bad_arguments(kind, arguments, match):
    with pytest.raises(ValueError, match=match):
        getattr(optimizers, kind)(**arguments)


def test_errors_leave_weights_and_state_alone():
    weights, gradients = problem()
    optimizer = optimizers.Adam(0.1)
    optimizer.apply(weights, gradients[0])
    before = [w.value.copy() for w in weights]
    state = optimizer.get_state()
    for bad_weights, bad in (
        (weights, gradients[1][:2]),
        (weights, [gradients[1][0], gradients[1][1], np.zeros((2, 2))]),
        (weights[::-1], gradients[1][::-1]),
        (weights[:2], gradients[1][:2]),
    ):
        with pytest.raises(ValueError, match="Adam"):
            optimizer.apply(bad_weights, bad)
    for w, old in zip(weights, before, strict=True):
        np.testing.assert_array_equal(w.value, old)
    for name, value in optimizer.get_state().items():
        np.testing.assert_array_equal(value, state[name])


def test_states_of_other_optimizers_are_refused():
    weights, gradients = problem()
    optimizer = optimizers.Adam()
    optimizer.apply(weights, gradients[0])
    with pytest.raises(ValueError, match="RMSprop"):
        optimizers.RMSprop().set_state(optimizer.get_state())
    with pytest.raises(ValueError, match="not a state"):
        optimizers.Adam().set_state({})


@pytest.mark.parametrize("options", [{}, {"clipnorm": 0.5}, {"clipvalue": 0.1}, {"weight_decay": 0.01}])
@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.RMSprop, optimizers.Adam, optimizers.Nadam])
def test_pieces_change_nothing(kind, options, monkeypatch):
    start, gradients = np.random.default_rng(1).normal(size=(2, 3, 7, 11, 2))

    def steps(piece):
        monkeypatch.setattr("rnnx.optimizers.optimizer.PIECE", piece)
        optimizer = kind(0.1, **options)
        weights = [Weight("w", start[0].copy()), Weight("b", start[1, :, 0, 0].copy())]
        for gradient in gradients:
            optimizer.apply(weights, [gradient, gradient[:, 0, 0]])
        return [weight.value for weight in weights]

    for whole, in_pieces in zip(steps(1 << 16), steps(50), strict=True):
        assert np.array_equal(whole, in_pieces)


def test_by_name_and_configuration():
    for name in ("sgd", "SGD", "rmsprop", "adam", "Adam", "adamw", "nadam", "adagrad", "Adagrad"):
        assert isinstance(optimizers.get(name), optimizers.Optimizer)
    again = optimizers.get(optimizers.serialize(optimizers.Adam(0.2, beta_1=0.3)))
    assert (again.learning_rate, again.beta_1) == (0.2, 0.3)
    with pytest.raises(ValueError, match="unknown optimizer 'adma'"):
        optimizers.get("adma")


@pytest.mark.parametrize("kind", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "Nadam"])
def test_steps_allocate_nothing_that_stays_and_little_at_all(kind):
    weight = Weight("w", np.ones((300, 300)))
    gradient = np.full((300, 300), 0.1)
    optimizer = getattr(optimizers, kind)(clipnorm=0.5, weight_decay=0.01)
    for _ in range(2):
        optimizer.apply([weight], [gradient])
    tracemalloc.start()
    try:
        for _ in range(5):
            optimizer.apply([weight], [gradient])
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 20_000
    assert peak < weight.value.nbytes * 0.5


def test_a_state_with_arrays_of_other_shapes_is_refused():
    weights, gradients = problem()
    optimizer = optimizers.Adam()
    optimizer.apply(weights, gradients[0])
    state = optimizer.get_state()
    state["1/mean"] = np.zeros(7)
    with pytest.raises(ValueError, match="weight 1"):
        optimizers.Adam().set_state(state)


def test_a_state_that_is_refused_changes_nothing():
    weights, gradients = problem()
    optimizer = optimizers.Adam()
    optimizer.apply(weights, gradients[0])
    state, other = optimizer.get_state(), optimizers.Adam(0.5)
    for name, bad in (("iterations", "many"), ("learning_rate", np.nan)):
        with pytest.raises(ValueError, match=name):
            other.set_state({**state, name: bad})
        assert other.get_state().keys() == {"iterations", "learning_rate"}
        assert (other.iterations, other.learning_rate) == (0, 0.5)


@pytest.mark.parametrize("bad", [np.ones((2, 1, 3), complex), np.full((2, 1, 3), "a")])
def test_gradients_that_are_no_numbers_change_nothing(bad):
    weights, gradients = problem()
    before = [w.value.copy() for w in weights]
    with pytest.raises(TypeError, match="'w2' must be real numbers"):
        optimizers.Adam().apply(weights, [*gradients[0][:2], bad])
    for w, old in zip(weights, before, strict=True):
        np.testing.assert_array_equal(w.value, old)


@pytest.mark.parametrize("kind", ["clipnorm", "global_clipnorm"])
def test_clipping_of_gradients_whose_squares_overflow(kind):
    weight = Weight("w", np.zeros(2, np.float32))
    optimizers.SGD(1.0, **{kind: 1.0}).apply([weight], [np.array([3e25, -4e25], np.float32)])
    np.testing.assert_allclose(weight.value, [-0.6, 0.8], rtol=1e-6)


def test_the_product_of_nadam_follows_the_state():
    """It is kept from step to step, and made again for a state that was set."""
    weights, gradients = problem()
    twin, _ = problem()
    straight, resumed = optimizers.Nadam(0.03), optimizers.Nadam(0.03)
    for k, step in enumerate(gradients):
        straight.apply(weights, step)
        resumed.apply(twin, step)
        if k == 2:
            state, resumed = resumed.get_state(), optimizers.Nadam(0.03)
            resumed.set_state(state)
    for w, other in zip(weights, twin, strict=True):
        np.testing.assert_array_equal(w.value, other.value)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_gradients_come_first_as_in_keras(rule):
    def weights():
        return [Weight("a", np.array([1.0, 2.0])), Weight("b", np.array([3.0]))]

    grads = [np.array([0.5, -1.0]), None]
    found = []
    for step in (
        lambda optimizer, own: optimizer.apply(grads, own),
        lambda optimizer, own: optimizer.apply(own, grads),  # the order of rnnx 0.1.0
        lambda optimizer, own: optimizer.apply(weights=own, grads=grads),
        lambda optimizer, own: optimizer.apply_gradients(zip(grads, own, strict=True)),
        lambda optimizer, own: optimizer.apply_gradients(list(zip(grads, own, strict=True))),
    ):
        own, optimizer = weights(), optimizers.get(rule)
        step(optimizer, own)
        assert optimizer.iterations == 1 and own[1].value.tolist() == [3.0]
        found.append(own[0].value)
    if rule == "sgd":
        np.testing.assert_allclose(found[0], [1 - 0.01 * 0.5, 2 + 0.01], rtol=1e-12)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    for wrong in ([grads[0]], [(grads[0],)], grads):
        with pytest.raises(TypeError, match="takes pairs"):
            optimizers.SGD().apply_gradients(wrong)
    with pytest.raises(TypeError, match="`weights` must be those of layers or models"):
        optimizers.SGD().apply(grads[:1], grads[:1])


# ---- Rates that are functions ----------------------------------------------------------------------------------------


def test_a_rate_from_a_function_of_nothing_or_of_the_step():
    """Keras calls a function without an argument; one with an argument gets the number of the step."""
    rates = iter([0.5, 0.25])
    for optimizer, expected in (
        (optimizers.SGD(learning_rate=lambda: next(rates)), [0.5, 0.25]),
        (optimizers.SGD(learning_rate=lambda step: 0.5 / (step + 1)), [0.5, 0.25]),
    ):
        weights, _ = problem()
        for rate in expected:
            before = weights[1].value.copy()
            optimizer.apply([None, np.ones(4), None], weights)
            np.testing.assert_allclose(before - weights[1].value, rate, rtol=1e-6)


def test_a_schedule_is_replaced_by_schedules_only():
    optimizer = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.5, 2, 0.1))
    with pytest.raises(TypeError, match="the learning rate is a schedule"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = optimizers.schedules.ExponentialDecay(0.25, 2, 0.1)
    assert optimizer.learning_rate == 0.25


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_bits_of_adam_are_those_of_its_steps_in_numpy(dtype, order, monkeypatch):
    rng = np.random.default_rng(3)
    start = [rng.normal(size=shape).astype(dtype) for shape in [(37, 96), (1, 7), (300, 301), (5,), ()]]
    steps = [[np.asarray(rng.normal(size=w.shape) * 10.0**k, dtype, order) for w in start] for k in (0, -6, 3, -20)]
    steps[1][0][:4] = 0
    found = []
    for engine in (True, False):
        if not engine:
            monkeypatch.setattr(moments._kernels, "adam", lambda *arguments: False)
        weights = [Weight(f"w{k}", np.array(w, order=order)) for k, w in enumerate(start)]
        optimizer = optimizers.AdamW(0.01, weight_decay=0.01, clipnorm=5.0)
        for gradients in steps:
            optimizer.apply(gradients, weights)
        found.append([w.array.copy() for w in weights] + [s[n] for s in optimizer._slots for n in ("mean", "square")])
    for own, other in zip(*found, strict=True):
        assert own.dtype == other.dtype == dtype and own.tobytes() == other.tobytes()
    assert not np.array_equal(found[0][0], start[0])


def test_a_gradient_that_is_the_weight_itself():
    weight, other = Weight("w", np.arange(1.0, 9.0)), Weight("w", np.arange(1.0, 9.0))
    optimizers.Adam(0.1).apply([weight.array], [weight])
    optimizers.Adam(0.1).apply([other.array.copy()], [other])
    assert np.array_equal(weight.array, other.array)
