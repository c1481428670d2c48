"""What optimizers have around their rules: means of weights, sums of gradients, words of Keras and of old scripts."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import rnnx
from rnnx import layers, optimizers
from rnnx.layers.layer import Weight
from rnnx.optimizers import schedules

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 5, 3)).astype("float32"), RNG.normal(size=(24, 1)).astype("float32")
NEW = ["adadelta", "adamax", "ftrl", "lion", "lamb", "adafactor", "muon"]
OPTIONS = [{}, {"use_ema": True}, {"gradient_accumulation_steps": 2}, {"use_ema": True, "ema_overwrite_frequency": 3}]


def weights():
    return [Weight("kernel", np.arange(6.0).reshape(2, 3)), Weight("bias", np.ones(3))]


def grads(step=1):
    return [np.full((2, 3), 0.1 * step), np.arange(3.0)]


def network(optimizer):
    model = rnnx.Sequential([layers.Input((5, 3)), layers.GRU(4, seed=1), layers.BatchNormalization(), layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", NEW)
@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_training_goes_on_from_a_file(rule, options, suffix, tmp_path):
    """Bit for bit, in the middle of an accumulation too (3 batches of 8 rows)."""
    make = type(optimizers.get(rule))
    straight, stopped = (network(make(0.05, **options)) for _ in range(2))
    stopped.set_weights(straight.get_weights())
    for model in (straight, stopped):
        for k in range(3):
            model.train_on_batch(X[8 * k : 8 * k + 8], Y[8 * k : 8 * k + 8])
    path = tmp_path / f"m{suffix}"
    stopped.save(path)
    again = rnnx.load_model(path)
    assert type(again.optimizer) is make and again.optimizer.get_config() == stopped.optimizer.get_config()
    for model in (straight, again):
        model.fit(X, Y, batch_size=8, epochs=2, verbose=0, seed=1, initial_epoch=1)
    assert again.optimizer.iterations == straight.optimizer.iterations > 0
    for one, other in zip(again.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rule", NEW)
def test_they_learn_and_can_be_copied(rule):
    model = network(type(optimizers.get(rule))(1.0 if rule == "adadelta" else 0.05))
    history = model.fit(X, Y, epochs=30, batch_size=8, verbose=0, seed=1).history["loss"]
    assert history[-1] < history[0]
    for twin in (pickle.loads(pickle.dumps(model.optimizer)), copy.deepcopy(model.optimizer)):
        assert twin.iterations == model.optimizer.iterations == 90
        for name, value in model.optimizer.get_state().items():
            np.testing.assert_array_equal(twin.get_state()[name], value)


@pytest.mark.parametrize("rule", [*NEW, "sgd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_weights_and_no_waste(rule, dtype):
    """In pieces or whole, the result is the same as of one array of the same numbers."""
    value, gradient = RNG.normal(size=(2, 700, 200)).astype(dtype)
    optimizer = type(optimizers.get(rule))(0.1)
    whole = [Weight("w", value.copy())]
    for _ in range(3):
        optimizer.apply([gradient], whole)
    assert whole[0].value.dtype == dtype and np.isfinite(whole[0].value).all()
    small, again = [Weight("w", value[:50].copy())], type(optimizer)(0.1)
    for _ in range(3):
        again.apply([gradient[:50]], small)
    if optimizer.in_pieces:
        np.testing.assert_array_equal(small[0].value, whole[0].value[:50])


def test_means_of_weights_take_their_place_when_training_ends():
    model = network(optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5))
    start, seen, kept = model.get_weights(), [], []

    def see(batch, logs):
        seen.append([w.value.copy() for w in model.weights])

    callback = rnnx.callbacks.LambdaCallback(
        on_train_batch_end=see, on_epoch_end=lambda epoch, logs: kept.append(model.get_weights())
    )
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0, shuffle=False, callbacks=[callback])
    trained = model.weight_is_trained()
    for k, last in enumerate(model.get_weights()):
        mean = seen[0][k]
        for step in seen[1:]:
            mean = 0.5 * mean + 0.5 * step[k]
        np.testing.assert_allclose(last, mean if trained[k] else seen[-1][k], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(kept[-1][k], seen[-1][k])
        assert start[k].shape == last.shape
    assert not all(trained)


def test_some_steps_make_one_update():
    every, other = weights(), weights()
    one, two = optimizers.Adam(0.1), optimizers.Adam(0.1, gradient_accumulation_steps=2)
    for step in (1, 2, 3, 4):
        before = [w.value.copy() for w in other]
        two.apply(grads(step), other)
        if step % 2:
            assert all(np.array_equal(w.value, b) for w, b in zip(other, before, strict=True))
        else:
            one.apply([(a + b) / 2 for a, b in zip(grads(step - 1), grads(step), strict=True)], every)
    assert two.iterations == one.iterations == 2 and int(two.get_state()["iterations"]) == 4
    for a, b in zip(every, other, strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-12)


def test_a_scaled_loss_trains_as_a_plain_one():
    plain, scaled = network(optimizers.SGD(0.05)), network(optimizers.SGD(0.05, loss_scale_factor=64.0))
    scaled.set_weights(plain.get_weights())
    for model in (plain, scaled):
        model.fit(X, Y, batch_size=8, epochs=2, verbose=0, seed=1)
    for one, other in zip(plain.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # a power of two changes no bit
    assert scaled.optimizer.scale_loss(0.5) == 32.0 and plain.optimizer.scale_loss(0.5) == 0.5


def test_weights_without_decay():
    for arguments in ({"var_names": ["bia"]}, {"var_list": "second"}):
        own = weights()
        optimizer = optimizers.SGD(0.1, weight_decay=0.5)
        if arguments.get("var_list"):
            arguments = {"var_list": own[1:]}
        optimizer.exclude_from_weight_decay(**arguments)
        optimizer.apply([np.zeros((2, 3)), np.zeros(3)], own)
        np.testing.assert_allclose(own[0].value, 0.95 * weights()[0].value)
        np.testing.assert_array_equal(own[1].value, 1.0)
        with pytest.raises(ValueError, match="before the first step"):
            optimizer.exclude_from_weight_decay(var_names=["x"])


def test_numbers_that_can_be_assigned_to():
    optimizer = optimizers.Adam(0.25)
    rate = optimizer.learning_rate
    assert rate == 0.25 and isinstance(rate, float) and f"{rate:.3f}" == "0.250" and json.dumps(rate) == "0.25"
    rate.assign(0.5)
    assert (
        optimizer.learning_rate.value == rate.numpy() == optimizer.lr == 0.5
        and optimizer.get_config()["learning_rate"] == 0.5
    )
    optimizer.learning_rate = optimizer.learning_rate * 2
    assert (
        optimizer.learning_rate == 1.0
        and type(copy.deepcopy(rate)) is float
        and type(pickle.loads(pickle.dumps(rate))) is float
    )
    optimizer.apply(grads(), weights())
    assert optimizer.iterations == 1 and optimizer.iterations.numpy() == 1 and isinstance(optimizer.iterations, int)
    optimizer.iterations.assign(7)
    assert optimizer.iterations.value == 7 and int(optimizer.get_state()["iterations"]) == 7
    scheduled = optimizers.SGD(schedules.ExponentialDecay(0.5, 1, 0.5, name="mine"))
    assert (
        scheduled.learning_rate.numpy() == 0.5 and scheduled.get_config()["learning_rate"]["config"]["name"] == "mine"
    )
    with pytest.raises(TypeError, match="schedule"):
        scheduled.learning_rate.assign(0.1)


def test_variables_and_what_is_built_before():
    optimizer, own = optimizers.Adam(0.1), weights()
    assert [v.name for v in optimizer.variables] == ["iteration", "learning_rate"] and not optimizer.built
    with pytest.raises(ValueError, match=r"`build\(weights\)`"):
        optimizer.apply(grads())
    optimizer.build(own)
    optimizer.apply(grads())
    shapes = [v.shape for v in optimizer.variables]
    assert shapes == [(), (), (2, 3), (2, 3), (3,), (3,)] and int(optimizer.variables[0].value) == 1
    twin, others = optimizers.Adam(0.1), weights()
    with pytest.raises(ValueError, match="expected 2 arrays .* got 6"):
        twin.set_weights([v.numpy() for v in optimizer.variables])
    twin.build(others)
    twin.set_weights([v.numpy() for v in optimizer.variables])
    for w, o in zip(others, own, strict=True):
        w.assign(o.value)
    optimizer.apply(grads(2)), twin.apply(grads(2))
    for w, o in zip(others, own, strict=True):
        np.testing.assert_array_equal(w.value, o.value)
    with pytest.raises(ValueError, match=r"must have shape \(2, 3\), got \(3,\)"):
        optimizer.variables[2].assign(np.zeros(3))
    assert optimizer.apply_gradients(zip(grads(), own, strict=True)) == 3


def test_words_of_old_scripts():
    with pytest.warns(UserWarning, match="SGD: `lr` is the old name of `learning_rate`"):
        assert optimizers.SGD(lr=0.3).learning_rate == 0.3
    with pytest.warns(UserWarning, match="`decay` is of Keras 2; the learning rate is InverseTimeDecay"):
        old = optimizers.Adam(0.5, decay=0.25)
    own = weights()
    for step in range(3):  # Keras 2: lr / (1 + decay * iterations)
        assert old.learning_rate == 0.5 / (1 + 0.25 * step)
        old.apply(grads(), own)
    assert optimizers.Adam(decay=0.0).get_config()["learning_rate"] == 0.001
    with pytest.raises(TypeError, match="Adam: unexpected argument.* momentun"):
        optimizers.Adam(momentun=0.9)


def test_names_are_unique_as_in_keras():
    rnnx.utils.clear_session()
    names = [optimizers.get(rule).name for rule in ("adam", "adam", "adamw", "rmsprop", "sgd")]
    assert names == ["adam", "adam_1", "adam_w", "rm_sprop", "sgd"] and optimizers.Lion(name="own").name == "own"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: optimizers.AdamW(weight_decay=None), "AdamW: `weight_decay` must be a number, got None"),
        (lambda: optimizers.SGD(gradient_accumulation_steps=1), "at least 2 or None, got 1"),
        (lambda: optimizers.SGD(use_ema=True, ema_momentum=1.5), "ema_momentum"),
        (lambda: optimizers.SGD(ema_overwrite_frequency=-1), "ema_overwrite_frequency"),
        (lambda: optimizers.SGD(loss_scale_factor=0.0), "loss_scale_factor"),
        (lambda: optimizers.Ftrl(learning_rate_power=0.5), "learning_rate_power"),
        (lambda: optimizers.Ftrl(l1_regularization_strength=-1.0), "l1_regularization_strength"),
        (lambda: optimizers.Lion(beta_1=0.0), "beta_1"),
        (lambda: optimizers.Lamb(beta_2=1.0), "beta_2"),
        (lambda: optimizers.Adamax(beta_1=1.0), "beta_1"),
        (lambda: optimizers.SGD().apply([None, None], weights()), "no gradient for any weight"),
    ],
)
def test_errors(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_an_optimizer_of_0_1_0_in_a_pickle():
    optimizer, own = optimizers.Adam(0.1), weights()
    optimizer.apply(grads(), own)
    state = {
        k: copy.deepcopy(v)
        for k, v in vars(optimizer).items()
        if k not in ("_iterations", "_step", "_known", "_averages")
    }
    for word in [*state]:
        if word.startswith(("use_ema", "ema_", "loss_scale", "gradient_acc")):
            del state[word]
    old = optimizers.Adam.__new__(optimizers.Adam)
    old.__setstate__({**state, "iterations": 1})
    twin = [Weight(w.name, w.value.copy()) for w in own]
    optimizer.apply(grads(2), own), old.apply(grads(2), twin)
    assert old.iterations == 2
    for w, o in zip(own, twin, strict=True):
        np.testing.assert_array_equal(w.value, o.value)
