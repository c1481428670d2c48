"""Bidirectional and TimeDistributed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, functional, layers, load_model, reference
from rnnx.dropout import SeedGenerator
from rnnx.layers import RNN, Bidirectional, GRUCell, LSTMCell, TimeDistributed

from .support import LENGTHS, MASK, B, F, T, U, check_all_gradients, data, flat, randomize, same

KINDS: dict[str, Any] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "SimpleRNN": layers.SimpleRNN,
    "RNN": lambda units, dropout=0.0, seed=None, dtype="float32", **kw: RNN(
        [LSTMCell(2, dropout=dropout, seed=seed, dtype=dtype), GRUCell(units, dtype=dtype)], **kw
    ),
}
STATES = {"LSTM": [U, U], "GRU": [U], "SimpleRNN": [U], "RNN": [2, 2, U]}
MODES = ["concat", "sum", "mul", "ave", None]


def both(name: str, rng: Any, merge_mode: Any = "concat", **options: Any) -> Any:
    layer = Bidirectional(KINDS[name](U, dtype="float64", **options), merge_mode=merge_mode)
    return randomize(layer, rng, np.zeros((B, T, F)))


# ---- Both directions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KINDS)
def test_both_directions_equal_two_layers_over_the_unpadded_rows(name: str, mode: Any) -> None:
    rng = np.random.default_rng(1)
    for sequences in (False, True):
        layer = both(name, rng, mode, return_sequences=sequences, return_state=True)
        plain = KINDS[name](U, dtype="float64", return_sequences=sequences, return_state=True)
        plain.build((B, T, F))
        x, half = data(rng), len(layer.get_weights()) // 2
        begin = [data(rng, B, n) for n in STATES[name] * 2]
        found = layer(x, mask=MASK, initial_state=begin)
        outputs = 2 if mode is None else 1
        for row in range(4):  # the last row is empty
            steps = np.flatnonzero(MASK[row])
            alone = x[row : row + 1, steps]
            own = [state[row : row + 1] for state in begin]
            plain.set_weights(layer.get_weights()[:half])
            y1, *s1 = plain(alone, initial_state=own[: len(own) // 2])
            plain.set_weights(layer.get_weights()[half:])
            y2, *s2 = plain(alone[:, ::-1], initial_state=own[len(own) // 2 :])
            if sequences:
                y2 = y2[:, ::-1]
            merged = {
                "concat": lambda a, b: np.concatenate([a, b], -1),
                "sum": lambda a, b: a + b,
                "mul": lambda a, b: a * b,
                "ave": lambda a, b: (a + b) / 2,
                None: lambda a, b: [a, b],
            }[mode](y1, y2)
            for got, want in zip(found[:outputs], flat(merged), strict=True):
                same(got[row, steps] if sequences else got[row], want[0])
                if sequences:
                    assert not got[row, ~MASK[row]].any()
            same([part[row] for part in flat(found[outputs:])], [part[0] for part in flat([*s1, *s2])])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KINDS)
def test_gradients_of_both_directions(name: str, mode: Any) -> None:
    rng = np.random.default_rng(2)
    for options, call in (
        ({"return_sequences": True, "return_state": True}, {"mask": MASK}),
        ({"return_sequences": False, "return_state": True}, {"lengths": LENGTHS}),
        ({"return_sequences": True}, {}),
    ):
        layer = both(name, rng, mode, **options)
        states = [data(rng, B, n) for n in STATES[name] * 2] if "return_state" in options else []
        check_all_gradients(layer, data(rng), states, **call)


def test_gradients_with_noise() -> None:
    rng = np.random.default_rng(3)
    layer = both("GRU", rng, "mul", dropout=0.3, recurrent_dropout=0.3, seed=1, return_sequences=True)
    masks = layer.sample_masks(B, T)
    check_all_gradients(layer, data(rng), [], mask=MASK, training=True, dropout_masks=masks)


def test_missing_gradients() -> None:
    rng = np.random.default_rng(4)
    layer = both("LSTM", rng, None, return_sequences=True, return_state=True)
    y, pullback = layer.vjp(data(rng))
    dys = [rng.normal(size=part.shape) for part in y]
    whole = pullback(dys)
    parts = [pullback([dy if j == k else None for j, dy in enumerate(dys)]) for k in range(len(dys))]
    same(sum(g.dx for g in parts), whole.dx)
    same([sum(g.dweights[k] for g in parts) for k in range(6)], whole.dweights)
    assert pullback(dys, need_dx=False).dx is None
    with pytest.raises(ValueError, match="a list of 6, one for each output"):
        pullback(dys[:2])
    layer.trainable = False
    assert layer.vjp(data(rng))[1](dys).dweights == [None] * 6


@pytest.mark.parametrize("name", KINDS)
def test_the_directions_have_noise_of_their_own(name: str) -> None:
    rng = np.random.default_rng(5)
    layer = both(name, rng, dropout=0.5, seed=7, return_sequences=True)
    x = data(rng)
    y, masks = layer(x, training=True, return_masks=True)
    assert len(masks) == 2
    inputs = [(direction[0] if name == "RNN" else direction).inputs for direction in masks]
    assert not np.array_equal(*inputs)
    assert np.array_equal(layer(x, training=True, dropout_masks=masks), y)
    twin = both(name, np.random.default_rng(5), dropout=0.5, seed=7, return_sequences=True)
    assert np.array_equal(twin(x, training=True), y), "and the same noise in every run"
    copy = Bidirectional.from_config(layer.get_config())
    copy(x)
    copy.set_weights(layer.get_weights())
    assert np.array_equal(copy(x, training=True), y)


def test_the_stream_of_keras_gives_both_directions_the_same_masks() -> None:
    layer = Bidirectional(layers.GRU(U, dropout=0.5, seed=SeedGenerator(7, "keras")))
    layer.build((B, T, F))
    forward, backward = layer.sample_masks(B, T)
    assert np.array_equal(forward.inputs, backward.inputs)
    assert layer.backward_layer.seed_generator.stream == "keras"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("sequences", [False, True])
def test_a_plain_call_equals_one_that_is_kept_for_gradients(name: str, mode: Any, sequences: bool) -> None:
    rng = np.random.default_rng(7)
    layer = both(name, rng, mode, return_sequences=sequences)
    for x in (data(rng), data(rng)[:, ::-1], data(rng)[:, :1], data(rng)[:0], data(rng).astype(np.float32)):
        for threads in (1, 2):
            with rnnx.threads(threads):
                plain, kept = layer(x), layer.vjp(x)[0]
        assert isinstance(plain, list) == isinstance(kept, list) == (mode is None)
        for a, b in zip(flat(plain), flat(kept), strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
            assert a.flags.writeable


def test_another_layer_for_the_backward_direction() -> None:
    rng = np.random.default_rng(6)
    options = {"return_sequences": True, "dtype": "float64"}
    layer = Bidirectional(
        layers.LSTM(U, **options), backward_layer=layers.GRU(2, go_backwards=True, **options), name="mine"
    )
    randomize(layer, rng, np.zeros((B, T, F)))
    x = data(rng)
    assert layer(x).shape == (B, T, U + 2) == layer.compute_output_shape((B, T, F))
    twin = Bidirectional.from_config(layer.get_config())
    twin.build((B, T, F))
    twin.set_weights(layer.get_weights())
    assert twin.get_config() == layer.get_config() and np.array_equal(twin(x), layer(x))
    same(layer(x)[..., U:], layer.backward_layer(x)[:, ::-1])


def test_names_and_flags_of_the_copies() -> None:
    inner = layers.GRU(U, name="inner", return_sequences=True, zero_output_for_mask=False)
    layer = Bidirectional(inner)
    assert [part.name for part in layer.sublayers] == ["forward_inner", "backward_inner"]
    assert [part.go_backwards for part in layer.sublayers] == [False, True]
    assert all(part.zero_output_for_mask for part in layer.sublayers)
    assert not Bidirectional(layers.GRU(U, zero_output_for_mask=True)).forward_layer.zero_output_for_mask
    layer(np.zeros((B, T, F)))
    assert not inner.built, "copied, not used"
    assert not np.array_equal(*(part.kernel for part in layer.sublayers))


def test_first_weights_may_be_given() -> None:
    rng = np.random.default_rng(7)
    weights = both("GRU", rng).get_weights()
    layer = Bidirectional(layers.GRU(U, dtype="float64"), weights=weights)
    x = data(rng)
    layer(x)
    same(layer.get_weights(), weights)


def test_stateful_directions() -> None:
    rng = np.random.default_rng(8)
    layer = both("LSTM", rng, stateful=True, return_state=True)
    plain = both("LSTM", rng, return_state=True)
    plain.set_weights(layer.get_weights())
    x = data(rng)
    layer.reset_state()
    _, *states = plain(x)
    layer(x)
    same(layer(x), plain(x, initial_state=states))
    layer.reset_states(states)
    same(layer(x), plain(x, initial_state=states))
    layer.reset_states()
    same(layer(x), plain(x))


def test_both_directions_in_a_model() -> None:
    rng = np.random.default_rng(9)
    options = {"dtype": "float64"}
    x = Input((None, F), **options)
    masked = layers.Masking(**options)(x)
    y, *states = Bidirectional(layers.LSTM(U, return_sequences=True, return_state=True, **options))(masked)
    z = Bidirectional(layers.LSTM(U, **options), merge_mode=None)(y, initial_state=states)
    model = Model(x, layers.Concatenate(**options)(z))
    randomize(model, rng)
    given = data(rng)
    given[~MASK] = 0
    one, two = (layer for layer in model.layers if isinstance(layer, Bidirectional))
    out, *after = one(given, mask=MASK)
    same(model(given), np.concatenate(two(out, mask=MASK, initial_state=after), -1))
    check_all_gradients(model, given, [], inputs=False)  # a moved input would no longer be masked


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Bidirectional(layers.Dense(3)), "a recurrent layer is needed, got Dense"),
        (lambda: Bidirectional(layers.GRU(3, go_backwards=True)), "must not go backwards"),
        (lambda: Bidirectional(layers.GRU(3), merge_mode="max"), "`merge_mode` must be one of"),
        (lambda: Bidirectional(layers.GRU(3), backward_layer=layers.GRU(3)), "must have go_backwards=True"),
        (
            lambda: Bidirectional(
                layers.GRU(3), backward_layer=layers.GRU(3, go_backwards=True, return_sequences=True)
            ),
            "differ in `return_sequences`",
        ),
        (lambda: Bidirectional(layers.GRU(3))(np.zeros((2, 3, 1)), initial_state=[np.zeros((2, 3))]), "even number"),
    ],
)
def test_what_both_directions_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# ---- The same layer at every step -----------------------------------------------------------------------------------


def inner_model() -> Any:
    return Sequential(
        [Input((F,), dtype="float64"), layers.Dense(4, "tanh", dtype="float64"), layers.Dense(2, dtype="float64")]
    )


INNER: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Dense": (lambda: layers.Dense(4, "tanh", dtype="float64"), (F,)),
    "LayerNormalization": (lambda: layers.LayerNormalization(dtype="float64"), (F,)),
    "Flatten": (lambda: layers.Flatten(dtype="float64"), (2, F)),
    "LSTM": (lambda: layers.LSTM(U, dtype="float64"), (4, F)),
    "Conv1D": (lambda: layers.Conv1D(2, 2, dtype="float64"), (4, F)),
    "Model": (inner_model, (F,)),
    "TimeDistributed": (lambda: TimeDistributed(layers.Dense(2, dtype="float64")), (4, F)),
}


@pytest.mark.parametrize("name", INNER)
def test_every_step_goes_through_the_layer(name: str) -> None:
    rng = np.random.default_rng(10)
    make, shape = INNER[name]
    layer = TimeDistributed(make())
    x = data(rng, B, T, *shape)
    randomize(layer, rng, x)
    y = layer(x, mask=MASK)
    same(y, np.stack([layer.layer(x[:, t]) for t in range(T)], 1))
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *y.shape[1:])
    assert layer.compute_mask(x, MASK) is MASK
    check_all_gradients(layer, x, [])
    twin = TimeDistributed.from_config(layer.get_config())
    twin.build(x.shape)
    twin.set_weights(layer.get_weights())
    assert np.array_equal(twin(x), layer(x))


def test_ids_at_every_step() -> None:
    layer = TimeDistributed(layers.Embedding(9, 4))
    ids = np.random.default_rng(11).integers(0, 9, (B, T, 2))
    assert np.array_equal(layer(ids), layer.layer.get_weights()[0][ids])


@pytest.mark.parametrize("noise_shape", [None, (None, 1), (1, None), (F,), (1, 1)])
def test_every_step_has_noise_of_its_own(noise_shape: Any) -> None:
    layer = TimeDistributed(layers.Dropout(0.5, noise_shape=noise_shape, seed=1, dtype="float64"))
    x = np.ones((4, 30, F))
    assert np.array_equal(layer(x), x)
    y, pullback = layer.vjp(x, training=True)
    assert not (y == y[:, :1]).all(axis=(0, 2)).all()
    rows, features = (None, None) if noise_shape is None else ((1,) + noise_shape)[-2:]
    if rows == 1:
        assert (y == y[:1]).all(), "shared by the rows"
    if features == 1:
        assert (y == y[..., :1]).all(), "shared by the features"
    same(pullback(x).dx, y)
    other = TimeDistributed(layers.Dropout(0.5, noise_shape=noise_shape, seed=1, dtype="float64"))
    assert np.array_equal(other(x, training=True), y)


def test_gradients_of_noise_that_rows_share() -> None:
    rng = np.random.default_rng(12)
    layer = TimeDistributed(
        layers.LSTM(U, dropout=0.4, noise_shape=(1, 1, None), recurrent_dropout=0.2, seed=1, dtype="float64")
    )
    x = data(rng, B, T, 4, F)
    randomize(layer, rng, x)

    class Repeatable:
        """The layer with its noise always from the beginning."""

        weights = layer.weights

        def __call__(self, x: Any, **call: Any) -> Any:
            layer.layer.seed_generator.state = (1, 0)
            return layer(x, training=True)

        def vjp(self, x: Any, **call: Any) -> Any:
            layer.layer.seed_generator.state = (1, 0)
            return layer.vjp(x, training=True)

    check_all_gradients(Repeatable(), x, [])


def test_averages_are_over_the_valid_steps() -> None:
    rng = np.random.default_rng(13)
    options = {"dtype": "float64", "momentum": 0.0}
    layer, plain = TimeDistributed(layers.BatchNormalization(**options)), layers.BatchNormalization(**options)
    x = data(rng)
    for one in (layer, plain):
        one.build(x.shape)
    same(layer(x, mask=MASK, training=True), plain(x, mask=MASK, training=True))
    same(layer.get_weights(), plain.get_weights())
    np.testing.assert_allclose(layer.layer.moving_mean, x[MASK].mean(0))


WORDS = np.array(
    [[[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]], [[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]], dtype=bool
)  # (documents, sentences, words)


def nested_model() -> Any:
    x = Input((None, F), dtype="float64")
    h = layers.LSTM(3, return_sequences=True, dtype="float64")(layers.Dropout(0.5, dtype="float64")(x))
    return Model(x, layers.GRU(U, dtype="float64")(h))


SEEING: dict[str, Any] = {
    "GRU": lambda: layers.GRU(U, dtype="float64"),
    "SimpleRNN": lambda: layers.SimpleRNN(U, dtype="float64"),
    "stack": lambda: RNN([LSTMCell(3, dtype="float64"), GRUCell(U, dtype="float64")]),
    "both": lambda: Bidirectional(layers.LSTM(U, dtype="float64")),
    "model": nested_model,
    "average": lambda: layers.GlobalAveragePooling1D(dtype="float64"),
}


@pytest.mark.parametrize("name", SEEING)
def test_a_layer_inside_sees_the_mask_of_its_step(name: str) -> None:
    """As if every sentence came alone, without its padding."""
    rng = np.random.default_rng(31)
    layer = TimeDistributed(SEEING[name]())
    x = data(rng, *WORDS.shape, F)
    randomize(layer, rng, x)
    padded = np.where(WORDS[..., None], x, np.nan)
    y = layer(padded, mask=WORDS)
    for place in zip(*np.nonzero(WORDS.any(axis=2)), strict=True):
        np.testing.assert_allclose(y[place], layer.layer(x[place][WORDS[place]][None])[0], rtol=1e-12, atol=1e-14)
    assert np.array_equal(y[1, 2], np.zeros_like(y[1, 2])), "a sentence without words"
    assert np.array_equal(layer.compute_mask(x, WORDS), WORDS.any(axis=2))
    check_all_gradients(layer, x, [], mask=WORDS)
    dx = layer.vjp(x, mask=WORDS)[1](np.ones_like(y)).dx
    assert not dx[~WORDS].any()


def test_the_engine_and_the_reference_agree_on_words() -> None:
    rng = np.random.default_rng(32)
    layer = TimeDistributed(layers.GRU(U, dtype="float64"))
    x = data(rng, *WORDS.shape, F)
    randomize(layer, rng, x)
    params = functional.GRUParams(*layer.get_weights())
    for number in range(WORDS.shape[1]):
        run = reference.gru.forward(params, x[:, number], mask=WORDS[:, number])
        same(layer(x, mask=WORDS)[:, number], run.outputs[:, -1])


def test_words_in_sentences_in_documents() -> None:
    rng = np.random.default_rng(33)
    deep = np.stack([WORDS, WORDS[::-1]], axis=1)
    inner = TimeDistributed(layers.GRU(U, dtype="float64"))
    layer = TimeDistributed(inner)
    x = data(rng, *deep.shape, F)
    randomize(layer, rng, x)
    same(layer(x, mask=deep), np.stack([inner(x[:, k], mask=deep[:, k]) for k in range(2)], 1))
    assert np.array_equal(layer.compute_mask(x, deep), deep.any(axis=3).any(axis=2))
    check_all_gradients(layer, x, [], mask=deep)


def test_documents_in_a_model_its_training_its_stream_and_its_files(tmp_path: Any) -> None:
    """Sentences of other lengths of padding are the same sentences."""
    rng = np.random.default_rng(34)
    ids = np.where(WORDS, rng.integers(1, 9, WORDS.shape), 0)
    model = Sequential(
        [
            layers.InputLayer((None, None), dtype="int64"),
            layers.Embedding(9, F, mask_zero=True, dtype="float64"),
            TimeDistributed(layers.Dropout(0.5, seed=1, dtype="float64")),
            TimeDistributed(layers.GRU(3, return_sequences=True, dtype="float64")),
            TimeDistributed(Bidirectional(layers.LSTM(2, dtype="float64"))),
            layers.GRU(U, dtype="float64"),
        ]
    )
    randomize(model, rng)
    longer = np.concatenate([ids, np.zeros((2, 3, 2), int)], axis=2)
    longer = np.concatenate([longer, np.zeros((2, 2, 6), int)], axis=1)
    y = model(ids)
    same(model(longer), y)
    first = model.vjp(ids)[1](np.ones_like(y)).dweights
    same(model.vjp(longer)[1](np.ones_like(y)).dweights, first)
    stream = model.stream(2)
    same(stream.run(longer)[:, -1], y)
    model.compile("sgd", "mse")
    twin = Sequential.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    twin.compile("sgd", "mse")
    for one, rows in ((model, ids), (twin, longer)):
        one.layers[1].layer.rate = 0.0  # no noise: its shape would be that of the padding
        one.fit(rows, np.ones_like(y), epochs=2, verbose=0)
    same(twin.get_weights(), model.get_weights())
    model.save(tmp_path / "model.keras")
    same(load_model(tmp_path / "model.keras")(longer), model(ids), 1e-6)


def test_masks_of_steps_alone_go_on() -> None:
    rng = np.random.default_rng(35)
    layer = TimeDistributed(layers.GRU(U, dtype="float64"))
    x = data(rng, B, T, 4, F)
    randomize(layer, rng, x)
    assert np.array_equal(layer(x, mask=MASK), layer(x)) and layer.compute_mask(x, MASK) is MASK
    kept = TimeDistributed(layers.LSTM(2, return_sequences=True))
    words = np.ones((B, T, 4), bool)
    assert kept.compute_mask(x, words) is words
    averages = TimeDistributed(layers.BatchNormalization(momentum=0.0, dtype="float64"))
    averages(x, mask=MASK, training=True)
    np.testing.assert_allclose(averages.layer.moving_mean, x[MASK].mean((0, 1)))


@pytest.mark.parametrize("shape", [(B,), (B, T + 1), (T, B), (B, T, 5), (1, T)])
def test_masks_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    x = np.ones((B, T, 4, F))
    for inner in (layers.Dense(2), layers.GRU(2)):
        layer = TimeDistributed(inner)
        for call in (layer, layer.vjp, Model(entry := Input(x.shape[1:]), layer(entry))):
            with pytest.raises(ValueError, match="`mask` must have shape"):
                call(x, mask=np.ones(shape, bool))


def test_every_step_of_nothing() -> None:
    layer = TimeDistributed(layers.Dense(4))
    y, pullback = layer.vjp(np.zeros((B, 0, F)))
    assert y.shape == (B, 0, 4) and pullback(y).dx.shape == (B, 0, F)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: TimeDistributed(3), "a layer is needed, got int"),
        (lambda: TimeDistributed(layers.GRU(3, stateful=True)), "is stateful"),
        (lambda: TimeDistributed(layers.Dense(3))(np.zeros((2, 3))), r"\(batch, timesteps, ...\)"),
        (lambda: TimeDistributed(layers.GRU(3, return_state=True))(np.zeros((2, 3, 4, 1))), "several outputs"),
        (lambda: TimeDistributed(layers.GRU(3, return_state=True))(Input((3, 4, 1))), "several outputs"),
        (lambda: TimeDistributed(layers.Dense(3)).vjp(np.zeros((2, 3, 1)))[1](np.zeros((2, 3, 1))), "gradient must"),
    ],
)
def test_what_time_distributed_refuses(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_states_that_are_refused_for_one_direction_are_set_for_none():
    layer = layers.Bidirectional(layers.GRU(3, stateful=True))
    layer(np.ones((2, 4, 2)))
    before = layer.forward_layer.states[0].copy()
    with pytest.raises(ValueError, match="states"):
        layer.reset_states([np.zeros((2, 3)), np.zeros((2, 5))])
    assert np.array_equal(layer.forward_layer.states[0], before)
