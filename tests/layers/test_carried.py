"""Time masks that ride on arrays from layer to layer, outside of a model."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, Sequential, functional, layers, reference
from rnnx.layers.carried import MaskCarrier

from .support import MASK, B, F, T, U, check_gradient, data, randomize, same

OPTIONS = {"dtype": "float64"}


def padded(seed: int = 1) -> Any:
    x = data(np.random.default_rng(seed))
    x[~MASK] = 0
    return x


def ids(seed: int = 1) -> Any:
    return np.where(MASK, np.random.default_rng(seed).integers(1, 9, (B, T)), 0)


def masking(x: Any) -> Any:
    return layers.Masking(**OPTIONS)(x)


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_padding_is_no_data(make: Any) -> None:
    """What the reference says of the mask, for both layers that make one."""
    rng = np.random.default_rng(2)
    layer = randomize(make(U, **OPTIONS), rng, padded())
    core = {"LSTM": reference.lstm, "GRU": reference.gru, "SimpleRNN": reference.simple_rnn}[make.__name__]
    params = {"LSTM": functional.LSTMParams, "GRU": functional.GRUParams}.get(make.__name__, functional.RNNParams)
    table = layers.Embedding(9, F, mask_zero=True, **OPTIONS)
    for made in (masking(padded()), table(ids())):
        expected = core.forward(params(*layer.get_weights()), np.asarray(made), mask=MASK).outputs[:, -1]
        y = layer(made)
        same(y, expected)
        assert type(y) is np.ndarray
        assert not np.allclose(layer(np.asarray(made)), expected)


def test_only_what_has_a_mask_is_no_plain_array() -> None:
    x = padded()
    plain: list[Any] = [
        layers.Dense(2)(x),
        layers.LSTM(2, return_sequences=True)(x),
        layers.Embedding(9, 2)(ids()),
        layers.Dropout(0.5)(x),
        Sequential([Input((None, F)), layers.GRU(2, return_sequences=True)])(x),
        *layers.GRU(2, return_sequences=True, return_state=True)(x),
        layers.GRU(2)(x, mask=MASK),
        layers.Conv1D(2, 1)(masking(x)),
        layers.GlobalAveragePooling1D()(masking(x)),
        layers.Flatten()(masking(x)),
        layers.Bidirectional(layers.GRU(2))(masking(x)),
    ]
    assert all(type(y) is np.ndarray for y in plain)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32", "float64", "bool"])
def test_masks_of_any_numbers(dtype: str) -> None:
    """0 is masked, as in Keras."""
    x, mask = padded(), MASK.astype(dtype) * np.asarray(3, dtype)
    entry = Input((None, F), dtype="float64")
    made: list[Any] = [layers.LSTM(U, return_sequences=True, **OPTIONS), layers.GlobalAveragePooling1D(**OPTIONS),
                       layers.RNN(layers.GRUCell(U, **OPTIONS)), layers.Bidirectional(layers.GRU(2, **OPTIONS)),
                       layers.TimeDistributed(layers.BatchNormalization(**OPTIONS)),
                       Model(entry, layers.SimpleRNN(U, **OPTIONS)(entry))]  # fmt: skip
    for layer in made:
        y = layer(x, mask=MASK)
        assert np.array_equal(layer(x, mask=mask), y) and np.array_equal(layer.vjp(x, mask=mask)[0], y)
        assert np.array_equal(layer(x, mask=mask.tolist()), y)
    fixed = layers.GRU(U, **OPTIONS)
    model = Model(entry, fixed(entry, mask=mask))
    assert np.array_equal(model(x), fixed(x, mask=MASK))


def test_arguments_without_names() -> None:
    """In Keras' order."""
    x = padded()
    mean = layers.GlobalAveragePooling1D(**OPTIONS)
    assert np.array_equal(mean(x, MASK), mean(x, mask=MASK)) and not np.array_equal(mean(x, MASK), mean(x))
    batch = layers.BatchNormalization(momentum=0.0, **OPTIONS)
    batch(x, True, MASK)
    np.testing.assert_allclose(batch.moving_mean, x[MASK].mean(axis=0))
    drop = layers.Dropout(0.5, seed=1, **OPTIONS)
    assert (drop(x + 1, True) == 0).any() and np.array_equal(drop(x, None), x)
    each = layers.TimeDistributed(mean)
    words = np.stack([x, x], axis=1)
    assert np.array_equal(each(words, False, np.stack([MASK, ~MASK], axis=1))[:, 0], mean(x, MASK))
    model = Sequential([Input((None, F), dtype="float64"), layers.GRU(U, **OPTIONS)])
    assert np.array_equal(model(x, False, MASK), model(x, mask=MASK))
    for call, words_of_error in (
        (lambda: layers.Dense(2)(x, MASK), "nothing behind the input can be given without a name"),
        (lambda: mean(x, MASK, True), "only mask can be given without a name, got 2"),
        (lambda: mean(x, MASK, mask=MASK), "`mask` is given twice"),
    ):
        with pytest.raises(TypeError, match=words_of_error):
            call()


def test_masks_of_softmax_are_no_time_masks() -> None:
    x, mask = data(np.random.default_rng(4)), np.random.default_rng(5).random((B, T, F)) < 0.6
    layer = layers.Softmax(**OPTIONS)
    y, pullback = layer.vjp(x, mask=mask)
    e = np.where(mask, np.exp(x), 0)
    same(y, e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300))
    slopes = [np.random.default_rng(6).normal(size=y.shape)]
    check_gradient(lambda: layer(x, mask=mask), x, pullback(slopes[0]).dx, slopes, 12)
    assert np.array_equal(layer(x, mask), y) and type(y) is np.ndarray
    assert np.array_equal(layer(x, mask.astype("float32") * 0.6), y), "above one half, as in Keras"
    carried = layer(masking(padded()), mask=mask)
    assert np.array_equal(carried.mask, MASK) and np.array_equal(carried, layer(padded(), mask=mask))
    assert np.array_equal(layer(masking(padded())), layer(padded())), "time masks pass by"
    entry = Input((T, F), dtype="float64")
    assert np.array_equal(Model(entry, layer(entry, mask=mask))(x), y)
    assert np.array_equal(Model(entry, layer(layers.Masking(**OPTIONS)(entry)))(x), layer(x))
    for bad in (mask[:, :2], mask[..., None], np.ones((B, T), bool)):
        with pytest.raises(ValueError, match="`mask` must broadcast to the input's shape"):
            layer(x, mask=bad)
    with pytest.raises(ValueError, match="in a model `mask` must have all 3 axes of the input"):
        layer(entry, mask=mask[0, 0])


def test_masks_of_merges_are_lists() -> None:
    x = padded()
    layer = layers.Multiply(**OPTIONS)
    entry = Input((T, F), dtype="float64")
    assert np.array_equal(layer([x, x + 1], mask=[MASK.astype(int), None]), np.where(MASK[..., None], x, 1) * (x + 1))
    for call in (layer, layers.Add(), layers.Concatenate()):
        for given in (x, entry):
            with pytest.raises(ValueError, match="`mask` must be a list with a mask or None for each of 2 inputs"):
                call([given, given], mask=MASK)
            with pytest.raises(
                ValueError, match=r"a `mask` of its input must have shape \((5|None), 6\), got \(5, 5\)"
            ):
                call([given, given], mask=[None, MASK[:, 1:]])


def test_merges_of_more_axes_and_broadcast_inputs() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(2, 3, 4, F)), rng.normal(size=(2, 3, 2, F))
    words = rng.random((2, 3, 4)) < 0.5
    y = layers.Concatenate(axis=2)([a, b], mask=[words, None])
    assert np.array_equal(y.mask, np.concatenate([words, np.ones((2, 3, 2), bool)], axis=2))
    y = layers.Concatenate()([a, a], mask=[words, words[:, :, 0]])
    assert np.array_equal(y.mask, words | words[:, :, :1])
    x, first = padded(), np.array([1, 0, 1, 0, 1], bool)[:, None]
    for make in (layers.Add, layers.Average):
        assert np.array_equal(make()([x, x[:, :1]], mask=[MASK, first]).mask, MASK | first)
    product, pullback = layers.Multiply(**OPTIONS).vjp([x, x[:, :1]], mask=[MASK, first])
    counted = np.where(MASK[..., None], x, 1) * np.where(first[..., None], x[:, :1], 1)
    same(product, np.where((MASK | first)[..., None], counted, 0))
    assert [d.shape for d in pullback(product).dx] == [x.shape, (B, 1, F)]


def test_products_of_masked_inputs_in_streams() -> None:
    entry = Input((None, F), dtype="float64")
    masked = layers.Masking(**OPTIONS)(entry)
    product = layers.Multiply(**OPTIONS)([masked, layers.Dense(F, **OPTIONS)(entry)])
    both = layers.Multiply(**OPTIONS)([masked, layers.Dense(F, **OPTIONS)(masked)])
    for y in (product, both):
        model = Model(entry, y)
        randomize(model, np.random.default_rng(3))
        same(model.stream(B).run(padded()), model(padded()))


def test_masks_that_are_given_go_on() -> None:
    """As in Keras, a mask in the call, or lengths, are those of the output."""
    x, lengths = padded(), np.array([6, 4, 1, 0, 2])
    for layer in (layers.LSTM(U, return_sequences=True), layers.RNN(layers.GRUCell(U), return_sequences=True)):
        assert np.array_equal(layer(x, mask=MASK).mask, MASK)
        assert np.array_equal(layer(x, lengths=lengths).mask, np.arange(T) < lengths[:, None])
        assert np.array_equal(layer(masking(x), mask=~MASK).mask, ~MASK), "instead of the one that rides on the input"
        assert np.array_equal(layer(masking(x), mask=MASK), layer(x, mask=MASK))
        assert np.array_equal(layer(masking(x), lengths=lengths), layer(x, lengths=lengths))
    both = layers.Bidirectional(layers.LSTM(U, return_sequences=True), merge_mode=None)
    assert all(np.array_equal(part.mask, MASK) for part in both(masking(x)))
    y, state = layers.GRU(U, return_sequences=True, return_state=True)(masking(x))
    assert np.array_equal(y.mask, MASK) and type(state) is np.ndarray
    y, drawn = layers.GRU(U, return_sequences=True, dropout=0.5)(masking(x), training=True, return_masks=True)
    assert np.array_equal(y.mask, MASK) and drawn is not None


def test_a_chain_equals_a_model_and_so_do_its_gradients() -> None:
    rng = np.random.default_rng(5)
    table = layers.Embedding(9, F, mask_zero=True, **OPTIONS)
    steps = layers.TimeDistributed(layers.Dense(3, **OPTIONS))
    both = layers.Bidirectional(layers.GRU(3, return_sequences=True, **OPTIONS))
    last = layers.LSTM(U, **OPTIONS)
    entry = Input((None,), dtype="int64")
    model = Model(entry, last(both(layers.Dropout(0.5, **OPTIONS)(steps(table(entry))))))
    randomize(model, rng)
    y = last(both(layers.Dropout(0.5, **OPTIONS)(steps(table(ids())))))
    same(y, model(ids()))
    h1, back1 = table.vjp(ids())
    h2, back2 = steps.vjp(h1)
    h3, back3 = both.vjp(h2)
    y, back4 = last.vjp(h3)
    assert all(np.array_equal(h.mask, MASK) for h in (h1, h2, h3)) and type(y) is np.ndarray
    grads = model.vjp(ids())[1](np.ones_like(y)).dweights
    own4 = back4(np.ones_like(y))
    own3 = back3(own4.dx)
    own2 = back2(own3.dx)
    same([*back1(own2.dx).dweights, *own2.dweights, *own3.dweights, *own4.dweights], grads)
    x = padded()
    layer = layers.GRU(U, **OPTIONS)
    layer(x)
    y, pullback = layer.vjp(masking(x))
    slopes = [rng.normal(size=y.shape)]
    check_gradient(lambda: layer(x, mask=MASK), x, pullback(slopes[0]).dx, slopes)


def test_merges_see_the_masks_of_their_inputs() -> None:
    x, words = masking(padded()), layers.Embedding(9, F, mask_zero=True, **OPTIONS)(np.ones((B, T), int))
    both = layers.Add(**OPTIONS)([x, words])
    assert np.array_equal(both.mask, np.ones((B, T), bool)), "a step that any input has"
    assert type(layers.Add()([x, padded()])) is np.ndarray, "one input has no mask"
    assert np.array_equal(layers.Concatenate()([x, x]).mask, MASK)
    assert np.array_equal(layers.Concatenate(axis=1)([x, x]).mask, np.concatenate([MASK, MASK], axis=1))


def test_models_take_and_give_masks() -> None:
    x = padded()
    gru = layers.GRU(U, return_sequences=True, **OPTIONS)
    model = Sequential([Input((None, F), dtype="float64"), gru])
    assert np.array_equal(model(masking(x)), gru(x, mask=MASK)) and np.array_equal(model(masking(x)).mask, MASK)
    assert type(model(x)) is np.ndarray and type(model.predict(masking(x), verbose=0)) is np.ndarray
    whole = Sequential([Input((None, F), dtype="float64"), layers.Masking(**OPTIONS), gru])
    assert np.array_equal(whole(x).mask, MASK)
    assert type(whole.predict(x, verbose=0)) is np.ndarray
    a, b = Input((None, F), dtype="float64"), Input((None, F), dtype="float64")
    two = Model([a, b], [gru(a), gru(b)])
    first, second = two([masking(x), x])
    assert np.array_equal(first, gru(x, mask=MASK)) and np.array_equal(first.mask, MASK)
    assert np.array_equal(second, gru(x)) and type(second) is np.ndarray


def test_numpy_gives_plain_arrays() -> None:
    x = masking(padded())
    plain: list[Any] = [x + 1, 2 * x, -x, x > 0, x[:, 1:], x[..., 0], np.tanh(x), x @ np.ones((F, 2)), np.asarray(x)]
    plain += [np.concatenate([x, x]), np.stack([x, x]), np.where(x, x, 0), np.zeros_like(x)]
    plain += [x.sum(axis=0), np.sum(x, axis=1)]
    assert [type(part) for part in plain] == [np.ndarray] * len(plain)
    for number in (x.sum(), np.mean(x), x[0, 0, 0], x.max()):
        assert isinstance(number, np.float64) and not isinstance(number, np.ndarray)
    for view in (x.T, x.reshape(-1), x.astype("float32"), x.copy(), x.view()):
        assert getattr(view, "mask", None) is None
    layer = layers.GRU(U)
    assert np.array_equal(layer(x.copy()), layer(np.asarray(x)))
    assert repr(x) == repr(np.asarray(x)) and str(x) == str(np.asarray(x))
    x *= 3
    assert np.array_equal(x, 3 * padded())


def test_copies_and_pickles_keep_the_mask() -> None:
    x = masking(padded())
    for again in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), pickle.loads(pickle.dumps([x]))[0]):
        assert type(again) is MaskCarrier and again is not x
        assert np.array_equal(again, x) and np.array_equal(again.mask, MASK)
        again[:] = 7
    assert np.array_equal(x, padded())


def test_inputs_stay_as_they_are() -> None:
    x = padded()
    y = layers.Dropout(0.5, **OPTIONS)(masking(x))
    again = layers.Activation("linear", **OPTIONS)(y)
    for array in (x, np.asarray(y), np.asarray(again)):
        assert type(array) is np.ndarray
    assert type(layers.GRU(2)(x, mask=MASK)) is np.ndarray and type(x) is np.ndarray


def test_threads_have_masks_of_their_own() -> None:
    layer = randomize(layers.GRU(U, return_sequences=True, **OPTIONS), np.random.default_rng(8), padded())
    entry, results = layers.Masking(**OPTIONS), [True] * 4

    def work(k: int) -> None:
        rng = np.random.default_rng(k)
        for _ in range(30):
            mask = rng.random((B, T)) < 0.6
            x = np.where(mask[..., None], rng.normal(size=(B, T, F)), 0)
            y = layer(entry(x))
            results[k] &= np.array_equal(y.mask, mask) and np.array_equal(y, layer(x, mask=mask))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(results)
