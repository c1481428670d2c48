"""What was saved comes back compiled and goes on as if it had never stopped, in every format that can hold it."""

from __future__ import annotations

import json
import warnings
import zipfile

import numpy as np
import pytest

import rnnx
from rnnx import layers, losses, metrics, optimizers
from rnnx.optimizers import schedules
from rnnx.saving import FormatError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(14, 5, 3)).astype(np.float32)
Y = RNG.integers(0, 4, 14)
SUFFIXES = (".keras", ".h5", ".hdf5", ".safetensors")
OPTIMIZERS = {
    "adagrad": lambda: optimizers.Adagrad(0.1),
    "adam": lambda: optimizers.Adam(schedules.CosineDecay(0.1, 9, warmup_target=0.2, warmup_steps=2), clipnorm=1.0),
    "adamw": lambda: optimizers.AdamW(0.03, weight_decay=0.1),
    "amsgrad": lambda: optimizers.Adam(0.03, amsgrad=True),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "nadam": lambda: optimizers.Nadam(0.03),
    "rmsprop": lambda: optimizers.RMSprop(0.03, momentum=0.5, centered=True),
    "sgd": lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([3], [0.1, 0.05])),
}


def net(dtype="float32"):
    rnnx.utils.set_random_seed(5)
    x = rnnx.Input((5, 3), dtype=dtype)
    h = layers.Bidirectional(layers.GRU(4, return_sequences=True, dropout=0.2, dtype=dtype))(x)
    frozen = layers.LSTM(2, trainable=False, dtype=dtype)(h)
    stacked = layers.RNN([layers.LSTMCell(2, dtype=dtype), layers.GRUCell(3, dtype=dtype)])(h)
    h = layers.BatchNormalization(dtype=dtype)(layers.Concatenate(dtype=dtype)([stacked, frozen]))
    return rnnx.Model(x, layers.Dense(4, dtype=dtype)(layers.Dropout(0.3, dtype=dtype)(h)))


def compiled(optimizer="adam", model=None):
    model = model or net()
    model.compile(
        OPTIMIZERS[optimizer](),
        losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            "accuracy",
            metrics.SparseTopKCategoricalAccuracy(2, name="top"),
            losses.SparseCategoricalCrossentropy(from_logits=True),
        ],
        weighted_metrics=["sparse_categorical_crossentropy"],
    )
    return model


def simple():
    rnnx.utils.set_random_seed(7)
    return rnnx.Sequential([rnnx.Input((5, 3)), layers.GRU(2), layers.Dense(1)])


def fit(model, first=0, last=2, **options):
    return model.fit(X, Y, epochs=last, initial_epoch=first, batch_size=5, seed=1, verbose=0, **options).history


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


# ---- Going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fit_goes_on_as_if_it_had_never_stopped(optimizer, suffix, tmp_path):
    model = compiled(optimizer)
    fit(model)
    model.save(tmp_path / f"m{suffix}")
    again = rnnx.load_model(tmp_path / f"m{suffix}")
    assert again.evaluate(X, Y, return_dict=True) == model.evaluate(X, Y, return_dict=True)
    assert fit(again, 2, 4) == fit(model, 2, 4)
    assert same(again, model) and again.optimizer.iterations == model.optimizer.iterations == 12
    assert [g.state for g in again.seed_generators()] == [g.state for g in model.seed_generators()]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_float64_goes_on_as_well(suffix, tmp_path):
    model = compiled("amsgrad", net("float64"))
    fit(model)
    model.save(tmp_path / f"m{suffix}")
    again = rnnx.load_model(tmp_path / f"m{suffix}")
    assert fit(again, 2, 3) == fit(model, 2, 3)
    assert same(again, model)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_learning_rate_that_was_changed(suffix, tmp_path):
    model = compiled("rmsprop")
    fit(model, callbacks=[rnnx.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))])
    model.save(tmp_path / f"m{suffix}")
    assert rnnx.load_model(tmp_path / f"m{suffix}").optimizer.learning_rate == 0.005


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_before_the_first_step(suffix, tmp_path):
    model = compiled("nadam")
    model.save(tmp_path / f"m{suffix}")
    again = rnnx.load_model(tmp_path / f"m{suffix}")
    assert again.optimizer.iterations == 0
    assert fit(again) == fit(model)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_asked_for_not_to_be_there(suffix, tmp_path):
    path, model = tmp_path / f"m{suffix}", compiled()
    fit(model)
    model.save(path)
    assert rnnx.load_model(path, compile=False).optimizer is None
    whole = path.stat().st_size
    model.save(path, include_optimizer=False)
    assert rnnx.load_model(path).optimizer is None and path.stat().st_size < whole
    fresh = net()
    fresh.save(path)
    assert rnnx.load_model(path).optimizer is None
    with pytest.raises(FormatError, match="not compiled"):
        fresh.save(path, include_optimizer=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_outputs(suffix, tmp_path):
    x = rnnx.Input((5, 3))
    h = layers.GRU(3)(x)
    model = rnnx.Model(x, [layers.Dense(1, name="a")(h), layers.Dense(4, activation="softmax", name="b")(h)])
    model.compile(
        "adam", {"a": losses.Huber(0.5), "b": "sparse_categorical_crossentropy"}, loss_weights={"a": 0.5, "b": 2.0},
        metrics={"a": ["mae", "mse"], "b": "accuracy"},
    )  # fmt: skip
    targets = [X[:, 0, :1], Y]
    model.fit(X, targets, verbose=0)
    model.save(tmp_path / f"m{suffix}")
    again = rnnx.load_model(tmp_path / f"m{suffix}")
    expected = model.evaluate(X, targets, return_dict=True)
    assert again.evaluate(X, targets, return_dict=True) == expected and "b_accuracy" in expected


def test_the_state_of_a_mapped_file_is_copied_at_the_first_step(tmp_path):
    path, model = tmp_path / "m.safetensors", compiled("amsgrad")
    fit(model)
    model.save(path)
    content = path.read_bytes()
    again, other = rnnx.load_model(path), rnnx.load_model(path)
    assert not any(slot.flags.writeable for slots in again.optimizer._slots for slot in slots.values())
    fit(again, 2, 3)
    again.save(tmp_path / "n.safetensors")
    assert path.read_bytes() == content
    assert fit(other, 2, 3) == fit(model, 2, 3) and same(again, other)


def test_a_quantized_model_keeps_no_arrays_of_the_optimizer(tmp_path):
    model = compiled("amsgrad")
    fit(model)
    model.quantize("int8")
    model.save(tmp_path / "m.safetensors")
    model.save(tmp_path / "all.safetensors", include_optimizer=True)
    assert (tmp_path / "m.safetensors").stat().st_size < (tmp_path / "all.safetensors").stat().st_size
    again = rnnx.load_model(tmp_path / "m.safetensors")
    assert again.evaluate(X, Y) == model.evaluate(X, Y)


# ---- Things of the user ---------------------------------------------------------------------------------------------


class Own(losses.MeanSquaredError):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def values(self, y_true, y_pred):
        value, slope = super().values(y_true, y_pred)
        return value * self.factor, slope * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Huber(Own):
    """Not that of rnnx."""


class Silent(Own):
    def get_config(self):
        raise RuntimeError("not now")


class Opaque(Own):
    def get_config(self):
        return {"factor": object()}


class Worst(metrics.MeanAbsoluteError):
    def result(self):
        return 2 * super().result()


def largest(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


def halved(step):
    return 0.1 / (1 + step)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_things_of_the_user_are_asked_back_by_name(suffix, tmp_path):
    path, model = tmp_path / f"m{suffix}", simple()
    model.compile("adam", Own(3.0), metrics=[largest, Worst(), "mae"])
    model.fit(X, Y[:, None], verbose=0)
    model.save(path)
    expected = model.evaluate(X, Y[:, None], return_dict=True)
    things = {"Own": Own, "largest": largest, "Worst": Worst}
    again = rnnx.load_model(path, custom_objects=things)
    assert again.loss.factor == 3 and again.evaluate(X, Y[:, None], return_dict=True) == expected
    with pytest.warns(UserWarning, match="left out: unknown .*'largest'.*left out: unknown .*'Worst'"):
        again = rnnx.load_model(path, custom_objects={"Own": Own})
    found = again.evaluate(X, Y[:, None], return_dict=True)
    assert found == {name: expected[name] for name in ("loss", "mae")}
    with pytest.warns(UserWarning, match="not compiled: unknown .*'Own'.*custom_objects") as caught:
        again = rnnx.load_model(path)
    assert len(caught) == 1
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(RuntimeError, match="call compile"):
        again.evaluate(X, Y[:, None])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_class_of_the_user_is_not_the_one_of_rnnx_with_its_name(suffix, tmp_path):
    model = simple()
    model.compile("adam", Huber(3.0))
    model.save(tmp_path / f"m{suffix}")
    with pytest.warns(UserWarning, match="unknown class 'Huber'"):
        assert rnnx.load_model(tmp_path / f"m{suffix}").optimizer is None
    assert type(rnnx.load_model(tmp_path / f"m{suffix}", custom_objects={"Huber": Huber}).loss) is Huber


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", [Silent, Opaque])
def test_what_cannot_say_its_arguments_does_not_cost_the_training(kind, suffix, tmp_path):
    path, model = tmp_path / f"m{suffix}", simple()
    model.compile("adam", kind(2.0))
    model.fit(X, Y[:, None], verbose=0, callbacks=[rnnx.callbacks.ModelCheckpoint(path)])
    with pytest.warns(UserWarning, match=f"not compiled: unknown .*'{kind.__name__}'"):
        rnnx.load_model(path)
    again = rnnx.load_model(path, custom_objects={kind.__name__: kind(2.0)})
    assert again.evaluate(X, Y[:, None]) == model.evaluate(X, Y[:, None])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_function_for_the_learning_rate(suffix, tmp_path):
    path, model = tmp_path / f"m{suffix}", simple()
    model.compile(optimizers.SGD(halved, momentum=0.9), "mse")
    model.fit(X, Y[:, None], verbose=0)
    model.save(path)
    again = rnnx.load_model(path, custom_objects={"halved": halved})
    assert again.optimizer.learning_rate == model.optimizer.learning_rate == 0.05
    for one in (again, model):
        one.fit(X, Y[:, None], verbose=0, shuffle=False)
    assert same(again, model)
    with pytest.warns(UserWarning, match="'halved'"):
        rnnx.load_model(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_than_a_reader_takes_is_left_out_when_it_is_written(suffix, tmp_path):
    model = simple()
    model.compile("adam", "mse", metrics=[metrics.MeanAbsoluteError(name="m" * 1000 + str(k)) for k in range(120)])
    with pytest.warns(UserWarning, match="saved without how it was compiled"):
        model.save(tmp_path / f"m{suffix}")
    assert rnnx.load_model(tmp_path / f"m{suffix}").optimizer is None


# ---- Files that do not fit ------------------------------------------------------------------------------------------


def changed(path, member, change):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    table = json.loads(parts[member])
    change(table)
    parts[member] = json.dumps(table)
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


@pytest.mark.parametrize("noise", [3, [], [[1, 2]] * 99, [[1, 2], [1]], [[1, 2], ["a", "b"]], [[-1, 0], [0, 0]]])
def test_noise_that_does_not_fit_is_refused(noise, tmp_path):
    model = compiled()
    model.save(tmp_path / "m.keras")
    changed(tmp_path / "m.keras", "metadata.json", lambda table: table.update(rnnx_noise=noise))
    with pytest.raises(FormatError, match="m.keras"):
        rnnx.load_model(tmp_path / "m.keras")
    assert rnnx.load_model(tmp_path / "m.keras", compile=False).optimizer is None


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Nadam"])
def test_the_state_of_another_optimizer_is_left_out_with_a_warning(name, tmp_path):
    model = compiled("amsgrad")
    fit(model)
    model.save(tmp_path / "m.keras")

    def change(table):
        table["compile_config"]["optimizer"] = {"class_name": name, "config": {"learning_rate": 0.5}}

    changed(tmp_path / "m.keras", "config.json", change)
    with pytest.warns(UserWarning, match=f"starts afresh.*{name}"):
        again = rnnx.load_model(tmp_path / "m.keras")
    assert again.optimizer.iterations == 0 and again.optimizer.learning_rate == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(again)


@rnnx.saving.register_keras_serializable(package="tests_of_compiled")
def weighed_squares(y_true, y_pred):
    return rnnx.ops.mean(3 * rnnx.ops.square(y_pred - y_true), axis=-1)


@rnnx.saving.register_keras_serializable(package="tests_of_compiled")
class SlowAdam(rnnx.optimizers.Adam):
    pass


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".safetensors"])
def test_what_is_registered_needs_no_custom_objects(suffix, tmp_path):
    model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(1)])
    model.compile(SlowAdam(0.5), weighed_squares, metrics=[weighed_squares])
    x, y = np.ones((4, 3)), np.full((4, 1), 7.0)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / f"m{suffix}")
    again = rnnx.load_model(tmp_path / f"m{suffix}")
    assert type(again.optimizer) is SlowAdam and again.loss is not None
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    for one in (model, again):
        one.fit(x, y, verbose=0)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
