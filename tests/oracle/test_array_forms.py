"""How an array lies in memory changes no number: byte order, alignment, strides, at every public entrance.

Each entrance is called with the same numbers in native, contiguous arrays and in every other form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import _kernels, layers, losses, metrics, optimizers
from rnnx.dropout import DropoutMasks
from tests.oracle import cases

BATCH, STEPS, FEATURES, UNITS = 17, 7, 3, 9


# ---- Forms -----------------------------------------------------------------------------------------------------------


def records(a: np.ndarray) -> np.ndarray:
    """A field of packed records: strides are no multiple of the element's size."""
    rows = np.zeros(a.shape[:-1], [("flag", "u1"), ("x", a.dtype, a.shape[-1:])])
    rows["x"] = a
    return rows["x"]


def unaligned(a: np.ndarray) -> np.ndarray:
    """Contiguous from an odd address on."""
    made = np.frombuffer(bytearray(a.nbytes + 1), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    made[...] = a
    return made


def strided(a: np.ndarray) -> np.ndarray:
    """Every axis from a larger one, the last two reversed."""
    made = np.full([2 * n + 1 for n in a.shape], 77, a.dtype)
    view = made[tuple(slice(1, None, 2) for _ in a.shape)]
    view = view[(..., *[slice(None, None, -1)] * min(2, a.ndim))]
    view[...] = a
    return view


def read_only(a: np.ndarray) -> np.ndarray:
    made = a.copy()
    made.flags.writeable = False
    return made


def columns(a: np.ndarray) -> np.ndarray:
    """Some columns of a wider array."""
    made = np.full((*a.shape[:-1], a.shape[-1] + 2), 77, a.dtype)
    made[..., 1:-1] = a
    return made[..., 1:-1]


def other_order(a: np.ndarray) -> np.ndarray:
    """The first two axes in the other order."""
    return np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1) if a.ndim > 1 else a


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "records": records,
    "swapped records": lambda a: records(a.astype(a.dtype.newbyteorder("S"))),
    "unaligned": unaligned,
    "strided": strided,
    "fortran": np.asfortranarray,
    "time first": other_order,
    "columns": columns,
    "read-only": read_only,
}
# Inputs whose elements share memory, beside the numbers that they stand for.
SHARED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one row for all": lambda a: np.broadcast_to(a[:1], a.shape),
    "one step for all": lambda a: np.broadcast_to(a[:, :1], a.shape) if a.ndim > 1 else a,
    "one number for all": lambda a: np.broadcast_to(a.reshape(-1)[:1].reshape((1,) * a.ndim), a.shape),
    "windows": lambda a: windows(a),
}


def windows(a: np.ndarray) -> np.ndarray:
    """Each row of the last axis begins one element after the row before it."""
    steps, width = a.shape[-2:]
    line = np.resize(a, (*a.shape[:-2], steps + width - 1))
    return np.lib.stride_tricks.sliding_window_view(line, width, axis=-1)


def flat(value: Any) -> list[np.ndarray]:
    """All arrays of a result, in their order."""
    if value is None:
        return []
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [array for part in value for array in flat(part)]
    if hasattr(value, "__dataclass_fields__"):
        return flat([part for part in vars(value).values() if isinstance(part, (np.ndarray, tuple, list))])
    return [np.asarray(value)]


def same(got: Any, want: Any) -> None:
    got, want = flat(got), flat(want)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.dtype.isnative and g.shape == w.shape
        if w.dtype.kind != "f" or not w.size:
            np.testing.assert_array_equal(g, w)
        else:  # products of other layouts are summed in another order
            bound = {4: 2e-6, 8: 1e-14}[w.itemsize] * max(1.0, float(np.abs(w).max()))
            np.testing.assert_allclose(g, w, rtol=0, atol=bound)


def numbers(*shape: int, seed: int = 5, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


# ---- The functional core ---------------------------------------------------------------------------------------------


def run_core(cell: str, dtype: Any, changed: str, form: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Outputs, states and gradients of a call with one argument in another form."""
    rng = np.random.default_rng([6, cases.CELLS.index(cell)])
    params = cases.make_params(cell, FEATURES, UNITS, dtype, rng)
    gates = cases.GATES[cell]
    arrays = {
        "x": numbers(BATCH, STEPS, FEATURES, dtype=dtype),
        "h0": numbers(BATCH, UNITS, seed=7, dtype=dtype),
        "c0": numbers(BATCH, UNITS, seed=8, dtype=dtype),
        "inputs": cases.keep_mask((gates, BATCH, 1, FEATURES), dtype, rng),
        "one for all": cases.keep_mask((gates, 1, 1, UNITS), dtype, rng),
        "zoneout": cases.keep_mask((BATCH, 1, UNITS), dtype, rng),
        "dy": numbers(BATCH, STEPS, UNITS, seed=9, dtype=dtype),
        "dh": numbers(BATCH, UNITS, seed=10, dtype=dtype),
        "mask": rng.random((BATCH, STEPS)) < 0.7,
        "lengths": rng.integers(0, STEPS + 1, BATCH),
        "kernel": params.kernel,
        "recurrent_kernel": params.recurrent_kernel,
        "bias": params.bias,
    }
    arrays[changed] = form(arrays[changed])
    params = replace(params, **{name: arrays[name] for name in ("kernel", "recurrent_kernel", "bias")})
    masks = DropoutMasks(arrays["inputs"], arrays["one for all"], zoneout_hidden=arrays["zoneout"])
    results = []
    for valid in ({"mask": arrays["mask"]}, {"lengths": arrays["lengths"]}, {}):
        for noise in (masks, None):
            state = (arrays["h0"], arrays["c0"]) if cell == "lstm" else arrays["h0"]
            run = cases.FAST[cell].forward(
                params, arrays["x"], initial_state=state, masks=noise, training=True, **valid
            )
            dstate = (arrays["dh"], None) if cell == "lstm" else arrays["dh"]
            grads = cases.FAST[cell].backward(run.cache, arrays["dy"], dstate)
            results += [run.outputs, run.state, grads.dx, grads.dinitial_state, grads.dparams]
    return results


ARGUMENTS = (
    "x", "h0", "c0", "inputs", "one for all", "zoneout", "dy", "dh", "mask", "lengths", "kernel", "recurrent_kernel",
    "bias",
)  # fmt: skip


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_functional(cell: str, argument: str) -> None:
    for dtype in (np.float32, np.float64):
        want = run_core(cell, dtype, argument, lambda a: a)
        for form in FORMS.values():
            same(run_core(cell, dtype, argument, form), want)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("argument", ["x", "h0", "dy", "inputs", "one for all", "zoneout"])
def test_functional_with_shared_elements(argument: str, name: str) -> None:
    for cell in cases.CELLS:
        want = run_core(cell, np.float32, argument, lambda a: np.ascontiguousarray(SHARED[name](a)))
        same(run_core(cell, np.float32, argument, SHARED[name]), want)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_activations_outside_the_engine(cell: str) -> None:
    rng = np.random.default_rng(11)
    params = cases.make_params(cell, FEATURES, UNITS, np.float32, rng, activation="gelu")
    x = numbers(BATCH, STEPS, FEATURES)
    want = cases.FAST[cell].forward(params, x).outputs
    for form in FORMS.values():
        same(cases.FAST[cell].forward(params, form(x)).outputs, want)


@pytest.mark.parametrize("cell", cases.CELLS)
def test_packed_weights_of_another_byte_order(cell: str) -> None:
    params = cases.make_params(cell, FEATURES, UNITS, np.float32, np.random.default_rng(19))
    x, dy = numbers(BATCH, STEPS, FEATURES), numbers(BATCH, STEPS, UNITS, seed=2)
    names = ("kernel", "recurrent_kernel", "bias")
    swapped = replace(params, **{name: FORMS["swapped"](getattr(params, name)) for name in names})
    results = []
    for own in (params, swapped):
        run = cases.FAST[cell].forward(own, x, packed=cases.FAST[cell].pack(own), training=True)
        results.append([run.outputs, cases.FAST[cell].backward(run.cache, dy)])
    same(results[1], results[0])


# ---- Outputs that are given ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [name for name in FORMS if name != "read-only"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_out(cell: str, sequences: bool, form: str) -> None:
    rng = np.random.default_rng(12)
    shape = (BATCH, STEPS, UNITS) if sequences else (BATCH, UNITS)
    for dtype in (np.float32, np.float64):
        params = cases.make_params(cell, FEATURES, UNITS, dtype, rng)
        x = numbers(BATCH, STEPS, FEATURES, dtype=dtype)
        want = cases.FAST[cell].forward(params, x, return_sequences=sequences).outputs
        out = FORMS[form](np.zeros(shape, dtype))
        run = cases.FAST[cell].forward(params, x, return_sequences=sequences, out=out)
        assert run.outputs is out
        np.testing.assert_array_equal(out, want)


def overlapping(kind: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An input and an output in one piece of memory; the input holds the numbers of x."""
    batch, steps, features = x.shape
    memory = np.zeros((batch, steps + 2, features), x.dtype)
    place = {"in place": 1, "a step later": 1, "a step before": 1, "two steps later": 0}[kind]
    inside = memory[:, place : place + steps]
    inside[...] = x
    shift = {"in place": 0, "a step later": 1, "a step before": -1, "two steps later": 2}[kind]
    return inside, memory[:, place + shift : place + shift + steps]


@pytest.mark.parametrize("kind", ["in place", "a step later", "a step before", "two steps later"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_out_may_lie_over_the_input(cell: str, backwards: bool, kind: str) -> None:
    """Also in calls that are cut into chunks and blocks, and with gradients taken afterwards."""
    rng = np.random.default_rng(13)
    batch, steps = 30, 40
    params = cases.make_params(cell, UNITS, UNITS, np.float32, rng)
    x, dy = numbers(batch, steps, UNITS), numbers(batch, steps, UNITS, seed=2)
    forward = cases.FAST[cell].forward
    for training in (False, True):
        want = forward(params, x, training=training, go_backwards=backwards)
        inside, out = overlapping(kind, x)
        got = forward(params, inside, training=training, go_backwards=backwards, out=out)
        np.testing.assert_array_equal(out, want.outputs)
        if training:
            same(cases.FAST[cell].backward(got.cache, dy), cases.FAST[cell].backward(want.cache, dy))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("cell", cases.CELLS)
def test_out_may_lie_over_states_and_masks(cell: str, recompute: bool) -> None:
    rng = np.random.default_rng(14)
    params = cases.make_params(cell, UNITS, UNITS, np.float32, rng)
    x, dy = numbers(BATCH, STEPS, UNITS), numbers(BATCH, STEPS, UNITS, seed=2)
    out = np.zeros((BATCH, STEPS, UNITS), np.float32)
    for name in ("state", "inputs", "recurrent", "zoneout_hidden"):
        results = []
        for memory in (np.zeros_like(out), out):
            memory[...] = cases.keep_mask(out.shape, np.float32, np.random.default_rng(15))
            call: dict[str, Any] = {}
            if name == "state":
                state = memory[:, 0]
                call["initial_state"] = (state, state) if cell == "lstm" else state
            elif name == "zoneout_hidden":
                call["masks"] = DropoutMasks(zoneout_hidden=np.minimum(memory, 1, out=memory))
            else:
                call["masks"] = DropoutMasks(**{name: memory[None]})
            run = cases.FAST[cell].forward(params, x, training=True, recompute=recompute, out=out, **call)
            results.append([out.copy(), cases.FAST[cell].backward(run.cache, dy)])
        same(results[1], results[0])


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_out_may_lie_over_the_mask(activation: str) -> None:
    params = cases.make_params("simple_rnn", 2, 3, np.float64, np.random.default_rng(17), activation=activation)
    x, valid = numbers(4, 5, 2, dtype=np.float64), np.random.default_rng(18).random((4, 5)) < 0.6
    out, dy = np.zeros((4, 5, 3)), numbers(4, 5, 3, seed=2, dtype=np.float64)
    mask = out.reshape(-1).view(np.bool_)[:20].reshape(4, 5)
    mask[...] = valid
    forward, backward = cases.FAST["simple_rnn"].forward, cases.FAST["simple_rnn"].backward
    got, want = forward(params, x, mask=mask, training=True, out=out), forward(params, x, mask=valid, training=True)
    same(out, want.outputs)
    same(backward(got.cache, dy), backward(want.cache, dy))


def test_out_that_cannot_hold_a_result_is_refused() -> None:
    params = cases.make_params("gru_after", 3, 4, np.float32, np.random.default_rng(16))
    x = numbers(5, 6, 3)
    forward = cases.FAST["gru_after"].forward
    memory = np.zeros(500, np.float32)
    as_strided = np.lib.stride_tricks.as_strided
    for strides in ((0, 16, 4), (96, 0, 4), (96, 16, 0), (96, 12, 4), (4, 4, 4), (16, 16, 4), (-16, 16, 4)):
        out = as_strided(memory[200:], (5, 6, 4), strides)
        with pytest.raises(ValueError, match="`out` has elements that overlap"):
            forward(params, x, out=out)
    assert not memory.any()
    for strides in ((96, 16, 4), (200, 20, 4), (-96, 16, -4), (16, 80, 4)):
        out = as_strided(memory[200:], (5, 6, 4), strides)
        np.testing.assert_array_equal(forward(params, x, out=out).outputs, forward(params, x).outputs)
    with pytest.raises(ValueError, match="shares memory with the weights"):
        forward(params, x[:1, :1], out=params.kernel.reshape(-1)[:4].reshape(1, 1, 4))
    out = np.zeros((5, 6, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        forward(params, x, out=out)


# ---- Layers, models, streams -----------------------------------------------------------------------------------------


def built(layer: Any, *shape: int) -> Any:
    layer(np.zeros((1, *shape), layer.dtype))
    for k, weight in enumerate(layer.weights):
        value = numbers(*weight.shape, seed=k) * np.float32(0.3)
        weight.value = np.abs(value) if "variance" in weight.name else value
    return layer


SEQUENCE_LAYERS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: layers.LSTM(UNITS, return_sequences=True),
    "GRU": lambda: layers.GRU(UNITS, return_sequences=True, go_backwards=True),
    "SimpleRNN": lambda: layers.SimpleRNN(UNITS),
    "RNN": lambda: layers.RNN([layers.LSTMCell(4), layers.GRUCell(5)], return_sequences=True),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(4)),
    "Masking": lambda: layers.Masking(),
    "Dense": lambda: layers.Dense(5, activation="tanh"),
    "Conv1D": lambda: layers.Conv1D(4, 3),
    "MaxPooling1D": lambda: layers.MaxPooling1D(2),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "GlobalMaxPooling1D": lambda: layers.GlobalMaxPooling1D(),
    "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D(),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "LayerNormalization": lambda: layers.LayerNormalization(),
    "Softmax": lambda: layers.Softmax(),
    "ReLU": lambda: layers.ReLU(),
    "Flatten": lambda: layers.Flatten(),
    "Permute": lambda: layers.Permute((2, 1)),
}


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_layers(name: str) -> None:
    layer = built(SEQUENCE_LAYERS[name](), STEPS, FEATURES)
    x = numbers(BATCH, STEPS, FEATURES)
    want, pullback = layer.vjp(x)
    dy = numbers(*np.shape(want), seed=3)
    gradients = pullback(dy)
    for form in FORMS.values():
        same(layer(form(x)), layer(x))
        got, pullback = layer.vjp(form(x))
        same(got, want)
        same(flat_gradients(pullback(form(dy))), flat_gradients(gradients))
    for shared in SHARED.values():
        same(layer(shared(x)), layer(np.ascontiguousarray(shared(x))))


def flat_gradients(gradients: Any) -> list[Any]:
    return [gradients.dx, list(gradients.dweights), getattr(gradients, "dinitial_state", None)]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_arguments_of_recurrent_layers(name: str) -> None:
    layer = built(getattr(layers, name)(UNITS, return_sequences=True, dropout=0.4, recurrent_dropout=0.4, seed=1), 2, 3)
    x = numbers(BATCH, STEPS, FEATURES)
    masks = layer.sample_masks(BATCH, STEPS)
    states = [numbers(BATCH, UNITS, seed=k) for k in range(2 if name == "LSTM" else 1)]
    mask, lengths = np.random.default_rng(1).random((BATCH, STEPS)) < 0.7, np.arange(BATCH) % (STEPS + 1)
    want = [
        layer(x, training=True, dropout_masks=masks),
        layer(x, initial_state=states),
        layer(x, mask=mask),
        layer(x, lengths=lengths),
    ]
    for form in FORMS.values():
        own = replace(
            masks, **{name: form(value) for name, value in vars(masks).items() if isinstance(value, np.ndarray)}
        )
        got = [
            layer(form(x), training=True, dropout_masks=own),
            layer(x, initial_state=[form(state) for state in states]),
            layer(x, mask=form(mask)),
            layer(x, lengths=form(lengths)),
        ]
        same(got, want)


def small_model() -> Any:
    model = rnnx.Sequential([
        rnnx.Input((STEPS, FEATURES)),
        layers.GRU(UNITS, dropout=0.3, seed=3, return_sequences=True),
        layers.LSTM(4),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    for k, weight in enumerate(model.weights):
        weight.value = numbers(*weight.shape, seed=k) * np.float32(0.3)
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("form", FORMS)
def test_models(form: str) -> None:
    change = FORMS[form]
    x, y, weight = numbers(BATCH, STEPS, FEATURES), numbers(BATCH, 2), np.abs(numbers(BATCH))

    def everything(x: Any, y: Any, weight: Any) -> list[Any]:
        model = small_model()
        results = [model(x), model.predict(x, verbose=0), model.predict(x[:1], verbose=0), model.vjp(x)[0]]
        results += [model.evaluate(x, y, sample_weight=weight, verbose=0), model.train_on_batch(x, y)]
        history = model.fit(x, y, sample_weight=weight, epochs=2, batch_size=5, shuffle=False, verbose=0)
        results += [history.history["loss"], model.get_weights(), model.predict_mc(x, samples=2)]
        model.set_weights([change(value) for value in model.get_weights()] if x is not plain else model.get_weights())
        results += [model(x), model.predict(list(x), verbose=0)]
        model.quantize("int8", calibration_data=x)
        return [*results, model(x)]

    plain = x
    same(everything(change(x), change(y), change(weight)), everything(x, y, weight))


@pytest.mark.parametrize("form", FORMS)
def test_streams(form: str) -> None:
    change = FORMS[form]
    x, valid = numbers(BATCH, STEPS, FEATURES), np.random.default_rng(1).random((BATCH, STEPS)) < 0.7
    streamed = [
        built(layers.LSTM(UNITS, return_sequences=True), STEPS, FEATURES),
        built(layers.GRU(UNITS), STEPS, FEATURES),
        built(layers.LSTM(UNITS, activation="gelu"), STEPS, FEATURES),
        built(layers.Dense(4), FEATURES),
        built(layers.Conv1D(4, 3, padding="causal"), STEPS, FEATURES),
        small_model(),
    ]
    for layer in streamed:
        results = []
        for own in (lambda a: a, change):
            stream = layer.stream(batch_size=BATCH)
            found = [stream.step(own(np.ascontiguousarray(x[:, t]))) for t in range(STEPS)]
            found += [stream.step(own(np.ascontiguousarray(x[:, 0])), mask=own(valid[:, 0].copy())), stream.run(own(x))]
            found.append(stream.run(own(x), mask=own(valid)))
            stream.state = [tuple(own(part) for part in parts) for parts in stream.state]
            found += [stream.state, stream.step(own(np.ascontiguousarray(x[:, 1])))]
            results.append(found)
        same(results[1], results[0])


def test_quantized_streams() -> None:
    layer = built(layers.LSTM(UNITS), STEPS, FEATURES)
    layer.quantize("int8")
    x = numbers(BATCH, FEATURES)
    want = layer.stream(batch_size=BATCH).step(x)
    for form in FORMS.values():
        same(layer.stream(batch_size=BATCH).step(form(x)), want)


def test_given_output_of_a_step() -> None:
    layer = built(layers.LSTM(UNITS), STEPS, FEATURES)
    x = numbers(BATCH, FEATURES)
    want = layer.stream(batch_size=BATCH).step(x)
    out = np.zeros((BATCH, UNITS), np.float32)
    same(layer.stream(batch_size=BATCH).step(x, out), want)
    for form in ("swapped", "records", "unaligned", "strided", "read-only"):
        stream = layer.stream(batch_size=BATCH)
        with pytest.raises(ValueError, match="`out` must be"):
            stream.step(x, FORMS[form](out))
        same(stream.step(x), want)


@pytest.mark.parametrize("form", FORMS)
def test_embedded_ids(form: str) -> None:
    layer = layers.Embedding(9, 4, mask_zero=True)
    ids = np.random.default_rng(2).integers(0, 9, (BATCH, STEPS))
    want = layer(ids)
    same(layer(FORMS[form](ids)), want)
    stream = layer.stream(batch_size=BATCH)
    same(stream.step(FORMS[form](ids[:, 0].copy())), want[:, 0])


@pytest.mark.parametrize("form", FORMS)
def test_sessions(form: str, tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    from rnnx.formats.onnx import Session

    path = tmp_path / "model.onnx"
    small_model().save(path)
    session = Session(path)
    x = numbers(BATCH, STEPS, FEATURES)
    name = session.inputs[0].name
    same(session.run({name: FORMS[form](x)}), session.run({name: x}))


@pytest.mark.parametrize("form", FORMS)
def test_losses_metrics_and_updates(form: str) -> None:
    change = FORMS[form]
    y, p = np.abs(numbers(BATCH, 4)) / 9, np.abs(numbers(BATCH, 4, seed=6)) / 9
    ids = np.random.default_rng(3).integers(0, 4, BATCH)
    for name in ("mse", "mae", "binary_crossentropy", "categorical_crossentropy"):
        loss = losses.get(name)
        same(loss(change(y), change(p)), loss(y, p))
    sparse = losses.get("sparse_categorical_crossentropy")
    same(sparse(change(ids), change(p)), sparse(ids, p))
    for name in ("mae", "mse", "categorical_accuracy"):
        results = []
        for own in (lambda a: a, change):
            metric = metrics.get(name)
            metric.update_state(own(y), own(p))
            results.append(metric.result())
        same(*results)
    for name in ("sgd", "adam", "rmsprop"):
        results = []
        for own in (lambda a: a, change):
            model = small_model()
            optimizer = optimizers.get(name)
            optimizer.apply(model.weights, [own(numbers(*w.shape, seed=4)) for w in model.weights])
            results.append(model.get_weights())
        same(*results)


def test_products_and_activations_of_the_engine() -> None:
    a, b = numbers(11, 5), numbers(5, 7)
    product, values = _kernels.product(a, b), _kernels.activate("tanh", a)
    packed = _kernels.PackedDense(b, np.zeros(7, np.float32))
    for form in FORMS.values():
        same(_kernels.product(form(a), form(b)), product)
        same(_kernels.activate("tanh", form(a)), values)
        same(packed.apply(form(a)), packed.apply(a))
        same(_kernels.PackedDense(form(b), np.zeros(7, np.float32)).apply(a), packed.apply(a))


# ---- Sizes that no memory holds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [5, 6, 32, 1000])
def test_more_axes_than_a_buffer_has_room_for_are_refused(axes: int) -> None:
    for size in (0, 1, 2):
        shape = (size,) * axes
        for given in (shape, list(shape)):
            with pytest.raises(ValueError, match=f"expected a shape of at most 4 axes, got {axes}"):
                _kernels.empty(given, np.float32)
    assert _kernels.empty((2, 3, 4, 5), np.float64).shape == (2, 3, 4, 5)
    assert _kernels.empty((), np.float32).shape == ()


def test_sizes_beyond_memory_are_a_memory_error() -> None:
    """Also where a product of sizes is larger than any integer of the machine."""
    for shape in ((1 << 40, 1 << 40), (1 << 62, 1), (3, 1 << 61), (1 << 21, 1 << 21, 1 << 21)):
        with pytest.raises(MemoryError):
            _kernels.empty(shape, np.float32)
    params = cases.make_params("lstm", 1, 2, np.float32, np.random.default_rng(1))
    x = np.broadcast_to(np.float32(1), (1 << 30, 1 << 28, 1))
    for call in ({}, {"training": True}, {"return_sequences": False}):
        with pytest.raises(MemoryError):
            cases.FAST["lstm"].forward(params, x, **call)
    assert _kernels.busy() == 0


def test_which_arrays_may_share_memory():
    whole = np.zeros((6, 8))
    views = [
        whole, whole[:3], whole[3:], whole[2:4], whole[::-1], whole[:, ::-1, None][:, 4:], whole[5:, :2],
        whole[3:3], whole[2:5, 4:4], whole[::-1][:0, 3:], whole[:0], np.zeros((6, 8)), np.zeros(0),
    ]  # fmt: skip
    for a in views:  # an empty array shares nothing, wherever it points to
        for b in views:
            assert _kernels.may_share(a, b) == np.may_share_memory(a, b), (a.shape, b.shape)
        assert not _kernels.may_share(a, None)
