"""Words of Keras 1 and 2 in scripts: taken with a warning that names the new word."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers, optimizers

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(8, 6, 3)), RNG.normal(size=(8, 1))

OLD_AND_NEW: dict[str, tuple[Any, Any]] = {
    "lstm": (
        lambda: layers.LSTM(
            output_dim=4, init="uniform", inner_init="identity", inner_activation="hard_sigmoid", dropout_W=0.2,
            dropout_U=0.1, forget_bias_init="zero", W_regularizer="l2", consume_less="gpu",
        ),
        lambda: layers.LSTM(
            4, kernel_initializer="uniform", recurrent_initializer="identity", recurrent_activation="hard_sigmoid",
            dropout=0.2, recurrent_dropout=0.1, unit_forget_bias=False, kernel_regularizer="l2",
        ),
    ),
    "gru": (
        lambda: layers.GRU(output_dim=4, U_constraint="max_norm"),
        lambda: layers.GRU(4, recurrent_constraint="max_norm"),
    ),
    "simple_rnn": (lambda: layers.SimpleRNN(output_dim=4), lambda: layers.SimpleRNN(4)),
    "dense": (lambda: layers.Dense(output_dim=2, init="one"), lambda: layers.Dense(2, None, True, "ones")),
    "embedding": (lambda: layers.Embedding(9, 4, init="zero"), lambda: layers.Embedding(9, 4, "zeros")),
    "conv1d": (
        lambda: layers.Convolution1D(nb_filter=4, filter_length=3, border_mode="same", subsample_length=2),
        lambda: layers.Conv1D(4, 3, 2, "same"),
    ),
    "conv2d": (
        lambda: layers.Convolution2D(nb_filter=4, nb_row=3, nb_col=2, dim_ordering="th"),
        lambda: layers.Conv2D(4, (3, 2), data_format="channels_first"),
    ),
    "conv_lstm": (lambda: layers.ConvLSTM2D(nb_filter=2, nb_row=3, nb_col=3), lambda: layers.ConvLSTM2D(2, (3, 3))),
    "pooling": (lambda: layers.MaxPooling1D(pool_length=3, stride=2), lambda: layers.MaxPooling1D(3, 2)),
    "dropout": (lambda: layers.Dropout(p=0.3), lambda: layers.Dropout(0.3)),
    "noise": (lambda: layers.GaussianNoise(sigma=0.3), lambda: layers.GaussianNoise(0.3)),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_AND_NEW)
def test_old_words_mean_the_new_ones(name: str) -> None:
    old, new = OLD_AND_NEW[name]
    with pytest.warns(UserWarning, match="is the old name of") as found:
        made = old()
    assert {warning.filename for warning in found} == {__file__}
    drop = lambda layer: {key: value for key, value in layer.get_config().items() if key != "name"}  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drop(made) == drop(new())


def test_an_old_word_beside_the_new_one_is_refused() -> None:
    with pytest.raises(TypeError, match="GRU: `output_dim` is the old name of `units`; give one of them"):
        layers.GRU(units=3, output_dim=4)


def test_words_that_a_class_has_are_not_renamed() -> None:
    with pytest.raises(TypeError, match=r"unknown argument\(s\) nb_filter"):
        layers.Dense(2, nb_filter=4)
    assert list(inspect.signature(layers.Dense).parameters)[0] == "units"


def test_input_dim_alone_leaves_the_steps_open() -> None:
    for layer in (layers.LSTM(4, input_dim=3), layers.Conv1D(4, 2, input_dim=3)):
        assert rnnx.Sequential([layer]).input_shape == (None, None, 3)
    assert rnnx.Sequential([layers.GRU(4, input_dim=3, input_length=6)]).input_shape == (None, 6, 3)
    assert rnnx.Sequential([layers.Dense(4, input_dim=3)]).input_shape == (None, 3)


def test_names_of_classes() -> None:
    assert layers.CuDNNLSTM is layers.LSTM and layers.CuDNNGRU is layers.GRU
    assert optimizers.rmsprop is optimizers.RMSprop and optimizers.adam is optimizers.Adam


def model() -> Any:
    made = rnnx.Sequential([rnnx.Input((6, 3)), layers.LSTM(4, kernel_initializer="ones"), layers.Dense(1)])
    made.compile(optimizers.SGD(0.1), "mse")
    made.set_weights([np.full(w.shape, 0.1) for w in made.weights])
    return made


def batches() -> Any:
    while True:
        yield X[:4], Y[:4]
        yield X[4:], Y[4:]


def test_generator_methods_are_fit_evaluate_and_predict() -> None:
    old, new = model(), model()
    with pytest.warns(UserWarning, match="fit_generator is the old name of fit"):
        history = old.fit_generator(
            batches(), steps_per_epoch=2, epochs=2, verbose=0, validation_data=batches(), validation_steps=2, workers=4,
            max_queue_size=3, use_multiprocessing=True,
        )  # fmt: skip
    again = new.fit(batches(), steps_per_epoch=2, epochs=2, verbose=0, validation_data=batches(), validation_steps=2)
    assert history.history == again.history
    for one, other in zip(old.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.warns(UserWarning, match="evaluate_generator is the old name of evaluate"):
        assert old.evaluate_generator(batches(), 2) == new.evaluate(batches(), steps=2, verbose=0)
    with pytest.warns(UserWarning, match="predict_generator is the old name of predict"):
        found = old.predict_generator(iter([X[:4], X[4:]]), steps=2)
    np.testing.assert_array_equal(found, new.predict(X))


def test_what_generator_methods_do_not_know() -> None:
    with pytest.raises(TypeError, match="`samples_per_epoch` counted samples in Keras 1; give `steps_per_epoch`"):
        model().fit_generator(batches(), samples_per_epoch=8)
    with pytest.raises(TypeError, match=r"fit_generator: unknown argument\(s\) step"):
        model().fit_generator(batches(), step=2)


def test_nb_epoch_and_input_and_output() -> None:
    x = rnnx.Input((3,))
    with pytest.warns(UserWarning, match="Model: `(input|output)` is the old name of `(inputs|outputs)`"):
        made = rnnx.Model(input=x, output=layers.Dense(1)(x))
    made.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="Model: `nb_epoch` is the old name of `epochs`"):
        assert len(made.fit(X[:, 0], Y, nb_epoch=3, verbose=0).history["loss"]) == 3


def test_warnings_show_the_line_of_the_script() -> None:
    for call in (
        lambda: model().fit_generator(batches(), 1, verbose=0),
        lambda: model().predict_proba(X),
        lambda: model().predict_classes(X),
        lambda: layers.Embedding(9, 4, dropout=0.2),
    ):
        with pytest.warns(UserWarning) as found:
            call()
        assert {warning.filename for warning in found} == {__file__}


def test_classes() -> None:
    made = rnnx.Sequential([rnnx.Input((2,)), layers.Activation("linear")])
    with pytest.warns(UserWarning, match=r"write predict\(x\).argmax\(-1\)"):
        assert made.predict_classes(np.array([[0.2, 0.7], [0.9, 0.1]])).tolist() == [1, 0]
    made = rnnx.Sequential([rnnx.Input((1,)), layers.Activation("linear")])
    with pytest.warns(UserWarning, match="predict_classes is of Keras 2"):
        assert made.predict_classes(np.array([[0.2], [0.7]])).tolist() == [[0], [1]]
    with pytest.warns(UserWarning, match="predict_proba is the old name of predict"):
        assert made.predict_proba(np.array([[0.25], [0.5]])).tolist() == [[0.25], [0.5]]


def test_dropout_of_an_embedding_is_left_out() -> None:
    with pytest.warns(UserWarning, match="`dropout` has no effect since Keras 2; put SpatialDropout1D behind"):
        made = layers.Embedding(9, 4, dropout=0.2)
    assert "dropout" not in made.get_config()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.LSTM(input_size=3, hidden_size=4), "LSTM: .* `hidden_size` is called `units`"),
        (lambda: layers.GRU(4, num_layers=2, batch_first=True), "num_layers, batch_first; write one layer for each, "),
        (lambda: layers.SimpleRNN(4, bidirectional=True), r"wrap the layer, layers.Bidirectional\(layer\)"),
        (lambda: layers.Dense(in_features=3, out_features=4), "`out_features` is called `units`"),
        (lambda: layers.Embedding(num_embeddings=9, embedding_dim=4), "`embedding_dim` is called `output_dim`"),
        (lambda: layers.LSTM(3, 4), r"got int 4; the width of the input is not an argument, write LSTM\(units\)"),
        (
            lambda: rnnx.Sequential(layers.LSTM(3), layers.Dense(2)),
            r"`layers` must be one list, Sequential\(\[a, b\]\)",
        ),
        (lambda: rnnx.Sequential(layers.LSTM(3)), r"`layers` must be one list"),
    ],
)
def test_words_of_pytorch_are_refused_with_the_way_to_write_it(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make()


def test_a_class_of_ones_own_may_have_words_of_pytorch() -> None:
    class Wide(layers.GRU):
        def __init__(self, hidden_size: int, **kwargs: Any):
            super().__init__(hidden_size, **kwargs)

    assert Wide(hidden_size=4).units == 4


@pytest.mark.parametrize("name", ["merge", "Merge", "Recurrent", "Highway", "MaxoutDense", "TimeDistributedDense"])
def test_layers_that_are_gone_say_what_says_it_since(name):
    with pytest.raises(AttributeError, match=f"no attribute {name!r}: (Keras|write)"):
        getattr(layers, name)
    assert name not in dir(layers) and not hasattr(layers, "NoSuchLayer")
