"""`weight_noise` of the recurrent layers and their cells: what is drawn, when, and whose gradients are given."""

import numpy as np
import pytest

import rnnx
from rnnx import Input, Sequential, layers
from rnnx.dropout import SeedGenerator, rounding_steps
from rnnx.dropout.rows import NoiseOfRows
from rnnx.quantization.rounding import round_weights

LAYERS = [(layers.LSTM, {}), (layers.GRU, {}), (layers.GRU, {"reset_after": False}), (layers.SimpleRNN, {})]
X = np.random.default_rng(4).normal(size=(3, 5, 4)).astype(np.float32)


def built(cls, options=(), units=6, dtype="float32", **more):
    layer = cls(units, dtype=dtype, **{"weight_noise": "int8", "seed": 3, **dict(options), **more})
    layer(X)
    rng = np.random.default_rng(5)
    layer.set_weights([rng.normal(size=w.shape, scale=0.5) for w in layer.weights])
    return layer


def steps(kernel):
    """Of int8, by hand."""
    return np.abs(kernel).max(axis=0) / 127


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_noise_is_one_step_of_rounding_in_each_column(cls, options, blocks):
    layer = built(cls, options, units=48, recurrent_blocks=blocks)
    layer.kernel = layer.kernel * np.where(np.arange(layer.kernel.shape[1]) == 7, 0, 1).astype("float32")
    masks = layer.sample_masks(2, 3)
    assert masks.inputs is masks.recurrent is masks.zoneout_hidden is None
    drawn = [(layer.kernel, masks.kernel_noise), (layer.recurrent_kernel, masks.recurrent_kernel_noise)]
    for kernel, noise in drawn:
        assert noise.shape == kernel.shape and noise.dtype == kernel.dtype
        share = noise / np.where(steps(kernel) == 0, 1, steps(kernel))
        assert np.abs(share).max() <= 0.5 * (1 + 1e-6)
        moved = np.abs(round_weights(kernel, "int8") - kernel)
        assert (moved <= 0.5 * steps(kernel) * (1 + 1e-4)).all()  # what it stands for keeps to the same bounds
    assert not masks.kernel_noise[:, 7].any()  # a column of zeros is not rounded
    share = masks.recurrent_kernel_noise / steps(layer.recurrent_kernel)
    sigma = 12**-0.5  # of uniform deviates of width 1
    assert abs(share.mean()) < 5 * sigma / share.size**0.5
    assert abs(share.std() - sigma) < 0.02


@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_it_is_in_training_alone_and_new_in_every_call(cls, options):
    layer, plain = built(cls, options), built(cls, options, weight_noise=None)
    np.testing.assert_array_equal(layer(X), plain(X))
    assert plain.sample_masks(3, 5) is layer.sample_masks(3, 5, training=False) is None
    before = layer.seed_generator.state
    first, masks = layer(X, training=True, return_masks=True)
    second = layer(X, training=True)
    assert (first != layer(X)).any() and (first != second).any()
    np.testing.assert_array_equal(layer(X, training=True, dropout_masks=masks), first)
    layer.seed_generator.state = before
    np.testing.assert_array_equal(layer(X, training=True), first)
    moved = built(cls, options, weight_noise=None)
    kernel, recurrent, *bias = moved.get_weights()
    moved.set_weights([kernel + masks.kernel_noise, recurrent + masks.recurrent_kernel_noise, *bias])
    np.testing.assert_array_equal(moved(X), first)


@pytest.mark.parametrize("stream", ["rnnx", "keras"])
def test_dropout_draws_what_it_draws_without(stream):
    options = {"dropout": 0.3, "recurrent_dropout": 0.3, "zoneout": 0.2}
    layer, plain = (
        built(layers.LSTM, options, weight_noise=noise, seed=SeedGenerator(9, stream)) for noise in ("int8", None)
    )
    for source in (layer, plain):
        source.seed_generator.state = (9, 0)
    masks, want = layer.sample_masks(3, 5), plain.sample_masks(3, 5)
    for name in ("inputs", "recurrent", "zoneout_hidden", "zoneout_cell"):
        np.testing.assert_array_equal(getattr(masks, name), getattr(want, name))
    assert masks.kernel_noise is not None and want.kernel_noise is None
    assert layer.sample_masks(3, 5).kernel_noise.tolist() != masks.kernel_noise.tolist()


@pytest.mark.parametrize("more", [{}, {"recurrent_dropout": 0.3, "recurrent_dropout_mode": "weights"}], ids=str)
@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_gradients_are_those_of_the_weights_without_noise(cls, options, more):
    """Finite differences with the noise held as it was drawn."""
    layer = built(cls, options, dtype="float64", recurrent_blocks=2, return_sequences=True, **more)
    x = X.astype("float64")
    masks = layer.sample_masks(3, 5)
    y, pullback = layer.vjp(x, training=True, dropout_masks=masks)
    rng = np.random.default_rng(6)
    slope = rng.normal(size=y.shape)
    grads, values = pullback(slope), layer.get_weights()

    def loss(weights, x):
        layer.set_weights(weights)
        return float((slope * layer(x, training=True, dropout_masks=masks)).sum())

    for k, gradient in enumerate(grads.dweights):
        way = rng.normal(size=gradient.shape)
        ends = [loss([w + sign * 1e-6 * way if k == j else w for j, w in enumerate(values)], x) for sign in (1, -1)]
        np.testing.assert_allclose((gradient * way).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-7)
    way = rng.normal(size=x.shape)
    ends = [loss(values, x + sign * 1e-6 * way) for sign in (1, -1)]
    np.testing.assert_allclose((grads.dx * way).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-7)


def test_cells_stacks_and_both_directions():
    cells = [layers.LSTMCell(4, weight_noise="int8", seed=1), layers.GRUCell(3, weight_noise="int8", seed=2)]
    rnn, both = layers.RNN(cells), layers.Bidirectional(layers.GRU(4, weight_noise="int8", seed=1))
    for layer in (rnn, both):
        plain = layer(X)
        noisy, masks = layer(X, training=True, return_masks=True)
        assert (noisy != plain).any() and (layer(X) == plain).all()
        assert all(own.kernel_noise is not None for own in masks)
        np.testing.assert_array_equal(layer(X, training=True, dropout_masks=masks), noisy)
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
    forwards, backwards = masks
    assert not np.allclose(forwards.kernel_noise / steps(both.forward_layer.kernel),
                           backwards.kernel_noise / steps(both.backward_layer.kernel))  # fmt: skip
    cell = cells[0]
    step, _ = cell(X[:, 0], training=True)
    assert (step != cell(X[:, 0])[0]).any()
    assert (cell(X[:, 0], training=True)[0] != step).any()


def test_parts_of_a_batch_have_the_noise_of_the_whole():
    whole = built(layers.LSTM, {"dropout": 0.3})(X, training=True)
    for first, last in ((0, 2), (2, 3)):
        with NoiseOfRows(3, first, last).drawn():
            part = built(layers.LSTM, {"dropout": 0.3})(X[first:last], training=True)
        np.testing.assert_allclose(part, whole[first:last], atol=1e-6)


def test_results_do_not_depend_on_threads():
    found = []
    x = np.random.default_rng(1).normal(size=(64, 40, 8)).astype("float32")
    for threads in (1, 2):
        layer = layers.LSTM(48, weight_noise="int8", seed=1)
        layer.build((None, None, 8))
        layer.set_weights([np.random.default_rng(2).normal(size=w.shape) * 0.1 for w in layer.weights])
        with rnnx.threads(threads):
            y, pullback = layer.vjp(x, training=True)
            found.append([y, *pullback(np.ones_like(y)).dweights])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def made(weight_noise="int8", **options):
    return Sequential([Input((None, 4)), layers.GRU(8, seed=2, weight_noise=weight_noise, **options), layers.Dense(2)])


def test_files_and_streams(tmp_path):
    model = made()
    y = model.predict(X, verbose=0)
    model.save(tmp_path / "model.safetensors")
    again = rnnx.load_model(tmp_path / "model.safetensors")
    assert again.layers[-2].weight_noise == "int8"
    np.testing.assert_array_equal(again.predict(X, verbose=0), y)
    np.testing.assert_allclose(model.stream(batch_size=3).run(X)[:, -1], y, atol=1e-6)
    pytest.importorskip("onnx")
    model.save(tmp_path / "model.onnx")
    np.testing.assert_allclose(rnnx.load_model(tmp_path / "model.onnx").predict(X, verbose=0), y, atol=1e-6)


def test_samples_are_of_the_network_without_noise_on_its_weights():
    noisy, plain = (made(dropout=0.4, weight_noise=noise) for noise in ("int8", None))
    plain.set_weights(noisy.get_weights())
    for options in ({}, {"share_masks": True}):
        for a, b in zip(noisy.predict_mc(X, 7, **options), plain.predict_mc(X, 7, **options), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(noisy.stream(3, mc=5).run(X), plain.stream(3, mc=5).run(X), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="no dropout or other noise"):
        made().predict_mc(X)
    with pytest.raises(ValueError, match="no dropout or other noise"):
        made().stream(mc=5)


def test_quantized_weights_get_no_noise():
    model = made()
    model.quantize("int8")
    np.testing.assert_array_equal(model(X, training=True), model(X))
    assert model.layers[-2].sample_masks(3, 5) is None


def test_rounding_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"mode.*int8.*int4"):
        rounding_steps(np.ones((2, 2), np.float32), "int4")


def test_noise_of_another_shape_is_refused():
    layer, other = built(layers.LSTM), built(layers.LSTM, units=5)
    with pytest.raises(ValueError, match=r"LSTM: `masks.kernel_noise` must have shape .*4\*units\).*\(4, 24\)"):
        layer(X, training=True, dropout_masks=other.sample_masks(3, 5))
    mixed = built(layers.LSTM, dtype="float64").sample_masks(3, 5)
    with pytest.raises(TypeError, match="kernel_noise"):
        layer(X, training=True, dropout_masks=mixed)
    blocks = built(layers.LSTM, recurrent_blocks=2).sample_masks(3, 5)
    with pytest.raises(ValueError, match="masks.recurrent_kernel_noise"):
        layer(X, training=True, dropout_masks=blocks)


def test_fit_learns_under_it():
    model = made()
    model.compile("adam", "mse")
    y = np.zeros((3, 2), np.float32)
    losses = model.fit(X, y, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_words_of_noise_are_checked_and_heeded_when_they_are_assigned(cls, options):
    layer, cell = cls(6, **options), getattr(layers, f"{cls.__name__}Cell")(6, **options)
    plain = layer(X)
    for word, value in (("dropout", 0.5), ("recurrent_dropout", 0.5), ("zoneout", 0.5), ("weight_noise", "int8")):
        off = getattr(layer, word)
        setattr(layer, word, value)
        assert not np.array_equal(layer(X, training=True), plain)
        setattr(layer, word, off)
        assert np.array_equal(layer(X, training=True), plain)
    wrong = {
        "dropout": 1.5, "recurrent_dropout": -0.1, "zoneout": (0.1,), "weight_noise": "int4", "noise_shape": 3,
        "recurrent_noise_shape": "x", "dropout_gates": "all", "recurrent_dropout_mode": "output",
    }  # fmt: skip
    for owner in (layer, cell):
        for word, value in wrong.items():
            before = getattr(owner, word)
            with pytest.raises((ValueError, TypeError), match=f"{type(owner).__name__}: `{word}` "):
                setattr(owner, word, value)
            assert getattr(owner, word) == before
