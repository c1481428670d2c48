"""predict_mc."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import layers

X = np.random.default_rng(1).normal(size=(6, 5, 3)).astype(np.float32)


def model_of(**options):
    return rnnx.Sequential(
        [layers.Input((None, 3)), layers.GRU(8, seed=2, **options), layers.BatchNormalization(), layers.Dense(2)]
    )


def test_there_is_spread_with_dropout_only():
    mean, deviation = model_of(dropout=0.4).predict_mc(X, samples=20)
    assert mean.shape == deviation.shape == (6, 2)
    assert mean.dtype == np.float32
    assert (deviation > 0).all()
    with pytest.raises(ValueError, match="predict_mc: .* no dropout or other noise .* add a Dropout layer"):
        model_of().predict_mc(X, samples=5)


@pytest.mark.parametrize(
    "layer",
    [
        layers.GaussianNoise(0.5), layers.GRU(3, recurrent_dropout=0.5),
        layers.LSTM(3, zoneout=(0.0, 0.5)), layers.Bidirectional(layers.GRU(3, dropout=0.5)),
        layers.TimeDistributed(layers.Dropout(0.5)), layers.RNN([layers.LSTMCell(3), layers.GRUCell(2, dropout=0.5)]),
    ],
    ids=lambda layer: layer.name,
)  # fmt: skip
def test_every_kind_of_noise_is_found(layer):
    model = rnnx.Sequential([rnnx.Input((None, 4)), layer])
    assert model.predict_mc(np.ones((1, 3, 4)), samples=20)[1].max() > 0


def test_mean_and_deviation_of_the_passes():
    model = model_of(recurrent_dropout=0.4)
    model.layers[1].trainable = False
    generator = model.seed_generators()[0]
    start = generator.state
    passes = [model(X, training=True) for _ in range(7)]
    generator.state = start
    mean, deviation = model.predict_mc(X, samples=7)
    np.testing.assert_allclose(mean, np.mean(passes, axis=0), atol=1e-6)
    np.testing.assert_allclose(deviation, np.std(passes, axis=0), atol=1e-6)


def test_shared_masks_make_equal_rows_equal():
    same = np.repeat(X[:1], 5, axis=0)
    model = model_of(dropout=0.4, recurrent_dropout=0.3)
    mean, deviation = model.predict_mc(same, samples=6, share_masks=True)
    assert (deviation > 0).all()
    assert np.ptp(mean, axis=0).max() == np.ptp(deviation, axis=0).max() == 0
    mean, _ = model.predict_mc(same, samples=6)
    assert np.ptp(mean, axis=0).max() > 0


@pytest.mark.parametrize("share_masks", [False, True])
def test_weights_and_statistics_stay(share_masks):
    model = model_of(dropout=0.4)
    before = model.get_weights()
    model.predict_mc(X, samples=3, share_masks=share_masks, batch_size=4)
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert model.layers[1].trainable


@pytest.mark.parametrize("samples", [0, -1, 1.5, True])
def test_bad_numbers_of_samples(samples):
    with pytest.raises(ValueError, match="samples"):
        model_of().predict_mc(X, samples=samples)


def test_one_input_and_one_output_only():
    a = rnnx.Input((None, 3))
    model = rnnx.Model(a, [layers.GRU(2)(a), layers.LSTM(2)(a)])
    with pytest.raises(ValueError, match="one input and one output"):
        model.predict_mc(X)


def test_ids_and_no_rows():
    model = rnnx.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3, dropout=0.5), layers.Dense(1)])
    ids = np.array([[1, 2, 0], [3, 4, 5]])
    mean, deviation = model.predict_mc(ids, samples=4)
    assert mean.shape == (2, 1)
    assert (deviation > 0).all()
    assert model.predict_mc(ids[:0], samples=2)[0].shape == (0, 1)


@pytest.mark.parametrize("share_masks", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_ragged_rows(per_step, share_masks):
    model = rnnx.Sequential(
        [layers.Input((None, 3)), layers.GRU(8, dropout=0.1, seed=2, return_sequences=per_step), layers.Dense(2)]
    )
    rows = [X[k, : k % 4 + 1] for k in range(6)]
    mean, deviation = model.predict_mc(rows, samples=400, share_masks=share_masks, batch_size=4)
    for row, y, spread, expected in zip(rows, mean, deviation, model.predict(rows), strict=True):
        assert y.shape == spread.shape == expected.shape == ((len(row), 2) if per_step else (2,))
        assert (spread > 0).all()
        # not equal even in the limit: the mean over masks of a non-linear network is not its value without masks
        np.testing.assert_allclose(y, expected, atol=0.05)
    alone, _ = model.predict_mc([rows[3]], samples=400, share_masks=share_masks)
    np.testing.assert_allclose(alone[0], mean[3], atol=0.04)


# ---- Samples as rows of one batch ----------------------------------------------------------------------------------


def with_noise_of_every_kind():
    inputs = rnnx.Input((None, 3))
    h = layers.GaussianNoise(0.2, seed=1)(inputs)
    h = layers.SpatialDropout1D(0.2, seed=2)(h)
    h = layers.Bidirectional(layers.LSTM(5, dropout=0.3, recurrent_dropout=0.2, return_sequences=True, seed=3))(h)
    h = layers.Dropout(0.3, noise_shape=(1, 1, None), seed=4)(h)
    h = layers.AlphaDropout(0.1, noise_shape=(None,), seed=5)(h)
    h = layers.GRU(6, zoneout=0.2, noise_shape=(None, None, None), dropout=0.2, return_sequences=True, seed=6)(h)
    h = layers.TimeDistributed(layers.Dropout(0.2, seed=7))(h)
    h = layers.RNN([layers.LSTMCell(4, dropout=0.3, seed=8), layers.GRUCell(4, recurrent_dropout=0.2, seed=9)])(h)
    return rnnx.Model(inputs, layers.Dense(2)(layers.GaussianDropout(0.2, seed=10)(h)))


class Weighted(rnnx.Model):
    """Dropout on a weight, twice from one source of noise: its rows are not those of the batch."""

    def __init__(self):
        super().__init__()
        self.drop, self.rnn = layers.Dropout(0.5, seed=1), layers.GRU(4, dropout=0.3, seed=2)

    def build(self, shape):
        self.w = self.add_weight("w", (10, 4), "glorot_uniform")

    def call(self, x, training=None):
        h = self.drop(self.rnn(x, training=training), training=training)
        return rnnx.ops.matmul(h, rnnx.ops.transpose(self.drop(1.0 * self.w, training=training)))


def normalized_over_rows():
    x = rnnx.Input((None, 3))
    h = layers.GRU(4, dropout=0.5, seed=1)(x)
    return rnnx.Model(x, h - rnnx.ops.mean(h, axis=0, keepdims=True))


def twice():
    x, shared = rnnx.Input((None, 3)), layers.Dropout(0.5, seed=1)
    return rnnx.Model(x, layers.Dense(2)(shared(layers.GRU(4, seed=2)(shared(x)))))


def of_keras():
    source = rnnx.dropout.SeedGenerator(4, stream="keras")
    return rnnx.Sequential(
        [layers.Input((None, 3)), layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2, seed=source), layers.Dense(2)]
    )


MODELS = {
    "layer": lambda: model_of(dropout=0.3, recurrent_dropout=0.2),
    "every_kind": with_noise_of_every_kind,
    "weights": lambda: model_of(dropout=0.3, recurrent_dropout=0.2, recurrent_dropout_mode="weights"),
    "own": Weighted,
    "rows_together": normalized_over_rows,
    "twice": twice,
    "of_keras": of_keras,
    "stateful": lambda: model_of(dropout=0.3, stateful=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_samples_are_those_of_calls(name):
    model = MODELS[name]()
    model(X)
    model.reset_states()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    states = [(g, g.state) for g in model.seed_generators()]
    want = []
    for _ in range(12):
        model.reset_states()
        want.append(model(X, training=True))
    after = [g.state for g, _ in states]
    for g, state in states:
        g.state = state
    model.reset_states()
    mean, deviation, quantiles, samples = model.predict_mc(X, 12, quantiles=[0.1, 0.5], return_samples=True)
    np.testing.assert_allclose(samples, want, atol=2e-6)
    np.testing.assert_allclose(mean, np.mean(want, axis=0), atol=2e-6)
    np.testing.assert_allclose(deviation, np.std(want, axis=0), atol=2e-6)
    np.testing.assert_allclose(quantiles, np.quantile(want, [0.1, 0.5], axis=0), atol=2e-6)
    assert [g.state for g, _ in states] == after
    assert np.ptp(samples, axis=0).max() > 0.01


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_batches_and_threads_change_nothing(name, shared):
    x = np.random.default_rng(3).normal(size=(21 if name == "stateful" else 300, 4, 3)).astype(np.float32)
    found = []
    for batch_size, threads in ((None, 1), (7, 2), (1000, 2)):
        model = MODELS[name]()
        model(x[:2])
        model.reset_states()
        rng = np.random.default_rng(4)
        model.set_weights([rng.normal(size=w.shape, scale=0.3) ** 2 for w in model.get_weights()])
        with rnnx.threads(threads):
            found.append(model.predict_mc(x, 3, shared, batch_size, return_samples=True)[2])
    if not (shared and name == "rows_together"):  # a row alone is its own mean
        assert np.ptp(found[0], axis=0).max() > 0.01
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=2e-6)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_batches_of_a_row_or_with_a_row_left(name, shared):
    """A mask of one row must not pass for one that all rows share."""
    x = np.random.default_rng(3).normal(size=(5, 4, 3)).astype(np.float32)
    found = []
    for batch_size in (None, 1, 2, 4):
        model = MODELS[name]()
        model(x[:2])
        model.reset_states()
        rng = np.random.default_rng(4)
        model.set_weights([rng.normal(size=w.shape, scale=0.3) ** 2 for w in model.get_weights()])
        found.append(model.predict_mc(x, 3, shared, batch_size, return_samples=True)[2])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=2e-6)


def test_rows_that_share_their_masks_see_those_of_a_pass_over_one():
    model = model_of(dropout=0.4, recurrent_dropout=0.3)
    model.layers[1].trainable = False
    generator = model.seed_generators()[0]
    for rows in (3, 40):  # as rows of one batch, and as passes with kernels packed by their masks
        same, start = np.repeat(X[:1], rows, axis=0), generator.state
        samples = model.predict_mc(same, 5, True, return_samples=True)[2]
        generator.state = start
        want = [model(X[:1], training=True)[0] for _ in range(5)]
        np.testing.assert_allclose(samples, np.repeat(np.array(want)[:, None], rows, axis=1), atol=1e-6)


def test_it_stops_when_the_mean_has_settled():
    model = model_of(dropout=0.4)
    _, deviation, samples = model.predict_mc(X, 400, until=0.02, return_samples=True)
    count = len(samples)
    assert 10 < count < 400 and count % 10 == 0
    assert deviation.max() <= 0.02 * np.sqrt(count)
    assert samples[:-10].std(axis=0).max() > 0.02 * np.sqrt(count - 10)
    assert len(model.predict_mc(X, 25, until=1e-9, return_samples=True)[2]) == 25
    assert len(model.predict_mc(X, 25, until=1e9, return_samples=True)[2]) == 10
    again = model_of(dropout=0.4)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict_mc(X, 400, until=0.02, batch_size=3, return_samples=True)[2], samples)


def test_steps_of_ragged_rows():
    model = rnnx.Sequential([layers.Input((None, 3)), layers.GRU(8, dropout=0.1, seed=2, return_sequences=True)])
    rows = [X[k, : k % 4 + 1] for k in range(6)]
    mean, deviation, quantiles, samples = model.predict_mc(
        rows, 20, quantiles=[0.25, 0.75], return_samples=True, until=0.5
    )
    for k, row in enumerate(rows):
        assert mean[k].shape == deviation[k].shape == (len(row), 8)
        assert quantiles[k].shape == (2, len(row), 8) and samples[k].shape[1:] == (len(row), 8)
        np.testing.assert_allclose(samples[k].mean(axis=0), mean[k], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "`batch_size` must be a positive integer, got 0"),
        ({"until": 0}, "`until` must be a positive number or None, got 0"),
        ({"until": True}, "`until` must be a positive number or None, got True"),
        ({"quantiles": 0.5}, r"`quantiles` must be a list of numbers in \[0, 1\], got 0.5"),
        ({"quantiles": [0.5, 1.5]}, r"`quantiles` must be a list of numbers in \[0, 1\]"),
    ],
)
def test_arguments_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        model_of().predict_mc(X, **options)
