"""Single cells, stacks of them, and RNN around any cell."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, layers
from rnnx.layers import RNN, GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells

from .support import LENGTHS, MASK, B, F, T, U, check_all_gradients, check_gradient, data, flat, randomize, same

CELLS: dict[str, Any] = {
    "LSTM": (LSTMCell, layers.LSTM, 2),
    "GRU": (GRUCell, layers.GRU, 1),
    "GRU_before": (
        lambda *a, **kw: GRUCell(*a, reset_after=False, **kw),
        lambda *a, **kw: layers.GRU(*a, reset_after=False, **kw),
        1,
    ),
    "SimpleRNN": (SimpleRNNCell, layers.SimpleRNN, 1),
}
DTYPE = {"dtype": "float64"}
EVERYTHING = {"dropout": 0.3, "recurrent_dropout": 0.3, "zoneout": 0.2, "seed": 3}


def cell_and_layer(name: str, rng: Any, **options: Any) -> Any:
    make_cell, make_layer, _ = CELLS[name]
    cell, layer = make_cell(U, **DTYPE, **options), make_layer(U, return_state=True, **DTYPE, **options)
    randomize(cell, rng, np.zeros((B, F)))
    layer.build((B, T, F))
    layer.set_weights(cell.get_weights())
    return cell, layer


# ---- One cell alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_steps_of_a_cell_equal_the_layer(name: str) -> None:
    rng = np.random.default_rng(1)
    cell, layer = cell_and_layer(name, rng)
    x, states = data(rng), None
    for t in range(T):
        y, states = cell(x[:, t], states)
    same([y, *states], layer(x))
    begin = [data(rng, B, U) for _ in range(CELLS[name][2])]
    y, states = cell(x[:, 0], begin)
    same([y, *states], layer(x[:, :1], initial_state=begin))
    same(cell(x[:, 0], cell.get_initial_state(B)), cell(x[:, 0]))


@pytest.mark.parametrize("name", CELLS)
def test_masks_of_a_cell_that_last(name: str) -> None:
    rng = np.random.default_rng(2)
    cell, layer = cell_and_layer(name, rng, dropout=0.4, recurrent_dropout=0.4, seed=3)
    masks = cell.sample_masks(B)
    x, states = data(rng), None
    for t in range(T):
        y, states = cell(x[:, t], states, training=True, dropout_masks=masks)
    same([y, *states], layer(x, training=True, dropout_masks=masks))
    assert not np.array_equal(cell(x[:, 0], training=True)[0], cell(x[:, 0], training=True)[0]), "drawn anew"


@pytest.mark.parametrize("noise", [{}, EVERYTHING])
@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_a_cell(name: str, noise: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    cell, _ = cell_and_layer(name, rng, **noise)
    x, states = data(rng, B, F), [data(rng, B, U) for _ in range(CELLS[name][2])]
    call = {"training": True, "dropout_masks": cell.sample_masks(B)} if noise else {}
    y, pullback = cell.vjp(x, states, **call)
    slopes = [rng.normal(size=part.shape) for part in flat(y)]
    grads = pullback(slopes[0], slopes[1:])

    def run() -> Any:
        return cell(x, states, **call)

    check_gradient(run, x, grads.dx, slopes)
    for state, gradient in zip(states, flat(grads.dinitial_state), strict=True):
        check_gradient(run, state, gradient, slopes)
    only = [pullback(slopes[0]), pullback(None, slopes[1:])]
    same(only[0].dx + only[1].dx, grads.dx)
    same([a + b for a, b in zip(only[0].dweights, only[1].dweights, strict=True)], grads.dweights)
    assert pullback(slopes[0], need_dx=False).dx is None
    cell.trainable = False
    assert cell.vjp(x, states)[1](slopes[0]).dweights == [None] * 3


def test_what_a_cell_says_of_itself() -> None:
    assert LSTMCell(U).state_size == [U, U] and GRUCell(U).state_size == U and SimpleRNNCell(U).output_size == U
    stack = StackedRNNCells([LSTMCell(3), GRUCell(U)])
    assert stack.state_size == [[3, 3], U] and stack.output_size == U


@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, SimpleRNNCell])
def test_bad_steps(cell: Any) -> None:
    one = cell(U, dropout=0.5, seed=1)
    x = np.zeros((B, F))
    one(x)
    weights, counter = one.get_weights(), one.seed_generator.state
    with pytest.raises(ValueError, match=r"\(batch, features\)"):
        one(np.zeros((B, T, F)), training=True)
    with pytest.raises(TypeError, match="unknown call argument.*mask"):
        one(x, mask=MASK)
    with pytest.raises(TypeError, match="unknown call argument.*lengths"):
        one.vjp(x, lengths=LENGTHS)
    with pytest.raises(ValueError, match="initial_state"):
        one(x, [np.zeros((B, U + 1))] * len(one.get_initial_state(B)), training=True)
    with pytest.raises(TypeError, match="use RNN"):
        one(Input((F,)))
    assert one.seed_generator.state == counter
    same(one.get_weights(), weights)


# ---- Stacks ---------------------------------------------------------------------------------------------------------


def stack_of(rng: Any, **options: Any) -> Any:
    cells = [LSTMCell(5, **DTYPE, **options), GRUCell(2, **DTYPE, **options), SimpleRNNCell(U, **DTYPE, **options)]
    return cells


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("validity", [{}, {"mask": MASK}, {"lengths": LENGTHS}])
def test_a_stack_equals_layers_on_top_of_each_other(validity: dict[str, Any], zero: bool) -> None:
    rng = np.random.default_rng(4)
    for sequences, backwards in itertools.product([False, True], repeat=2):
        options = {"return_sequences": sequences, "return_state": True, "zero_output_for_mask": zero}
        rnn = randomize(RNN(stack_of(rng), go_backwards=backwards, **options), rng, np.zeros((B, T, F)))
        x = data(rng)
        weights, h, states = rnn.get_weights(), x[:, ::-1] if backwards else x, []
        call = validity
        if backwards and validity:
            mask = MASK if "mask" in validity else np.arange(T) < LENGTHS[:, None]
            call = {"mask": mask[:, ::-1]}
        for k, kind in enumerate((layers.LSTM, layers.GRU, layers.SimpleRNN)):
            last = k == 2
            layer = kind(
                (5, 2, U)[k],
                return_sequences=sequences or not last,
                return_state=True,
                zero_output_for_mask=zero and last,
                **DTYPE,
            )
            layer.build(h.shape)
            layer.set_weights(weights[3 * k : 3 * k + 3])
            h, *own = layer(h, **call)
            states += own
        same(rnn(x, **validity), [h, *states])


@pytest.mark.parametrize("validity", [{}, {"mask": MASK}, {"lengths": LENGTHS}])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("noise", [{}, EVERYTHING])
def test_gradients_of_a_stack(noise: dict[str, Any], backwards: bool, validity: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    rnn = RNN(stack_of(rng, **noise), return_sequences=True, return_state=True, go_backwards=backwards)
    randomize(rnn, rng, np.zeros((B, T, F)))
    call = dict(validity)
    if noise:
        call |= {"training": True, "dropout_masks": rnn.sample_masks(B, T)}
    states = [data(rng, B, n) for n in (5, 5, 2, U)]
    check_all_gradients(rnn, data(rng), states, **call)


def test_masks_of_all_cells_come_out_and_go_in() -> None:
    rng = np.random.default_rng(6)
    rnn = randomize(RNN(stack_of(rng, **EVERYTHING), return_sequences=True), rng, np.zeros((B, T, F)))
    x = data(rng)
    y, masks = rnn(x, training=True, return_masks=True)
    assert len(masks) == 3
    assert np.array_equal(rnn(x, training=True, dropout_masks=masks), y)
    assert not np.array_equal(rnn(x, training=True), y)
    with pytest.raises(TypeError, match="an entry for each of 3 cells"):
        rnn(x, training=True, dropout_masks=masks[:2])


def test_one_step_of_a_stack() -> None:
    rng = np.random.default_rng(7)
    stack = StackedRNNCells(stack_of(rng))
    rnn = randomize(RNN(stack, return_state=True), rng, np.zeros((B, T, F)))
    x = data(rng)
    states = None
    for t in range(T):
        y, states = stack(x[:, t], states)
    assert [len(own) for own in states] == [2, 1, 1]
    same([y, states], rnn(x))
    same(stack(x[:, 0], stack.get_initial_state(B)), stack(x[:, 0]))
    with pytest.raises(ValueError, match="an entry for each of 3 cells"):
        stack(x[:, 0], states[:2])
    with pytest.raises(TypeError, match="unknown call argument.*mask"):
        stack(x[:, 0], mask=MASK[:, 0])


def test_stacks_in_stacks() -> None:
    rng = np.random.default_rng(8)
    first, second, third = stack_of(rng)
    rnn = RNN([StackedRNNCells([first, second]), third], return_state=True, return_sequences=True)
    randomize(rnn, rng, np.zeros((B, T, F)))
    plain = RNN(stack_of(rng), return_state=True, return_sequences=True)
    plain.build((B, T, F))
    plain.set_weights(rnn.get_weights())
    x = data(rng)
    same(rnn(x), plain(x))
    states = [data(rng, B, n) for n in (5, 5, 2, U)]
    nested = [[states[0], states[1]], [states[2]], states[3]]
    same(rnn(x, initial_state=nested), plain(x, initial_state=states))
    assert len(rnn.get_weights()) == 9


def test_a_stateful_stack() -> None:
    rng = np.random.default_rng(9)
    rnn = randomize(RNN(stack_of(rng), stateful=True, return_sequences=True), rng, np.zeros((B, T, F)))
    rnn.reset_state()
    plain = RNN(stack_of(rng), return_sequences=True, return_state=True)
    plain.build((B, T, F))
    plain.set_weights(rnn.get_weights())
    x = data(rng)
    whole, *_ = plain(x)
    same([rnn(x[:, :2]), rnn(x[:, 2:])], [whole[:, :2], whole[:, 2:]])
    rnn.reset_states(plain(x[:, :2])[1:])
    same(rnn(x[:, 2:]), whole[:, 2:])
    with pytest.raises(ValueError, match=r"`states` must have shapes \(batch, 5\), \(batch, 5\)"):
        rnn.reset_states([np.zeros((B, U))] * 4)
    with pytest.raises(ValueError, match="but a batch of 2"):
        rnn(x[:2])
    rnn.reset_states()
    same(rnn(x), whole)


def test_a_stack_in_a_model() -> None:
    rng = np.random.default_rng(10)
    x = Input((None, F), dtype="float64")
    y, *states = RNN(stack_of(rng), return_sequences=True, return_state=True)(layers.Masking(dtype="float64")(x))
    again = RNN(stack_of(rng))(y, initial_state=states)
    model = Model(x, [again, states[0]])
    randomize(model, rng)
    first, second = (layer for layer in model.layers if isinstance(layer, RNN))
    given = data(rng)
    given[~MASK] = 0
    out, *after = first(given, mask=MASK)
    same(model(given), [second(out, mask=MASK, initial_state=after), after[0]])
    with pytest.raises(ValueError, match=r"\(batch, timesteps, 3\)"):
        first(Input((None, F + 1), dtype="float64"))


def test_the_dtype_is_that_of_the_cells() -> None:
    assert RNN(GRUCell(3, dtype="float64")).dtype == "float64"
    assert RNN([GRUCell(3, dtype="float64")])(np.zeros((1, 2, 3), np.float32)).dtype == "float64"


def test_configurations_of_cells() -> None:
    rnn = RNN([LSTMCell(3, dropout=0.2, seed=4), StackedRNNCells([GRUCell(2)])], go_backwards=True, name="mine")
    twin = RNN.from_config(rnn.get_config())
    assert twin.get_config() == rnn.get_config()
    assert [type(cell) for cell in twin.cells] == [LSTMCell, GRUCell] and twin.cells[0].seed == 4


def test_not_a_cell() -> None:
    for cell in (3, layers.Dense(3), None):
        with pytest.raises(ValueError, match="RNN: a cell must be callable and have `state_size`"):
            RNN(cell)
        with pytest.raises(ValueError, match="StackedRNNCells: a cell must be callable"):
            RNN([GRUCell(2), cell])
    with pytest.raises(ValueError, match="at least one cell"):
        RNN([])


# ---- Cells of one's own ---------------------------------------------------------------------------------------------


class Mixing(layers.Layer):
    """``h' = tanh(x W + h)``, ``n' = n + 1``; the output is twice h'."""

    def __init__(self, units: int, differentiable: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.seen: list[Any] = []
        if not differentiable:
            self.vjp = None

    @property
    def state_size(self) -> Any:
        return [self.units, 1]

    def build(self, input_shape: Any) -> None:
        self.add_weight("kernel", (input_shape[-1], self.units), "glorot_uniform")

    def call(self, x: Any, states: Any, training: bool = False) -> Any:
        self.seen.append(training)
        h = np.tanh(x @ self.weights[0].value + states[0])
        return 2 * h, [h, states[1] + 1]

    def vjp(self, x: Any, states: Any, training: bool = False) -> Any:
        (y, (h, count)) = self.call(x, states, training)

        def pullback(dy: Any, dstates: Any) -> layers.Gradients:
            da = (2 * dy + dstates[0]) * (1 - h * h)
            return layers.Gradients(da @ self.weights[0].value.T, [x.T @ da], [da, dstates[1]])

        return (y, [h, count]), pullback

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


class Plain:
    """The least a cell can be: no weights, one state, no gradient."""

    state_size = F

    def __call__(self, x: Any, states: Any) -> Any:
        return x + states[0], x + states[0]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("validity", [{}, {"mask": MASK}, {"lengths": LENGTHS}])
def test_gradients_of_cells_of_ones_own(validity: dict[str, Any], zero: bool) -> None:
    for sequences, backwards in itertools.product([False, True], repeat=2):
        rng = np.random.default_rng(11)
        rnn = RNN(
            [Mixing(U, **DTYPE), GRUCell(3, **DTYPE), Mixing(2, **DTYPE)],
            return_sequences=sequences,
            return_state=True,
            go_backwards=backwards,
            zero_output_for_mask=zero,
        )
        randomize(rnn, rng, np.zeros((B, T, F)))
        states = [data(rng, B, n) for n in (U, 1, 3, 2, 1)]
        check_all_gradients(rnn, data(rng), states, **validity)


def by_hand(x: Any, mask: Any, zero: bool) -> Any:
    """What `Plain` gives, row by row and step by step."""
    out, final = np.zeros_like(x), np.zeros((len(x), F))
    for row in range(len(x)):
        state, emitted = np.zeros(F), np.zeros(F)
        for t in range(x.shape[1]):
            if mask[row, t]:
                state = emitted = x[row, t] + state
                out[row, t] = emitted
            elif not zero:
                out[row, t] = emitted
        final[row] = state
    return [out, final]


@pytest.mark.parametrize("zero", [False, True])
def test_padding_of_cells_of_ones_own(zero: bool) -> None:
    x = data(np.random.default_rng(12))
    x[~MASK] = np.nan
    options = {"return_state": True, "zero_output_for_mask": zero, **DTYPE}
    same(RNN(Plain(), return_sequences=True, **options)(x, mask=MASK), by_hand(x, MASK, zero))
    out, final = by_hand(x, MASK, zero)
    same(RNN(Plain(), **options)(x, mask=MASK), [out[:, -1], final])
    rnn = RNN(Mixing(U, **DTYPE), return_sequences=True)
    y, pullback = rnn.vjp(x, mask=MASK)
    grads = pullback(np.ones_like(y))
    assert np.isfinite(grads.dweights[0]).all() and not grads.dx[~MASK].any()


def test_training_is_told_to_cells_that_ask() -> None:
    cell = Mixing(U)
    rnn = RNN(cell)
    x = np.zeros((B, 1, F))
    rnn(x)
    rnn(x, training=True)
    rnn.vjp(x, training=True)
    assert cell.seen == [False, True, True]
    RNN(Plain())(x, training=True)


def test_masks_are_drawn_once_beside_cells_of_ones_own() -> None:
    """The input mask of the GRU stays for all steps, although its neighbour is run step by step."""
    rng = np.random.default_rng(13)
    rnn = RNN([Plain(), GRUCell(3, dropout=0.5, seed=1, **DTYPE)], **DTYPE)
    rnn(data(rng))
    _, masks = rnn(data(rng), training=True, return_masks=True)
    assert masks[0] is None and masks[1].inputs.shape == (1, B, 1, F)
    assert rnn.cells[1].seed_generator.state == (1, 1)
    with pytest.raises(TypeError, match="draws its own noise"):
        rnn(data(rng), training=True, dropout_masks=masks[::-1])


def test_a_cell_without_a_gradient_runs_but_cannot_be_trained() -> None:
    rnn = RNN(Plain(), return_sequences=True)
    y, pullback = rnn.vjp(np.ones((B, T, F)))
    same(y[:, -1], np.full((B, F), T))
    with pytest.raises(TypeError, match="cell Plain has no `vjp"):
        pullback(y)
    with pytest.raises(ValueError, match="cell Plain is not a layer"):
        rnn.get_config()
    assert rnn(np.ones((B, 0, F))).shape == (B, 0, F)
    with pytest.raises(ValueError, match="`initial_state` must have"):
        rnn(np.ones((B, T, F)), initial_state=[np.zeros((B, F))] * 2)
    with pytest.raises(ValueError, match=r"`initial_state` must have shapes \[\(5, 3\)\]"):
        rnn(np.ones((B, T, F)), initial_state=np.zeros((B, 2)))


def test_a_cell_of_ones_own_in_a_saved_model(tmp_path: Any) -> None:
    rng = np.random.default_rng(14)
    x = Input((None, F))
    model = Model(x, layers.Dense(2)(RNN([Mixing(U), GRUCell(3)], return_sequences=True)(x)))
    given = data(rng).astype(np.float32)
    twin = Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    assert np.array_equal(twin(given), model(given))


# ---- The states of a stack, a list for each cell ---------------------------------------------------------------------


def test_a_call_gives_the_states_of_every_cell() -> None:
    rng = np.random.default_rng(12)
    rnn = randomize(RNN([LSTMCell(2), GRUCell(4), LSTMCell(3)], return_state=True), rng, np.zeros((B, T, F)))
    x = data(rng)
    out, (h1, c1), h2, (h3, c3) = rnn(x)
    assert [part.shape[1] for part in (out, h1, c1, h2, h3, c3)] == [3, 2, 2, 4, 3, 3]
    below, states = x, []
    for cell in rnn.cells:
        alone = RNN(cell, return_sequences=True, return_state=True)
        below, *own = alone(below)
        states.append(own)
    same([out, h1, c1, h2, h3, c3], [below[:, -1], *states])
    same(out, h3)
    for begin in ([(h1, c1), h2, (h3, c3)], [[h1, c1], [h2], [h3, c3]], [h1, c1, h2, h3, c3]):
        same(rnn(x, initial_state=begin), rnn(x, initial_state=[h1, c1, h2, h3, c3]))
    same(rnn(x, return_masks=True)[0], rnn(x))
    (again, *groups), pullback = rnn.vjp(x)
    same([again, *groups], [out, (h1, c1), h2, (h3, c3)])
    slopes = [rng.normal(size=part.shape) for part in (out, h1, c1, h2, h3, c3)]
    flat_slopes = pullback(slopes)
    nested = pullback([slopes[0], slopes[1:3], slopes[3], slopes[4:]])
    same([nested.dx, nested.dweights], [flat_slopes.dx, flat_slopes.dweights])
    none = pullback([slopes[0], None, None, [None, slopes[5]]])
    zeros = pullback([slopes[0], *[np.zeros_like(part) for part in slopes[1:5]], slopes[5]])
    same([none.dx, none.dweights], [zeros.dx, zeros.dweights])


def test_a_call_in_a_model_gives_the_states_of_every_cell() -> None:
    rng = np.random.default_rng(12)
    x = data(rng)
    a = Input((T, F), dtype="float64")
    encoder = RNN([LSTMCell(2, dtype="float64"), LSTMCell(3, dtype="float64")], return_state=True)
    decoder = RNN([LSTMCell(2, dtype="float64"), LSTMCell(3, dtype="float64")])
    out, first, second = encoder(a)
    assert [part.shape for part in (*first, *second)] == [(None, 2), (None, 2), (None, 3), (None, 3)]
    model = Model(a, [decoder(a, initial_state=[first, second]), second[1]])
    randomize(model, rng, x)
    _, *states = encoder(x)
    expected = [decoder(x, initial_state=states), states[1][1]]
    same(model(x), expected)
    twin = Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    same(twin(x), expected)
    model = Model(a, encoder(a))
    same(model(x), encoder(x))
    both = layers.Bidirectional(RNN([LSTMCell(2), GRUCell(3)], return_state=True))
    y, forward_lstm, forward_gru, backward_lstm, backward_gru = both(x)
    assert [len(forward_lstm), len(backward_lstm), forward_gru.shape, backward_gru.shape] == [2, 2, (B, 3), (B, 3)]


@pytest.mark.parametrize("merge_mode", ["concat", None])
def test_the_gradient_of_both_directions_of_a_stack_takes_lists(merge_mode: str | None) -> None:
    rng = np.random.default_rng(14)
    both = layers.Bidirectional(RNN([LSTMCell(2), GRUCell(3)], return_state=True), merge_mode=merge_mode)
    x = data(rng)
    y, pullback = both.vjp(x)
    same(y, both(x))
    given = [rng.normal(size=np.shape(part)) if isinstance(part, np.ndarray) else list(rng.normal(size=(2, B, 2)))
             for part in y]  # fmt: skip
    one_list = [part for own in given for part in (own if isinstance(own, list) else [own])]
    assert len(one_list) == len(y) + 2
    same(pullback(given).dx, pullback(one_list).dx)
    same(pullback(given).dweights, pullback(one_list).dweights)
    outputs = len(y) - 4
    alone = [*given[:outputs], [None, given[outputs][1]], None, None, None]
    zeros = [0 * part for part in one_list]
    zeros[:outputs] = one_list[:outputs]
    zeros[outputs + 1] = one_list[outputs + 1]
    same(pullback(alone).dx, pullback(zeros).dx)


def test_a_stateful_stack_takes_the_states_of_every_cell() -> None:
    rng = np.random.default_rng(13)
    rnn = randomize(RNN([LSTMCell(2), GRUCell(3)], stateful=True, return_state=True), rng, np.zeros((B, T, F)))
    x = data(rng)
    rnn.reset_states()
    _, *states = rnn(x)
    once = rnn(x)
    rnn.reset_states(states)
    same(rnn(x), once)
