"""Keras' own sequence examples, condensed: only the import differs."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx as keras
from rnnx import layers


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(812)


def same_after_reload(model, path, *x):
    model.save(path)
    again = keras.models.load_model(path)
    for value in x:
        np.testing.assert_array_equal(again.predict(value, verbose=0), model.predict(value, verbose=0))
    return again


# ---- The examples ----------------------------------------------------------------------------------------------------


def test_bidirectional_lstm_on_reviews(tmp_path):
    """'Bidirectional LSTM on IMDB', with reviews of random ids where one id decides."""
    max_features, maxlen = 50, 12
    rng = np.random.default_rng(0)
    reviews = [list(rng.integers(1, max_features, rng.integers(3, 20))) for _ in range(200)]
    y = np.array([rng.integers(0, 2) for _ in reviews])
    for review, label in zip(reviews, y, strict=True):
        review[-2] = 7 if label else 8
    x = keras.utils.pad_sequences(reviews, maxlen=maxlen)
    x_train, y_train, x_val, y_val = x[:150], y[:150], x[150:], y[150:]

    inputs = keras.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(max_features, 12)(inputs)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(8))(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    model = keras.Model(inputs, outputs)
    model.summary(print_fn=lambda text: None)
    model.compile(keras.optimizers.Adam(0.02), loss="binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, batch_size=32, epochs=8, validation_data=(x_val, y_val), verbose=0)
    assert history.history["val_accuracy"][-1] > 0.9
    same_after_reload(model, tmp_path / "imdb.safetensors", x_val)


def test_addition_sequence_to_sequence():
    """'Sequence to sequence learning for performing number addition', on short numbers."""
    chars, digits, maxlen = "0123456789+ ", 1, 3
    index = {c: k for k, c in enumerate(chars)}

    def encode(text, rows):
        x = np.zeros((rows, len(chars)))
        for k, c in enumerate(text):
            x[k, index[c]] = 1
        return x

    pairs = [(a, b) for a in range(10) for b in range(10)]
    x = np.array([encode(f"{a}+{b}"[::-1], maxlen) for a, b in pairs])
    y = np.array([encode(str(a + b).ljust(digits + 1), digits + 1) for a, b in pairs])
    model = keras.Sequential()
    model.add(layers.Input((maxlen, len(chars))))
    model.add(layers.LSTM(32))
    model.add(layers.RepeatVector(digits + 1))
    for _ in range(1):
        model.add(layers.LSTM(32, return_sequences=True))
    model.add(layers.TimeDistributed(layers.Dense(len(chars), activation="softmax")))
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(0.02), metrics=["accuracy"])
    model.fit(x, y, batch_size=20, epochs=40, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.8
    assert np.argmax(model.predict(x[:3], verbose=0), axis=-1).shape == (3, 2)


def test_time_series_with_callbacks(tmp_path):
    """'Timeseries forecasting for weather prediction'."""
    series = np.sin(np.arange(260) / 5)[:, None]
    windows = keras.utils.timeseries_windows(series, 11)
    x, y = windows[:, :10], windows[:, 10]
    path = tmp_path / "best.safetensors"
    inputs = keras.layers.Input(shape=(x.shape[1], x.shape[2]))
    lstm_out = keras.layers.LSTM(16)(inputs)
    outputs = keras.layers.Dense(1)(lstm_out)
    model = keras.Model(inputs=inputs, outputs=outputs)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="mse")
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=0, patience=5)
    checkpoint = keras.callbacks.ModelCheckpoint(
        monitor="val_loss", filepath=path, verbose=0, save_weights_only=False, save_best_only=True
    )
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=2)
    history = model.fit(
        x[:200], y[:200], epochs=12, validation_data=(x[200:], y[200:]), callbacks=[stopping, checkpoint, plateau],
        verbose=0,
    )  # fmt: skip
    best = keras.models.load_model(path)
    assert best.evaluate(x[200:], y[200:], verbose=0) == pytest.approx(min(history.history["val_loss"]), rel=1e-5)
    assert min(history.history["val_loss"]) < 0.05


def test_encoder_decoder_with_states(tmp_path):
    """'Character-level recurrent sequence-to-sequence model': training graph and the two inference graphs."""
    latent, tokens = 16, 6
    rng = np.random.default_rng(1)
    source = rng.integers(1, tokens, (64, 4))
    encoder_x = np.eye(tokens)[source]
    target = source[:, ::-1]
    decoder_y = np.eye(tokens)[target]
    decoder_x = np.concatenate([np.zeros((64, 1, tokens)), decoder_y[:, :-1]], axis=1)

    encoder_inputs = keras.Input(shape=(None, tokens))
    encoder = keras.layers.LSTM(latent, return_state=True)
    encoder_outputs, state_h, state_c = encoder(encoder_inputs)
    encoder_states = [state_h, state_c]
    decoder_inputs = keras.Input(shape=(None, tokens))
    decoder_lstm = keras.layers.LSTM(latent, return_sequences=True, return_state=True)
    decoder_outputs, _, _ = decoder_lstm(decoder_inputs, initial_state=encoder_states)
    decoder_dense = keras.layers.Dense(tokens, activation="softmax")
    decoder_outputs = decoder_dense(decoder_outputs)
    model = keras.Model([encoder_inputs, decoder_inputs], decoder_outputs)
    model.compile(optimizer=keras.optimizers.RMSprop(0.01), loss="categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        [encoder_x, decoder_x], decoder_y, batch_size=16, epochs=20, validation_split=0.2, verbose=0
    ).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    same_after_reload(model, tmp_path / "s2s.safetensors", [encoder_x, decoder_x])

    encoder_model = keras.Model(encoder_inputs, encoder_states)
    given_h, given_c = keras.Input(shape=(latent,)), keras.Input(shape=(latent,))
    outputs, h, c = decoder_lstm(decoder_inputs, initial_state=[given_h, given_c])
    decoder_model = keras.Model([decoder_inputs, given_h, given_c], [decoder_dense(outputs), h, c])
    states = encoder_model.predict(encoder_x[:2], verbose=0)
    steps = []
    for t in range(4):
        y, *states = decoder_model.predict([decoder_x[:2, t : t + 1], *states], verbose=0)
        steps.append(y)
    whole = model.predict([encoder_x[:2], decoder_x[:2]], verbose=0)
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, atol=1e-6)


def test_monte_carlo_dropout_idiom():
    inputs = keras.Input((None, 3))
    x = layers.LSTM(8, dropout=0.3, recurrent_dropout=0.3)(inputs, training=True)
    x = layers.Dropout(0.5)(x, training=True)
    model = keras.Model(inputs, layers.Dense(1)(x))
    data = np.random.default_rng(3).normal(size=(4, 5, 3))
    samples = np.stack([model.predict(data, verbose=0) for _ in range(10)])
    assert (samples.std(axis=0) > 0).all()
    again = keras.Model.from_config(model.get_config())
    assert np.ptp([again(data[:1]) for _ in range(5)]) > 0
    quiet = keras.Sequential([keras.Input((None, 3)), layers.LSTM(8, dropout=0.3), layers.Dropout(0.5)])
    np.testing.assert_array_equal(quiet(data), quiet(data))
    assert np.ptp([quiet(data, training=True) for _ in range(5)], axis=0).max() > 0


def test_masking_guide():
    """'Understanding masking & padding'."""
    raw = [[711, 632, 71], [73, 8, 3215, 55, 927], [83, 91, 1, 645, 1253, 927]]
    padded = keras.utils.pad_sequences(raw, padding="post")
    embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
    embedded = embedding(padded)
    mask = embedding.compute_mask(padded)
    np.testing.assert_array_equal(mask, padded != 0)
    masking = layers.Masking()
    unmasked = np.where((padded != 0)[..., None], 1.0, 0.0) * np.ones(10)
    np.testing.assert_array_equal(masking.compute_mask(unmasked), padded != 0)

    sequential = keras.Sequential([layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True), layers.LSTM(32)])
    short = sequential(np.array(raw[:1]))
    np.testing.assert_allclose(sequential(padded)[:1], short, atol=1e-6)
    inputs = keras.Input(shape=(None,), dtype="int32")
    model = keras.Model(inputs, layers.LSTM(32)(layers.Embedding(5000, 16, mask_zero=True)(inputs)))
    model.set_weights(sequential.get_weights())
    np.testing.assert_allclose(model(padded), sequential(padded), atol=1e-6)
    lstm = layers.LSTM(4)
    np.testing.assert_allclose(lstm(embedded, mask=mask)[0], lstm(embedded[:1, :3])[0], atol=1e-6)


def test_working_with_rnns_guide():
    model = keras.Sequential()
    model.add(layers.Embedding(input_dim=100, output_dim=8))
    model.add(layers.GRU(16, return_sequences=True))
    model.add(layers.SimpleRNN(12))
    model.add(layers.Dense(10))
    assert model(np.ones((2, 5), int)).shape == (2, 10)

    paragraph = np.random.default_rng(0).random((20, 10, 5)).astype(np.float32)
    lstm = layers.LSTM(6, stateful=True)
    first = lstm(paragraph)
    second = lstm(paragraph)
    assert not np.allclose(first, second)
    lstm.reset_states()
    np.testing.assert_array_equal(lstm(paragraph), first)

    model = keras.Sequential()
    model.add(layers.Bidirectional(layers.LSTM(6, return_sequences=True), input_shape=(5, 10)))
    model.add(layers.Bidirectional(layers.LSTM(3)))
    model.add(layers.Dense(10))
    assert model.output_shape == (None, 10)

    cells = [layers.LSTMCell(4), layers.LSTMCell(3)]
    stacked = keras.Sequential([layers.RNN(cells, return_sequences=True, input_shape=(None, 5)), layers.Dense(2)])
    stacked.compile("sgd", keras.losses.MeanSquaredError())
    stacked.fit(paragraph, np.zeros((20, 10, 2)), verbose=0)


def test_the_snippet_of_a_regression_on_features():
    model = keras.models.Sequential()
    model.add(layers.GRU(units=16, return_sequences=True, dropout=0.5, input_shape=(None, 7)))
    model.add(layers.Dropout(0.2))
    model.add(layers.TimeDistributed(layers.Dense(1)))
    model.compile(loss=keras.losses.Huber(), optimizer="rmsprop", metrics=[keras.metrics.MeanAbsoluteError()])
    x = np.random.default_rng(1).normal(size=(10, 9, 7))
    history = model.fit(x, x[:, :, :1], validation_split=0.2, epochs=2, batch_size=4, verbose=0)
    assert set(history.history) == {"loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"}


def test_functions_of_utils_under_keras_names():
    assert keras.utils.to_categorical([1, 0]).tolist() == [[0, 1], [1, 0]]
    keras.utils.clear_session()
    assert keras.models.Sequential is keras.Sequential
    assert keras.models.Model is keras.Model
    assert keras.layers.Input is keras.Input
    assert keras.saving.load_model is not None
    assert keras.activations.relu(np.array([-1.0, 2.0])).tolist() == [0, 2]
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    assert keras.models.clone_model(model).count_params() == 8
    assert keras.models.model_from_json(model.to_json()).count_params() == 8


# ---- Every argument of Keras 3 ---------------------------------------------------------------------------------------

WEIGHTS = {
    "kernel_initializer": "he_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l2",
    "bias_regularizer": keras.regularizers.L1(0.1),
    "activity_regularizer": "l2",
    "kernel_constraint": "non_neg",
    "bias_constraint": keras.constraints.MaxNorm(3),
}
BASE = {"name": "named", "dtype": "float32", "trainable": True}
RECURRENT = {
    **BASE, **WEIGHTS, "units": 4, "activation": "relu", "use_bias": True, "recurrent_initializer": "orthogonal",
    "recurrent_regularizer": "l2", "recurrent_constraint": "unit_norm", "dropout": 0.1, "recurrent_dropout": 0.1,
    "seed": 3, "return_sequences": True, "return_state": False, "go_backwards": False, "stateful": False,
    "unroll": False,
}  # fmt: skip
ARGUMENTS = {
    "LSTM": {**RECURRENT, "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False, "use_cudnn": "auto"},
    "GRU": {**RECURRENT, "recurrent_activation": "sigmoid", "reset_after": False, "use_cudnn": False},
    "SimpleRNN": RECURRENT,
    "Dense": {**BASE, **WEIGHTS, "units": 4, "activation": "gelu", "use_bias": True},
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_every_argument_is_taken_and_kept(kind):
    layer = getattr(layers, kind)(**ARGUMENTS[kind])
    x = np.random.default_rng(0).normal(size=(2, 3, 5))
    assert layer(x).shape == (2, 3, 4)
    config = layer.get_config()
    missing = set(ARGUMENTS[kind]) - set(config) - {"use_cudnn"}
    assert not missing
    again = type(layer).from_config(config)
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), layer(x))


def test_every_argument_of_embedding_and_wrappers():
    embedding = layers.Embedding(
        input_dim=7, output_dim=3, embeddings_initializer="uniform", embeddings_regularizer="l2",
        embeddings_constraint="unit_norm", mask_zero=True, weights=[np.full((7, 3), 2.0)], **BASE,
    )  # fmt: skip
    assert embedding(np.array([[1, 0]])).tolist() == [[[2] * 3] * 2]
    inner = layers.GRU(2, return_sequences=True)
    backward = layers.GRU(2, return_sequences=True, go_backwards=True)
    for mode, width in (("concat", 4), ("sum", 2), ("mul", 2), ("ave", 2)):
        wrapper = layers.Bidirectional(layer=inner, merge_mode=mode, backward_layer=backward, weights=None, name=mode)
        assert wrapper(np.ones((1, 3, 2))).shape == (1, 3, width)
    left, right = layers.Bidirectional(layers.LSTM(2), merge_mode=None)(np.ones((1, 3, 2)))
    assert left.shape == right.shape == (1, 2)
    assert layers.TimeDistributed(layer=layers.Dense(2), name="each")(np.ones((1, 3, 2))).shape == (1, 3, 2)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_call_arguments(kind):
    layer = getattr(layers, kind)(4, return_state=True)
    x, mask = np.ones((2, 3, 5)), np.array([[True] * 3, [True, False, True]])
    y, *states = layer(x, mask=mask, training=False)
    y, *states = layer(x, initial_state=states, mask=mask, training=True)
    assert y.shape == (2, 4)
    with pytest.raises(TypeError, match="unknown call argument"):
        layer(x, masks=mask)
