"""Models of one's own: classes with `call`, alone and around a graph or a chain. Right values: Keras 3.15."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, callbacks, layers, losses, metrics, ops, optimizers

X = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)


def fill(layer: Any) -> Any:
    """The weights that the values of Keras were made with."""
    rng = np.random.default_rng(3)
    layer.set_weights([rng.normal(size=w.shape).astype("float32") * 0.5 for w in layer.weights])
    return layer


class GruReader(Model):
    def __init__(self, units: int = 4, rate: float = 0.0):
        super().__init__()
        self.gru = layers.GRU(units)
        self.drop = layers.Dropout(rate, seed=1)
        self.dense = layers.Dense(2)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dense(self.drop(self.gru(inputs), training=training))


class Steps(Model):
    def __init__(self) -> None:
        super().__init__()
        self.gru = layers.GRU(4, return_sequences=True)
        self.dense = layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.dense(self.gru(inputs))


class Pair(Model):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(3), layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        a, b = inputs
        return [self.one(a) + self.two(b), self.one(a)]


class Named(Pair):
    def call(self, inputs: Any) -> Any:
        total, first = super().call([inputs["a"], inputs["b"]])
        return {"total": total, "first": first}


class Twice(Model):
    def call(self, x: Any) -> Any:
        return super().call(x) * 2


class TwiceChain(Sequential):
    def call(self, x: Any) -> Any:
        return super().call(x) * 2


def test_values_and_training_of_keras() -> None:
    model = GruReader()
    assert not model.built
    model(X)
    assert [w.shape for w in model.weights] == [(3, 12), (4, 12), (2, 12), (4, 2), (2,)]
    expected = [[0.18313265, 1.20663166], [0.03426850, 0.62973231]]
    np.testing.assert_allclose(fill(model)(X), expected, atol=1e-6)
    model.compile(optimizers.SGD(0.1), "mse")
    history = model.fit(X, np.ones((2, 2)), epochs=3, verbose=0).history["loss"]
    np.testing.assert_allclose(history, [0.44492611, 0.22133145, 0.12517576], rtol=1e-5)


def of_ops(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.square(y_true - y_pred) * np.array([1.0, 3.0], np.float32), axis=-1)


def of_numpy(y_true: Any, y_pred: Any) -> Any:
    return np.mean(np.square(y_true - y_pred) * np.array([1.0, 3.0], np.float32), axis=-1)


def of_a_loss(y_true: Any, y_pred: Any) -> Any:
    return 2 * losses.mean_squared_error(y_true, y_pred)


class SumOfSquares(losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.sum(ops.square(y_true - y_pred), axis=-1)


def distance(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_true - y_pred))


FIRST = {"loss": [0.87080646, 0.43074870, 0.31008595], "distance": [0.58987457, 0.39591235, 0.22940315]}
SUMS = {"loss": [1.42472005, 0.14284170, 0.09434682], "distance": [0.58987457, 0.19377688, 0.18030386]}


@pytest.mark.parametrize(
    "loss, expected",
    [(of_ops, FIRST), (of_numpy, FIRST), (SumOfSquares(), SUMS), (SumOfSquares, SUMS), (of_a_loss, SUMS)],
)
def test_losses_and_metrics_of_ones_own(loss: Any, expected: dict[str, Any], tmp_path: Any) -> None:
    model = GruReader()
    model(X)
    fill(model).compile(optimizers.SGD(0.1), loss, metrics=[distance])
    history = model.fit(X, np.ones((2, 2)), epochs=3, sample_weight=np.array([1.0, 2.0]), verbose=0).history
    assert history.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-5)
    model.save(tmp_path / "model.safetensors")
    names = {getattr(loss, "__name__", "SumOfSquares"): loss, "distance": distance}
    if isinstance(loss, SumOfSquares):
        names["SumOfSquares"] = SumOfSquares
    again = rnnx.load_model(tmp_path / "model.safetensors", custom_objects=names)
    before = model.evaluate(X, np.ones((2, 2)), verbose=0)
    np.testing.assert_allclose(again.evaluate(X, np.ones((2, 2)), verbose=0), before, rtol=1e-6)


def test_gradients_of_losses_of_ones_own() -> None:
    """Central differences, with weights, masks with anything in the padding, and every reduction."""
    rng = np.random.default_rng(1)
    y, p = rng.normal(size=(2, 3, 4, 2))
    mask = np.array([[True, True, False, False], [True] * 4, [True, False, False, False]])
    weights = rng.random(3)

    def of_steps(y_true: Any, y_pred: Any) -> Any:
        return ops.sum(ops.abs(y_true - y_pred) ** 3, axis=-1) + ops.max(y_pred, axis=-1)

    for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
        loss = losses.traced_loss.FunctionLoss(of_steps, reduction=reduction)
        for given in ({}, {"sample_weight": weights}, {"mask": mask}, {"sample_weight": weights, "mask": mask}):
            padded, targets = p.copy(), y.copy()
            if "mask" in given:
                padded[~mask], targets[~mask] = np.nan, np.nan
            value, slope = loss.value_and_grad(targets, padded, **given)
            assert np.isfinite(value) and np.isfinite(slope).all()
            for place in [(0, 0, 1), (1, 3, 0), (2, 0, 0)]:
                ends = []
                for sign in (1, -1):
                    moved = padded.copy()
                    moved[place] += sign * 1e-6
                    ends.append(loss(targets, moved, **given))
                np.testing.assert_allclose(slope[place], (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


def test_a_loss_that_is_one_number() -> None:
    def whole(y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(y_true - y_pred))

    model = fill(Sequential([Input((4, 3)), layers.Dense(2)]))
    y = np.zeros((2, 4, 2))
    model.compile("sgd", whole)
    twin = fill(Sequential([Input((4, 3)), layers.Dense(2)]))
    twin.compile("sgd", "mse")
    for _ in range(2):
        assert model.train_on_batch(X, y) == pytest.approx(twin.train_on_batch(X, y), rel=1e-6)
    with pytest.raises(TypeError, match="a loss must return one tensor"):
        losses.loss_of(lambda a, b: [a, b])(y, y)


def test_the_life_of_a_model(tmp_path: Any) -> None:
    model = Steps()
    model.compile("adam", "mse", metrics=["mae"])
    history = model.fit(X, X[..., :1], epochs=2, validation_split=0.5, verbose=0).history
    assert set(history) == {"loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"} or set(history) == {
        "loss", "mae", "val_loss", "val_mae",
    }  # fmt: skip
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(model(X), expected)
    stream = model.stream(2)
    np.testing.assert_allclose(np.stack([stream.step(X[:, t]) for t in range(4)], axis=1), expected, atol=1e-6)
    printed: list[str] = []
    model.summary(print_fn=printed.append)
    assert "gru" in printed[0] and "113 weights" in printed[0]
    assert [layer.name for layer in model.layers] == [model.gru.name, model.dense.name]
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin(X), expected)
    model.save_weights(tmp_path / "weights.safetensors")
    other = Steps()
    other(X[:, :2])
    other.load_weights(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(other(X), expected)
    model.save(tmp_path / "model.safetensors")
    again = rnnx.load_model(tmp_path / "model.safetensors")
    assert type(again) is Steps
    np.testing.assert_array_equal(again(X), expected)
    assert again.evaluate(X, X[..., :1], verbose=0) == model.evaluate(X, X[..., :1], verbose=0)
    model.gru.trainable = False
    kept = model.gru.get_weights()
    model.fit(X, X[..., :1], verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.gru.get_weights(), strict=True))
    clone = rnnx.models.clone_model(GruReader(5))
    assert clone.gru.units == 5


def test_noise_in_training_alone() -> None:
    model = GruReader(rate=0.5)
    np.testing.assert_array_equal(model(X), model(X))
    assert not np.array_equal(model(X, training=True), model(X, training=True))
    assert not np.array_equal(model(X, training=True), model(X))
    mean, deviation = model.predict_mc(X, samples=20)
    assert mean.shape == (2, 2) and (deviation > 0).any()


def test_several_inputs_and_outputs() -> None:
    a, b = X[:, 0], X[:, 1]
    model = Pair()
    model.compile("adam", ["mse", "mae"])
    history = model.fit([a, b], [a, b], epochs=2, verbose=0).history
    assert len(history) == 3
    total, first = model.predict([a, b], verbose=0)
    np.testing.assert_allclose(total - first, model.two(b), atol=1e-6)
    named = Named()
    named.compile("adam", {"total": "mse", "first": "mse"})
    named.fit({"a": a, "b": b}, {"total": a, "first": b}, verbose=0)
    found = named.predict({"a": a, "b": b}, verbose=0)
    assert found.keys() == {"total", "first"}
    np.testing.assert_allclose(found["total"] - found["first"], named.two(b), atol=1e-6)
    np.testing.assert_array_equal(named({"a": a, "b": b})["total"], found["total"])


def test_around_a_graph_and_a_chain() -> None:
    x = Input((4, 3))
    model = Twice(x, layers.Dense(2)(layers.GRU(3)(x)))
    plain = Model(model.inputs, model.get_layer(index=-1).output)
    np.testing.assert_allclose(model(X), 2 * plain(X), rtol=1e-6)
    chain = TwiceChain([layers.GRU(3), layers.Dense(2)])
    for own in (model, chain):
        own.compile("adam", "mse")
        history = own.fit(X, np.ones((2, 2)), epochs=3, verbose=0).history["loss"]
        assert history[-1] < history[0]
        assert len(own.weights) == 5
    np.testing.assert_allclose(chain(X), 2 * Sequential(chain.layers)(X), rtol=1e-6)


def test_as_a_layer_of_another_model() -> None:
    model = Sequential([Input((4, 3)), layers.Dense(3), GruReader()])
    model.compile("adam", "mse")
    model.fit(X, np.ones((2, 2)), verbose=0)
    assert len(model.weights) == 7
    each = layers.TimeDistributed(GruReader())
    documents = np.stack([X, X], axis=1)
    assert each(documents).shape == (2, 2, 2)
    np.testing.assert_allclose(each(documents)[:, 0], each.layer(X), atol=1e-6)


def test_ragged_rows_and_generators() -> None:
    model = GruReader()
    model.compile("adam", "mse")
    rows = [X[0], X[1, :2], X[0, :3]]
    model.fit(rows, np.ones((3, 2)), batch_size=1, verbose=0)
    np.testing.assert_allclose(model.predict(rows, verbose=0)[1], model(X[1:, :2])[0], atol=1e-6)
    fresh = GruReader()
    fresh.compile("adam", "mse")
    fresh.fit([(X, np.ones((2, 2)))], epochs=2, verbose=0)
    built = GruReader()
    built.build((None, 4, 3))
    assert built.built and built.count_params() == 118


@pytest.mark.parametrize(
    "name",
    ["train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "make_train_function"],
)
@pytest.mark.parametrize("base", [Model, Sequential, Steps])
def test_steps_of_ones_own_are_refused(base: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"class Own: `{name}` would never be called; .*(loss|metrics|call)"):
        type("Own", (base,), {name: lambda self, *args: None, "__module__": "own"})


@pytest.mark.parametrize(
    "base, name, sentence",
    [
        (metrics.Metric, "call", "implement `values"),
        (optimizers.Optimizer, "update_step", "implement `update"),
        (optimizers.Adam, "apply_gradients", "override that"),
        (callbacks.Callback, "on_epoch_finish", "the events are on_batch_begin"),
        (rnnx.constraints.Constraint, "call", "implement `__call__"),
        (rnnx.initializers.Initializer, "call", "implement `__call__"),
    ],
)
def test_what_nobody_would_call_is_refused(base: Any, name: str, sentence: str) -> None:
    with pytest.raises(TypeError, match=f"class Own: `{name}` would never be called; .*{sentence}"):
        type("Own", (base,), {name: lambda self, *args: None, "__module__": "own"})


def test_lambdas(tmp_path: Any) -> None:
    @rnnx.utils.register_keras_serializable("tests_of_models")
    def shifted(x: Any, by: float = 1.0) -> Any:
        return x + by

    last = layers.Lambda(lambda h: h[:, -1])
    np.testing.assert_array_equal(last(X), X[:, -1])
    model = Sequential([Input((4, 3)), layers.GRU(2, return_sequences=True), last, layers.Lambda(np.tanh)])
    model.compile("adam", "mse")
    model.fit(X, np.ones((2, 2)), verbose=0)
    with pytest.raises(ValueError, match="holds Python code, which no file can: register its function"):
        model.save(tmp_path / "model.safetensors")
    known = Sequential([Input((4, 3)), layers.Lambda(shifted, arguments={"by": 2.0})])
    known.save(tmp_path / "known.safetensors")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "known.safetensors")(X), X + 2)
    with pytest.raises(ValueError, match=r"`output_shape` is \(3,\), the function gives \(4, 3\)"):
        layers.Lambda(lambda x: x, output_shape=(3,))(X)
    y, pullback = layers.Lambda(lambda x: ops.square(x)).vjp(X)
    np.testing.assert_allclose(pullback(np.ones_like(y)).dx, 2 * X, rtol=1e-6)
    masked = layers.Lambda(lambda x, mask: x * mask[..., None])
    valid = np.array([[True, True, False, False], [True] * 4])
    np.testing.assert_array_equal(masked(X, mask=valid), X * valid[..., None])


def test_names_in_files() -> None:
    @rnnx.saving.register_keras_serializable("tests_of_models", name="halving")
    class Halved(layers.Layer):
        def call(self, x: Any) -> Any:
            return x / 2

    assert rnnx.utils.get_registered_name(Halved) == "tests_of_models>halving"
    assert rnnx.utils.get_registered_object("tests_of_models>halving") is Halved
    with rnnx.utils.CustomObjectScope({"third": np.cbrt}):
        assert rnnx.utils.get_registered_object("third") is np.cbrt
    assert rnnx.utils.get_registered_object("third") is None


class Texts(Model):
    def __init__(self, vocabulary: Any = ("good", "bad")):
        super().__init__()
        self.words = layers.TextVectorization(vocabulary=list(vocabulary), output_sequence_length=3)
        self.table = layers.Embedding(5, 4, mask_zero=True)
        self.gru = layers.GRU(4)
        self.dense = layers.Dense(1, activation="sigmoid")

    def call(self, inputs: Any) -> Any:
        return self.dense(self.gru(self.table(self.words(inputs))))


def test_a_model_that_reads_texts(tmp_path: Any) -> None:
    texts = np.array(["good good", "bad", "good", "so bad"])
    model = Texts()
    model.compile("adam", "binary_crossentropy")
    model.fit(texts, np.array([1, 0, 1, 0]), epochs=2, verbose=0)
    apart = model.dense(model.gru(model.table(np.array([[2, 2, 0], [3, 0, 0], [2, 0, 0], [1, 3, 0]]))))
    for same in (texts, texts.tolist(), texts[:, None], texts.astype(object), np.char.encode(texts)):
        np.testing.assert_allclose(model.predict(same), apart, rtol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(texts), model.predict(texts))
    model.save(tmp_path / "texts.safetensors")
    again = rnnx.load_model(tmp_path / "texts.safetensors", custom_objects={"Texts": Texts})
    np.testing.assert_array_equal(again.predict(texts), model.predict(texts))
    with pytest.raises(TypeError, match="texts: texts must be strings, got NoneType"):
        model.predict(np.array(["good", None]))
    with pytest.raises(TypeError, match="the input must be real numbers, got dtype object; layers.TextVectorization"):
        GruReader().predict(np.full((2, 3, 1), "good"))


class OwnWords(layers.Layer):
    """Activations and losses in the words of Keras, inside of `call`."""

    def __init__(self, activation: str):
        super().__init__()
        self.activation = rnnx.activations.get(activation)
        self.loss = losses.Huber()

    def call(self, inputs: Any) -> Any:
        y = self.activation(inputs)
        self.add_loss(self.loss(ops.zeros_like(y), y))
        return rnnx.activations.leaky_relu(y, negative_slope=0.25)


@pytest.mark.parametrize("name", ["tanh", "mish", "softmax"])
def test_activations_and_losses_of_symbolic_tensors(name: str) -> None:
    inputs = Input((4, 3))
    y = rnnx.activations.get(name)(X)
    model = Model(inputs, OwnWords(name)(inputs))
    np.testing.assert_allclose(model(X), rnnx.activations.leaky_relu(y, negative_slope=0.25), rtol=1e-6)
    model.compile("sgd", "mse")
    found = model.evaluate(X, np.zeros_like(X), verbose=0)
    wanted = np.mean(np.square(model(X))) + losses.Huber()(np.zeros_like(y), y)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("reduction", "value"), [("sum", 10.0), ("sum_over_batch_size", 2.5), ("none", [2.5, 2.5, 2.5, 2.5])]
)
def test_reductions_of_losses_of_symbolic_tensors(reduction: str, value: Any) -> None:
    inputs = Input((2,))
    loss = losses.MeanSquaredError(reduction=reduction)
    model = Model(inputs, loss(ops.zeros_like(inputs), inputs))
    np.testing.assert_allclose(model(np.array([[1.0, 2.0]] * 4, np.float32)), value)
    with pytest.raises(TypeError, match="MeanSquaredError: weights and masks are for arrays; .*reduction='none'"):
        loss(ops.zeros_like(inputs), inputs, sample_weight=2.0)


class CtcInside(Model):
    def __init__(self, adds: bool = True):
        super().__init__()
        self.dense = layers.Dense(4)
        self.ctc = losses.CTC()
        self.adds = adds

    def call(self, inputs: Any) -> Any:
        x, labels = inputs
        y = self.dense(x)
        if self.adds:
            self.add_loss(self.ctc(labels, y))
        return y


def test_training_for_what_is_added_alone() -> None:
    labels = np.array([[1, 2], [3, 0]])
    model = CtcInside()
    model.compile(optimizers.SGD(0.1))
    before = losses.CTC()(labels, model([X, labels]))
    weights = [w.copy() for w in model.get_weights()]
    np.testing.assert_allclose(model.fit([X, labels], epochs=1, verbose=0).history["loss"], [before], rtol=1e-5)
    same = Sequential([Input((4, 3)), layers.Dense(4)])
    same.set_weights(weights)
    same.compile(optimizers.SGD(0.1), losses.CTC())
    same.fit(X, labels, epochs=1, verbose=0)
    for mine, other in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.evaluate([X, labels], verbose=0), losses.CTC()(labels, model([X, labels])), rtol=1e-5
    )
    nothing = CtcInside(adds=False)
    nothing.compile("sgd")
    for run in (nothing.fit, nothing.evaluate):
        with pytest.raises(RuntimeError, match="there is no loss; call compile.optimizer, loss., or self.add_loss"):
            run([X, labels], verbose=0)


class WithConfig(Model):
    """As in many scripts: arguments in `get_config`, no name, no `from_config`."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.gru = units, layers.GRU(units)

    def call(self, x: Any) -> Any:
        return self.gru(x)

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units}


class WithAll(WithConfig):
    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **Model.get_config(self)}


class Times(layers.Layer):
    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def call(self, x: Any) -> Any:
        return x * self.by

    def get_config(self) -> dict[str, Any]:
        return {"by": self.by}


@pytest.mark.parametrize("kind", [WithConfig, WithAll])
def test_models_with_a_configuration_of_their_own_come_back(kind: Any, tmp_path: Any) -> None:
    model = kind(3)
    y = model(X)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "model.safetensors")(X), y)
    inputs = rnnx.Input((4, 3))
    outer = Model(inputs, [Times(2.0)(model(inputs)), Times(3.0)(kind(2)(inputs))])
    outer.save(tmp_path / "outer.safetensors")
    again = rnnx.load_model(tmp_path / "outer.safetensors")
    assert [layer.name for layer in again.layers] == [layer.name for layer in outer.layers]
    for found, wanted in zip(again(X), outer(X), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_masks_that_call_asks_layers_for() -> None:
    class ByHand(Model):
        def __init__(self, layer: Any):
            super().__init__()
            self.first, self.gru = layer, layers.GRU(2)

        def call(self, x: Any) -> Any:
            return self.gru(self.first(x) * 1.0, mask=self.first.compute_mask(x))

    padded = X.copy()
    padded[0, 2:] = 0
    ids = np.array([[3, 1, 0, 0], [2, 4, 4, 1]])
    for layer, x in ((layers.Masking(), padded), (layers.Embedding(5, 3, mask_zero=True), ids)):
        model = ByHand(layer)
        y = model(x)
        np.testing.assert_allclose(model(x[:1, :2]), y[:1], rtol=1e-5)
        np.testing.assert_allclose(model.gru(layer(x), mask=layer.compute_mask(x)), y, rtol=1e-5)


class Nested(Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        one, two = (inputs["first"]["x"], inputs["second"]) if isinstance(inputs, dict) else (inputs[0][0], inputs[1])
        return self.dense(one) - self.dense(two)


@pytest.mark.parametrize("form", [lambda a, b: [[a], b], lambda a, b: {"first": {"x": a}, "second": b}])
def test_inputs_in_containers_inside_each_other(form: Any) -> None:
    a, b = X[:, 0], X[:, 1]
    y = np.ones((2, 2), np.float32)
    model, fresh, other = Nested(), Nested(), Nested()
    model.compile("sgd", "mse")
    history = model.fit(form(a, b), y, epochs=3, batch_size=1, verbose=0, validation_data=(form(a, b), y)).history
    assert history["loss"][-1] < history["loss"][0]
    expected = (a - b) @ model.dense.kernel
    for found in (model(form(a, b)), model.predict(form(a, b)), model.predict_on_batch(form(a, b))):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert model.evaluate(form(a, b), y, verbose=0) == pytest.approx(float(np.mean((expected - y) ** 2)), rel=1e-5)
    assert fresh.predict(form(a, b)).shape == (2, 2)
    other.compile("sgd", "mse")
    other.fit([(form(a, b), y)], verbose=0)
    assert other(form(a, b)).shape == (2, 2)


def test_a_class_without_call_says_so() -> None:
    class Bare(rnnx.Model):
        pass

    class OfPyTorch(rnnx.Model):
        def forward(self, x: Any) -> Any:
            return x

    x = np.zeros((2, 3), "float32")
    needed = r"a model needs `inputs` and `outputs`, or a class that defines `call\(self, inputs\)`"
    for kind, words in ((Bare, f"{needed}$"), (OfPyTorch, f"{needed}; write `call` where PyTorch has `forward`$")):
        made = kind()
        made.compile("adam", "mse")
        for use in (
            made,
            lambda x, made=made: made.predict(x, verbose=0),
            lambda x, made=made: made.fit(x, x, verbose=0),
        ):
            with pytest.raises((ValueError, AttributeError), match=words):
                use(x)
    with pytest.raises(AttributeError, match="this model has no layers yet"):
        _ = rnnx.Sequential().inputs
    with pytest.raises(AttributeError, match=r"shape of its input is not known yet; put rnnx.Input\(shape\) in front"):
        _ = rnnx.Sequential([layers.LSTM(3)]).output_shape
