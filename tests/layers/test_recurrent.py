"""LSTM, GRU and SimpleRNN as layers: every option against the reference, noise, states, masks and bad luck."""

from __future__ import annotations

import inspect
import itertools
import threading
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, layers, reference
from rnnx.dropout import DropoutMasks, SeedGenerator
from rnnx.functional import GRUParams, LSTMParams, RNNParams

from .support import LENGTHS, MASK, B, F, T, U, check_all_gradients, data, flat, randomize, same

KINDS: dict[str, Any] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU_before": lambda *a, **kw: layers.GRU(*a, reset_after=False, **kw),
    "SimpleRNN": layers.SimpleRNN,
}
STATES = {"LSTM": 2, "GRU": 1, "GRU_before": 1, "SimpleRNN": 1}
SHARED = {"return_sequences": True, "return_state": True, "dtype": "float64"}


def made(name: str, rng: Any, **options: Any) -> Any:
    return randomize(KINDS[name](U, **{"dtype": "float64", **options}), rng, np.zeros((B, T, F)))


def params_of(layer: Any) -> Any:
    weights = layer.get_weights()
    bias = weights[2] if len(weights) > 2 else None
    if isinstance(layer, layers.LSTM):
        return LSTMParams(weights[0], weights[1], bias, layer.activation, layer.recurrent_activation)
    if isinstance(layer, layers.GRU):
        return GRUParams(weights[0], weights[1], bias, layer.activation, layer.recurrent_activation, layer.reset_after)
    return RNNParams(weights[0], weights[1], bias, layer.activation)


def against_reference(layer: Any, x: Any, states: Any = None, masks: Any = None, **call: Any) -> None:
    """Values and all gradients of a layer with ``return_state`` equal those of the reference."""
    module = getattr(reference, {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}[type(layer).__name__])
    given = {} if states is None else {"initial_state": states}
    if masks is not None:
        given |= {"dropout_masks": masks, "training": True}
    y, pullback = layer.vjp(x, **given, **call)
    first = None if states is None else tuple(states) if len(states) > 1 else states[0]
    run = module.forward(
        params_of(layer),
        x,
        initial_state=first,
        masks=masks,
        training=True,
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
        zero_output_for_mask=layer.zero_output_for_mask,
        **call,
    )
    same(y, [run.outputs, run.state])
    rng = np.random.default_rng(8)
    dys = [rng.normal(size=part.shape) for part in y]
    grads = pullback(dys)
    dstate = tuple(dys[1:]) if len(dys) > 2 else dys[1]
    wanted = module.backward(run.cache, dys[0], dstate)
    same(grads.dx, wanted.dx)
    same(grads.dinitial_state, wanted.dinitial_state)
    same(grads.dweights, [wanted.dparams.kernel, wanted.dparams.recurrent_kernel, wanted.dparams.bias])


# ---- Every option against the reference -----------------------------------------------------------------------------


@pytest.mark.parametrize("validity", ["none", "mask", "lengths"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_directions_outputs_and_padding(name: str, given: bool, validity: str) -> None:
    rng = np.random.default_rng(1)
    call = {"none": {}, "mask": {"mask": MASK}, "lengths": {"lengths": LENGTHS}}[validity]
    states = [data(rng, B, U) for _ in range(STATES[name])] if given else None
    for backwards, sequences, zero in itertools.product([False, True], repeat=3):
        options = {"go_backwards": backwards, "return_sequences": sequences, "zero_output_for_mask": zero}
        against_reference(made(name, rng, return_state=True, **options), data(rng), states, **call)


@pytest.mark.parametrize("activation", ["relu", "linear", "elu", "hard_sigmoid", "softsign", "gelu", "softmax", None])
@pytest.mark.parametrize("name", KINDS)
def test_activations_and_bias(name: str, activation: Any) -> None:
    rng = np.random.default_rng(2)
    options = dict(SHARED, activation=activation, use_bias=False)
    if name != "SimpleRNN":
        options["recurrent_activation"] = "hard_sigmoid"
    against_reference(made(name, rng, **options), data(rng), mask=MASK)


NOISE: dict[str, dict[str, Any]] = {
    "inputs": {"dropout": 0.4},
    "state": {"recurrent_dropout": 0.4},
    "both": {"dropout": 0.3, "recurrent_dropout": 0.3},
    "shared": {"dropout": 0.3, "recurrent_dropout": 0.3, "dropout_gates": "shared"},
    "per_gate": {"dropout": 0.3, "dropout_gates": "per_gate"},
    "fresh": {"dropout": 0.3, "noise_shape": (None, None, None)},
    "steps": {"dropout": 0.3, "noise_shape": (None, None, 1)},
    "batch": {
        "dropout": 0.3, "noise_shape": (1, 1, None), "recurrent_dropout": 0.4, "recurrent_noise_shape": (1, 1, None)
    },
    "fresh_state": {"recurrent_dropout": 0.3, "recurrent_noise_shape": (None, None, None)},
    "update": {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "update"},
    "cell": {"recurrent_dropout": 0.2, "recurrent_dropout_mode": "cell"},
    "weights": {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "weights", "dropout": 0.2},
    "zoneout": {"zoneout": 0.3},
    "everything": {"zoneout": 0.2, "dropout": 0.2, "recurrent_dropout": 0.2},
    "old_blend": {"recurrent_dropout": 0.2, "compat": "keras2.3"},
}  # fmt: skip


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("name", KINDS)
def test_noise_against_the_reference(name: str, noise: str, backwards: bool) -> None:
    rng = np.random.default_rng(3)
    layer = made(name, rng, seed=4, go_backwards=backwards, **SHARED, **NOISE[noise])
    masks = layer.sample_masks(B, T)
    assert isinstance(masks, DropoutMasks)
    for call in ({}, {"mask": MASK}, {"lengths": LENGTHS}):
        against_reference(layer, data(rng), [data(rng, B, U) for _ in range(STATES[name])], masks, **call)


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("noise", ["noise_shape", "recurrent_noise_shape"])
@pytest.mark.parametrize("name", KINDS)
def test_every_shape_of_noise_against_the_reference(name: str, noise: str, rows: int) -> None:
    """Draws of all eight shapes, also of one number for each gate: calls of few and of many rows."""
    rng = np.random.default_rng(3)
    for shape, gates in itertools.product(itertools.product((1, None), repeat=3), ("keras", "shared", "per_gate")):
        rate = "dropout" if noise == "noise_shape" else "recurrent_dropout"
        layer = made(name, rng, seed=4, **SHARED, **{rate: 0.5, noise: shape, "dropout_gates": gates})
        for _ in range(4):
            masks = layer.sample_masks(rows, T)
            against_reference(layer, data(rng, rows, T, F), [data(rng, rows, U)] * STATES[name], masks)


@pytest.mark.parametrize("name", KINDS)
def test_zoneout_at_inference_is_its_expectation(name: str) -> None:
    rng = np.random.default_rng(4)
    layer, x = made(name, rng, zoneout=0.3, dropout=0.5, seed=1), data(rng)
    masks = layer.sample_masks(B, T, training=False)
    assert masks.inputs is None and np.all(masks.zoneout_hidden == 0.3)
    same(layer(x), layer(x, training=True, dropout_masks=masks))
    assert layer.seed_generator.state[1] == 0


@pytest.mark.parametrize("noise", ["none", "both", "cell", "weights", "everything"])
@pytest.mark.parametrize("validity", [{}, {"mask": MASK}, {"lengths": LENGTHS}])
@pytest.mark.parametrize("name", KINDS)
def test_finite_differences(name: str, noise: str, validity: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    layer = made(name, rng, seed=4, go_backwards="lengths" in validity, **SHARED, **NOISE.get(noise, {}))
    call = dict(validity)
    if noise != "none":
        call |= {"training": True, "dropout_masks": layer.sample_masks(B, T)}
    check_all_gradients(layer, data(rng), [data(rng, B, U) for _ in range(STATES[name])], **call)


@pytest.mark.parametrize("name", KINDS)
def test_garbage_in_the_padding_is_never_seen(name: str) -> None:
    rng = np.random.default_rng(6)
    layer, x = made(name, rng, dropout=0.3, recurrent_dropout=0.3, seed=1, **SHARED), data(rng)
    masks = layer.sample_masks(B, T)
    results = []
    for garbage in (0.0, np.nan, np.inf):
        dirty = x.copy()
        dirty[~MASK] = garbage
        y, pullback = layer.vjp(dirty, mask=MASK, training=True, dropout_masks=masks)
        grads = pullback([np.ones_like(part) for part in y])
        assert not grads.dx[~MASK].any()
        results.append([*y, grads.dx, grads.dinitial_state, grads.dweights])
    same(results[1], results[0])
    same(results[2], results[0])


# ---- Noise of a layer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("name", KINDS)
def test_masks_come_out_and_go_in(name: str, noise: str) -> None:
    rng = np.random.default_rng(7)
    layer, x = made(name, rng, seed=9, return_sequences=True, **NOISE[noise]), data(rng)
    y, masks = layer(x, training=True, return_masks=True)
    assert np.array_equal(layer(x, training=True, dropout_masks=masks), y)
    (again, same_masks), pullback = layer.vjp(x, training=True, dropout_masks=masks, return_masks=True)
    assert same_masks is masks and np.array_equal(again, y)
    assert pullback(np.ones_like(y)).dx.shape == x.shape
    assert not np.array_equal(layer(x, training=True), y), "another call has other masks"
    twin = made(name, np.random.default_rng(7), seed=9, return_sequences=True, **NOISE[noise])
    assert np.array_equal(twin(x, training=True), y), "the same seed and call number, the same masks"


@pytest.mark.parametrize("name", KINDS)
def test_no_masks_without_noise(name: str) -> None:
    rng = np.random.default_rng(8)
    layer, x = made(name, rng, seed=1, dropout=0.5), data(rng)
    plain, masks = layer(x, return_masks=True)
    assert masks is None and layer.seed_generator.state == (1, 0)
    drawn = layer.sample_masks(B, T)
    assert np.array_equal(layer(x, dropout_masks=drawn), plain), "`training` decides, not the masks"
    quiet = made(name, rng)
    assert quiet.sample_masks(B, T) is None
    assert np.array_equal(quiet(x, training=True), quiet(x))


def test_masks_need_a_built_layer() -> None:
    with pytest.raises(ValueError, match="build the layer first"):
        layers.GRU(3, dropout=0.5).sample_masks(2, 3)


def test_one_source_of_noise_for_two_layers() -> None:
    source = SeedGenerator(5)
    one, two = (layers.GRU(U, dropout=0.5, seed=source, input_shape=(T, F)) for _ in range(2))
    for layer in (one, two):
        layer.build((None, T, F))
    first, second = one.sample_masks(B, T), two.sample_masks(B, T)
    assert source.state == (5, 2) and not np.array_equal(first.inputs, second.inputs)


def test_the_stream_of_keras_is_part_of_the_configuration() -> None:
    layer = layers.LSTM(U, dropout=0.5, seed=SeedGenerator(3, "keras"))
    twin = layers.LSTM.from_config(layer.get_config())
    assert twin.seed_generator.stream == "keras" and twin.seed_generator.state == (3, 0)
    assert layers.LSTM.from_config(twin.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(
    "options, steps",
    [({}, T), ({"unroll": True}, 1), ({"use_bias": False}, 1), ({"activation": "relu"}, 1), ({"compat": "keras3"}, 1)],
)
def test_tf_keras_drew_a_mask_for_each_step_on_its_fast_path(options: dict[str, Any], steps: int) -> None:
    layer = layers.LSTM(U, dropout=0.5, seed=1, **{"compat": "tf_keras2", **options})
    layer.build((None, T, F))
    assert layer.sample_masks(B, T).inputs.shape == (1, B, steps, F)


def test_the_hard_sigmoid_of_older_keras() -> None:
    for compat, name in (("keras3", "hard_sigmoid"), ("keras2.2", "hard_sigmoid_keras2")):
        layer = layers.GRU(U, recurrent_activation="hard_sigmoid", compat=compat)
        assert layer.recurrent_activation.name == name
        assert layers.GRU.from_config(layer.get_config()).recurrent_activation.name == name


# ---- States ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_stateful_layer_goes_on(name: str) -> None:
    rng = np.random.default_rng(10)
    layer = made(name, rng, stateful=True, return_sequences=True, return_state=True)
    layer.reset_state()
    plain = made(name, rng, return_sequences=True)
    plain.set_weights(layer.get_weights())
    x = data(rng)
    whole = plain(x)
    first = layer(x[:, :2])
    same(first[0], whole[:, :2])
    same(layer(x[:, 2:])[0], whole[:, 2:])
    layer.reset_states(first[1:])
    same(layer(x[:, 2:])[0], whole[:, 2:])
    states = [data(rng, B, U) for _ in range(STATES[name])]
    same(layer(x, initial_state=states)[0], plain(x, initial_state=states))
    layer.reset_state()
    same(layer(x)[0], whole)
    with pytest.raises(ValueError, match=r"carries states of shape \(5, 4\), but a batch of 2"):
        layer(x[:2])
    layer.reset_states()
    same(layer(x[:2])[0], whole[:2])


@pytest.mark.parametrize("name", KINDS)
def test_what_a_stateful_layer_carries_is_its_own(name: str) -> None:
    rng = np.random.default_rng(11)
    layer = made(name, rng, stateful=True, return_state=True)
    layer.reset_state()
    x = data(rng)
    _, *states = layer(x)
    for state in states:
        state[...] = 99
    other = made(name, rng, stateful=True)
    other.set_weights(layer.get_weights())
    other.reset_state()
    other(x)
    same(layer(x)[0], other(x))


@pytest.mark.parametrize("name", KINDS)
def test_parts_of_the_gradient_may_be_missing(name: str) -> None:
    rng = np.random.default_rng(12)
    layer, x = made(name, rng, **SHARED), data(rng)
    y, pullback = layer.vjp(x)
    dys = [rng.normal(size=part.shape) for part in y]
    whole = pullback(dys)
    parts = [pullback([dy if j == k else None for j, dy in enumerate(dys)]) for k in range(len(dys))]
    same(sum(g.dx for g in parts), whole.dx)
    for number in range(3):
        same(sum(g.dweights[number] for g in parts), whole.dweights[number])
    assert pullback(dys, need_dx=False).dx is None
    same(pullback(dys, need_dx=False).dweights, whole.dweights)
    layer.trainable = False
    assert layer.vjp(x)[1](dys).dweights == [None] * 3


def test_encoder_and_decoder() -> None:
    """The states of one layer begin another one; the gradient flows through them."""
    rng = np.random.default_rng(13)
    encoder_input, decoder_input = Input((None, F), dtype="float64"), Input((None, 2), dtype="float64")
    _, h, c = layers.LSTM(U, return_state=True, dtype="float64")(encoder_input)
    decoded = layers.LSTM(U, return_sequences=True, dtype="float64")(decoder_input, initial_state=[h, c])
    model = Model([encoder_input, decoder_input], decoded)
    randomize(model, rng)
    x = [data(rng), data(rng, B, 3, 2)]
    encoder, decoder = (layer for layer in model.layers if isinstance(layer, layers.LSTM))
    y, pullback = model.vjp(x)
    same(y, decoder(x[1], initial_state=encoder(x[0])[1:]))
    slopes = rng.normal(size=y.shape)
    dx = pullback(slopes).dx
    place = (1, 2, 0)
    ends = []
    for sign in (1, -1):
        moved = x[0].copy()
        moved[place] += sign * 1e-6
        ends.append((model([moved, x[1]]) * slopes).sum())
    np.testing.assert_allclose(dx[0][place], (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


# ---- Weights, configuration, names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_first_weights(name: str) -> None:
    layer = KINDS[name](U, bias_initializer="ones" if name == "GRU" else "zeros")
    layer.build((None, None, F))
    kernel, recurrent_kernel, bias = layer.get_weights()
    gates = {"LSTM": 4, "SimpleRNN": 1}.get(name, 3)
    assert kernel.shape == (F, gates * U)
    np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(U), atol=1e-6)
    assert bias.shape == {"GRU": (2, 3 * U)}.get(name, (gates * U,))
    if name == "LSTM":
        assert np.array_equal(bias, np.repeat([0, 1, 0, 0], U))
        plain = layers.LSTM(U, unit_forget_bias=False)
        plain.build((None, None, F))
        assert not plain.bias.any()
    assert np.array_equal(layer.kernel, kernel) and np.array_equal(layer.bias, bias)
    layer.kernel = kernel * 2
    assert np.array_equal(layer.get_weights()[0], kernel * 2)


@pytest.mark.parametrize("change", ["assign", "mutable", "set_weights", "attribute"])
@pytest.mark.parametrize("name", KINDS)
def test_changed_weights_are_used(name: str, change: str) -> None:
    rng = np.random.default_rng(14)
    layer, x = made(name, rng), data(rng)
    before = layer(x)
    params, packed = layer.packed()
    assert layer.packed()[1] is packed and layer.packed()[0] is params
    fresh = [w * 0.5 for w in layer.get_weights()]
    if change == "assign":
        layer.weights[1].assign(fresh[1])
    elif change == "mutable":
        layer.weights[1].mutable()[...] = fresh[1]
    elif change == "set_weights":
        layer.set_weights(fresh)
    else:
        layer.recurrent_kernel = fresh[1]
    twin = made(name, rng)
    twin.set_weights(layer.get_weights())
    assert np.array_equal(layer(x), twin(x)) and not np.array_equal(layer(x), before)


KERAS_ARGUMENTS = {
    "LSTM": "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer "
    "unit_forget_bias kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer "
    "kernel_constraint recurrent_constraint bias_constraint dropout recurrent_dropout seed return_sequences "
    "return_state go_backwards stateful unroll use_cudnn",
    "GRU": "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer "
    "kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint "
    "recurrent_constraint bias_constraint dropout recurrent_dropout seed return_sequences return_state go_backwards "
    "stateful unroll reset_after use_cudnn",
    "SimpleRNN": "units activation use_bias kernel_initializer recurrent_initializer bias_initializer "
    "kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint "
    "recurrent_constraint bias_constraint dropout recurrent_dropout return_sequences return_state go_backwards "
    "stateful unroll seed",
    "LSTMCell": "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer "
    "bias_initializer unit_forget_bias kernel_regularizer recurrent_regularizer bias_regularizer kernel_constraint "
    "recurrent_constraint bias_constraint dropout recurrent_dropout seed",
    "GRUCell": "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer "
    "bias_initializer kernel_regularizer recurrent_regularizer bias_regularizer kernel_constraint "
    "recurrent_constraint bias_constraint dropout recurrent_dropout reset_after seed",
    "SimpleRNNCell": "units activation use_bias kernel_initializer recurrent_initializer bias_initializer "
    "kernel_regularizer recurrent_regularizer bias_regularizer kernel_constraint recurrent_constraint bias_constraint "
    "dropout recurrent_dropout seed",
}


@pytest.mark.parametrize("name", KERAS_ARGUMENTS)
def test_arguments_in_the_order_of_keras(name: str) -> None:
    wanted = KERAS_ARGUMENTS[name].split()
    assert list(inspect.signature(getattr(layers, name)).parameters)[: len(wanted)] == wanted


def test_the_three_layers_agree_on_the_arguments_they_share() -> None:
    lstm, gru, simple = (inspect.signature(cls).parameters for cls in (layers.LSTM, layers.GRU, layers.SimpleRNN))
    own = {"recurrent_activation", "unit_forget_bias", "use_cudnn", "reset_after"}
    assert lstm.keys() ^ simple.keys() <= own and gru.keys() ^ simple.keys() <= own
    for name in simple:  # each stands with its default in the constructors alone, for editors and help()
        assert lstm[name].replace() == gru[name].replace() == simple[name].replace(), name


def test_everything_by_position() -> None:
    options = ["tanh", "sigmoid", False, "zeros", "zeros", "ones", False, "l2", None, None, None, None, None, None]
    layer = layers.LSTM(U, *options, 0.1, 0.2, 3, True, True, True, True, True, "auto")
    assert layer.use_bias is False and layer.dropout == 0.1 and layer.recurrent_dropout == 0.2 and layer.seed == 3
    assert layer.return_sequences and layer.return_state and layer.go_backwards and layer.stateful and layer.unroll
    assert layer.kernel_regularizer is not None and layer.unit_forget_bias is False


@pytest.mark.parametrize("name", KINDS)
def test_arguments_of_older_keras(name: str) -> None:
    layer = KINDS[name](U, implementation=1, time_major=False, input_dim=F, input_length=T, unroll=True)
    assert layer.given_input_shape == (T, F)
    with pytest.raises(ValueError, match="time-major"):
        KINDS[name](U, time_major=True)
    with pytest.raises(TypeError, match="unknown argument.*inner_activation_of"):
        KINDS[name](U, inner_activation_of="tanh")
    with pytest.warns(UserWarning, match="`inner_init` is the old name of `recurrent_initializer`"):
        assert "Zeros" in str(KINDS[name](U, inner_init="zeros").get_config()["recurrent_initializer"])


@pytest.mark.parametrize("name", KINDS)
def test_the_configuration_says_everything(name: str) -> None:
    options: dict[str, Any] = {
        "activation": "relu", "use_bias": False, "kernel_initializer": "he_normal", "recurrent_regularizer": "l2",
        "activity_regularizer": "l1", "kernel_constraint": "non_neg", "dropout": 0.1, "recurrent_dropout": 0.2,
        "seed": 5, "return_sequences": True, "return_state": True, "go_backwards": True, "stateful": True,
        "unroll": True, "zero_output_for_mask": True, "noise_shape": (None, None, 1), "dropout_gates": "shared",
        "recurrent_noise_shape": (1, 1, None), "recurrent_dropout_mode": "update", "zoneout": 0.1,
        "compat": "keras2.3", "name": "mine", "trainable": False, "dtype": "float64",
    }  # fmt: skip
    layer = KINDS[name](U, **options)
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    for key, value in options.items():
        if not isinstance(value, str) or key in ("name", "compat", "dropout_gates", "recurrent_dropout_mode"):
            assert getattr(twin, key) == value, key
    plain = KINDS[name](U).get_config()
    assert all(plain[key] != layer.get_config()[key] for key in options if key != "name")


# ---- Bad luck -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_two_threads_share_a_layer(name: str) -> None:
    rng = np.random.default_rng(15)
    layer = made(name, rng, return_sequences=True, dropout=0.5, seed=1)
    xs = [data(rng, B, 20, F) for _ in range(2)]
    expected = [layer(x) for x in xs]
    wrong: list[int] = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(20) if not np.array_equal(layer(xs[k]), expected[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", KINDS)
def test_a_refused_call_changes_nothing(name: str) -> None:
    rng = np.random.default_rng(16)
    layer, x = made(name, rng, dropout=0.5, seed=1, stateful=True, return_sequences=True), data(rng)
    layer.reset_state()
    layer(x, training=True)
    generator, carried, weights = layer.seed_generator.state, [s.copy() for s in layer.states], layer.get_weights()
    for call in ({"mask": MASK[:, 1:]}, {"lengths": LENGTHS + 5}, {"initial_state": 3.0}, {"dropout_masks": 3}):
        with pytest.raises((ValueError, TypeError)):
            layer(x, training=True, **call)
    assert layer.seed_generator.state == generator
    same(layer.states, carried)
    same(layer.get_weights(), weights)
    twin = made(name, rng, dropout=0.5, seed=1, stateful=True, return_sequences=True)
    twin.set_weights(weights)
    twin.reset_state()
    twin.seed_generator.state = (1, 0)
    twin(x, training=True)
    assert np.array_equal(layer(x, training=True), twin(x, training=True))


@pytest.mark.parametrize("shape", [(0, T, F), (B, 0, F), (0, 0, F)])
@pytest.mark.parametrize("name", KINDS)
def test_nothing_to_do(name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(17)
    layer = made(name, rng, dropout=0.3, recurrent_dropout=0.3, zoneout=0.1, seed=1, **SHARED)
    y, pullback = layer.vjp(np.zeros(shape), training=True)
    assert y[0].shape == (*shape[:2], U) and all(state.shape == (shape[0], U) for state in y[1:])
    grads = pullback(y)
    assert grads.dx.shape == shape and not any(d.any() for d in grads.dweights)
    assert len(flat(grads.dinitial_state)) == STATES[name]
